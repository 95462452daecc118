//! Single scenarios; `tests/coord_sim/` simulates many.

use super::stall::INSPECT_AGAIN;
use super::*;
use crate::plan::{Cuts, DeviceIx, InFlight, Plan, Split, Stage};
use crate::program::TransferId;

const ME: NodeId = NodeId(0);
const OTHER: NodeId = NodeId(1);
const THIRD: NodeId = NodeId(2);
const FOURTH: NodeId = NodeId(3);

/// A device's first run, and the next.
const FIRST: Incarnation = Incarnation(1);
const SECOND: Incarnation = Incarnation(2);

/// A leader and its clock.
struct Script {
    leader: Leader,
    now: f64,
    commands: Vec<Command>,
}

impl Script {
    fn new(others: &[NodeId]) -> Script {
        let (leader, commands) = Leader::new(ME, others.iter().map(|node| (*node, FIRST)));
        Script { leader, now: 0.0, commands }
    }

    fn handle(&mut self, event: Event) -> &[Command] {
        self.commands = self.leader.handle(Moment(self.now), event);
        &self.commands
    }

    /// Lets time pass, tick by tick; returns all commands.
    fn wait(&mut self, time: f64) -> Vec<Command> {
        let until = self.now + time;
        let mut commands = Vec::new();
        while self.now < until {
            self.now += 100.0;
            commands.extend_from_slice(self.handle(Event::Tick));
        }
        commands
    }

    fn request(&self) -> u32 {
        let requests = self.commands.iter().filter_map(|command| match command {
            Command::RequestPlan { request, .. } => Some(*request),
            _ => None,
        });
        requests.max().expect("a plan is asked for")
    }

    fn propose(&mut self, members: &[NodeId]) -> Generation {
        let request = self.request();
        self.handle(Event::Proposed { request, proposal: Ok(proposal(members)) });
        self.prepared()
    }

    fn prepared(&self) -> Generation {
        let prepared = self.commands.iter().find_map(|command| match command {
            Command::Prepare { generation, .. } => Some(*generation),
            _ => None,
        });
        prepared.expect("a plan is prepared")
    }

    /// The devices of the plan that was requested last, and the pairs that it must keep apart.
    fn requested(&self) -> (Vec<NodeId>, Vec<Pair>) {
        let mut requests = self.commands.iter().rev();
        let request = requests.find_map(|command| match command {
            Command::RequestPlan { members, apart, .. } => Some((members.clone(), apart.clone())),
            _ => None,
        });
        request.expect("a plan is asked for")
    }

    /// Brings a plan for these devices into force.
    fn run_on(&mut self, members: &[NodeId]) -> Generation {
        let generation = self.propose(members);
        self.all_ready(generation, members);
        generation
    }

    fn join(&mut self, node: NodeId, incarnation: Incarnation) -> bool {
        let commands = self.handle(Event::Joined { node, incarnation });
        commands.iter().any(|command| matches!(command, Command::RequestPlan { .. }))
    }

    fn all_ready(&mut self, generation: Generation, members: &[NodeId]) {
        for node in members {
            self.handle(Event::Ready { node: *node, generation });
        }
        let is_active = |command: &Command| match command {
            Command::Activate { lanes, .. } => {
                lanes.iter().any(|(active, _)| *active == generation)
            }
            _ => false,
        };
        assert!(self.commands.iter().any(is_active));
    }
}

fn proposal(members: &[NodeId]) -> Proposal {
    let lengths: Vec<u32> = members.iter().map(|_| 4).collect();
    let stage = Stage { layers: 0..1, split: Split::Rows(Cuts::from_lengths(lengths)) };
    let lane = Lane {
        plan: Plan::new(members.len() as u16, vec![stage]),
        members: members.to_vec(),
        predicted: Ms(100.0),
        interval: Ms(100.0),
        in_flight: InFlight::ONE,
    };
    let in_flight = lane.in_flight;
    Proposal {
        lanes: vec![lane],
        in_flight,
        reason: Reason::Start,
        provisional: false,
        alone: Ms::ZERO,
    }
}

fn retired(commands: &[Command]) -> Vec<Generation> {
    let retired = commands.iter().filter_map(|command| match command {
        Command::Retire { generation, .. } => Some(*generation),
        _ => None,
    });
    retired.collect()
}

