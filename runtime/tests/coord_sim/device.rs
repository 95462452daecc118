//! A simulated device: what the worker's actor and executor do, around the same state machines.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::leader::Event;
use edgeld_runtime::coord::liveness::{FailureDetector, Liveness};
use edgeld_runtime::coord::worker::session::{self as links, ConnectionId, Partner};
use edgeld_runtime::coord::worker::{Arrival, Demand, Gate, Worker};
use edgeld_runtime::cost;
use edgeld_runtime::ids::{Incarnation, NodeId};
use edgeld_runtime::plan::{DeviceIx, Generation};
use edgeld_runtime::program::{Action, Program, TransferId};
use edgeld_runtime::units::Bytes;

use crate::messages::{Message, Planned, Provenance};
use crate::network::{ConnId, Kind, Process};
use crate::world::{LEADER, SESSION, What, World, graph};

/// How often a device says how far it has got.
const PROGRESS: f64 = 200.0;

/// How long a device that leaves waits for its plans to end.
const DRAIN: f64 = 5_000.0;

/// A device and its process.
#[derive(Debug)]
pub struct Device {
    /// Which run of its process this is.
    pub run: u64,
    pub slowness: f64,
    /// Its next computation fails.
    pub spoilt: bool,
    /// Its next preparation never ends.
    pub stuck: bool,
    pub limit: Bytes,
    pub worker: Worker,
    /// What plans take of its memory, retired ones too, until nobody uses it.
    pub using: BTreeMap<Generation, Bytes>,
    /// Plans that wait for memory.
    pub waiting: VecDeque<(ConnId, Generation)>,
    pub detector: FailureDetector,
    pub session: Option<Session>,
    /// Since when it waits to leave.
    pub leaving: Option<f64>,
    /// Connections that came before the session was opened.
    parked: Vec<ConnId>,
    progress_sent: f64,
}

/// A session on a device.
#[derive(Debug)]
pub struct Session {
    /// The leader's connection.
    pub control: ConnId,
    links: links::Session,
    gate: Gate,
    pub plans: BTreeMap<Generation, DevicePlan>,
    frames: BTreeMap<(Generation, u64), Run>,
    early: Vec<(Generation, u64, TransferId, Provenance)>,
    /// The newest plan that is over.
    over: Option<Generation>,
    inspections: VecDeque<(Generation, u64)>,
    /// Until what is computed.
    computing: Option<(Generation, u64, usize)>,
}

#[derive(Debug)]
pub struct DevicePlan {
    planned: Rc<Planned>,
    place: DeviceIx,
    pub needs: Bytes,
    routes: Option<BTreeMap<NodeId, ConnectionId>>,
    closed: BTreeSet<u64>,
    /// Bytes fetched and packed.
    done: Bytes,
    packed: bool,
}

impl DevicePlan {
    fn program(&self) -> &Program {
        &self.planned.derivation.programs[usize::from(self.place.0)]
    }
}

/// A frame on a device: which steps are done.
#[derive(Debug)]
struct Run {
    done: Vec<bool>,
    provenance: Provenance,
}

impl Run {
    /// The first step that can be done and is not an arrival.
    fn ready(&self, program: &Program) -> Option<usize> {
        (0..self.done.len()).find(|at| {
            let step = &program.steps[*at];
            !self.done[*at]
                && !matches!(step.action, Action::Receive { .. } | Action::Input { .. })
                && step.after.iter().all(|before| self.done[before.0 as usize])
        })
    }
}

impl Device {
    pub fn new(run: u64, now: f64, limit: Bytes, slowness: f64) -> Device {
        Device {
            run,
            slowness,
            spoilt: false,
            stuck: false,
            limit,
            worker: Worker::new(limit),
            using: BTreeMap::new(),
            waiting: VecDeque::new(),
            detector: FailureDetector::new(Moment(now)),
            session: None,
            leaving: None,
            parked: Vec::new(),
            progress_sent: now,
        }
    }
}

impl World {
    pub fn device(&mut self, node: NodeId) -> &mut Device {
        self.devices.get_mut(&node).expect("only devices that were started are named")
    }

