//! Convolutions and dense layers: which algorithm, its form of the weights, and the algorithms.

pub(crate) mod algorithm;
pub(crate) mod dense;
pub(crate) mod depthwise;
pub(crate) mod direct;
pub(crate) mod register_tile;
pub(crate) mod taps;
pub(crate) mod weights;
pub(crate) mod winograd;
