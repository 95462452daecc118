//! The central property: whatever the graph, fusion, split, exchange and number of devices, strips
//! put together equal the whole, bit for bit.

mod random_graph;

use std::num::NonZeroU8;
use std::ops::Range;
use std::sync::Arc;

use edgeld_runtime::exec::local::LocalCluster;
use edgeld_runtime::exec::{ExecError, Input};
use edgeld_runtime::graph::{
    Activation, Builder, Conv, DType, Graph, LayerId, Op, Parameter, Pool, Port, Reduction, Shape,
    Sweep, Window,
};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::models::{self, Options, SeededWeights};
use edgeld_runtime::plan::{Cuts, DeviceIx, Plan, Split, Stage};
use edgeld_runtime::program::{Encoding, Purpose, Transfer, derive};
use edgeld_runtime::region::ChannelRange;
use edgeld_runtime::units::Bytes;
use proptest::prelude::*;
use random_graph::plan::random_dice;
use random_graph::random_graph;

/// Values in -1..1, the same for the same seed.
fn values(graph: &Graph, seed: u64) -> Vec<Input> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    let size = |port: &Port| graph.shape(port.tensor).elements();
    let inputs = graph.inputs().iter();
    inputs.map(|port| (0..size(port)).map(|_| next()).collect::<Vec<f32>>().into()).collect()
}

fn answer(
    graph: &Arc<Graph>,
    encodings: &[Encoding],
    plan: &Plan,
    kind: KernelKind,
    inputs: &[Input],
) -> Result<(Vec<Vec<f32>>, Bytes), ExecError> {
    let weights = SeededWeights::new(Arc::clone(graph), 7);
    let outcome = LocalCluster::new(graph, encodings, plan, &weights, kind)?.infer(inputs)?;
    Ok((outcome.outputs, outcome.bytes_moved))
}

/// Whether halves explain the difference. Inputs are up to 1: an output that is smaller because its
/// terms cancel keeps their rounding.
fn rounded_alike(floats: &[Vec<f32>], halves: &[Vec<f32>]) -> Result<(), TestCaseError> {
    for (floats, halves) in floats.iter().zip(halves) {
        let largest = floats.iter().fold(1f32, |max, value| max.max(value.abs()));
        for (a, b) in floats.iter().zip(halves) {
            prop_assert!((a - b).abs() <= 1e-2 * largest, "{a} and {b} of {largest}");
        }
    }
    Ok(())
}