#[test]
fn every_plan_over_a_dead_link_is_abandoned_and_the_two_are_kept_apart() {
    let all = [ME, OTHER, THIRD];
    let mut script = Script::new(&all[1..]);
    let first = script.propose(&all);
    script.all_ready(first, &all);
    script.handle(Event::Submitted { frame: 0 });
    script.handle(Event::Improved(proposal(&[ME, THIRD, OTHER])));
    let second = script.prepared();
    script.all_ready(second, &all);
    assert!(script.leader.knows(first), "its frame is under way");
    for generation in [first, second] {
        script.handle(Event::LinkDown { node: OTHER, generation, peer: THIRD });
    }
    let commands = script.wait(LINK_GRACE.0 + 100.0);
    assert_eq!(retired(&commands), [first, second]);
    let pair = Pair::of(OTHER, THIRD);
    assert_eq!(
        commands.iter().filter(|command| **command == Command::KeepApart { pair }).count(),
        1,
        "{commands:?}"
    );
    script.commands = commands;
    assert_eq!(script.requested(), (all.to_vec(), vec![pair]));
}

#[test]
fn a_device_whose_links_all_break_costs_one_restart_and_no_other_device() {
    let all = [ME, OTHER, THIRD, FOURTH];
    let mut script = Script::new(&all[1..]);
    let generation = script.run_on(&all);
    script.handle(Event::Submitted { frame: 0 });
    // Both ends report, some later than others.
    for peer in [OTHER, THIRD] {
        script.handle(Event::LinkDown { node: FOURTH, generation, peer });
        script.wait(100.0);
        script.handle(Event::LinkDown { node: peer, generation, peer: FOURTH });
    }
    script.commands = script.wait(LINK_GRACE.0);
    assert!(!script.commands.iter().any(|command| matches!(command, Command::BackOff { .. })));
    let apart = vec![Pair::of(OTHER, FOURTH), Pair::of(THIRD, FOURTH)];
    assert_eq!(script.requested(), (all.to_vec(), apart));
}

#[test]
fn a_device_that_cannot_reach_the_leader_is_left_out() {
    let all = [ME, OTHER, THIRD];
    let mut script = Script::new(&all[1..]);
    let generation = script.run_on(&all);
    script.handle(Event::LinkDown { node: ME, generation, peer: OTHER });
    script.commands = script.wait(LINK_GRACE.0 + 100.0);
    assert_eq!(script.requested(), (vec![ME, THIRD], Vec::new()));
}

#[test]
fn a_link_of_a_device_that_is_dead_blames_nobody_else() {
    let all = [ME, OTHER, THIRD];
    let mut script = Script::new(&all[1..]);
    let generation = script.run_on(&all);
    script.handle(Event::LinkDown { node: THIRD, generation, peer: OTHER });
    let commands = script.handle(Event::Lost(OTHER)).to_vec();
    let members = vec![ME, THIRD];
    let (node, incarnation) = (OTHER, FIRST);
    assert!(commands.contains(&Command::Disconnect { node, incarnation, members }));
    assert_eq!(script.requested(), (vec![ME, THIRD], Vec::new()));
    assert!(
        !script.wait(1_000.0).iter().any(|command| matches!(command, Command::KeepApart { .. }))
    );
}

#[test]
fn a_device_that_starts_again_is_taken_at_once() {
    let mut script = Script::new(&[OTHER]);
    for life in 1..20 {
        let generation = script.run_on(&[ME, OTHER]);
        script.handle(Event::Submitted { frame: life });
        script.handle(Event::Answered { frame: life, generation });
        script.handle(Event::Lost(OTHER));
        script.run_on(&[ME]);
        assert!(script.join(OTHER, Incarnation(life + 1)), "in life {life}");
    }
}

#[test]
fn a_device_that_falls_silent_and_returns_is_not() {
    let mut script = Script::new(&[OTHER]);
    let generation = script.run_on(&[ME, OTHER]);
    script.handle(Event::Submitted { frame: 0 });
    script.handle(Event::Answered { frame: 0, generation });
    script.handle(Event::Lost(OTHER));
    script.run_on(&[ME]);
    assert!(!script.join(OTHER, FIRST));
    script.commands = script.wait(1_100.0);
    assert_eq!(script.requested().0, [ME, OTHER]);
}

#[test]
fn a_device_that_dies_of_its_plans_is_not() {
    let mut script = Script::new(&[OTHER]);
    script.propose(&[ME, OTHER]);
    script.handle(Event::Lost(OTHER));
    script.run_on(&[ME]);
    assert!(!script.join(OTHER, SECOND));
}

