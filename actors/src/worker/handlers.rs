//! What the worker does when its peers, threads and executors report.

use std::collections::BTreeSet;

use actix::prelude::*;
use edgeld_runtime::wire::{Refusal, SessionId, WorkerMessage, encode};

use super::WorkerActor;
use super::messages::{
    Answered, Begin, ControlEnded, Dialled, Lead, Leave, Led, Packed, Progressed, Reported,
    StripsEnded,
};
use crate::executor::{Job, Report};

impl Handler<ControlEnded> for WorkerActor {
    type Result = ();

    fn handle(&mut self, ControlEnded { control, why }: ControlEnded, _: &mut Self::Context) {
        self.controls.remove(&control);
        let over: BTreeSet<SessionId> = self
            .sessions
            .values()
            .filter(|session| session.control == control)
            .map(|session| session.id)
            .collect();
        over.into_iter().for_each(|session| self.close(session, &why));
    }
}

impl Handler<Leave> for WorkerActor {
    type Result = ();

    fn handle(&mut self, _: Leave, _: &mut Self::Context) {
        for control in self.controls.values() {
            let _ = control.send(encode(&WorkerMessage::Leaving), Vec::new());
        }
        let all: Vec<SessionId> = self.sessions.keys().copied().collect();
        all.into_iter().for_each(|session| self.close(session, "this worker was stopped"));
    }
}

impl Handler<StripsEnded> for WorkerActor {
    type Result = ();

    fn handle(&mut self, ended: StripsEnded, _: &mut Self::Context) {
        let StripsEnded { session: id, number, node, why } = ended;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if !session.disconnected(number, node) {
            return;
        }
        for generation in session.waiting_for(node) {
            let error = why.clone();
            session.tell(&WorkerMessage::LinkDown { session: id, generation, peer: node, error });
        }
    }
}

impl Handler<Dialled> for WorkerActor {
    type Result = ();

    fn handle(&mut self, dialled: Dialled, context: &mut Self::Context) {
        let Dialled { session: id, node, connection } = dialled;
        match connection {
            Ok(connection) => self.attach(id, connection, context),
            Err(error) => {
                let Some(session) = self.sessions.get_mut(&id) else { return };
                session.dialling.remove(&node);
                for generation in session.waiting_for(node) {
                    let why = Refusal::Unreachable { peer: node, error: error.clone() };
                    session.tell(&WorkerMessage::Refused { session: id, generation, why });
                }
            }
        }
    }
}

impl Handler<Lead> for WorkerActor {
    type Result = ();

    fn handle(&mut self, lead: Lead, _: &mut Self::Context) {
        self.own.insert(lead.session, lead);
    }
}

impl Handler<Led> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Led(session): Led, _: &mut Self::Context) {
        self.own.remove(&session);
        self.close(session, "the leader is done");
    }
}

impl Handler<Begin> for WorkerActor {
    type Result = ();

    fn handle(&mut self, begin: Begin, _: &mut Self::Context) {
        let Begin { session, generation, frame, inputs } = begin;
        if let Some(session) = self.sessions.get(&session) {
            session.executor.order(Job::Begin { generation, frame, inputs });
        }
    }
}

impl Handler<Progressed> for WorkerActor {
    type Result = ();

    fn handle(&mut self, progressed: Progressed, _: &mut Self::Context) {
        let Progressed { session: id, generation, have, need } = progressed;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.progressed(generation, have, need);
        }
    }
}

impl Handler<Packed> for WorkerActor {
    type Result = ();

    fn handle(&mut self, packed: Packed, _: &mut Self::Context) {
        let Packed { session: id, generation, result } = packed;
        if !self.worker.knows(id, generation) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match result {
            Ok(prepared) => {
                session.packed(generation, prepared);
                self.hand_over(id);
            }
            Err(why) => session.tell(&WorkerMessage::Refused { session: id, generation, why }),
        }
    }
}

impl Handler<Reported> for WorkerActor {
    type Result = ();

    fn handle(&mut self, Reported { session: id, report }: Reported, _: &mut Self::Context) {
        let Some(session) = self.sessions.get(&id) else { return };
        match report {
            Report::Answered { generation, frame, outputs } => {
                if let Some(own) = self.own.get(&id) {
                    own.answers.do_send(Answered { generation, frame, outputs });
                }
            }
            Report::Finished { generation, frame, times } => {
                session.tell(&WorkerMessage::Finished { session: id, generation, frame, times });
            }
            Report::Failed { generation, frame, error } => {
                session.tell(&WorkerMessage::Failed { session: id, generation, frame, error });
            }
        }
    }
}
