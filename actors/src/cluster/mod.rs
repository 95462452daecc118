//! The handles of the library's face: they start the actors and wait for them.
//!
//! A [`Cluster`] is discovered with a [`Builder`] and loads a [`Model`]; a [`Worker`] offers this
//! device. The rooms below are wired together here and nowhere else. Called by users of the library
//! and by the command line; it never decides anything about devices, plans or frames.

mod actor_thread;
mod builder;
mod handle;
mod model;
#[cfg(test)]
mod tests;
mod worker;

pub use builder::Builder;
pub use handle::Cluster;
pub use model::Model;
pub use worker::{Worker, WorkerOptions};
