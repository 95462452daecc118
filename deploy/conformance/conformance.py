#!/usr/bin/env python3
"""Compares edgeld's logits with onnxruntime's, for every model at several device counts.

    conformance.py [--quick]      deploy/conformance/run makes the environment it needs, and calls it

Columns 1, 2, 3, 5: so many devices in one thread, strips through the wire format (the example
onnx_together). Column "processes": two workers and a leader over TCP. Every figure is the largest
|difference| of the first output as a part of the largest |logit|: it must be at most 1e-3, and the
top class the same. Softmax outputs hide errors, so logits are compared.
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
TOLERANCE = 1e-3
EFFICIENTNET_SOURCES = {name: models.PACKAGES[name] for name in models.PACKAGES
                        if name.startswith(("efficientnet", "torchvision", "scikit-image"))}


def generated(name: str) -> Path:
    path = OUT / f"models/{name}.onnx"
    if not path.exists():
        models.generate(OUT, [name], seed=7, size=None)
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
    "efficientnet_lite0 --half": (lambda: efficientnet(half=True), COFFEE)}
QUICK = tuple(MODELS)[:4]


def onnxruntime_answer(model: Path, source: str, folder: Path) -> np.ndarray:
    """The first output of onnxruntime on one thread; leaves the input in `folder`."""
    options = models.onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = models.onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    tensor = models.input_tensor(source, [1, *entry.shape[1:]])
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "input.npy", tensor)
    return session.run(None, {entry.name: tensor})[0]


def in_memory(binaries: Path, model: Path, folder: Path) -> dict[str, np.ndarray]:
    command = [binaries / "onnx_together", model, folder / "input.npy", folder, *map(str, DEVICES)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {str(count): np.load(folder / f"devices{count}_output0.npy").ravel()
            for count in DEVICES}


def over_tcp(model: Path, folder: Path, workers: Workers) -> np.ndarray:
    workers.lead(str(model), str(folder / "input.npy"), "--devices", "3", "--spread",
                 "--save", str(folder), *workers.join())
    return np.load(folder / "frame0_output0.npy").ravel()


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}")
    parser.add_argument("--binaries", type=Path, default=ROOT / "target/release", metavar="DIR")
    arguments = parser.parse_args()
    binaries = arguments.binaries
    columns = [*map(str, DEVICES), "processes"]
    print(f"{'|difference| / largest |logit|':34}", *(f"{column:>10}" for column in columns))
    missed = 0
    with Workers(str(binaries / "edgeld"), 2) as workers:
        for name in QUICK if arguments.quick else MODELS:
            make, source = MODELS[name]
            model, folder = make(), OUT / "answers" / name.split(",")[0].replace(" --", "_")
            wanted = onnxruntime_answer(model, source, folder)
            answers = {**in_memory(binaries, model, folder),
                       "processes": over_tcp(model, folder, workers)}
            cells = []
            for column in columns:
                answer, logits = answers[column], wanted.ravel()
                if answer.shape != logits.shape:
                    missed, cells = missed + 1, [*cells, f"{answer.size} values"]
                    continue
                difference = np.abs(answer - logits).max() / np.abs(logits).max()
                good = difference <= TOLERANCE and answer.argmax() == logits.argmax()
                missed, cells = missed + (not good), [*cells, f"{difference:.1e}{'' if good else ' !'}"]
            print(f"{name:34}", *(f"{cell:>10}" for cell in cells), flush=True)
    if missed:
        sys.exit(f"{missed} answers are not onnxruntime's: more than {TOLERANCE} apart, or another class")


if __name__ == "__main__":
    try:
        main()
    except (Failed, subprocess.CalledProcessError) as error:
        sys.exit(f"conformance.py: {error}")
