#!/usr/bin/env python3
"""Holds `edgeld` to its bars, by what it prints with --json: wanted, seen, met or missed.

    acceptance.py demo               the demonstration, line by line
    acceptance.py matrix [--quick]   three workers and a leader: every model, kernel, exchange,
                                     fusion, partition, with the leader idle and not
    acceptance.py lab [--quick]      five devices that know of each other by mDNS alone, then one
                                     of them six times slower, from the beginning and while
                                     frames run (root; exit 77 where impossible)
    acceptance.py memory             the peak of a VGG16 leader and of its workers
    acceptance.py speed              one thread against onnxruntime's, in turns

What is missing of the models is made by deploy/conformance; `speed` has to run in its environment:
`target/python/bin/python deploy/lab/acceptance.py` (deploy/conformance/run makes it).
Exit status: 0 all met; 1 a bar was missed or something failed; 77 this machine cannot.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, RawTextHelpFormatter
from pathlib import Path

from cluster import SKIP, Cluster, ClusterError, Device, NoRights
from processes import Bars, Event, Failed, Watched, Workers, of_kind, spawn

ROOT = Path(__file__).resolve().parents[2]
EFFICIENTNET = ROOT / "actors/assets/efficientnet_lite0.onnx"
COFFEE = ROOT / "actors/assets/coffee.jpg"
EXCHANGES, FUSIONS = ("leader", "peer"), ("layerwise", "block", "auto")
PARTITIONS = ("bodp", "ocbp", "minmax")
TOLERANCE = 1e-4  # of the largest logit, for kernels that are not exact


MAKE = """source deploy/environment
exec "$python" -c '
import sys
sys.path.append("deploy/conformance")
import conformance
conformance.MODELS[sys.argv[1]][0]()' "$0"
"""


def generated(name: str) -> str:
    """A network of deploy/conformance, made if it is not there, and its environment with it."""
    path = ROOT / f"target/conformance/models/{name}.onnx"
    if not path.exists():
        # What the makers print is not part of anybody's results.
        subprocess.run(["bash", "-ec", MAKE, name], cwd=ROOT, check=True, stdout=sys.stderr)
    return str(path)


def agrees(summary: Event, exact: bool) -> bool:
    bound = 0 if exact else TOLERANCE * summary["max_abs"]
    return summary["lost"] == 0 and summary["max_abs_diff"] <= bound


def active(leader: Watched) -> list[Event]:
    return [device for device in of_kind(leader.events, "cluster")[-1]["devices"]
            if device["state"] == "active"]


def demo(edgeld: str, bars: Bars, quick: bool) -> None:
    shown = Watched(spawn([edgeld, "demo", "--json"], dict(os.environ)))
    bars.check("demo: exit code", "0", code := shown.end(300), code == 0)
    if code:
        raise Failed(shown.said())
    last = shown.events[-1]
    bars.check("demo: last line", '"checked":true', last, last.get("checked") is True)
    bars.check("demo: workers", ">= 3", last["workers"], last["workers"] >= 3)
    if not quick:  # a busy machine can miss these
        bars.check("demo: speed-up over one such device", ">= 2.5", f"{last['speedup']:.2f}",
                   last["speedup"] >= 2.5)
        bars.check("demo: prediction error of the first plan", "<= 0.2",
                   f"{last['prediction_error']:.2f}", last["prediction_error"] <= 0.2)
    bars.check("demo: the coffee picture", "espresso", last["label"], last["label"] == "espresso")
    plans = of_kind(shown.events, "plan")
    found = {device["id"] for event in of_kind(shown.events, "cluster")
             for device in event["devices"] if device["found"] == "mdns"}
    holders = {share["device"] for plan in plans for stage in plan["stages"]
               for share in stage["shares"]} & found
    bars.check("demo: found by mDNS and at work", ">= 3", len(holders), len(holders) >= 3)
    reasons = {plan["reason"] for plan in plans}
    bars.check("demo: reasons of plans", "slower, lost, joined", ", ".join(sorted(reasons)),
               reasons >= {"slower", "lost", "joined"})
    summary = of_kind(shown.events, "summary")[-1]
    seen = f"lost {summary['lost']}, {summary['max_abs_diff']} of {summary['max_abs']:.4g}"
    bars.check("demo: answers", "lost 0, <= 1e-4 of", seen, agrees(summary, exact=False))


def matrix(edgeld: str, bars: Bars, quick: bool) -> None:
    models = {"efficientnet_lite0": (str(EFFICIENTNET), str(COFFEE))}
    if not quick:
        models = {"vgg16": ("vgg16", "random:1"),
                  "resnet18": (generated("resnet18"), "random:1"),
                  "mobilenetv2": (generated("mobilenetv2"), "random:1"), **models}
    settings = itertools.product(("fast", "exact"), EXCHANGES, FUSIONS, PARTITIONS, (False, True))
    settings = [setting for setting in settings if not quick or setting[3] != "bodp"]
    with Workers(edgeld, 3) as workers:
        for name, (model, picture) in models.items():
            for kernels, exchange, fusion, partition, idle in settings:
                leader = workers.lead(
                    model, picture, "--devices", "4", "--spread", "--compare", "--repeat", "3",
                    "--kernels", kernels, "--exchange", exchange, "--fusion", fusion,
                    "--partition", partition, *(["--leader-idle"] if idle else []),
                    *workers.join())
                (summary,) = of_kind(leader.events, "summary")
                count, wanted = len(active(leader)), 3 if idle else 4
                words = [name, kernels, exchange, fusion, partition, "idle" if idle else ""]
                largest = summary["max_abs_diff"] / summary["max_abs"]
                bars.check(" ".join(words), f"{wanted} active, {'0' if kernels == 'exact' else '<= 1e-4'}",
                           f"{count} active, {largest:.2g}, {summary['total_ms']['median']:.0f} ms "
                           f"(alone {summary['alone_ms']['median']:.0f} ms)",
                           count == wanted and agrees(summary, kernels == "exact"))


def lab(edgeld: str, bars: Bars, quick: bool) -> None:
    cluster = Cluster("accept")
    cluster.down()  # what a run that was killed left behind
    names = "abcde"
    if quick:
        cluster.up([Device(name) for name in names], limits=False)
    else:
        cluster.up([Device(name, rate=10**9) for name in names], cores="1", shape_core=0, tick_ms=1)
    try:
        everyone_is_found(edgeld, cluster, bars)
        if not quick:
            for partition in ("ocbp", "minmax"):
                the_slow_one_gets_little(edgeld, cluster, partition, bars)
            rows_leave_the_one_that_becomes_slow(edgeld, cluster, bars)
    finally:
        cluster.down()


def inside(cluster: Cluster, name: str):
    def start(command: list[str], environment: dict) -> subprocess.Popen:
        return cluster.popen(name, command, env=environment, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    return start


def workers_in(edgeld: str, cluster: Cluster) -> Workers:
    """One in each device but the first, which is the leader's."""
    spawns = [inside(cluster, name) for name in list(cluster.devices)[1:]]
    return Workers(edgeld, len(spawns), options=("--insecure",), spawns=spawns, listen="")


