//! Which weights the devices have, and how long it takes until they are ready for a plan.
//!
//! A device fetches the weights that it does not have, then packs them for its kernels, as far as the
//! last program that it prepared does not have them packed already. Both can take longer than many
//! frames.
//!
//! Worked example: a device at 10 GFLOP/s that has never had a share packs 8 MB of weights in
//! 8e6 * 200 / 10e9 = 160 ms.

use std::collections::BTreeMap;

use crate::cost::{ClusterProfile, LayerKind, Work};
use crate::graph::{Graph, LayerId};
use crate::ids::NodeId;
use crate::plan::DeviceIx;
use crate::program::{Action, Program};
use crate::region::ChannelRange;
use crate::units::{Bytes, Ms};

/// Operations of a convolution that take as long as packing a byte of weights. Measured on x86 from
/// 100 (dense layers) to 400 (3x3 convolutions, which are transformed).
const PACKING: f64 = 200.0;

/// Which features of which layers every device has.
#[derive(Debug, Clone, Default)]
struct Features(BTreeMap<(NodeId, LayerId), Vec<ChannelRange>>);

impl Features {
    fn add(&mut self, node: NodeId, features: &BTreeMap<LayerId, ChannelRange>) {
        for (layer, range) in features {
            let ranges = self.0.entry((node, *layer)).or_default();
            if !ranges.iter().any(|held| held.covers(*range)) {
                ranges.retain(|held| !range.covers(*held));
                ranges.push(*range);
            }
        }
    }

    fn forget(&mut self, node: NodeId) {
        self.0.retain(|(of, _), _| *of != node);
    }

    fn has(&self, node: NodeId, layer: LayerId, features: ChannelRange) -> bool {
        self.lacking(node, layer, features) == 0
    }

    /// How many of these features a device does not have.
    fn lacking(&self, node: NodeId, layer: LayerId, features: ChannelRange) -> u64 {
        let held = self.0.get(&(node, layer)).map_or(&[][..], Vec::as_slice);
        let missing = held.iter().fold(vec![features], |missing, held| {
            missing.into_iter().flat_map(|part| part.minus(*held)).collect()
        });
        missing.iter().map(|part| u64::from(part.len())).sum()
    }

    /// How many bytes of a program's weights a device does not have.
    fn missing(&self, graph: &Graph, program: &Program, node: NodeId) -> Bytes {
        let bytes = |(layer, range)| {
            let features = self.lacking(node, layer, range);
            let parameters = graph.layer(layer).op.parameters();
            let rows = parameters.map(|id| graph.parameter(id).row_bytes());
            rows.map(|bytes| features * bytes).sum::<u64>()
        };
        Bytes(program.features(graph).into_iter().map(bytes).sum())
    }
}

/// Which weights every device holds, in memory or on disk, and which of them are packed for its
/// kernels.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    held: Features,
    packed: Features,
}

impl Holdings {
    /// Records that a device has these features of these layers.
    pub fn add(&mut self, node: NodeId, features: &BTreeMap<LayerId, ChannelRange>) {
        self.held.add(node, features);
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
            self.packed.add(node, &features);
        }
    }

    /// Whether a device has a program's weights packed, whichever program that is.
    pub fn has_prepared(&self, node: NodeId) -> bool {
        self.packed.0.keys().any(|(of, _)| *of == node)
    }

    /// Whether a device has these features of a layer.
    pub fn has(&self, node: NodeId, layer: LayerId, features: ChannelRange) -> bool {
        self.held.has(node, layer, features)
    }

    /// How many bytes of a program's weights a device does not hold.
    pub fn missing(&self, graph: &Graph, program: &Program, node: NodeId) -> Bytes {
        self.held.missing(graph, program, node)
    }

    /// How long until all members have packed what they need for their programs, once they have the
    /// weights.
    pub fn packing_time(
        &self,
        graph: &Graph,
        profile: &ClusterProfile,
        programs: &[Program],
        members: &[NodeId],
    ) -> Ms {
        let devices = profile.ids().map(|device| profile.device(device));
        let times = programs.iter().zip(members).zip(devices).map(|((program, node), device)| {
            match self.packed.missing(graph, program, *node) {
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
    use crate::cost::{DeviceProfile, LinkProfile};
    use crate::graph::{Activation, Builder, Conv, DType, Op, Parameter, Shape, Sweep, Window};
    use crate::plan::Plan;
    use crate::program::derive;
    use crate::units::Mbps;

    const A: NodeId = NodeId(2);
    const B: NodeId = NodeId(3);

    #[test]
    fn holdings_add_up() {
        let mut holdings = Holdings::default();
        let layer = LayerId(0);
        holdings.add(A, &BTreeMap::from([(layer, ChannelRange::new(0, 16))]));
        holdings.add(A, &BTreeMap::from([(layer, ChannelRange::new(16, 48))]));
        assert!(holdings.has(A, layer, ChannelRange::new(8, 40)));
        assert!(!holdings.has(A, layer, ChannelRange::new(8, 50)));
        assert!(!holdings.has(B, layer, ChannelRange::new(8, 40)));
    }

    fn one_convolution() -> Graph {
        let mut builder = Builder::new("model");
        let x = builder.input("x", Shape::new(8, 4, 4), vec![8, 4, 4]).unwrap();
        let parameter = Parameter { name: "w".to_owned(), features: 16, row: 8, dtype: DType::F32 };
        let weight = builder.parameter(parameter).unwrap();
        let window = Window::square(Sweep::point());
        let conv = Conv { features: 16, groups: 1, window, weight, scale: None, bias: None };
        let y = builder.layer("y", Op::Conv(conv), &[x], Activation::Linear).unwrap();
        builder.output("y", y, vec![16, 4, 4]).unwrap();
        builder.finish().unwrap()
    }

    #[test]
    fn what_is_packed_is_that_of_the_last_program() {
        let graph = one_convolution();
        let whole = Plan::alone(graph.layers().len() as u32);
        let programs = derive(&graph, &whole).unwrap().programs;
        let device = DeviceProfile::described(10.0, 2.0);
        let link = LinkProfile::described(Mbps(1000.0), Ms(0.1));
        let profile = ClusterProfile::new([(device, link)]);
        let mut holdings = Holdings::default();
        let time =
            |holdings: &Holdings, node| holdings.packing_time(&graph, &profile, &programs, &[node]);
        let all = time(&holdings, A);
        assert!(all > Ms::ZERO);
        holdings.add_all(A, &graph);
        assert_eq!(holdings.missing(&graph, &programs[0], A), Bytes::ZERO);
        assert_eq!(time(&holdings, A), all);
        holdings.prepared(A, &graph, &programs[0]);
        assert_eq!(time(&holdings, A), Ms::ZERO);
        assert_eq!(time(&holdings, B), all);
        assert!(holdings.has_prepared(A) && !holdings.has_prepared(B));
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
