//! The actor that works for leaders: one per device, the leader included.
//!
//! It decides, with [`coord::worker`](edgeld_runtime::coord::worker), and delegates the rest: tasks
//! on the network thread read and decode, each plan is prepared on a thread of its own, and each
//! session's executor runs its frames.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix::prelude::*;
use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::liveness::{FailureDetector, Liveness, TICK};
use edgeld_runtime::coord::worker::session::{ConnectionId, Event as LinkEvent};
use edgeld_runtime::coord::worker::{OutOfMemory, Worker};
use edgeld_runtime::cost::PROCESS;
use edgeld_runtime::graph::{BlockId, DType, Graph, LayerId};
use edgeld_runtime::kernel::{KernelKind, Setup};
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::region::Region;
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::{
    BenchmarkResult, LeaderMessage, Prepare, Purpose, Refusal, SessionId, Urgency, WorkerMessage,
    encode,
};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::claim::Claim;
use super::device::Device;
use super::executor::{self, Job};
use super::guests::Guests;
use super::messages::{
    Accepted, ExecutorReported, HostSession, LeaderSent, PreparationDone, Released,
    StandbyReported, WeightsProgress,
};
use super::preparation::{Preparation, demand};
use super::preparations::Preparations;
use super::readers::{self, StripReader};
use super::session::{Session, session_of};
use crate::api::WorkerEvent;
use crate::profiler::link_probe;
use crate::storage::{ChunkFetcher, SessionWeights, Supply};
use crate::transport::{Connection, Network, Sender};

/// How often leaders get progress reports about plans in preparation.
const PROGRESS_INTERVAL: Ms = Ms(200.0);

/// How long a connection may wait for its session to be opened.
const PARKING_TIME: Ms = Ms(10_000.0);

/// How many connections may wait for their sessions.
const MAX_PARKED: usize = 64;

/// How many probes may be open: other devices hold one to see that this one is there.
const MAX_PROBES: usize = 64;

/// How many workers may fetch weights from this one at once.
const MAX_SUPPLIED: usize = 16;

/// How many leaders may be connected.
const MAX_LEADERS: usize = 64;

/// Plans of a session to pack weights for in advance.
const MAX_STANDBY: usize = 64;

/// Sessions open at once; each has a thread.
const MAX_SESSIONS: usize = 32;

/// The actor.
pub(crate) struct WorkerActor {
    pub(super) device: Arc<Device>,
    /// For dialling other devices.
    pub(super) network: Network,
    pub(super) worker: Worker,
    pub(super) controls: BTreeMap<u64, Sender>,
    pub(super) last_connection_id: u64,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// Sessions that could not be opened, and why.
    pub(super) rejected: BTreeMap<SessionId, String>,
    /// Sessions that this device leads.
    pub(super) hosted: BTreeMap<SessionId, HostSession>,
    /// Connections that arrived before their session was opened.
    pub(super) parked: Guests<(Moment, SessionId, Connection)>,
    /// Tasks that answer probes.
    probes: Guests<AbortHandle>,
    /// Tasks that send weights to other workers.
    supplied: Guests<AbortHandle>,
    /// Plans being prepared.
    preparations: Preparations<Preparation>,
    pub(super) events: Option<UnboundedSender<WorkerEvent>>,
    pub(super) detector: FailureDetector,
    pub(super) progress_sent: Moment,
    /// What was measured or checked last, and when.
    pub(super) benchmarks: Vec<(Moment, BenchmarkResult)>,
    /// Once this device is about to leave: who waits until no plan runs here any more.
    pub(super) leaving: Option<Vec<oneshot::Sender<()>>>,
    /// Leaders waiting for a running benchmark, by control connection.
    pub(super) benchmark_waiters: Vec<(KernelKind, u64, Sender)>,
}

