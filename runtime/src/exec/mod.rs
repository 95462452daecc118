//! The one executor: runs any program, frame by frame.
//!
//! A [`Prepared`] is what a device holds of one plan: its program and its packed weights. Every
//! frame is a [`Frame`], which owns the frame's buffers. Strips are delivered to it as they come;
//! [`Frame::advance`] runs the first step that is ready, until it waits for a strip or is done.
//! There is no clock, thread or socket in here: the caller brings them.
//!
//! [`local`] runs all devices of a plan in one thread, strips through the wire format: the
//! reference for tests, and an example of how the pieces meet.

mod error;
mod frame;
mod fused;
mod input;
pub mod local;
mod prepared;
pub mod strip;

pub use error::ExecError;
pub use frame::{Frame, Outgoing, Progress};
pub use input::Input;
pub use prepared::Prepared;
