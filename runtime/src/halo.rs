//! The receptive field, walked backward through any DAG.
//!
//! Given what is wanted of some tensors, [`walk_back`] finds what is needed of every tensor before
//! them. If two layers read the same tensor, their needs are joined. The rows that a share needs
//! beyond those its device owns are its **halo**. For n fused 3x3 convolutions it is n rows on each
//! side, as in the paper's eqs. 3-5; for any other DAG it follows from the operators' region rules.
//!
//! ```
//! use edgeld_runtime::graph::{Activation, Builder, Op, Shape, Sweep, Window, Pool, Reduction};
//! use edgeld_runtime::halo::walk_back;
//! use edgeld_runtime::region::{ChannelRange, Region, RowRange};
//! # fn main() -> Result<(), edgeld_runtime::graph::GraphError> {
//! let three = Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() };
//! let blur = Op::Pool(Pool { reduction: Reduction::Max, window: Window::square(three) });
//! let mut builder = Builder::new("two windows");
//! let x = builder.input("x", Shape::new(1, 8, 8), vec![1, 1, 8, 8])?;
//! let a = builder.layer("a", blur.clone(), &[x], Activation::Linear)?;
//! let b = builder.layer("b", blur, &[a], Activation::Linear)?;
//! builder.output("y", b, vec![1, 1, 8, 8])?;
//! let graph = builder.finish()?;
//!
//! let mut demand = vec![Region::empty(); graph.tensor_count()];
//! demand[b.index()] = Region::new(ChannelRange::all(1), RowRange::new(4, 8));
//! walk_back(&graph, 0..2, &mut demand);
//! assert_eq!(demand[a.index()].rows, RowRange::new(3, 8));
//! assert_eq!(demand[x.index()].rows, RowRange::new(2, 8));
//! # Ok(())
//! # }
//! ```

use std::ops::Range;

use crate::graph::{Graph, LayerId};
use crate::region::Region;

/// Extends `demand`, which is indexed by tensor, by everything that `layers` read in order to
/// compute what is demanded of their outputs.
pub fn walk_back(graph: &Graph, layers: Range<u32>, demand: &mut [Region]) {
    for layer in layers.rev().map(LayerId) {
        let wanted = demand[graph.output_of(layer).index()];
        if wanted.is_empty() {
            continue;
        }
        let node = graph.layer(layer);
        let shapes = graph.input_shapes(layer);
        for (index, input) in node.inputs.iter().enumerate() {
            let need = node.op.reads(index, shapes, wanted);
            demand[input.index()] = demand[input.index()].hull(need);
        }
    }
}
