//! How fast layers are computed on one thread: `cargo bench --bench conv [FILTER]`.
//!
//! Prints, for each layer of each list, the shortest of some runs and what that is in GFLOP/s, or
//! in GB/s of weights for dense layers; then the sum over the list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeld_runtime::graph::{
    Activation, Builder, Conv, DType, GraphError, LayerId, Op, Parameter, ParameterId, Pool,
    Reduction, Shape, Sweep, TensorId, Window,
};
use edgeld_runtime::kernel::{Alone, KernelError, KernelKind, Kernels, Scratch};
use edgeld_runtime::region::ChannelRange;
use edgeld_runtime::weights::{WeightError, WeightSource};

/// Runs of each layer.
const RUNS: usize = 15;

/// Weights that are all alike.
struct Even(Arc<edgeld_runtime::graph::Graph>);

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
        let whole = |id| (id, graph.output_shape(id).region());
        let regions: BTreeMap<_, _> = graph.layer_ids().map(whole).collect();
        let source = Even(Arc::clone(&graph));
        let kernels = Kernels::prepare(&graph, &regions, &source, KernelKind::Fast, None)?;
        let mut sum = BTreeMap::new();
        for layer in graph.layer_ids() {
            let time = time(&kernels, &graph, layer)?;
            *sum.entry(kernels.algorithm(layer)).or_insert(Duration::ZERO) += time;
        }
        println!("{}: {:.1} ms", graph.name(), sum.values().sum::<Duration>().as_secs_f64() * 1e3);
        for (algorithm, time) in sum {
            println!("    {algorithm}: {:.1} ms", time.as_secs_f64() * 1e3);
        }
        Ok(())
    }
}

/// The shortest of some runs of a layer; prints it.
fn time(
    kernels: &Kernels,
    graph: &edgeld_runtime::graph::Graph,
    layer: LayerId,
) -> Result<Duration, KernelError> {
    let (from, to) = (graph.input_shapes(layer)[0], graph.output_shape(layer));
    let mut input = kernels.map(graph.layer(layer).inputs[0], from.region());
    input.as_mut_slice().iter_mut().enumerate().for_each(|(i, x)| *x = (i % 7) as f32 - 3.0);
    let mut output = kernels.map(graph.output_of(layer), to.region());
    let mut scratch = Scratch::new();
    let mut best = Duration::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        kernels.run(layer, &[&input], &mut output, to.region(), &mut scratch, &Alone)?;
        best = best.min(start.elapsed());
    }
    let node = graph.layer(layer);
    let rate = match &node.op {
        Op::Conv(conv) => {
            let row = u64::from(graph.parameter(conv.weight).row);
            let products = row * to.elements();
            let (work, unit) = match conv.is_dense(from) {
                true => (4 * products, "GB/s"),
                false => (2 * products, "GFLOP/s"),
            };
            format!("{:7.1} {unit}", work as f64 / best.as_secs_f64() / 1e9)
        }
        _ => String::new(),
    };
    let name = format!("{} {}", node.name, kernels.algorithm(layer));
    println!("{name:24} {from} -> {to}: {:8.3} ms {rate}", best.as_secs_f64() * 1e3);
    Ok(best)
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
    let window = Window::whole(7, 7);
    let reduction = Reduction::Average { count_padding: false };
    list.layer(Op::Pool(Pool { reduction, window }), Activation::Linear)?;
    list.dense(1000)?;
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
    for list in [vgg16()?, mobilenet_v2()?, assorted()?] {
        let name = list.name;
        if filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())) {
            list.run()?;
        }
    }
    Ok(())
}
