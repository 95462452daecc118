#!/usr/bin/env python3
"""Holds `edgeld` to its bars while the cluster changes: faults under a stream of VGG16 frames.

    faults.py kill | cable | freeze | link | two | leave    one fault in each 50 frames of a stream
    faults.py slow | rate | join                            lasting changes
    faults.py memory                                        four devices of 256 MiB
    faults.py soak --minutes 20                             an event a second
    faults.py encryption                                    with a key against without, by turns

Real processes, mDNS and signals, on the LAN of bench.py. Needs root and the machine to itself.
Exit status: 0 all met; 1 a bar was missed or something failed; 77 this machine cannot.
"""

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from acceptance import ROOT, TOLERANCE, inside
from bench import PICTURE, WAIT, Lab, difference, progress, slow_lan, stop, whole_machine
from cluster import SKIP, ClusterError, Device, NoRights, sh
from processes import Bars, Event, Failed, Watched, of_kind

MODEL = "vgg16"
GIGABIT, NOTHING = 10**9, 1000  # bits a second; a packet of the second takes 12 s
ENDLESS = 65535  # frames, the most that --repeat takes
FRAMES, SETTLED = 50, 6  # of a stream; frames after a change that may still differ
SILENT_LINK_MS = 3000  # the most a frame takes that a silent link between two workers hits
DETECTION_MS = 1000  # of a death without a reset


class Report(Bars):
    """The bars as a table, or as JSON lines."""

    def __init__(self, as_json: bool) -> None:
        super().__init__()
        self.as_json = as_json

    def check(self, name: str, wanted: str, seen: object, met: bool) -> None:
        if not self.as_json:
            return super().check(name, wanted, seen, met)
        self.missed += not met
        print(json.dumps({"event": "bar", "name": name, "wanted": wanted, "seen": seen,
                          "met": met}), flush=True)


@contextmanager
def lan(arguments: Namespace, count: int = 5, quota: float = 18) -> Iterator[Lab]:
    devices = [Device(name, quota, GIGABIT) for name in "abcdef"[:count]]
    progress(f"{count} devices of {quota:g} %: weights and workers, about a minute")
    with slow_lan(arguments.binary, devices, [MODEL], []) as lab:
        lab.run(MODEL, "--alone", "--save", str(lab.workers.folder / "reference"))
        yield lab


def stream(lab: Lab, frames: int, devices: int | None = None) -> Watched:
    saved = lab.workers.folder / "saved"
    shutil.rmtree(saved, ignore_errors=True)
    return lab.workers.begin(
        MODEL, PICTURE, "--devices", str(devices or len(lab.cluster.devices)), "--wait", WAIT,
        "--insecure", "--cluster", lab.workers.cluster, "--repeat", str(frames),
        "--save", str(saved), start=inside(lab.cluster, lab.leader))


def finish(lab: Lab, leader: Watched, frames: int) -> list[Event]:
    """The frames of a stream that lost nothing and answered as one device does."""
    if leader.end(300) != 0:
        raise Failed(f"exit code {leader.process.returncode}\n{leader.said()}")
    answered = of_kind(leader.events, "frame")
    if len(answered) != frames:
        raise Failed(f"{len(answered)} of {frames} frames answered\n{leader.said()}")
    apart = difference(lab.workers.folder / "saved", lab.workers.folder / "reference")
    if apart > TOLERANCE:
        raise Failed(f"answers are {apart:.2g} apart")
    return answered


def pass_frames(leader: Watched, count: int) -> None:
    for _ in range(count):
        leader.wait_for("frame", 120)


def took(frames: list[Event]) -> float:
    if not frames:
        raise Failed("no frames are left to compare with")
    return statistics.median(frame["total_ms"] for frame in frames)


def device_of(worker: int) -> str:
    return "abcdef"[worker + 1]


def restart(lab: Lab, worker: int) -> Watched:
    """In the place of the one that ended."""
    lab.workers.start(worker)
    lab.workers.running[worker] = lab.workers.running.pop()
    return lab.workers.running[worker]


