#!/usr/bin/env python3
"""Which objects are where in pictures? Posts the files to `edgeld serve`; Python's standard library.

    edgeld serve --model eyes=yolov8n.onnx,preset=unit,task=detect
    python detect.py eyes street.jpg yard.png
"""

import json
import sys
import urllib.request
from pathlib import Path

SERVER = "http://127.0.0.1:8000"


def detect(model: str, picture: bytes) -> list[dict]:
    request = urllib.request.Request(f"{SERVER}/v2/models/{model}/detect", picture,
                                     {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["detections"]


def main(model: str, *paths: str) -> None:
    for path in paths:
        for found in detect(model, Path(path).read_bytes()):
            left, top, right, bottom = map(round, found["box"])
            name = found["label"] or f"#{found['class']}"
            print(f"{path}: {name} {found['score']:.0%} at {left},{top} to {right},{bottom}")


if __name__ == "__main__":
    main(*sys.argv[1:])