#[test]
fn a_strip_that_is_lost_on_the_way_keeps_its_two_devices_apart() {
    let all = [ME, OTHER, THIRD];
    let mut script = Script::new(&all[1..]);
    let generation = script.run_on(&all);
    script.handle(Event::Submitted { frame: 0 });
    let transfer = TransferId(5);
    let question = Command::Inspect { frame: 0, generation, members: all.to_vec() };
    let mut commands = script.wait(1_000.0);
    for _ in 0..2 {
        assert_eq!(commands, std::slice::from_ref(&question));
        for node in all {
            // One waits for a strip that was sent, another for one that was not.
            let (awaits, owes) = match node {
                ME => (vec![Awaited { transfer: TransferId(9), from: THIRD }], Vec::new()),
                OTHER => (Vec::new(), Vec::new()),
                _ => (vec![Awaited { transfer, from: OTHER }], vec![TransferId(9)]),
            };
            script.handle(Event::Inspected { node, generation, frame: 0, awaits, owes });
        }
        commands = script.wait(INSPECT_AGAIN.0);
    }
    assert_eq!(retired(&commands), [generation]);
    script.commands = commands;
    assert_eq!(script.requested().1, [Pair::of(OTHER, THIRD)]);
}

#[test]
fn a_frame_that_is_slow_is_not_disturbed() {
    let mut script = Script::new(&[OTHER]);
    let generation = script.run_on(&[ME, OTHER]);
    script.handle(Event::Submitted { frame: 0 });
    for round in 0..20 {
        for command in script.wait(500.0) {
            let Command::Inspect { .. } = command else { panic!("{command:?}") };
            // The other computes, each time at another strip, and does not always find the time.
            let (awaits, owes) = (Vec::new(), vec![TransferId(round)]);
            let ours = vec![Awaited { transfer: TransferId(round), from: OTHER }];
            let (node, frame) = (ME, 0);
            script.handle(Event::Inspected { node, generation, frame, awaits: ours, owes: vec![] });
            if round % 2 == 0 {
                let node = OTHER;
                script.handle(Event::Inspected { node, generation, frame, awaits, owes });
            }
        }
    }
    script.handle(Event::Answered { frame: 0, generation });
}

#[test]
fn a_plan_that_stalls_is_never_prepared_again_as_it_was() {
    let mut script = Script::new(&[OTHER]);
    let generation = script.run_on(&[ME, OTHER]);
    script.handle(Event::Submitted { frame: 0 });
    let commands = script.wait(60_100.0);
    assert_eq!(retired(&commands), [generation]);
    assert!(!commands.iter().any(|command| matches!(command, Command::Prepare { .. })));
    script.commands = commands;
    assert_eq!(script.requested().0, [ME]);
}

#[test]
fn a_frame_that_others_disturb_too_often_runs_on_the_leader_alone() {
    let all = [ME, OTHER];
    let mut script = Script::new(&all[1..]);
    for life in 1..=3 {
        let generation = script.run_on(&all);
        match life {
            1 => script.handle(Event::Submitted { frame: 0 }),
            _ => &script.commands,
        };
        assert_eq!(started(&script.commands), [(0, generation)]);
        script.handle(Event::Lost(OTHER));
        if life < 3 {
            assert!(!script.join(OTHER, FIRST));
            script.commands = script.wait(5_000.0);
        }
    }
    assert_eq!(script.requested().0, [ME]);
    // A device that is there now is not asked: the frame has had enough.
    script.join(THIRD, FIRST);
    assert_eq!(script.requested().0, [ME]);
    let alone = script.run_on(&[ME]);
    assert_eq!(started(&script.commands), [(0, alone)]);
    // When it is done, all are asked again.
    script.handle(Event::Answered { frame: 0, generation: alone });
    assert_eq!(script.requested().0, [ME, THIRD]);
}

#[test]
fn where_the_leader_cannot_run_it_alone_a_frame_goes_on_with_others() {
    let mut script = Script::new(&[OTHER]);
    for life in 1..=2 {
        let generation = script.run_on(&[ME, OTHER]);
        if life == 1 {
            script.handle(Event::Submitted { frame: 0 });
        }
        let (node, frame, error) = (OTHER, 0, "it is hot".to_owned());
        script.handle(Event::Failed { node, generation, frame, error });
        assert_eq!(script.requested().0, [ME], "its next error would be the last");
        let request = script.request();
        script.handle(Event::Proposed { request, proposal: Err("too large".to_owned()) });
        script.commands = script.wait(5_000.0);
    }
    let generation = script.run_on(&[ME, OTHER]);
    assert_eq!(started(&script.commands), [(0, generation)]);
}

