//! The simulation: time, events, processes. Everything that a script can do is here.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::OnceLock;

use edgeld_runtime::coord::leader::Event;
use edgeld_runtime::graph::{
    Activation, Builder, Conv, DType, Graph, Op as Layer, Parameter, Pool, Reduction, Shape, Sweep,
    Window,
};
use edgeld_runtime::ids::{NodeId, SessionId};
use edgeld_runtime::plan::Generation;
use edgeld_runtime::units::Bytes;

use crate::boss::Boss;
use crate::device::Device;
use crate::dice::Dice;
use crate::messages::Message;
use crate::network::{ConnId, Kind, Network, Process, Side};
use crate::script::{Op, Script, Slot};

pub const SESSION: SessionId = SessionId(1);
pub const LEADER: NodeId = NodeId(0);
const TICK: f64 = 100.0;

/// Everything has to be quiet this long after the last operation.
const PATIENCE: f64 = 600_000.0;

/// Something that is going to happen.
#[derive(Debug)]
pub enum What {
    Op(usize),
    Arrival(ConnId, Side),
    LeaderTick,
    DeviceTick(NodeId),
    LeaderDials(NodeId),
    Profiled(NodeId, ConnId),
    StripsDialled(NodeId, NodeId),
    Packed(NodeId, ConnId, Generation),
    Released(NodeId, Generation),
    StartFrame(Generation, u64),
    Computed(NodeId, Generation, u64, usize),
    ToLeader(Event),
}

/// An entry of the event heap: sorted by time, then by order of creation.
#[derive(Debug)]
struct Scheduled {
    at: f64,
    order: u64,
    /// The process to which it happens: a frozen one has it later, a dead one never.
    owner: Option<Process>,
    what: What,
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

/// A cluster.
pub struct World {
    pub dice: Dice,
    pub now: f64,
    heap: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    ops: Vec<(f64, Op)>,
    pub net: Network,
    pub devices: BTreeMap<NodeId, Device>,
    pub boss: Boss,
    /// What waits for frozen processes.
    deferred: BTreeMap<NodeId, Vec<Scheduled>>,
    runs: u64,
}

/// The model: two convolutions and a pool.
pub fn graph() -> &'static Graph {
    static GRAPH: OnceLock<Graph> = OnceLock::new();
    GRAPH.get_or_init(|| {
        let mut builder = Builder::new("small");
        let mut x = builder.input("x", Shape::new(16, 96, 96), vec![16, 96, 96]).unwrap();
        let three = Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() };
        for name in ["a", "b"] {
            let window = Window::square(three);
            let row = 16 * window.cells() as u32;
            let parameter = Parameter { name: name.into(), features: 16, row, dtype: DType::F32 };
            let weight = builder.parameter(parameter).unwrap();
            let conv = Conv { features: 16, groups: 1, window, weight, scale: None, bias: None };
            x = builder.layer(name, Layer::Conv(conv), &[x], Activation::Relu).unwrap();
        }
        let window = Window::square(Sweep { kernel: 3, stride: 2, ..Sweep::point() });
        let pool = Layer::Pool(Pool { reduction: Reduction::Max, window });
        let y = builder.layer("pool", pool, &[x], Activation::Linear).unwrap();
        let elements = builder.shape(y).elements();
        builder.output("y", y, vec![elements]).unwrap();
        builder.finish().unwrap()
    })
}

impl World {
    /// Runs a script to its end.
    ///
    /// # Panics
    /// When something does not hold that must.
    pub fn run(script: &Script) -> World {
        let dice = Dice::new(script.seed ^ 0x5eed);
        let (boss, commands) = Boss::new(0.0, script.in_flight, script.side_by_side);
        let mut world = World {
            dice,
            now: 0.0,
            heap: BinaryHeap::new(),
            order: 0,
            ops: script.ops.clone(),
            net: Network::default(),
            devices: BTreeMap::new(),
            boss,
            deferred: BTreeMap::new(),
            runs: 0,
        };
        for slot in 0..script.devices {
            world.join(slot);
        }
        world.schedule(TICK, Some(world.leader_process()), What::LeaderTick);
        world.perform(commands);
        let mut at = 0.0;
        for (index, (after, _)) in script.ops.iter().enumerate() {
            at += after;
            world.schedule(at, None, What::Op(index));
        }
        world.go(at);
        world
    }

