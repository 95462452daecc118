//! How long planning takes: `cargo bench --workspace --bench planner [FILTER]`.
//!
//! For five devices and each policy, prints the median of several runs of the planner, of deriving
//! its plan and of simulating it; then how the default policy's time grows to 32 devices. Bounds:
//! 5 ms for five devices, 50 ms for 32.

use std::hint::black_box;
use std::time::{Duration, Instant};

use edgeld_runtime::cost::{ClusterProfile, DeviceProfile, LinkProfile, makespan};
use edgeld_runtime::graph::{
    Activation, Builder, Conv, DType, Graph, GraphError, Op, Parameter, Pool, Reduction, Shape,
    Sweep, TensorId, Window,
};
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::plan::Exchange;
use edgeld_runtime::program::derive;
use edgeld_runtime::solve::{Fusion, Partition, Policy, Problem, solve};
use edgeld_runtime::units::{Bytes, Mbps, Ms};

/// Runs of each measurement.
const RUNS: usize = 15;

/// Convolutions and sums of ResNet50.
fn resnet50() -> Result<Graph, GraphError> {
    let mut builder = Builder::new("resnet50");
    let x = builder.input("x", Shape::new(3, 224, 224), vec![1, 3, 224, 224])?;
    let stem = conv(&mut builder, "stem", x, 64, 7, 2)?;
    let window = Window::square(sweep(3, 2));
    let pool = Op::Pool(Pool { reduction: Reduction::Max, window });
    let mut x = builder.layer("pool", pool, &[stem], Activation::Linear)?;
    for (stage, (blocks, channels)) in
        [(3, 64), (4, 128), (6, 256), (3, 512)].into_iter().enumerate()
    {
        for block in 0..blocks {
            let stride = if block == 0 && stage > 0 { 2 } else { 1 };
            let name = |layer: &str| format!("{stage}.{block}.{layer}");
            let a = conv(&mut builder, &name("a"), x, channels, 1, 1)?;
            let b = conv(&mut builder, &name("b"), a, channels, 3, stride)?;
            let c = conv(&mut builder, &name("c"), b, 4 * channels, 1, 1)?;
            let skip = match block {
                0 => conv(&mut builder, &name("skip"), x, 4 * channels, 1, stride)?,
                _ => x,
            };
            x = builder.layer(&name("add"), Op::Add, &[c, skip], Activation::Relu)?;
        }
    }
    let rows = builder.layer("mean/rows", Op::SumWidth, &[x], Activation::Linear)?;
    let scale = 1.0 / 49.0;
    let sum = builder.layer("mean/sum", Op::SumRows { scale }, &[rows], Activation::Linear)?;
    let y = conv(&mut builder, "dense", sum, 1000, 1, 1)?;
    builder.output("y", y, vec![1, 1000])?;
    builder.finish()
}

fn sweep(kernel: u32, stride: u32) -> Sweep {
    let pad = kernel / 2;
    Sweep { kernel, stride, pad_before: pad, pad_after: pad, ..Sweep::point() }
}

fn conv(
    builder: &mut Builder,
    name: &str,
    input: TensorId,
    features: u32,
    kernel: u32,
    stride: u32,
) -> Result<TensorId, GraphError> {
    grouped_conv(builder, name, input, (features, 1), sweep(kernel, stride))
}

/// 3x3, each channel by itself.
fn depthwise(
    builder: &mut Builder,
    name: &str,
    input: TensorId,
    stride: u32,
) -> Result<TensorId, GraphError> {
    let channels = builder.shape(input).channels;
    grouped_conv(builder, name, input, (channels, channels), sweep(3, stride))
}

fn grouped_conv(
    builder: &mut Builder,
    name: &str,
    input: TensorId,
    (features, groups): (u32, u32),
    sweep: Sweep,
) -> Result<TensorId, GraphError> {
    let row = builder.shape(input).channels / groups * sweep.kernel * sweep.kernel;
    let parameter = Parameter { name: name.to_owned(), features, row, dtype: DType::F32 };
    let weight = builder.parameter(parameter)?;
    let window = Window::square(sweep);
    let conv = Conv { features, groups, window, weight, scale: None, bias: None };
    builder.layer(name, Op::Conv(conv), &[input], Activation::Relu)
}