impl WorkerActor {
    /// A worker on `device` that dials other devices through `network`.
    pub(crate) fn new(
        device: Arc<Device>,
        network: Network,
        events: Option<UnboundedSender<WorkerEvent>>,
    ) -> WorkerActor {
        let now = device.clock.now();
        WorkerActor {
            worker: Worker::new(Bytes(device.hello.memory).saturating_sub(PROCESS)),
            device,
            network,
            controls: BTreeMap::new(),
            last_connection_id: 0,
            sessions: BTreeMap::new(),
            rejected: BTreeMap::new(),
            hosted: BTreeMap::new(),
            parked: Guests::new(MAX_PARKED),
            probes: Guests::new(MAX_PROBES),
            supplied: Guests::new(MAX_SUPPLIED),
            preparations: Preparations::default(),
            events,
            detector: FailureDetector::new(now),
            progress_sent: now,
            benchmarks: Vec::new(),
            leaving: None,
            benchmark_waiters: Vec::new(),
        }
    }

    pub(super) fn emit(&self, event: WorkerEvent) {
        if let Some(events) = &self.events {
            // The subscriber may be gone.
            let _ = events.send(event);
        }
    }
}

impl Actor for WorkerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(Duration::from_secs_f64(TICK.0 / 1e3), Self::tick);
    }
}

impl Handler<Accepted> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Accepted(connection): Accepted, context: &mut Self::Context) {
        let node = connection.peer().node;
        match connection.peer().purpose {
            Purpose::Control => {
                self.make_room_for_leader();
                let id = self.next_connection_id();
                let sender =
                    readers::read_control(connection, id, context.address(), &self.network);
                if self.leaving.is_some() {
                    say_leaving(&sender);
                }
                self.controls.insert(id, sender);
            }
            Purpose::Probe => {
                let echo = link_probe::echo(connection, &self.network, self.device.clock);
                self.probes.admit_task(node, echo);
            }
            Purpose::Strips(session) | Purpose::Weights(session) => {
                self.admit(session, connection, context);
            }
        }
    }
}

impl Handler<LeaderSent> for WorkerActor {
    type Result = ();

    fn handle(
        &mut self,
        LeaderSent { control_id, message }: LeaderSent,
        context: &mut Self::Context,
    ) {
        let Some(sender) = self.controls.get(&control_id).cloned() else { return };
        if let Some(id) = session_of(&message)
            && let Some(session) = self.sessions.get(&id)
            && session.control_id != control_id
        {
            let is_same = session.sender.peer().node == sender.peer().node;
            if !is_same || self.liveness(&session.sender) == Liveness::Alive {
                return sender.abort("the session belongs to another leader");
            }
            self.close(id, "the leader has connected again");
        }
        match message {
            LeaderMessage::Measure { kernels } => {
                self.measure(kernels, (control_id, sender), context);
            }
            // After a refused plan, a leader opens the session again.
            LeaderMessage::Open { session, .. } if self.sessions.contains_key(&session) => {}
            LeaderMessage::Open { session, leader, manifest, encodings, kernels, traced } => {
                let opened = self.model(session, &manifest).and_then(|(graph, weights)| {
                    let new = NewSession { leader, graph, encodings, kernels, weights, traced };
                    self.open(session, (control_id, sender), new, context)
                });
                match opened {
                    Ok(()) => drop(self.rejected.remove(&session)),
                    Err(why) => self.reject(session, why),
                }
            }
            LeaderMessage::Prepare { session, prepare } => {
                self.prepare(session, prepare, &sender, context);
            }
            LeaderMessage::Abort { session, generation, frames } => {
                if let Some(session) = self.sessions.get(&session) {
                    session.executor.send(Job::AbortFrames { generation, frames });
                }
            }
            LeaderMessage::Retire { session, generation } => {
                self.worker.retire(session, generation);
                self.preparations.cancel(|of, number| (of, number) == (session, generation));
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.retire(generation);
                }
                self.handle_links(session, LinkEvent::Retire(generation), "", context);
            }
            LeaderMessage::Inspect { session, generation, frame } => {
                if let Some(session) = self.sessions.get(&session) {
                    session.executor.send(Job::Inspect { generation, frame });
                }
            }
            LeaderMessage::Standby { session, set, weights, plans } => {
                self.stand_by(session, set, (plans, weights), context);
            }
            LeaderMessage::Disconnect { session, node, incarnation } => {
                self.handle_links(session, LinkEvent::Gone { node, incarnation }, "", context);
            }
            LeaderMessage::Close { session, reason } => {
                self.rejected.remove(&session);
                self.close(session, &reason);
            }
        }
    }
}

