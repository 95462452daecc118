//! What a device has promised its leaders, and what it keeps beyond that.
//!
//! A device may serve several leaders. Each session is charged for the weights of its plans and
//! for their working memory; blocks of weights that several of its plans have in common are charged
//! once, as the kernels share them. A plan that does not fit is refused, with both numbers.
//!
//! A plan that is retired still takes memory, until the last thread that uses it is done. And packed
//! weights are kept for the plans that follow: those of the last plan, and those that a leader
//! [wants to find ready](Worker::stand_by). None of that is a reason to refuse a plan. But it does not
//! begin to be prepared before [it fits](Worker::fits); what is kept is given up for it.
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
//! let demand = Demand { blocks: BTreeMap::new(), working: Bytes(600) };
//! assert_eq!(worker.prepare(session, Generation(1), demand.clone()), Ok(()));
//! assert_eq!(
//!     worker.prepare(session, Generation(2), demand.clone()),
//!     Err(OutOfMemory { needed: Bytes(600), available: Bytes(400) })
//! );
//! worker.retire(session, Generation(1));
//! assert_eq!(worker.prepare(session, Generation(2), demand), Ok(()));
//! assert!(!worker.fits());
//! worker.released(session, Generation(1));
//! assert!(worker.fits());
//! ```

use std::collections::BTreeMap;

use crate::graph::BlockId;
use crate::ids::{NodeId, SessionId};
use crate::plan::Generation;
use crate::units::Bytes;

/// Blocks of packed weights, and the bytes of each.
type Blocks = BTreeMap<BlockId, Bytes>;

/// What a plan takes of a device's memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Demand {
    /// Packed weights.
    pub blocks: BTreeMap<BlockId, Bytes>,
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

/// All sessions of a device.
#[derive(Debug, Clone)]
pub struct Worker {
    limit: Bytes,
    sessions: BTreeMap<SessionId, Session>,
    /// Plans of closed sessions whose memory is still in use.
    closed: BTreeMap<(SessionId, Generation), Demand>,
}

#[derive(Debug, Clone)]
struct Session {
    leader: NodeId,
    plans: BTreeMap<Generation, Demand>,
    /// Retired plans whose memory is still in use.
    retired: BTreeMap<Generation, Demand>,
    /// The weights of the last plan that was packed.
    last: Blocks,
    /// Weights for plans that may follow.
    standby: Blocks,
}

impl Session {
    /// Bytes of plans, and of blocks that are there in any case.
    fn bytes<'a>(
        plans: impl Iterator<Item = &'a Demand>,
        kept: impl Iterator<Item = &'a Blocks>,
    ) -> Bytes {
        let (mut all, mut working) = (Blocks::new(), Bytes::ZERO);
        kept.for_each(|blocks| all.extend(blocks));
        for Demand { blocks, working: bytes } in plans {
            all.extend(blocks);
            working += *bytes;
        }
        all.into_values().sum::<Bytes>() + working
    }

    fn promised(&self) -> Bytes {
        Self::bytes(self.plans.values(), std::iter::empty())
    }

    fn held(&self) -> Bytes {
        let plans = self.plans.values().chain(self.retired.values());
        Self::bytes(plans, [&self.last, &self.standby].into_iter())
    }
}

impl Worker {
    /// A device that may use `limit` bytes.
    pub fn new(limit: Bytes) -> Worker {
        Worker { limit, sessions: BTreeMap::new(), closed: BTreeMap::new() }
    }

    /// Opens a session; if it is open already, it starts afresh.
    pub fn open(&mut self, session: SessionId, leader: NodeId) {
        self.close(session);
        let (plans, retired) = (BTreeMap::new(), BTreeMap::new());
        let (last, standby) = (Blocks::new(), Blocks::new());
        self.sessions.insert(session, Session { leader, plans, retired, last, standby });
    }

