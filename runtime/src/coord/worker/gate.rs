//! Which strips a session takes: its executor may learn of a plan after a peer has begun to send.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::Generation;
use crate::units::Bytes;

/// How many bytes of strips a session may hold for plans that are not prepared yet.
const EARLY_BYTES: Bytes = Bytes(16 << 20);

/// What holding a strip takes beside its payload: many without any take memory, too.
const EARLY_STRIP: Bytes = Bytes(512);

/// What to do with a strip that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// Its plan is prepared.
    Deliver,
    /// Its plan is not prepared yet: keep it.
    Hold,
    /// Its plan is over.
    Drop,
    /// No well-behaved peer sends this: close the connection.
    Close,
}

/// Decides what to do with the strips of one session.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    open: BTreeSet<Generation>,
    /// The newest plan that is over; older ones that are not open are over, too.
    over: Option<Generation>,
    /// Bytes held for plans that are not ready.
    early: BTreeMap<Generation, Bytes>,
}

impl Gate {
    /// A plan is ready to run; what is held for it is delivered.
    pub fn open(&mut self, generation: Generation) {
        self.open.insert(generation);
        self.early.remove(&generation);
    }

    /// A plan is over; what is held for it and older ones is dropped.
    pub fn close(&mut self, generation: Generation) {
        self.open.remove(&generation);
        self.over = self.over.max(Some(generation));
        self.early.retain(|early, _| *early > generation);
    }

    /// What to do with a strip of `bytes`.
    pub fn arrive(&mut self, generation: Generation, bytes: Bytes) -> Arrival {
        if self.open.contains(&generation) {
            return Arrival::Deliver;
        }
        if self.over.is_some_and(|over| generation <= over) {
            return Arrival::Drop;
        }
        let held: Bytes = self.early.values().copied().sum();
        if held + EARLY_STRIP + bytes > EARLY_BYTES {
            return Arrival::Close;
        }
        *self.early.entry(generation).or_default() += EARLY_STRIP + bytes;
        Arrival::Hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_of_unknown_plans_wait_within_a_bound() {
        let mut gate = Gate::default();
        assert_eq!(gate.arrive(Generation(1), Bytes(10)), Arrival::Hold);
        assert_eq!(gate.arrive(Generation(1), EARLY_BYTES), Arrival::Close);
        gate.open(Generation(1));
        assert_eq!(gate.arrive(Generation(1), EARLY_BYTES), Arrival::Deliver);
        gate.close(Generation(1));
        assert_eq!(gate.arrive(Generation(1), Bytes(1)), Arrival::Drop);
        assert_eq!(gate.arrive(Generation(2), Bytes(1)), Arrival::Hold);
    }

    #[test]
    fn strips_without_payload_take_memory_too() {
        let mut gate = Gate::default();
        let held =
            (0..1 << 20).take_while(|_| gate.arrive(Generation(1), Bytes::ZERO) == Arrival::Hold);
        assert!(held.count() <= 1 << 15);
    }

    #[test]
    fn what_was_held_for_a_plan_that_is_over_or_ready_is_forgotten() {
        let half = Bytes(EARLY_BYTES.0 / 2);
        let mut gate = Gate::default();
        assert_eq!(gate.arrive(Generation(1), half), Arrival::Hold);
        gate.close(Generation(1));
        assert_eq!(gate.arrive(Generation(2), half), Arrival::Hold, "given back by retiring");
        gate.open(Generation(3));
        assert_eq!(gate.arrive(Generation(4), half), Arrival::Close, "still held for plan 2");
        gate.open(Generation(2));
        assert_eq!(gate.arrive(Generation(4), half), Arrival::Hold);
    }
}
