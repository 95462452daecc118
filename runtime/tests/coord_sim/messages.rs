//! What simulated processes send each other.

use std::rc::Rc;

use edgeld_runtime::coord::leader::Lane;
use edgeld_runtime::ids::{Incarnation, NodeId};
use edgeld_runtime::plan::Generation;
use edgeld_runtime::program::{Derivation, TransferId};
use edgeld_runtime::units::Bytes;

/// A plan and what follows from it.
#[derive(Debug)]
pub struct Planned {
    pub lane: Lane,
    pub derivation: Derivation,
    /// By place in the plan.
    pub incarnations: Vec<Incarnation>,
}

/// A message.
#[derive(Debug, Clone)]
pub enum Message {
    // To a worker.
    Open,
    Prepare(Generation, Rc<Planned>),
    Abort(Generation, u64),
    Retire(Generation),
    Inspect(Generation, u64),
    Disconnect(NodeId, Incarnation),
    // To the leader.
    Progress(Generation, Bytes),
    Ready(Generation),
    /// Refused, and why.
    Refused(Generation, String),
    /// Lost its connection to a device, or cannot connect.
    LinkDown(Generation, NodeId),
    Failed(Generation, u64),
    Inspected(Generation, u64, Vec<TransferId>, Vec<TransferId>),
    Leaving,
    // Between workers. What the rows come from travels with them.
    Strip(Generation, u64, TransferId, Provenance),
    /// The other end is closed.
    End,
}

/// Which frame, under which plan, rows were computed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provenance {
    pub generation: Generation,
    pub frame: u64,
}

impl Message {
    /// How long it is on the wire.
    pub fn bytes(&self) -> u64 {
        match self {
            Message::Strip(..) => 20_000,
            _ => 100,
        }
    }
}
