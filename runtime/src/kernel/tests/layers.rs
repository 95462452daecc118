//! Layers without windows, and errors.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Bench, Values, bits, region, single};
use crate::graph::{Activation, Conv, DType, LayerId, Op, Parameter, Shape, Window};
use crate::kernel::memory::lanes::LANES;
use crate::kernel::{Alone, KernelError, KernelKind, Kernels, Map, Scratch, Setup};
use crate::region::{ChannelRange, Region, RowRange};

const SHAPE: Shape = Shape::new(37, 9, 21);

/// The whole output, which must not depend on how it is split.
fn whole(inputs: &[Shape], activation: Activation, op: Op) -> (Bench, Vec<f32>) {
    let bench = Bench::new(single(inputs, activation, |_| op));
    let whole = bench.whole(KernelKind::Exact);
    for (channels, rows) in [((0, 100), (0, 255)), ((99, 255), (50, 51)), ((0, 255), (128, 255))] {
        let region = region(bench.shape(), channels, rows);
        let found = bench.region(KernelKind::Exact, region, &Alone);
        assert_eq!(bits(&bench.part(&whole, region)), bits(&found), "{region}");
    }
    (bench, whole)
}

#[test]
fn add_adds_up_all_inputs() {
    let (bench, found) = whole(&[SHAPE; 3], Activation::Relu, Op::Add);
    let expected = |i: usize| bench.inputs.iter().map(|input| input[i]).sum::<f32>().max(0.0);
    assert!(found.iter().enumerate().all(|(i, found)| (found - expected(i)).abs() < 1e-6));
}

#[test]
fn concat_puts_channels_one_after_the_other() {
    for channels in [[37, 2, 9], [16, 32, 5], [3, 4, 40], [24, 24, 1]] {
        let shapes = channels.map(|channels| Shape { channels, ..SHAPE });
        let (bench, found) = whole(&shapes, Activation::Linear, Op::Concat);
        assert_eq!(found, bench.inputs.concat());
    }
}

#[test]
fn identity_is_its_activation() {
    let clip = Activation::Clip { min: -0.5, max: 0.25 };
    let (bench, found) = whole(&[SHAPE], clip, Op::Identity);
    let expected: Vec<f32> = bench.inputs[0].iter().map(|x| x.clamp(-0.5, 0.25)).collect();
    assert_eq!(found, expected);
}

#[test]
fn softmax_adds_up_to_one() {
    let (bench, found) = whole(&[Shape::vector(33)], Activation::Linear, Op::Softmax);
    let exp: Vec<f64> = bench.inputs[0].iter().map(|x| f64::from(*x).exp()).collect();
    let sum: f64 = exp.iter().sum();
    assert!(
        found.iter().zip(&exp).all(|(found, exp)| (f64::from(*found) - exp / sum).abs() < 1e-6)
    );
}

#[test]
fn sums_over_width_and_rows_make_a_mean() {
    let (bench, rows) = whole(&[SHAPE], Activation::Linear, Op::SumWidth);
    let sums = bench.inputs[0].chunks(21).map(|row| row.iter().sum::<f32>());
    assert!(sums.zip(&rows).all(|(expected, found)| (expected - found).abs() < 1e-5));
    let (bench, means) = whole(&[SHAPE], Activation::Linear, Op::SumRows { scale: 1.0 / 9.0 });
    for channel in 0..SHAPE.channels as usize {
        for x in 0..21 {
            let sum: f32 = (0..9).map(|y| bench.inputs[0][(channel * 9 + y) * 21 + x]).sum();
            assert_eq!(means[channel * 21 + x], sum * (1.0 / 9.0));
        }
    }
}

/// A 3x3 convolution of 4 to 40 channels.
fn convolution() -> Bench {
    let window = Window::square(crate::graph::Sweep { kernel: 3, ..crate::graph::Sweep::point() });
    Bench::new(single(&[Shape::new(4, 9, 9)], Activation::Linear, |builder| {
        let weight = Parameter { name: "weight".into(), features: 40, row: 36, dtype: DType::F32 };
        let weight = builder.parameter(weight).unwrap();
        Op::Conv(Conv { features: 40, groups: 1, window, weight, scale: None, bias: None })
    }))
}

