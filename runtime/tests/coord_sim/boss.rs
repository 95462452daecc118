//! The simulated leader: what the actors for discovery, planning and the pipeline do, around the same
//! state machine.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use edgeld_runtime::coord::emergency::without_idle;
use edgeld_runtime::coord::leader::{Awaited, Command, Event, Lane, Leader, Proposal};
use edgeld_runtime::coord::liveness::{FailureDetector, Liveness};
use edgeld_runtime::coord::{Moment, Reason};
use edgeld_runtime::cost::{ClusterProfile, DeviceProfile, LinkProfile};
use edgeld_runtime::ids::{Incarnation, NodeId, Pair};
use edgeld_runtime::plan::{DeviceIx, Generation, InFlight};
use edgeld_runtime::program::derive;
use edgeld_runtime::solve::{Fusion, Objective, Policy, Problem, solve_apart};
use edgeld_runtime::units::{Bytes, Mbps, Ms};

use crate::messages::{Message, Planned};
use crate::network::{ConnId, Kind};
use crate::world::{LEADER, What, World, graph};

/// How long a device that cannot be reached is left alone.
const RETRY: f64 = 250.0;

/// What the planner counts for the process itself.
const PROCESS: Bytes = Bytes(64_000_000);

/// A frame fails for good when it has caused this many errors.
const MAX_ERRORS: u32 = 3;

#[derive(Debug)]
pub struct Boss {
    pub leader: Leader,
    detector: FailureDetector,
    peers: BTreeMap<NodeId, Peer>,
    opened: BTreeSet<NodeId>,
    plans: BTreeMap<Generation, Rc<Planned>>,
    newest: Generation,
    retired: BTreeSet<Generation>,
    /// Frames that are started and neither complete nor aborted.
    running: BTreeSet<(u64, Generation)>,
    complete: BTreeSet<u64>,
    pub submitted: Vec<f64>,
    /// When every frame was answered.
    pub answered: BTreeMap<u64, f64>,
    errors: BTreeMap<u64, u32>,
    /// How often the leader gave which command.
    pub seen: BTreeMap<&'static str, usize>,
    in_flight: InFlight,
    side_by_side: bool,
}

/// A device that the leader is connected to.
#[derive(Debug)]
struct Peer {
    control: ConnId,
    incarnation: Incarnation,
    joined: bool,
    leaving: bool,
}

impl Boss {
    pub fn new(now: f64, in_flight: usize, side_by_side: bool) -> (Boss, Vec<Command>) {
        let (leader, commands) = Leader::new(LEADER, []);
        let boss = Boss {
            leader,
            detector: FailureDetector::new(Moment(now)),
            peers: BTreeMap::new(),
            opened: BTreeSet::new(),
            plans: BTreeMap::new(),
            newest: Generation(0),
            retired: BTreeSet::new(),
            running: BTreeSet::new(),
            complete: BTreeSet::new(),
            submitted: Vec::new(),
            answered: BTreeMap::new(),
            errors: BTreeMap::new(),
            seen: BTreeMap::new(),
            in_flight: InFlight::of(in_flight),
            side_by_side,
        };
        (boss, commands)
    }

    /// The generations that run.
    pub fn active(&self) -> BTreeSet<Generation> {
        self.leader.active().map(|(generation, _)| generation).collect()
    }
}

impl World {
    /// Connects to a device, if it can be reached, and tries again later if not.
    pub fn leader_dials(&mut self, node: NodeId) {
        if self.boss.peers.contains_key(&node) {
            return;
        }
        if node != LEADER && !self.net.reaches(LEADER, node) {
            return self.schedule(RETRY, Some(self.leader_process()), What::LeaderDials(node));
        }
        let run = self.devices[&node].run;
        let control = self.connect(Kind::Control, self.leader_process(), (node, run));
        let incarnation = Incarnation(run);
        let peer = Peer { control, incarnation, joined: false, leaving: false };
        self.boss.peers.insert(node, peer);
        let measuring = if node == LEADER { 0.0 } else { self.dice.between(20.0, 300.0) };
        self.schedule(measuring, Some(self.leader_process()), What::Profiled(node, control));
    }

    pub fn profiled(&mut self, node: NodeId, control: ConnId) {
        let peer = self.boss.peers.get_mut(&node).filter(|peer| peer.control == control);
        let Some(peer) = peer else { return };
        if peer.leaving {
            return;
        }
        peer.joined = true;
        let incarnation = peer.incarnation;
        self.inform_leader(Event::Joined { node, incarnation });
    }

