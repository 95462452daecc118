#!/usr/bin/env python3
"""What programs do with `edgeld serve`, by clients that people already have.

tritonclient over HTTP and gRPC (sync, async, JSON, binary, compressed, streams, errors), gRPC's
health checks, curl's and DeepStack's way with pictures, Prometheus' own parser, schemathesis over
the OpenAPI file. A classifier and a detector are split over this process' leader and two workers;
answers are compared with those of `edgeld run`.
"""

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy/lab"))
from processes import Bars, Watched, Workers, of_kind, spawn  # noqa: E402

CLASSIFIER = ROOT / "actors/assets/efficientnet_lite0.onnx"
DETECTOR = ROOT / "runtime/tests/golden/detector.onnx"
PICTURE = ROOT / "actors/assets/coffee.jpg"
TOKEN = "a-token-for-tests"
# What a description says of a request is less than what a model says: both may refuse one.
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance," \
    "response_schema_conformance"
TOLERANCE = 1e-4  # of the largest output


class Site:
    """A server, its workers, and what `edgeld run` answers."""

    def __init__(self, workers: Workers, server: Watched) -> None:
        self.workers, self.server = workers, server
        serving = server.wait_for("serving", 120)
        self.http, self.grpc = serving["http"], serving["grpc"]
        self.url = f"http://{self.http}"

    def reference(self, model: Path, given: Path) -> np.ndarray:
        with tempfile.TemporaryDirectory() as out:
            self.workers.lead(str(model), str(given), "--alone", "--no-mdns", "--save", out)
            return np.load(f"{out}/frame0_output0.npy")

    def request(self, path: str, body: bytes | None = None,
                headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, body, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@contextmanager
def serving(edgeld: str, models: list[str], *flags: str, count: int = 2,
            options: Sequence[str] = ("--no-mdns",)) -> Iterator[Site]:
    with Workers(edgeld, count, options) as workers:
        named = [flag for model in models for flag in ("--model", model)]
        where = ["--devices", str(count + 1), *workers.join()] if count else ["--no-mdns"]
        command = [edgeld, "serve", "--json", *named, "--listen", "127.0.0.1:0", "--grpc",
                   "127.0.0.1:0", *where, *flags]
        server = Watched(spawn(command, workers.environment("server")))
        try:
            yield Site(workers, server)
        finally:
            server.interrupt()


def close(found: np.ndarray, wanted: np.ndarray) -> bool:
    return found.shape == wanted.shape \
        and float(np.abs(found - wanted).max()) <= TOLERANCE * float(np.abs(wanted).max())


def refused(call, *words: str) -> tuple[str, bool]:
    """What the client says when the server refuses, and whether it holds these words."""
    try:
        call()
    except InferenceServerException as error:
        text = f"{error.status()}: {error.message()}"
        return text[:110], all(word in text for word in words)
    return "accepted", False


def http(site: Site, bars: Bars, tensor: np.ndarray, wanted: np.ndarray) -> None:
    name, output = "net", None
    with triton_http.InferenceServerClient(site.http) as client:
        bars.check("http: live, ready, model ready", "all", client.get_server_metadata()["name"],
                   client.is_server_live() and client.is_server_ready()
                   and client.is_model_ready(name) and client.is_model_ready(name, "1"))
        about = client.get_model_metadata(name)
        output = about["outputs"][0]["name"]
        bars.check("http: metadata", "[1, 3, 224, 224]", about["inputs"],
                   about["inputs"][0]["shape"] == [1, 3, 224, 224])
        bars.check("http: list of models", "2", client.get_model_repository_index(),
                   len(client.get_model_repository_index()) == 2)

        def given(binary: bool, kind: str = "FP32", data: np.ndarray = tensor):
            one = triton_http.InferInput(about["inputs"][0]["name"], list(data.shape), kind)
            one.set_data_from_numpy(data, binary_data=binary)
            return [one]

        for binary_in in (True, False):
            for binary_out in (True, False):
                asked = [triton_http.InferRequestedOutput(output, binary_data=binary_out)]
                answer = client.infer(name, given(binary_in), outputs=asked, request_id="7")
                bars.check(f"http: binary in {binary_in}, out {binary_out}", "edgeld run's",
                           answer.get_response()["id"], close(answer.as_numpy(output), wanted)
                           and answer.get_response()["id"] == "7")
        answer = client.infer(name, given(True), request_compression_algorithm="gzip",
                              response_compression_algorithm="gzip")
        bars.check("http: gzip both ways", "edgeld run's", "",
                   close(answer.as_numpy(output), wanted))
        answer = client.infer(name, given(True, "FP16", tensor.astype(np.float16)))
        bars.check("http: float16 in", "within 0.05", "",
                   np.abs(answer.as_numpy(output) - wanted).max() < 0.05 * np.abs(wanted).max())
        asked = [triton_http.InferRequestedOutput(output, class_count=3)]
        classes = client.infer(name, given(True), outputs=asked).as_numpy(output)
        best = int(wanted.argmax())
        bars.check("http: three classes", f"{best} first", classes,
                   classes.size == 3 and f":{best}" in classes.flatten()[0].decode())
        waiting = [client.async_infer(name, given(True)) for _ in range(4)]
        bars.check("http: four at once", "edgeld run's", "", all(
            close(one.get_result().as_numpy(output), wanted) for one in waiting))
        small = np.zeros((1, 3, 8, 8), np.float32)
        for what, call, words in [
            ("no such model", lambda: client.infer("cat", given(True)), ("404", "net, eyes")),
            ("no such version", lambda: client.infer(name, given(True), model_version="2"),
             ("404", "version")),
            ("another shape", lambda: client.infer(name, given(True, data=small)),
             ("400", "[1, 3, 224, 224]")),
            ("an unknown output", lambda: client.infer(
                name, given(True), outputs=[triton_http.InferRequestedOutput("cat")]),
             ("400", "cat")),
            ("no inputs", lambda: client.infer(name, []), ("400", "missing")),
        ]:
            bars.check(f"http: {what}", " ".join(words), *refused(call, *words))

    async def asynchronous() -> bool:
        async with triton_http_aio.InferenceServerClient(site.http) as client:
            answers = await asyncio.gather(*(client.infer(name, given(True)) for _ in range(4)))
            return all(close(answer.as_numpy(output), wanted) for answer in answers)

    bars.check("http: asyncio, four at once", "edgeld run's", "", asyncio.run(asynchronous()))


def over_grpc(site: Site, bars: Bars, tensor: np.ndarray, wanted: np.ndarray) -> None:
    name = "net"
    with triton_grpc.InferenceServerClient(site.grpc) as client:
        about = client.get_model_metadata(name)
        output, port = about.outputs[0].name, about.inputs[0].name
        bars.check("grpc: live, ready, model ready", "all", client.get_server_metadata().name,
                   client.is_server_live() and client.is_server_ready()
                   and client.is_model_ready(name))

        def given(data: np.ndarray = tensor):
            one = triton_grpc.InferInput(port, list(data.shape), "FP32")
            one.set_data_from_numpy(data)
            return [one]

        for compression in (None, "gzip", "deflate"):
            answer = client.infer(name, given(), request_id="7",
                                  compression_algorithm=compression)
            bars.check(f"grpc: compression {compression}", "edgeld run's", answer.get_response().id,
                       close(answer.as_numpy(output), wanted) and answer.get_response().id == "7")
        typed = triton_grpc.service_pb2.ModelInferRequest(model_name=name)
        one = typed.inputs.add(name=port, datatype="FP32", shape=list(tensor.shape))
        one.contents.fp32_contents.extend(tensor.flatten().tolist())
        answer = triton_grpc.InferResult(client._client_stub.ModelInfer(typed))
        bars.check("grpc: typed contents", "edgeld run's", "",
                   close(answer.as_numpy(output), wanted))
        asked = [triton_grpc.InferRequestedOutput(output, class_count=2)]
        classes = client.infer(name, given(), outputs=asked).as_numpy(output)
        bars.check("grpc: two classes", f"{int(wanted.argmax())} first", classes,
                   classes.size == 2 and f":{int(wanted.argmax())}" in classes.flatten()[0].decode())
        done: queue.Queue = queue.Queue()
        for _ in range(4):
            client.async_infer(name, given(), lambda result, error: done.put((result, error)))
        answers = [done.get(timeout=60) for _ in range(4)]
        bars.check("grpc: four at once", "edgeld run's", "", all(
            error is None and close(result.as_numpy(output), wanted)
            for result, error in answers))
        streamed: list = []
        client.start_stream(lambda result, error: streamed.append((result, error)))
        client.async_stream_infer(name, given())
        client.async_stream_infer("cat", given())
        client.async_stream_infer(name, given())
        client.stop_stream()
        bars.check("grpc: a stream, the second of three wrong", "2 answers, 1 error",
                   [str(error)[:40] for _, error in streamed],
                   [error is None for _, error in streamed] == [True, False, True]
                   and all(close(result.as_numpy(output), wanted)
                           for result, error in streamed if error is None))
        small = np.zeros((1, 3, 8, 8), np.float32)
        for what, call, words in [
            ("no such model", lambda: client.infer("cat", given()), ("NOT_FOUND", "net, eyes")),
            ("another shape", lambda: client.infer(name, given(small)),
             ("INVALID_ARGUMENT", "[1, 3, 224, 224]")),
            ("no inputs", lambda: client.infer(name, []), ("INVALID_ARGUMENT", "missing")),
        ]:
            bars.check(f"grpc: {what}", " ".join(words), *refused(call, *words))

    async def asynchronous() -> bool:
        async with triton_grpc_aio.InferenceServerClient(site.grpc) as client:
            answers = await asyncio.gather(*(client.infer(name, given()) for _ in range(4)))
            return all(close(answer.as_numpy(output), wanted) for answer in answers)

    bars.check("grpc: asyncio, four at once", "edgeld run's", "", asyncio.run(asynchronous()))
    with grpc.insecure_channel(site.grpc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "inference.GRPCInferenceService"):
            status = stub.Check(health_pb2.HealthCheckRequest(service=service)).status
            bars.check(f"grpc: health of {service or 'all'}", "SERVING", status, status == 1)


def pictures(site: Site, bars: Bars) -> None:
    picture = PICTURE.read_bytes()
    run = site.workers.lead(str(DETECTOR), str(PICTURE), "--alone", "--no-mdns")
    wanted = of_kind(run.events, "frame")[0]["detections"]
    status, body = site.request("/v2/models/eyes/detect", picture)
    found = json.loads(body)["detections"]
    same = [(one["class"], one["label"]) for one in found] \
        == [(one["class"], one["label"]) for one in wanted] \
        and all(np.allclose(a["box"], b["box"], atol=0.01) for a, b in zip(found, wanted))
    bars.check("detect: as edgeld run", str(len(wanted)), len(found), status == 200 and same)
    run = site.workers.lead(str(CLASSIFIER), str(PICTURE), "--alone", "--no-mdns", "--task",
                            "classify")
    wanted = of_kind(run.events, "frame")[0]["classes"]
    status, body = site.request("/v2/models/net/classify", picture)
    found = json.loads(body)["classes"]
    bars.check("classify: as edgeld run", f"#{wanted[0]['index']}", found[0], status == 200
               and found[0]["index"] == wanted[0]["index"]
               and abs(found[0]["probability"] - wanted[0]["probability"]) < 1e-3)
    form = subprocess.run(["curl", "-sS", "-F", f"image=@{PICTURE}", "-F", "min_confidence=0.3",
                           f"{site.url}/v1/vision/detection"], capture_output=True, text=True)
    answer = json.loads(form.stdout or "{}")
    bars.check("deepstack: a form by curl", "success", answer, answer.get("success") is True
               and {"label", "confidence", "x_min", "y_min", "x_max", "y_max"}
               <= set(answer["predictions"][0]))
    for what, path, body, code in [
        ("not a picture", "/v2/models/net/classify", b"GIF89a, not really", 400),
        ("half a picture", "/v2/models/net/classify", picture[:len(picture) // 2], 400),
        ("nothing", "/v2/models/eyes/detect", b"", 400),
        ("a classifier asked where", "/v2/models/net/detect", picture, 400),
        ("no such model", "/v2/models/cat/classify", picture, 404),
        ("no such path", "/v3/cat", picture, 404),
    ]:
        status, answer = site.request(path, body)
        said = json.loads(answer).get("error", "")
        bars.check(f"pictures: {what}", str(code), f"{status} {said[:70]}",
                   status == code and bool(said))


def numbers(site: Site, bars: Bars) -> None:
    status, body = site.request("/metrics")
    families = {family.name: family for family in text_string_to_metric_families(body.decode())}
    answered = sum(sample.value for sample in families["edgeld_requests"].samples
                   if sample.labels["outcome"] == "answered")
    active = sum(sample.value for sample in families["edgeld_devices"].samples)
    bars.check("metrics: OpenMetrics' reference parser reads them", "3 devices",
               f"{len(families)} families, {answered:.0f} answered, {active:.0f} devices",
               status == 200 and answered > 10 and active == 3)


def described(site: Site, bars: Bars, examples: int) -> None:
    """Any model's name first; then those that there are, where what fits the description may still
    not fit the model."""
    program = str(Path(sys.executable).with_name("schemathesis"))
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as named:
        named.write('[parameters]\nmodel = ["net", "eyes"]\nversion = "1"\n')
        named.flush()
        for name, config in [("any name", []), ("real names", ["--config-file", named.name])]:
            command = [program, *config, "run", f"{site.url}/openapi.json", "--url", site.url,
                       "--checks", CHECKS, "--max-examples", str(examples), "--seed", "1", "--no-color",
                       "--suppress-health-check", "all"]
            done = subprocess.run(command, capture_output=True, text=True)
            summary = [line for line in done.stdout.splitlines() if line.strip()][-1:]
            bars.check(f"openapi: schemathesis, {name}", "no failure", summary,
                       done.returncode == 0)
            if done.returncode:
                print(done.stdout[-6000:], done.stderr[-1000:])


def guarded(edgeld: str, bars: Bars, tensor: np.ndarray) -> None:
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(TOKEN + "\n")
        file.flush()
        with serving(edgeld, [f"net={CLASSIFIER}"], "--token-file", file.name, count=1) as site:
            bearer = {"Authorization": f"Bearer {TOKEN}"}
            for what, path, headers, code in [
                ("health needs none", "/v2/health/ready", {}, 200),
                ("models need one", "/v2/models/net", {}, 401),
                ("another one", "/v2/models/net", {"Authorization": "Bearer no"}, 401),
                ("the right one", "/v2/models/net", bearer, 200),
                ("metrics need one", "/metrics", {}, 401),
            ]:
                status, _ = site.request(path, headers=headers)
                bars.check(f"token: {what}", str(code), status, status == code)
            one = triton_grpc.InferInput("input", list(tensor.shape), "FP32")
            one.set_data_from_numpy(tensor)
            with triton_grpc.InferenceServerClient(site.grpc) as client:
                bars.check("token: grpc without", "UNAUTHENTICATED", *refused(
                    lambda: client.get_model_metadata("net"), "UNAUTHENTICATED"))
                headers = {"authorization": f"Bearer {TOKEN}"}
                about = client.get_model_metadata("net", headers=headers)
                bars.check("token: grpc with it", "net", about.name, about.name == "net")
            # Ends in order, and says so to whoever started it.
            os.kill(site.server.process.pid, signal.SIGTERM)
            code = site.server.end(20)
            bars.check("SIGTERM ends it", "0", code, code == 0)
    done = subprocess.run([edgeld, "serve", "--model", f"net={CLASSIFIER}", "--listen",
                           "0.0.0.0:0"], capture_output=True, text=True)
    bars.check("all may use it only with --insecure", "2", done.returncode, done.returncode == 2)


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=50, help="of schemathesis, per operation")
    parser.add_argument("--binary", default=str(ROOT / "target/release/edgeld"))
    arguments = parser.parse_args()
    bars = Bars()
    generator = np.random.default_rng(5)
    tensor = generator.standard_normal((1, 3, 224, 224)).astype(np.float32)
    models = [f"net={CLASSIFIER},task=classify", f"eyes={DETECTOR}"]
    with serving(arguments.binary, models, "--spread") as site:
        with tempfile.TemporaryDirectory() as folder:
            np.save(f"{folder}/input.npy", tensor)
            wanted = site.reference(CLASSIFIER, Path(folder) / "input.npy")
        http(site, bars, tensor, wanted)
        over_grpc(site, bars, tensor, wanted)
        pictures(site, bars)
        numbers(site, bars)
        described(site, bars, arguments.examples)
    guarded(arguments.binary, bars, tensor)
    bars.exit()


if __name__ == "__main__":
    main()