    fn session(&mut self, node: NodeId) -> Option<&mut Session> {
        self.device(node).session.as_mut()
    }

    fn tell(&mut self, node: NodeId, message: Message) {
        if let Some(control) = self.session(node).map(|session| session.control) {
            self.send((control, 1), message);
        }
    }

    pub fn device_tick(&mut self, node: NodeId) {
        let now = self.now;
        if let Some(since) = self.device(node).leaving {
            let idle = self.session(node).is_none_or(|session| session.plans.is_empty());
            if idle || now - since > DRAIN {
                return self.kill(node);
            }
        }
        self.device(node).detector.tick(Moment(now));
        let detector = self.device(node).detector.clone();
        let is_lost = |world: &World, id: ConnId, side: usize| {
            let end = &world.net.conns[&id].ends[side];
            let heard = end.silent_since.unwrap_or(now);
            detector.liveness(Moment(heard)) == Liveness::Lost
        };
        let run = self.device(node).run;
        let mut silent = Vec::new();
        for (id, conn) in &self.net.conns {
            for side in [0, 1] {
                let end = &conn.ends[side];
                // The leader's own end of a control connection is watched elsewhere.
                let watched = conn.kind == Kind::Strips || (side == 1 && node != LEADER);
                if watched && end.open && end.process == (node, run) && is_lost(self, *id, side) {
                    silent.push((*id, side, conn.kind));
                }
            }
        }
        for (id, side, kind) in silent {
            self.close(id, side);
            self.ended(node, id, kind);
        }
        self.handle_links(node, links::Event::Tick);
        if now - self.device(node).progress_sent >= PROGRESS {
            self.device(node).progress_sent = now;
            let plans = self.session(node).into_iter().flat_map(|session| &session.plans);
            let preparing = plans.filter(|(_, plan)| plan.routes.is_none());
            let told: Vec<Message> = preparing
                .map(|(generation, plan)| Message::Progress(*generation, plan.done))
                .collect();
            told.into_iter().for_each(|message| self.tell(node, message));
        }
    }

    /// A connection has ended for a worker.
    pub fn ended(&mut self, node: NodeId, id: ConnId, kind: Kind) {
        match kind {
            Kind::Control => {
                if self.session(node).is_some_and(|session| session.control == id) {
                    self.close_session(node);
                }
            }
            Kind::Strips => {
                self.device(node).parked.retain(|parked| *parked != id);
                self.handle_links(node, links::Event::Ended(ConnectionId(id.0)));
            }
        }
    }

    fn close_session(&mut self, node: NodeId) {
        self.device(node).worker.close(SESSION);
        self.device(node).session = None;
        let using: Vec<Generation> = self.devices[&node].using.keys().copied().collect();
        using.into_iter().for_each(|generation| self.release_later(node, generation));
        let run = self.device(node).run;
        let ours = |end: &crate::network::End| end.open && end.process == (node, run);
        let mut strips = Vec::new();
        for (id, conn) in self.net.conns.iter().filter(|(_, conn)| conn.kind == Kind::Strips) {
            strips.extend(
                [0, 1].into_iter().filter(|side| ours(&conn.ends[*side])).map(|s| (*id, s)),
            );
        }
        strips.into_iter().for_each(|(id, side)| self.close(id, side));
        self.device(node).parked.clear();
    }

    /// A strip connection was accepted or dialled.
    pub fn attach(&mut self, node: NodeId, id: ConnId) {
        let side = self.side_of(node, id);
        let Some(peer) = self.net.peer(id, side) else { return };
        if self.session(node).is_none() {
            return self.device(node).parked.push(id);
        }
        let (connection, (node_there, run)) = (ConnectionId(id.0), peer);
        let event =
            links::Event::Connected { connection, node: node_there, incarnation: Incarnation(run) };
        self.handle_links(node, event);
    }

    fn side_of(&self, node: NodeId, id: ConnId) -> usize {
        usize::from(self.net.conns[&id].ends[0].process.0 != node)
    }