#[test]
fn frames_do_not_wait_for_ever_for_devices_that_do_not_get_ready() {
    let all = [ME, OTHER];
    let mut script = Script::new(&all[1..]);
    let generation = script.propose(&all);
    script.handle(Event::Ready { node: ME, generation });
    script.handle(Event::Submitted { frame: 0 });
    // It makes progress, but there is nobody to answer the frame.
    for round in 0..30 {
        let (done, need) = (Bytes(round), Bytes(1_000));
        script.handle(Event::Progress { node: OTHER, generation, done, need });
        script.commands = script.wait(100.0);
        if retired(&script.commands) == [generation] {
            assert_eq!(script.requested().0, [ME]);
            let alone = script.run_on(&[ME]);
            assert_eq!(started(&script.commands), [(0, alone)]);
            assert_eq!(script.requested().0, all, "and then the other again");
            return;
        }
    }
    panic!("it waits");
}

#[test]
fn frames_do_not_wait_for_one_plan_after_another_that_fails() {
    let all = [ME, OTHER, THIRD];
    let mut script = Script::new(&all[1..]);
    for frame in 0..5 {
        let (request, proposal) = (script.request(), proposal(&all));
        let proposal = Ok(Proposal { alone: Ms(5_000.0), ..proposal });
        script.handle(Event::Proposed { request, proposal });
        let generation = script.prepared();
        script.handle(Event::Submitted { frame });
        script.handle(Event::Ready { node: ME, generation });
        script.handle(Event::LinkDown { node: OTHER, generation, peer: THIRD });
        script.commands = script.wait(2_000.0);
        assert_eq!(retired(&script.commands)[0], generation);
        if script.requested().0 == [ME] {
            return;
        }
    }
    panic!("it waits");
}

#[test]
fn weights_that_do_not_come_are_no_progress() {
    let mut script = Script::new(&[OTHER]);
    let generation = script.propose(&[ME, OTHER]);
    script.handle(Event::Ready { node: ME, generation });
    let progress = |done| Event::Progress { node: OTHER, generation, done, need: Bytes(10) };
    for done in 0..3 {
        for _ in 0..9 {
            script.handle(progress(Bytes(done)));
            assert_eq!(retired(&script.wait(1_000.0)), []);
        }
    }
    script.handle(progress(Bytes(2)));
    assert_eq!(retired(&script.wait(1_100.0)), [generation]);
}

#[test]
fn a_device_that_is_alive_but_never_ready_is_timed_out() {
    for have in [0, 10] {
        let mut script = Script::new(&[OTHER]);
        let generation = script.propose(&[ME, OTHER]);
        script.handle(Event::Ready { node: ME, generation });
        let mut commands = Vec::new();
        for _ in 0..15 {
            // All that it needs, and again.
            let (done, need) = (Bytes(have), Bytes(have));
            script.handle(Event::Progress { node: OTHER, generation, done, need });
            commands.extend(script.wait(1_000.0));
        }
        assert_eq!(retired(&commands), [generation], "with {have} bytes");
    }
}

#[test]
fn a_device_that_packs_its_weights_is_not_timed_out() {
    let mut script = Script::new(&[OTHER]);
    let generation = script.propose(&[ME, OTHER]);
    script.handle(Event::Ready { node: ME, generation });
    // A large layer takes a while even where the processor is slow.
    let need = Bytes(411 << 20);
    for layer in 0..10 {
        let done = Bytes(need.0 + layer);
        script.handle(Event::Progress { node: OTHER, generation, done, need });
        assert_eq!(script.wait(20_000.0), []);
    }
}

#[test]
fn frames_wait_for_a_device_that_backs_off() {
    let mut script = Script::new(&[OTHER]);
    let generation = script.propose(&[ME, OTHER]);
    script.handle(Event::Submitted { frame: 0 });
    let why = "not now".to_owned();
    script.handle(Event::Refused { node: OTHER, generation, why });
    let request = script.request();
    let none = || Err("not enough memory".to_owned());
    assert_eq!(script.handle(Event::Proposed { request, proposal: none() }), []);
    let commands = script.wait(1_500.0);
    let [Command::RequestPlan { request, reason, members, .. }] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!((*reason, &members[..]), (Reason::Start, &[ME, OTHER][..]));
    // Its back-off is over: there is nothing left to wait for.
    let commands = script.handle(Event::Proposed { request: *request, proposal: none() });
    assert!(
        matches!(commands, [Command::FailFrame { frame: 0, .. }, Command::NoPlan { .. }]),
        "{commands:?}"
    );
}

