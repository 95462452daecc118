//! Convolutions, dense layers and pools of all geometries.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Bench, Many, archs, bits, naive, region, single};
use crate::cost;
use crate::graph::{
    Activation, Builder, Conv, DType, LayerId, Op, Parameter, Pool, Reduction, Shape, Sweep, Window,
};
use crate::kernel::conv::weights;
use crate::kernel::{Alone, KernelKind, Kernels, Setup};
use crate::units::Bytes;

/// One axis: its length, and the window that slides along it.
fn axis() -> impl Strategy<Value = (u32, Sweep)> {
    let sweep =
        (1u32..=5, 1u32..=3, 1u32..=2).prop_flat_map(|(kernel, stride, dilation)| {
            (0..kernel, 0..kernel, any::<bool>()).prop_map(move |(pad_before, pad_after, ceil)| {
                Sweep { kernel, stride, dilation, pad_before, pad_after, ceil }
            })
        });
    let plain = Just(Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() });
    let sweep = prop_oneof![3 => sweep, 1 => plain, 1 => Just(Sweep::point())];
    let len = prop_oneof![1 => 1u32..4, 3 => 4u32..20, 1 => 40u32..70];
    (len, sweep).prop_filter("the window fits", |(len, sweep)| sweep.outputs(*len).is_some())
}

fn activation() -> impl Strategy<Value = Activation> {
    prop_oneof![
        Just(Activation::Linear),
        Just(Activation::Relu),
        Just(Activation::Clip { min: -0.25, max: 0.5 }),
        Just(Activation::Leaky { slope: 0.1 }),
        Just(Activation::Sigmoid),
        Just(Activation::Silu),
        Just(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }),
        Just(Activation::HardSwish),
    ]
}

/// Groups, input channels per group, output channels per group.
fn channels() -> impl Strategy<Value = (u32, u32, u32)> {
    prop_oneof![
        3 => (Just(1u32), 1u32..40, 1u32..40),
        1 => (2u32..5, 1u32..6, 1u32..20),
        2 => (2u32..40, Just(1u32), 1u32..3),
        1 => (Just(1u32), 100u32..140, 1u32..20),
    ]
}

/// A parameter of `features` rows.
fn parameter(
    builder: &mut Builder,
    features: u32,
    row: u32,
    half: bool,
) -> crate::graph::ParameterId {
    let dtype = if half { DType::F16 } else { DType::F32 };
    builder.parameter(Parameter { name: "parameter".into(), features, row, dtype }).unwrap()
}

prop_compose! {
    fn convolution()(
        (height, rows) in axis(),
        (width, cols) in axis(),
        (groups, inputs, outputs) in channels(),
        activation in activation(),
        (half, scale, bias) in any::<(bool, bool, bool)>(),
    ) -> Bench {
        let shape = Shape::new(groups * inputs, height, width);
        let features = groups * outputs;
        Bench::new(single(&[shape], activation, |builder| {
            let row = inputs * rows.kernel * cols.kernel;
            let weight = parameter(builder, features, row, half);
            let scale = scale.then(|| parameter(builder, features, 1, false));
            let bias = bias.then(|| parameter(builder, features, 1, half));
            Op::Conv(Conv { features, groups, window: Window { rows, cols }, weight, scale, bias })
        }))
    }
}

prop_compose! {
    fn dense()(
        shape in (1u32..50, 1u32..6, 1u32..6).prop_map(|(c, h, w)| Shape::new(c, h, w)),
        features in 1u32..70,
        activation in activation(),
    ) -> Bench {
        Bench::new(single(&[shape], activation, |builder| {
            let weight = parameter(builder, features, shape.elements() as u32, false);
            let bias = Some(parameter(builder, features, 1, false));
            let window = Window::whole(shape.rows, shape.width);
            Op::Conv(Conv { features, groups: 1, window, weight, scale: None, bias })
        }))
    }
}

prop_compose! {
    fn pool()(
        (height, rows) in axis(),
        (width, cols) in axis(),
        channels in 1u32..40,
        reduction in prop_oneof![
            Just(Reduction::Max),
            any::<bool>().prop_map(|count_padding| Reduction::Average { count_padding }),
        ],
        activation in activation(),
    ) -> Bench {
        let shape = Shape::new(channels, height, width);
        let window = Window { rows, cols };
        Bench::new(single(&[shape], activation, |_| Op::Pool(Pool { reduction, window })))
    }
}

fn layer() -> impl Strategy<Value = Bench> {
    prop_oneof![4 => convolution(), 1 => dense(), 2 => pool()]
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} of {:?}",
            self.graph.layers()[0],
            self.graph.input_shapes(crate::graph::LayerId(0))
        )
    }
}