    pub fn handle_links(&mut self, node: NodeId, event: links::Event) {
        let now = Moment(self.now);
        let Some(session) = self.session(node) else { return };
        for command in session.links.handle(now, event) {
            match command {
                links::Command::Dial(peer) => {
                    let me = (node, self.device(node).run);
                    let takes = match self.net.carries(node, peer) && self.net.carries(peer, node) {
                        true => self.dice.between(0.5, 5.0),
                        false => 2_000.0,
                    };
                    self.schedule(takes, Some(me), What::StripsDialled(node, peer));
                }
                links::Command::Cut(connection) => {
                    let id = ConnId(connection.0);
                    if self.net.conns.contains_key(&id) {
                        self.close(id, self.side_of(node, id));
                    }
                }
                links::Command::Start { generation, routes } => {
                    let Some(session) = self.session(node) else { return };
                    let plan = session.plans.get_mut(&generation).expect("it was prepared");
                    assert!(plan.packed && plan.routes.is_none(), "{generation:?} on {node}");
                    plan.routes = Some(routes);
                    session.gate.open(generation);
                    let early = std::mem::take(&mut session.early);
                    self.tell(node, Message::Ready(generation));
                    for (of, frame, transfer, rows) in early {
                        match of == generation {
                            true => self.deliver(node, of, frame, transfer, rows),
                            false => {
                                if let Some(session) = self.session(node) {
                                    session.early.push((of, frame, transfer, rows));
                                }
                            }
                        }
                    }
                    self.advance(node);
                }
                links::Command::Refuse { generation, peer, .. }
                | links::Command::LinkDown { generation, peer } => {
                    self.tell(node, Message::LinkDown(generation, peer));
                }
            }
        }
    }

    /// A dialled device has answered, or not.
    pub fn strips_dialled(&mut self, node: NodeId, peer: NodeId) {
        if self.session(node).is_none() {
            return;
        }
        if !self.net.reaches(node, peer) {
            let error = "no answer".to_owned();
            return self.handle_links(node, links::Event::DialFailed { node: peer, error });
        }
        let run = self.device(peer).run;
        let id = self.connect(Kind::Strips, (node, self.devices[&node].run), (peer, run));
        self.attach(node, id);
        self.attach(peer, id);
    }

    /// A message has arrived at a worker.
    pub fn worker_receives(&mut self, node: NodeId, id: ConnId, message: Message) {
        if let Message::End = message {
            let (side, kind) = (self.side_of(node, id), self.net.conns[&id].kind);
            let side = if kind == Kind::Control { 1 } else { side };
            self.close(id, side);
            return self.ended(node, id, kind);
        }
        if let Message::Strip(generation, frame, transfer, rows) = message {
            return self.strip(node, id, generation, frame, transfer, rows);
        }
        if let Some(old) = self.session(node).map(|session| session.control)
            && old != id
        {
            let now = Moment(self.now);
            let silent_since = self.net.conns[&old].ends[1].silent_since;
            let heard = silent_since.map_or(now, Moment);
            if self.device(node).detector.liveness(heard) == Liveness::Alive {
                return self.close(id, 1);
            }
            // The leader has connected again and knows that the old connection is dead.
            self.close_session(node);
        }
        match message {
            Message::Open => self.open(node, id),
            Message::Prepare(generation, planned) => self.prepare(node, generation, planned, id),
            Message::Abort(generation, frame) => {
                let Some(session) = self.session(node) else { return };
                session.frames.remove(&(generation, frame));
                if let Some(plan) = session.plans.get_mut(&generation) {
                    plan.closed.insert(frame);
                }
            }
            Message::Retire(generation) => self.retire(node, generation),
            Message::Inspect(generation, frame) => {
                if let Some(session) = self.session(node) {
                    session.inspections.push_back((generation, frame));
                }
                self.advance(node);
            }
            Message::Disconnect(gone, incarnation) => {
                self.handle_links(node, links::Event::Gone { node: gone, incarnation });
            }
            _ => panic!("{message:?} is not for a worker"),
        }
    }