#[test]
fn without_the_leaders_own_device_the_session_is_over() {
    let mut script = Script::new(&[OTHER]);
    let generation = script.propose(&[ME, OTHER]);
    script.all_ready(generation, &[ME, OTHER]);
    script.handle(Event::Submitted { frame: 0 });
    script.handle(Event::Submitted { frame: 1 });
    let commands = script.handle(Event::Lost(ME));
    let given_up = |command: &Command| matches!(command, Command::FailFrame { .. });
    assert_eq!(commands.iter().filter(|command| given_up(command)).count(), 2);
    assert!(matches!(commands.last(), Some(Command::End { .. })));
    assert!(matches!(script.handle(Event::Submitted { frame: 2 }), [Command::FailFrame { .. }]));
    assert_eq!(script.wait(100_000.0), []);
    assert!(!script.join(THIRD, FIRST));
}

#[test]
fn the_plan_that_follows_a_stopgap_waits_for_the_frames_that_were_disturbed() {
    let mut script = Script::new(&[OTHER, THIRD]);
    script.run_on(&[ME, OTHER, THIRD]);
    script.handle(Event::Submitted { frame: 0 });
    script.handle(Event::Submitted { frame: 1 });
    script.handle(Event::Lost(OTHER));
    let request = script.request();
    let stopgap = Proposal { provisional: true, ..proposal(&[ME, THIRD]) };
    script.handle(Event::Proposed { request, proposal: Ok(stopgap) });
    let generation = script.prepared();
    script.all_ready(generation, &[ME, THIRD]);
    let requests = |commands: &[Command]| {
        commands.iter().any(|command| matches!(command, Command::RequestPlan { .. }))
    };
    assert_eq!(started(&script.commands), [(0, generation)]);
    assert!(!requests(&script.commands));
    let after = script.handle(Event::Answered { frame: 0, generation });
    assert_eq!(started(after), [(1, generation)]);
    assert!(requests(after), "the second frame had not begun");
}

#[test]
fn a_plan_that_runs_as_a_stopgap_is_prepared_again_for_good() {
    let mut script = Script::new(&[OTHER]);
    let stopgap = Proposal { provisional: true, ..proposal(&[ME, OTHER]) };
    let request = script.request();
    script.handle(Event::Proposed { request, proposal: Ok(stopgap) });
    let generation = script.prepared();
    script.all_ready(generation, &[ME, OTHER]);
    let lasting = script.run_on(&[ME, OTHER]);
    assert!(lasting > generation);
    let better = Event::Improved(proposal(&[ME, OTHER]));
    assert!(!script.handle(better).iter().any(|c| matches!(c, Command::Prepare { .. })));
}

#[test]
fn a_join_waits_only_for_a_plan_that_is_soon_ready() {
    let mut script = Script::new(&[OTHER]);
    let generation = script.propose(&[ME, OTHER]);
    assert!(!script.join(THIRD, FIRST));
    script.all_ready(generation, &[ME, OTHER]);
    let generation = script.run_on(&[ME, OTHER, THIRD]);
    script.handle(Event::Left(THIRD));
    script.run_on(&[ME, OTHER]);
    let better = Proposal { reason: Reason::Faster, ..proposal(&[ME]) };
    script.handle(Event::Improved(better));
    assert!(script.prepared() > generation);
    assert!(script.join(THIRD, SECOND));
}

/// Whole frames on a device, which answers at this interval.
fn whole(node: NodeId, interval: f64) -> Lane {
    let (members, owner) = match node {
        ME => (vec![ME], DeviceIx::LEADER),
        node => (vec![ME, node], DeviceIx(1)),
    };
    let stage = Stage { layers: 0..1, split: Split::Whole(owner) };
    let plan = Plan::new(members.len() as u16, vec![stage]);
    let (predicted, interval, in_flight) = (Ms(interval), Ms(interval), InFlight::of(2));
    Lane { plan, members, predicted, interval, in_flight }
}

fn side_by_side(lanes: Vec<Lane>) -> Proposal {
    let in_flight = InFlight::of(2 * lanes.len());
    Proposal { lanes, in_flight, reason: Reason::Start, provisional: false, alone: Ms::ZERO }
}

