//! Splits one CNN inference over the devices of a LAN.
//!
//! A leader finds devices with a [`Cluster`] and answers with a [`Model`]; a device offers itself
//! with [`serve()`](serve::serve). What they tell is in [`face`], what goes in is read by [`input`].
//! The other modules are the machinery behind: actors and their threads, [`transport`],
//! [`discovery`], what is kept on disk. ARCHITECTURE.md has the tour.
#![warn(missing_docs)]

pub mod cache;
pub mod cluster;
pub mod compute;
pub mod describe;
pub mod device;
pub mod discovery;
pub mod error;
pub mod executor;
pub mod face;
pub mod identity;
pub mod input;
pub mod model;
pub mod pipeline;
pub mod planner;
pub mod prepare;
pub mod profiler;
pub mod pump;
pub mod serve;
pub mod session;
pub mod solver;
pub mod store;
pub mod suite;
pub mod supply;
pub mod system;
pub mod ticker;
pub mod transport;
pub mod worker;

pub use cluster::{Builder, Cluster};
pub use error::{ClusterError, InferError, LoadError, ServeError};
pub use model::{IntoSource, LoadOptions, Model, Source};
pub use serve::{WorkerEvent, WorkerOptions, serve};

/// The cluster that a device belongs to unless it is told otherwise.
pub const DEFAULT_CLUSTER: &str = "default";

/// This build, as `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