fn bits(outputs: &[Vec<f32>]) -> Vec<Vec<u32>> {
    outputs.iter().map(|output| output.iter().map(|value| value.to_bits()).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn strips_equal_the_whole_bit_for_bit(
        graph in random_graph(),
        dice in random_dice(20),
        seed in any::<u64>(),
    ) {
        let (plan, graph) = (dice.plan(&graph), Arc::new(graph));
        let alone = Plan::alone(graph.layers().len() as u32);
        let inputs = values(&graph, seed);
        let (whole, none) = answer(&graph, &[], &alone, KernelKind::Exact, &inputs)?;
        let (strips, moved) = answer(&graph, &[], &plan, KernelKind::Exact, &inputs)?;
        prop_assert_eq!(bits(&whole), bits(&strips));
        prop_assert_eq!(none, Bytes::ZERO);
        let planned: Bytes =
            derive(&graph, &plan)?.transfers.iter().map(|part| part.bytes(&graph, &[])).sum();
        prop_assert_eq!(moved, planned);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn fast_kernels_stay_close(
        graph in random_graph(),
        dice in random_dice(20),
        seed in any::<u64>(),
    ) {
        let (plan, graph) = (dice.plan(&graph), Arc::new(graph));
        let alone = Plan::alone(graph.layers().len() as u32);
        let inputs = values(&graph, seed);
        let (whole, _) = answer(&graph, &[], &alone, KernelKind::Exact, &inputs)?;
        let (strips, _) = answer(&graph, &[], &plan, KernelKind::Fast, &inputs)?;
        for (whole, strips) in whole.iter().zip(&strips) {
            let largest = whole.iter().fold(0f32, |max, value| max.max(value.abs()));
            for (a, b) in whole.iter().zip(strips) {
                prop_assert!((a - b).abs() <= 1e-4 * largest, "{a} and {b} of {largest}");
            }
        }
    }

    #[test]
    fn half_weights_stay_close_and_equal_the_whole(
        graph in random_graph(),
        dice in random_dice(20),
        seed in any::<u64>(),
    ) {
        let (plan, graph) = (dice.plan(&graph), Arc::new(graph));
        let alone = Plan::alone(graph.layers().len() as u32);
        let halved = |plan: &Plan| Plan { weights: DType::F16, ..plan.clone() };
        let inputs = values(&graph, seed);
        let (floats, _) = answer(&graph, &[], &alone, KernelKind::Exact, &inputs)?;
        let (whole, _) = answer(&graph, &[], &halved(&alone), KernelKind::Exact, &inputs)?;
        let (strips, _) = answer(&graph, &[], &halved(&plan), KernelKind::Exact, &inputs)?;
        prop_assert_eq!(bits(&whole), bits(&strips));
        let (fast, _) = answer(&graph, &[], &halved(&plan), KernelKind::Fast, &inputs)?;
        rounded_alike(&floats, &fast)?;
    }

    #[test]
    fn half_strips_stay_close_and_move_half(
        graph in random_graph(),
        dice in random_dice(20),
        seed in any::<u64>(),
    ) {
        let (plan, graph) = (dice.plan(&graph), Arc::new(graph));
        let inputs = values(&graph, seed);
        let (floats, moved) = answer(&graph, &[], &plan, KernelKind::Exact, &inputs)?;
        let halved = Plan { wire: DType::F16, ..plan };
        let (halves, half) = answer(&graph, &[], &halved, KernelKind::Exact, &inputs)?;
        prop_assert_eq!(half.0 * 2, moved.0);
        rounded_alike(&floats, &halves)?;
    }

    #[test]
    fn pixels_are_normalised_alike_wherever_they_arrive(
        graph in random_graph(),
        dice in random_dice(20),
        seed in any::<u8>(),
    ) {
        let (plan, graph) = (dice.plan(&graph), Arc::new(graph));
        let alone = Plan::alone(graph.layers().len() as u32);
        let encoding = Encoding::Pixels { mean: [120.0, 110.0, 100.0], std: [60.0, 58.0, 57.0] };
        let encodings = vec![encoding; graph.inputs().len()];
        let inputs: Vec<Input> = graph
            .inputs()
            .iter()
            .map(|port| {
                let size = graph.shape(port.tensor).elements() as usize;
                (0..size).map(|at| (at * 31) as u8 ^ seed).collect::<Vec<u8>>().into()
            })
            .collect();
        let (whole, _) = answer(&graph, &encodings, &alone, KernelKind::Exact, &inputs)?;
        let (strips, _) = answer(&graph, &encodings, &plan, KernelKind::Exact, &inputs)?;
        prop_assert_eq!(bits(&whole), bits(&strips));
    }
}

/// Layers wide enough to be computed in pieces by features: two convolutions with a pool between them,
/// and one of points, whose result is added to the one before.
fn wide_graph() -> Graph {
    let mut builder = Builder::new("wide");
    let x = builder.input("x", Shape::new(16, 9, 10), vec![1, 16, 9, 10]).unwrap();
    let conv = |builder: &mut Builder, x, features, kernel: u32| {
        let row = builder.shape(x).channels * kernel * kernel;
        let parameter = Parameter { name: "weights".into(), features, row, dtype: DType::F32 };
        let weight = builder.parameter(parameter).unwrap();
        let (pad_before, pad_after) = (kernel / 2, kernel / 2);
        let window = Window::square(Sweep { kernel, pad_before, pad_after, ..Sweep::point() });
        let conv = Conv { features, groups: 1, window, weight, scale: None, bias: None };
        let name = format!("conv {features} {kernel}");
        builder.layer(&name, Op::Conv(conv), &[x], Activation::Relu).unwrap()
    };
    let a = conv(&mut builder, x, 128, 3);
    let window = Window::square(Sweep { kernel: 2, stride: 2, ..Sweep::point() });
    let pool = Op::Pool(Pool { reduction: Reduction::Max, window });
    let b = builder.layer("pool", pool, &[a], Activation::Linear).unwrap();
    let c = conv(&mut builder, b, 200, 3);
    let d = conv(&mut builder, c, 200, 1);
    let y = builder.layer("sum", Op::Add, &[c, d], Activation::Linear).unwrap();
    builder.output("y", y, vec![1, 200, 4, 5]).unwrap();
    builder.finish().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn pieces_equal_the_whole_bit_for_bit(
        dice in random_dice(5),
        pieces in 1u8..=5,
        seed in any::<u64>(),
    ) {
        let graph = Arc::new(wide_graph());
        let pieces = NonZeroU8::new(pieces).unwrap();
        let plan = Plan { pieces, ..dice.plan(&graph) };
        let inputs = values(&graph, seed);
        let alone = Plan::alone(graph.layers().len() as u32);
        let (whole, _) = answer(&graph, &[], &alone, KernelKind::Exact, &inputs)?;
        let (strips, _) = answer(&graph, &[], &plan, KernelKind::Exact, &inputs)?;
        prop_assert_eq!(bits(&whole), bits(&strips));
    }
}

#[test]
fn every_piece_is_sent_by_itself() {
    let graph = wide_graph();
    let rows = |layers: Range<u32>, rows: u32| Stage {
        layers,
        split: Split::Rows(Cuts::from_lengths([rows / 2, rows - rows / 2])),
    };
    let plan = Plan::new(2, vec![rows(0..2, 4), rows(2..3, 4), rows(3..5, 4)]);
    let strips_between_stages = |pieces| {
        let plan = Plan { pieces: NonZeroU8::new(pieces).unwrap(), ..plan.clone() };
        let transfers = derive(&graph, &plan).unwrap().transfers;
        let between = |transfer: &&Transfer| transfer.purpose == Purpose::Stage(1);
        transfers.iter().filter(between).map(|transfer| transfer.region.channels).collect()
    };
    let both_ways = |channels: &[ChannelRange]| [channels, channels].concat();
    let whole: Vec<ChannelRange> = strips_between_stages(1);
    assert_eq!(whole, both_ways(&[ChannelRange::new(0, 128)]));
    let pieces: Vec<ChannelRange> = strips_between_stages(2);
    assert_eq!(pieces, both_ways(&[ChannelRange::new(0, 64), ChannelRange::new(64, 128)]));
}

/// The promise of `--wire f16` and `--weights f16`, together and with either kernels: within 2e-3 of
/// the largest logit, and the same top class.
#[test]
fn networks_in_halves_have_the_same_class() {
    for name in ["vgg11?size=64&seed=3", "vgg16?size=64", "vgg19?size=48&classes=10"] {
        let model = models::open(name, &Options::default()).unwrap();
        let (graph, inputs) = (&model.graph, values(&model.graph, 5));
        let run = |plan: &Plan, kind| {
            let cluster = LocalCluster::new(graph, &[], plan, &*model.weights, kind);
            cluster.unwrap().infer(&inputs).unwrap().outputs.remove(0)
        };
        let layers = graph.layers().len() as u32;
        let floats = run(&Plan::alone(layers), KernelKind::Fast);
        let stage = |layer: u32| {
            let shape = graph.output_shape(LayerId(layer));
            let (total, features) = match shape.rows {
                1 => (shape.channels / 16, true),
                rows => (rows, false),
            };
            let lengths = [total / 3, total / 3, total - total / 3 * 2];
            let conv = matches!(graph.layer(LayerId(layer)).op, Op::Conv(_));
            let split = match features {
                true if conv && shape.channels.is_multiple_of(16) => {
                    Split::Features(Cuts::from_lengths(lengths.map(|length| 16 * length)))
                }
                true => Split::Whole(DeviceIx(0)),
                false => Split::Rows(Cuts::from_lengths(lengths)),
            };
            Stage { layers: layer..layer + 1, split }
        };
        let three = Plan::new(3, (0..layers).map(stage).collect());
        let halves = Plan { wire: DType::F16, weights: DType::F16, ..three };
        for kind in [KernelKind::Exact, KernelKind::Fast] {
            let found = run(&halves, kind);
            let largest = floats.iter().fold(0f32, |max, value| max.max(value.abs()));
            let error = floats.iter().zip(&found).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
            println!("{name} {kind:?}: {:.2e} of the largest", error / largest);
            assert!(error <= 2e-3 * largest, "{name}: {error} of {largest}");
            let top = |data: &[f32]| (0..data.len()).max_by(|a, b| data[*a].total_cmp(&data[*b]));
            assert_eq!(top(&floats), top(&found), "{name}");
        }
    }
}
