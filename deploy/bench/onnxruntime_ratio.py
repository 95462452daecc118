#!/usr/bin/env python3
"""Times edgeld and onnxruntime on the same model files, by turns on the same pinned cores.

    onnxruntime_ratio.py [MODEL ...] [--threads N] [--rounds R] [--repeat K]
    onnxruntime_ratio.py --scaling [MODEL ...]
                                  deploy/bench/run makes the environment it needs, and calls it

A model is a name of deploy/conformance or an .onnx file. In every round each program computes the
model K times and its median counts; the table shows the ratio of the two of each round, smallest,
median and largest, and at the end the geometric mean of the medians. Before, both compute the same
input, and their outputs must agree within 1e-3 of the largest. The memory is the most that a
process ever had resident that loads the model and runs it.

--scaling times edgeld alone: how many times faster it is on two threads than on one, by turns.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, RawTextHelpFormatter
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "deploy/conformance"), str(ROOT / "deploy/models")]
import conformance  # noqa: E402
import models  # noqa: E402

OUT = ROOT / "target/bench"
MODELS = ("vgg16", "resnet18", "resnet50", "mobilenetv2", "efficientnet_lite0", "squeezenet",
          "inception_v1", "yolov3_tiny", "common_det")
TOLERANCE = conformance.TOLERANCE


def session(model: Path, threads: int) -> "models.onnxruntime.InferenceSession":
    options = models.onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors only
    return models.onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


def feed(runtime, seed: int = 3) -> dict[str, np.ndarray]:
    (entry,) = runtime.get_inputs()
    shape = [size if isinstance(size, int) else 1 for size in entry.shape]
    return {entry.name: models.input_tensor(f"random:{seed}", shape)}


def theirs(runtime, inputs: dict[str, np.ndarray], repeat: int) -> float:
    """The median of some runs in milliseconds, after two that do not count."""
    times = []
    for _ in range(repeat + 2):
        start = time.perf_counter()
        runtime.run(None, inputs)
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times[2:])


def ours(binary: Path, model: Path, threads: int, repeat: int, *flags: str) -> dict:
    command = [binary, "bench", "local", model, "--threads", threads, "--repeat", repeat,
               "--json", *flags]
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True)
    events = map(json.loads, done.stdout.splitlines())
    return next(event for event in events if event["event"] == "bench")


def difference(binaries: Path, model: Path, runtime, inputs: dict[str, np.ndarray]) -> float:
    """The largest of all outputs, as a part of the largest value."""
    folder = OUT / model.stem
    folder.mkdir(parents=True, exist_ok=True)
    ((_, tensor),) = inputs.items()
    np.save(folder / "input.npy", tensor)
    command = [binaries / "onnx_together", model, folder / "input.npy", folder, "1"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    worst = 0.0
    for index, wanted in enumerate(runtime.run(None, inputs)):
        found = np.load(folder / f"devices1_output{index}.npy").ravel()
        worst = max(worst, float(np.abs(found - wanted.ravel()).max() / np.abs(wanted).max()))
    return worst


def peak_of_onnxruntime(model: Path, threads: int) -> int:
    """Bytes; measured in a process of its own."""
    code = (f"import sys; sys.path[:0] = {sys.path!r}; import onnxruntime_ratio as o; "
            f"from pathlib import Path; s = o.session(Path({str(model)!r}), {threads}); "
            f"i = o.feed(s); o.theirs(s, i, 2); print(o.peak())")
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True,
                          cwd=Path(__file__).parent)
    return int(done.stdout)


def peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def scaling(binary: Path, names: list[str], rounds: int, repeat: int) -> None:
    print(f"{'model':22} {'1 thread':>10} {'2 threads':>10} {'times: min':>11} {'median':>7} {'max':>6}")
    for name in names:
        model = find(name)
        times = [[ours(binary, model, threads, repeat)["total_ms"]["median"] for threads in (1, 2)]
                 for _ in range(rounds)]
        each = sorted(one / two for one, two in times)
        one, two = (statistics.median(column) for column in zip(*times))
        print(f"{model.stem:22} {one:10.2f} {two:10.2f} {each[0]:11.2f} "
              f"{statistics.median(each):7.2f} {each[-1]:6.2f}", flush=True)


def find(name: str) -> Path:
    if name.endswith(".onnx"):
        return Path(name)
    make, _ = conformance.MODELS[name]
    return make()


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL",
                        help=f"names or files; else {', '.join(MODELS)}")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="R")
    parser.add_argument("--repeat", type=int, default=10, metavar="K")
    parser.add_argument("--isa", metavar="SET", help="instructions that edgeld may use at most")
    parser.add_argument("--json", action="store_true", help="a line per model")
    parser.add_argument("--binaries", type=Path, default=ROOT / "target/release", metavar="DIR")
    parser.add_argument("--scaling", action="store_true", help="edgeld alone, on one and two threads")
    arguments = parser.parse_args()
    if arguments.scaling:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-2:])
        return scaling(arguments.binaries / "edgeld", arguments.models, arguments.rounds,
                       arguments.repeat)
    cores = sorted(os.sched_getaffinity(0))[-arguments.threads:]
    if len(cores) < arguments.threads:
        sys.exit(f"{arguments.threads} threads want as many cores; this process may use {len(cores)}")
    os.sched_setaffinity(0, cores)
    flags = ["--isa", arguments.isa] if arguments.isa else []
    binary = arguments.binaries / "edgeld"

    if not arguments.json:
        print(f"{'model':22} {'edgeld ms':>10} {'onnxrt ms':>10} {'ratio: min':>11} {'median':>7} "
              f"{'max':>6} {'differ by':>10} {'MB':>6} {'onnxrt MB':>10}")
    ratios, wrong = [], []
    for name in arguments.models:
        model = find(name)
        runtime = session(model, arguments.threads)
        inputs = feed(runtime)
        worst = difference(arguments.binaries, model, runtime, inputs)
        pairs = []
        for _ in range(arguments.rounds):
            event = ours(binary, model, arguments.threads, arguments.repeat, *flags)
            pairs.append((event["total_ms"]["median"],
                          theirs(runtime, inputs, arguments.repeat)))
        each = sorted(mine / other for mine, other in pairs)
        median = statistics.median(each)
        ratios.append(median)
        memory = peak_of_onnxruntime(model, arguments.threads)
        row = {"model": model.stem, "threads": arguments.threads, "isa": event["isa"],
               "edgeld_ms": statistics.median(mine for mine, _ in pairs),
               "onnxruntime_ms": statistics.median(other for _, other in pairs),
               "ratio": {"min": each[0], "median": median, "max": each[-1]},
               "difference": worst, "peak_bytes": event["peak_rss_bytes"],
               "onnxruntime_peak_bytes": memory}
        wrong += [model.stem] if worst > TOLERANCE else []
        if arguments.json:
            print(json.dumps(row), flush=True)
        else:
            print(f"{model.stem:22} {row['edgeld_ms']:10.2f} {row['onnxruntime_ms']:10.2f} "
                  f"{each[0]:11.2f} {median:7.2f} {each[-1]:6.2f} {worst:10.1e} "
                  f"{event['peak_rss_bytes'] / 1e6:6.0f} {memory / 1e6:10.0f}", flush=True)
    if not arguments.json and len(ratios) > 1:
        print(f"{'geometric mean':22} {'':21} {'':11} {statistics.geometric_mean(ratios):7.2f}")
    if wrong:
        sys.exit(f"outputs differ by more than {TOLERANCE}: {', '.join(wrong)}")


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"onnxruntime_ratio.py: {error}\n{(error.stderr or b'').decode(errors='replace')}")