    fn open(&mut self, node: NodeId, control: ConnId) {
        if self.session(node).is_some() {
            return;
        }
        self.device(node).worker.open(SESSION, LEADER);
        self.device(node).session = Some(Session {
            control,
            links: links::Session::default(),
            gate: Gate::default(),
            plans: BTreeMap::new(),
            frames: BTreeMap::new(),
            early: Vec::new(),
            over: None,
            inspections: VecDeque::new(),
            computing: None,
        });
        for id in std::mem::take(&mut self.device(node).parked) {
            if self.net.conns.contains_key(&id) {
                self.attach(node, id);
            }
        }
    }

    fn prepare(&mut self, node: NodeId, generation: Generation, planned: Rc<Planned>, id: ConnId) {
        if self.session(node).is_none() {
            return self.send((id, 1), Message::Refused(generation, "not open".to_owned()));
        }
        let members = &planned.lane.members;
        let place = members.iter().position(|member| *member == node).expect("it is a member");
        let place = DeviceIx(place as u16);
        let mut partners = BTreeMap::new();
        for transfer in &planned.derivation.transfers {
            let other = match (transfer.from, transfer.to) {
                (from, to) if from == place => to,
                (from, to) if to == place => from,
                _ => continue,
            };
            let at = usize::from(other.0);
            let (there, incarnation) = (members[at], planned.incarnations[at]);
            let dial = place == DeviceIx::LEADER || (node < there && other != DeviceIx::LEADER);
            partners.insert(there, Partner { node: there, incarnation, dial });
        }
        let program = &planned.derivation.programs[usize::from(place.0)];
        let demand = demand(program, &planned);
        let needs = demand.working;
        if let Err(short) = self.device(node).worker.prepare(SESSION, generation, demand) {
            let why = format!("{short:?}");
            return self.tell(node, Message::Refused(generation, why));
        }
        let plan = DevicePlan {
            planned,
            place,
            needs,
            routes: None,
            closed: BTreeSet::new(),
            done: Bytes::ZERO,
            packed: false,
        };
        if let Some(session) = self.session(node) {
            assert!(session.plans.insert(generation, plan).is_none());
        }
        let partners = partners.into_values().collect();
        self.handle_links(node, links::Event::Prepare { generation, partners });
        self.device(node).waiting.push_back((id, generation));
        self.begin_preparations(node);
    }

    pub fn packed(&mut self, node: NodeId, control: ConnId, generation: Generation) {
        let Some(session) = self.session(node).filter(|session| session.control == control) else {
            return;
        };
        let Some(plan) = session.plans.get_mut(&generation) else { return };
        (plan.packed, plan.done) = (true, Bytes(1));
        self.handle_links(node, links::Event::Packed(generation));
    }

    fn retire(&mut self, node: NodeId, generation: Generation) {
        let worker = &mut self.device(node).worker;
        worker.retire(SESSION, generation);
        assert!(!worker.knows(SESSION, generation), "{node} keeps the memory of {generation:?}");
        if let Some(session) = self.session(node) {
            session.gate.close(generation);
            session.plans.remove(&generation);
            session.frames.retain(|(of, _), _| *of != generation);
            session.early.retain(|(of, ..)| *of > generation);
            session.over = session.over.max(Some(generation));
        }
        self.release_later(node, generation);
        self.handle_links(node, links::Event::Retire(generation));
    }

    /// A strip has arrived over a connection.
    fn strip(
        &mut self,
        node: NodeId,
        id: ConnId,
        generation: Generation,
        frame: u64,
        transfer: TransferId,
        rows: Provenance,
    ) {
        let Some(session) = self.session(node) else { return };
        match session.gate.arrive(generation, Bytes(20_000)) {
            Arrival::Deliver => {
                self.deliver(node, generation, frame, transfer, rows);
                self.advance(node);
            }
            Arrival::Hold => session.early.push((generation, frame, transfer, rows)),
            Arrival::Drop => {}
            Arrival::Close => {
                self.close(id, self.side_of(node, id));
                self.ended(node, id, Kind::Strips);
            }
        }
    }