# -- faults: each strikes some workers and returns what mends it ------------------------------

Fault = Callable[[Lab, list[int]], Callable[[], None]]


def kill(lab: Lab, hit: list[int]) -> Callable[[], None]:
    for worker in hit:
        os.kill(lab.workers.running[worker].process.pid, signal.SIGKILL)

    def again() -> None:
        for worker in hit:
            lab.workers.running[worker].end()
            restart(lab, worker).wait_for("listening", 60)
    return again


def cable(lab: Lab, hit: list[int]) -> Callable[[], None]:
    for worker in hit:
        lab.cluster.cut(device_of(worker))
    return lambda: [lab.cluster.heal(device_of(worker)) for worker in hit]


def freeze(lab: Lab, hit: list[int]) -> Callable[[], None]:
    pids = [lab.workers.running[worker].process.pid for worker in hit]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return lambda: [os.kill(pid, signal.SIGCONT) for pid in pids]


def starve(lab: Lab, hit: list[int]) -> Callable[[], None]:
    for worker in hit:
        lab.cluster.set_rate(device_of(worker), NOTHING)
    return lambda: [lab.cluster.set_rate(device_of(worker), GIGABIT) for worker in hit]


def blackhole(lab: Lab, hit: list[int]) -> Callable[[], None]:
    one, other = map(device_of, hit)

    def route(verb: str) -> None:
        for here, there in ((one, other), (other, one)):
            sh("ip", "-n", lab.cluster.netns(here), "route", verb, "blackhole",
               lab.cluster.device(there).ip)
    route("add")
    return lambda: route("del")


def leave(lab: Lab, hit: list[int]) -> Callable[[], None]:
    for worker in hit:
        os.kill(lab.workers.running[worker].process.pid, signal.SIGTERM)

    def again() -> None:
        for worker in hit:
            code = lab.workers.running[worker].end(30)
            restart(lab, worker).wait_for("listening", 60)
            if code:
                raise Failed(f"{device_of(worker)} left with exit code {code}")
    return again


# name: the faults, how many workers each strikes, and how long it may go unnoticed
FAULTS: dict[str, list[tuple[Fault, int, float]]] = {
    "kill": [(kill, 1, 0)],
    "cable": [(cable, 1, DETECTION_MS)],
    "freeze": [(freeze, 1, DETECTION_MS)],
    "link": [(starve, 1, DETECTION_MS), (blackhole, 2, DETECTION_MS)],
    "two": [(kill, 2, 0), (cable, 2, DETECTION_MS), (freeze, 2, DETECTION_MS)],
    "leave": [(leave, 1, 0)],
}


def faults(arguments: Namespace, bars: Report) -> None:
    """One stream of frames; in each 50 of them a fault strikes at a random moment."""
    chance = random.Random(arguments.seed)
    with lan(arguments) as lab:
        leader = stream(lab, ENDLESS)
        try:
            progress(f"{arguments.settle:g} s of frames, in which devices fetch the rest of the model")
            pass_time(leader, arguments.settle)
            for turn in range(arguments.rounds):
                for fault, count, detection in FAULTS[arguments.mode]:
                    progress(f"round {turn + 1} of {arguments.rounds}: {fault.__name__}")
                    hit = chance.sample(range(lab.workers.count), count)
                    name = f"{fault.__name__} {' '.join(map(device_of, hit))}, round {turn + 1}"
                    strike(lab, leader, fault, hit, detection, chance, name, bars)
            pass_frames(leader, FRAMES)
        finally:
            leader.interrupt(30)
        numbers = sorted(frame["frame"] for frame in of_kind(leader.events, "frame"))
        apart = difference(lab.workers.folder / "saved", lab.workers.folder / "reference")
    lost = len(set(range(numbers[-1] + 1)) - set(numbers))
    bars.check(f"{arguments.mode}: {len(numbers)} frames", "0 lost, <= 1e-4",
               f"{lost} lost, {apart:.2g}", lost == 0 and apart <= TOLERANCE)


