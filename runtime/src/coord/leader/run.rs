//! How frames run: started in order, answered once, rerun when their generation is abandoned.

use super::event::{Command, Proposal};
use super::{LOOKAHEAD, Leader, Live};
use crate::coord::{Moment, Reason};
use crate::ids::NodeId;
use crate::plan::Generation;
use crate::units::Ms;

impl Leader {
    pub(super) fn submitted(&mut self, frame: u64, out: &mut Vec<Command>) {
        match &self.no_plan {
            Some(why) => out.push(Command::FailFrame { frame, attempts: 0, error: why.clone() }),
            None => self.frames.submit(frame),
        }
    }

    pub(super) fn answered(&mut self, frame: u64, generation: Generation, out: &mut Vec<Command>) {
        let Some(done) = self.frames.finish(frame, generation) else { return };
        self.inspections.remove(&(generation, frame));
        let members = self.live(generation).map(|live| live.lane.members.clone());
        for node in members.into_iter().flatten() {
            if let Some(presence) = self.devices.get_mut(&node) {
                presence.proven = true;
            }
        }
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
        let Some(Live { lane, reason, .. }) = self.live(generation).cloned() else { return };
        if !lane.members.contains(&node) {
            return;
        }
        self.abandon(generation, Some((frame, error)), out);
        if node != self.me {
            self.back_off(now, node, format!("frame {frame}: {error}"), out);
            self.request_plan(Reason::Lost, out);
        } else if self.preparing.is_none() && self.requested.is_none() {
            let in_flight = lane.in_flight;
            let (provisional, alone) = (false, Ms::ZERO);
            let again = Proposal { lanes: vec![lane], in_flight, reason, provisional, alone };
            // Others may still be active side by side with it.
            let same = self.active.is_none() && !self.needs_shelter();
            if same && self.is_possible(&again) {
                self.prepare(now, again, out);
            } else {
                self.request_plan(reason, out);
            }
        }
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
        if self.preparing.as_ref().is_some_and(|lanes| lanes.live.iter().any(is)) {
            // The lanes that are prepared with it were chosen to run side by side with it.
            self.deferred = self.deferred.into_iter().chain(self.stop_preparing(out)).min();
        }
        self.down.retain(|(of, _), _| *of != generation);
        self.inspections.retain(|(of, _), _| *of != generation);
        let Some(live) = self.take(generation) else { return };
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

    /// Takes out a generation that is active or finishing.
    fn take(&mut self, generation: Generation) -> Option<Live> {
        let is = |live: &Live| live.generation == generation;
        if let Some(lanes) = &mut self.active
            && let Some(at) = lanes.live.iter().position(is)
        {
            let live = lanes.live.remove(at);
            self.active.take_if(|lanes| lanes.live.is_empty());
            return Some(live);
        }
        let at = self.retiring.iter().position(is)?;
        Some(self.retiring.remove(at))
    }

    pub(super) fn retire_when_done(&mut self, live: Live, out: &mut Vec<Command>) {
        if self.frames.running().any(|(_, generation, _)| generation == live.generation) {
            self.retiring.push(live);
        } else {
            self.retire(live, out);
        }
    }

    pub(super) fn start_frames(&mut self, now: Moment, out: &mut Vec<Command>) {
        while let Some(generation) = self.next_lane()
            && let Some(frame) = self.frames.start(now, generation)
        {
            out.push(Command::Start { frame, generation });
        }
    }

    /// The lane for the next frame, if it may start now. One that has been disturbed too often waits
    /// for a lane on the leader alone, if there can be one.
    ///
    /// The frames that wait are handed out, one after the other, to the lane that is predicted to
    /// answer first; the first of them whose lane has room starts, and as frames are all alike it is
    /// the oldest that does. So a lane gets frames in proportion to its speed, and a slow one gets
    /// none that the others will have done sooner.
    fn next_lane(&self) -> Option<Generation> {
        let lanes = self.active.as_ref()?;
        if self.frames.running().count() >= lanes.in_flight.frames() as usize {
            return None;
        }
        let running = |live: &Live| {
            let running = self.frames.running();
            running.filter(|(_, generation, _)| *generation == live.generation).count()
        };
        let sheltered = self.frames.next_needs_shelter() && !self.alone_fails;
        let open = lanes.live.iter().filter(|live| !sheltered || live.is_only_on(self.me));
        let mut queues: Vec<(&Live, usize, usize)> =
            open.map(|live| (live, running(live), 0)).collect();
        for _ in 0..self.frames.waiting().min(LOOKAHEAD) {
            let end = |(live, running, given): &(&Live, usize, usize)| {
                live.lane.predicted.0 + live.lane.interval.0 * (running + given) as f64
            };
            let first = queues.iter_mut().min_by(|a, b| end(a).total_cmp(&end(b)))?;
            let (live, running, given) = first;
            if *running + *given < live.lane.in_flight.frames() as usize {
                return Some(live.generation);
            }
            *given += 1;
        }
        None
    }
}