    fn deliver(
        &mut self,
        node: NodeId,
        generation: Generation,
        frame: u64,
        transfer: TransferId,
        rows: Provenance,
    ) {
        let Some(session) = self.session(node) else { return };
        let Some(run) = session.run(generation, frame) else { return };
        assert_eq!(run.provenance, rows, "rows of something else on {node}");
        let plan = &session.plans[&generation];
        let is_it = |action: &Action| matches!(action, Action::Receive { transfer: other, .. } if *other == transfer);
        let at = plan.program().steps.iter().position(|step| is_it(&step.action));
        let at = at.expect("the plan says that it comes here");
        let run = session.frames.get_mut(&(generation, frame)).expect("it was opened just now");
        assert!(!std::mem::replace(&mut run.done[at], true), "{transfer:?} arrived twice");
    }

    /// Starts a frame, on the leader.
    pub fn start_frame(&mut self, generation: Generation, frame: u64) {
        let Some(session) = self.session(LEADER) else { return };
        if session.run(generation, frame).is_none() {
            return;
        }
        let inputs: Vec<usize> = session.plans[&generation]
            .program()
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| matches!(step.action, Action::Input { .. }))
            .map(|(at, _)| at)
            .collect();
        let run = session.frames.get_mut(&(generation, frame)).expect("it was opened just now");
        inputs.into_iter().for_each(|at| run.done[at] = true);
        self.advance(LEADER);
    }

    /// Does what can be done until something has to be computed.
    fn advance(&mut self, node: NodeId) {
        loop {
            let Some(session) = self.session(node) else { return };
            if session.computing.is_some() {
                return;
            }
            if let Some((generation, frame)) = session.inspections.pop_front() {
                if let Some((awaits, owes)) = session.inspect(generation, frame) {
                    self.tell(node, Message::Inspected(generation, frame, awaits, owes));
                }
                continue;
            }
            let Some((generation, frame, at)) = session.next_step() else { return };
            let plan = &session.plans[&generation];
            match &plan.program().steps[at].action {
                Action::Compute { runs, .. } => {
                    let lines: u64 = runs
                        .iter()
                        .map(|run| u64::from(run.region.channels.len() * run.region.rows.len()))
                        .sum();
                    session.computing = Some((generation, frame, at));
                    let device = &self.devices[&node];
                    let takes = lines as f64 * 0.04 * device.slowness;
                    let takes = takes * self.dice.between(0.8, 1.2);
                    let me = (node, self.devices[&node].run);
                    self.schedule(takes, Some(me), What::Computed(node, generation, frame, at));
                    return;
                }
                Action::Send { transfer, to, .. } => {
                    let to = plan.planned.lane.members[usize::from(to.0)];
                    let route = plan.routes.as_ref().and_then(|routes| routes.get(&to)).copied();
                    let transfer = *transfer;
                    let rows = session.frames[&(generation, frame)].provenance;
                    session.finish_step(generation, frame, at);
                    if let Some(route) = route.map(|route| ConnId(route.0))
                        && self.net.conns.contains_key(&route)
                    {
                        let side = self.side_of(node, route);
                        let strip = Message::Strip(generation, frame, transfer, rows);
                        self.send((route, side), strip);
                    }
                }
                Action::Output { .. } => {
                    session.finish_step(generation, frame, at);
                    let plan = &session.plans[&generation];
                    let run = session.frames.get(&(generation, frame));
                    let mut outputs = plan.program().steps.iter().enumerate();
                    let complete = run.is_none_or(|run| {
                        outputs.all(|(at, step)| {
                            run.done[at] || !matches!(step.action, Action::Output { .. })
                        })
                    });
                    if complete {
                        let me = (node, self.devices[&node].run);
                        let answered = Event::Answered { frame, generation };
                        self.schedule(0.0, Some(me), What::ToLeader(answered));
                    }
                }
                Action::Input { .. } | Action::Receive { .. } => panic!("these arrive"),
            }
        }
    }

    /// A step has been computed.
    pub fn computed(&mut self, node: NodeId, generation: Generation, frame: u64, at: usize) {
        let spoilt = self.device(node).spoilt;
        let Some(session) = self.session(node) else { return };
        if session.computing != Some((generation, frame, at)) {
            return;
        }
        session.computing = None;
        if session.plans.contains_key(&generation) && spoilt {
            session.frames.remove(&(generation, frame));
            if let Some(plan) = session.plans.get_mut(&generation) {
                plan.closed.insert(frame);
            }
            self.device(node).spoilt = false;
            self.tell(node, Message::Failed(generation, frame));
        } else if let Some(session) = self.session(node) {
            session.finish_step(generation, frame, at);
        }
        self.advance(node);
    }

    /// Whether a device keeps what it should not, and nothing is promised twice.
    pub fn check_device(&self, node: NodeId, process: Process) {
        let device = &self.devices[&node];
        let Some(session) = &device.session else {
            assert_eq!(device.worker.free(), device.limit, "{node} has no session");
            let kept = !device.using.is_empty() || device.worker.held() == Bytes::ZERO;
            assert!(kept, "{node} keeps memory of sessions that are over");
            return;
        };
        assert_eq!(
            self.net.open_end(session.control, 1),
            Some(process),
            "{node} keeps the session of a connection that is over"
        );
        for generation in session.plans.keys() {
            assert!(
                device.worker.knows(SESSION, *generation),
                "{node} runs {generation:?} for nothing"
            );
        }
        let kept = session.early.iter().map(|(of, ..)| *of).min();
        assert!(kept.is_none() || kept > session.over, "{node} keeps strips of {kept:?}");
        for (generation, _) in session.frames.keys() {
            assert!(
                session.plans.contains_key(generation),
                "{node} keeps frames of {generation:?}"
            );
        }
    }
}

