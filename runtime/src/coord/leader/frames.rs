//! The frames of a session: waiting in order, or in flight.

use std::collections::VecDeque;

use crate::coord::Moment;
use crate::plan::Generation;

/// Frames in flight at once.
const IN_FLIGHT: usize = 1;

/// A frame fails for good when it has caused this many errors.
const MAX_ERRORS: u32 = 3;

/// A frame fails for good when it has been restarted this often, for whatever reason.
const MAX_RETRIES: u32 = 32;

#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) number: u64,
    /// How often it was restarted.
    pub(super) retries: u32,
    errors: u32,
}

#[derive(Debug, Clone, Copy)]
struct Running {
    frame: Frame,
    generation: Generation,
    started: Moment,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Frames {
    waiting: VecDeque<Frame>,
    running: Vec<Running>,
}

impl Frames {
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.running.len()
    }

    pub(super) fn submit(&mut self, number: u64) {
        self.waiting.push_back(Frame { number, retries: 0, errors: 0 });
    }

    /// Starts the next frame, if another may be in flight.
    pub(super) fn start(&mut self, now: Moment, generation: Generation) -> Option<u64> {
        if self.running.len() >= IN_FLIGHT {
            return None;
        }
        let frame = self.waiting.pop_front()?;
        self.running.push(Running { frame, generation, started: now });
        Some(frame.number)
    }

    /// Number, generation and start of every frame in flight.
    pub(super) fn running(&self) -> impl Iterator<Item = (u64, Generation, Moment)> {
        self.running.iter().map(|run| (run.frame.number, run.generation, run.started))
    }

    pub(super) fn is_running(&self, number: u64, generation: Generation) -> bool {
        self.running().any(|(frame, under, _)| frame == number && under == generation)
    }

    /// Takes out a frame that is done, if it ran under that generation.
    pub(super) fn finish(&mut self, number: u64, generation: Generation) -> Option<Frame> {
        let is = |run: &Running| run.frame.number == number && run.generation == generation;
        let at = self.running.iter().position(is)?;
        Some(self.running.remove(at).frame)
    }

    /// Takes out the frames of a generation, last one first.
    pub(super) fn recall(&mut self, generation: Generation) -> Vec<Frame> {
        let (mut back, stay): (Vec<Running>, Vec<Running>) =
            self.running.drain(..).partition(|run| run.generation == generation);
        self.running = stay;
        back.sort_unstable_by_key(|run| std::cmp::Reverse(run.frame.number));
        back.into_iter().map(|run| run.frame).collect()
    }

    /// Puts a frame back at the head of the queue; if it has failed for good, returns the number
    /// of attempts and the error instead.
    pub(super) fn requeue(
        &mut self,
        mut frame: Frame,
        error: Option<&str>,
    ) -> Option<(u32, String)> {
        frame.retries += 1;
        frame.errors += u32::from(error.is_some());
        if frame.errors >= MAX_ERRORS || frame.retries >= MAX_RETRIES {
            let error = error.unwrap_or("devices kept getting lost").to_owned();
            return Some((frame.retries, error));
        }
        self.waiting.push_front(frame);
        None
    }

    pub(super) fn drain_waiting(&mut self) -> impl Iterator<Item = Frame> {
        self.waiting.drain(..)
    }

    /// All frames, those in flight first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Frame> {
        self.running.drain(..).map(|run| run.frame).chain(self.waiting.drain(..))
    }
}
