//! Why a frame fails.

use crate::kernel::KernelError;
use crate::plan::PlanError;
use crate::program::TransferId;
use crate::wire::{DecodeError, StripError};

/// Why a frame fails.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The plan does not fit the model.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A kernel failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A strip is not what the plan says.
    #[error(transparent)]
    Strip(#[from] StripError),
    /// A header that cannot be decoded.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A strip that this device does not receive under this plan.
    #[error("transfer {} is not for this device", .0.0)]
    Stray(TransferId),
    /// A strip that arrived before.
    #[error("transfer {} arrived twice", .0.0)]
    Twice(TransferId),
    /// The wrong number of inputs.
    #[error("{found} inputs were given, the model has {expected}")]
    InputCount {
        /// Number of inputs given.
        found: usize,
        /// Number of inputs of the model.
        expected: usize,
    },
    /// An input of the wrong size.
    #[error("input {name} has {found} elements, the model takes {expected}")]
    InputSize {
        /// The input's name.
        name: String,
        /// Elements given.
        found: usize,
        /// Elements the model takes.
        expected: u64,
    },
    /// Pixels for an input that takes values, or the reverse.
    #[error("input {name} takes {expected}, not {found}")]
    InputKind {
        /// The input's name.
        name: String,
        /// What was given.
        found: &'static str,
        /// What the session expects.
        expected: &'static str,
    },
    /// A step uses an empty buffer: a bug in the program.
    #[error("step {} uses a buffer that is empty", .0)]
    Missing(usize),
    /// No device has a step that can run, and no strip is on its way: a bug in the plan.
    #[error("all devices wait for each other")]
    Stuck,
}