def everyone_is_found(edgeld: str, cluster: Cluster, bars: Bars) -> None:
    with workers_in(edgeld, cluster) as workers:
        started = time.time() * 1e3
        leader = workers.lead(str(EFFICIENTNET), str(COFFEE), "--devices", "5", "--spread",
                              "--compare", "--repeat", "2", "--insecure", "--cluster",
                              workers.cluster, start=inside(cluster, "a"))
    complete = next(event for event in of_kind(leader.events, "cluster")
                    if len(event["devices"]) == 5)
    seconds = (complete["t"] - started) / 1e3
    bars.check("lab: five found, after the last start", "<= 3 s", f"{seconds:.2f} s", seconds <= 3)
    found = sorted(device["found"] for device in complete["devices"])
    bars.check("lab: how", "mdns, and self", " ".join(found), found == ["mdns"] * 4 + ["self"])
    (summary,) = of_kind(leader.events, "summary")
    bars.check("lab: answered by five", "5 active, <= 1e-4",
               f"{len(active(leader))} active, {summary['max_abs_diff'] / summary['max_abs']:.2g}",
               len(active(leader)) == 5 and agrees(summary, exact=False))


def the_slow_one_gets_little(edgeld: str, cluster: Cluster, partition: str, bars: Bars) -> None:
    for name in "abcde":
        cluster.set_quota(name, None)
    with workers_in(edgeld, cluster) as workers:  # they boot unthrottled
        for name in "abcd":
            cluster.set_quota(name, 18)
        cluster.set_quota("e", 3)
        leader = workers.lead("vgg16", "random:1", "--devices", "5", "--partition", partition,
                              "--spread", "--repeat", "3", "--insecure", "--wait", "120",
                              "--cluster", workers.cluster, start=inside(cluster, "a"))
    mine, rows = rows_of(leader, "worker4", of_kind(leader.events, "plan")[-1])
    bars.check(f"lab: rows of a device six times slower, {partition}",
               f"1 to {rows / 5 / 3:.1f} of {rows}", mine, 1 <= mine <= rows / 5 / 3)


def rows_of(leader: Watched, name: str, plan: Event) -> tuple[int, int]:
    """A device's rows in the stage of a plan that has most, and all rows of that."""
    devices = of_kind(leader.events, "cluster")[-1]["devices"]
    (wanted,) = (device["id"] for device in devices if device["name"] == name)
    stages = [stage["shares"] for stage in plan["stages"] if stage["split"] == "rows"]
    shares = max(stages, key=lambda shares: max(share["to"] for share in shares))
    mine = sum(share["to"] - share["from"] for share in shares if share["device"] == wanted)
    return mine, max(share["to"] for share in shares)


