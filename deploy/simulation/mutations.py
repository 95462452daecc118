#!/usr/bin/env python3
"""Shows that the simulation notices when coordination is broken: breaks it on purpose, piece by piece.

    mutations.py                 every mutation: a table of what noticed it
    mutations.py gate forget     those whose names hold one of the words

Each mutation replaces a piece of the source, runs the tests of coord_sim, which must fail, and puts
the source back. The working tree must be without changes in runtime/src. Exit status: 0 if every
mutation was noticed, 1 if one was not.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "runtime/src"


class Mutation(NamedTuple):
    name: str
    file: str
    old: str
    new: str


MUTATIONS = [
    Mutation("generations are used again", "coord/leader/mod.rs",
             "Generation(self.newest.0 + 1)", "Generation(self.newest.0.max(1))"),
    Mutation("one that leaves is planned for", "coord/leader/mod.rs",
             "self.devices.contains_key(&node) && !self.leaving.contains(&node)",
             "self.devices.contains_key(&node)"),
    Mutation("a preparation never times out", "coord/leader/mod.rs",
             "now.since(fetched.at) >= fetched.patience", "now.since(fetched.at).0 < 0.0"),
    Mutation("plans replaced are not retired", "coord/leader/mod.rs",
             "if !self.reported.contains(&live.generation) {",
             "if self.reported.contains(&live.generation) {"),
    Mutation("too many frames in flight", "coord/leader/run.rs",
             "self.frames.running().count() >= lanes.in_flight.frames() as usize",
             "self.frames.running().count() > lanes.in_flight.frames() as usize"),
    Mutation("a frame is forgotten after a loss", "coord/leader/run.rs",
             "self.frames.recall(generation) {",
             "self.frames.recall(generation).into_iter().skip(1) {"),
    Mutation("a plan is retired under its frames", "coord/leader/run.rs",
             "generation == live.generation) {\n            self.retiring.push(live);",
             "generation != live.generation) {\n            self.retiring.push(live);"),
    Mutation("answers of any generation count", "coord/leader/frames.rs",
             "run.frame.number == number && run.generation == generation",
             "run.frame.number == number"),
    Mutation("answers are not in order", "coord/leader/frames.rs",
             "Some(first) => self.done.split_off(&first)", "Some(_) => BTreeSet::new()"),
    Mutation("a frame is answered twice", "coord/leader/frames.rs",
             "Some(self.running.remove(at).frame)", "Some(self.running[at].frame)"),
    Mutation("a device lost stays in plans", "coord/leader/loss.rs",
             "all_live().filter(|live| live.has(node))", "all_live().filter(|live| !live.has(node))"),
    Mutation("devices apart are not kept apart", "coord/leader/loss.rs",
             "self.apart.start(*pair, now);", ""),
    Mutation("a silent link is not looked for", "coord/leader/stall.rs",
             "const INSPECT_AFTER: Ms = Ms(1_000.0)", "const INSPECT_AFTER: Ms = Ms(60_000.0)"),
    Mutation("memory is promised twice", "coord/worker/memory.rs",
             "if needed > free {", "if needed > free + free {"),
    Mutation("a plan's memory is kept", "coord/worker/memory.rs",
             "if let Some(demand) = entry.plans.remove(&generation)",
             "if let Some(demand) = entry.plans.get(&generation).cloned()"),
    Mutation("a session's memory is kept", "coord/worker/memory.rs",
             "self.sessions.remove(&session)?", "self.sessions.get(&session)?.clone()"),
    Mutation("a retired plan is thought to take no memory", "coord/worker/memory.rs",
             "entry.retired.insert(generation, demand);", ""),
    Mutation("a closed session is thought to take no memory", "coord/worker/memory.rs",
             "self.closed.extend(", "let _ = BTreeMap::from_iter("),
    Mutation("memory that is released is kept", "coord/worker/memory.rs",
             "self.closed.remove(&(session, generation));", ""),
    Mutation("strips of plans that are over are kept", "coord/worker/gate.rs",
             "return Arrival::Drop;", "return Arrival::Hold;"),
    Mutation("a plan starts before its weights are packed", "coord/worker/session.rs",
             "let (packed, state) = (None, State::Preparing);",
             "let (packed, state) = (Some(Moment(0.0)), State::Preparing);"),
    Mutation("connections to an earlier life are used", "coord/worker/session.rs",
             "self.give_up(node, |other| other != incarnation, out);", ""),
    Mutation("a plan may be worse than alone", "solve/mod.rs",
             "Some(evaluated) => found.push(evaluated),", "Some(_) if !found.is_empty() => {}\n"
             "        Some(evaluated) => found.push(evaluated),"),
]


def noticed_by(mutation: Mutation) -> str | None:
    """What failed under a mutation, in a line; None if nothing did."""
    path = SOURCE / mutation.file
    source = path.read_text()
    if source.count(mutation.old) != 1:
        sys.exit(f"{mutation.file} holds {mutation.old!r} {source.count(mutation.old)} times, not once")
    path.write_text(source.replace(mutation.old, mutation.new))
    try:
        tests = subprocess.run(["cargo", "test", "--workspace", "--test", "coord_sim"], cwd=ROOT,
                               capture_output=True, text=True, errors="replace")
    finally:
        path.write_text(source)
    if tests.returncode == 0:
        return None
    panic = re.search(r"panicked at runtime/\S+:\n(.*)", tests.stdout + tests.stderr)
    if not panic:
        sys.exit(f"{mutation.name}: no test failed, something else did\n{tests.stderr[-2000:]}")
    return panic[1][:90]


def main() -> None:
    words = sys.argv[1:]
    chosen = [mutation for mutation in MUTATIONS
              if not words or any(word in mutation.name for word in words)]
    if subprocess.run(["git", "diff", "--quiet", "--", SOURCE], cwd=ROOT).returncode:
        sys.exit("runtime/src has changes; commit them first")
    missed = 0
    for count, mutation in enumerate(chosen, 1):
        print(f"{count} of {len(chosen)}: {mutation.name}", file=sys.stderr, flush=True)
        reason = noticed_by(mutation)
        missed += reason is None
        print(f"{'NOT NOTICED' if reason is None else 'noticed':11}  {mutation.name:46}  "
              f"{reason or ''}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