/// A session about to be opened.
struct NewSession {
    leader: String,
    graph: Arc<Graph>,
    encodings: Vec<Encoding>,
    kernels: KernelKind,
    weights: SessionWeights,
    traced: bool,
}

impl WorkerActor {
    fn next_connection_id(&mut self) -> u64 {
        self.last_connection_id += 1;
        self.last_connection_id
    }

    /// The model of a session, from this device if it leads the session, else from the manifest.
    fn model(
        &self,
        id: SessionId,
        manifest: &[u8],
    ) -> Result<(Arc<Graph>, SessionWeights), String> {
        if self.sessions.len() >= MAX_SESSIONS {
            return Err(format!("{MAX_SESSIONS} sessions are already open on this device"));
        }
        if let Some(host) = self.hosted.get(&id) {
            return Ok((host.graph.clone(), SessionWeights::Local(host.weights.clone())));
        }
        let manifest = Manifest::decode(manifest).map_err(|error| error.to_string())?;
        let graph = manifest.graph().clone();
        let fetcher = ChunkFetcher::new(Arc::new(manifest), self.device.store.clone());
        Ok((graph, SessionWeights::Remote(Arc::new(fetcher))))
    }

    fn open(
        &mut self,
        id: SessionId,
        control: (u64, Sender),
        new: NewSession,
        context: &mut Context<Self>,
    ) -> Result<(), String> {
        let address = context.address();
        let report = move |report| address.do_send(ExecutorReported { session: id, report });
        let NewSession { leader, graph, encodings, kernels, weights, traced } = new;
        let executor =
            executor::start(&self.device, traced, report).map_err(|error| error.to_string())?;
        self.worker.open(id, control.1.peer().node);
        self.emit(WorkerEvent::Session { leader: leader.clone() });
        let session =
            Session::new(id, control, leader, graph, encodings, kernels, weights, executor);
        self.sessions.insert(id, session);
        self.attach_parked(id, context);
        Ok(())
    }

    /// If many leaders are connected, the oldest one without a session makes room for another.
    fn make_room_for_leader(&mut self) {
        if self.controls.len() < MAX_LEADERS {
            return;
        }
        let leads = |id: u64| self.sessions.values().any(|session| session.control_id == id);
        let idle = self.controls.keys().copied().find(|id| !leads(*id));
        if let Some(control) = idle.and_then(|id| self.controls.remove(&id)) {
            control.abort("other leaders needed its place");
        }
    }

    /// Remembers why a session cannot be opened; this answers its `Prepare` later.
    fn reject(&mut self, id: SessionId, why: String) {
        tracing::warn!("cannot open a session: {why}");
        if self.rejected.len() >= MAX_SESSIONS {
            self.rejected.pop_first();
        }
        self.rejected.insert(id, why);
        self.parked.retain(|(_, of, _)| *of != id);
    }

    /// Attaches a connection that was accepted to its session; parks it if the session does not expect
    /// it yet, since a peer may be told of a session or a plan before this device.
    fn admit(&mut self, id: SessionId, connection: Connection, context: &mut Context<Self>) {
        let session = self.sessions.get(&id);
        if session.is_some_and(|session| session.expects(connection.peer())) {
            return self.attach(id, connection, context);
        }
        let (now, node) = (self.device.clock.now(), connection.peer().node);
        // Whoever has to go is disconnected by this.
        drop(self.parked.admit(node, (now, id, connection)));
    }

