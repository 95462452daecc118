//! Single stories; `tests/coord_sim.rs` plays the many.

use super::*;
use crate::plan::{Cuts, Exchange, Plan, Split, Stage};

const ME: NodeId = NodeId(0);
const OTHER: NodeId = NodeId(1);
const THIRD: NodeId = NodeId(2);

/// A leader and its clock.
struct Story {
    leader: Leader,
    now: f64,
    said: Vec<Command>,
}

impl Story {
    fn new(others: &[NodeId]) -> Story {
        let (leader, said) = Leader::new(ME, others.iter().copied());
        Story { leader, now: 0.0, said }
    }

    fn tell(&mut self, event: Event) -> &[Command] {
        self.said = self.leader.handle(Moment(self.now), event);
        &self.said
    }

    /// Time passes, tick by tick; all that is said.
    fn wait(&mut self, time: f64) -> Vec<Command> {
        let until = self.now + time;
        let mut said = Vec::new();
        while self.now < until {
            self.now += 100.0;
            said.extend_from_slice(self.tell(Event::Tick));
        }
        said
    }

    fn ask(&self) -> u32 {
        let asks = self.said.iter().filter_map(|command| match command {
            Command::Ask { ask, .. } => Some(*ask),
            _ => None,
        });
        asks.max().expect("a plan is asked for")
    }

    fn propose(&mut self, members: &[NodeId]) -> Generation {
        let ask = self.ask();
        self.tell(Event::Proposed { ask, proposal: Ok(proposal(members)) });
        self.prepared()
    }

    fn prepared(&self) -> Generation {
        let prepared = self.said.iter().find_map(|command| match command {
            Command::Prepare { generation, .. } => Some(*generation),
            _ => None,
        });
        prepared.expect("a plan is prepared")
    }

    fn all_ready(&mut self, generation: Generation, members: &[NodeId]) {
        for node in members {
            self.tell(Event::Ready { node: *node, generation });
        }
        assert!(self.said.contains(&Command::Activate { generation }));
    }
}

fn proposal(members: &[NodeId]) -> Proposal {
    let lengths: Vec<u32> = members.iter().map(|_| 4).collect();
    let plan = Plan {
        devices: members.len() as u16,
        exchange: Exchange::Peer,
        stages: vec![Stage { layers: 0..1, split: Split::Rows(Cuts::from_lengths(lengths)) }],
    };
    let (reason, predicted) = (Reason::Start, Ms(100.0));
    Proposal { plan, members: members.to_vec(), reason, provisional: false, predicted }
}

fn retired(commands: &[Command]) -> Vec<Generation> {
    let retired = commands.iter().filter_map(|command| match command {
        Command::Retire { generation, .. } => Some(*generation),
        _ => None,
    });
    retired.collect()
}

#[test]
fn every_plan_over_a_dead_link_is_broken_off() {
    let all = [ME, OTHER, THIRD];
    let mut story = Story::new(&all[1..]);
    let first = story.propose(&all);
    story.all_ready(first, &all);
    story.tell(Event::Submitted { frame: 0 });
    story.tell(Event::Improved(proposal(&[ME, THIRD, OTHER])));
    let second = story.prepared();
    story.all_ready(second, &all);
    assert!(story.leader.knows(first), "its frame is under way");
    for generation in [first, second] {
        story.tell(Event::LinkDown { node: OTHER, generation, peer: THIRD });
    }
    let said = story.wait(LINK_GRACE.0 + 100.0);
    assert_eq!(retired(&said), [first, second]);
    let rests = said.iter().filter(|command| matches!(command, Command::Rest { .. }));
    assert_eq!(rests.count(), 1, "{said:?}");
}

#[test]
fn weights_that_do_not_come_are_no_progress() {
    let mut story = Story::new(&[OTHER]);
    let generation = story.propose(&[ME, OTHER]);
    story.tell(Event::Ready { node: ME, generation });
    let progress = |have| Event::Progress { node: OTHER, generation, have, need: Bytes(10) };
    for have in 0..3 {
        for _ in 0..9 {
            story.tell(progress(Bytes(have)));
            assert_eq!(retired(&story.wait(1_000.0)), []);
        }
    }
    story.tell(progress(Bytes(2)));
    assert_eq!(retired(&story.wait(1_100.0)), [generation]);
}

#[test]
fn a_device_that_packs_its_weights_has_time() {
    let mut story = Story::new(&[OTHER]);
    let generation = story.propose(&[ME, OTHER]);
    story.tell(Event::Ready { node: ME, generation });
    for _ in 0..60 {
        story.tell(Event::Progress { node: OTHER, generation, have: Bytes(9), need: Bytes(9) });
        assert_eq!(story.wait(1_000.0), []);
    }
}

#[test]
fn frames_wait_for_a_device_that_only_rests() {
    let mut story = Story::new(&[OTHER]);
    let generation = story.propose(&[ME, OTHER]);
    story.tell(Event::Submitted { frame: 0 });
    let why = "not now".to_owned();
    story.tell(Event::Refused { node: OTHER, generation, why });
    let ask = story.ask();
    let none = || Err("not enough memory".to_owned());
    assert_eq!(story.tell(Event::Proposed { ask, proposal: none() }), []);
    let said = story.wait(1_500.0);
    let [Command::Ask { ask, reason, members }] = &said[..] else { panic!("{said:?}") };
    assert_eq!((*reason, &members[..]), (Reason::Start, &[ME, OTHER][..]));
    // It does not rest any more: there is nothing to wait for.
    let said = story.tell(Event::Proposed { ask: *ask, proposal: none() });
    assert!(matches!(said, [Command::GiveUp { frame: 0, .. }, Command::Stuck { .. }]), "{said:?}");
}

#[test]
fn without_the_leaders_own_device_the_session_is_over() {
    let mut story = Story::new(&[OTHER]);
    let generation = story.propose(&[ME, OTHER]);
    story.all_ready(generation, &[ME, OTHER]);
    story.tell(Event::Submitted { frame: 0 });
    story.tell(Event::Submitted { frame: 1 });
    let said = story.tell(Event::Lost(ME));
    let given_up = |command: &Command| matches!(command, Command::GiveUp { .. });
    assert_eq!(said.iter().filter(|command| given_up(command)).count(), 2);
    assert!(matches!(said.last(), Some(Command::End { .. })));
    assert!(matches!(story.tell(Event::Submitted { frame: 2 }), [Command::GiveUp { .. }]));
    assert_eq!(story.wait(100_000.0), []);
    assert_eq!(story.tell(Event::Joined(THIRD)), []);
}