    fn go(&mut self, script_ends: f64) {
        while let Some(Reverse(entry)) = self.heap.pop() {
            self.now = entry.at;
            if let Some((node, run)) = entry.owner {
                if !self.net.is_running((node, run)) {
                    continue;
                }
                if self.net.frozen.contains(&node) {
                    self.deferred.entry(node).or_default().push(entry);
                    continue;
                }
            }
            self.happen(entry.what);
            self.check();
            if self.now > script_ends && self.net.frozen.contains(&LEADER) {
                self.thaw(LEADER);
            }
            let all = self.boss.answered.len() == self.boss.submitted.len();
            if self.now > script_ends && all && self.boss.leader.is_quiet() && self.is_settled() {
                return;
            }
            assert!(self.now < script_ends + PATIENCE, "never quiet: {:?}", self.boss.leader);
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Op(index) => self.operate(index),
            What::Arrival(id, side) => self.arrive(id, side),
            What::LeaderTick => {
                self.leader_tick();
                self.schedule(TICK, Some(self.leader_process()), What::LeaderTick);
            }
            What::DeviceTick(node) => {
                self.device_tick(node);
                let process = (node, self.devices[&node].run);
                self.schedule(TICK, Some(process), What::DeviceTick(node));
            }
            What::LeaderDials(node) => self.leader_dials(node),
            What::Profiled(node, control) => self.profiled(node, control),
            What::StripsDialled(node, peer) => self.strips_dialled(node, peer),
            What::Packed(node, control, generation) => self.packed(node, control, generation),
            What::Released(node, generation) => self.released(node, generation),
            What::StartFrame(generation, frame) => self.start_frame(generation, frame),
            What::Computed(node, generation, frame, at) => {
                self.computed(node, generation, frame, at);
            }
            What::ToLeader(event) => self.inform_leader(event),
        }
    }

    /// What holds at every step; the rest is asserted where it happens.
    fn check(&self) {
        for (node, run) in &self.net.running {
            if !self.net.frozen.contains(node) {
                self.check_device(*node, (*node, *run));
            }
        }
    }

    /// Whether plans that are not active hold no memory on devices that the leader is connected to.
    fn is_settled(&self) -> bool {
        let active = self.boss.active();
        let running = self.net.running.keys().filter(|node| !self.net.frozen.contains(node));
        let sessions = running.filter_map(|node| self.devices[node].session.as_ref());
        sessions
            .filter(|session| self.net.open_end(session.control, 0).is_some())
            .all(|session| session.plans.keys().all(|generation| active.contains(generation)))
    }

    pub fn leader_process(&self) -> Process {
        (LEADER, self.net.running[&LEADER])
    }

    pub fn schedule(&mut self, delay: f64, owner: Option<Process>, what: What) {
        self.order += 1;
        let (at, order) = (self.now + delay, self.order);
        self.heap.push(Reverse(Scheduled { at, order, owner, what }));
    }

    pub fn connect(&mut self, kind: Kind, first: Process, second: Process) -> ConnId {
        self.net.connect(kind, first, second)
    }

    pub fn send(&mut self, from: (ConnId, Side), message: Message) {
        if let Some(due) = self.net.send(self.now, &mut self.dice, from, message) {
            self.expect(due, from.0, 1 - from.1);
        }
    }

    fn expect(&mut self, due: f64, id: ConnId, side: Side) {
        let owner = self.net.conns.get(&id).map(|conn| conn.ends[side].process);
        self.schedule((due - self.now).max(0.0), owner, What::Arrival(id, side));
    }

    fn arrive(&mut self, id: ConnId, side: Side) {
        let (message, next) = self.net.receive(self.now, id, side);
        if let Some(due) = next {
            self.expect(due, id, side);
        }
        let (Some(message), Some((node, _))) = (message, self.net.open_end(id, side)) else {
            return;
        };
        match (self.net.conns[&id].kind, side) {
            (Kind::Control, 0) => self.leader_receives(id, message),
            _ => self.worker_receives(node, id, message),
        }
        self.net.tidy();
    }

    /// Closes an end of a connection; the other end is told.
    pub fn close(&mut self, id: ConnId, side: Side) {
        self.send((id, side), Message::End);
        if self.net.close(id, side) {
            self.update();
        }
    }

    fn update(&mut self) {
        for (id, side) in self.net.update(self.now) {
            let retransmitted = self.now + self.dice.between(1.0, 200.0);
            self.expect(retransmitted, id, side);
        }
    }

