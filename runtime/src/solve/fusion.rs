//! Where to cut a run of layers into stages: `--fusion auto`.
//!
//! A cut costs an exchange: everybody waits for halo rows from its neighbours. A fused stage costs
//! redundant work instead: the rows of its halo are computed on both sides. Which is cheaper
//! depends on the layers, the devices and the links, so cut points are found by dynamic programming
//! over all segments of up to [`MOST_FUSED`] layers:
//!
//! ```text
//! best(end) = min over start of  best(start) + cost(start..end)
//! cost(segment) = time to compute an equal share of rows, halo included
//!               + time to exchange the rows that it reads of its neighbours + PER_STAGE
//! ```
//!
//! The cost is that of a typical device, of average speed and link, with a share in the middle of
//! the map. It ignores uneven shares and that tiles make some rows cost more than others. How much
//! of an exchange is hidden behind computation shows only in the whole plan, so the planner cuts
//! twice, assuming [little](Exposure::Full) and [much](Exposure::Quarter), and compares the plans.
//!
//! Two 3x3 convolutions on maps of 14 rows over five devices: apart, a device computes 3 rows of
//! each and waits twice; fused, it computes 5 and 3 rows and waits once. On a fast network cutting
//! wins, where a message takes longer than two rows fusing does.

use std::ops::Range;

use super::problem::Policy;
use crate::cost::ClusterProfile;
use crate::graph::{DType, Graph, LayerId, Reach, TensorId};
use crate::region::{Region, RowRange};
use crate::units::Bytes;

/// Longer segments are not considered: it bounds the search.
const MOST_FUSED: usize = 16;

/// Milliseconds that a stage costs besides its layers and its exchange: about what it takes to hand
/// out one more step. It also keeps layers together that need no exchange between them.
const PER_STAGE: f64 = 0.02;

/// One input of a layer.
struct Read {
    tensor: TensorId,
    rows: u32,
    reach: Reach,
    /// Bytes of one row on the wire.
    row_bytes: f64,
}

/// One layer, as a typical device computes it.
struct Step {
    reads: Vec<Read>,
    output: TensorId,
    rows: u32,
    per_run: f64,
    per_row: f64,
    /// The last layer that reads its output; `u32::MAX` if the output is one of the graph's.
    last_reader: u32,
}

/// The typical link, in milliseconds.
struct Link {
    per_byte: f64,
    latency: f64,
}

/// What cutting takes for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outlook {
    /// How many devices share the rows.
    pub devices: usize,
    /// How long an exchange keeps them waiting.
    pub exposure: Exposure,
}

impl Outlook {
    /// All devices, which wait for all rows.
    pub(super) fn first(profile: &ClusterProfile) -> Outlook {
        Outlook { devices: profile.len(), exposure: Exposure::Full }
    }
}

/// How long an exchange is assumed to keep devices waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exposure {
    /// Until all rows have arrived.
    Full,
    /// A quarter of that: most rows travel while others are computed.
    Quarter,
}

impl Exposure {
    fn fraction(self) -> f64 {
        match self {
            Exposure::Full => 1.0,
            Exposure::Quarter => 0.25,
        }
    }
}

/// Cuts `layers`, all of which can be split by rows, into segments.
pub(super) fn cut(
    graph: &Graph,
    profile: &ClusterProfile,
    policy: &Policy,
    outlook: Outlook,
    layers: Range<u32>,
) -> Vec<Range<u32>> {
    let mut costs = Costs::new(graph, profile, policy, outlook.devices, layers.clone());
    costs.link.per_byte *= outlook.exposure.fraction();
    let count = costs.steps.len();
    let mut best = vec![f64::INFINITY; count + 1];
    let mut from = vec![0; count + 1];
    best[0] = 0.0;
    let mut demand = Vec::new();
    for end in 1..=count {
        for start in (end.saturating_sub(MOST_FUSED)..end).rev() {
            let total = best[start] + costs.segment(start..end, &mut demand);
            if total < best[end] {
                (best[end], from[end]) = (total, start);
            }
        }
    }
    let mut segments = Vec::new();
    let mut end = count;
    while end > 0 {
        let start = from[end];
        segments.push(layers.start + start as u32..layers.start + end as u32);
        end = start;
    }
    segments.reverse();
    segments
}

struct Costs {
    first: u32,
    devices: u32,
    link: Link,
    steps: Vec<Step>,
}

