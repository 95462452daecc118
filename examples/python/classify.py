#!/usr/bin/env python3
"""What does a picture show? Asks `edgeld serve` over HTTP, with tritonclient alone.

    edgeld serve --model net=actors/assets/efficientnet_lite0.onnx,task=classify
    pip install 'tritonclient[http]' pillow
    python classify.py net actors/assets/coffee.jpg

The picture is prepared here, as any client of the protocol does it; posting the file itself to
/v2/models/net/classify leaves that to the server.
"""

import sys

import numpy as np
import tritonclient.http as triton
from PIL import Image

MEAN, STD = 127.0, 128.0  # what EfficientNet-Lite was trained with


def main(model: str, path: str, server: str = "127.0.0.1:8000") -> None:
    with triton.InferenceServerClient(server) as client:
        about = client.get_model_metadata(model)
        port, output = about["inputs"][0], about["outputs"][0]
        side = port["shape"][2]
        picture = Image.open(path).convert("RGB")
        edge = min(picture.size) * 0.875
        left, top = ((length - edge) / 2 for length in picture.size)
        square = picture.resize((side, side), Image.BICUBIC, (left, top, left + edge, top + edge))
        tensor = (np.asarray(square, np.float32).transpose(2, 0, 1)[None] - MEAN) / STD
        given = triton.InferInput(port["name"], list(tensor.shape), "FP32")
        given.set_data_from_numpy(tensor)
        asked = triton.InferRequestedOutput(output["name"], class_count=5)
        answer = client.infer(model, [given], outputs=[asked])
        for line in answer.as_numpy(output["name"]).flatten():
            print(line.decode())


if __name__ == "__main__":
    main(*sys.argv[1:])
