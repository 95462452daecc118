//! The handles of the public API; they start the actors and talk to them.
//!
//! A [`Builder`] discovers a [`Cluster`], which loads a [`Model`]; a [`Worker`] offers this device.
//! The rooms below are wired together only here. Called by users of the library and by the command
//! line. It never decides anything about devices, plans or frames.

mod actor_thread;
mod builder;
mod handle;
#[cfg(test)]
mod hint_tests;
mod model;
#[cfg(test)]
mod tests;
mod worker;

pub use actor_thread::ACTOR_THREAD;
pub use builder::Builder;
pub use handle::Cluster;
pub use model::Model;
pub use worker::{Worker, WorkerOptions};
