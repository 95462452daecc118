//! What is known about devices and their links.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fit::{Fit, Sample};
use super::smoothed::Smoothed;
use super::work::{LayerKind, Work};
use crate::graph::{DType, Graph, LayerId, Tile};
use crate::plan::DeviceIx;
use crate::program::{Action, Program, Run};
use crate::region::Region;
use crate::units::{Bytes, Mbps, Ms};

/// A kind of layer with at least this part of a frame is corrected in full, a smaller one less: its
/// times are mostly noise.
const SUBSTANTIAL: f64 = 0.05;
/// Corrections stay within this factor: if a measurement is further off, something else is wrong.
const CORRECTION_LIMIT: f64 = 50.0;

/// How far what was learned in another run is believed.
const LEARNED_LIMIT: f64 = 2.0;

/// The speed of one device, and its memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeviceProfile {
    fits: [Fit; LayerKind::COUNT],
    corrections: [Smoothed; LayerKind::COUNT],
    /// What strips cost its processor.
    pub messages: MessageCost,
    /// What sessions may use on this device.
    pub memory: Bytes,
    /// Threads that the fits were measured with.
    pub threads: u32,
    /// Whether the fits count the work of the fast kernels, which compute 3x3 convolutions in
    /// tiles, or that of plain windows.
    pub tiled: bool,
}

/// By layer: how many rows of it a device computes.
pub(super) type Heights = BTreeMap<LayerId, u32>;

impl DeviceProfile {
    /// A device described by two figures: 10^9 floating-point operations per second in
    /// convolutions, and 10^9 bytes of weights per second in dense layers. Layers bound by memory,
    /// such as pools and sums, run at the second figure, too; depthwise layers run at a third of
    /// the first.
    pub fn described(gflops: f64, dense_gb_per_s: f64) -> DeviceProfile {
        let (per_flop, per_byte) = (1e-6 / gflops, 1e-6 / dense_gb_per_s);
        let none =
            Fit { per_flop: 0.0, per_activation_byte: 0.0, per_weight_byte: 0.0, per_run: 0.005 };
        let fits = LayerKind::ALL.map(|kind| match kind {
            LayerKind::PointConv | LayerKind::Conv | LayerKind::WideConv => {
                Fit { per_flop, ..none }
            }
            LayerKind::Depthwise => Fit { per_flop: 3.0 * per_flop, ..none },
            LayerKind::Pool | LayerKind::Elementwise => {
                Fit { per_activation_byte: per_byte, ..none }
            }
            LayerKind::Dense => Fit { per_weight_byte: per_byte, ..none },
        });
        DeviceProfile::of(fits, MessageCost::described(gflops))
    }

    /// A device about which nothing is known yet: a small single-board computer.
    pub fn unmeasured() -> DeviceProfile {
        DeviceProfile::described(10.0, 2.0)
    }

    /// A device that was measured. Kinds without samples are taken from the
    /// [unmeasured](DeviceProfile::unmeasured) device, scaled by how much faster or slower the
    /// measured kinds are on average.
    pub fn measured(samples: &[Sample], messages: MessageCost) -> DeviceProfile {
        let assumed = DeviceProfile::unmeasured().fits;
        let fits = LayerKind::ALL
            .map(|kind| Fit::of(samples.iter().filter(|sample| sample.work.kind == kind)));
        let ratios: Vec<f64> = samples
            .iter()
            .map(|sample| sample.time / assumed[sample.work.kind.index()].time(&sample.work))
            .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
            .map(f64::ln)
            .collect();
        let mean = match ratios.len() {
            0 => 1.0,
            count => (ratios.iter().sum::<f64>() / count as f64).exp(),
        };
        let fits = LayerKind::ALL
            .map(|kind| fits[kind.index()].unwrap_or(assumed[kind.index()].scaled(mean)));
        DeviceProfile::of(fits, messages)
    }

    fn of(fits: [Fit; LayerKind::COUNT], messages: MessageCost) -> DeviceProfile {
        let corrections = [Smoothed::new(1.0); LayerKind::COUNT];
        DeviceProfile {
            fits,
            corrections,
            messages,
            memory: Bytes(1_000_000_000),
            threads: 1,
            tiled: false,
        }
    }

    /// The same with another memory limit.
    #[must_use]
    pub fn with_memory(self, memory: Bytes) -> DeviceProfile {
        DeviceProfile { memory, ..self }
    }

