//! The executor: runs any program, frame by frame.
//!
//! [`Prepared`] is what a device holds of one plan: its program and its packed weights. A [`Frame`]
//! is one frame on its way through the program, with its buffers. Strips are delivered to it as
//! they arrive; [`Frame::advance`] runs the first step that is ready, and says when it has to wait
//! for a strip or is done. The caller brings clock, threads and sockets.
//!
//! [`local`] runs all devices of a plan in one thread and sends strips through the wire format. It
//! is the reference for tests and shows how the pieces fit together.

mod elements;
mod error;
mod frame;
mod fused;
mod input;
pub mod local;
mod prepared;
mod strip;

pub use error::ExecError;
pub use frame::{Frame, Outgoing, Progress, awaits, owes};
pub use input::{Input, TensorData, TensorError};
pub use prepared::Prepared;
