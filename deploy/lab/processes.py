"""Workers and leaders as processes of this machine, watched through what they print.

    with Workers(edgeld, 3) as workers:
        leader = workers.lead("vgg16", "random:1", "--devices", "4", *workers.join())

Each process has a home of its own (identity, weights, profile) that is removed with it, and all
share a cluster name that nobody else has. Python's standard library only.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

Event = dict
# Starts a command with an environment; the lab has one that enters a namespace before.
Spawn = Callable[[Sequence[str], dict], subprocess.Popen]


class Failed(Exception):
    """A process did not do what was asked of it; the message says which and what it said."""


def spawn(command: Sequence[str], environment: dict) -> subprocess.Popen:
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


class Watched:
    """A process whose events, one JSON object a line, are read as they come."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process, self.events, self.errors = process, [], []
        self.peak_rss_bytes: int | None = None
        self._new: queue.Queue[Event | None] = queue.Queue()
        for read in (self._read_events, self._read_errors):
            threading.Thread(target=read, daemon=True).start()

    def _read_events(self) -> None:
        for line in self.process.stdout:
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                event = {"event": "no JSON", "line": line}
            self.events.append(event)
            self._new.put(event)
        self._new.put(None)

    def _read_errors(self) -> None:
        self.errors.extend(self.process.stderr)

    def wait_for(self, wanted: str, seconds: float = 30) -> Event:
        """The next event of this name."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                event = self._new.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failed(f"no {wanted!r} within {seconds} s\n{self.said()}") from None
            if event is None:
                self._new.put(None)  # `end` looks for it, too
                raise Failed(f"ended without {wanted!r}\n{self.said()}")
            if event["event"] == wanted:
                return event

    def end(self, seconds: float = 600) -> int:
        """Waits for its end; its exit code. Knows the peak of its memory afterwards."""
        deadline = time.monotonic() + seconds
        while True:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                break
            if time.monotonic() > deadline:
                self.process.kill()
                deadline = float("inf")
            time.sleep(0.01)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.peak_rss_bytes = usage.ru_maxrss * 1024
        while self._new.get(timeout=10) is not None:
            pass
        return self.process.returncode

    def interrupt(self, seconds: float = 15) -> int:
        if self.process.returncode is None:
            # Popen's own way would reap one that has just ended, and `end` wait in vain.
            os.kill(self.process.pid, signal.SIGINT)
            return self.end(seconds)
        return self.process.returncode

    def said(self) -> str:
        return "".join([*(f"{json.dumps(event)[:300]}\n" for event in self.events[-5:]),
                        *self.errors[-15:]])


@dataclass
class Workers:
    """Some `edgeld worker` processes, found by address."""

    edgeld: str
    count: int
    options: Sequence[str] = ("--no-mdns",)
    spawns: Sequence[Spawn] = ()
    listen: str = "127.0.0.1:0"
    cluster: str = field(default_factory=lambda: f"test-{uuid.uuid4().hex[:12]}")
    running: list[Watched] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="edgeld-")))

    def __enter__(self) -> "Workers":
        try:
            self.start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_all(self) -> None:
        self.running.clear()
        for index in range(self.count):
            self.start(index)
        self.addresses = [worker.wait_for("listening")["address"] for worker in self.running]

    def stop_all(self) -> None:
        """Ends them; their homes stay, so that they may be started again."""
        for worker in self.running:
            worker.interrupt()

    def start(self, index: int) -> Watched:
        command = [self.edgeld, "worker", "--json", "--name", f"worker{index + 1}",
                   "--cluster", self.cluster, *self.options]
        command += ["--listen", self.listen] if self.listen else []
        start = self.spawns[index] if self.spawns else spawn
        self.running.append(Watched(start(command, self.environment(f"worker{index + 1}"))))
        return self.running[-1]

    def environment(self, name: str) -> dict:
        return {**os.environ, "EDGELD_HOME": str(self.folder / name)}

    def join(self) -> list[str]:
        """The flags with which a leader finds them."""
        peers = [flag for address in self.addresses for flag in ("--peer", address)]
        return ["--cluster", self.cluster, "--no-mdns", *peers]

    def begin(self, *arguments: str, start: Spawn = spawn) -> Watched:
        """An `edgeld run`, under way."""
        command = [self.edgeld, "run", "--json", *arguments]
        return Watched(start(command, self.environment("leader")))

    def lead(self, *arguments: str, start: Spawn = spawn, seconds: float = 600) -> Watched:
        """An `edgeld run` to its end. Its last events are in the message if it fails."""
        leader = self.begin(*arguments, start=start)
        if leader.end(seconds) != 0:
            raise Failed(f"edgeld run {' '.join(arguments)}: exit code "
                         f"{leader.process.returncode}\n{leader.said()}")
        return leader

    def __exit__(self, *_: object) -> None:
        try:
            self.stop_all()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def of_kind(events: Iterable[Event], kind: str) -> list[Event]:
    return [event for event in events if event["event"] == kind]


@dataclass
class Bars:
    """What is wanted, what was seen; printed as a table."""

    missed: int = 0

    def check(self, name: str, wanted: str, seen: object, met: bool) -> None:
        self.missed += not met
        print(f"{'met   ' if met else 'MISSED'}  {name:58}  {wanted:>22}  {seen}", flush=True)

    def exit(self) -> None:
        print(f"{self.missed} missed" if self.missed else "all met", flush=True)
        sys.exit(1 if self.missed else 0)