fn started(commands: &[Command]) -> Vec<(u64, Generation)> {
    let started = commands.iter().filter_map(|command| match command {
        Command::Start { frame, generation } => Some((*frame, *generation)),
        _ => None,
    });
    started.collect()
}

/// A leader with a lane of its own and one on another device.
fn two_lanes(own: f64, other: f64) -> (Script, [Generation; 2]) {
    let mut script = Script::new(&[OTHER]);
    let (request, lanes) = (script.request(), vec![whole(ME, own), whole(OTHER, other)]);
    script.handle(Event::Proposed { request, proposal: Ok(side_by_side(lanes)) });
    let [mine, theirs] = [Generation(1), Generation(2)];
    script.handle(Event::Ready { node: ME, generation: mine });
    script.handle(Event::Ready { node: ME, generation: theirs });
    assert_eq!(script.leader.active().count(), 0, "they become active together");
    script.all_ready(theirs, &[OTHER]);
    (script, [mine, theirs])
}

#[test]
fn a_slow_lane_gets_only_what_others_would_not_have_done_sooner() {
    let (mut script, [mine, theirs]) = two_lanes(100.0, 1_000.0);
    let mut submit = |frame| started(script.handle(Event::Submitted { frame }));
    assert_eq!(submit(0), [(0, mine)]);
    assert_eq!(submit(1), [(1, mine)]);
    assert!((2..9).all(|frame| submit(frame).is_empty()));
    // The tenth would be answered after 1.0 s here, too.
    assert_eq!(submit(9), []);
    assert_eq!(submit(10), [(2, theirs)]);
    assert_eq!(started(script.handle(Event::Answered { frame: 0, generation: mine })), [(3, mine)]);
}

#[test]
fn frames_of_a_lost_lane_are_rerun_on_the_others() {
    let (mut script, [mine, theirs]) = two_lanes(100.0, 100.0);
    script.handle(Event::Submitted { frame: 0 });
    assert_eq!(started(script.handle(Event::Submitted { frame: 1 })), [(1, theirs)]);
    let commands = script.handle(Event::Lost(OTHER)).to_vec();
    assert_eq!((retired(&commands), started(&commands)), (vec![theirs], vec![(1, mine)]));
    let request = script.request();
    // What is left is what runs; whoever watches is told why.
    let left = Proposal { reason: Reason::Lost, ..side_by_side(vec![whole(ME, 100.0)]) };
    let commands = script.handle(Event::Proposed { request, proposal: Ok(left) });
    let [Command::Activate { lanes, reason: Reason::Lost }] = commands else {
        panic!("{commands:?}")
    };
    assert_eq!(lanes[0].0, mine);
}

#[test]
fn lanes_that_run_already_are_not_prepared_again() {
    let (mut script, [mine, theirs]) = two_lanes(100.0, 100.0);
    let slower = vec![whole(ME, 100.0), whole(OTHER, 400.0)];
    let commands = script.handle(Event::Improved(side_by_side(slower.clone())));
    let [Command::Activate { lanes, .. }] = commands else { panic!("{commands:?}") };
    assert_eq!(*lanes, [(mine, slower[0].clone()), (theirs, slower[1].clone())]);
    script.join(THIRD, FIRST);
    let request = script.request();
    let lanes = slower.into_iter().chain([whole(THIRD, 100.0)]).collect();
    script.handle(Event::Proposed { request, proposal: Ok(side_by_side(lanes)) });
    assert_eq!(script.prepared(), Generation(3));
    script.all_ready(Generation(3), &[ME, THIRD]);
    assert_eq!(retired(&script.commands), []);
    assert_eq!(script.leader.active().count(), 3);
}

#[test]
fn frames_wait_for_others_as_long_as_the_leader_alone_would_take() {
    for (alone, patience) in [(0.0, 2_000.0), (5_000.0, 5_000.0)] {
        let mut script = Script::new(&[OTHER]);
        let (request, proposal) = (script.request(), proposal(&[ME, OTHER]));
        let proposal = Ok(Proposal { alone: Ms(alone), ..proposal });
        script.handle(Event::Proposed { request, proposal });
        let generation = script.prepared();
        script.handle(Event::Submitted { frame: 0 });
        script.handle(Event::Ready { node: ME, generation });
        assert_eq!(script.wait(patience - 200.0), []);
        let requested = script.wait(400.0);
        let alone = |command: &Command| match command {
            Command::RequestPlan { members, .. } => *members == [ME],
            _ => false,
        };
        assert!(requested.iter().any(alone), "{requested:?}");
    }
}
