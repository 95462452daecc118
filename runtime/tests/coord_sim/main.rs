//! Simulates hundreds of clusters from seeds: devices join, die, fall silent, refuse, fail and leave
//! while frames run, one or several at once, under one plan or under several side by side. Whatever
//! happens, as long as the leader lives every frame is answered exactly once and in order, no frame
//! runs under a plan that a member has not prepared, no device carries more frames than it has memory
//! for, and everything settles in the end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use edgeld_runtime::coord::leader::{Command, Event, Lane, Leader, Proposal};
use edgeld_runtime::coord::worker::{Demand, Worker};
use edgeld_runtime::coord::{Moment, Reason};
use edgeld_runtime::ids::{NodeId, SessionId};
use edgeld_runtime::plan::{Cuts, DeviceIx, Generation, InFlight, Plan, Split, Stage};
use edgeld_runtime::units::{Bytes, Ms};

const SESSION: SessionId = SessionId(1);
const LEADER: NodeId = NodeId(0);
const CHAOS_ENDS: f64 = 30_000.0;
const TICK: f64 = 100.0;

/// xorshift64*: the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.roll() >> 11) % bound
    }

    fn one_in(&mut self, odds: u64) -> bool {
        self.below(odds) == 0
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.below(1 << 20) as f64 / (1u64 << 20) as f64
    }
}

/// Something that is going to happen.
#[derive(Debug, Clone)]
enum SimEvent {
    Tick,
    ToLeader(Event),
    Prepare(NodeId, Generation, Demand),
    Retire(NodeId, Generation),
    Done(u64, Generation),
    Submit,
    Return(NodeId),
    Fault,
}

/// An entry of the event heap: sorted by time, then by order of creation.
#[derive(Debug)]
struct Scheduled {
    at: f64,
    order: u64,
    event: SimEvent,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Scheduled) -> bool {
        self.order == other.order
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Scheduled) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Scheduled) -> std::cmp::Ordering {
        self.at.total_cmp(&other.at).then(self.order.cmp(&other.order))
    }
}

struct Device {
    worker: Worker,
    /// Whether it is connected.
    alive: bool,
    slowness: f64,
}

struct Sim {
    dice: Dice,
    now: f64,
    heap: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    leader: Leader,
    devices: BTreeMap<NodeId, Device>,
    lanes: BTreeMap<Generation, Lane>,
    aborted: BTreeSet<(u64, Generation)>,
    retired: BTreeSet<Generation>,
    /// Frames that are started and neither complete nor aborted.
    running: BTreeSet<(u64, Generation)>,
    complete: BTreeSet<u64>,
    answers: Vec<u64>,
    failed: BTreeMap<u64, String>,
    /// When the last message arrives, by device and direction: messages stay in order.
    last: BTreeMap<(NodeId, bool), f64>,
    errors: bool,
    in_flight: InFlight,
    /// Whether every device gets whole frames, instead of a share of all.
    side_by_side: bool,
    frames: u64,
}

/// What a simulation is of.
#[derive(Clone, Copy)]
struct Case {
    errors: bool,
    in_flight: usize,
    side_by_side: bool,
}

/// Frames in flight, and whether devices compute whole ones.
const CASES: [(usize, bool); 4] = [(1, false), (3, false), (3, true), (8, true)];

impl Sim {
    fn new(seed: u64, Case { errors, in_flight, side_by_side }: Case) -> Sim {
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let count = dice.below(5);
        let others: Vec<NodeId> = (1..=count).map(|id| NodeId(id.into())).collect();
        let (leader, commands) = Leader::new(LEADER, others.iter().copied());
        let mut sim = Sim {
            dice,
            now: 0.0,
            heap: BinaryHeap::new(),
            order: 0,
            leader,
            devices: BTreeMap::new(),
            lanes: BTreeMap::new(),
            aborted: BTreeSet::new(),
            retired: BTreeSet::new(),
            running: BTreeSet::new(),
            complete: BTreeSet::new(),
            answers: Vec::new(),
            failed: BTreeMap::new(),
            last: BTreeMap::new(),
            errors,
            in_flight: InFlight::of(in_flight),
            side_by_side,
            frames: 0,
        };
        for node in std::iter::once(LEADER).chain(others) {
            sim.power_on(node);
        }
        sim.schedule(TICK, SimEvent::Tick);
        for _ in 0..40 {
            let at = sim.dice.between(0.0, CHAOS_ENDS);
            sim.schedule(at, SimEvent::Submit);
        }
        for _ in 0..25 {
            let at = sim.dice.between(0.0, CHAOS_ENDS);
            sim.schedule(at, SimEvent::Fault);
        }
        sim.perform(commands);
        sim
    }