    pub fn leader_tick(&mut self) {
        let now = self.now;
        self.boss.detector.tick(Moment(now));
        let others = self.boss.peers.iter().filter(|(node, _)| **node != LEADER);
        let silent = others.filter(|(_, peer)| {
            let heard = self.net.conns[&peer.control].ends[0].silent_since.unwrap_or(now);
            self.boss.detector.liveness(Moment(heard)) == Liveness::Lost
        });
        let silent: Vec<(NodeId, ConnId)> =
            silent.map(|(node, peer)| (*node, peer.control)).collect();
        for (node, control) in silent {
            self.close(control, 0);
            self.peer_ended(node, control);
        }
        self.inform_leader(Event::Tick);
    }

    /// The connection to a device has ended.
    fn peer_ended(&mut self, node: NodeId, control: ConnId) {
        if self.boss.peers.get(&node).is_none_or(|peer| peer.control != control) {
            return;
        }
        let Some(peer) = self.boss.peers.remove(&node) else { return };
        self.boss.opened.remove(&node);
        self.schedule(RETRY, Some(self.leader_process()), What::LeaderDials(node));
        if peer.joined {
            let event = if peer.leaving { Event::Left(node) } else { Event::Lost(node) };
            self.inform_leader(event);
        }
    }

    /// A message has arrived at the leader.
    pub fn leader_receives(&mut self, id: ConnId, message: Message) {
        let Some((node, _)) = self.net.peer(id, 0) else { return };
        if let Message::End = message {
            self.close(id, 0);
            return self.peer_ended(node, id);
        }
        let Some(peer) = self.boss.peers.get_mut(&node).filter(|peer| peer.control == id) else {
            return;
        };
        match message {
            Message::Leaving => {
                peer.leaving = true;
                if peer.joined {
                    self.inform_leader(Event::Leaving(node));
                }
            }
            Message::Progress(generation, done) => {
                self.inform_leader(Event::Progress { node, generation, done, need: Bytes(1) });
            }
            Message::Ready(generation) => self.inform_leader(Event::Ready { node, generation }),
            Message::Refused(generation, why) => {
                self.boss.opened.remove(&node);
                self.inform_leader(Event::Refused { node, generation, why });
            }
            Message::LinkDown(generation, peer) => {
                self.inform_leader(Event::LinkDown { node, generation, peer });
            }
            Message::Failed(generation, frame) => {
                if self.boss.running.contains(&(frame, generation)) {
                    *self.boss.errors.entry(frame).or_insert(0) += 1;
                }
                let error = "a kernel panicked".to_owned();
                self.inform_leader(Event::Failed { node, generation, frame, error });
            }
            Message::Inspected(generation, frame, awaits, owes) => {
                let Some(plan) = self.boss.plans.get(&generation) else { return };
                let from = |transfer| {
                    let from: DeviceIx = plan.derivation.transfers[transfer as usize].from;
                    plan.lane.members[usize::from(from.0)]
                };
                let awaits = awaits.into_iter();
                let awaits =
                    awaits.map(|transfer| Awaited { transfer, from: from(transfer.0) }).collect();
                self.inform_leader(Event::Inspected { node, generation, frame, awaits, owes });
            }
            _ => panic!("{message:?} is not for the leader"),
        }
    }

    pub fn submit(&mut self) {
        let frame = self.boss.submitted.len() as u64;
        self.boss.submitted.push(self.now);
        self.inform_leader(Event::Submitted { frame });
    }

    pub fn inform_leader(&mut self, event: Event) {
        let commands = self.boss.leader.handle(Moment(self.now), event);
        self.perform(commands);
    }

