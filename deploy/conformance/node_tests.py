#!/usr/bin/env python3
"""ONNX's own node tests: a tiny model, its inputs and outputs for every case of every operator.

    deploy/conformance/node_tests [--out docs/node-tests.md] [OPERATOR...]

Every case runs on one device and split over three. Where the second and later inputs are weights
in real files they are computed in these cases, so each case also runs with them as initializers,
which is what reaches the layers that are split. A case passes if every output has the shape and
the numbers that the test data say, within 1e-3 of the largest. It is disputed if onnxruntime does
not give what the data say either, but the same as edgeld. Exit status 1 if one fails; refusals
with a reason are counted, not failed.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "target/onnx-node-tests/onnx/backend/test/data/node"
TOLERANCE = 1e-3
BFLOAT16_STEP = 2**-7  # the test data are cut off, not rounded
VERDICTS = ("passed", "disputed", "refused", "failed", "skipped")


def numbers(path: Path, kind: int) -> np.ndarray | None:
    """A tensor of the test data as the command takes it, of this type in the model; None if it is
    no tensor of numbers. Bfloat16 is stored as integers."""
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        array = numpy_helper.to_array(tensor)
    except Exception:  # a sequence, an optional, a type that numpy lacks
        return None
    if kind == onnx.TensorProto.BFLOAT16 and array.dtype.kind == "u":
        return (array.astype(np.uint32) << 16).view(np.float32)
    if array.dtype.kind == "f" or "float" in str(array.dtype):
        return array.astype(np.float32)
    return array if array.dtype.kind in "iub" else None


def same(found: np.ndarray, wanted: np.ndarray, kind: int = onnx.TensorProto.FLOAT) -> bool:
    if found.shape != wanted.shape:
        return False
    wanted = wanted.astype(np.float64)
    finite = np.isfinite(wanted)
    tolerance = BFLOAT16_STEP if kind == onnx.TensorProto.BFLOAT16 else TOLERANCE
    largest = max(np.abs(wanted[finite]).max(initial=0.0), 1e-3)
    close = np.abs(np.where(finite, found - wanted, 0)) <= tolerance * largest
    odd = np.isnan(found) & np.isnan(wanted) | (found == wanted)
    return bool(np.all(np.where(finite, close, odd)))


def onnxruntime_answer(model: onnx.ModelProto,
                       inputs: list[np.ndarray]) -> list[np.ndarray] | None:
    """All outputs as float32; None if onnxruntime does not take the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        kinds = [value.type.tensor_type.elem_type for value in model.graph.input]
        arrays = [array.astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
                  for array, kind in zip(inputs, kinds)]
        names = [value.name for value in model.graph.input]
        answer = session.run(None, dict(zip(names, arrays)))
        return [np.asarray(output, np.float32) for output in answer]
    except Exception:  # whatever it dislikes
        return None


def run(binary: Path, model: onnx.ModelProto, inputs: list[np.ndarray],
        outputs: list[np.ndarray], names: list[str]) -> str:
    """"passed", "disputed: ...", "refused: ...", or "failed: ..."."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        onnx.save(model, path / "model.onnx")
        for name, array in zip(names, inputs):
            np.save(path / f"{name}.npy", array)
        given = ",".join(f"{path / name}.npy" for name in names[:len(inputs)])
        command = [binary, path / "model.onnx", given or "random:1", path, "1", "3"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return "failed: it hangs"
        if done.returncode:
            said = done.stderr.strip().splitlines()
            panicked = "panicked" in done.stderr
            reason = next((line for line in reversed(said) if "model.onnx" in line), "".join(said[-1:]))
            reason = re.sub(r"\S*/model\.onnx: ", "", reason)
            return ("failed: " if panicked or not reason else "refused: ") + reason[:300]
        for devices in (1, 3):
            for index, wanted in enumerate(outputs):
                found = np.load(path / f"devices{devices}_output{index}.npy")
                kind = model.graph.output[index].type.tensor_type.elem_type
                if not same(found, wanted, kind):
                    reference = onnxruntime_answer(model, inputs)
                    if reference and same(found, reference[index]):
                        return "disputed: onnxruntime gives the same"
                    return f"failed: output {index} of {devices} devices: {found.shape} " \
                           f"{found.ravel()[:4]}, not {wanted.shape} {wanted.ravel()[:4]}"
    return "passed"


def promoted(model: onnx.ModelProto, arrays: list[np.ndarray], used: list[str]) -> onnx.ModelProto:
    """The model with all inputs but the first as initializers."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for index in range(len(used) - 1, 0, -1):
        kind = changed.graph.input[index].type.tensor_type.elem_type
        array = arrays[index].astype(onnx.helper.tensor_dtype_to_np_dtype(kind))
        changed.graph.initializer.append(numpy_helper.from_array(array, used[index]))
        del changed.graph.input[index]
    return changed


