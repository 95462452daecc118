#!/usr/bin/env python3
"""Times `edgeld` on an emulated LAN of slow devices: alone, as the EdgeLD paper does it, as it is.

    bench.py                              every setting, by turns; a Markdown table
    bench.py never-slower --seeds 20      random clusters: the leader's own time is the bar
    bench.py throughput                   frames a second: several at once, split or whole

A setting is some devices, each with a share of a core and a link: `5x18@1000` are five with 18 %
at 1000 Mbit/s, `5mixed@100` five of 30, 30, 15, 8, 3 % at 100 Mbit/s; --set describes others. The
first device leads. The systems take turns, run by run; the first turn is a warm-up and dropped. A
run is a new `edgeld run`; its figure is the median of its frames, a system's figure the median of
its runs. Outputs are compared with the local ones before a time counts.

README.md has the protocol, and how devices come to be slow from the beginning.
Needs root and two cores with nothing else on them; Python's standard library only.
Exit status: 0 done; 1 something failed or, with never-slower, was slower; 77 this machine cannot.
"""

import fcntl
import json
import os
import random
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from math import exp, isfinite, log
from pathlib import Path

from acceptance import EFFICIENTNET, ROOT, TOLERANCE, generated, inside, workers_in
from cluster import (SKIP, STATE_DIR, Cluster, ClusterError, Device, NoRights, cgroups_usable,
                     network_usable)
from processes import Failed, Workers, of_kind

IDENT = "bench"
CORE, SHAPE_CORE, TICK_MS = "1", 0, 1  # of the devices; of the links; see the README
MOST = 90  # percent of a core that quotas may promise in sum
MIXED = {2: (30, 8), 3: (30, 15, 3), 5: (30, 30, 15, 8, 3)}
SLOWER = 1.10  # of the leader's own time: below that it is noise
HALF_TOLERANCE = 2e-3  # of the largest output, with halves on the wire or in memory: they have 11 bits
PICTURE = "random:1"
WAIT = "180"  # seconds until all are there; a device of 3 % takes a while


@dataclass(frozen=True)
class System:
    """What is compared: a name and the flags that make it."""

    name: str
    flags: tuple[str, ...] = ()

    @property
    def tolerance(self) -> float:
        return HALF_TOLERANCE if "f16" in self.flags else TOLERANCE


LOCAL = System("local", ("--alone",))
EDGELD = System("EdgeLD", ("--partition", "ocbp", "--fusion", "block", "--exchange", "leader",
                           "--leader-idle"))
DEFAULT = System("default")
SEVERAL = System("3 at once", ("--in-flight", "3"))
THROUGHPUT = System("throughput", ("--objective", "throughput"))


@dataclass(frozen=True)
class Run:
    """What one `edgeld run` says of itself, by the median of its frames."""

    ms: float
    rate: float  # frames a second, from the first frame's beginning to the last answer
    bytes: float
    predicted_ms: float
    prediction_error: float
    active: int
    difference: float  # from the local output, as a part of its largest element


@dataclass(frozen=True)
class Row:
    """A system in a setting: its runs, and how many times faster than alone they were: by the time of
    a frame, and by frames a second."""

    setting: str
    devices: str
    model: str
    system: str
    flags: str
    speedup: float
    rate_speedup: float
    runs: list[Run]

    @property
    def ms(self) -> float:
        return median(run.ms for run in self.runs)

    def spread(self, field: str, scale: float = 1, form: str = ".0f") -> str:
        """A field of the runs: median (min-max)."""
        values = [getattr(run, field) * scale for run in self.runs]
        middle, least, most = (format(value, form)
                               for value in (median(values), min(values), max(values)))
        return middle if least == most else f"{middle} ({least}-{most})"


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# -- settings ---------------------------------------------------------------------------------


def described(quotas: Iterable[float], mbits: Iterable[float]) -> list[str]:
    return [f"{name}:{quota:g}:{mbit:g}mbit" for name, quota, mbit in zip("abcde", quotas, mbits)]


