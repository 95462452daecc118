//! How fast layers are computed on one thread, whole and in strips:
//! `cargo bench --workspace --bench layers -- [FILTER]`.
//!
//! For each layer of each list, prints the shortest of several runs and its speed in GFLOP/s, or in
//! GB/s of weights for dense layers. For convolutions it also prints the time of the slowest of five
//! equal strips of rows, as a fraction of that: a fifth at best. Then comes how long the layer takes
//! with weights of halves, by turns with the others. Totals of the list follow. Layers run one after
//! another, as in a frame, so that caches are in the same state as in use. At the end are strips of a
//! few rows of a convolution from 512 to 512 channels, where reading the weights dominates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeld_runtime::graph::{
    Activation, Builder, Conv, DType, Graph, GraphError, LayerId, Op, Parameter, ParameterId, Pool,
    Reduction, Shape, Sweep, TensorId, Window,
};
use edgeld_runtime::kernel::{Alone, KernelError, KernelKind, Kernels, Map, Scratch, Setup};
use edgeld_runtime::region::{ChannelRange, Region, RowRange};
use edgeld_runtime::weights::{WeightError, WeightSource};

/// Runs of each layer.
const RUNS: usize = 15;

/// Even strips of the rows.
const STRIPS: u32 = 5;

/// Heights of thin strips.
const THIN: [u32; 5] = [1, 2, 3, 4, 6];

/// Weights that are all the same.
struct Even(Arc<Graph>);

impl WeightSource for Even {
    fn read(
        &self,
        id: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        let elements = self.0.parameter(id).row as usize * features.len() as usize;
        out.extend(std::iter::repeat_n(0.01f32.to_le_bytes(), elements).flatten());
        Ok(())
    }
}

/// A list of layers one after the other.
struct List {
    name: &'static str,
    builder: Builder,
    tensor: TensorId,
    count: u32,
}

impl List {
    fn new(name: &'static str, input: Shape) -> Result<List, GraphError> {
        let mut builder = Builder::new(name);
        let tensor = builder.input("x", input, vec![input.elements()])?;
        Ok(List { name, builder, tensor, count: 0 })
    }

    /// The mean of maps of 7x7, and a thousand classes.
    fn classifier(&mut self) -> Result<(), GraphError> {
        let reduction = Reduction::Average { count_padding: false };
        let window = Window::whole(7, 7);
        self.layer(Op::Pool(Pool { reduction, window }), Activation::Linear)?;
        self.dense(1000)
    }

    fn layer(&mut self, op: Op, activation: Activation) -> Result<(), GraphError> {
        self.count += 1;
        let name = format!("{} {}", op.name(), self.count);
        self.tensor = self.builder.layer(&name, op, &[self.tensor], activation)?;
        Ok(())
    }

    fn conv(&mut self, features: u32, groups: u32, window: Window) -> Result<(), GraphError> {
        let row = u64::from(self.builder.shape(self.tensor).channels / groups) * window.cells();
        let mut parameter = |row| {
            let dtype = DType::F32;
            self.builder.parameter(Parameter { name: "weights".into(), features, row, dtype })
        };
        let (weight, bias) = (parameter(row as u32)?, Some(parameter(1)?));
        let conv = Conv { features, groups, window, weight, scale: None, bias };
        self.layer(Op::Conv(conv), Activation::Relu)
    }

    /// A square convolution of `kernel`, padded so that only `stride` shrinks the map.
    fn square(&mut self, features: u32, kernel: u32, stride: u32) -> Result<(), GraphError> {
        self.conv(features, 1, Window::square(same(kernel, stride)))
    }

    fn depthwise(&mut self, kernel: u32, stride: u32) -> Result<(), GraphError> {
        let channels = self.builder.shape(self.tensor).channels;
        self.conv(channels, channels, Window::square(same(kernel, stride)))
    }

    fn dense(&mut self, features: u32) -> Result<(), GraphError> {
        let shape = self.builder.shape(self.tensor);
        self.conv(features, 1, Window::whole(shape.rows, shape.width))
    }

    fn max_pool(&mut self) -> Result<(), GraphError> {
        let window = Window::square(Sweep { kernel: 2, stride: 2, ..Sweep::point() });
        let pool = Pool { reduction: Reduction::Max, window };
        self.layer(Op::Pool(pool), Activation::Linear)
    }

