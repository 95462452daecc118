//! The actor that works for leaders: one per device, on the leader too.
//!
//! It decodes nothing and computes nothing: connections are read by tasks of the network thread,
//! plans are prepared on threads of their own, frames run on each session's executor. What it does
//! is decide, with [`coord::worker`](edgeld_runtime::coord::worker), and pass on.

mod handlers;
mod measuring;
mod messages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix::prelude::*;
use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::liveness::{FailureDetector, Liveness, TICK};
use edgeld_runtime::coord::worker::Worker;
use edgeld_runtime::graph::Graph;
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::{
    LeaderMessage, Member, Prepare, Purpose, Refusal, SessionId, SuiteResult, WorkerMessage, encode,
};
use tokio::sync::mpsc::UnboundedSender;

pub use messages::{Answered, Begin, Connected, ControlEnded, Lead, Leave, Led, StripsEnded, Told};
use messages::{Dialled, Packed, Progressed, Reported};

use crate::device::Device;
use crate::executor::{self, Job};
use crate::prepare::demand;
use crate::pump;
use crate::serve::WorkerEvent;
use crate::session::Session;
use crate::supply::{Fetched, Supply};
use crate::transport::{Connection, Network, Sender};

/// How often a leader is told how far its plans in preparation are.
const NOTE: Ms = Ms(200.0);

/// Connections of sessions that are not open yet may wait this long, and be this many.
const PARKED: (Ms, usize) = (Ms(10_000.0), 64);

/// Sessions at once; each has a thread.
const SESSIONS: usize = 32;

/// The actor.
pub struct WorkerActor {
    device: Arc<Device>,
    /// For dialling other devices.
    network: Network,
    worker: Worker,
    controls: BTreeMap<u64, Sender>,
    next: u64,
    sessions: BTreeMap<SessionId, Session>,
    /// Sessions that could not be opened, and why.
    unopened: BTreeMap<SessionId, String>,
    /// Sessions that this device leads itself.
    own: BTreeMap<SessionId, Lead>,
    /// Connections that came before their session.
    parked: Vec<(Moment, SessionId, Connection)>,
    events: Option<UnboundedSender<WorkerEvent>>,
    watch: FailureDetector,
    noted: Moment,
    /// Speed suites that were run, and who waits for one.
    measured: Vec<SuiteResult>,
    awaiting: Vec<(KernelKind, Sender)>,
}

impl WorkerActor {
    /// A worker on `device` that dials others through `network`.
    pub fn new(
        device: Arc<Device>,
        network: Network,
        events: Option<UnboundedSender<WorkerEvent>>,
    ) -> WorkerActor {
        let now = device.clock.now();
        WorkerActor {
            worker: Worker::new(Bytes(device.hello.memory)),
            device,
            network,
            controls: BTreeMap::new(),
            next: 0,
            sessions: BTreeMap::new(),
            unopened: BTreeMap::new(),
            own: BTreeMap::new(),
            parked: Vec::new(),
            events,
            watch: FailureDetector::new(now),
            noted: now,
            measured: Vec::new(),
            awaiting: Vec::new(),
        }
    }