def rows_leave_the_one_that_becomes_slow(edgeld: str, cluster: Cluster, bars: Bars) -> None:
    for name in "abcde":
        cluster.set_quota(name, None)
    with workers_in(edgeld, cluster) as workers:
        for name in "abcde":
            cluster.set_quota(name, 18)
        leader = workers.begin("vgg16?size=64", "random:1", "--devices", "5", "--spread",
                               "--repeat", "10000", "--insecure", "--wait", "120", "--cluster",
                               workers.cluster, start=inside(cluster, "a"))
        leader.wait_for("plan", 120)
        for _ in range(20):  # the first plan is of figures at rest; frames may correct it
            leader.wait_for("frame", 120)
        before, rows = rows_of(leader, "worker4", of_kind(leader.events, "plan")[-1])
        cluster.set_quota("e", 3)
        started, after, reasons = time.monotonic(), before, []
        while after > before / 2 and time.monotonic() < started + 60:
            plan = leader.wait_for("plan", 60)
            after, _ = rows_of(leader, "worker4", plan)
            reasons.append(plan["reason"])
        leader.interrupt()
    bars.check("lab: rows of a device that becomes six times slower",
               f"<= {before / 2:g} of {rows}, slower",
               f"{after} after {time.monotonic() - started:.0f} s, {' '.join(reasons)}",
               after <= before / 2 and "slower" in reasons)


def memory(edgeld: str, bars: Bars, quick: bool) -> None:
    # The leader holds the whole model, for --compare, and its share. Pools and dense layers stay
    # on it, so that workers hold convolutions only.
    with Workers(edgeld, 3) as workers:
        leader = workers.lead("vgg16", "random:1", "--devices", "4", "--spread", "--compare",
                              "--repeat", "3", "--exchange", "leader", "--fusion", "block",
                              *workers.join())
    gigabytes = leader.peak_rss_bytes / 1e9
    bars.check("memory: a leader of VGG16, --compare", "<= 1.6 GB", f"{gigabytes:.2f} GB",
               gigabytes <= 1.6)
    peaks = [worker.peak_rss_bytes / 1e6 for worker in workers.running]
    bars.check("memory: workers that hold convolutions", "<= 500 MB",
               ", ".join(f"{peak:.0f} MB" for peak in peaks), max(peaks) <= 500)


ONNXRUNTIME = """
import sys, time, numpy, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
tensor = numpy.random.default_rng(1).standard_normal([1, 3, 224, 224], numpy.float32)
times = []
for _ in range(int(sys.argv[2]) + 1):
    start = time.perf_counter()
    session.run(None, {entry.name: tensor})
    times.append((time.perf_counter() - start) * 1e3)
print(sorted(times[1:])[len(times[1:]) // 2])
"""


def speed(edgeld: str, bars: Bars, quick: bool) -> None:
    model, repeat = generated("vgg16"), "5"
    core = max(os.sched_getaffinity(0))

    def on_one_core(*command: str) -> str:
        return subprocess.run(command, check=True, capture_output=True, text=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, {core})).stdout

    ours, theirs = [], []
    for _ in range(3 if quick else 5):
        theirs.append(float(on_one_core(sys.executable, "-c", ONNXRUNTIME, model, repeat)))
        bench = on_one_core(edgeld, "bench", "local", "vgg16", "--threads", "1", "--repeat", repeat,
                            "--json")
        ours.append(json.loads(bench.splitlines()[-1])["total_ms"]["median"])
    ratio = statistics.median(ours) / statistics.median(theirs)
    bars.check("speed: VGG16 on one thread, in onnxruntime's times", "<= 2.0",
               f"{ratio:.2f} ({statistics.median(ours):.0f} of {statistics.median(theirs):.0f} ms; "
               f"{min(ours):.0f}-{max(ours):.0f} of {min(theirs):.0f}-{max(theirs):.0f})",
               ratio <= 2.0)


def main() -> None:
    sections = {section.__name__: section for section in (demo, matrix, lab, memory, speed)}
    parser = ArgumentParser(description=__doc__, formatter_class=RawTextHelpFormatter)
    parser.add_argument("sections", nargs="+", choices=sections)
    parser.add_argument("--quick", action="store_true", help="a part that takes a minute or so")
    parser.add_argument("--edgeld", default=str(ROOT / "target/release/edgeld"))
    arguments = parser.parse_args()
    bars = Bars()
    try:
        for section in arguments.sections:
            sections[section](arguments.edgeld, bars, arguments.quick)
    except NoRights as error:
        print(f"not possible here: {error}", file=sys.stderr)
        sys.exit(SKIP)
    except (Failed, ClusterError, subprocess.CalledProcessError, FileNotFoundError) as error:
        sys.exit(f"acceptance.py: {error}")
    bars.exit()


if __name__ == "__main__":
    main()
