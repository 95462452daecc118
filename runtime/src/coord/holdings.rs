//! Which weights the devices have, and how long it takes until they are ready for a plan.
//!
//! A device fetches the weights that it does not have, then packs them for its kernels, as far as it
//! does not have them packed already: for the last program that it prepared, or standing by for
//! others. Both can take longer than many frames. What is packed for shares of one height may be of no
//! use for those of another: convolutions are transformed by tiles that suit the height.
//!
//! Worked example: a device at 10 GFLOP/s that has never had a share packs 8 MB of weights in
//! 8e6 * 500 / 10e9 = 400 ms.

use std::collections::BTreeMap;

use crate::cost::{ClusterProfile, LayerKind, Work};
use crate::graph::{DType, Graph, LayerId, Op, Tile};
use crate::ids::NodeId;
use crate::plan::DeviceIx;
use crate::program::{Action, Program};
use crate::region::ChannelRange;
use crate::units::{Bytes, Ms};

/// Operations of a convolution that take as long as packing a byte of weights. Measured on devices of a
/// fifth of an x86 core; at full speed, with warm caches, it is half of that.
const PACKING: f64 = 500.0;

/// Which features of which layers every device has, in which form.
#[derive(Debug, Clone, Default)]
struct Features(BTreeMap<(NodeId, LayerId, Kept), Vec<ChannelRange>>);

/// How weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    /// As in the model.
    Raw,
    /// As kernels read them.
    Packed(Option<Tile>, DType),
    /// As kernels can read them, though others may be faster: good enough for a stopgap.
    Usable(DType),
}

impl Features {
    fn add(&mut self, node: NodeId, layer: LayerId, kept: Kept, range: ChannelRange) {
        let ranges = self.0.entry((node, layer, kept)).or_default();
        if !ranges.iter().any(|held| held.covers(range)) {
            ranges.retain(|held| !range.covers(*held));
            ranges.push(range);
        }
    }

    fn forget(&mut self, node: NodeId) {
        self.0.retain(|(of, ..), _| *of != node);
    }

    fn ranges(&self, node: NodeId, layer: LayerId, kept: Kept) -> &[ChannelRange] {
        self.0.get(&(node, layer, kept)).map_or(&[], Vec::as_slice)
    }
}

/// What kernels read to compute a program, if memory is no limit.
fn packed(
    transforms: bool,
    graph: &Graph,
    program: &Program,
) -> impl Iterator<Item = (LayerId, Kept, ChannelRange)> {
    let weights = program.weights;
    program.regions(graph).into_iter().map(move |(layer, region)| {
        let tile = match &graph.layer(layer).op {
            Op::Conv(conv) if transforms => {
                Tile::best(conv, graph.input_shapes(layer)[0], region.rows.len(), weights)
            }
            _ => None,
        };
        (layer, Kept::Packed(tile, weights), region.channels)
    })
}

/// How many of `features` are in none of these ranges.
fn lacking<'a>(features: ChannelRange, held: impl Iterator<Item = &'a ChannelRange>) -> u64 {
    let missing = held.fold(vec![features], |missing, held| {
        missing.into_iter().flat_map(|part| part.minus(*held)).collect()
    });
    missing.iter().map(|part| u64::from(part.len())).sum()
}

/// The bytes of so many features of a layer, as in the model.
fn raw_bytes(graph: &Graph, layer: LayerId, features: u64) -> u64 {
    let parameters = graph.layer(layer).op.parameters();
    let rows = parameters.map(|id| graph.parameter(id).row_bytes());
    rows.map(|bytes| features * bytes).sum()
}

/// Which weights every device holds, in memory or on disk, and which of them are packed for its
/// kernels.
#[derive(Debug, Clone)]
pub struct Holdings {
    /// Whether weights are transformed for the height of a share.
    transforms: bool,
    held: Features,
    /// For the last program of each device.
    packed: Features,
    /// For programs that they stand by for.
    standby: Features,
}

impl Holdings {
    /// Nothing. `transforms` says whether kernels transform weights for the height of a share, as the
    /// fast ones do.
    pub fn new(transforms: bool) -> Holdings {
        let none = Features::default;
        Holdings { transforms, held: none(), packed: none(), standby: none() }
    }

    /// Records that a device has these features of these layers.
    pub fn add(&mut self, node: NodeId, features: &BTreeMap<LayerId, ChannelRange>) {
        for (layer, range) in features {
            self.held.add(node, *layer, Kept::Raw, *range);
        }
    }

    /// Records that a device has all weights of the graph.
    pub fn add_all(&mut self, node: NodeId, graph: &Graph) {
        let features = graph.layer_ids().map(|layer| {
            let channels = graph.output_shape(layer).channels;
            (layer, ChannelRange::new(0, channels))
        });
        self.add(node, &features.collect());
    }

