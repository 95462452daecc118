//! How frames run: started in order, answered once, rerun when their generation is abandoned.

use super::event::{Command, Proposal};
use super::{FRAME_TIMEOUT, FRAME_TIMEOUT_FACTOR, Leader, Live};
use crate::coord::{Moment, Reason};
use crate::ids::NodeId;
use crate::plan::Generation;

impl Leader {
    pub(super) fn submitted(&mut self, frame: u64, out: &mut Vec<Command>) {
        match &self.no_plan {
            Some(why) => out.push(Command::FailFrame { frame, attempts: 0, error: why.clone() }),
            None => self.frames.submit(frame),
        }
    }

    pub(super) fn answered(&mut self, frame: u64, generation: Generation, out: &mut Vec<Command>) {
        let Some(done) = self.frames.finish(frame, generation) else { return };
        out.push(Command::Complete { frame, generation, retries: done.retries });
        if let Some(at) = self.retiring.iter().position(|live| live.generation == generation) {
            let live = self.retiring.remove(at);
            self.retire_when_done(live, out);
        }
    }

    pub(super) fn failed(
        &mut self,
        now: Moment,
        node: NodeId,
        generation: Generation,
        frame: u64,
        error: &str,
        out: &mut Vec<Command>,
    ) {
        if !self.frames.is_running(frame, generation) {
            return;
        }
        let Some(proposal) = self.live(generation).map(|live| live.proposal.clone()) else {
            return;
        };
        self.abandon(generation, Some((frame, error)), out);
        if node != self.me {
            self.back_off(now, node, format!("frame {frame}: {error}"), out);
            self.request_plan(Reason::Lost, out);
        } else if self.active.is_none() && self.preparing.is_none() && self.requested.is_none() {
            if self.is_possible(&proposal) {
                self.prepare(now, proposal, out);
            } else {
                self.request_plan(proposal.reason, out);
            }
        }
    }

    pub(super) fn overdue(&self, now: Moment) -> Option<(u64, Generation)> {
        self.frames.running().find_map(|(frame, generation, started)| {
            let Proposal { predicted, in_flight, .. } = self.live(generation)?.proposal;
            let among = f64::from(in_flight.frames());
            let limit = FRAME_TIMEOUT.max(predicted * (FRAME_TIMEOUT_FACTOR * among));
            (now.since(started) >= limit).then_some((frame, generation))
        })
    }

    /// Retires a generation that cannot go on; its frames are run again under another. `failed` is
    /// the frame that caused the error, if one did: it is tried only a limited number of times.
    pub(super) fn abandon(
        &mut self,
        generation: Generation,
        failed: Option<(u64, &str)>,
        out: &mut Vec<Command>,
    ) {
        let is = |live: &Live| live.generation == generation;
        let live = if let Some(live) = self.preparing.take_if(|live| is(live)) {
            self.deferred = self.deferred.into_iter().chain([live.proposal.reason]).min();
            live
        } else if let Some(live) = self.active.take_if(|live| is(live)) {
            live
        } else if let Some(at) = self.retiring.iter().position(is) {
            self.retiring.remove(at)
        } else {
            return;
        };
        let members = self.present(&live);
        for frame in self.frames.recall(generation) {
            let members = members.clone();
            out.push(Command::Abort { frame: frame.number, generation, members });
            let error = failed.filter(|(number, _)| *number == frame.number).map(|(_, e)| e);
            if let Some((attempts, error)) = self.frames.requeue(frame, error) {
                out.push(Command::FailFrame { frame: frame.number, attempts, error });
            }
        }
        self.retire(live, out);
    }

    pub(super) fn retire_when_done(&mut self, live: Live, out: &mut Vec<Command>) {
        if self.frames.running().any(|(_, generation, _)| generation == live.generation) {
            self.retiring.push(live);
        } else {
            self.retire(live, out);
        }
    }

    pub(super) fn start_frames(&mut self, now: Moment, out: &mut Vec<Command>) {
        let Some(live) = &self.active else { return };
        let (generation, in_flight) = (live.generation, live.proposal.in_flight);
        while let Some(frame) = self.frames.start(now, generation, in_flight) {
            out.push(Command::Start { frame, generation });
        }
    }
}