    /// The same with another number of threads.
    #[must_use]
    pub fn with_threads(self, threads: u32) -> DeviceProfile {
        DeviceProfile { threads, ..self }
    }

    /// The same for fits to the work of the [fast kernels](Work::tiled), or not.
    #[must_use]
    pub fn with_tiles(self, tiled: bool) -> DeviceProfile {
        DeviceProfile { tiled, ..self }
    }

    /// What this device does to make `region` of `layer`'s output, as part of a share of `height`
    /// rows, with weights that are kept as `weights`.
    pub fn work(
        &self,
        graph: &Graph,
        layer: LayerId,
        region: Region,
        height: u32,
        weights: DType,
    ) -> Work {
        match self.tiled {
            true => Work::tiled(graph, layer, region, height, weights),
            false => Work::of(graph, layer, region).with_weights(weights),
        }
    }

    /// How many rows of each layer the device computes in all, where the work depends on it.
    pub(super) fn heights(&self, graph: &Graph, program: &Program) -> Heights {
        match self.tiled {
            true => {
                let regions = program.regions(graph).into_iter();
                regions.map(|(layer, region)| (layer, region.rows.len())).collect()
            }
            false => Heights::new(),
        }
    }

    /// What this device does in one run of a program with these `heights` and `weights`.
    pub(super) fn work_of(
        &self,
        graph: &Graph,
        run: &Run,
        heights: &Heights,
        weights: DType,
    ) -> Work {
        let height = heights.get(&run.layer).copied().unwrap_or(run.region.rows.len());
        self.work(graph, run.layer, run.region, height, weights)
    }

    /// What frames have taught: by kind of layer, how many times as long it takes as was measured.
    pub fn corrections(&self) -> Vec<f64> {
        self.corrections.iter().map(Smoothed::value).collect()
    }

    /// The same device, about which frames have taught this before. What a newer build has other
    /// kinds for is left out, and what is more than twice as long or short is believed that far only.
    #[must_use]
    pub fn with_corrections(mut self, learned: &[f64]) -> DeviceProfile {
        if learned.len() == LayerKind::COUNT && learned.iter().all(|factor| factor.is_finite()) {
            for (correction, factor) in self.corrections.iter_mut().zip(learned) {
                *correction = Smoothed::new(factor.clamp(1.0 / LEARNED_LIMIT, LEARNED_LIMIT));
            }
        }
        self
    }

    /// The fit of a kind, with the corrections learned so far.
    pub(crate) fn fit(&self, kind: LayerKind) -> Fit {
        self.fits[kind.index()].scaled(self.corrections[kind.index()].value())
    }

    /// Predicted time of one layer's work.
    pub fn time(&self, work: &Work) -> Ms {
        self.fit(work.kind).time(work)
    }

    /// Speed in 10^9 floating-point operations per second, in a 3x3 convolution from 128 to 128
    /// channels on a 56x56 map.
    pub fn gflops(&self) -> f64 {
        let (channels, side) = (128, 56);
        let cells = f64::from(side * side);
        let plain = Work {
            kind: LayerKind::Conv,
            flops: 2.0 * cells * f64::from(channels * channels) * 9.0,
            activation_bytes: 4.0 * 2.0 * cells * f64::from(channels),
            weight_bytes: 4.0 * f64::from(channels * channels) * 9.0,
        };
        let work = match self.tiled {
            true => plain.of_tiles(Tile::F4x4.work(side, side, channels, channels, DType::F32)),
            false => plain,
        };
        plain.flops / (self.time(&work).0 * 1e6)
    }

