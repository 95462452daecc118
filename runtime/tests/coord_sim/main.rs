//! Simulates clusters: processes that start, leave, die, stand still and slow down, computations that
//! fail, preparations that never end, links that fall silent in one direction or both, while frames run, one or several at once, under one plan or under
//! several side by side. The state machines are those that run in earnest: the leader's, the workers'
//! sessions and connections, the gates for strips, the promises of memory, the failure detectors; and
//! so is the planner. Time is virtual, and everything follows from the script.
//!
//! As long as the leader lives, this holds at every step, whatever happens: every frame is answered
//! exactly once and in order, of rows of one generation; no device keeps anything of a session that
//! is over; generations only grow; no plan is predicted to be worse than the leader alone, or lets
//! two devices exchange strips that cannot. In the end everything is answered and settled.
//!
//! `SIM_SEEDS=10000 cargo test --release --test coord_sim -- seeds` runs more seeds.

mod boss;
mod device;
mod dice;
mod memory;
mod messages;
mod network;
mod script;
mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::time::{SystemTime, UNIX_EPOCH};

use script::{Op, Script};
use world::World;

/// Runs a script; whether something did not hold.
fn fails(script: &Script) -> bool {
    catch_unwind(AssertUnwindSafe(|| World::run(script))).is_err()
}

/// Runs the scripts of these seeds. One that fails is shown, as short as it can be.
fn run_seeds(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let script = Script::random(seed);
        if !fails(&script) {
            continue;
        }
        let hook = take_hook();
        set_hook(Box::new(|_| ()));
        let script = script.shrink(fails);
        set_hook(hook);
        println!("seed {seed} fails, and so does:\n{script:?}");
        World::run(&script);
        panic!("seed {seed} fails, but not twice");
    }
}

#[test]
fn seeds() {
    let count = std::env::var("SIM_SEEDS").ok().and_then(|count| count.parse().ok());
    run_seeds(0..count.unwrap_or(300));
}

#[test]
fn new_seeds() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let first = now.as_nanos() as u64;
    run_seeds((0..20).map(|offset| first.wrapping_add(offset)));
}

/// How often the leader gave which command in the scripts of these seeds.
fn seen(seeds: impl Iterator<Item = u64>) -> BTreeMap<&'static str, usize> {
    let mut seen = BTreeMap::new();
    for seed in seeds {
        for (name, times) in World::run(&Script::random(seed)).boss.seen {
            *seen.entry(name).or_insert(0) += times;
        }
    }
    seen
}

#[test]
fn scripts_bring_about_whatever_the_leader_has_an_answer_for() {
    let seen = seen(0..50);
    for name in
        ["request apart", "disconnect", "complete again", "back off", "keep apart", "inspect"]
    {
        assert!(seen.get(name).is_some_and(|times| *times >= 10), "{name}: {seen:?}");
    }
}

/// How long the frame took that took longest.
fn slowest(script: &Script) -> f64 {
    let boss = World::run(script).boss;
    let took = |(frame, at): (&u64, &f64)| at - boss.submitted[*frame as usize];
    boss.answered.iter().map(took).fold(0.0, f64::max)
}

/// A cluster that has settled, and a frame every tenth of a second.
fn stream(script: Script, frames: usize) -> Script {
    (0..frames).fold(script, |script, _| script.then(100.0, Op::Frame))
}

#[test]
fn a_silent_link_costs_a_frame_at_most_three_seconds() {
    for (a, b) in [(1, 2), (2, 3), (0, 1), (3, 0)] {
        for cut in [Op::Cut(a, b), Op::Deafen(a, b), Op::Deafen(b, a)] {
            let script = stream(Script::new(4).then(2_000.0, Op::Frame), 10);
            let script = stream(script.then(130.0, cut), 60);
            let slowest = slowest(&script);
            assert!(slowest < 3_000.0, "{cut:?}: {slowest} ms");
        }
    }
}

#[test]
fn what_happens_to_one_device_costs_a_frame_at_most_two_seconds() {
    for op in [Op::Kill(2), Op::Freeze(2), Op::Leave(2), Op::Spoil(2)] {
        let script = stream(Script::new(4).then(2_000.0, Op::Frame), 10);
        let slowest = slowest(&stream(script.then(130.0, op), 60));
        assert!(slowest < 2_000.0, "{op:?}: {slowest} ms");
    }
}

#[test]
fn who_says_goodbye_takes_no_frame_along() {
    let script = stream(Script::new(4).then(2_000.0, Op::Frame), 10);
    let script = stream(stream(script.then(130.0, Op::Leave(2)), 5).then(30.0, Op::Leave(3)), 60);
    let seen = World::run(&script).boss.seen;
    assert!(!seen.contains_key("complete again") && !seen.contains_key("back off"), "{seen:?}");
}

#[test]
fn a_script_is_shrunk_to_what_makes_it_fail() {
    let has = |script: &Script, op: Op| script.ops.iter().any(|(_, other)| *other == op);
    let fails = |script: &Script| has(script, Op::Kill(1)) && has(script, Op::Frame);
    let script = Script::random(7).then(1.0, Op::Kill(1));
    let shrunk = script.shrink(fails);
    assert_eq!(shrunk.ops.len(), 2, "{shrunk:?}");
}
