//! The layout of each tensor's maps.
//!
//! This project's kernels compute [`LANES`] channels side by side. A vector holds neighbouring
//! channels of one pixel, so that strides, borders and thin strips leave no lanes unused and
//! nothing is transposed between layers. The three channels of a picture would waste most lanes: an
//! input of few channels stays planar if only direct convolutions read it, which take either
//! layout. What functions of whole tensors hand to each other is planar, too: it is the file's order.
//!
//! ```text
//! input  3 x 224 x 224, planar   -> conv 7x7 ->   64 x 112 x 112: 4 blocks x 112 x 112 x 16
//! ```

use super::conv::algorithm::Algorithm;
use super::kind::KernelKind;
use super::memory::lanes::LANES;
use crate::graph::{Graph, Op, TensorId};

/// The lanes of every tensor's maps.
pub(crate) fn lanes(graph: &Graph, kind: KernelKind) -> Vec<u32> {
    let mut lanes = vec![if kind == KernelKind::Burn { 1 } else { LANES }; graph.tensor_count()];
    for port in graph.inputs() {
        if graph.shape(port.tensor).channels < LANES && only_windows_read(graph, port.tensor) {
            lanes[port.tensor.index()] = 1;
        }
    }
    let others = graph.layers().iter().filter(|layer| !is_whole(&layer.op));
    let mut in_blocks = vec![false; graph.tensor_count()];
    others.flat_map(|layer| &layer.inputs).for_each(|tensor| in_blocks[tensor.index()] = true);
    for id in graph.layer_ids().filter(|id| is_whole(&graph.layer(*id).op)) {
        let tensor = graph.output_of(id);
        if !in_blocks[tensor.index()] && !graph.is_output(tensor) {
            lanes[tensor.index()] = 1;
        }
    }
    lanes
}

/// Whether an operator takes or makes whole tensors, in the file's order.
fn is_whole(op: &Op) -> bool {
    matches!(op, Op::General(_) | Op::Constant(_))
}

fn only_windows_read(graph: &Graph, tensor: TensorId) -> bool {
    !graph.is_output(tensor)
        && graph.layers().iter().filter(|layer| layer.inputs.contains(&tensor)).all(|layer| {
            match &layer.op {
                Op::Conv(conv) => Algorithm::of(conv, graph.shape(tensor)) == Algorithm::Direct,
                _ => false,
            }
        })
}
