//! How long one inference takes: an event simulation of the programs.
//!
//! Each device runs one step at a time, the first ready one in program order, as the executor does.
//! A strip occupies its sender's uplink and its receiver's downlink, each serially at its goodput
//! (bytes that are through the first enter the second at once), and arrives one latency later.
//! Computation and transfers overlap; sending and receiving also cost a little processor time.
//!
//! Worked example: two devices compute a row in 1 ms, a row takes 1 ms on the link, and latency is
//! 0.2 ms. Device 1 gets the lower 4 of 8 rows from the leader and returns its result:
//!
//! ```text
//! leader    compute rows 0..4: 0.0 - 4.0
//! uplink 0  4 rows:            0.0 - 4.0
//! device 1  compute rows 4..8:           4.2 - 8.2
//! uplink 1  4 rows:                              8.2 - 12.2     answer at 12.4
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::profile::{ClusterProfile, Heights};
use crate::graph::Graph;
use crate::plan::DeviceIx;
use crate::program::{Action, Derivation, Encoding, Program, Run, TransferId};
use crate::units::Ms;

/// How long one inference is predicted to take.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// From input in memory to output in memory.
    pub total: Ms,
    /// Compute time by stage, then by device.
    pub stages: Vec<Vec<Ms>>,
    /// How each device spends its time, in cluster order.
    pub devices: Vec<DeviceTime>,
}

/// How a device spends the time of an inference.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DeviceTime {
    /// Computing.
    pub compute: Ms,
    /// Handling the strips that it sends or receives.
    pub strips: Ms,
    /// Its interface is busy sending.
    pub uplink: Ms,
    /// Its interface is busy receiving.
    pub downlink: Ms,
    /// Neither computing nor handling strips.
    pub wait: Ms,
}

/// Something that can be busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// A device's processor.
    Processor(DeviceIx),
    /// A device's interface, outward.
    Uplink(DeviceIx),
    /// A device's interface, inward.
    Downlink(DeviceIx),
}

impl Prediction {
    /// The resource that is busy for the longest time, and for how long: a lower bound of the
    /// makespan.
    pub fn bottleneck(&self) -> (Resource, Ms) {
        let none = (Resource::Processor(DeviceIx::LEADER), Ms::ZERO);
        self.uses().fold(none, |most, this| if this.1.0 > most.1.0 { this } else { most })
    }

    /// How long each resource is busy.
    pub(super) fn uses(&self) -> impl Iterator<Item = (Resource, Ms)> {
        self.devices.iter().enumerate().flat_map(|(index, time)| {
            let device = DeviceIx(index as u16);
            [
                (Resource::Processor(device), time.compute + time.strips),
                (Resource::Uplink(device), time.uplink),
                (Resource::Downlink(device), time.downlink),
            ]
        })
    }
}

/// Predicts one inference of a derived plan; deterministic.
pub fn makespan(
    graph: &Graph,
    encodings: &[Encoding],
    profile: &ClusterProfile,
    derivation: &Derivation,
) -> Prediction {
    let mut simulation = Simulation::new(graph, encodings, profile, derivation);
    simulation.run();
    simulation.prediction()
}

/// Something that happens at some time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Event {
    time: f64,
    /// Breaks ties: the order in which events were created.
    number: u32,
    kind: EventKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventKind {
    Done { device: u16, step: u32 },
    Arrived(TransferId),
}

impl Eq for Event {}

impl Ord for Event {
    fn cmp(&self, other: &Event) -> std::cmp::Ordering {
        self.time.total_cmp(&other.time).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The state of one device.
struct Device<'a> {
    program: &'a Program,
    /// For every step, how many things it still waits for.
    pending: Vec<u32>,
    /// The steps that wait for step s are `waiting[starts[s]..starts[s + 1]]`.
    starts: Vec<u32>,
    waiting: Vec<u32>,
    ready: BinaryHeap<Reverse<u32>>,
    busy: bool,
    uplink_free: f64,
    downlink_free: f64,
    time: DeviceTime,
}

impl<'a> Device<'a> {
    fn new(program: &'a Program) -> Device<'a> {
        let steps = program.steps.len();
        let mut starts = vec![0u32; steps + 1];
        let mut pending = Vec::with_capacity(steps);
        for step in &program.steps {
            let arrival = u32::from(matches!(step.action, Action::Receive { .. }));
            pending.push(step.after.len() as u32 + arrival);
            for before in &step.after {
                starts[before.index() + 1] += 1;
            }
        }
        for index in 0..steps {
            starts[index + 1] += starts[index];
        }
        let mut next = starts.clone();
        let mut waiting = vec![0; starts[steps] as usize];
        for (index, step) in program.steps.iter().enumerate() {
            for before in &step.after {
                let place = &mut next[before.index()];
                waiting[*place as usize] = index as u32;
                *place += 1;
            }
        }
        let ready =
            (0..steps as u32).filter(|step| pending[*step as usize] == 0).map(Reverse).collect();
        Device {
            program,
            pending,
            starts,
            waiting,
            ready,
            busy: false,
            uplink_free: 0.0,
            downlink_free: 0.0,
            time: DeviceTime::default(),
        }
    }

    fn release(&mut self, step: u32) {
        let pending = &mut self.pending[step as usize];
        *pending -= 1;
        if *pending == 0 {
            self.ready.push(Reverse(step));
        }
    }
}

struct Simulation<'a> {
    graph: &'a Graph,
    encodings: &'a [Encoding],
    profile: &'a ClusterProfile,
    derivation: &'a Derivation,
    devices: Vec<Device<'a>>,
    heights: Vec<Heights>,
    /// The step that receives each transfer.
    receiver: Vec<u32>,
    events: BinaryHeap<Reverse<Event>>,
    numbered: u32,
    now: f64,
    stages: Vec<Vec<Ms>>,
}

impl<'a> Simulation<'a> {
    fn new(
        graph: &'a Graph,
        encodings: &'a [Encoding],
        profile: &'a ClusterProfile,
        derivation: &'a Derivation,
    ) -> Simulation<'a> {
        let mut receiver = vec![0; derivation.transfers.len()];
        let mut stages = 0;
        for program in &derivation.programs {
            for (index, step) in program.steps.iter().enumerate() {
                match &step.action {
                    Action::Receive { transfer, .. } => {
                        receiver[transfer.0 as usize] = index as u32;
                    }
                    Action::Compute { stage, .. } => stages = stages.max(stage + 1),
                    _ => {}
                }
            }
        }
        let devices: Vec<Device> = derivation.programs.iter().map(Device::new).collect();
        let heights = derivation.programs.iter().map(|program| {
            let device = profile.device(program.device);
            device.heights(graph, program)
        });
        Simulation {
            graph,
            encodings,
            profile,
            derivation,
            stages: vec![vec![Ms::ZERO; devices.len()]; stages],
            heights: heights.collect(),
            devices,
            receiver,
            events: BinaryHeap::new(),
            numbered: 0,
            now: 0.0,
        }
    }