    /// Learns what the stages of `program` took in a frame. The time of a stage is put down to its
    /// kinds of layers in proportion to their predicted times; the correction of each kind then
    /// moves once, towards the ratio of all that was put down to it to all that was predicted. So
    /// stages count by how long they take, not by how late they come.
    pub fn observe(
        &mut self,
        graph: &Graph,
        program: &Program,
        stages: impl IntoIterator<Item = (usize, Ms)>,
    ) {
        let predicted = self.predicted(graph, program);
        let mut sums = [(0.0, 0.0); LayerKind::COUNT];
        for (stage, measured) in stages {
            let Some(parts) = predicted.get(&stage) else { continue };
            let total: f64 = parts.iter().sum();
            if total <= 0.0 || !measured.0.is_finite() || measured.0 <= 0.0 {
                continue;
            }
            for ((measured_of, predicted_of), part) in sums.iter_mut().zip(parts) {
                *measured_of += measured.0 * part / total;
                *predicted_of += part;
            }
        }
        let whole: f64 = sums.iter().map(|(_, predicted)| predicted).sum();
        for ((measured, predicted), correction) in sums.into_iter().zip(&mut self.corrections) {
            if predicted <= 0.0 {
                continue;
            }
            let target = correction.value() * measured / predicted;
            let target = target.clamp(1.0 / CORRECTION_LIMIT, CORRECTION_LIMIT);
            correction.observe(target, predicted / (whole * SUBSTANTIAL));
        }
    }

    /// Predicted time of every kind of layer, by stage.
    fn predicted(
        &self,
        graph: &Graph,
        program: &Program,
    ) -> BTreeMap<usize, [f64; LayerKind::COUNT]> {
        let heights = self.heights(graph, program);
        let mut stages = BTreeMap::new();
        for step in &program.steps {
            let Action::Compute { stage, runs } = &step.action else { continue };
            let parts = stages.entry(*stage).or_insert([0.0; LayerKind::COUNT]);
            for run in runs {
                let work = self.work_of(graph, run, &heights, program.weights);
                parts[work.kind.index()] += self.time(&work).0;
            }
        }
        stages
    }
}

/// What it costs a device's processor to send or to receive a message.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MessageCost {
    /// Of the message: system calls, and waking the thread that waits for it.
    pub per_message: Ms,
    /// Milliseconds per byte: copies and checks.
    pub per_byte: f64,
}

impl MessageCost {
    /// Of a processor of this speed in convolutions, in 10^9 floating-point operations per second,
    /// if nothing was measured: such a processor at 100 needs 20 us and handles 2 GB/s.
    fn described(gflops: f64) -> MessageCost {
        let slower = 100.0 / gflops;
        MessageCost { per_message: Ms(0.02 * slower), per_byte: 0.5e-6 * slower }
    }

    /// Processor time of a message with `bytes` of payload.
    pub fn of(&self, bytes: Bytes) -> Ms {
        self.per_message + Ms(bytes.as_f64() * self.per_byte)
    }
}

/// What is known about a device's network interface.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LinkProfile {
    /// Payload that it carries in each direction, both at once.
    pub goodput: Mbps,
    /// From the leader to the device and back, for an empty message.
    pub rtt: Ms,
}

impl LinkProfile {
    /// A link with this goodput and one-way latency.
    pub fn described(goodput: Mbps, latency: Ms) -> LinkProfile {
        LinkProfile { goodput, rtt: latency * 2.0 }
    }

    /// A link about which nothing is known yet: 100 Mbit/s, 1 ms round trip.
    pub fn unmeasured() -> LinkProfile {
        LinkProfile::described(Mbps(100.0), Ms(0.5))
    }

    /// How long the interface is busy with `bytes`.
    pub fn time_for(&self, bytes: Bytes) -> Ms {
        self.goodput.time_for(bytes)
    }
}

/// What is known about a cluster, in cluster order; device 0 is the leader.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClusterProfile {
    /// Speed and memory of every device.
    pub devices: Vec<DeviceProfile>,
    /// The link of every device.
    pub links: Vec<LinkProfile>,
    /// How many times longer frames take than their simulation if devices exchange strips: what
    /// speeds and links do not explain.
    pub overhead: f64,
}

impl ClusterProfile {
    /// From every device and its link.
    pub fn new(members: impl IntoIterator<Item = (DeviceProfile, LinkProfile)>) -> ClusterProfile {
        let (devices, links) = members.into_iter().unzip();
        ClusterProfile { devices, links, overhead: 1.0 }
    }

    /// The same with another overhead.
    #[must_use]
    pub fn with_overhead(self, overhead: f64) -> ClusterProfile {
        ClusterProfile { overhead, ..self }
    }

    /// Number of devices.
    pub fn len(&self) -> usize {
        self.devices.len().min(self.links.len())
    }