    fn event(&self, event: WorkerEvent) {
        if let Some(events) = &self.events {
            // Whoever listened may have gone; the worker works on.
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

impl Handler<Connected> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Connected(connection): Connected, context: &mut Self::Context) {
        match connection.peer().purpose {
            Purpose::Control => {
                self.next += 1;
                let sender = pump::control(connection, self.next, context.address(), &self.network);
                self.controls.insert(self.next, sender);
            }
            Purpose::Probe => pump::echo(connection, &self.network),
            Purpose::Strips(session) | Purpose::Weights(session) => {
                if self.sessions.contains_key(&session) {
                    self.attach(session, connection, context);
                } else if self.parked.len() < PARKED.1 {
                    self.parked.push((self.device.clock.now(), session, connection));
                }
            }
        }
    }
}

impl Handler<Told> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Told { control, message }: Told, context: &mut Self::Context) {
        let Some(sender) = self.controls.get(&control).cloned() else { return };
        if let Some(id) = crate::session::session_of(&message)
            && self.sessions.get(&id).is_some_and(|session| session.control != control)
        {
            return sender.cut("a session that another leader has opened");
        }
        match message {
            LeaderMessage::Measure { kernels } => self.measure(kernels, sender, context),
            // A leader that was refused a plan asks again from the beginning.
            LeaderMessage::Open { session, .. } if self.sessions.contains_key(&session) => {}
            LeaderMessage::Open { session, leader, manifest, encodings, kernels } => {
                let opened = self.model(session, &manifest).and_then(|(graph, supply)| {
                    let opening = Opening { leader, graph, encodings, kernels, supply };
                    self.open(session, (control, sender), opening, context)
                });
                match opened {
                    Ok(()) => drop(self.unopened.remove(&session)),
                    Err(why) => self.turn_away(session, why),
                }
            }
            LeaderMessage::Prepare { session, prepare } => {
                self.prepare(session, prepare, &sender, context);
            }
            LeaderMessage::Abort { session, generation, frames } => {
                if let Some(session) = self.sessions.get(&session) {
                    session.executor.order(Job::Abort { generation, frames });
                }
            }
            LeaderMessage::Retire { session, generation } => {
                self.worker.retire(session, generation);
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.retire(generation);
                }
            }
            LeaderMessage::Close { session, reason } => {
                self.unopened.remove(&session);
                self.close(session, &reason);
            }
        }
    }
}

/// What a leader says of a new session.
struct Opening {
    leader: String,
    graph: Arc<Graph>,
    encodings: Vec<Encoding>,
    kernels: KernelKind,
    supply: Supply,
}

impl WorkerActor {
    /// The model of a session: this device's own, or the leader's manifest.
    fn model(&self, id: SessionId, manifest: &[u8]) -> Result<(Arc<Graph>, Supply), String> {
        if self.sessions.len() >= SESSIONS {
            return Err(format!("{SESSIONS} sessions are open here already"));
        }
        if let Some(own) = self.own.get(&id) {
            return Ok((own.graph.clone(), Supply::Own(own.weights.clone())));
        }
        let manifest = Manifest::decode(manifest).map_err(|error| error.to_string())?;
        let graph = manifest.graph().clone();
        let fetched = Fetched::new(Arc::new(manifest), self.device.store.clone());
        Ok((graph, Supply::Fetched(Arc::new(fetched))))
    }

    fn open(
        &mut self,
        id: SessionId,
        control: (u64, Sender),
        opening: Opening,
        context: &mut Context<Self>,
    ) -> Result<(), String> {
        let address = context.address();
        let report = move |report| address.do_send(Reported { session: id, report });
        let executor = executor::start(&self.device, report).map_err(|error| error.to_string())?;
        let Opening { leader, graph, encodings, kernels, supply } = opening;
        self.worker.open(id, control.1.peer().node);
        self.event(WorkerEvent::Session { leader: leader.clone() });
        let session =
            Session::new(id, control, leader, graph, encodings, kernels, supply, executor);
        self.sessions.insert(id, session);
        let parked = std::mem::take(&mut self.parked).into_iter();
        let (ours, others): (Vec<_>, Vec<_>) = parked.partition(|(_, of, _)| *of == id);
        self.parked = others;
        for (_, id, connection) in ours {
            self.attach(id, connection, context);
        }
        Ok(())
    }

    /// A session cannot be opened; whoever asks it to prepare a plan is told why.
    fn turn_away(&mut self, id: SessionId, why: String) {
        tracing::warn!("a session was refused: {why}");
        if self.unopened.len() >= SESSIONS {
            self.unopened.pop_first();
        }
        self.unopened.insert(id, why);
        self.parked.retain(|(_, of, _)| *of != id);
    }