/// The layers of MobileNetV2 (M. Sandler et al., 2018, table 2).
fn mobilenetv2() -> Result<Graph, GraphError> {
    let mut builder = Builder::new("mobilenetv2");
    let x = builder.input("x", Shape::new(3, 224, 224), vec![1, 3, 224, 224])?;
    let mut x = conv(&mut builder, "stem", x, 32, 3, 2)?;
    let bottlenecks = [
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ];
    for (at, (expansion, features, repeats, first_stride)) in bottlenecks.into_iter().enumerate() {
        for repeat in 0..repeats {
            let stride = if repeat == 0 { first_stride } else { 1 };
            let name = |layer: &str| format!("{at}.{repeat}.{layer}");
            let channels = builder.shape(x).channels;
            let wide = match expansion {
                1 => x,
                _ => conv(&mut builder, &name("expand"), x, channels * expansion, 1, 1)?,
            };
            let deep = depthwise(&mut builder, &name("depthwise"), wide, stride)?;
            let narrow = conv(&mut builder, &name("project"), deep, features, 1, 1)?;
            x = match stride == 1 && channels == features {
                true => builder.layer(&name("add"), Op::Add, &[narrow, x], Activation::Linear)?,
                false => narrow,
            };
        }
    }
    let top = conv(&mut builder, "top", x, 1280, 1, 1)?;
    let rows = builder.layer("mean/rows", Op::SumWidth, &[top], Activation::Linear)?;
    let scale = 1.0 / 49.0;
    let sum = builder.layer("mean/sum", Op::SumRows { scale }, &[rows], Activation::Linear)?;
    let y = conv(&mut builder, "dense", sum, 1000, 1, 1)?;
    builder.output("y", y, vec![1, 1000])?;
    builder.finish()
}

/// Devices of 100, 90, 80, 70, 60, 100, .. GFLOP/s that compute as the fast kernels do, on a network
/// of 1000 Mbit/s.
fn cluster(devices: usize) -> ClusterProfile {
    let speeds = [100.0, 90.0, 80.0, 70.0, 60.0].into_iter().cycle().take(devices);
    ClusterProfile::new(speeds.map(|gflops| {
        let device = DeviceProfile::described(gflops, 10.0).with_tiles(true);
        let link = LinkProfile::described(Mbps(1000.0), Ms(0.3));
        (device.with_memory(Bytes(4_000_000_000)), link)
    }))
}

fn median<T>(mut work: impl FnMut() -> T) -> Duration {
    let time = |_| {
        let begin = Instant::now();
        black_box(work());
        begin.elapsed()
    };
    let mut times: Vec<Duration> = (0..RUNS).map(time).collect();
    times.sort_unstable();
    times[RUNS / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-')).unwrap_or_default();
    let vgg16 = models::open("vgg16", &Options::default())?.graph;
    let (resnet50, mobilenetv2) = (resnet50()?, mobilenetv2()?);
    let profile = cluster(5);
    println!("{:44} {:>9} {:>9} {:>9}  predicted", "", "solve", "derive", "simulate");
    for graph in [&*vgg16, &resnet50] {
        for fusion in [Fusion::Auto, Fusion::Block, Fusion::Layerwise] {
            for exchange in [Exchange::Peer, Exchange::Leader] {
                for partition in [Partition::Minmax, Partition::Ocbp, Partition::Bodp] {
                    let name = format!("{} {fusion} {exchange} {partition}", graph.name());
                    if !name.contains(&filter) {
                        continue;
                    }
                    let policy = Policy { partition, fusion, exchange, ..Policy::default() };
                    let profile = &profile;
                    let problem =
                        Problem { graph, encodings: &[], profile, policy, previous: None };
                    let solution = solve(&problem)?;
                    let derivation = derive(graph, &solution.plan)?;
                    let times = [
                        median(|| solve(&problem)),
                        median(|| derive(graph, &solution.plan)),
                        median(|| makespan(graph, &[], profile, &derivation)),
                    ];
                    let [a, b, c] = times.map(|time| format!("{:.1} us", time.as_secs_f64() * 1e6));
                    println!("{name:44} {a:>9} {b:>9} {c:>9}  {}", solution.predicted);
                }
            }
        }
    }
    println!("\n{:44} {:>9} {:>9}  predicted", "", "devices", "solve");
    for graph in [&*vgg16, &resnet50, &mobilenetv2] {
        for devices in [2, 3, 5, 8, 16, 32] {
            let name = format!("{} {devices} devices", graph.name());
            if !name.contains(&filter) {
                continue;
            }
            let profile = &cluster(devices);
            let policy = Policy::default();
            let problem = Problem { graph, encodings: &[], profile, policy, previous: None };
            let solution = solve(&problem)?;
            let time = median(|| solve(&problem)).as_secs_f64() * 1e3;
            println!("{:44} {devices:>9} {time:>6.2} ms  {}", graph.name(), solution.predicted);
        }
    }
    Ok(())
}
