//! Computes layers on regions of maps.
//!
//! [`Kernels`] hold a device's packed weights and compute any region of a layer's output, from maps
//! that cover what that region reads. Rows and channels are absolute: padding exists only at the
//! true border of a tensor, wherever the region lies.
//!
//! The layers of this module, from the bottom up: `memory` (maps and their layout), `simd`
//! (vectors) and `call` (what a kernel is called with); `conv` and `ops` (the kernels); `backend`
//! (dispatches to them through burn), `reference` (burn's own operators), `packed`, `layout` and
//! `setup` (the form of weights and maps, and the choice of algorithms); and [`Kernels`] on top.
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::Arc;
//! use edgeld_runtime::graph::{Activation, Builder, Op, Shape};
//! use edgeld_runtime::kernel::{Alone, KernelKind, Kernels, Map, Scratch};
//! # use edgeld_runtime::graph::{LayerId, ParameterId};
//! # use edgeld_runtime::region::{ChannelRange, Region, RowRange};
//! # use edgeld_runtime::weights::{WeightError, WeightSource};
//! # struct NoWeights;
//! # impl WeightSource for NoWeights {
//! #     fn read(&self, _: ParameterId, _: ChannelRange, _: &mut Vec<u8>) -> Result<(), WeightError> {
//! #         Ok(())
//! #     }
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut builder = Builder::new("twice");
//! let x = builder.input("x", Shape::new(1, 8, 4), vec![1, 1, 8, 4])?;
//! let sum = builder.layer("sum", Op::Add, &[x, x], Activation::Linear)?;
//! builder.output("y", sum, vec![1, 1, 8, 4])?;
//! let graph = Arc::new(builder.finish()?);
//! let kernels =
//!     Kernels::prepare(&graph, &BTreeMap::new(), &NoWeights, KernelKind::Exact, &[])?;
//!
//! let rows = Region::new(ChannelRange::all(1), RowRange::new(3, 5));
//! let mut input = kernels.map(x, rows);
//! input.as_mut_slice().fill(1.5);
//! let mut output = kernels.map(sum, rows);
//! kernels.run(LayerId(0), &[&input, &input], &mut output, rows, &mut Scratch::new(), &Alone)?;
//! assert_eq!(output.as_slice()[output.line(0, 3)][0], 3.0);
//! # Ok(())
//! # }
//! ```

mod backend;
mod call;
mod conv;
mod error;
mod kernels;
mod kind;
mod layout;
pub(crate) mod memory;
mod ops;
mod packed;
mod reference;
mod setup;
mod simd;

pub use call::scratch::Scratch;
pub use call::threads::{Alone, Threads};
pub use error::KernelError;
pub use kernels::Kernels;
pub use kind::KernelKind;
pub(crate) use memory::arena::Arena;
pub use memory::map::Map;
pub use setup::Setup;
pub(crate) use simd::element::narrow;
pub use simd::isa::Isa;

#[cfg(test)]
mod tests;
