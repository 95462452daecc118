//! Which layers make a stage, and how it may be split.

use std::ops::Range;

use super::problem::{Fusion, Policy};
use crate::graph::{Graph, LayerId, Op, Shape};
use crate::plan::Exchange;

/// Layers that will be one stage of the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub layers: Range<u32>,
    pub allowed: AllowedSplit,
}

/// How a group may be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AllowedSplit {
    /// By rows, or whole on any device.
    Rows,
    /// By features, or whole on any device.
    Features,
    /// Not at all: whole on any device.
    Whole,
    /// Whole on the leader.
    Leader,
}

/// Cuts a graph into groups.
///
/// A block ends after every layer that changes the height. Reductions over rows, dense layers and
/// softmax are groups of their own (a dense layer together with the channelwise layers that only
/// follow it), and a global mean is cut between its two halves, `name/rows` and `name/sum`. With
/// exchange through the leader, pools and dense layers run on the leader and therefore end the
/// block before them; layer by layer, so do sums and the like.
pub(super) fn groups(graph: &Graph, policy: &Policy) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut open = false;
    for layer in graph.layer_ids() {
        let allowed = allowed_split(graph, policy, layer);
        let alone = policy.fusion == Fusion::Layerwise || allowed != AllowedSplit::Rows;
        match groups.last_mut() {
            Some(last)
                if policy.fusion == Fusion::Block
                    && last.allowed == AllowedSplit::Features
                    && follows(graph, LayerId(last.layers.start), layer) =>
            {
                last.layers.end = layer.0 + 1;
                continue;
            }
            Some(last) if open && !alone => last.layers.end = layer.0 + 1,
            _ => groups.push(Group { layers: layer.0..layer.0 + 1, allowed }),
        }
        open = !alone && !ends_block(graph, layer);
    }
    groups
}

fn allowed_split(graph: &Graph, policy: &Policy, layer: LayerId) -> AllowedSplit {
    let op = &graph.layer(layer).op;
    let through_leader = policy.exchange == Exchange::Leader;
    let by_layer = policy.fusion == Fusion::Layerwise;
    match op {
        Op::Conv(conv) if conv.is_dense(graph.input_shapes(layer)[0]) => {
            if through_leader {
                AllowedSplit::Leader
            } else {
                AllowedSplit::Features
            }
        }
        Op::Conv(_) => AllowedSplit::Rows,
        Op::SumRows { .. } | Op::Softmax | Op::Reorder(_) | Op::Stack => {
            if through_leader {
                AllowedSplit::Leader
            } else {
                AllowedSplit::Whole
            }
        }
        Op::SumWidth | Op::Pool(_) if through_leader => AllowedSplit::Leader,
        Op::SumWidth | Op::Pool(_) => AllowedSplit::Rows,
        Op::Add
        | Op::Mul
        | Op::Concat
        | Op::Identity
        | Op::Lrn(_)
        | Op::Upsample { .. }
        | Op::Slice(_)
        | Op::Shuffle { .. }
        | Op::DepthToSpace { .. } => {
            if through_leader && by_layer {
                AllowedSplit::Leader
            } else {
                AllowedSplit::Rows
            }
        }
    }
}

/// Whether a layer changes the height, or is the first half of a global mean.
fn ends_block(graph: &Graph, layer: LayerId) -> bool {
    let rows = graph.output_shape(layer).rows;
    let op = &graph.layer(layer).op;
    let factors = |shape: &Shape| *op == Op::Mul && shape.is_vector();
    let mut inputs = graph.input_shapes(layer).iter();
    *op == Op::SumWidth || inputs.any(|shape| shape.rows != rows && !factors(shape))
}

/// Whether `layer` can be part of a split by features that starts with `first`.
fn follows(graph: &Graph, first: LayerId, layer: LayerId) -> bool {
    let node = graph.layer(layer);
    let within = |tensor| graph.producer(tensor).is_some_and(|producer| producer >= first);
    node.op.is_channelwise() && node.inputs.iter().all(|tensor| within(*tensor))
}
