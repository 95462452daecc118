#!/usr/bin/env python3
"""`edgeld serve` under ten times the load that its cluster can carry, by `hey`, an existing tool.

Every accepted request is answered right, the rest is refused within 50 ms, memory stays flat, and a
worker that is killed meanwhile takes nothing accepted with it. Before that, how many answers a second
there are at saturation against `edgeld run`, and what HTTP costs over the library.

    load.py [--seconds 60] [--binary PATH]        needs `hey` (Debian package), Linux
"""

import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy/lab"))
sys.path.insert(0, str(ROOT / "deploy/serve"))
from clients import CLASSIFIER, Site, serving  # noqa: E402
from processes import Bars, of_kind  # noqa: E402

REFUSED_MS = 50
SATURATED = 0.95  # of `run --in-flight`
OVERHEAD_MS = 1.0
GROWTH_MB_PER_MIN = 1.0
SIDE = 224


def request_file(folder: str) -> tuple[str, str]:
    """A request with a binary tensor: its file, and where its JSON ends."""
    size = 4 * 3 * SIDE * SIDE
    head = json.dumps({
        "inputs": [{"name": "input", "shape": [1, 3, SIDE, SIDE], "datatype": "FP32",
                    "parameters": {"binary_data_size": size}}],
        "parameters": {"binary_data_output": True}}).encode()
    path = f"{folder}/request.bin"
    Path(path).write_bytes(head + bytes(size))
    return path, str(len(head))


def hey(site: Site, body: str, header: str, clients: int, seconds: float) -> list[dict]:
    """Each request's status and milliseconds."""
    command = ["hey", "-m", "POST", "-D", body, "-c", str(clients), "-z", f"{seconds:g}s", "-t", "60",
               "-o", "csv", "-H", f"Inference-Header-Content-Length: {header}",
               f"{site.url}/v2/models/net/infer"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    lines = done.stdout.strip().splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","))) for line in lines[1:] if line[0].isdigit()]
    return [{"status": int(row["status-code"]), "ms": float(row["response-time"]) * 1e3,
             "at": float(row["offset"])} for row in rows]


def resident(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text)[1]) / 1024


class Memory(threading.Thread):
    """The resident memory of a process, in MiB, every second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.seen, self.done = pid, [], threading.Event()
        self.start()

    def run(self) -> None:
        while not self.done.wait(1.0):
            self.seen.append(resident(self.pid))

    def slope(self) -> float:
        """MiB a minute over the second half."""
        self.done.set()
        half = self.seen[len(self.seen) // 2:]
        if len(half) < 3:
            return 0.0
        slope, _ = statistics.linear_regression(range(len(half)), half)
        return slope * 60


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--binary", default=str(ROOT / "target/release/edgeld"))
    arguments = parser.parse_args()
    if shutil.which("hey") is None:
        print("SKIPPED: there is no `hey` (apt-get install hey)")
        sys.exit(77)
    bars = Bars()
    slow = ("--pace", "0.25", "--threads", "1")
    with tempfile.TemporaryDirectory() as folder:
        body, header = request_file(folder)
        with serving(arguments.binary, [f"net={CLASSIFIER},task=classify"], *slow,
                     options=("--no-mdns", *slow)) as site:
            leader = site.workers.lead(
                str(CLASSIFIER), "random:1", "--devices", "3", "--objective", "throughput",
                "--repeat", "200", "--warmup", "20", *slow, *site.workers.join())
            (summary,) = of_kind(leader.events, "summary")
            hey(site, body, header, 12, 20)  # plans follow the load
            rows = [row for row in hey(site, body, header, 12, 20) if row["status"] == 200]
            rate = len(rows) / 20
            bars.check("at saturation, of run --objective throughput", f">= {SATURATED}",
                       f"{rate:.1f} of {summary['frames_per_second']:.1f} a second",
                       rate >= SATURATED * summary["frames_per_second"])

            memory = Memory(site.server.process.pid)
            clients = 10 * 12 + 32
            victim = threading.Timer(arguments.seconds / 2, lambda: os.kill(
                site.workers.running[0].process.pid, signal.SIGKILL))
            victim.start()
            rows = hey(site, body, header, clients, arguments.seconds)
            slope = memory.slope()
            count = Counter(row["status"] for row in rows)
            refused = sorted(row["ms"] for row in rows if row["status"] == 429)
            bars.check(f"{clients} clients for {arguments.seconds:g} s, a worker killed",
                       "200 or 429 only", dict(count), set(count) <= {200, 429})
            worst = refused[int(len(refused) * 0.99)] if refused else 0.0
            middle = statistics.median(refused) if refused else 0.0
            bars.check("refused within (99th percentile)", f"<= {REFUSED_MS} ms",
                       f"{worst:.1f} ms, median {middle:.1f}", worst <= REFUSED_MS)
            bars.check("memory", f"<= {GROWTH_MB_PER_MIN} MiB/min", f"{slope:.2f} MiB/min, "
                       f"{memory.seen[-1]:.0f} MiB", slope <= GROWTH_MB_PER_MIN)
        overhead(arguments.binary, bars, body, header)
    bars.exit()


def overhead(binary: str, bars: Bars, body: str, header: str) -> None:
    """What a request takes beyond the frame itself, one after another on one device."""
    with serving(binary, [f"net={CLASSIFIER}"], "--alone", count=0) as site:
        hey(site, body, header, 1, 3)
        before = _sums(site)
        rows = hey(site, body, header, 1, 10)
        after = _sums(site)
        frame = (after["sum"] - before["sum"]) / (after["count"] - before["count"]) * 1e3
        total = statistics.median(row["ms"] for row in rows)
        bars.check("HTTP with binary tensors over the library", f"<= {OVERHEAD_MS} ms",
                   f"{total - frame:.2f} ms of {total:.2f}", total - frame <= OVERHEAD_MS)


def _sums(site: Site) -> dict[str, float]:
    _, text = site.request("/metrics")
    found = re.findall(r"edgeld_frame_duration_seconds_(sum|count)\{[^}]*\} (\S+)", text.decode())
    return {name: float(value) for name, value in found}


if __name__ == "__main__":
    main()
