#!/usr/bin/env python3
"""Watches a camera: asks about its pictures as fast as `edgeld serve` answers, three at once.

    edgeld serve --model eyes=yolov8n.onnx,preset=unit,task=detect --in-flight 3
    pip install opencv-python-headless
    python camera.py eyes 0            # or a video file, or rtsp://...

Pictures that would wait are dropped: an old one is worth less than the next.
"""

import sys
import time
import urllib.error
from concurrent.futures import Future, ThreadPoolExecutor

import cv2

from detect import detect

AT_ONCE = 3


def main(model: str, source: str) -> None:
    camera = cv2.VideoCapture(int(source) if source.isdigit() else source)
    answered, dropped, since = 0, 0, time.monotonic()
    asked: list[Future] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while camera.isOpened():
            there, picture = camera.read()
            if not there:
                break
            while asked and asked[0].done():
                try:
                    names = sorted({one["label"] or str(one["class"])
                                    for one in asked.pop(0).result()})
                    answered += 1
                except urllib.error.HTTPError as error:  # 429: others are asking, too
                    names = [f"refused: {error.code}"]
                rate = answered / (time.monotonic() - since)
                print(f"{rate:5.1f} a second, {dropped} dropped: {', '.join(names) or 'nothing'}")
            if len(asked) < AT_ONCE:
                _, jpeg = cv2.imencode(".jpg", picture)
                asked.append(pool.submit(detect, model, jpeg.tobytes()))
            else:
                dropped += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
