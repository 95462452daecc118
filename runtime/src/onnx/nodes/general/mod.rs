//! Loaders for tensors of any rank, batches, integers and whatever else is no feature map.
//!
//! Most operators have two loaders. The one in [`nodes`](super) makes layers that are split by
//! rows and computed by this project's kernels. Where it refuses, the one here takes over: it makes
//! functions of whole tensors, which one device computes. It is also what evaluates constants.

mod elementwise;
mod index;
mod linear;
mod normalise;
mod parts;
mod quantize;
mod recurrent;
mod reduce;
mod resize;
mod steps;
mod window;

pub(crate) use elementwise::*;
pub(crate) use index::*;
pub(crate) use linear::*;
pub(crate) use normalise::*;
pub(crate) use parts::*;
pub(crate) use quantize::*;
pub(crate) use recurrent::*;
pub(crate) use reduce::*;
pub(crate) use resize::*;
pub(crate) use window::*;