    /// Records that a device has prepared a program: it holds its weights, and those are what the
    /// next program takes over.
    pub fn prepared(&mut self, node: NodeId, graph: &Graph, program: &Program) {
        let features = program.features(graph);
        self.add(node, &features);
        if !features.is_empty() {
            self.packed.forget(node);
            for (layer, kept, features) in packed(self.transforms, graph, program) {
                self.packed.add(node, layer, kept, features);
            }
        }
    }

    /// Records that a device has packed what these programs need, and keeps it in place of what it
    /// stood by for before.
    pub fn stands_by<'a>(
        &mut self,
        node: NodeId,
        graph: &Graph,
        programs: impl IntoIterator<Item = &'a Program>,
    ) {
        self.standby.forget(node);
        for program in programs {
            let features = program.features(graph);
            self.add(node, &features);
            for (layer, range) in features {
                self.standby.add(node, layer, Kept::Usable(program.weights), range);
            }
        }
    }

    /// Records that a device's process is gone: it has nothing packed, but all that is on its disk.
    pub fn lost(&mut self, node: NodeId) {
        self.packed.forget(node);
        self.standby.forget(node);
    }

    /// Whether a device has a program's weights packed, whichever program that is.
    pub fn has_prepared(&self, node: NodeId) -> bool {
        self.packed.0.keys().any(|(of, ..)| *of == node)
    }

    /// Whether a device has these features of a layer.
    pub fn has(&self, node: NodeId, layer: LayerId, features: ChannelRange) -> bool {
        lacking(features, self.held.ranges(node, layer, Kept::Raw).iter()) == 0
    }

    /// Whether a device has all weights.
    pub fn has_all(&self, node: NodeId, graph: &Graph) -> bool {
        let mut layers = graph.layer_ids();
        layers.all(|layer| {
            let has_weights = graph.layer(layer).op.parameters().next().is_some();
            let all = ChannelRange::new(0, graph.output_shape(layer).channels);
            !has_weights || self.has(node, layer, all)
        })
    }

    /// How many bytes of a program's weights a device does not hold.
    pub fn missing(&self, graph: &Graph, program: &Program, node: NodeId) -> Bytes {
        let bytes = |(layer, features)| {
            let held = self.held.ranges(node, layer, Kept::Raw).iter();
            raw_bytes(graph, layer, lacking(features, held))
        };
        Bytes(program.features(graph).into_iter().map(bytes).sum())
    }

    /// How many bytes of a program's weights a device has to pack. For a stopgap it uses whatever it
    /// has.
    fn unpacked(&self, graph: &Graph, program: &Program, node: NodeId, stopgap: bool) -> Bytes {
        let bytes = |(layer, kept, features)| {
            let fit = |(of, at, form): &(NodeId, LayerId, Kept)| {
                let suits = match (form, kept) {
                    (Kept::Packed(_, dtype) | Kept::Usable(dtype), Kept::Packed(_, wanted)) => {
                        *form == kept || stopgap && *dtype == wanted
                    }
                    _ => false,
                };
                (*of, *at) == (node, layer) && suits
            };
            let all = self.packed.0.iter().chain(&self.standby.0);
            let held = all.filter(|(key, _)| fit(key)).flat_map(|(_, ranges)| ranges);
            raw_bytes(graph, layer, lacking(features, held))
        };
        Bytes(packed(self.transforms, graph, program).map(bytes).sum())
    }

    /// How long until devices have packed what they need for their programs, once they have the
    /// weights. For a stopgap they use weights as they are packed.
    pub fn packing_time<'a>(
        &self,
        graph: &Graph,
        profile: &ClusterProfile,
        stopgap: bool,
        programs: impl IntoIterator<Item = (DeviceIx, NodeId, &'a Program)>,
    ) -> Ms {
        let times = programs.into_iter().map(|(device, node, program)| {
            let device = profile.device(device);
            match self.unpacked(graph, program, node, stopgap) {
                Bytes::ZERO => Ms::ZERO,
                Bytes(bytes) => {
                    let flops = PACKING * bytes as f64;
                    device.time(&Work { flops, ..Work::nothing(LayerKind::Conv) })
                }
            }
        });
        times.fold(Ms::ZERO, Ms::max)
    }

    /// The stages for which a device lacks weights, by index, if these are the members' programs. The
    /// leader has all weights.
    pub fn lacking(&self, graph: &Graph, programs: &[Program], members: &[NodeId]) -> Vec<usize> {
        let followers = programs.iter().zip(members).skip(1);
        let mut stages: Vec<usize> =
            followers.flat_map(|(program, node)| self.lacking_for(graph, program, *node)).collect();
        stages.sort_unstable();
        stages.dedup();
        stages
    }

    fn lacking_for(&self, graph: &Graph, program: &Program, node: NodeId) -> Vec<usize> {
        let mut lacking = Vec::new();
        for step in &program.steps {
            let Action::Compute { stage, runs } = &step.action else { continue };
            let lacks = runs.iter().any(|run| {
                let has_weights = graph.layer(run.layer).op.parameters().next().is_some();
                has_weights && !self.has(node, run.layer, run.region.channels)
            });
            if lacks {
                lacking.push(*stage);
            }
        }
        lacking
    }
}

