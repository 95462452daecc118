//! Which layers make a stage, and how it may be split.

use std::ops::Range;

use super::fusion::{self, Outlook};
use super::problem::{Fusion, Policy};
use crate::cost::ClusterProfile;
use crate::graph::{Graph, LayerId, Op, Shape, Split};
use crate::plan::Exchange;

/// Convolutions of higher maps are not split by features.
const HIGHEST_BY_FEATURES: u32 = 28;

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
    /// By rows or by features, or whole on any device.
    RowsOrFeatures,
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
/// block before them; layer by layer, so do sums and the like. With [`Fusion::Auto`] everything
/// between those layers is cut where an exchange between neighbours is cheaper than redundant work;
/// through the leader, where every exchange moves whole maps, it is as [`Fusion::Block`].
pub(super) fn groups(
    graph: &Graph,
    profile: &ClusterProfile,
    policy: &Policy,
    outlook: Outlook,
) -> Vec<Group> {
    let groups = whole_groups(graph, policy);
    if !cuts_freely(policy) {
        return groups;
    }
    let mut cut = Vec::new();
    for group in groups {
        if group.allowed != AllowedSplit::Rows {
            cut.push(group);
            continue;
        }
        for layers in fusion::cut(graph, profile, policy, outlook, group.layers) {
            let allowed = match by_features_too(graph, &layers) {
                true => AllowedSplit::RowsOrFeatures,
                false => AllowedSplit::Rows,
            };
            cut.push(Group { layers, allowed });
        }
    }
    cut
}

pub(super) fn cuts_freely(policy: &Policy) -> bool {
    policy.fusion == Fusion::Auto && policy.exchange == Exchange::Peer
}

/// Whether a group may be split by features as well as by rows: one convolution of a low map, for
/// which a strip of rows reads as many weights as the whole, and what follows channel by channel.
fn by_features_too(graph: &Graph, layers: &Range<u32>) -> bool {
    let first = LayerId(layers.start);
    matches!(graph.layer(first).op, Op::Conv(_))
        && graph.output_shape(first).rows <= HIGHEST_BY_FEATURES
        && layers.clone().skip(1).all(|layer| follows(graph, first, LayerId(layer)))
}

/// Groups as operators and policy make them, before any is cut freely.
fn whole_groups(graph: &Graph, policy: &Policy) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut open = false;
    for layer in graph.layer_ids() {
        let allowed = allowed_split(graph, policy, layer);
        let alone = policy.fusion == Fusion::Layerwise || allowed != AllowedSplit::Rows;
        match groups.last_mut() {
            Some(last)
                if policy.fusion != Fusion::Layerwise
                    && last.allowed == AllowedSplit::Features
                    && follows(graph, LayerId(last.layers.start), layer) =>
            {
                last.layers.end = layer.0 + 1;
                continue;
            }
            Some(last)
                if is_function(graph, layer)
                    && last.allowed == allowed
                    && is_function(graph, LayerId(last.layers.end - 1)) =>
            {
                last.layers.end = layer.0 + 1;
                continue;
            }
            Some(last) if open && !alone => last.layers.end = layer.0 + 1,
            _ => groups.push(Group { layers: layer.0..layer.0 + 1, allowed }),
        }
        let ends = !cuts_freely(policy) && ends_block(graph, layer);
        open = !alone && !ends;
    }
    groups
}

fn allowed_split(graph: &Graph, policy: &Policy, layer: LayerId) -> AllowedSplit {
    let op = &graph.layer(layer).op;
    let through_leader = policy.exchange == Exchange::Leader;
    let by_layer = policy.fusion == Fusion::Layerwise;
    let input = graph.input_shapes(layer).first().copied();
    match (op.split(input), op) {
        (Split::Features | Split::Whole, _) if through_leader => AllowedSplit::Leader,
        (Split::Features, _) => AllowedSplit::Features,
        (Split::Whole, _) => AllowedSplit::Whole,
        (Split::Rows, Op::Conv(_)) => AllowedSplit::Rows,
        (Split::Rows, Op::SumWidth | Op::Pool(_)) if through_leader => AllowedSplit::Leader,
        (Split::Rows, Op::SumWidth | Op::Pool(_)) => AllowedSplit::Rows,
        (Split::Rows, _) if through_leader && by_layer => AllowedSplit::Leader,
        (Split::Rows, _) => AllowedSplit::Rows,
    }
}

/// Whether a layer is a constant or a function of whole tensors. Those that follow one another are
/// a stage: apart they would only have to meet again.
fn is_function(graph: &Graph, layer: LayerId) -> bool {
    matches!(graph.layer(layer).op, Op::Constant(_) | Op::General(_))
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
