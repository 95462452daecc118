//! What a device has promised its leaders: sessions, plans, memory; with [`session`], the connections
//! that a plan needs.
//!
//! A device may serve several leaders. Each session is charged for the weights of its plans and
//! for their working memory; weights that several of its plans have in common are charged once, as
//! the kernels share them. A plan that does not fit is refused, with both numbers.
//!
//! ```
//! use std::collections::BTreeMap;
//! use edgeld_runtime::coord::worker::{Demand, OutOfMemory, Worker};
//! use edgeld_runtime::ids::{NodeId, SessionId};
//! use edgeld_runtime::plan::Generation;
//! use edgeld_runtime::units::Bytes;
//! let mut worker = Worker::new(Bytes(1000));
//! let session = SessionId(1);
//! worker.open(session, NodeId(7));
//! let demand = Demand { weights: BTreeMap::new(), working: Bytes(600) };
//! assert_eq!(worker.prepare(session, Generation(1), demand.clone()), Ok(()));
//! assert_eq!(
//!     worker.prepare(session, Generation(2), demand),
//!     Err(OutOfMemory { needed: Bytes(600), available: Bytes(400) })
//! );
//! ```

pub mod session;

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::LayerId;
use crate::ids::{NodeId, SessionId};
use crate::plan::Generation;
use crate::units::Bytes;

/// How many bytes of strips a session may hold for plans that are not prepared yet.
const EARLY_BYTES: Bytes = Bytes(16 << 20);

/// What holding a strip takes beside its payload: many without any take memory, too.
const EARLY_STRIP: Bytes = Bytes(512);

/// What a plan takes of a device's memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    /// Bytes of weights, by layer and range of features (start and end).
    pub weights: BTreeMap<(LayerId, u32, u32), Bytes>,
    /// Bytes of activations and workspace.
    pub working: Bytes,
}

/// Not enough memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory {
    /// What the plan takes beyond what its session holds already.
    pub needed: Bytes,
    /// What is left within the device's limit.
    pub available: Bytes,
}

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

/// All sessions of a device.
#[derive(Debug, Clone)]
pub struct Worker {
    limit: Bytes,
    sessions: BTreeMap<SessionId, Session>,
}

#[derive(Debug, Clone)]
struct Session {
    leader: NodeId,
    plans: BTreeMap<Generation, Demand>,
}

impl Session {
    fn held(&self) -> Bytes {
        let mut weights: BTreeMap<(LayerId, u32, u32), Bytes> = BTreeMap::new();
        for demand in self.plans.values() {
            weights.extend(&demand.weights);
        }
        let working: Bytes = self.plans.values().map(|demand| demand.working).sum();
        weights.into_values().sum::<Bytes>() + working
    }
}

impl Worker {
    /// A device that may use `limit` bytes.
    pub fn new(limit: Bytes) -> Worker {
        Worker { limit, sessions: BTreeMap::new() }
    }

    /// Opens a session; if it is open already, it starts afresh.
    pub fn open(&mut self, session: SessionId, leader: NodeId) {
        let fresh = Session { leader, plans: BTreeMap::new() };
        self.sessions.insert(session, fresh);
    }

    /// Reserves the memory of a plan.
    ///
    /// # Errors
    /// When there is not enough, or no such session.
    pub fn prepare(
        &mut self,
        session: SessionId,
        generation: Generation,
        demand: Demand,
    ) -> Result<(), OutOfMemory> {
        let free = self.free();
        let Some(entry) = self.sessions.get_mut(&session) else {
            return Err(OutOfMemory { needed: demand.working, available: Bytes::ZERO });
        };
        let before = entry.held();
        entry.plans.insert(generation, demand);
        let needed = entry.held().saturating_sub(before);
        if needed > free {
            entry.plans.remove(&generation);
            return Err(OutOfMemory { needed, available: free });
        }
        Ok(())
    }

    /// Whether a plan is prepared.
    pub fn knows(&self, session: SessionId, generation: Generation) -> bool {
        let entry = self.sessions.get(&session);
        entry.is_some_and(|entry| entry.plans.contains_key(&generation))
    }

    /// Releases a plan.
    pub fn retire(&mut self, session: SessionId, generation: Generation) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.plans.remove(&generation);
        }
    }

    /// Closes a session; returns its leader.
    pub fn close(&mut self, session: SessionId) -> Option<NodeId> {
        self.sessions.remove(&session).map(|session| session.leader)
    }

    /// Memory reserved by all sessions.
    pub(crate) fn held(&self) -> Bytes {
        self.sessions.values().map(Session::held).sum()
    }

    /// Memory that is left.
    pub fn free(&self) -> Bytes {
        self.limit.saturating_sub(self.held())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: SessionId = SessionId(1);

    fn demand(weights: &[(u32, u64)], working: u64) -> Demand {
        let weights =
            weights.iter().map(|(layer, bytes)| ((LayerId(*layer), 0, 16), Bytes(*bytes)));
        Demand { weights: weights.collect(), working: Bytes(working) }
    }

    fn opened(limit: u64) -> Worker {
        let mut worker = Worker::new(Bytes(limit));
        worker.open(SESSION, NodeId(9));
        worker
    }

    #[test]
    fn plans_of_a_session_share_their_weights() {
        let mut worker = opened(1_000);
        worker.prepare(SESSION, Generation(1), demand(&[(0, 400), (1, 100)], 50)).unwrap();
        worker.prepare(SESSION, Generation(2), demand(&[(0, 400), (2, 100)], 50)).unwrap();
        assert_eq!(worker.held(), Bytes(700));
        worker.retire(SESSION, Generation(1));
        assert_eq!(worker.held(), Bytes(550));
    }

    #[test]
    fn two_leaders_share_one_limit_and_a_refusal_has_both_numbers() {
        let mut worker = opened(1_000);
        worker.prepare(SESSION, Generation(1), demand(&[(0, 700)], 0)).unwrap();
        worker.open(SessionId(2), NodeId(8));
        let short = worker.prepare(SessionId(2), Generation(1), demand(&[(0, 400)], 10));
        assert_eq!(short, Err(OutOfMemory { needed: Bytes(410), available: Bytes(300) }));
        assert_eq!(worker.close(SESSION), Some(NodeId(9)));
        worker.prepare(SessionId(2), Generation(2), demand(&[(0, 400)], 10)).unwrap();
    }

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