    pub fn perform(&mut self, commands: Vec<Command>) {
        for command in commands {
            *self.boss.seen.entry(name(&command)).or_insert(0) += 1;
            match command {
                Command::RequestPlan { request, reason, members, apart } => {
                    let proposal = self.propose(reason, &members, &apart);
                    let takes = self.dice.between(0.1, 20.0);
                    let proposed = What::ToLeader(Event::Proposed { request, proposal });
                    self.schedule(takes, Some(self.leader_process()), proposed);
                }
                Command::Prepare { generation, lane } => {
                    let leaves =
                        |node: &NodeId| self.boss.peers.get(node).is_some_and(|peer| peer.leaving);
                    assert!(!lane.members.iter().any(leaves), "a plan for one that leaves");
                    self.send_plan(generation, lane);
                }
                Command::Activate { lanes, .. } => {
                    assert!(!lanes.is_empty());
                    for (generation, lane) in lanes {
                        assert!(!self.boss.retired.contains(&generation), "{generation:?} is over");
                        assert!(self.boss.plans[&generation].lane.plan == lane.plan);
                    }
                }
                Command::Start { frame, generation } => self.start(frame, generation),
                Command::Abort { frame, generation, members } => {
                    assert!(self.boss.running.remove(&(frame, generation)));
                    self.tell_all(&members, &Message::Abort(generation, frame));
                }
                Command::Retire { generation, members } => {
                    assert!(self.boss.retired.insert(generation), "{generation:?} retired twice");
                    assert!(self.boss.running.iter().all(|(_, of)| *of != generation));
                    self.boss.plans.remove(&generation);
                    self.tell_all(&members, &Message::Retire(generation));
                }
                Command::Inspect { frame, generation, members } => {
                    self.tell_all(&members, &Message::Inspect(generation, frame));
                }
                Command::Disconnect { node, incarnation, members } => {
                    self.tell_all(&members, &Message::Disconnect(node, incarnation));
                }
                Command::Complete { frame, generation, .. } => {
                    assert!(self.boss.running.remove(&(frame, generation)), "frame {frame}");
                    assert!(self.boss.complete.insert(frame), "frame {frame} is done twice");
                }
                Command::Answer { frame } => self.answered(frame),
                Command::FailFrame { frame, error, .. } => {
                    let errors = self.boss.errors.get(&frame).copied().unwrap_or(0);
                    assert!(errors >= MAX_ERRORS, "frame {frame} is lost: {error}");
                    self.boss.complete.insert(frame);
                    self.answered(frame);
                }
                Command::BackOff { node, .. } => assert_ne!(node, LEADER),
                Command::KeepApart { pair } => assert!(!pair.has(LEADER)),
                Command::End { why } => panic!("the leader lives: {why}"),
                Command::NoPlan { why } => panic!("alone is always possible here: {why}"),
            }
        }
    }

    fn answered(&mut self, frame: u64) {
        assert!(self.boss.complete.contains(&frame), "frame {frame} is not done");
        let twice = self.boss.answered.insert(frame, self.now).is_some();
        assert!(!twice, "frame {frame} is answered twice");
        let spoilt = self.boss.errors.values().any(|errors| *errors >= MAX_ERRORS);
        let earlier = (0..frame).all(|earlier| self.boss.answered.contains_key(&earlier));
        assert!(earlier || spoilt, "frame {frame} is answered before others");
        if self.dice.one_in(4) {
            self.replan();
        }
    }

    fn tell_all(&mut self, members: &[NodeId], message: &Message) {
        for node in members {
            if let Some(control) = self.boss.peers.get(node).map(|peer| peer.control) {
                self.send((control, 0), message.clone());
            }
        }
    }

    fn send_plan(&mut self, generation: Generation, lane: Lane) {
        assert!(generation > self.boss.newest, "generations only grow");
        self.boss.newest = generation;
        let incarnation = |node: &NodeId| {
            self.boss.peers.get(node).map(|peer| peer.incarnation).unwrap_or_default()
        };
        let incarnations = lane.members.iter().map(incarnation).collect();
        let derivation = derive(graph(), &lane.plan).expect("plans fit the graph");
        let planned = Rc::new(Planned { lane, derivation, incarnations });
        self.boss.plans.insert(generation, planned.clone());
        for node in planned.lane.members.clone() {
            if self.boss.opened.insert(node) {
                self.tell_all(&[node], &Message::Open);
            }
            self.tell_all(&[node], &Message::Prepare(generation, planned.clone()));
        }
    }

    fn start(&mut self, frame: u64, generation: Generation) {
        assert!(!self.boss.retired.contains(&generation), "{generation:?} was retired");
        assert!(!self.boss.complete.contains(&frame), "frame {frame} is done");
        assert!(self.boss.running.iter().all(|(other, _)| *other != frame), "{frame} runs twice");
        self.boss.running.insert((frame, generation));
        // What every device has reserved memory for.
        assert!(self.boss.running.len() <= self.boss.in_flight.frames() as usize);
        let here = self.boss.running.iter().filter(|(_, of)| *of == generation).count();
        assert!(here <= self.boss.plans[&generation].lane.in_flight.frames() as usize);
        let me = self.leader_process();
        self.schedule(0.0, Some(me), What::StartFrame(generation, frame));
    }

