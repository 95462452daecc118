//! Splits one CNN inference over several devices, by rows of the feature maps.
//!
//! A [`plan`] says, for every stage of a [`graph`], who computes which rows or features.
//! Everything else is derived from it. Start with these ten:
//!
//! - [`models::open`] opens a built-in network or an ONNX file.
//! - [`graph::Graph`] is the model: a DAG of layers with static shapes.
//! - [`plan::Plan`] says who computes what.
//! - [`program::derive`] turns a plan into one program per device.
//! - [`cost::ClusterProfile`] describes the speed of a cluster's devices and links.
//! - [`solve::solve`] finds the fastest plan for a profile.
//! - [`kernel::Kernels`] packs weights and computes regions of layers.
//! - [`exec::Frame`] runs one frame through one device's program.
//! - [`exec::local::LocalCluster`] runs all devices of a plan in one thread.
//! - [`coord::leader::Leader`] decides which plan runs while devices come and go.
//!
//! In reading order:
//!
//! 1. [`units`], [`ids`], [`region`]: quantities, names, ranges of rows and channels.
//! 2. [`graph`], [`halo`]: models as a DAG of layers, and which rows depend on which.
//! 3. [`plan`], [`program`]: who computes what, and what each device therefore receives, computes
//!    and sends.
//! 4. [`cost`], [`solve`], [`coord`]: what a plan costs, which is best, and when to change it.
//! 5. [`wire`], [`weights`], [`manifest`]: what travels between devices.
//! 6. [`kernel`], [`exec`]: layers on regions of maps, and the executor of programs; [`general`]:
//!    functions of whole tensors.
//! 7. [`trace`]: what devices did when, on one clock.
//! 8. [`onnx`], [`models`]: where graphs come from.
//!
//! The crate has no async code, sockets, clock or threads: callers bring their own.
//!
//! ```
//! use edgeld_runtime::exec::{Input, local::LocalCluster};
//! use edgeld_runtime::kernel::KernelKind;
//! use edgeld_runtime::models::{self, Options};
//! use edgeld_runtime::plan::Plan;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = models::open("vgg11?size=32&classes=10", &Options::default())?;
//! let plan = Plan::alone(model.graph.layers().len() as u32);
//! let (graph, weights) = (&model.graph, &*model.weights);
//! let mut device = LocalCluster::new(graph, &[], &plan, weights, KernelKind::Fast)?;
//! let input = Input::Values(vec![0.5; 3 * 32 * 32].into());
//! assert_eq!(device.infer(&[input])?.outputs[0].len(), 10);
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

pub mod coord;
pub mod cost;
pub mod exec;
pub mod general;
pub mod graph;
pub mod halo;
pub mod ids;
pub mod kernel;
pub mod manifest;
pub mod models;
pub mod onnx;
pub mod plan;
pub mod program;
pub mod region;
pub mod solve;
pub mod trace;
pub mod units;
pub mod weights;
pub mod wire;