impl Costs {
    fn new(
        graph: &Graph,
        profile: &ClusterProfile,
        policy: &Policy,
        devices: usize,
        layers: Range<u32>,
    ) -> Costs {
        let devices = devices.max(1) as u32;
        let element = policy.wire.size() as f64;
        let mut last_reader = vec![0; graph.tensor_count()];
        for layer in graph.layer_ids() {
            for tensor in &graph.layer(layer).inputs {
                last_reader[tensor.index()] = layer.0;
            }
        }
        let step = |layer: LayerId| {
            let node = graph.layer(layer);
            let shapes = graph.input_shapes(layer);
            let output = graph.output_of(layer);
            let shape = graph.output_shape(layer);
            let (per_run, per_row) = typical(graph, profile, policy.weights, devices, layer);
            let reads = node.inputs.iter().zip(shapes).enumerate();
            Step {
                reads: reads
                    .map(|(index, (tensor, shape))| Read {
                        tensor: *tensor,
                        rows: shape.rows,
                        reach: node.op.reach(index, shapes),
                        row_bytes: element * f64::from(shape.width) * f64::from(shape.channels),
                    })
                    .collect(),
                output,
                rows: shape.rows,
                per_run,
                per_row,
                last_reader: match graph.is_output(output) {
                    true => u32::MAX,
                    false => last_reader[output.index()],
                },
            }
        };
        // The leader's own link is not measured: its figures are placeholders.
        let links = profile.links.get(1..).filter(|links| !links.is_empty());
        let links = links.unwrap_or(&profile.links);
        let messages = profile.devices.iter().map(|device| device.messages);
        // It sends to both neighbours and receives from both.
        let link = Link {
            per_byte: mean(links.iter().map(|link| link.time_for(Bytes(1)).0))
                + 2.0 * mean(messages.clone().map(|message| message.per_byte)),
            latency: mean(links.iter().map(|link| link.rtt.0 * 0.5))
                + 4.0 * mean(messages.map(|message| message.per_message.0)),
        };
        let steps = layers.clone().map(LayerId).map(step).collect();
        Costs { first: layers.start, devices, link, steps }
    }

    /// Milliseconds of one segment on the typical device.
    fn segment(&self, segment: Range<usize>, demand: &mut Vec<RowRange>) -> f64 {
        let steps = &self.steps[segment.clone()];
        let Some(last) = steps.last() else { return 0.0 };
        let length = last.rows.div_ceil(self.devices);
        let start = (last.rows - length) / 2;
        let scaled = |rows: u32| {
            let scale =
                |row: u32| (u64::from(row) * u64::from(rows)).div_ceil(u64::from(last.rows));
            RowRange::new(scale(start) as u32, scale(start + length) as u32)
        };
        demand.clear();
        demand.resize(steps.len(), RowRange::empty());
        let first_output = steps[0].output;
        let beyond = self.first + segment.end as u32;
        let mut time = 0.0;
        let mut externals: Vec<(&Read, RowRange)> = Vec::new();
        for (at, step) in steps.iter().enumerate().rev() {
            if step.last_reader >= beyond || at + 1 == steps.len() {
                demand[at] = demand[at].hull(scaled(step.rows));
            }
            let rows = demand[at];
            if rows.is_empty() {
                continue;
            }
            time += step.per_run + step.per_row * f64::from(rows.len());
            for read in &step.reads {
                let needed = read.reach.rows(rows, read.rows);
                if read.tensor >= first_output {
                    let producer = (read.tensor.0 - first_output.0) as usize;
                    demand[producer] = demand[producer].hull(needed);
                } else {
                    // Two layers that read the same tensor exchange its halo once.
                    match externals.iter_mut().find(|(other, _)| other.tensor == read.tensor) {
                        Some((_, rows)) => *rows = rows.hull(needed),
                        None => externals.push((read, needed)),
                    }
                }
            }
        }
        let beyond_share = |(read, rows): &(&Read, RowRange)| {
            let own = rows.intersect(scaled(read.rows)).len();
            f64::from(rows.len() - own) * read.row_bytes
        };
        let halo: f64 = externals.iter().map(beyond_share).sum();
        let exchange = if halo > 0.0 { self.link.latency + halo * self.link.per_byte } else { 0.0 };
        time + exchange + PER_STAGE
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

/// Milliseconds of a layer on a device of average speed with an equal share: per run, and per row of
/// its output.
fn typical(
    graph: &Graph,
    profile: &ClusterProfile,
    weights: DType,
    devices: u32,
    layer: LayerId,
) -> (f64, f64) {
    let shape = graph.output_shape(layer);
    let rows = shape.rows.div_ceil(devices).max(1);
    let share = Region { rows: RowRange::all(rows), ..shape.region() };
    let (mut per_run_sum, mut speed) = (0.0, 0.0);
    for device in profile.ids() {
        let device = profile.device(device);
        let work = device.work(graph, layer, share, rows, weights);
        let fit = device.fit(work.kind);
        let per_run = fit.per_run + fit.per_weight_byte * work.weight_bytes;
        let per_row = (fit.time(&work).0 - per_run) / f64::from(rows);
        per_run_sum += per_run;
        speed += 1.0 / per_row.max(f64::MIN_POSITIVE);
    }
    let count = profile.len().max(1) as f64;
    (per_run_sum / count, count / speed)
}