    fn power_on(&mut self, node: NodeId) {
        let mut worker = Worker::new(Bytes(1_000));
        worker.open(SESSION, LEADER);
        let slowness = self.dice.between(0.5, 4.0);
        self.devices.insert(node, Device { worker, alive: true, slowness });
    }

    fn schedule(&mut self, delay: f64, event: SimEvent) {
        self.order += 1;
        self.heap.push(Reverse(Scheduled { at: self.now + delay, order: self.order, event }));
    }

    /// Sends a message between the leader and a device, after those before it.
    fn send(&mut self, node: NodeId, to_device: bool, delay: f64, event: SimEvent) {
        let after = self.last.get(&(node, to_device)).copied().unwrap_or(0.0);
        let at = (self.now + delay).max(after);
        self.last.insert((node, to_device), at);
        self.schedule(at - self.now, event);
    }

    fn run(mut self) {
        while let Some(Reverse(entry)) = self.heap.pop() {
            self.now = entry.at;
            self.apply(entry.event);
            if self.now > CHAOS_ENDS && self.leader.is_quiet() && self.heap.len() <= 1 {
                break;
            }
            assert!(self.now < CHAOS_ENDS + 400_000.0, "never quiet: {:?}", self.leader);
        }
        for frame in 0..self.frames {
            let answers = self.answers.iter().filter(|answered| **answered == frame).count();
            let failed = self.failed.contains_key(&frame);
            assert!(answers + usize::from(failed) == 1, "frame {frame}: {answers} {failed}");
            assert!(self.errors || !failed, "frame {frame}: {:?}", self.failed.get(&frame));
        }
        assert!(self.answers.is_sorted(), "{:?}", self.answers);
        // Plans that are not active hold no memory anywhere.
        let active: Vec<Generation> = self.leader.active().map(|(active, _)| active).collect();
        for device in self.devices.values().filter(|device| device.alive) {
            for generation in self.lanes.keys().filter(|lane| !active.contains(lane)) {
                assert!(!device.worker.knows(SESSION, *generation));
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let commands = self.leader.handle(Moment(self.now), event);
        self.perform(commands);
    }

    fn apply(&mut self, event: SimEvent) {
        match event {
            SimEvent::Tick => {
                self.handle(Event::Tick);
                self.schedule(TICK, SimEvent::Tick);
            }
            SimEvent::ToLeader(event) => self.handle(event),
            SimEvent::Submit => {
                let frame = self.frames;
                self.frames += 1;
                self.handle(Event::Submitted { frame });
            }
            SimEvent::Prepare(node, generation, demand) => self.prepare(node, generation, demand),
            SimEvent::Retire(node, generation) => {
                if let Some(device) = self.devices.get_mut(&node) {
                    device.worker.retire(SESSION, generation);
                }
            }
            SimEvent::Done(frame, generation) => self.done(frame, generation),
            SimEvent::Return(node) => {
                // It has lost its state.
                self.power_on(node);
                self.handle(Event::Joined(node));
            }
            SimEvent::Fault => self.inject_fault(),
        }
    }

    fn prepare(&mut self, node: NodeId, generation: Generation, demand: Demand) {
        let fetching = self.dice.between(1.0, 3_000.0);
        let device = self.devices.get_mut(&node).expect("messages go to devices that were there");
        if !device.alive {
            return;
        }
        let answer = match device.worker.prepare(SESSION, generation, demand) {
            Ok(()) => Event::Ready { node, generation },
            Err(short) => Event::Refused { node, generation, why: format!("{short:?}") },
        };
        let (have, need) = (Bytes(1), Bytes(2));
        let progress = Event::Progress { node, generation, have, need };
        self.send(node, false, fetching / 2.0, SimEvent::ToLeader(progress));
        self.send(node, false, fetching, SimEvent::ToLeader(answer));
    }

    /// A frame is over: it is answered if every member did its part.
    fn done(&mut self, frame: u64, generation: Generation) {
        if self.aborted.contains(&(frame, generation)) {
            return;
        }
        let members = self.lanes[&generation].members.clone();
        if let Some(node) = members.iter().find(|node| !self.devices[*node].alive).copied() {
            let reporter = members.iter().find(|other| self.devices[*other].alive);
            let reporter = *reporter.expect("the leader is alive");
            let down = Event::LinkDown { node: reporter, generation, peer: node };
            self.schedule(1.0, SimEvent::ToLeader(down));
        } else if self.errors && self.dice.one_in(8) {
            let node = members[self.dice.below(members.len() as u64) as usize];
            let error = "a kernel panicked".to_owned();
            self.handle(Event::Failed { node, generation, frame, error });
        } else {
            for node in &members {
                assert!(
                    self.devices[node].worker.knows(SESSION, generation),
                    "{generation:?} is not prepared on {node}"
                );
            }
            self.handle(Event::Answered { frame, generation });
        }
    }

    fn inject_fault(&mut self) {
        let others: Vec<NodeId> = self.devices.keys().copied().filter(|n| *n != LEADER).collect();
        if others.is_empty() || self.dice.one_in(4) {
            let node = NodeId(self.devices.len() as u128);
            self.power_on(node);
            self.schedule(500.0, SimEvent::ToLeader(Event::Joined(node)));
            return;
        }
        let node = others[self.dice.below(others.len() as u64) as usize];
        let kind = self.dice.below(6);
        let device = self.devices.get_mut(&node).expect("one of the devices");
        match kind {
            0 | 1 if device.alive => {
                device.alive = false;
                let event = if kind == 0 { Event::Lost(node) } else { Event::Left(node) };
                let noticed = self.dice.between(1.0, 2_100.0);
                self.send(node, false, noticed, SimEvent::ToLeader(event));
            }
            // Silent long enough to count as dead; comes back with a new connection.
            2 if device.alive => {
                device.alive = false;
                self.send(node, false, 2_000.0, SimEvent::ToLeader(Event::Lost(node)));
                self.send(node, false, 4_000.0, SimEvent::Return(node));
            }
            3 => device.slowness = 20.0,
            4 if device.alive => {
                let lanes: Vec<_> = self.leader.active().map(|(active, _)| active).collect();
                if let Some(generation) = lanes.first().copied() {
                    let peer = LEADER;
                    self.handle(Event::LinkDown { node, generation, peer });
                }
            }
            _ => {}
        }
    }

    fn perform(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::RequestPlan { request, reason, members } => {
                    self.propose(request, reason, members)
                }
                Command::Prepare { generation, lane } => {
                    for node in lane.members.clone() {
                        let working = Bytes(self.dice.between(0.0, 300.0) as u64);
                        let working = if node == LEADER { Bytes(1) } else { working };
                        let demand = Demand { working, ..Demand::default() };
                        let delay = self.dice.between(0.1, 5.0);
                        self.send(node, true, delay, SimEvent::Prepare(node, generation, demand));
                    }
                    assert!(self.lanes.insert(generation, lane).is_none());
                }
                Command::Activate { lanes, .. } => {
                    for (generation, lane) in lanes {
                        assert!(!self.retired.contains(&generation), "{generation:?} was retired");
                        assert_eq!(self.lanes[&generation], lane);
                    }
                }
                Command::Start { frame, generation } => {
                    assert!(!self.retired.contains(&generation), "{generation:?} was retired");
                    let slowest = self.lanes[&generation]
                        .members
                        .iter()
                        .map(|node| self.devices[node].slowness)
                        .fold(0.0, f64::max);
                    let time = self.dice.between(20.0, 200.0) * slowest;
                    self.schedule(time, SimEvent::Done(frame, generation));
                    assert!(self.running.insert((frame, generation)));
                    // What every device has reserved memory for.
                    assert!(self.running.len() <= self.in_flight.frames() as usize);
                    let here = self.running.iter().filter(|(_, under)| *under == generation);
                    assert!(here.count() <= self.lanes[&generation].in_flight.frames() as usize);
                }
                Command::Abort { frame, generation, .. } => {
                    self.aborted.insert((frame, generation));
                    self.running.remove(&(frame, generation));
                }
                Command::Retire { generation, members } => {
                    assert!(self.retired.insert(generation), "{generation:?} retired twice");
                    for node in members {
                        let delay = self.dice.between(0.1, 5.0);
                        self.send(node, true, delay, SimEvent::Retire(node, generation));
                    }
                }
                Command::Complete { frame, generation, .. } => {
                    assert!(!self.retired.contains(&generation));
                    assert!(self.running.remove(&(frame, generation)));
                    assert!(self.complete.insert(frame));
                }
                Command::Answer { frame } => {
                    assert!(self.complete.contains(&frame));
                    self.answers.push(frame);
                }
                Command::FailFrame { frame, error, .. } => {
                    assert!(self.failed.insert(frame, error).is_none());
                }
                Command::BackOff { .. } => {}
                Command::End { why } => panic!("the leader lives: {why}"),
                Command::NoPlan { why } => panic!("alone is always possible here: {why}"),
            }
        }
    }

