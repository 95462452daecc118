//! What a share of a group costs, computed fast: the planner asks a hundred thousand times a
//! second.
//!
//! Shares by rows hold all channels, so the walk back through the receptive field only has to track
//! row ranges over a handful of layers, and the time of a layer is linear in its rows. Everything
//! else is worked out once per group, so that a question allocates nothing.

use super::problem::Problem;
use super::stages::Group;
use crate::cost::{LayerKind, Work};
use crate::graph::{DType, Graph, LayerId, Reach, TensorId};
use crate::plan::DeviceIx;
use crate::program::Encoding;
use crate::region::{ChannelRange, Region, RowRange};

#[derive(Debug, Clone, Copy)]
struct Read {
    /// The index of the node that computes it; for an external tensor, the number of nodes plus its
    /// index among the externals.
    slot: usize,
    /// Height of the tensor.
    rows: u32,
    reach: Reach,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    reads: (usize, usize),
}

/// Milliseconds that a node takes on a device.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    per_run: f64,
    per_row: f64,
}

/// A tensor that crosses the border of a group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crossing {
    pub tensor: TensorId,
    pub rows: u32,
    pub channels: u32,
    /// Bytes on the wire of one row of one channel.
    pub line_bytes: f64,
    slot: usize,
    /// Whether it is an output of the model, which the leader needs whatever the exchange.
    pub is_output: bool,
}

/// A group of layers, prepared for questions about costs.
#[derive(Debug, Clone)]
pub(super) struct GroupModel {
    pub group: Group,
    nodes: Vec<Node>,
    reads: Vec<Read>,
    /// By device, then by node.
    rates: Vec<Rate>,
    /// By node: the work of every number of rows, where it does not grow in proportion.
    steps: Vec<Option<Vec<Work>>>,
    /// By device, then by node: milliseconds of every number of rows, in place of
    /// [`rates`](GroupModel::rates).
    times: Vec<Option<Vec<f64>>>,
    /// By device, then by read: milliseconds per row that is read.
    read_rates: Vec<f64>,
    /// What it reads from earlier groups.
    pub externals: Vec<Crossing>,
    /// What it computes for later groups.
    pub boundary: Vec<Crossing>,
    /// Rows of the last layer's output.
    pub rows: u32,
    /// Time of the whole group on each device.
    pub whole: Vec<f64>,
}

/// The row ranges of all nodes and externals for one share; reused between questions.
pub(super) type Demand = Vec<RowRange>;

impl GroupModel {
    pub(super) fn new(problem: &Problem<'_>, group: &Group, leaves: &[bool]) -> GroupModel {
        let Problem { graph, encodings, profile, policy, .. } = *problem;
        let count = group.layers.len();
        let first = graph.output_of(LayerId(group.layers.start));
        let crossing = |tensor: TensorId, slot: usize| {
            let shape = graph.shape(tensor);
            let element = Encoding::of(graph, tensor, encodings).element_bytes(policy.wire);
            Crossing {
                tensor,
                rows: shape.rows,
                channels: shape.channels,
                line_bytes: (u64::from(shape.width) * element) as f64,
                slot,
                is_output: graph.is_output(tensor),
            }
        };
        let mut model = GroupModel {
            group: group.clone(),
            nodes: Vec::with_capacity(count),
            reads: Vec::new(),
            rates: Vec::new(),
            steps: Vec::new(),
            times: Vec::new(),
            read_rates: Vec::new(),
            externals: Vec::new(),
            boundary: Vec::new(),
            rows: graph.output_shape(LayerId(group.layers.end - 1)).rows,
            whole: Vec::new(),
        };
        for (slot, layer) in group.layers.clone().map(LayerId).enumerate() {
            let node = graph.layer(layer);
            let begin = model.reads.len();
            let shapes = graph.input_shapes(layer);
            for (index, (tensor, shape)) in node.inputs.iter().zip(shapes).enumerate() {
                let slot = if *tensor >= first {
                    (tensor.0 - first.0) as usize
                } else {
                    let known = model.externals.iter().position(|known| known.tensor == *tensor);
                    count
                        + known.unwrap_or_else(|| {
                            let place = model.externals.len();
                            model.externals.push(crossing(*tensor, count + place));
                            place
                        })
                };
                let reach = node.op.reach(index, shapes);
                model.reads.push(Read { slot, rows: shape.rows, reach });
            }
            model.nodes.push(Node { reads: (begin, model.reads.len()) });
            let tensor = graph.output_of(layer);
            if leaves[tensor.index()] {
                model.boundary.push(crossing(tensor, slot));
            }
        }
        let tiled = profile.devices.iter().any(|device| device.tiled);
        let steps = |layer| match tiled {
            true => steps(graph, LayerId(layer), policy.weights),
            false => None,
        };
        model.steps = group.layers.clone().map(steps).collect();
        for device in profile.ids() {
            model.add_device(problem, device);
        }
        model
    }

