//! What a device does for leaders: the same on every device, the leader's own included.
//!
//! A [`WorkerActor`] accepts connections and decides with `coord::worker`; a session's plans are
//! made ready on threads of their own (`preparation`), its frames run on its [`executor`] thread,
//! and layers are computed by the device's [`Pool`]. Only `pipeline` (for the sessions that this
//! device leads) and `cluster` send to the actor; everybody else reaches it over the network. It
//! never plans, and never computes on the actor's thread.
//!
//! ```text
//! connection -> readers -> actor -> session -> preparation (weights, packing)
//!                    \______________________-> executor (frames) -> compute (layers)
//! ```

mod actor;
mod benchmark;
mod compute;
mod device;
mod executor;
mod handlers;
mod messages;
mod preparation;
mod readers;
mod session;

pub(crate) use actor::WorkerActor;
pub use compute::{Pool, panic_text};
pub(crate) use device::{Device, DeviceOptions};
pub(crate) use messages::{FrameOutputs, HostSession, Leave, ReleaseSession, StartFrame};
pub(crate) use readers::accept;