    /// Promises the memory of a plan. It may only be taken once [all fits](Worker::fits). Replaces what
    /// was promised for the plan before.
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
        let before = entry.promised();
        let replaced = entry.plans.insert(generation, demand);
        let needed = entry.promised().saturating_sub(before);
        if needed > free {
            match replaced {
                Some(replaced) => drop(entry.plans.insert(generation, replaced)),
                None => drop(entry.plans.remove(&generation)),
            }
            return Err(OutOfMemory { needed, available: free });
        }
        Ok(())
    }

    /// Whether a plan is prepared, or about to be.
    pub fn knows(&self, session: SessionId, generation: Generation) -> bool {
        let entry = self.sessions.get(&session);
        entry.is_some_and(|entry| entry.plans.contains_key(&generation))
    }

    /// The weights of a plan are packed, into these blocks. They are kept, in place of those of the last
    /// plan, also when the plan is retired.
    pub fn packed(
        &mut self,
        session: SessionId,
        generation: Generation,
        blocks: BTreeMap<BlockId, Bytes>,
    ) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        if let Some(demand) = entry.plans.get_mut(&generation) {
            demand.blocks.clone_from(&blocks);
            if !blocks.is_empty() {
                entry.last = blocks;
            }
        }
    }

    /// Whether a session has a block packed, or will have.
    pub fn has(&self, session: SessionId, block: &BlockId) -> bool {
        self.sessions.get(&session).is_some_and(|entry| {
            let mut plans = entry.plans.values();
            entry.last.contains_key(block)
                || entry.standby.contains_key(block)
                || plans.any(|demand| demand.blocks.contains_key(block))
        })
    }

    /// Reserves memory for packed weights that plans to come may need, in place of those of the last
    /// call: as many of `plans`, in this order, as there is room for. Returns how many.
    pub fn stand_by(
        &mut self,
        session: SessionId,
        plans: impl IntoIterator<Item = BTreeMap<BlockId, Bytes>>,
    ) -> usize {
        let limit = self.limit;
        let mut reserved = 0;
        self.set_standby(session, Blocks::new());
        for plan in plans {
            let Some(entry) = self.sessions.get(&session) else { break };
            let before = entry.standby.clone();
            let mut more = before.clone();
            more.extend(plan);
            self.set_standby(session, more);
            if self.held() > limit {
                self.set_standby(session, before);
                break;
            }
            reserved += 1;
        }
        reserved
    }

    fn set_standby(&mut self, session: SessionId, blocks: Blocks) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.standby = blocks;
        }
    }

    /// Whether there is room for all that is promised, beside what is in use. If not, wait until what
    /// is retired [is released](Worker::released), and [give up](Worker::give_up) what is kept.
    pub fn fits(&self) -> bool {
        self.held() <= self.limit
    }

    /// Gives up the weights that are kept beside those of plans; returns the sessions that kept some.
    pub fn give_up(&mut self) -> Vec<SessionId> {
        let mut keepers = Vec::new();
        for (id, session) in &mut self.sessions {
            let (last, standby) =
                (std::mem::take(&mut session.last), std::mem::take(&mut session.standby));
            if !last.is_empty() || !standby.is_empty() {
                keepers.push(*id);
            }
        }
        keepers
    }

    /// Ends a plan. Its memory is in use until it [is released](Worker::released).
    pub fn retire(&mut self, session: SessionId, generation: Generation) {
        let Some(entry) = self.sessions.get_mut(&session) else { return };
        if let Some(demand) = entry.plans.remove(&generation)
            && demand != Demand::default()
        {
            entry.retired.insert(generation, demand);
        }
    }

    /// A plan no longer takes any memory, retired or not.
    pub fn released(&mut self, session: SessionId, generation: Generation) {
        self.closed.remove(&(session, generation));
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.retired.remove(&generation);
            if let Some(demand) = entry.plans.get_mut(&generation) {
                *demand = Demand::default();
            }
        }
    }

    /// Closes a session; returns its leader.
    pub fn close(&mut self, session: SessionId) -> Option<NodeId> {
        let Session { leader, plans, retired, .. } = self.sessions.remove(&session)?;
        let plans = plans.into_iter().filter(|(_, demand)| *demand != Demand::default());
        let in_use = plans.chain(retired);
        self.closed.extend(in_use.map(|(generation, demand)| ((session, generation), demand)));
        Some(leader)
    }

    /// Memory that is promised, in use or kept.
    pub fn held(&self) -> Bytes {
        let sessions = self.sessions.values().map(Session::held);
        sessions.sum::<Bytes>() + Session::bytes(self.closed.values(), std::iter::empty())
    }

    /// Memory that is not promised.
    pub fn free(&self) -> Bytes {
        let promised = self.sessions.values().map(Session::promised);
        self.limit.saturating_sub(promised.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{DType, Form, LayerId};

    const SESSION: SessionId = SessionId(1);
    const ONE: Generation = Generation(1);
    const TWO: Generation = Generation(2);

    /// The weights of some features.
    fn blocks(start: u32, end: u32) -> Blocks {
        let (layer, form, dtype) = (LayerId(0), Form::Cells, DType::F32);
        let blocks = (start..end).step_by(16);
        blocks.map(|first| (BlockId { layer, first, form, dtype }, bytes(1))).collect()
    }

    /// The bytes of so many blocks.
    fn bytes(count: u64) -> Bytes {
        Bytes(count * 100)
    }

    fn demand(start: u32, end: u32) -> Demand {
        Demand { blocks: blocks(start, end), working: Bytes(1) }
    }

    /// A worker with room for so many blocks and four plans.
    fn opened(count: u64) -> Worker {
        let mut worker = Worker::new(bytes(count) + Bytes(4));
        worker.open(SESSION, NodeId(9));
        worker
    }

    #[test]
    fn plans_of_a_session_share_their_blocks() {
        let mut worker = opened(3);
        worker.prepare(SESSION, ONE, demand(0, 32)).unwrap();
        worker.prepare(SESSION, TWO, demand(16, 48)).unwrap();
        assert_eq!(worker.held(), bytes(3) + Bytes(2));
        let short = worker.prepare(SESSION, Generation(3), demand(16, 64)).unwrap_err();
        assert_eq!(short, OutOfMemory { needed: bytes(1) + Bytes(1), available: Bytes(2) });
        worker.prepare(SESSION, TWO, demand(16, 32)).unwrap();
        assert_eq!(worker.free(), bytes(1) + Bytes(2));
    }

    #[test]
    fn two_leaders_share_one_limit_but_no_blocks() {
        let mut worker = opened(3);
        worker.prepare(SESSION, ONE, demand(0, 32)).unwrap();
        worker.open(SessionId(2), NodeId(8));
        let short = worker.prepare(SessionId(2), ONE, demand(0, 32)).unwrap_err();
        assert_eq!(
            short,
            OutOfMemory { needed: bytes(2) + Bytes(1), available: bytes(1) + Bytes(3) }
        );
        assert_eq!(worker.close(SESSION), Some(NodeId(9)));
        worker.prepare(SessionId(2), TWO, demand(0, 32)).unwrap();
        assert!(!worker.fits(), "a thread of the closed session may still use its plan");
        worker.released(SESSION, ONE);
        assert!(worker.fits());
    }

    #[test]
    fn what_a_retired_plan_takes_is_in_use_until_it_is_released() {
        let mut worker = opened(2);
        worker.prepare(SESSION, ONE, demand(0, 32)).unwrap();
        worker.retire(SESSION, ONE);
        assert_eq!((worker.free(), worker.held()), (bytes(2) + Bytes(4), bytes(2) + Bytes(1)));
        worker.prepare(SESSION, TWO, demand(32, 64)).unwrap();
        assert!(!worker.fits());
        worker.released(SESSION, ONE);
        assert!(worker.fits());
        // One that could not be prepared has no memory, but is not over.
        worker.released(SESSION, TWO);
        assert!(worker.knows(SESSION, TWO));
        worker.close(SESSION);
        assert_eq!(worker.held(), Bytes::ZERO);
    }

    #[test]
    fn packed_weights_are_kept_until_there_is_no_room_for_them() {
        let mut worker = opened(3);
        worker.prepare(SESSION, ONE, demand(0, 16)).unwrap();
        worker.packed(SESSION, ONE, blocks(0, 16));
        let plans = || [blocks(0, 32), blocks(16, 48), blocks(48, 64)];
        assert_eq!(worker.stand_by(SESSION, plans()), 2);
        worker.retire(SESSION, ONE);
        worker.released(SESSION, ONE);
        assert_eq!(worker.held(), bytes(3));
        worker.prepare(SESSION, TWO, demand(32, 64)).unwrap();
        assert!(!worker.fits());
        assert_eq!(worker.give_up(), [SESSION]);
        assert!(worker.fits());
        assert_eq!(worker.stand_by(SESSION, plans()), 0);
        assert_eq!(worker.held(), bytes(2) + Bytes(1));
    }
}