impl Session {
    /// A frame, opened if it is new; `None` if it is over here or the plan is not ready.
    fn run(&mut self, generation: Generation, frame: u64) -> Option<&mut Run> {
        let plan = self.plans.get(&generation)?;
        if plan.routes.is_none() || plan.closed.contains(&frame) {
            return None;
        }
        let steps = plan.program().steps.len();
        let provenance = Provenance { generation, frame };
        let fresh = || Run { done: vec![false; steps], provenance };
        Some(self.frames.entry((generation, frame)).or_insert_with(fresh))
    }

    fn next_step(&self) -> Option<(Generation, u64, usize)> {
        self.frames.iter().find_map(|((generation, frame), run)| {
            let at = run.ready(self.plans.get(generation)?.program())?;
            Some((*generation, *frame, at))
        })
    }

    fn finish_step(&mut self, generation: Generation, frame: u64, at: usize) {
        let Some(run) = self.frames.get_mut(&(generation, frame)) else { return };
        run.done[at] = true;
        if run.done.iter().all(|done| *done) {
            self.frames.remove(&(generation, frame));
            if let Some(plan) = self.plans.get_mut(&generation) {
                plan.closed.insert(frame);
            }
        }
    }

    fn inspect(
        &self,
        generation: Generation,
        frame: u64,
    ) -> Option<(Vec<TransferId>, Vec<TransferId>)> {
        let plan = self.plans.get(&generation)?;
        if plan.closed.contains(&frame) {
            return Some((Vec::new(), Vec::new()));
        }
        let run = self.frames.get(&(generation, frame));
        let steps = plan.program().steps.iter().enumerate();
        let open = steps.filter(|(at, _)| run.is_none_or(|run| !run.done[*at]));
        let (mut awaits, mut owes) = (Vec::new(), Vec::new());
        for (_, step) in open {
            match step.action {
                Action::Receive { transfer, .. } => awaits.push(transfer),
                Action::Send { transfer, .. } => owes.push(transfer),
                _ => {}
            }
        }
        Some((awaits, owes))
    }
}

/// What a plan takes of a device's memory.
fn demand(program: &Program, planned: &Planned) -> Demand {
    let need = cost::memory(graph(), program, planned.lane.in_flight);
    Demand { blocks: BTreeMap::new(), working: need.weights + need.activations + need.workspace }
}