    /// Whether there is no device.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All devices, in cluster order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = DeviceIx> + ExactSizeIterator + use<> {
        (0..self.len() as u16).map(DeviceIx)
    }

    /// The profile of one device.
    pub fn device(&self, device: DeviceIx) -> &DeviceProfile {
        &self.devices[device.index()]
    }

    /// The link of one device.
    pub fn link(&self, device: DeviceIx) -> &LinkProfile {
        &self.links[device.index()]
    }

    /// Time for an empty message: half of the longer round trip, since round trips are measured
    /// from the leader.
    pub(crate) fn latency(&self, from: DeviceIx, to: DeviceIx) -> Ms {
        self.link(from).rtt.max(self.link(to).rtt) * 0.5
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Activation, Builder, LayerId, Op, Shape};
    use crate::plan::Plan;
    use crate::program::derive;

    #[test]
    fn described_speed_is_the_speed() {
        let device = DeviceProfile::described(100.0, 10.0);
        assert!((device.gflops() - 100.0).abs() < 1.0, "{}", device.gflops());
    }

    #[test]
    fn kinds_without_samples_follow_the_others() {
        let assumed = DeviceProfile::unmeasured();
        let work = Work { flops: 1e9, ..Work::nothing(LayerKind::Conv) };
        let samples = [Sample { work, time: assumed.time(&work) * 0.25 }];
        let device = DeviceProfile::measured(&samples, assumed.messages);
        let dense = Work { weight_bytes: 1e8, ..Work::nothing(LayerKind::Dense) };
        let ratio = device.time(&dense) / assumed.time(&dense);
        assert!((ratio - 0.25).abs() < 1e-9, "{ratio}");
    }

    #[test]
    fn what_was_learned_is_believed_within_bounds() {
        let learned: Vec<f64> =
            (0..LayerKind::COUNT).map(|kind| 1.0 + kind as f64 / 10.0).collect();
        let device = DeviceProfile::described(10.0, 1.0);
        let taught = device.clone().with_corrections(&learned);
        assert_eq!(taught.corrections(), learned);
        let work = Work { weight_bytes: 1e8, ..Work::nothing(LayerKind::Dense) };
        let factor = learned[LayerKind::Dense.index()];
        assert!((taught.time(&work) / device.time(&work) - factor).abs() < 1e-9);
        let wild = device.clone().with_corrections(&[1e9; LayerKind::COUNT]);
        assert_eq!(wild.corrections(), [LEARNED_LIMIT; LayerKind::COUNT]);
        for odd in [&[1.5][..], &[f64::NAN; LayerKind::COUNT]] {
            assert_eq!(device.clone().with_corrections(odd), device);
        }
    }

    #[test]
    fn a_slowed_device_is_believed_after_some_frames() {
        let graph = one_pool();
        let plan = Plan::alone(1);
        let program = derive(&graph, &plan).unwrap().programs.remove(0);
        let mut device = DeviceProfile::described(1.0, 1.0);
        let work = Work::of(&graph, LayerId(0), graph.output_shape(LayerId(0)).region());
        let before = device.time(&work);
        for _ in 0..20 {
            device.observe(&graph, &program, [(0, before * 3.0)]);
        }
        let ratio = device.time(&work) / before;
        assert!((ratio - 3.0).abs() < 0.05, "{ratio}");
        let conv = Work { flops: 1e9, ..Work::nothing(LayerKind::Conv) };
        assert_eq!(device.time(&conv), DeviceProfile::described(1.0, 1.0).time(&conv));
        device.observe(&graph, &program, [(0, Ms(f64::NAN)), (7, Ms(1.0))]);
        assert!(device.time(&work).0.is_finite());
    }

    #[test]
    fn profiles_are_kept_on_disk_as_they_are() {
        let member = (DeviceProfile::described(3.0, 2.0), LinkProfile::unmeasured());
        let cluster = ClusterProfile::new([member]);
        let bytes = rmp_serde::to_vec_named(&cluster).unwrap();
        assert_eq!(rmp_serde::from_slice::<ClusterProfile>(&bytes).unwrap(), cluster);
    }

    fn one_pool() -> Graph {
        let mut builder = Builder::new("pool");
        let x = builder.input("x", Shape::new(4, 8, 8), vec![4, 8, 8]).unwrap();
        let y = builder.layer("sum", Op::SumWidth, &[x], Activation::Linear).unwrap();
        builder.output("y", y, vec![4, 8]).unwrap();
        builder.finish().unwrap()
    }
}