    fn add_device(&mut self, problem: &Problem<'_>, device: DeviceIx) {
        let Problem { graph, profile, policy, .. } = *problem;
        for (layer, steps) in self.group.layers.clone().map(LayerId).zip(&self.steps) {
            let fit = profile.device(device).fit(LayerKind::of(graph, layer));
            self.times.push(steps.as_ref().map(|works| {
                let time = |latest: &mut f64, work: &Work| {
                    // No more rows take less time, whatever the fit makes of another tile.
                    *latest = latest.max(fit.time(work).0);
                    Some(*latest)
                };
                works.iter().scan(0.0, time).collect()
            }));
            let shape = graph.output_shape(layer);
            let whole = Work::of(graph, layer, shape.region()).with_weights(policy.weights);
            let line = |shape: crate::graph::Shape| {
                4.0 * f64::from(shape.width) * f64::from(shape.channels)
            };
            self.rates.push(Rate {
                per_run: fit.per_run + fit.per_weight_byte * whole.weight_bytes,
                per_row: fit.per_flop * whole.flops / f64::from(shape.rows)
                    + fit.per_activation_byte * line(shape),
            });
            for input in graph.input_shapes(layer) {
                self.read_rates.push(fit.per_activation_byte * line(*input));
            }
        }
        let mut demand = Demand::new();
        self.walk_back(RowRange::all(self.rows), &mut demand);
        self.whole.push(self.compute(device, &demand));
    }

    /// Fills `demand` with the rows that a share of `rows` computes and reads.
    pub(super) fn walk_back(&self, rows: RowRange, demand: &mut Demand) {
        demand.clear();
        demand.resize(self.nodes.len() + self.externals.len(), RowRange::empty());
        if rows.is_empty() {
            return;
        }
        for crossing in &self.boundary {
            demand[crossing.slot] = self.scaled(rows, crossing.rows);
        }
        for (slot, node) in self.nodes.iter().enumerate().rev() {
            let wanted = demand[slot];
            if wanted.is_empty() {
                continue;
            }
            for read in &self.reads[node.reads.0..node.reads.1] {
                let rows = read.reach.rows(wanted, read.rows);
                demand[read.slot] = demand[read.slot].hull(rows);
            }
        }
    }

    /// The rows of a tensor with `total` rows that correspond to `rows` of the last layer.
    fn scaled(&self, rows: RowRange, total: u32) -> RowRange {
        let scale = |row: u32| (u64::from(row) * u64::from(total) / u64::from(self.rows)) as u32;
        if total == self.rows { rows } else { RowRange::new(scale(rows.start), scale(rows.end)) }
    }

    /// Milliseconds that a device needs to compute `demand`.
    pub(super) fn compute(&self, device: DeviceIx, demand: &Demand) -> f64 {
        let rates = &self.rates[device.index() * self.nodes.len()..][..self.nodes.len()];
        let times = &self.times[device.index() * self.nodes.len()..][..self.nodes.len()];
        let read_rates = &self.read_rates[device.index() * self.reads.len()..][..self.reads.len()];
        let mut time = 0.0;
        for (((node, rate), times), rows) in self.nodes.iter().zip(rates).zip(times).zip(demand) {
            if rows.is_empty() {
                continue;
            }
            time += match times {
                Some(times) => times[rows.len() as usize],
                None => rate.per_run + rate.per_row * f64::from(rows.len()),
            };
            for (read, per_row) in self.reads[node.reads.0..node.reads.1]
                .iter()
                .zip(&read_rates[node.reads.0..node.reads.1])
            {
                if *per_row > 0.0 {
                    let input = read.reach.rows(*rows, read.rows);
                    time += per_row * f64::from(input.len());
                }
            }
        }
        time
    }

    /// What a share with this `demand` reads of an external tensor.
    pub(super) fn need(&self, external: &Crossing, demand: &Demand) -> Region {
        region(external, demand[external.slot])
    }

