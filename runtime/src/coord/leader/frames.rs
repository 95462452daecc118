//! The frames of a session: waiting in order, in flight, or done and waiting for earlier ones.

use std::collections::{BTreeSet, VecDeque};

use crate::coord::Moment;
use crate::plan::Generation;

/// A frame fails for good when it has caused this many errors.
const MAX_ERRORS: u32 = 3;

/// A frame that has been restarted this often runs on the leader alone, where nobody else's loss can
/// touch it. So does one that would fail for good with its next error.
const MAX_RETRIES: u32 = 3;

#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) number: u64,
    /// How often it was restarted.
    pub(super) retries: u32,
    errors: u32,
}

impl Frame {
    /// Whether it has had enough of other devices.
    fn needs_shelter(&self) -> bool {
        self.retries >= MAX_RETRIES || self.errors + 1 >= MAX_ERRORS
    }
}

#[derive(Debug, Clone, Copy)]
struct Running {
    frame: Frame,
    generation: Generation,
    started: Moment,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Frames {
    /// In the order of their numbers.
    waiting: VecDeque<Frame>,
    running: Vec<Running>,
    /// Done, but not answered before those with smaller numbers.
    done: BTreeSet<u64>,
}

impl Frames {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty() && self.done.is_empty()
    }

    pub(super) fn submit(&mut self, number: u64) {
        self.waiting.push_back(Frame { number, retries: 0, errors: 0 });
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the next frame is to run on the leader alone.
    pub(super) fn next_needs_shelter(&self) -> bool {
        self.waiting.front().is_some_and(Frame::needs_shelter)
    }

    /// Whether any frame that waits or runs is to run on the leader alone.
    pub(super) fn need_shelter(&self) -> bool {
        let running = self.running.iter().map(|run| &run.frame);
        self.waiting.iter().chain(running).any(Frame::needs_shelter)
    }

    /// Whether any frame that waits or runs was begun before, in vain.
    pub(super) fn are_disturbed(&self) -> bool {
        let running = self.running.iter().map(|run| &run.frame);
        self.waiting.iter().chain(running).any(|frame| frame.retries > 0)
    }

    /// Starts the next frame.
    pub(super) fn start(&mut self, now: Moment, generation: Generation) -> Option<u64> {
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

    /// Marks a frame as done, if it ran under that generation.
    pub(super) fn finish(&mut self, number: u64, generation: Generation) -> Option<Frame> {
        let is = |run: &Running| run.frame.number == number && run.generation == generation;
        let at = self.running.iter().position(is)?;
        self.done.insert(number);
        Some(self.running.remove(at).frame)
    }

    /// Takes out the frames that are done and behind no other, in order.
    pub(super) fn answer(&mut self) -> impl Iterator<Item = u64> + use<> {
        let waiting = self.waiting.front().map(|frame| frame.number);
        let running = self.running.iter().map(|run| run.frame.number);
        let behind = match running.chain(waiting).min() {
            Some(first) => self.done.split_off(&first),
            None => BTreeSet::new(),
        };
        std::mem::replace(&mut self.done, behind).into_iter()
    }

    /// Takes out the frames of a generation.
    pub(super) fn recall(&mut self, generation: Generation) -> Vec<Frame> {
        let (back, stay): (Vec<Running>, Vec<Running>) =
            self.running.drain(..).partition(|run| run.generation == generation);
        self.running = stay;
        back.into_iter().map(|run| run.frame).collect()
    }

    /// Puts a frame back in the queue, before those with larger numbers; if it has failed for good,
    /// returns the number of attempts and the error instead. Only its own errors do that: whatever
    /// happens to devices, a frame goes on until it is answered.
    pub(super) fn requeue(
        &mut self,
        mut frame: Frame,
        error: Option<&str>,
    ) -> Option<(u32, String)> {
        frame.retries += 1;
        if let Some(error) = error {
            frame.errors += 1;
            if frame.errors >= MAX_ERRORS {
                return Some((frame.retries, error.to_owned()));
            }
        }
        let place = self.waiting.partition_point(|other| other.number < frame.number);
        self.waiting.insert(place, frame);
        None
    }

    pub(super) fn drain_waiting(&mut self) -> impl Iterator<Item = Frame> {
        self.waiting.drain(..)
    }

    /// All frames that are not done, those in flight first.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Frame> {
        self.running.drain(..).map(|run| run.frame).chain(self.waiting.drain(..))
    }
}