    /// Attaches a connection to its session: one that it expects, or that this device dialled for it.
    pub(super) fn attach(
        &mut self,
        id: SessionId,
        connection: Connection,
        context: &mut Context<Self>,
    ) {
        let connection_id = self.next_connection_id();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let (node, incarnation) = (connection.peer().node, connection.peer().incarnation);
        match (connection.peer().purpose, &session.weights) {
            (Purpose::Weights(_), SessionWeights::Remote(fetcher)) if session.is_leader(node) => {
                fetcher.connect(connection);
            }
            (Purpose::Weights(_), SessionWeights::Remote(fetcher)) => {
                let (manifest, store) = (fetcher.manifest().clone(), fetcher.store().clone());
                let serving = Supply::Store(manifest, store).serve(connection);
                self.supplied.admit_task(node, self.network.spawn(serving));
            }
            _ => {
                let reader = StripReader {
                    session: id,
                    connection_id,
                    limit: session.longest_strip(),
                    executor: session.executor.clone(),
                };
                let sender =
                    readers::read_strips(connection, reader, context.address(), &self.network);
                let connection = ConnectionId(connection_id);
                session.add_strips(connection, sender);
                let event = LinkEvent::Connected { connection, node, incarnation };
                self.handle_links(id, event, "", context);
            }
        }
    }

    /// Attaches the parked connections that a session expects by now.
    fn attach_parked(&mut self, id: SessionId, context: &mut Context<Self>) {
        let Some(session) = self.sessions.get(&id) else { return };
        let expected =
            self.parked.take(|(_, of, parked)| *of == id && session.expects(parked.peer()));
        for (_, _, connection) in expected {
            self.attach(id, connection, context);
        }
    }

    fn prepare(
        &mut self,
        id: SessionId,
        prepare: Prepare,
        leader: &Sender,
        context: &mut Context<Self>,
    ) {
        let generation = prepare.generation;
        let Some(session) = self.sessions.get_mut(&id) else {
            let why = self.rejected.get(&id).cloned();
            let why = Refusal::Invalid(why.unwrap_or_else(|| "the session is not open".to_owned()));
            let refused = WorkerMessage::Refused { session: id, generation, why };
            // If the connection has ended, its reader notices.
            let _ = leader.send(encode(&refused), Vec::new());
            return;
        };
        let refuse = |session: &Session, why| {
            session.send(&WorkerMessage::Refused { session: id, generation, why });
        };
        if self.leaving.is_some() {
            return refuse(session, Refusal::Invalid("the device is about to leave".to_owned()));
        }
        let checked = match session.check(prepare, self.device.node()) {
            Ok(checked) => checked,
            Err(error) => return refuse(session, Refusal::Invalid(error)),
        };
        let (graph, program) = (session.graph.clone(), &checked.program);
        let reserve = |worker: &mut Worker, setup: Setup| {
            let held = |block: &BlockId| worker.has(id, block);
            let demand = demand(&graph, program, checked.in_flight, setup, held);
            let demand = demand.map_err(|error| Refusal::Invalid(error.to_string()))?;
            let weights = demand.blocks.values().copied().sum::<Bytes>();
            worker.prepare(id, generation, demand).map(|()| weights).map_err(|shortage| {
                let OutOfMemory { needed, available } = shortage;
                Refusal::Memory { needed, available }
            })
        };
        // Larger forms of the weights may use half of what the smallest ones leave free; a next plan
        // has the rest.
        let setup = session.setup(self.device.hello.isa, program.weights);
        let setup = Setup { reuse: checked.urgency == Urgency::Stopgap, ..setup };
        let smallest = Setup { memory: Some(Bytes::ZERO), ..setup };
        let reserved = reserve(&mut self.worker, smallest).and_then(|weights| {
            let memory = Some(weights + Bytes(self.worker.free().0 / 2));
            let setup = Setup { memory, ..setup };
            reserve(&mut self.worker, setup).map(|_| setup)
        });
        let setup = match reserved {
            Ok(setup) => setup,
            Err(why) => {
                self.worker.retire(id, generation);
                self.worker.released(id, generation);
                return refuse(session, why);
            }
        };
        let address = context.address();
        let claim = Claim::new(move || address.do_send(Released { session: id, generation }));
        let partners = checked.partners.clone();
        // Whatever else is packed can wait.
        session.cancel_standby();
        let preparation = session.begin_preparation(checked, setup, claim, &self.network);
        self.handle_links(id, LinkEvent::Prepare { generation, partners }, "", context);
        self.preparations.add(id, generation, preparation);
        self.attach_parked(id, context);
        self.start_preparations(context);
    }

