//! The one executor: runs any program, frame by frame.
//!
//! A [`Prepared`] is what a device holds of one plan: its program and its packed weights. Every
//! frame is a [`Frame`], which owns the frame's buffers. Strips are delivered to it as they come;
//! [`Frame::advance`] runs the first step that is ready, until it waits for a strip or is done.
//! There is no clock, thread or socket in here: the caller brings them.
//!
//! [`together`] runs all devices of a plan in one thread, strips through the wire format: the
//! reference for tests, and an example of how the pieces meet.

mod frame;
mod fused;
mod input;
mod prepared;
pub mod strip;
pub mod together;

pub use frame::{Frame, Outgoing, Progress};
pub use input::{Input, TensorData, TensorError};
pub use prepared::Prepared;

use crate::kernel::KernelError;
use crate::plan::PlanError;
use crate::program::TransferId;
use crate::wire::{DecodeError, StripError};

/// Why a frame went wrong.
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
    /// A header that is none.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A strip that this device does not receive under this plan.
    #[error("transfer {} is not for this device", .0.0)]
    Stray(TransferId),
    /// A strip that came before.
    #[error("transfer {} came twice", .0.0)]
    Twice(TransferId),
    /// Inputs that are not the model's.
    #[error("{found} inputs were given, the model has {expected}")]
    InputCount {
        /// How many were given.
        found: usize,
        /// How many the model has.
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
    /// Pixels for an input that takes none, or the reverse.
    #[error("input {name} takes {expected}, not {found}")]
    InputKind {
        /// The input's name.
        name: String,
        /// What was given.
        found: &'static str,
        /// What the session says.
        expected: &'static str,
    },
    /// A step wants what is not there: a defect of the program.
    #[error("step {} uses a buffer that is not there", .0)]
    Missing(usize),
    /// No step of any device can run, and no strip is on its way: a defect of the plan.
    #[error("all devices wait for each other")]
    Stuck,
}