def standard_settings() -> dict[str, list[str]]:
    found = {}
    for mbit in (1000, 100):
        for count, mixed in MIXED.items():
            found[f"{count}x18@{mbit}"] = described([18] * count, [mbit] * count)
            found[f"{count}mixed@{mbit}"] = described(mixed, [mbit] * count)
    return found


def chosen_settings(arguments: Namespace) -> dict[str, list[str]]:
    own = {name: devices.split(",") for name, _, devices in
           (described.partition("=") for described in arguments.set)}
    patterns = arguments.settings.split(",") if arguments.settings else ["*"] * (not own)
    standard = {name: devices for name, devices in standard_settings().items()
                if any(fnmatch(name, pattern) for pattern in patterns)}
    if patterns and not standard:
        raise ClusterError(f"no setting is called {arguments.settings} "
                           f"(there are: {', '.join(standard_settings())})")
    found = {**standard, **own}
    for devices in found.values():  # all of them before hours are spent on the first
        parse_devices(devices)
    return found


def random_devices(seed: int) -> list[str]:
    """A cluster of nobody's choice: links are spread over their decades, quotas evenly."""
    dice = random.Random(seed)
    count = dice.randint(2, 5)
    mbits = [round(exp(dice.uniform(log(5), log(1000)))) for _ in range(count)]
    while True:
        quotas = [dice.randint(3, 30) for _ in range(count)]
        if sum(quotas) <= MOST:
            return described(quotas, mbits)


def parse_devices(specs: Iterable[str]) -> list[Device]:
    devices = [Device.parse(spec) for spec in specs]
    if sum(device.cpu or 100 for device in devices) > MOST:
        raise ClusterError(f"{', '.join(specs)}: more than {MOST} % of the core that they share")
    return devices


def model_file(name: str) -> str:
    """A built-in, a file, or a network of deploy/conformance."""
    if name.startswith("vgg") or name.endswith(".onnx"):
        return name
    return str(EFFICIENTNET) if name == "efficientnet_lite0" else generated(name)


# -- the lab ----------------------------------------------------------------------------------


