//! The worker's handlers for reports from peers, threads and executors.

use std::collections::BTreeSet;

use actix::prelude::*;
use edgeld_runtime::coord::worker::session::{ConnectionId, Event as LinkEvent};
use edgeld_runtime::wire::{SessionId, WorkerMessage};
use tokio::sync::oneshot;

use super::actor::{WorkerActor, say_leaving};
use super::executor::{Job, Report};
use super::messages::{
    CloseSessions, ControlEnded, Dialled, ExecutorReported, FrameOutputs, HostSession, Leave,
    PreparationDone, ReleaseSession, Released, StandbyReported, StartFrame, StripsEnded,
    WeightsProgress,
};
use super::session::Session;

impl Handler<ControlEnded> for WorkerActor {
    type Result = ();

    fn handle(&mut self, ControlEnded { control_id, why }: ControlEnded, _: &mut Self::Context) {
        self.controls.remove(&control_id);
        let ended: BTreeSet<SessionId> = self
            .sessions
            .values()
            .filter(|session| session.control_id == control_id)
            .map(|session| session.id)
            .collect();
        ended.into_iter().for_each(|session| self.close(session, &why));
    }
}

impl Handler<Leave> for WorkerActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Leave, _: &mut Self::Context) -> Self::Result {
        self.controls.values().for_each(say_leaving);
        let (sender, drained) = oneshot::channel();
        self.leaving.get_or_insert_default().push(sender);
        self.leave_if_drained();
        // If the actor ends, nothing runs here either.
        Box::pin(async { drop(drained.await) })
    }
}

impl WorkerActor {
    /// Answers those that wait for all plans to end.
    pub(super) fn leave_if_drained(&mut self) {
        let Some(waiting) = &mut self.leaving else { return };
        if self.sessions.values().all(Session::is_idle) {
            // Whoever waited may be gone.
            for sender in waiting.drain(..) {
                let _ = sender.send(());
            }
        }
    }
}

impl Handler<CloseSessions> for WorkerActor {
    type Result = ();

    fn handle(&mut self, _: CloseSessions, _: &mut Self::Context) {
        let all: Vec<SessionId> = self.sessions.keys().copied().collect();
        all.into_iter().for_each(|session| self.close(session, "the worker was stopped"));
    }
}

impl Handler<StripsEnded> for WorkerActor {
    type Result = ();

    fn handle(&mut self, ended: StripsEnded, context: &mut Self::Context) {
        let StripsEnded { session: id, connection_id, why } = ended;
        let connection = ConnectionId(connection_id);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.remove_strips(connection);
        }
        self.handle_links(id, LinkEvent::Ended(connection), &why, context);
    }
}

impl Handler<Dialled> for WorkerActor {
    type Result = ();

    fn handle(&mut self, dialled: Dialled, context: &mut Self::Context) {
        let Dialled { session: id, node, connection } = dialled;
        match connection {
            Ok(connection) => self.attach(id, connection, context),
            Err(error) => {
                self.handle_links(id, LinkEvent::DialFailed { node, error }, "", context);
            }
        }
    }
}

impl Handler<HostSession> for WorkerActor {
    type Result = ();

    fn handle(&mut self, host: HostSession, _: &mut Self::Context) {
        self.hosted.insert(host.session, host);
    }
}

impl Handler<ReleaseSession> for WorkerActor {
    type Result = ();

    fn handle(&mut self, ReleaseSession(session): ReleaseSession, _: &mut Self::Context) {
        self.hosted.remove(&session);
        self.close(session, "the leader closed the session");
    }
}

impl Handler<StartFrame> for WorkerActor {
    type Result = ();

    fn handle(&mut self, start: StartFrame, _: &mut Self::Context) {
        let StartFrame { session, generation, frame, inputs } = start;
        if let Some(session) = self.sessions.get(&session) {
            session.executor.send(Job::StartFrame { generation, frame, inputs });
        }
    }
}

impl Handler<WeightsProgress> for WorkerActor {
    type Result = ();

    fn handle(&mut self, progress: WeightsProgress, _: &mut Self::Context) {
        let WeightsProgress { session: id, generation, progress } = progress;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.record_progress(generation, progress);
        }
    }
}

impl Handler<PreparationDone> for WorkerActor {
    type Result = ();

    fn handle(&mut self, done: PreparationDone, context: &mut Self::Context) {
        let PreparationDone { session: id, generation, result } = done;
        self.preparation_ended(id, context);
        if !self.worker.knows(id, generation) {
            return;
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        match result {
            Ok(prepared) => {
                self.worker.packed(id, generation, prepared.kernels.blocks());
                session.preparation_done(generation, prepared);
                self.handle_links(id, LinkEvent::Packed(generation), "", context);
            }
            Err(why) => session.send(&WorkerMessage::Refused { session: id, generation, why }),
        }
    }
}

impl Handler<Released> for WorkerActor {
    type Result = ();

    fn handle(&mut self, released: Released, context: &mut Self::Context) {
        self.memory_released((released.session, released.generation), context);
    }
}

impl Handler<StandbyReported> for WorkerActor {
    type Result = ();

    fn handle(&mut self, reported: StandbyReported, _: &mut Self::Context) {
        if let Some(session) = self.sessions.get_mut(&reported.session) {
            session.standby_reported(reported.set, reported.step);
        }
    }
}

impl Handler<ExecutorReported> for WorkerActor {
    type Result = ();

    fn handle(
        &mut self,
        ExecutorReported { session: id, report }: ExecutorReported,
        _: &mut Self::Context,
    ) {
        let Some(session) = self.sessions.get(&id) else { return };
        match report {
            Report::Answered { generation, frame, outputs } => {
                if let Some(host) = self.hosted.get(&id) {
                    host.answers.do_send(FrameOutputs { generation, frame, outputs });
                }
            }
            Report::Finished { generation, frame, times, steps } => {
                session.send(&WorkerMessage::Finished {
                    session: id,
                    generation,
                    frame,
                    times,
                    steps,
                });
            }
            Report::Inspected { generation, frame, awaits, owes } => {
                session.send(&WorkerMessage::Inspected {
                    session: id,
                    generation,
                    frame,
                    awaits,
                    owes,
                });
            }
            Report::Failed { generation, frame, error } => {
                session.send(&WorkerMessage::Failed { session: id, generation, frame, error });
            }
        }
    }
}