    fn run(&mut self) {
        for device in 0..self.devices.len() {
            self.start_next(device);
        }
        while let Some(Reverse(event)) = self.events.pop() {
            self.now = event.time;
            match event.kind {
                EventKind::Done { device, step } => self.done(usize::from(device), step),
                EventKind::Arrived(transfer) => {
                    let to = self.derivation.transfers[transfer.0 as usize].to.index();
                    let step = self.receiver[transfer.0 as usize];
                    self.devices[to].release(step);
                    self.start_next(to);
                }
            }
        }
    }

    fn schedule(&mut self, time: f64, kind: EventKind) {
        self.events.push(Reverse(Event { time, number: self.numbered, kind }));
        self.numbered += 1;
    }

    /// Starts the first ready step of an idle device.
    fn start_next(&mut self, index: usize) {
        let device = &mut self.devices[index];
        if device.busy {
            return;
        }
        let Some(Reverse(step)) = device.ready.pop() else { return };
        device.busy = true;
        let duration = self.duration(index, step);
        self.schedule(self.now + duration, EventKind::Done { device: index as u16, step });
    }

    /// How long a step keeps its device busy; adds it to the totals.
    fn duration(&mut self, index: usize, step: u32) -> f64 {
        let id = DeviceIx(index as u16);
        let device = &mut self.devices[index];
        match &device.program.steps[step as usize].action {
            Action::Compute { stage, runs } => {
                let profile = self.profile.device(id);
                let heights = &self.heights[index];
                let weights = device.program.weights;
                let work = |run: &Run| profile.work_of(self.graph, run, heights, weights);
                let time: Ms = runs.iter().map(|run| profile.time(&work(run))).sum();
                device.time.compute += time;
                self.stages[*stage][index] += time;
                time.0
            }
            Action::Send { transfer, .. } | Action::Receive { transfer, .. } => {
                let transfer = &self.derivation.transfers[transfer.0 as usize];
                let bytes = transfer.bytes(self.graph, self.encodings);
                let time = self.profile.device(id).messages.of(bytes);
                device.time.strips += time;
                time.0
            }
            Action::Input { .. } | Action::Output { .. } => 0.0,
        }
    }

    fn done(&mut self, index: usize, step: u32) {
        if let Action::Send { transfer, .. } =
            self.devices[index].program.steps[step as usize].action
        {
            self.transmit(transfer);
        }
        let device = &mut self.devices[index];
        device.busy = false;
        let waiting = device.starts[step as usize]..device.starts[step as usize + 1];
        for place in waiting {
            let next = device.waiting[place as usize];
            device.release(next);
        }
        self.start_next(index);
    }

    fn transmit(&mut self, id: TransferId) {
        let transfer = &self.derivation.transfers[id.0 as usize];
        let bytes = transfer.bytes(self.graph, self.encodings);
        let up = self.profile.link(transfer.from).time_for(bytes);
        let down = self.profile.link(transfer.to).time_for(bytes);
        let sender = &mut self.devices[transfer.from.index()];
        let start = self.now.max(sender.uplink_free);
        sender.uplink_free = start + up.0;
        sender.time.uplink += up;
        let sent = sender.uplink_free;
        let receiver = &mut self.devices[transfer.to.index()];
        receiver.downlink_free = start.max(receiver.downlink_free) + down.0;
        receiver.time.downlink += down;
        let received = receiver.downlink_free.max(sent);
        let latency = self.profile.latency(transfer.from, transfer.to);
        self.schedule(received + latency.0, EventKind::Arrived(id));
    }

    fn prediction(self) -> Prediction {
        let exchanges = !self.derivation.transfers.is_empty();
        let total = Ms(self.now) * if exchanges { self.profile.overhead } else { 1.0 };
        let devices = self
            .devices
            .into_iter()
            .map(|device| {
                let mut time = device.time;
                time.wait = total - time.compute - time.strips;
                time
            })
            .collect();
        Prediction { total, stages: self.stages, devices }
    }
}