/// How long the weights that devices lack occupy the links, if the leader sends them all: limited by
/// each device's link and by the leader's, which they share. `missing` is in cluster order; the
/// leader has all.
pub fn moving_time(profile: &ClusterProfile, missing: &[Bytes]) -> Ms {
    let followers = || profile.ids().zip(missing).skip(1);
    let all = followers().map(|(_, bytes)| *bytes).sum();
    let times = followers().map(|(device, bytes)| profile.link(device).time_for(*bytes));
    times.fold(profile.link(DeviceIx::LEADER).time_for(all), Ms::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coord::testing::one_convolution;
    use crate::cost::{DeviceProfile, LinkProfile};
    use crate::plan::Plan;
    use crate::program::derive;
    use crate::units::Mbps;

    const A: NodeId = NodeId(2);
    const B: NodeId = NodeId(3);

    #[test]
    fn holdings_add_up() {
        let mut holdings = Holdings::new(true);
        let layer = LayerId(0);
        holdings.add(A, &BTreeMap::from([(layer, ChannelRange::new(0, 16))]));
        holdings.add(A, &BTreeMap::from([(layer, ChannelRange::new(16, 48))]));
        assert!(holdings.has(A, layer, ChannelRange::new(8, 40)));
        assert!(!holdings.has(A, layer, ChannelRange::new(8, 50)));
        assert!(!holdings.has(B, layer, ChannelRange::new(8, 40)));
    }

    #[test]
    fn what_is_packed_is_that_of_the_last_program() {
        let graph = one_convolution();
        let whole = Plan::alone(graph.layers().len() as u32);
        let programs = derive(&graph, &whole).unwrap().programs;
        let device = DeviceProfile::described(10.0, 2.0);
        let link = LinkProfile::described(Mbps(1000.0), Ms(0.1));
        let profile = ClusterProfile::new([(device, link)]);
        let mut holdings = Holdings::new(true);
        let time = |holdings: &Holdings, node| {
            let programs = [(DeviceIx::LEADER, node, &programs[0])];
            holdings.packing_time(&graph, &profile, true, programs)
        };
        let all = time(&holdings, A);
        assert!(all > Ms::ZERO);
        holdings.add_all(A, &graph);
        assert_eq!(holdings.missing(&graph, &programs[0], A), Bytes::ZERO);
        assert_eq!(time(&holdings, A), all);
        holdings.prepared(A, &graph, &programs[0]);
        assert_eq!(time(&holdings, A), Ms::ZERO);
        assert_eq!(time(&holdings, B), all);
        assert!(holdings.has_prepared(A) && !holdings.has_prepared(B));
        // Standing by is as good, until the process is gone; its disk stays.
        holdings.stands_by(B, &graph, &programs);
        assert_eq!(time(&holdings, B), Ms::ZERO);
        holdings.lost(B);
        assert_eq!(time(&holdings, B), all);
        assert_eq!(holdings.missing(&graph, &programs[0], B), Bytes::ZERO);
        holdings.stands_by(B, &graph, &programs);
        holdings.stands_by(B, &graph, []);
        assert_eq!(time(&holdings, B), all, "for nothing any more");
    }

    #[test]
    fn weights_transformed_for_low_shares_are_used_for_high_ones_only_in_a_stopgap() {
        let graph = one_convolution();
        let whole = derive(&graph, &Plan::alone(1)).unwrap().programs;
        let mut low = whole[0].clone();
        for step in &mut low.steps {
            let Action::Compute { runs, .. } = &mut step.action else { continue };
            for run in runs {
                run.region.rows.end = run.region.rows.end.min(run.region.rows.start + 1);
            }
        }
        let unpacked = |transforms, stopgap| {
            let mut holdings = Holdings::new(transforms);
            holdings.prepared(A, &graph, &low);
            holdings.unpacked(&graph, &whole[0], A, stopgap)
        };
        assert!(unpacked(true, false) > Bytes::ZERO);
        assert_eq!(unpacked(true, true), Bytes::ZERO);
        assert_eq!(unpacked(false, false), Bytes::ZERO);
    }

    #[test]
    fn weights_share_the_link_of_the_leader() {
        let links = [80.0, 80.0, 8.0].map(|rate| LinkProfile::described(Mbps(rate), Ms(0.1)));
        let device = DeviceProfile::described(1.0, 1.0);
        let profile = ClusterProfile::new(links.map(|link| (device.clone(), link)));
        // At 10 bytes a microsecond, and one for the last device. What the leader lacks is nothing.
        let time = |missing: [u64; 3]| moving_time(&profile, &missing.map(Bytes));
        assert_eq!(time([9_000_000, 20_000, 0]), Ms(2.0));
        assert_eq!(time([0, 20_000, 1_000]), Ms(2.1));
        assert_eq!(time([0, 0, 1_000]), Ms(1.0));
        assert_eq!(time([0; 3]), Ms::ZERO);
    }
}
