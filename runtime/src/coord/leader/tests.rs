//! Single scenarios; `tests/coord_sim.rs` simulates many.

use super::*;
use crate::plan::{Cuts, DeviceIx, InFlight, Plan, Split, Stage};

const ME: NodeId = NodeId(0);
const OTHER: NodeId = NodeId(1);
const THIRD: NodeId = NodeId(2);

/// A leader and its clock.
struct Script {
    leader: Leader,
    now: f64,
    commands: Vec<Command>,
}

impl Script {
    fn new(others: &[NodeId]) -> Script {
        let (leader, commands) = Leader::new(ME, others.iter().copied());
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
    Proposal { lanes: vec![lane], in_flight, reason: Reason::Start, provisional: false }
}

fn retired(commands: &[Command]) -> Vec<Generation> {
    let retired = commands.iter().filter_map(|command| match command {
        Command::Retire { generation, .. } => Some(*generation),
        _ => None,
    });
    retired.collect()
}

#[test]
fn every_plan_over_a_dead_link_is_abandoned() {
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
    let backoffs = commands.iter().filter(|command| matches!(command, Command::BackOff { .. }));
    assert_eq!(backoffs.count(), 1, "{commands:?}");
}

#[test]
fn weights_that_do_not_come_are_no_progress() {
    let mut script = Script::new(&[OTHER]);
    let generation = script.propose(&[ME, OTHER]);
    script.handle(Event::Ready { node: ME, generation });
    let progress = |have| Event::Progress { node: OTHER, generation, have, need: Bytes(10) };
    for have in 0..3 {
        for _ in 0..9 {
            script.handle(progress(Bytes(have)));
            assert_eq!(retired(&script.wait(1_000.0)), []);
        }
    }
    script.handle(progress(Bytes(2)));
    assert_eq!(retired(&script.wait(1_100.0)), [generation]);
}

#[test]
fn a_device_that_packs_its_weights_is_not_timed_out() {
    let mut script = Script::new(&[OTHER]);
    let generation = script.propose(&[ME, OTHER]);
    script.handle(Event::Ready { node: ME, generation });
    for _ in 0..60 {
        script.handle(Event::Progress { node: OTHER, generation, have: Bytes(9), need: Bytes(9) });
        assert_eq!(script.wait(1_000.0), []);
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
    let [Command::RequestPlan { request, reason, members }] = &commands[..] else {
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
    assert_eq!(script.handle(Event::Joined(THIRD)), []);
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
    Proposal { lanes, in_flight, reason: Reason::Start, provisional: false }
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
    script.handle(Event::Joined(THIRD));
    let request = script.request();
    let lanes = slower.into_iter().chain([whole(THIRD, 100.0)]).collect();
    script.handle(Event::Proposed { request, proposal: Ok(side_by_side(lanes)) });
    assert_eq!(script.prepared(), Generation(3));
    script.all_ready(Generation(3), &[ME, THIRD]);
    assert_eq!(retired(&script.commands), []);
    assert_eq!(script.leader.active().count(), 3);
}