@contextmanager
def whole_machine() -> Iterator[None]:
    """One benchmark at a time, where there can be one at all."""
    for why in (network_usable(), cgroups_usable(),
                len(os.sched_getaffinity(0)) < 2 and "devices and links need a core each"):
        if why:
            raise NoRights(why)
    os.makedirs(STATE_DIR, exist_ok=True)
    with open(f"{STATE_DIR}/{IDENT}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ClusterError("another benchmark is running") from None
        others = [path.stem for path in Path(STATE_DIR).glob("*.json") if path.stem != IDENT]
        if others:
            progress(f"these clusters are up too, figures are worth nothing: {', '.join(others)}")
        try:
            yield
        finally:
            Cluster(IDENT).down()  # also where an interrupt came while another was taken down


@dataclass
class Lab:
    """A cluster that is up, with workers in it; the leader is started anew for each run."""

    cluster: Cluster
    workers: Workers
    common: list[str]

    @property
    def leader(self) -> str:
        return next(iter(self.cluster.devices))

    def run(self, model: str, *flags: str) -> list[dict]:
        """What an `edgeld run` in the leader's device prints."""
        where = [] if "--alone" in flags else [
            "--devices", str(len(self.cluster.devices)), "--wait", WAIT, "--insecure",
            "--cluster", self.workers.cluster]
        leader = self.workers.lead(model, PICTURE, *where, *self.common, *flags, seconds=3600,
                                   start=inside(self.cluster, self.leader))
        return leader.events

    def limit(self, devices: Iterable[Device]) -> None:
        for device in devices:
            self.cluster.set_quota(device.name, device.cpu)
            self.cluster.set_rate(device.name, device.rate)

    def forget_speeds(self) -> None:
        """Nobody knows how fast a device is that has just been bought.

        A speed is measured once and kept. The leader's notes on model files are kept in the same
        place, and written anew by the warm-up.
        """
        for home in self.workers.folder.iterdir():
            shutil.rmtree(home / "cache", ignore_errors=True)


@contextmanager
def slow_lan(edgeld: str, devices: list[Device], models: Iterable[str],
             common: list[str]) -> Iterator[Lab]:
    """Devices that have the weights on disk and, as far as they know, were always this slow."""
    cluster = Cluster(IDENT)
    cluster.down()  # what a run that was killed left behind
    bare = [Device(device.name) for device in devices]
    cluster.up(bare, cores=CORE, shape_core=SHAPE_CORE, tick_ms=TICK_MS)
    try:
        with workers_in(edgeld, cluster) as workers:
            lab = Lab(cluster, workers, common)
            try:
                for model in models:
                    lab.run(model, "--spread")
                    # All weights everywhere: a plan may give a device the whole model.
                    lab.run(model, "--spread", "--objective", "throughput")
                workers.stop_all()
                lab.forget_speeds()
                lab.limit(devices)
                workers.start_all()
                yield lab
            finally:
                cluster.kill(lab.leader)
                for device in devices:  # so that workers end without delay
                    cluster.set_quota(device.name, None)
    finally:
        cluster.down()


# -- measuring --------------------------------------------------------------------------------


def floats(path: Path) -> array:
    """The elements of an .npy file of little-endian float32."""
    content = path.read_bytes()
    start = 10 + int.from_bytes(content[8:10], "little")
    if content[:7] != b"\x93NUMPY\x01" or b"'<f4'" not in content[:start]:
        raise Failed(f"{path.name}: no float32 array of version 1")
    return array("f", content[start:])


def difference(saved: Path, reference: Path) -> float:
    """The largest of all frames from the first local frame, as a part of its largest element."""
    worst = 0.0
    outputs = sorted(saved.glob("frame*_output*.npy"))
    for path in outputs:
        wanted = floats(reference / f"frame0_{path.stem.partition('_')[2]}.npy")
        found = floats(path)
        if len(found) != len(wanted):
            raise Failed(f"{path.name}: {len(found)} elements, {len(wanted)} are right")
        if not all(map(isfinite, found)):
            raise Failed(f"{path.name}: not a number")
        apart = max(abs(ours - theirs) for ours, theirs in zip(found, wanted))
        worst = max(worst, apart / (max(map(abs, wanted)) or 1))
    if not outputs:
        raise Failed("no output was saved")
    return worst


def timed(lab: Lab, model: str, system: System, frames: list[str], reference: Path) -> Run:
    saved = reference.with_name("saved")
    shutil.rmtree(saved, ignore_errors=True)
    events = lab.run(model, *frames, *system.flags, "--save", str(saved))
    if not reference.exists():  # the first is the local one
        shutil.copytree(saved, reference)
    apart = difference(saved, reference)
    (summary,) = of_kind(events, "summary")
    if summary["lost"] or apart > system.tolerance:
        raise Failed(f"{system.name}: {summary['lost']} frames lost, outputs {apart:.2g} apart")
    devices = of_kind(events, "cluster")[-1]["devices"]
    return Run(
        ms=summary["total_ms"]["median"],
        rate=summary["frames_per_second"],
        bytes=median(frame["bytes_moved"] for frame in of_kind(events, "frame")),
        predicted_ms=of_kind(events, "plan")[-1]["predicted_ms"],
        prediction_error=summary["prediction_error"],
        active=sum(device["state"] == "active" for device in devices),
        difference=apart)


def by_turns(lab: Lab, model: str, systems: list[System],
             arguments: Namespace) -> dict[System, list[Run]]:
    """So that whatever else happens on the machine happens to all; LOCAL comes first."""
    runs = {system: [] for system in systems}
    frames = ["--repeat", str(arguments.frames), "--warmup", str(arguments.warmup)]
    reference = lab.workers.folder / "outputs" / Path(model).stem
    for turn in range(arguments.runs + 1):
        for system in systems:
            run = timed(lab, model, system, frames, reference)
            progress(f"  {turn or 'warm-up'}  {system.name:12} {run.ms:8.0f} ms, predicted "
                     f"{run.predicted_ms:.0f}, {run.rate:.2f} frames a second, "
                     f"{run.active} at work")
            if turn:
                runs[system].append(run)
    return runs


def measure(setting: str, specs: list[str], systems: list[System],
            arguments: Namespace) -> Iterator[list[Row]]:
    """Rows of each model, as they come."""
    devices = parse_devices(specs)
    common = shlex.split(arguments.common)
    progress(f"{setting}: {' '.join(specs)}; weights and workers")
    with slow_lan(arguments.binary, devices, arguments.models.values(), common) as lab:
        for name, model in arguments.models.items():
            progress(f"{setting}, {name}")
            runs = by_turns(lab, model, [LOCAL, *systems], arguments)
            alone = median(run.ms for run in runs[LOCAL])
            alone_rate = median(run.rate for run in runs[LOCAL])
            yield [Row(setting, " ".join(specs), name, system.name,
                       shlex.join([*common, *system.flags]),
                       alone / median(run.ms for run in of_system),
                       median(run.rate for run in of_system) / alone_rate, of_system)
                   for system, of_system in runs.items()]


# -- what is printed --------------------------------------------------------------------------


@dataclass
class Report:
    """A Markdown table that grows row by row, so that what was measured is never lost."""

    arguments: Namespace
    failed: int = 0

    def __post_init__(self) -> None:
        if self.arguments.out:
            self.arguments.out.write_text("")

    def say(self, line: str) -> None:
        if not self.arguments.json:
            print(line, flush=True)
        if self.arguments.out:
            with self.arguments.out.open("a") as out:
                print(line, file=out)

    def begin(self, columns: str, systems: Iterable[System]) -> None:
        arguments = self.arguments
        version = subprocess.run([arguments.binary, "--version"], check=True, capture_output=True,
                                 text=True).stdout.strip()
        self.say(f"{version}; {arguments.runs} runs of {arguments.frames} frames by turns, after "
                 f"{arguments.warmup} warm-up frames each and a warm-up turn; median (min-max) of the "
                 f"runs' medians; the machine's load at the start was {os.getloadavg()[0]:.2f}.\n")
        for system in systems:
            self.say(f"- {system.name}: `{shlex.join(system.flags) or 'no flags'}`")
        self.say(f"\n{columns}\n{'|---' * (columns.count('|') - 1)}|")

    def row(self, row: Row, *cells: object) -> None:
        self.say(f"| {' | '.join(map(str, cells))} |")
        if self.arguments.json:
            print(json.dumps({"event": "row", **asdict(row), "ms": row.ms}), flush=True)

    def failure(self, setting: str, error: Exception) -> None:
        """Hours of other settings are not to be lost by one that fails."""
        self.failed += 1
        progress(f"{setting}: {error}")
        self.say(f"| {setting} | failed: {str(error).splitlines()[0]} |")

    def rows(self, setting: str, specs: list[str], systems: list[System]) -> Iterator[list[Row]]:
        try:
            yield from measure(setting, specs, systems, self.arguments)
        except NoRights:  # what this setting lacks, all lack
            raise
        except (Failed, ClusterError) as error:
            self.failure(setting, error)


def table(arguments: Namespace, extras: list[System]) -> int:
    return compare(arguments, [EDGELD, DEFAULT, *extras])


def throughput(arguments: Namespace, extras: list[System]) -> int:
    return compare(arguments, [DEFAULT, SEVERAL, THROUGHPUT, *extras])


def compare(arguments: Namespace, systems: list[System]) -> int:
    report = Report(arguments)
    settings = chosen_settings(arguments)
    report.begin("| devices | model | system | ms a frame | times local | frames a second | "
                 "times local | MB a frame | prediction off by, % | at work | outputs apart |",
                 [LOCAL, *systems])
    for setting, specs in settings.items():
        for rows in report.rows(setting, specs, systems):
            for row in rows:
                report.row(row, setting, row.model, row.system, row.spread("ms"),
                           f"{row.speedup:.2f}", row.spread("rate", form=".2f"),
                           f"{row.rate_speedup:.2f}", row.spread("bytes", 1e-6, ".2f"),
                           row.spread("prediction_error", 100), row.spread("active"),
                           f"{max(run.difference for run in row.runs):.1g}")
    return report.failed


def never_slower(arguments: Namespace, extras: list[System]) -> int:
    report, systems = Report(arguments), [DEFAULT, *extras]
    report.begin(f"| seed | devices | model | system | alone, ms | cluster, ms | ratio | "
                 f"at most {SLOWER:.2f} | at work |", [LOCAL, *systems])
    slower, worst = 0, 0.0
    for seed in arguments.seeds:
        specs = random_devices(seed)
        for local, *others in report.rows(f"seed {seed}", specs, systems):
            for row in others:
                ratio = row.ms / local.ms
                worst, slower = max(worst, ratio), slower + (ratio > SLOWER)
                report.row(row, seed, row.devices, row.model, row.system, local.spread("ms"),
                           row.spread("ms"), f"{ratio:.2f}", "yes" if ratio <= SLOWER else "NO",
                           row.spread("active"))
    report.say(f"\n{slower} slower than alone; the largest ratio is {worst:.2f}.")
    return slower + report.failed


def seeds(text: str) -> range:
    """20: 1 to 20. 5-8: these."""
    first, _, last = text.rpartition("-")
    return range(int(first or 1), int(last) + 1)


def parsed() -> Namespace:
    modes = {"table": table, "throughput": throughput, "never-slower": never_slower}
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("mode", nargs="?", choices=modes, default="table")
    parser.add_argument("--settings", metavar="NAME,...", help="only these; * and ? match: "
                        f"{', '.join(standard_settings())}")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=a:30:100mbit,b:8:1gbit",
                        help="one more setting: devices with percent of the core and link")
    parser.add_argument("--seeds", type=seeds, default=seeds("20"), metavar="N|FROM-TO")
    parser.add_argument("--models", default="vgg16", metavar="NAME,...",
                        help="built-in, of deploy/conformance, or .onnx files")
    parser.add_argument("--runs", type=int, default=5, help="of each system (default: 5)")
    parser.add_argument("--frames", type=int, default=5, help="of each run (default: 5)")
    parser.add_argument("--warmup", type=int, default=2, help="frames before them (default: 2)")
    parser.add_argument("--extra", action="append", default=[], metavar='"FLAGS"',
                        help='one more system, as in --extra "--wire f16"; may be repeated')
    parser.add_argument("--common", default="", metavar='"FLAGS"',
                        help='for every system, the local one too, as in "--isa avx2"')
    parser.add_argument("--out", type=Path, help="the table to this file as well")
    parser.add_argument("--json", action="store_true",
                        help="a JSON object a row, with every run, instead of the table")
    parser.add_argument("--binary", default=str(ROOT / "target/release/edgeld"))
    arguments = parser.parse_args()
    arguments.mode = modes[arguments.mode]
    if arguments.runs < 1 or arguments.frames < 1:
        parser.error("at least one run of one frame")
    return arguments


def stop(number: int, _: object) -> None:
    """Whoever interrupts twice still gets a machine without namespaces."""
    for other in (signal.SIGINT, signal.SIGTERM):
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def main() -> None:
    arguments = parsed()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    extras = [System(flags, tuple(shlex.split(flags))) for flags in arguments.extra]
    try:
        with whole_machine():
            arguments.models = {name: model_file(name) for name in arguments.models.split(",")}
            sys.exit(1 if arguments.mode(arguments, extras) else 0)
    except NoRights as error:
        progress(f"SKIPPED, not possible here: {error}")
        sys.exit(SKIP)
    except (Failed, ClusterError, subprocess.CalledProcessError, OSError) as error:
        sys.exit(f"bench.py: {error}")


if __name__ == "__main__":
    main()