    /// Has a session pack weights for plans to come, as far as there is room.
    fn stand_by(
        &mut self,
        id: SessionId,
        set: u32,
        (mut plans, weights): (Vec<BTreeMap<LayerId, Region>>, DType),
        context: &mut Context<Self>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        plans.truncate(MAX_STANDBY);
        let isa = self.device.hello.isa;
        let setup = Setup { reuse: true, ..session.setup(isa, weights) };
        let blocks = |regions| {
            setup.blocks(&session.graph, regions, |block| self.worker.has(id, block)).ok()
        };
        let blocks: Vec<_> = plans.iter().map_while(blocks).collect();
        plans.truncate(self.worker.stand_by(id, blocks));
        let address = context.address();
        let report = move |step| address.do_send(StandbyReported { session: id, set, step });
        session.stand_by(set, (plans, weights), isa, &self.network, report);
    }

    /// Gives threads to the plans that may have one, once there is room for what is promised: a plan
    /// that has ended may still be in use.
    pub(super) fn start_preparations(&mut self, context: &mut Context<Self>) {
        if !self.worker.fits() {
            for keeper in self.worker.give_up() {
                if let Some(session) = self.sessions.get_mut(&keeper) {
                    session.give_up_kept();
                }
            }
        }
        while self.worker.fits()
            && let Some((id, generation, preparation)) = self.preparations.next()
        {
            let session = self.sessions.get(&id);
            let earlier = session.map(Session::packed).unwrap_or_default();
            let address = context.address();
            let run = move || {
                let progress = |progress| {
                    address.do_send(WeightsProgress { session: id, generation, progress });
                };
                let result = preparation.run(&earlier, &progress);
                drop(earlier);
                address.do_send(PreparationDone { session: id, generation, result });
            };
            let spawned = thread::Builder::new().name("edgeld-prepare".to_owned()).spawn(run);
            if let Err(error) = spawned {
                let result = Err(Refusal::Invalid(error.to_string()));
                context.notify(PreparationDone { session: id, generation, result });
            }
        }
    }

    /// A thread that prepared a plan has ended.
    pub(super) fn preparation_ended(&mut self, session: SessionId, context: &mut Context<Self>) {
        self.preparations.ended(session);
        self.start_preparations(context);
    }

    /// Nobody uses the memory of a plan any more.
    pub(super) fn memory_released(
        &mut self,
        (session, generation): (SessionId, Generation),
        context: &mut Context<Self>,
    ) {
        self.worker.released(session, generation);
        self.start_preparations(context);
    }

    pub(super) fn close(&mut self, id: SessionId, reason: &str) {
        self.worker.close(id);
        self.preparations.cancel(|of, _| of == id);
        let Some(mut session) = self.sessions.remove(&id) else { return };
        session.close();
        let (leader, reason) = (session.leader.clone(), reason.to_owned());
        self.emit(WorkerEvent::SessionClosed { leader, reason });
    }

    pub(super) fn liveness(&self, sender: &Sender) -> Liveness {
        self.detector.liveness(self.device.clock.at(sender.last_heard()))
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        let now = self.device.clock.now();
        self.detector.tick(now);
        let me = self.device.node();
        // A leader in this process cannot fall silent.
        for control in self.controls.values().filter(|control| control.peer().node != me) {
            if self.liveness(control) == Liveness::Lost {
                control.abort("the leader has been silent for too long");
            }
        }
        self.watch_links(context);
        self.leave_if_drained();
        self.parked.retain(|(since, ..)| now.since(*since) < PARKING_TIME);
        if now.since(self.progress_sent) >= PROGRESS_INTERVAL {
            self.progress_sent = now;
            for session in self.sessions.values() {
                session.progress().iter().for_each(|message| session.send(message));
            }
        }
    }
}

/// Tells a leader that this device is about to leave.
pub(super) fn say_leaving(control: &Sender) {
    // If the connection has ended, its reader notices.
    let _ = control.send(encode(&WorkerMessage::Leaving), Vec::new());
}
