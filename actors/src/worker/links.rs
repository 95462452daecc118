//! Carries out what [`coord::worker::session`](edgeld_runtime::coord::worker::session) decides: opens
//! and ends connections for strips, starts plans, tells the leader.

use std::collections::BTreeMap;

use actix::prelude::*;
use edgeld_runtime::coord::liveness::Liveness;
use edgeld_runtime::coord::worker::session::{Command, ConnectionId, Event};
use edgeld_runtime::plan::Generation;
use edgeld_runtime::wire::{Member, NodeId, Purpose, Refusal, SessionId, WorkerMessage};

use super::actor::WorkerActor;
use super::messages::{Dialled, StandbyReported};
use crate::api::WorkerEvent;

impl WorkerActor {
    /// Passes an event to a session's connections and performs the commands. `why` says in words why
    /// a connection ended, if one did.
    pub(super) fn handle_links(
        &mut self,
        id: SessionId,
        event: Event,
        why: &str,
        context: &mut Context<Self>,
    ) {
        let now = self.device.clock.now();
        let Some(session) = self.sessions.get_mut(&id) else { return };
        for command in session.links.handle(now, event) {
            match command {
                Command::Dial(node) => self.dial(id, node, context),
                Command::Cut(connection) => self.cut(id, connection),
                Command::Start { generation, routes } => {
                    self.start_plan(id, generation, &routes, context);
                }
                Command::Refuse { generation, peer, error } => {
                    let why = Refusal::Unreachable { peer, error };
                    self.tell(id, &WorkerMessage::Refused { session: id, generation, why });
                }
                Command::LinkDown { generation, peer } => {
                    let error = why.to_owned();
                    let down = WorkerMessage::LinkDown { session: id, generation, peer, error };
                    self.tell(id, &down);
                }
            }
        }
    }

    fn dial(&self, id: SessionId, node: NodeId, context: &mut Context<Self>) {
        let member = self.sessions.get(&id).and_then(|session| session.member(node));
        let Some(Member { node, addresses, .. }) = member else { return };
        let (network, address) = (self.network.clone(), context.address());
        self.network.spawn(async move {
            let dialled = network.dial_any(&addresses, node, Purpose::Strips(id)).await;
            let connection = dialled.map_err(|error| error.to_string());
            address.do_send(Dialled { session: id, node, connection });
        });
    }

    fn cut(&mut self, id: SessionId, connection: ConnectionId) {
        let session = self.sessions.get_mut(&id);
        if let Some(sender) = session.and_then(|session| session.remove_strips(connection)) {
            sender.abort("the device at the other end is gone");
        }
    }

    fn start_plan(
        &mut self,
        id: SessionId,
        generation: Generation,
        routes: &BTreeMap<NodeId, ConnectionId>,
        context: &mut Context<Self>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(stages) = session.start(generation, routes) {
            let address = context.address();
            session.check_stored(move |step| {
                address.do_send(StandbyReported { session: id, set: 0, step });
            });
            self.emit(WorkerEvent::Program { generation, stages });
        }
    }

    fn tell(&self, id: SessionId, message: &WorkerMessage) {
        if let Some(session) = self.sessions.get(&id) {
            session.send(message);
        }
    }

    /// Ends connections for strips over which nothing has been heard for too long, and gives up on
    /// those that do not come.
    pub(super) fn watch_links(&mut self, context: &mut Context<Self>) {
        for strips in self.sessions.values().flat_map(|session| session.strips()) {
            if self.liveness(strips) == Liveness::Lost {
                strips.abort("nothing has been heard over it for too long");
            }
        }
        let sessions: Vec<SessionId> = self.sessions.keys().copied().collect();
        for id in sessions {
            self.handle_links(id, Event::Tick, "", context);
        }
    }
}
