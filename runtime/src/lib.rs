//! Splits one CNN inference over several devices, by rows of the feature maps.
#![warn(missing_docs)]

pub mod coord;
pub mod cost;
pub mod exec;
pub mod graph;
pub mod halo;
pub mod ids;
pub mod kernel;
pub mod manifest;
pub mod models;
pub mod onnx;
pub mod operators;
pub mod plan;
pub mod program;
pub mod region;
pub mod solve;
pub mod units;
pub mod weights;
pub mod wire;