    fn run(mut self) -> Result<(), Box<dyn std::error::Error>> {
        let elements = self.builder.shape(self.tensor).elements();
        self.builder.output("y", self.tensor, vec![elements])?;
        let graph = Arc::new(self.builder.finish()?);
        let all = graph.layer_ids().map(|id| (id, graph.output_shape(id).region()));
        let all: BTreeMap<LayerId, Region> = all.collect();
        let mut whole = Share::new(&graph, all.clone(), DType::F32)?;
        let mut halves = Share::new(&graph, all, DType::F16)?;
        let strips = (0..STRIPS).map(|index| Share::new(&graph, strips(&graph, index), DType::F32));
        let mut strips: Vec<Share> = strips.collect::<Result<_, _>>()?;
        let mut scratch = Scratch::new();
        for _ in 0..RUNS {
            for share in [&mut whole, &mut halves].into_iter().chain(&mut strips) {
                share.run(&mut scratch)?;
            }
        }
        let mut slowest: BTreeMap<LayerId, Duration> = BTreeMap::new();
        for (&layer, &time) in strips.iter().flat_map(|strip| &strip.best) {
            let most = slowest.entry(layer).or_default();
            *most = time.max(*most);
        }

        let mut sums = BTreeMap::new();
        for (&layer, &time) in &whole.best {
            let strip = slowest.get(&layer).map(|strip| strip.as_secs_f64() / time.as_secs_f64());
            whole.print(layer, time, strip, halves.best[&layer]);
            *sums.entry(whole.kernels.algorithm(layer)).or_insert(Duration::ZERO) += time;
        }
        let sum = sums.values().sum::<Duration>();
        let half: Duration = halves.best.values().sum();
        let [sum, half] = [sum, half].map(|time| time.as_secs_f64() * 1e3);
        println!("{}: {sum:.1} ms; with halves {half:.1} ms", graph.name());
        for (algorithm, time) in sums {
            println!("    {algorithm}: {:.1} ms", time.as_secs_f64() * 1e3);
        }
        let convolutions: Duration = slowest.keys().map(|layer| whole.best[layer]).sum();
        let strips: Duration = slowest.values().sum();
        let part = strips.as_secs_f64() / convolutions.as_secs_f64();
        println!("    slowest of {STRIPS} strips of the convolutions: {part:.3} of the whole");
        Ok(())
    }
}

/// Strips of the rows of convolutions.
fn strips(graph: &Graph, index: u32) -> BTreeMap<LayerId, Region> {
    let strip = |id: LayerId| {
        let shape = graph.output_shape(id);
        let is_conv = matches!(graph.layer(id).op, Op::Conv(_));
        let rows = RowRange::new(index * shape.rows / STRIPS, (index + 1) * shape.rows / STRIPS);
        let region = Region::new(ChannelRange::all(shape.channels), rows);
        (is_conv && shape.rows > 1 && !region.is_empty()).then_some((id, region))
    };
    graph.layer_ids().filter_map(strip).collect()
}

/// A region of some layers, and the shortest run of each.
struct Share {
    graph: Arc<Graph>,
    kernels: Kernels,
    layers: Vec<(LayerId, Region, Map, Map)>,
    best: BTreeMap<LayerId, Duration>,
}

impl Share {
    fn new(
        graph: &Arc<Graph>,
        regions: BTreeMap<LayerId, Region>,
        weights: DType,
    ) -> Result<Share, KernelError> {
        let source = Even(Arc::clone(graph));
        let setup = Setup { weights, ..KernelKind::Fast.into() };
        let kernels = Kernels::prepare(graph, &regions, &source, setup, &[])?;
        let maps = |(layer, region): (LayerId, Region)| {
            let input = graph.layer(layer).inputs[0];
            let reads = graph.layer(layer).op.reads(0, graph.input_shapes(layer), region);
            let mut input = kernels.map(input, reads);
            let values = input.as_mut_slice().iter_mut().enumerate();
            values.for_each(|(i, x)| *x = (i % 7) as f32 - 3.0);
            (layer, region, input, kernels.map(graph.output_of(layer), region))
        };
        let layers = regions.into_iter().map(maps).collect();
        Ok(Share { graph: Arc::clone(graph), kernels, layers, best: BTreeMap::new() })
    }

    fn run(&mut self, scratch: &mut Scratch) -> Result<(), KernelError> {
        for (layer, region, input, output) in &mut self.layers {
            let start = Instant::now();
            self.kernels.run(*layer, &[&*input], output, *region, scratch, &Alone)?;
            let least = self.best.entry(*layer).or_insert(Duration::MAX);
            *least = start.elapsed().min(*least);
        }
        Ok(())
    }