#[test]
fn blocks_of_the_previous_kernels_are_shared() {
    struct Nothing;
    impl crate::weights::WeightSource for Nothing {
        fn read(
            &self,
            _: crate::graph::ParameterId,
            features: ChannelRange,
            _: &mut Vec<u8>,
        ) -> Result<(), crate::weights::WeightError> {
            Err(crate::weights::WeightError::Missing(format!("features {features} were read")))
        }
    }
    let bench = convolution();
    let share = |start, end| Region::new(ChannelRange::new(start, end), RowRange::all(7));
    let first = bench.kernels(KernelKind::Exact, share(0, 32));
    let last = bench.kernels(KernelKind::Exact, share(32, 40));
    let prepare = |share, earlier: &[&Kernels]| {
        let regions = BTreeMap::from([(LayerId(0), share)]);
        Kernels::prepare(&bench.graph, &regions, &Nothing, KernelKind::Exact, earlier)
    };
    let shrunk = prepare(share(16, 30), &[&first]).unwrap();
    assert!(shrunk.weight_bytes() < first.weight_bytes());
    let error = prepare(share(16, 40), &[&first]).unwrap_err();
    assert!(error.to_string().contains("features 32..40 were read"), "{error}");
    let both = prepare(share(0, 40), &[&shrunk, &last, &first]).unwrap();
    assert_eq!(both.weight_bytes(), first.weight_bytes() + last.weight_bytes());
}

#[test]
fn what_is_not_there_is_named() {
    let bench = convolution();
    let region = Region::new(ChannelRange::new(0, 16), RowRange::new(2, 4));
    let run = |kernels: &Kernels, rows, region, lanes| {
        let layer = bench.graph.layer(LayerId(0));
        let input = kernels.map(layer.inputs[0], Region::new(ChannelRange::all(4), rows));
        let mut output = Map::zeros(region, 7, lanes);
        let mut scratch = Scratch::new();
        kernels.run(LayerId(0), &[&input], &mut output, region, &mut scratch, &Alone)
    };
    let kernels = bench.kernels(KernelKind::Fast, region);
    let rows = RowRange::new(2, 6);
    assert!(run(&kernels, rows, region, LANES).is_ok());
    let error = run(&kernels, RowRange::new(3, 9), region, LANES).unwrap_err();
    assert!(matches!(&error, KernelError::Uncovered { what, .. } if what == "input 0"), "{error}");
    let error = run(&kernels, rows, region, 1).unwrap_err();
    assert!(matches!(error, KernelError::Layout { .. }), "{error}");
    let cut = Region::new(ChannelRange::new(0, 15), region.rows);
    let error = run(&kernels, rows, cut, LANES).unwrap_err();
    assert!(matches!(error, KernelError::CutBlock { .. }), "{error}");
    let eight = Region::new(ChannelRange::all(8), region.rows);
    let few = bench.kernels(KernelKind::Fast, eight);
    let error = run(&few, rows, region, LANES).unwrap_err();
    assert!(matches!(error, KernelError::NotPrepared { .. }), "{error}");
    let halves = Setup { weights: DType::F16, ..KernelKind::Burn.into() };
    let regions = BTreeMap::from([(LayerId(0), region)]);
    let source = Values(Arc::clone(&bench.graph));
    let error = Kernels::prepare(&bench.graph, &regions, &source, halves, &[]).unwrap_err();
    assert!(matches!(error, KernelError::BurnWeights(DType::F16)), "{error}");
    let beyond = Region::new(ChannelRange::all(41), region.rows);
    let regions = BTreeMap::from([(LayerId(0), beyond)]);
    let error = Kernels::prepare(&bench.graph, &regions, &source, KernelKind::Fast, &[]);
    assert!(matches!(error, Err(KernelError::NoSuchLayer { .. })));
}
