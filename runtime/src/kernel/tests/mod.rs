//! Every kernel against the plainest possible loops, and every strip against the whole.

mod layers;
mod naive;
mod windows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use half::f16;
use pulp::Arch;

use super::{Alone, KernelKind, Kernels, Map, Scratch, Threads};
use crate::graph::{Activation, Builder, DType, Graph, LayerId, Op, ParameterId, Shape};
use crate::region::{ChannelRange, Region, RowRange};
use crate::weights::{WeightError, WeightSource};

/// Something between -1 and 1 for the element `index` of the thing `seed`.
fn value(seed: u32, index: usize) -> f32 {
    let mut x = (u64::from(seed) << 32 | index as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let unit = ((x ^ (x >> 31)) >> 40) as f32 / (1u32 << 24) as f32;
    // Exact in float16 too, so that its rounding is not what is compared.
    f16::from_f32(unit * 2.0 - 1.0).to_f32()
}

/// Weights that are [`value`]s.
struct Values(Arc<Graph>);

impl WeightSource for Values {
    fn read(
        &self,
        id: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        let parameter = self.0.parameter(id);
        let row = parameter.row as usize;
        for index in features.start as usize * row..features.end as usize * row {
            let value = value(id.0, index);
            match parameter.dtype {
                DType::F32 => out.extend(value.to_le_bytes()),
                DType::F16 => out.extend(f16::from_f32(value).to_le_bytes()),
            }
        }
        Ok(())
    }
}

/// Threads that are spawned for every call: the tasks of a layer really run at the same time.
struct Many(usize);

impl Threads for Many {
    fn count(&self) -> usize {
        self.0
    }

    fn each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        thread::scope(|scope| {
            for index in 0..tasks {
                scope.spawn(move || task(index));
            }
        });
    }
}

/// A graph of one layer.
fn single(inputs: &[Shape], activation: Activation, op: impl FnOnce(&mut Builder) -> Op) -> Graph {
    let mut builder = Builder::new("single");
    let dims = |shape: Shape| [1, shape.channels, shape.rows, shape.width].map(u64::from).to_vec();
    let inputs: Vec<_> =
        inputs.iter().map(|shape| builder.input("x", *shape, dims(*shape)).unwrap()).collect();
    let op = op(&mut builder);
    let output = builder.layer("layer", op, &inputs, activation).unwrap();
    let shape = builder.shape(output);
    builder.output("y", output, dims(shape)).unwrap();
    builder.finish().unwrap()
}

/// A map of `region` cut out of a tensor of `values`.
fn cut(shape: Shape, region: Region, values: &[f32]) -> Map {
    let mut map = Map::zeros(region, shape.width, 1);
    for channel in region.channels.start..region.channels.end {
        for row in region.rows.start..region.rows.end {
            let start = (channel * shape.rows + row) as usize * shape.width as usize;
            let line = map.line(channel, row);
            map.as_mut_slice()[line].copy_from_slice(&values[start..][..shape.width as usize]);
        }
    }
    map
}

/// A graph of one layer with inputs for it.
struct Bench {
    graph: Arc<Graph>,
    inputs: Vec<Vec<f32>>,
}

impl Bench {
    fn new(graph: Graph) -> Bench {
        let shapes = graph.input_shapes(LayerId(0)).iter().enumerate();
        let inputs = shapes
            .map(|(index, shape)| {
                (0..shape.elements() as usize).map(|i| value(100 + index as u32, i)).collect()
            })
            .collect();
        Bench { graph: Arc::new(graph), inputs }
    }

    fn shape(&self) -> Shape {
        self.graph.output_shape(LayerId(0))
    }

    fn kernels(&self, kind: KernelKind, features: ChannelRange) -> Kernels {
        let features = BTreeMap::from([(LayerId(0), features)]);
        let source = Values(Arc::clone(&self.graph));
        Kernels::prepare(&self.graph, &features, &source, kind, None).unwrap()
    }

    /// Computes `region` from inputs that hold just what it reads, onto a map that holds just it.
    fn region(&self, kind: KernelKind, region: Region, threads: &dyn Threads) -> Vec<f32> {
        self.region_by(&self.kernels(kind, region.channels), region, threads)
    }

    fn region_by(&self, kernels: &Kernels, region: Region, threads: &dyn Threads) -> Vec<f32> {
        let layer = self.graph.layer(LayerId(0));
        let shapes = self.graph.input_shapes(LayerId(0));
        // What reads nothing but padding may be given any map.
        let unread = |shape: Shape| {
            let last = ChannelRange::new(shape.channels - 1, shape.channels);
            Region::new(last, RowRange::new(0, 1))
        };
        let inputs: Vec<Map> = (self.inputs.iter().enumerate())
            .map(|(index, values)| match layer.op.reads(index, shapes, region) {
                needs if needs.is_empty() => cut(shapes[index], unread(shapes[index]), values),
                needs => cut(shapes[index], needs, values),
            })
            .collect();
        let inputs: Vec<&Map> = inputs.iter().collect();
        let mut output = Map::zeros(region, self.shape().width, 1);
        let mut scratch = Scratch::new();
        kernels.run(LayerId(0), &inputs, &mut output, region, &mut scratch, threads).unwrap();
        output.as_slice().to_vec()
    }

    /// The whole output and some region of it by the instruction set `arch`.
    fn by(&self, arch: Arch, region: Region) -> (Vec<f32>, Vec<f32>) {
        let whole = self.shape().region();
        let kernels = Kernels { arch, ..self.kernels(KernelKind::Exact, whole.channels) };
        let by = |region| self.region_by(&kernels, region, &Alone);
        (by(whole), by(region))
    }

    fn whole(&self, kind: KernelKind) -> Vec<f32> {
        self.region(kind, self.shape().region(), &Alone)
    }

    /// What of the whole output lies in `region`.
    fn part(&self, whole: &[f32], region: Region) -> Vec<f32> {
        cut(self.shape(), region, whole).as_slice().to_vec()
    }
}

/// A region of a shape: `from..to` are fractions of 256 of its channels and rows.
fn region(shape: Shape, channels: (u8, u8), rows: (u8, u8)) -> Region {
    let range = |(a, b): (u8, u8), len: u32| {
        let start = u32::from(a.min(b)) * len / 256;
        (start, (u32::from(a.max(b)) * len).div_ceil(256).max(start + 1))
    };
    let (channels, rows) = (range(channels, shape.channels), range(rows, shape.rows));
    Region::new(ChannelRange::new(channels.0, channels.1), RowRange::new(rows.0, rows.1))
}

/// All instruction sets of this machine, the plainest first.
fn archs() -> Vec<Arch> {
    let mut archs = vec![Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
    archs.push(Arch::new());
    archs
}

/// Bits, so that a comparison is of what is stored and its message is short.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
