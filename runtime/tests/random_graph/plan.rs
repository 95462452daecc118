//! Random plans: any fusion, any allowed split, 1 to 8 devices, shares of any size.

use edgeld_runtime::graph::{Graph, LayerId, Op};
use edgeld_runtime::plan::{Cuts, DeviceIx, Exchange, Plan, Split, Stage};
use proptest::prelude::*;

/// Cuts by features fall on multiples of this.
const BLOCK: u32 = 16;

/// What a random plan is made from; it adapts to any graph.
#[derive(Debug, Clone)]
pub struct Dice {
    devices: u16,
    peer: bool,
    /// For every layer, whether a stage ends after it.
    ends: Vec<bool>,
    /// For every layer, should a stage start there: the kind of split, and what each device gets.
    splits: Vec<(u8, Vec<u32>)>,
}

/// Dice for graphs of at most `layers` layers.
pub fn random_dice(layers: usize) -> impl Strategy<Value = Dice> {
    let weight = prop_oneof![2 => Just(0u32), 5 => 1u32..=8];
    let split = (0u8..=9, prop::collection::vec(weight, 8));
    let ends = prop::collection::vec(prop::bool::weighted(0.4), layers);
    let splits = prop::collection::vec(split, layers);
    (1u16..=8, any::<bool>(), ends, splits).prop_map(|(devices, peer, ends, splits)| Dice {
        devices,
        peer,
        ends,
        splits,
    })
}

impl Dice {
    /// The plan that these dice make for `graph`; always a valid one.
    pub fn plan(&self, graph: &Graph) -> Plan {
        let layers = graph.layers().len() as u32;
        let mut stages = Vec::new();
        let mut start = 0;
        for layer in 0..layers {
            let ends = self.ends.get(layer as usize).copied().unwrap_or(true);
            if ends || layer + 1 == layers {
                stages.push(self.stage(graph, start, layer + 1));
                start = layer + 1;
            }
        }
        let exchange = if self.peer { Exchange::Peer } else { Exchange::Leader };
        Plan { exchange, ..Plan::new(self.devices, stages) }
    }

    fn stage(&self, graph: &Graph, start: u32, end: u32) -> Stage {
        let (kind, weights) = &self.splits[start as usize % self.splits.len()];
        let weights = &weights[..usize::from(self.devices)];
        let last = graph.output_shape(LayerId(end - 1));
        let step = feature_step(graph, start, end);
        let split = match (kind, step) {
            (0, _) => Split::Whole(DeviceIx(weights[0] as u16 % self.devices)),
            (1..=3, Some(step)) => {
                let features = graph.output_shape(LayerId(start)).channels;
                Split::Features(cuts(weights, features, step))
            }
            _ => Split::Rows(cuts(weights, last.rows, 1)),
        };
        Stage { layers: start..end, split }
    }
}

/// Cuts `total` in proportion to `weights`, on multiples of `step`.
fn cuts(weights: &[u32], total: u32, step: u32) -> Cuts {
    let sum = u64::from(weights.iter().sum::<u32>().max(1));
    let mut seen = 0;
    let mut previous = 0;
    let lengths: Vec<u32> = weights
        .iter()
        .enumerate()
        .map(|(index, weight)| {
            seen += u64::from(*weight);
            let boundary = (u64::from(total) * seen / sum) as u32 / step * step;
            let end = if index + 1 == weights.len() { total } else { boundary.max(previous) };
            let length = end - previous;
            previous = end;
            length
        })
        .collect();
    Cuts::from_lengths(lengths)
}

/// The step at which the stage may be cut by features, if it may.
fn feature_step(graph: &Graph, start: u32, end: u32) -> Option<u32> {
    let Op::Conv(conv) = &graph.layer(LayerId(start)).op else { return None };
    let first = graph.output_of(LayerId(start));
    let follows = (start + 1..end).map(LayerId).all(|layer| {
        let node = graph.layer(layer);
        node.op.is_channelwise() && node.inputs.iter().all(|tensor| *tensor >= first)
    });
    let group = if conv.groups == 1 { 1 } else { conv.features / conv.groups };
    follows.then(|| (1..).map(|n| n * BLOCK).find(|step| step % group == 0)).flatten()
}
