//! Does a device's work for leaders, on every device, including the leader itself.
//!
//! A [`WorkerActor`] accepts connections and decides with `coord::worker`. Each plan is prepared on
//! a thread of its own (`preparation`), each session's frames run on an [`executor`] thread, and
//! layers are computed by the device's [`Pool`]. Only `pipeline` (for sessions hosted here) and
//! `cluster` send to the actor; everyone else reaches it over the network. It never plans, and
//! never computes on the actor's thread.
//!
//! ```text
//! connection -> readers -> actor -> session -> preparation (weights, packing)
//!                    \______________________-> executor (frames) -> compute (layers)
//! ```

mod actor;
mod benchmark;
mod claim;
mod compute;
mod device;
mod executor;
mod guests;
mod handlers;
mod links;
mod messages;
mod pace;
mod patience;
mod preparation;
mod preparations;
mod readers;
mod session;
mod standby;
mod suppliers;
#[cfg(test)]
mod tests;

pub(crate) use actor::WorkerActor;
pub use compute::{Pool, panic_text};
pub(crate) use device::{Device, DeviceOptions};
pub(crate) use messages::{
    CloseSessions, FrameOutputs, HostSession, Leave, ReleaseSession, StartFrame,
};
pub use pace::{InvalidPace, Pace};
pub(crate) use readers::accept;