def pass_time(leader: Watched, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        leader.wait_for("frame", 120)


def frames_of(leader: Watched) -> list[Event]:
    return of_kind(list(leader.events), "frame")


def pass_until(leader: Watched, total: int) -> None:
    """Until there are so many frames in all."""
    while len(frames_of(leader)) < total:
        leader.wait_for("frame", 120)


def strike(lab: Lab, leader: Watched, fault: Fault, hit: list[int], detection: float,
           chance: random.Random, name: str, bars: Report) -> None:
    begun = len(frames_of(leader))
    pass_until(leader, begun + chance.randrange(10, FRAMES - 15))
    usual = took(frames_of(leader)[-8:])
    time.sleep(chance.random() * usual / 1e3)
    at, before = time.time() * 1e3, len(frames_of(leader))
    mend = fault(lab, hit)
    pass_until(leader, before + 2 + SETTLED + 8)
    after = [frame for frame in frames_of(leader) if frame["t"] > at]
    worst = max((frame for frame in after if frame["t"] - frame["total_ms"] < at + 2000),
                key=lambda frame: frame["total_ms"])
    remaining = took(after[SETTLED:])
    extra, bar = worst["total_ms"] - usual, detection + 1.5 * remaining
    if fault is blackhole:
        extra, bar = worst["total_ms"], SILENT_LINK_MS
    plans = [plan for plan in of_kind(list(leader.events), "plan") if plan["t"] > at]
    generations = {plan["generation"]: plan["reason"] for plan in plans}
    bars.check(name, f"<= {bar:.0f} ms more",
               f"{extra:.0f} ms: {worst['total_ms']:.0f}, usual {usual:.0f}, then {remaining:.0f}; "
               f"retries {worst['retries']}; {' '.join(generations.values()) or 'no new plan'}",
               extra <= bar)
    if extra > bar:
        tell(plans[:6] + after[:4], at)
    mend()
    pass_until(leader, begun + FRAMES)


def tell(events: list[Event], at: float) -> None:
    """What happened when, in ms after a fault."""
    for event in events:
        rest = {field: event[field] for field in ("reason", "generation", "predicted_ms",
                "frame", "total_ms", "retries") if field in event}
        progress(f"  {event['t'] - at:8.0f}  {rest}")


# -- lasting changes --------------------------------------------------------------------------


def after_change(lab: Lab, change: Callable[[], None]) -> float:
    """The median of frames 6 to 20 after a change."""
    leader = stream(lab, 40)
    try:
        pass_frames(leader, 15)
        change()
        at = time.time() * 1e3
        frames = finish(lab, leader, 40)
    finally:
        leader.interrupt()
    return took([frame for frame in frames if frame["t"] > at][SETTLED - 1:20])


def fresh(lab: Lab, devices: int | None = None) -> float:
    return took(finish(lab, stream(lab, 20, devices), 20)[SETTLED:])


def slow(arguments: Namespace, bars: Report) -> None:
    with lan(arguments) as lab:
        for turn in range(arguments.rounds):
            for quota in (6, 18):
                progress(f"round {turn + 1} of {arguments.rounds}: b to {quota} %, about a minute")
                seen = after_change(lab, lambda: lab.cluster.set_quota("b", quota))
                wanted = fresh(lab)
                bars.check(f"slow: b to {quota} %", f"<= {1.15 * wanted:.0f} ms", f"{seen:.0f} ms, "
                           f"fresh {wanted:.0f}", seen <= 1.15 * wanted)


def rate(arguments: Namespace, bars: Report) -> None:
    with lan(arguments) as lab:
        lab.workers.running[0].interrupt()
        without = fresh(lab, len(lab.cluster.devices) - 1)
        restart(lab, 0).wait_for("listening", 60)
        for turn in range(arguments.rounds):
            for mbit in (10, 1000):
                progress(f"round {turn + 1} of {arguments.rounds}: b to {mbit} Mbit/s, half a minute")
                seen = after_change(lab, lambda: lab.cluster.set_rate("b", mbit * 10**6))
                bars.check(f"rate: b to {mbit} Mbit/s", f"<= {1.1 * without:.0f} ms",
                           f"{seen:.0f} ms, without it {without:.0f}", seen <= 1.1 * without)


def join(arguments: Namespace, bars: Report) -> None:
    """One stream of frames; in each 50 of them a sixth device leaves, and comes back with the weights."""
    with lan(arguments, 6, 15) as lab:
        last = lab.workers.count - 1
        leader = stream(lab, ENDLESS)
        try:
            progress(f"{arguments.settle:g} s of frames, in which devices fetch the rest of the model")
            pass_time(leader, arguments.settle)
            for turn in range(arguments.rounds):
                progress(f"round {turn + 1} of {arguments.rounds}: half a minute")
                lab.workers.running[last].interrupt()
                pass_frames(leader, FRAMES // 2)
                at = time.time() * 1e3
                identity = restart(lab, last).wait_for("listening", 60)["id"]
                pass_frames(leader, FRAMES // 2)
                plans = [plan for plan in of_kind(list(leader.events), "plan") if plan["t"] > at]
                generations = {plan["generation"] for plan in plans
                               if any(share["device"] == identity
                                      for stage in plan["stages"] for share in stage["shares"])}
                helped = [frame["t"] - at for frame in frames_of(leader)
                          if frame["generation"] in generations]
                soon = bool(helped) and min(helped) <= 2000
                bars.check(f"join: weights on disk, round {turn + 1}", "<= 2000 ms",
                           f"{min(helped):.0f} ms" if helped else "never", soon)
                if not soon:
                    tell(plans, at)
        finally:
            leader.interrupt(30)


def memory(arguments: Namespace, bars: Report) -> None:
    with lan(arguments, 4) as lab:
        lab.workers.stop_all()
        limit = ("--memory", "256MiB")
        lab.workers.options, lab.common = (*lab.workers.options, *limit), list(limit)
        for name in lab.cluster.devices:
            lab.cluster.set_memory(name, 256 << 20)
        lab.workers.start_all()
        progress("four devices of 256 MiB, a minute or two")
        saved = lab.workers.folder / "saved"
        events = lab.run(MODEL, "--repeat", "3", "--save", str(saved))
        apart = difference(saved, lab.workers.folder / "reference")
        (summary,) = of_kind(events, "summary")
        bars.check("memory: VGG16 on four of 256 MiB", "0 lost, <= 1e-4", f"{summary['lost']} lost, "
                   f"{apart:.2g}", summary["lost"] == 0 and apart <= TOLERANCE)


def encryption(arguments: Namespace, bars: Report) -> None:
    with lan(arguments) as lab:
        key = lab.workers.folder / "key"
        subprocess.run([arguments.binary, "key", "new", str(key)], check=True,
                       stdout=sys.stderr)
        times: dict[str, list[float]] = {"--insecure": [], "--key": []}
        for turn in range(arguments.rounds + 1):
            progress(f"turn {turn} of {arguments.rounds}, a minute each")
            for flag, seen in times.items():
                lab.workers.stop_all()
                security = (flag,) if flag == "--insecure" else (flag, str(key))
                lab.workers.options = security
                lab.workers.start_all()
                leader = lab.workers.lead(
                    MODEL, PICTURE, "--devices", "5", "--wait", WAIT, "--repeat", "15", *security,
                    "--cluster", lab.workers.cluster, start=inside(lab.cluster, lab.leader))
                if turn:  # the first is a warm-up
                    seen.append(took(of_kind(leader.events, "frame")[SETTLED:]))
        plain, sealed = map(statistics.median, times.values())
        bars.check("encryption", f"<= {1.1 * plain:.0f} ms", f"{sealed:.0f} ms, without {plain:.0f}",
                   sealed <= 1.1 * plain)


# -- soak -------------------------------------------------------------------------------------


def footprint(pid: int) -> tuple[float, int, int]:
    """Resident megabytes, file descriptors, threads."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return (pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd")),
            len(os.listdir(f"/proc/{pid}/task")))


def runs(watched: Watched) -> bool:
    """Popen.poll would reap one that has ended, and Watched.end wait in vain."""
    return os.waitid(os.P_PID, watched.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def soak(arguments: Namespace, bars: Report) -> None:
    chance = random.Random(arguments.seed)
    seconds = arguments.minutes * 60
    samples: dict[int, list[tuple[float, float, int, int]]] = {}
    with lan(arguments) as lab:
        leader = stream(lab, ENDLESS)
        pass_frames(leader, 10)
        began, mend, said = time.monotonic(), lambda: None, 0.0
        while (now := time.monotonic() - began) < seconds and runs(leader):
            if now >= said:
                progress(f"{now:.0f} of {seconds:.0f} s")
                said += 30
            mend()
            worker, quota = chance.randrange(lab.workers.count), chance.choice((6, 12, 18))
            event = chance.choice((kill, leave, cable, freeze, None))
            lab.cluster.set_quota(device_of(worker), quota)
            mend = event(lab, [worker]) if event else lambda: None
            for process in (leader, *lab.workers.running):
                try:
                    samples.setdefault(process.process.pid, []).append(
                        (now / 60, *footprint(process.process.pid)))
                except OSError:  # it has just ended
                    pass
            time.sleep(1)
        mend()
        if not runs(leader):
            raise Failed(f"the stream ended after {now:.0f} of {seconds:.0f} s\n{leader.said()}")
        leader.interrupt(30)
        numbers = [frame["frame"] for frame in of_kind(leader.events, "frame")]
        lost = len(set(range(max(numbers) + 1)) - set(numbers))
        apart = difference(lab.workers.folder / "saved", lab.workers.folder / "reference")
    bars.check(f"soak: {len(numbers)} frames", "0 lost, <= 1e-4", f"{lost} lost, {apart:.2g}",
               lost == 0 and apart <= TOLERANCE)
    for pid, seen in samples.items():
        quarter = [sample for sample in seen if sample[0] > arguments.minutes * 0.75]
        if len(quarter) < 30 or seen[0][0] > arguments.minutes / 2:
            continue  # it did not live long enough to say
        minutes, megabytes, files, threads = zip(*quarter)
        slope = statistics.linear_regression(minutes, megabytes).slope
        half = len(quarter) // 2
        more = [max(counts[half:]) - max(counts[:half]) for counts in (files, threads)]
        bars.check(f"soak: process {pid}", "< 1 MB/min, no growth", f"{slope:.2f} MB/min, "
                   f"{more[0]:+} files, {more[1]:+} threads", slope < 1 and max(more) <= 0)


def main() -> None:
    modes = {**dict.fromkeys(FAULTS, faults), "slow": slow, "rate": rate, "join": join,
             "memory": memory, "soak": soak, "encryption": encryption}
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=modes)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--settle", type=float, default=60, metavar="SECONDS",
                        help="of frames before faults: devices fetch the model (default: 60)")
    parser.add_argument("--minutes", type=float, default=20, help="of soak")
    parser.add_argument("--json", action="store_true", help="a JSON object a bar")
    parser.add_argument("--binary", default=str(ROOT / "target/release/edgeld"))
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    bars = Report(arguments.json)
    try:
        with whole_machine():
            modes[arguments.mode](arguments, bars)
    except NoRights as error:
        progress(f"SKIPPED, not possible here: {error}")
        sys.exit(SKIP)
    except (Failed, ClusterError, subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"faults.py: {error}")
    sys.exit(1 if bars.missed else 0)


if __name__ == "__main__":
    main()