def judge(binary: Path, case: Path) -> tuple[str, str, str] | None:
    """The case's operator, whether it passed, and why not."""
    model = onnx.load(case / "model.onnx")
    data = case / "test_data_set_0"
    operator = model.graph.node[-1].op_type
    domain = {node.domain for node in model.graph.node} - {"", "ai.onnx"}
    if domain:
        return operator, "skipped", f"operators of {', '.join(domain)}"
    inputs, outputs = (
        [numbers(data / f"{role}_{index}.pb", value.type.tensor_type.elem_type)
         for index, value in enumerate(values)]
        for role, values in (("input", model.graph.input), ("output", model.graph.output)))
    if any(array is None for array in inputs + outputs):
        return operator, "skipped", "not all inputs and outputs are tensors of numbers"
    names = [f"input{index}" for index in range(len(inputs))]
    verdicts = [run(binary, model, inputs, outputs, names)]
    if len(inputs) > 1:
        used = [value.name for value in model.graph.input]
        verdicts.append(run(binary, promoted(model, inputs, used), inputs[:1], outputs, names))
    failed = [verdict for verdict in verdicts if verdict.startswith("failed")]
    if failed:
        return operator, "failed", failed[0].removeprefix("failed: ")
    if disputed := [verdict for verdict in verdicts if verdict.startswith("disputed")]:
        return operator, "disputed", disputed[0].removeprefix("disputed: ")
    # With weights that are weights it has to work; computed ones are a bonus.
    if "passed" in verdicts:
        return operator, "passed", ""
    return operator, "refused", verdicts[-1].removeprefix("refused: ")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("operators", nargs="*", metavar="OPERATOR")
    parser.add_argument("--out", type=Path, help="the table to this file as well")
    parser.add_argument("--binaries", type=Path, default=ROOT / "target/release")
    parser.add_argument("--show", action="store_true", help="every case that did not pass")
    arguments = parser.parse_args()
    cases = sorted(path for path in DATA.iterdir() if (path / "model.onnx").exists())
    binary = arguments.binaries / "onnx_together"
    with ThreadPoolExecutor(2) as pool:
        verdicts = list(pool.map(lambda case: (case.name, judge(binary, case)), cases))
    table: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    failed = 0
    for name, (operator, verdict, reason) in verdicts:
        if arguments.operators and operator not in arguments.operators:
            continue
        table[operator][verdict] += 1
        if verdict != "passed":
            reasons[operator][reason] += 1
        failed += verdict == "failed"
        if verdict == "failed" or arguments.show and verdict != "passed":
            print(f"{name}: {verdict}: {reason}", flush=True)
    total = sum(table.values(), Counter())
    lines = [f"| operator | cases | {' | '.join(VERDICTS)} | reasons |",
             "|---|---|---|---|---|---|---|---|"]
    for operator in sorted(table):
        counts = table[operator]
        why = "; ".join(f"{reason} ({count})" for reason, count in reasons[operator].most_common(2))
        cells = [str(counts[kind] or "") for kind in VERDICTS]
        why = why.replace("|", "\\|")[:160]
        lines.append(f"| {operator} | {counts.total()} | {' | '.join(cells)} | {why} |")
    cells = [str(total[kind]) for kind in VERDICTS]
    lines.append(f"| **all** | {total.total()} | {' | '.join(cells)} | |")
    text = "\n".join(lines)
    print(text if not arguments.out else lines[-1])
    if arguments.out:
        arguments.out.write_text(
            "# ONNX's node tests\n\nMade by `deploy/conformance/node_tests` from the test data of "
            "onnx 1.17.0: every case on one device and split over three.\nA case passes or is "
            "refused with a reason. It is disputed where onnxruntime does not give what the data "
            "say either, but the same as edgeld.\nSkipped are those that are no tensors of numbers "
            f"(text, sequences, optionals) or other domains' operators.\n\n{text}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