    /// Every now and then measurements favour another plan.
    fn replan(&mut self) {
        let here = self.boss.peers.iter().filter(|(_, peer)| peer.joined);
        let mut members: Vec<NodeId> = here.map(|(node, _)| *node).collect();
        members.retain(|_| !self.dice.one_in(8));
        members.retain(|node| *node != LEADER);
        members.insert(0, LEADER);
        if let Ok(proposal) = self.propose(Reason::Faster, &members, &[]) {
            let takes = self.dice.between(0.1, 20.0);
            let improved = What::ToLeader(Event::Improved(proposal));
            self.schedule(takes, Some(self.leader_process()), improved);
        }
    }

    /// The planner: the one that runs in earnest.
    fn propose(
        &mut self,
        reason: Reason,
        members: &[NodeId],
        apart: &[Pair],
    ) -> Result<Proposal, String> {
        assert_eq!(members[0], LEADER);
        let place = |node: &NodeId| {
            let at = members.iter().position(|member| member == node);
            DeviceIx(at.expect("pairs are of members") as u16)
        };
        let apart: Vec<(DeviceIx, DeviceIx)> = apart
            .iter()
            .map(|pair| {
                let [a, b] = pair.map(|node| place(&node));
                (a, b)
            })
            .collect();
        let profile = ClusterProfile::new(members.iter().map(|node| {
            let device = &self.devices[node];
            let profile = DeviceProfile::described(1.0 / device.slowness, 2.0 / device.slowness);
            (
                profile.with_memory(device.limit + PROCESS),
                LinkProfile::described(Mbps(1000.0), Ms(0.3)),
            )
        }));
        let objective = match self.boss.side_by_side {
            true => Objective::Throughput,
            false => Objective::Latency,
        };
        let in_flight = Some(self.boss.in_flight);
        // Neighbours exchange halos for every layer.
        let fusion = Fusion::Layerwise;
        let policy = Policy { objective, in_flight, fusion, ..Policy::default() };
        let problem =
            Problem { graph: graph(), encodings: &[], profile: &profile, policy, previous: None };
        let lanes = solve_apart(&problem, &apart).map_err(|error| error.to_string())?;
        let mut solved = lanes.lanes.iter().map(|lane| &lane.solution);
        let alone = solved.find_map(|solution| solution.alone).expect("the leader has it");
        let best = lanes.cost(&policy);
        assert!(best.0 <= alone.0 * (1.0 + 1e-9), "{best} {alone}");
        let lane = |lane: &edgeld_runtime::solve::Lane| {
            let (plan, kept) = without_idle(&lane.solution.plan);
            let (predicted, interval) = (lane.solution.predicted, lane.interval);
            let members = kept.iter().map(|device| members[usize::from(device.0)]).collect();
            Lane { plan, members, predicted, interval, in_flight: lane.in_flight }
        };
        let provisional = reason == Reason::Lost && self.dice.one_in(2);
        let in_flight = lanes.in_flight;
        let lanes: Vec<Lane> = lanes.lanes.iter().map(lane).collect();
        for lane in &lanes {
            let derivation = derive(graph(), &lane.plan).map_err(|error| error.to_string())?;
            for transfer in derivation.transfers {
                let [from, to] = [transfer.from, transfer.to];
                let ends = [from, to].map(|end| place(&lane.members[usize::from(end.0)]));
                let is_apart = |(a, b): &(DeviceIx, DeviceIx)| ends == [*a, *b] || ends == [*b, *a];
                assert!(!apart.iter().any(is_apart), "{ends:?} cannot exchange strips");
            }
        }
        Ok(Proposal { lanes, in_flight, reason, provisional, alone })
    }
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::RequestPlan { members, .. } if members.len() == 1 => "request alone",
        Command::RequestPlan { apart, .. } if !apart.is_empty() => "request apart",
        Command::RequestPlan { .. } => "request",
        Command::Prepare { .. } => "prepare",
        Command::Activate { .. } => "activate",
        Command::Start { .. } => "start",
        Command::Abort { .. } => "abort",
        Command::Retire { .. } => "retire",
        Command::Inspect { .. } => "inspect",
        Command::Disconnect { .. } => "disconnect",
        Command::Complete { retries, .. } if *retries > 0 => "complete again",
        Command::Complete { .. } => "complete",
        Command::Answer { .. } => "answer",
        Command::FailFrame { .. } => "fail frame",
        Command::BackOff { .. } => "back off",
        Command::KeepApart { .. } => "keep apart",
        Command::NoPlan { .. } => "no plan",
        Command::End { .. } => "end",
    }
}