    /// A connection of an open session.
    fn attach(&mut self, id: SessionId, connection: Connection, context: &mut Context<Self>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let node = connection.peer().node;
        match (connection.peer().purpose, &session.supply) {
            (Purpose::Weights(_), Supply::Fetched(fetched))
                if session.sender.peer().node == node =>
            {
                fetched.connect(connection);
            }
            (Purpose::Strips(_), _) => {
                self.next += 1;
                let feed = pump::Feed {
                    session: id,
                    number: self.next,
                    limit: session.longest_strip(),
                    executor: session.executor.clone(),
                };
                let sender = pump::strips(connection, feed, context.address(), &self.network);
                session.connected(self.next, sender);
                self.hand_over(id);
            }
            _ => {}
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
            let why = self.unopened.get(&id).cloned();
            let why = Refusal::Invalid(why.unwrap_or_else(|| "the session is not open".to_owned()));
            let refused = WorkerMessage::Refused { session: id, generation, why };
            // That the connection has ended is noticed by whoever reads from it.
            let _ = leader.send(encode(&refused), Vec::new());
            return;
        };
        let refuse = |session: &Session, why| {
            session.tell(&WorkerMessage::Refused { session: id, generation, why });
        };
        let draft = match session.draft(prepare, self.device.node()) {
            Ok(draft) => draft,
            Err(error) => return refuse(session, Refusal::Invalid(error)),
        };
        let demand = demand(&session.graph, &draft.program);
        let weights = demand.weights.values().copied().sum::<Bytes>();
        if let Err(short) = self.worker.prepare(id, generation, demand) {
            let (needed, available) = (short.needed, short.available);
            return refuse(session, Refusal::Memory { needed, available });
        }
        // Half of what is left may go into larger forms of the weights; a next plan has the rest.
        let memory = weights + Bytes(self.worker.free().0 / 2);
        let preparation = session.begin(draft, self.device.hello.isa, memory);
        for member in session.to_dial(generation, self.device.node()) {
            self.dial(id, member, context);
        }
        let address = context.address();
        let run = move || {
            let progress = |have, need| {
                address.do_send(Progressed { session: id, generation, have, need });
            };
            let result = preparation.run(&progress).map(Arc::new);
            address.do_send(Packed { session: id, generation, result });
        };
        let spawned = thread::Builder::new().name("edgeld-prepare".to_owned()).spawn(run);
        if let (Err(error), Some(session)) = (spawned, self.sessions.get(&id)) {
            refuse(session, Refusal::Invalid(error.to_string()));
        }
    }

    fn dial(&self, session: SessionId, member: Member, context: &mut Context<Self>) {
        let (network, address) = (self.network.clone(), context.address());
        self.network.spawn(async move {
            let Member { node, addresses, .. } = member;
            let dialled = network.dial_any(&addresses, node, Purpose::Strips(session)).await;
            let connection = dialled.map_err(|error| error.to_string());
            address.do_send(Dialled { session, node, connection });
        });
    }

    fn hand_over(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for (generation, stages) in session.hand_over() {
            self.event(WorkerEvent::Program { generation, stages });
        }
    }

    fn close(&mut self, id: SessionId, reason: &str) {
        self.worker.close(id);
        let Some(mut session) = self.sessions.remove(&id) else { return };
        session.close();
        let (leader, reason) = (session.leader.clone(), reason.to_owned());
        self.event(WorkerEvent::SessionClosed { leader, reason });
    }

    fn tick(&mut self, _: &mut Context<Self>) {
        let now = self.device.clock.now();
        self.watch.tick(now);
        for control in self.controls.values() {
            let heard = self.device.clock.at(control.last_heard());
            if self.watch.liveness(heard) == Liveness::Lost {
                control.cut("the leader has been silent for too long");
            }
        }
        self.parked.retain(|(since, ..)| now.since(*since) < PARKED.0);
        if now.since(self.noted) >= NOTE {
            self.noted = now;
            for session in self.sessions.values() {
                session.progress().iter().for_each(|message| session.tell(message));
            }
        }
    }
}
