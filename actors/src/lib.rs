//! Splits one CNN inference over the devices of a LAN.
//!
//! A leader finds devices with a [`Cluster`] and answers with a [`Model`]; a device offers itself
//! with a [`Worker`].
//!
//! ```no_run
//! # async fn example(input: edgeld::Input) -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = edgeld::Cluster::builder().key_file("cluster.key").discover().await?;
//! let model = cluster.load("model.onnx").await?;
//! let answer = model.infer(&[input]).await?;
//! println!("{} in {}", answer.outputs[0].data.len(), answer.total);
//! # Ok(())
//! # }
//! ```
//!
//! Vectors, arrays of ndarray and tensors of burn become an [`Input`], and an [`Output`] becomes
//! either of the latter: [`TensorData`] is burn's own. Files are read by [`input`]: pictures,
//! `.npy` arrays, labels. What a cluster reports is plain data: [`DeviceInfo`], [`PlanInfo`],
//! [`Answer`], and an [`Event`] whenever something changes. To run over something other than TCP,
//! see [`transport`]. ARCHITECTURE.md has a tour of the inside.
#![warn(missing_docs, unreachable_pub)]

mod api;
mod clock;
mod cluster;
mod discovery;
pub mod input;
pub mod pairing;
mod pipeline;
mod planner;
mod profiler;
#[cfg(feature = "serve")]
pub mod serve;
mod storage;
pub mod task;
pub mod transport;
mod worker;

pub use api::{
    Answer, ClusterError, DEFAULT_CLUSTER, DeviceInfo, DeviceState, Event, Found, InferError,
    Input, IntoSource, LoadError, LoadOptions, Output, OutputShapeError, PlanInfo, PlanNames,
    Reason, ServeError, ShareInfo, Source, StageInfo, TensorData, TensorError, TraceContent,
    TracePiece, VERSION, WorkerEvent, describe,
};
pub use cluster::{ACTOR_THREAD, Builder, Cluster, Model, Worker, WorkerOptions};
pub use storage::home_of_weights;
pub use worker::{InvalidPace, Pace, Pool, panic_text};