    fn operate(&mut self, index: usize) {
        let op = self.ops[index].1;
        let node = |slot: Slot| NodeId(slot.into());
        match op {
            Op::Join(slot) => self.join(slot),
            Op::Leave(slot) => self.leave(node(slot)),
            Op::Kill(slot) => self.kill(node(slot)),
            Op::Freeze(slot) => {
                if self.net.running.contains_key(&node(slot)) {
                    self.net.frozen.insert(node(slot));
                }
            }
            Op::Thaw(slot) => self.thaw(node(slot)),
            Op::Slow(slot, factor) => {
                if let Some(device) = self.devices.get_mut(&node(slot)) {
                    device.slowness = factor;
                }
            }
            Op::Rate(slot, mbps) => self.net.set_rate(node(slot), mbps),
            Op::Deafen(a, b) => self.net.deafen(node(a), node(b)),
            Op::Cut(a, b) => {
                self.net.deafen(node(a), node(b));
                self.net.deafen(node(b), node(a));
            }
            Op::Heal(a, b) => self.net.heal(node(a), node(b)),
            Op::Spoil(slot) => {
                if let Some(device) = self.devices.get_mut(&node(slot)) {
                    device.spoilt = true;
                }
            }
            Op::Stick(slot) => {
                if let Some(device) = self.devices.get_mut(&node(slot)) {
                    device.stuck = true;
                }
            }
            Op::Frame if self.net.frozen.contains(&LEADER) => {
                // Whoever submits it is as frozen as the leader.
                let (at, order, owner, what) = (self.now, 0, None, What::Op(index));
                let entry = Scheduled { at, order, owner, what };
                self.deferred.entry(LEADER).or_default().push(entry);
            }
            Op::Frame => self.submit(),
        }
        self.update();
    }

    fn join(&mut self, slot: Slot) {
        let node = NodeId(slot.into());
        if self.net.running.contains_key(&node) {
            return;
        }
        self.runs += 1;
        let is_new = !self.devices.contains_key(&node);
        let limit = Bytes(match node {
            LEADER => 1 << 40,
            _ => (2 << 20) + self.dice.below(24 << 20),
        });
        let slowness = self.dice.between(0.5, 3.0);
        let mut device = Device::new(self.runs, self.now, limit, slowness);
        device.slowness = self.devices.get(&node).map_or(slowness, |device| device.slowness);
        self.devices.insert(node, device);
        self.net.running.insert(node, self.runs);
        self.schedule(TICK, Some((node, self.runs)), What::DeviceTick(node));
        if is_new {
            let found = if node == LEADER { 0.0 } else { self.dice.between(1.0, 200.0) };
            self.schedule(found, Some(self.leader_process()), What::LeaderDials(node));
        }
    }

    fn leave(&mut self, node: NodeId) {
        let frozen = self.net.frozen.contains(&node);
        if node == LEADER || frozen || !self.net.running.contains_key(&node) {
            return;
        }
        let mine = |end: &crate::network::End| end.process.0 == node && end.open;
        let controls: Vec<ConnId> = self
            .net
            .conns
            .iter()
            .filter(|(_, conn)| conn.kind == Kind::Control && mine(&conn.ends[1]))
            .map(|(id, _)| *id)
            .collect();
        controls.into_iter().for_each(|id| self.send((id, 1), Message::Leaving));
        let since = self.now;
        self.devices.entry(node).and_modify(|device| {
            device.leaving.get_or_insert(since);
        });
    }

    /// Ends a process.
    pub fn kill(&mut self, node: NodeId) {
        if node == LEADER {
            return;
        }
        let Some(run) = self.net.running.remove(&node) else { return };
        self.net.frozen.remove(&node);
        self.deferred.remove(&node);
        let mut ends = Vec::new();
        for (id, conn) in &self.net.conns {
            let sides = [0, 1].into_iter();
            ends.extend(
                sides
                    .filter(|side| conn.ends[*side].process == (node, run))
                    .map(|side| (*id, side)),
            );
        }
        ends.into_iter().for_each(|(id, side)| self.close(id, side));
        if let Some(device) = self.devices.get_mut(&node) {
            device.session = None;
        }
    }

    fn thaw(&mut self, node: NodeId) {
        self.net.frozen.remove(&node);
        for entry in self.deferred.remove(&node).unwrap_or_default() {
            self.schedule(0.0, entry.owner, entry.what);
        }
        self.update();
    }
}