    /// The planner: some of the members, in their order, the leader among them.
    fn propose(&mut self, request: u32, reason: Reason, members: Vec<NodeId>) {
        assert_eq!(members[0], LEADER);
        let members: Vec<NodeId> =
            members.into_iter().filter(|n| *n == LEADER || !self.dice.one_in(4)).collect();
        let lanes = match self.side_by_side {
            true => members.iter().map(|node| self.whole(*node)).collect(),
            false => vec![self.split(members)],
        };
        let provisional = reason == Reason::Lost && self.dice.one_in(2);
        let proposal = Proposal { lanes, in_flight: self.in_flight, reason, provisional };
        let delay = self.dice.between(0.1, 20.0);
        self.schedule(
            delay,
            SimEvent::ToLeader(Event::Proposed { request, proposal: Ok(proposal) }),
        );
    }

    /// A plan that gives all of them a share.
    fn split(&mut self, members: Vec<NodeId>) -> Lane {
        let lengths: Vec<u32> = members.iter().map(|_| 1 + self.dice.below(9) as u32).collect();
        lane(members, Split::Rows(Cuts::from_lengths(lengths)), self.in_flight)
    }

    /// A plan for whole frames on one device.
    fn whole(&self, node: NodeId) -> Lane {
        let two = InFlight::of(2);
        match node {
            LEADER => lane(vec![LEADER], Split::Whole(DeviceIx::LEADER), two),
            node => lane(vec![LEADER, node], Split::Whole(DeviceIx(1)), two),
        }
    }
}

fn lane(members: Vec<NodeId>, split: Split, in_flight: InFlight) -> Lane {
    let plan = Plan::new(members.len() as u16, vec![Stage { layers: 0..1, split }]);
    Lane { plan, members, predicted: Ms(100.0), interval: Ms(100.0), in_flight }
}

#[test]
fn every_frame_is_answered_once_whatever_happens_to_others() {
    for (in_flight, side_by_side) in CASES {
        for seed in 0..400 {
            Sim::new(seed, Case { errors: false, in_flight, side_by_side }).run();
        }
    }
}

#[test]
fn frames_that_fail_by_themselves_are_tried_again_and_given_up_in_the_end() {
    for (in_flight, side_by_side) in CASES {
        for seed in 0..200 {
            Sim::new(seed, Case { errors: true, in_flight, side_by_side }).run();
        }
    }
}
