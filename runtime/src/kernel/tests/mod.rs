//! Tests every kernel against the simplest possible loops, and every strip against the whole.

mod layers;
mod naive;
mod rearrange;
mod windows;
mod winograd;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use half::f16;
use pulp::Arch;

use super::{Alone, KernelKind, Kernels, Map, Scratch, Setup, Threads};
use crate::graph::{Activation, Builder, DType, Graph, LayerId, Op, ParameterId, Shape};
use crate::kernel::memory::lanes::LANES;
use crate::region::{ChannelRange, Region, RowRange};
use crate::weights::{WeightError, WeightSource};

/// A value between -1 and 1 for element `index`; depends on `seed`.
fn value(seed: u32, index: usize) -> f32 {
    let mut x = (u64::from(seed) << 32 | index as u64).wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let unit = ((x ^ (x >> 31)) >> 40) as f32 / (1u32 << 24) as f32;
    // Exact in float16, too, so that its rounding does not matter.
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

/// Spawns threads for every call, so that the tasks of a layer really run at the same time.
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

/// The elements of `region` of a tensor of `values`.
fn cut(shape: Shape, region: Region, values: &[f32]) -> Vec<f32> {
    let mut part = Vec::new();
    for channel in region.channels.indices() {
        let row = |row: usize| (channel * shape.rows as usize + row) * shape.width as usize;
        part.extend(&values[row(region.rows.indices().start)..row(region.rows.indices().end)]);
    }
    part
}

/// Fills a region of a map; all other elements become NaN.
fn fill(map: &mut Map, region: Region, values: &[f32]) {
    map.as_mut_slice().fill(f32::NAN);
    let places = places(map, region);
    for (place, value) in places.into_iter().zip(values) {
        map.as_mut_slice()[place] = *value;
    }
}

/// The elements of a map, channel by channel.
fn read(map: &Map) -> Vec<f32> {
    places(map, map.region()).into_iter().map(|place| map.as_slice()[place]).collect()
}

/// Where the elements of a region of a map are.
fn places(map: &Map, region: Region) -> Vec<usize> {
    let lanes = map.lanes() as usize;
    let lines = region
        .channels
        .indices()
        .flat_map(|channel| (region.rows.start..region.rows.end).map(move |row| (channel, row)));
    lines
        .flat_map(|(channel, row)| {
            map.line(channel as u32, row).skip(channel % lanes).step_by(lanes)
        })
        .collect()
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

    fn kernels(&self, setup: impl Into<Setup>, region: Region) -> Kernels {
        let regions = BTreeMap::from([(LayerId(0), region)]);
        let source = Values(Arc::clone(&self.graph));
        Kernels::prepare(&self.graph, &regions, &source, setup, &[]).unwrap()
    }

    /// Computes `region`, to a map that holds just it, from inputs that hold what it reads and other
    /// rows that have not arrived.
    fn region(&self, kind: KernelKind, region: Region, threads: &dyn Threads) -> Vec<f32> {
        self.region_by(&self.kernels(kind, region), region, threads)
    }

    fn region_by(&self, kernels: &Kernels, region: Region, threads: &dyn Threads) -> Vec<f32> {
        let layer = self.graph.layer(LayerId(0));
        let shapes = self.graph.input_shapes(LayerId(0));
        // A region that reads only padding may come with any map.
        let unread = |shape: Shape| {
            let last = ChannelRange::new(shape.channels - 1, shape.channels);
            Region::new(last, RowRange::new(0, 1))
        };
        let inputs: Vec<Map> = (self.inputs.iter().enumerate())
            .map(|(index, values)| {
                let needs = match layer.op.reads(index, shapes, region) {
                    needs if needs.is_empty() => unread(shapes[index]),
                    needs => needs,
                };
                let (rows, total) = (needs.rows, shapes[index].rows);
                let more = RowRange::new(rows.start.saturating_sub(2), total.min(rows.end + 3));
                let held = Region::new(needs.channels, more);
                let mut map = kernels.map(layer.inputs[index], held);
                fill(&mut map, needs, &cut(shapes[index], needs, values));
                map
            })
            .collect();
        let inputs: Vec<&Map> = inputs.iter().collect();
        let mut output = kernels.map(self.graph.output_of(LayerId(0)), region);
        output.as_mut_slice().fill(f32::NAN);
        let mut scratch = Scratch::new();
        kernels.run(LayerId(0), &inputs, &mut output, region, &mut scratch, threads).unwrap();
        read(&output)
    }

    /// The whole output and a region of it, computed with the instruction set `arch`.
    fn by(&self, arch: Arch, region: Region) -> (Vec<f32>, Vec<f32>) {
        let whole = self.shape().region();
        let kernels = Kernels { arch, ..self.kernels(KernelKind::Exact, whole) };
        let by = |region| self.region_by(&kernels, region, &Alone);
        (by(whole), by(region))
    }

    fn whole(&self, kind: KernelKind) -> Vec<f32> {
        self.region(kind, self.shape().region(), &Alone)
    }

    /// The part of the whole output that lies in `region`.
    fn part(&self, whole: &[f32], region: Region) -> Vec<f32> {
        cut(self.shape(), region, whole)
    }
}

/// A region of a shape: `from..to` are fractions of 256 of its channels, rounded to whole blocks,
/// and rows.
fn region(shape: Shape, channels: (u8, u8), rows: (u8, u8)) -> Region {
    let range = |(a, b): (u8, u8), len: u32| {
        let start = u32::from(a.min(b)) * len / 256;
        (start, (u32::from(a.max(b)) * len).div_ceil(256).max(start + 1))
    };
    let (channels, rows) = (range(channels, shape.channels), range(rows, shape.rows));
    let (start, end) = (channels.0 / LANES * LANES, channels.1.next_multiple_of(LANES));
    let channels = ChannelRange::new(start, end.min(shape.channels));
    Region::new(channels, RowRange::new(rows.0, rows.1))
}

/// All instruction sets of this machine, the plainest first.
pub(super) fn archs() -> Vec<Arch> {
    let mut archs = vec![Arch::Scalar];
    #[cfg(target_arch = "x86_64")]
    archs.extend(pulp::x86::V3::try_new().map(Arch::V3));
    archs.push(Arch::new());
    archs
}

/// The bits of values, for exact comparison and short messages.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
