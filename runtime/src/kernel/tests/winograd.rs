//! Winograd convolutions with every tile, wherever a region starts and ends.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Bench, Values, archs, naive, region, single};
use crate::graph::{
    Activation, Conv, DType, LayerId, Op, Parameter, ParameterId, Shape, Sweep, Tile, Window,
};
use crate::kernel::conv::algorithm::Algorithm;
use crate::kernel::conv::weights::{Packing, Reader};
use crate::kernel::packed::Packed;
use crate::kernel::{Alone, KernelKind, Kernels, Setup};
use crate::region::{ChannelRange, Region};
use crate::weights::{WeightError, WeightSource};

fn axis() -> impl Strategy<Value = (u32, Sweep)> {
    (1u32..20, 0u32..3, 0u32..3)
        .prop_map(|(len, pad_before, pad_after)| {
            (len, Sweep { kernel: 3, pad_before, pad_after, ..Sweep::point() })
        })
        .prop_filter("the window fits", |(len, sweep)| sweep.outputs(*len).is_some())
}

prop_compose! {
    fn convolution()(
        (rows, down) in axis(),
        (width, across) in axis(),
        channels in 1u32..40,
        features in 1u32..72,
        relu in any::<bool>(),
    ) -> Bench {
        let activation = if relu { Activation::Relu } else { Activation::Linear };
        let parameter = |builder: &mut crate::graph::Builder, row| {
            let name = "parameter".to_owned();
            builder.parameter(Parameter { name, features, row, dtype: DType::F32 }).unwrap()
        };
        // In blocks of channels, like the output of any layer.
        let channels = channels.max(16);
        Bench::new(single(&[Shape::new(channels, rows, width)], activation, |builder| {
            let weight = parameter(builder, 9 * channels);
            let bias = Some(parameter(builder, 1));
            let window = Window { rows: down, cols: across };
            Op::Conv(Conv { features, groups: 1, window, weight, scale: None, bias })
        }))
    }
}

/// Kernels that compute a region with this tile only.
fn kernels(bench: &Bench, tile: Tile, dtype: DType, region: Region) -> Kernels {
    let mut kernels = bench.kernels(KernelKind::Fast, region);
    let layer = bench.graph.layer(LayerId(0));
    let Op::Conv(conv) = &layer.op else { unreachable!() };
    let source = Values(bench.graph.clone());
    let reader = Reader::new(&bench.graph, layer, &source);
    let packing = Packing { algorithm: Algorithm::Winograd(tile), lanes: 16, dtype };
    let how = (KernelKind::Fast, packing);
    let shape = bench.graph.input_shapes(LayerId(0))[0];
    let packed = Packed::read(how, reader, conv, shape, region.channels, &[]).unwrap();
    kernels.weights.insert(LayerId(0), packed);
    kernels
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn tiles_agree_with_plain_loops(
        bench in convolution(),
        tile in prop_oneof![Just(Tile::F4x4), Just(Tile::F3x4), Just(Tile::F2x4), Just(Tile::F2x2)],
        channels in any::<(u8, u8)>(),
        rows in any::<(u8, u8)>(),
    ) {
        let expected = naive::whole(&bench);
        let shape = bench.shape();
        let region = region(shape, channels, rows);
        let types = [(DType::F32, 1e-4), (DType::F16, 5e-3)];
        for (arch, (dtype, tolerance)) in archs().into_iter().flat_map(|a| types.map(|t| (a, t))) {
            let kernels = Kernels { arch, ..kernels(&bench, tile, dtype, region) };
            let found = bench.region_by(&kernels, region, &Alone);
            let cells = (shape.rows * shape.width) as usize;
            let wanted = region.channels.indices().flat_map(|channel| {
                region.rows.indices().flat_map(move |row| {
                    let line = channel * cells + row * shape.width as usize;
                    line..line + shape.width as usize
                })
            });
            prop_assert_eq!(wanted.clone().count(), found.len());
            for (index, found) in wanted.zip(found) {
                prop_assert!(
                    expected[index].agrees(found, tolerance),
                    "{:?} where {} was found, by {:?} with {}",
                    expected[index],
                    found,
                    arch,
                    dtype
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_stopgap_computes_with_weights_as_they_are_packed(
        bench in convolution(),
        tile in prop_oneof![Just(Tile::F4x4), Just(Tile::F3x4), Just(Tile::F2x4), Just(Tile::F2x2)],
        channels in any::<(u8, u8)>(),
        rows in any::<(u8, u8)>(),
    ) {
        /// Weights that nobody may read.
        struct Nothing;
        impl WeightSource for Nothing {
            fn read(
                &self,
                _: ParameterId,
                features: ChannelRange,
                _: &mut Vec<u8>,
            ) -> Result<(), WeightError> {
                Err(WeightError::Missing(format!("features {features} were read")))
            }
        }
        let region = region(bench.shape(), channels, rows);
        let packed = kernels(&bench, tile, DType::F32, region);
        let regions = BTreeMap::from([(LayerId(0), region)]);
        let setup = Setup { reuse: true, ..KernelKind::Fast.into() };
        let held = packed.blocks();
        let blocks = setup.blocks(&bench.graph, &regions, |block| held.contains_key(block)).unwrap();
        let kernels = Kernels::prepare(&bench.graph, &regions, &Nothing, setup, &[&packed]).unwrap();
        prop_assert_eq!(&kernels.blocks(), &blocks);
        prop_assert_eq!(&blocks, &held);
        prop_assert_eq!(
            bench.region_by(&kernels, region, &Alone),
            bench.region_by(&packed, region, &Alone)
        );
    }
}