    fn print(&self, layer: LayerId, time: Duration, strip: Option<f64>, half: Duration) {
        let node = self.graph.layer(layer);
        let (from, to) = (self.graph.input_shapes(layer)[0], self.graph.output_shape(layer));
        let rate = match &node.op {
            Op::Conv(conv) => {
                let row = u64::from(self.graph.parameter(conv.weight).row);
                let products = row * to.elements();
                let (work, unit) = match conv.is_dense(from) {
                    true => (4 * products, "GB/s"),
                    false => (2 * products, "GFLOP/s"),
                };
                format!("{:7.1} {unit}", work as f64 / time.as_secs_f64() / 1e9)
            }
            _ => String::new(),
        };
        let name = format!("{} {}", node.name, self.kernels.algorithm(layer));
        let strip = strip.map_or(String::new(), |part| format!("{part:.2}"));
        let [ms, half] = [time, half].map(|time| time.as_secs_f64() * 1e3);
        println!("{name:24} {from} -> {to}: {ms:8.3} ms {rate:15} {strip:>6} {half:8.3} ms");
    }
}

/// Strips from the middle of a map of 28x28, of floats and of halves.
fn thin_strips() -> Result<(), Box<dyn std::error::Error>> {
    let mut list = List::new("thin strips", Shape::new(512, 28, 28))?;
    for _ in 0..3 {
        list.square(512, 3, 1)?;
    }
    let elements = list.builder.shape(list.tensor).elements();
    list.builder.output("y", list.tensor, vec![elements])?;
    let graph = Arc::new(list.builder.finish()?);
    let share = |rows: u32, weights| {
        let region = Region::new(ChannelRange::all(512), RowRange::new(12, 12 + rows));
        Share::new(&graph, graph.layer_ids().map(|layer| (layer, region)).collect(), weights)
    };
    let mut scratch = Scratch::new();
    for rows in THIN {
        let mut shares = [share(rows, DType::F32)?, share(rows, DType::F16)?];
        for _ in 0..RUNS {
            for share in &mut shares {
                share.run(&mut scratch)?;
            }
        }
        let [floats, halves] = shares.map(|share| {
            let ms = share.best.values().sum::<Duration>().as_secs_f64() * 1e3 / 3.0;
            format!("{ms:.3} ms, {}", share.kernels.algorithm(LayerId(0)))
        });
        println!("512 x 28 x 28, {rows} rows: floats {floats}; halves {halves}");
    }
    Ok(())
}

fn same(kernel: u32, stride: u32) -> Sweep {
    let pad = kernel / 2;
    Sweep { kernel, stride, pad_before: pad, pad_after: pad, ..Sweep::point() }
}

fn vgg16() -> Result<List, GraphError> {
    let mut list = List::new("vgg16", Shape::new(3, 224, 224))?;
    for (features, convolutions) in [(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)] {
        for _ in 0..convolutions {
            list.square(features, 3, 1)?;
        }
        list.max_pool()?;
    }
    for features in [4096, 4096, 1000] {
        list.dense(features)?;
    }
    Ok(list)
}

fn mobilenet_v2() -> Result<List, GraphError> {
    let mut list = List::new("mobilenetv2", Shape::new(3, 224, 224))?;
    list.square(32, 3, 2)?;
    let stages = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (expansion, features, count, first) in stages {
        for index in 0..count {
            let channels = list.builder.shape(list.tensor).channels;
            if expansion > 1 {
                list.square(channels * expansion, 1, 1)?;
            }
            list.depthwise(3, if index == 0 { first } else { 1 })?;
            list.square(features, 1, 1)?;
        }
    }
    list.square(1280, 1, 1)?;
    list.classifier()?;
    Ok(list)
}

fn resnet50() -> Result<List, GraphError> {
    let mut list = List::new("resnet50", Shape::new(3, 224, 224))?;
    list.square(64, 7, 2)?;
    list.max_pool()?;
    for (features, count, first) in [(64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)] {
        for index in 0..count {
            list.square(features, 1, 1)?;
            list.square(features, 3, if index == 0 { first } else { 1 })?;
            list.square(4 * features, 1, 1)?;
        }
    }
    list.classifier()?;
    Ok(list)
}

fn assorted() -> Result<List, GraphError> {
    let mut list = List::new("stems and five by five", Shape::new(3, 224, 224))?;
    list.square(64, 7, 2)?;
    list.depthwise(5, 1)?;
    list.depthwise(5, 2)?;
    list.square(128, 3, 2)?;
    list.square(256, 1, 2)?;
    Ok(list)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    for list in [vgg16()?, resnet50()?, mobilenet_v2()?, assorted()?] {
        if wanted(list.name) {
            list.run()?;
        }
    }
    if wanted("thin strips") {
        thin_strips()?;
    }
    Ok(())
}