    /// What a share with this `demand` computes of a boundary tensor.
    pub(super) fn made(&self, crossing: &Crossing, demand: &Demand) -> Region {
        region(crossing, demand[crossing.slot])
    }

    /// What a share of `rows` owns of a boundary tensor.
    pub(super) fn owned(&self, crossing: &Crossing, rows: RowRange) -> Region {
        region(crossing, self.scaled(rows, crossing.rows))
    }
}

impl Crossing {
    /// All of it.
    pub(super) fn all(&self) -> Region {
        Region::new(ChannelRange::all(self.channels), RowRange::all(self.rows))
    }

    /// Bytes on the wire of what is needed and not held.
    pub(super) fn missing(&self, need: Region, held: Region) -> f64 {
        let lines = need.lines() - need.intersect(held).lines();
        lines as f64 * self.line_bytes
    }
}

/// The work of a layer that is computed in tiles, without what it reads, by number of rows; `None`
/// of layers that are not.
fn steps(graph: &Graph, layer: LayerId, weights: DType) -> Option<Vec<Work>> {
    let shape = graph.output_shape(layer);
    let work = |rows: u32| {
        let region = Region::new(ChannelRange::all(shape.channels), RowRange::all(rows));
        let line = f64::from(shape.width) * f64::from(shape.channels);
        let work = Work::tiled(graph, layer, region, rows, weights);
        Work { activation_bytes: 4.0 * line * f64::from(rows), ..work }
    };
    let whole = shape.region();
    let is_tiled = Work::tiled(graph, layer, whole, shape.rows, weights)
        != Work::of(graph, layer, whole).with_weights(weights);
    is_tiled.then(|| (0..=shape.rows).map(work).collect())
}

fn region(crossing: &Crossing, rows: RowRange) -> Region {
    if rows.is_empty() {
        return Region::empty();
    }
    Region::new(ChannelRange::all(crossing.channels), rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{ClusterProfile, DeviceProfile, LinkProfile};
    use crate::plan::{Cuts, Plan, Split, Stage};
    use crate::program::{Action, derive};
    use crate::solve::problem::Policy;
    use crate::solve::stages::AllowedSplit;
    use crate::solve::testing::residual;
    use proptest::prelude::*;

    proptest! {
        /// What the planner assumes about a share is what the programs then do.
        #[test]
        fn agrees_with_the_derived_programs(lengths in prop::collection::vec(0u32..=11, 1..=5)) {
            let graph = residual();
            let total = graph.output_shape(LayerId(3)).rows;
            let mut left = total;
            let mut lengths: Vec<u32> = lengths
                .into_iter()
                .map(|length| {
                    let length = length.min(left);
                    left -= length;
                    length
                })
                .collect();
            lengths.push(left);
            let device = DeviceProfile::described(1.0, 1.0);
            let link = LinkProfile::unmeasured();
            let members = lengths.iter().map(|_| (device.clone(), link));
            let profile = ClusterProfile::new(members);
            let cuts = Cuts::from_lengths(lengths.iter().copied());
            let stage = Stage { layers: 0..4, split: Split::Rows(cuts.clone()) };
            let devices = lengths.len() as u16;
            let plan = Plan::new(devices, vec![stage]);
            let derivation = derive(&graph, &plan).unwrap();

            let group = Group { layers: 0..4, allowed: AllowedSplit::Rows };
            let leaves: Vec<bool> =
                (0..graph.tensor_count() as u32).map(|id| graph.is_output(TensorId(id))).collect();
            let (graph, profile) = (&graph, &profile);
            let policy = Policy::default();
            let problem = Problem { graph, encodings: &[], profile, policy, previous: None };
            let model = GroupModel::new(&problem, &group, &leaves);
            let mut demand = Demand::new();
            for program in &derivation.programs {
                let expected: f64 = program
                    .steps
                    .iter()
                    .flat_map(|step| match &step.action {
                        Action::Compute { runs, .. } => runs.as_slice(),
                        _ => &[],
                    })
                    .map(|run| device.time(&Work::of(graph, run.layer, run.region)).0)
                    .sum();
                model.walk_back(cuts.range(program.device), &mut demand);
                let found = model.compute(program.device, &demand);
                prop_assert!((found - expected).abs() <= 1e-9 * expected.max(1.0));
            }
        }
    }
}