fn agrees(bench: &Bench, kind: KernelKind, tolerance: f64) -> Result<(), TestCaseError> {
    let expected = naive::whole(bench);
    let found = bench.whole(kind);
    prop_assert_eq!(expected.len(), found.len());
    for (index, (expected, found)) in expected.into_iter().zip(found).enumerate() {
        prop_assert!(
            expected.agrees(found, tolerance),
            "element {}: {:?} where {} was found",
            index,
            expected,
            found
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn own_kernels_agree_with_plain_loops(bench in layer()) {
        agrees(&bench, KernelKind::Fast, 1e-5)?;
    }

    #[test]
    fn every_instruction_set_agrees_and_is_exact(
        bench in layer(),
        channels in any::<(u8, u8)>(),
        rows in any::<(u8, u8)>(),
    ) {
        let expected = naive::whole(&bench);
        let region = region(bench.shape(), channels, rows);
        for arch in archs() {
            let (whole, found) = bench.by(arch, region);
            let pairs = expected.iter().zip(&whole);
            prop_assert!(pairs.clone().all(|(e, f)| e.agrees(*f, 1e-5)), "{:?}", arch);
            prop_assert_eq!(bits(&bench.part(&whole, region)), bits(&found), "{:?}", arch);
        }
    }

    #[test]
    fn weights_that_halves_can_hold_give_the_same_bits(
        bench in layer(),
        channels in any::<(u8, u8)>(),
        rows in any::<(u8, u8)>(),
    ) {
        let region = region(bench.shape(), channels, rows);
        let exact = Setup::from(KernelKind::Exact);
        let halves = Setup { weights: DType::F16, ..exact };
        // Products with a scale are rounded.
        let scaled = matches!(&bench.graph.layer(LayerId(0)).op, Op::Conv(conv) if conv.scale.is_some());
        for arch in archs() {
            let by = |setup| {
                let kernels = Kernels { arch, ..bench.kernels(setup, region) };
                bench.region_by(&kernels, region, &Alone)
            };
            let (expected, found) = (by(exact), by(halves));
            if !scaled {
                prop_assert_eq!(bits(&expected), bits(&found), "{:?}", arch);
            }
            for (expected, found) in expected.iter().zip(&found) {
                // A maximum over padding alone is infinite.
                let near = expected == found
                    || (expected - found).abs() <= 1e-2 * expected.abs().max(1.0);
                prop_assert!(near || expected.is_nan(), "{expected} and {found} by {arch:?}");
            }
        }
    }

    #[test]
    fn burns_operators_agree_with_plain_loops(
        bench in layer(),
        channels in any::<(u8, u8)>(),
        rows in any::<(u8, u8)>(),
    ) {
        agrees(&bench, KernelKind::Burn, 1e-4)?;
        let region = region(bench.shape(), channels, rows);
        let own = bench.part(&bench.whole(KernelKind::Exact), region);
        for (own, burn) in own.into_iter().zip(bench.region(KernelKind::Burn, region, &Alone)) {
            let same = own == burn || own.is_nan() && burn.is_nan();
            prop_assert!(same || (own - burn).abs() < 1e-3, "{own} and {burn} in {region}");
        }
    }

    #[test]
    fn packed_weights_take_the_memory_that_was_forecast(
        bench in prop_oneof![4 => convolution(), 1 => dense()],
        channels in any::<(u8, u8)>(),
        rows in any::<(u8, u8)>(),
    ) {
        let (layer, region) = (LayerId(0), region(bench.shape(), channels, rows));
        for weights in [DType::F32, DType::F16] {
            let [exact, fast] = [KernelKind::Exact, KernelKind::Fast]
                .map(|kind| Setup { weights, ..Setup::from(kind) });
            let plain = bench.kernels(exact, region).weight_bytes();
            prop_assert_eq!(plain, cost::weight_bytes(&bench.graph, layer, region.channels, weights));
            let regions = BTreeMap::from([(layer, region)]);
            let algorithm = fast.algorithms(&bench.graph, &regions)[&layer];
            let Op::Conv(conv) = &bench.graph.layer(layer).op else { unreachable!() };
            let shape = bench.graph.input_shapes(layer)[0];
            let forecast = weights::bytes(algorithm, conv, shape, region.channels, weights);
            prop_assert_eq!(bench.kernels(fast, region).weight_bytes().0, forecast);
            let blocks = fast.blocks(&bench.graph, &regions, |_| false).unwrap();
            prop_assert_eq!(blocks.values().copied().sum::<Bytes>().0, forecast);
            prop_assert_eq!(bench.kernels(fast, region).blocks(), blocks);
        }
    }

    #[test]
    fn a_region_has_the_bits_of_the_whole(
        bench in layer(),
        channels in any::<(u8, u8)>(),
        rows in any::<(u8, u8)>(),
        threads in 1usize..5,
    ) {
        let whole = bench.whole(KernelKind::Exact);
        let region = region(bench.shape(), channels, rows);
        let expected = bench.part(&whole, region);
        let found = bench.region(KernelKind::Exact, region, &Many(threads));
        prop_assert_eq!(bits(&expected), bits(&found), "{}", region);
        let alone = bench.region(KernelKind::Exact, region, &Alone);
        prop_assert_eq!(bits(&expected), bits(&alone), "{}", region);
    }
}
