//! Weights from a seed: the same bits on every machine, for any rows in any order.
//!
//! Element i of a parameter is a function of (seed, parameter, i) alone: a counter run through an
//! integer hash with two rounds (the constants are Wellons' `lowbias32`), read as a signed 24-bit
//! fraction u in [-1, 1) and multiplied once. No state is carried from element to element, so a
//! range of rows costs no more than its own elements, and the loop vectorises.
//!
//! A uniform value a u has variance a^2 / 3. According to He et al. (2015) a layer and its Relu
//! preserve variance if that of the weights is 2 / fan-in, hence a = sqrt(6 / fan-in), where fan-in
//! is the number of elements per row.

use std::sync::Arc;

use crate::graph::{DType, Graph, ParameterId};
use crate::region::ChannelRange;
use crate::weights::{WeightError, WeightSource};

/// Amplitude of parameters with one element per feature: biases, which are small compared with
/// activations of variance one.
const BIAS_AMPLITUDE: f32 = 0.05;

/// Weights of a graph, computed on demand.
#[derive(Debug, Clone)]
pub struct SeededWeights {
    graph: Arc<Graph>,
    seed: u64,
}

impl SeededWeights {
    /// Weights for all parameters of `graph`, which must be float32.
    pub fn new(graph: Arc<Graph>, seed: u64) -> SeededWeights {
        debug_assert!(graph.parameters().iter().all(|parameter| parameter.dtype == DType::F32));
        SeededWeights { graph, seed }
    }
}

impl WeightSource for SeededWeights {
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        let shape = self.graph.parameters().get(parameter.index());
        let Some(shape) = shape.filter(|shape| features.end <= shape.features) else {
            let id = parameter.0;
            return Err(WeightError::Missing(format!("parameter {id} has no rows {features}")));
        };
        let amplitude = match shape.row {
            1 => BIAS_AMPLITUDE,
            fan_in => (6.0 / fan_in as f32).sqrt(),
        };
        let noise = Noise::new(self.seed, parameter, amplitude);
        // At most 2^30 elements (the graph's bound), so the counter cannot wrap.
        let first = features.start * shape.row;
        let start = out.len();
        out.resize(start + features.indices().len() * shape.row as usize * 4, 0);
        for (counter, element) in (first..).zip(out[start..].chunks_exact_mut(4)) {
            element.copy_from_slice(&noise.at(counter).to_le_bytes());
        }
        Ok(())
    }

    fn origin(&self) -> Option<String> {
        Some(format!("seed {}", self.seed))
    }
}

/// The values of one parameter.
struct Noise {
    keys: [u32; 2],
    scale: f32,
}

impl Noise {
    fn new(seed: u64, parameter: ParameterId, amplitude: f32) -> Noise {
        let key = split_mix(seed ^ split_mix(u64::from(parameter.0)));
        // A power of two divides exactly: one rounding in `at`, none here.
        Noise { keys: [key as u32, (key >> 32) as u32], scale: amplitude / (1 << 23) as f32 }
    }

    fn at(&self, counter: u32) -> f32 {
        let mut x = counter ^ self.keys[0];
        x ^= x >> 16;
        x = x.wrapping_mul(0x7feb_352d);
        x ^= self.keys[1];
        x ^= x >> 15;
        x = x.wrapping_mul(0x846c_a68b);
        x ^= x >> 16;
        // The upper 24 bits, sign and all: exact as float32.
        (x as i32 >> 8) as f32 * self.scale
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn split_mix(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Vgg;

    fn rows(source: &SeededWeights, id: u32, from: u32, to: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        source.read(ParameterId(id), ChannelRange::new(from, to), &mut bytes).unwrap();
        bytes
    }

    fn floats(bytes: &[u8]) -> Vec<f32> {
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    fn weights(seed: u64) -> SeededWeights {
        SeededWeights::new(Arc::new(Vgg::new(16).unwrap().size(32).graph().unwrap()), seed)
    }

    #[test]
    fn rows_do_not_depend_on_how_they_are_asked_for() {
        let source = weights(7);
        let whole = rows(&source, 2, 0, 64);
        let row = source.graph.parameter(ParameterId(2)).row_bytes() as usize;
        assert_eq!(rows(&source, 2, 5, 9), whole[5 * row..9 * row]);
        assert_eq!(rows(&source, 2, 63, 64), whole[63 * row..]);
        assert!(rows(&source, 2, 9, 9).is_empty());
    }

    #[test]
    fn the_bits_are_pinned() {
        let first = floats(&rows(&weights(0), 0, 0, 1))[..3].to_vec();
        let bits: Vec<u32> = first.iter().map(|value| value.to_bits()).collect();
        assert_eq!(bits, [0xbecb_d461, 0xbe89_8865, 0xbe69_fc5f]);
    }

    #[test]
    fn weights_are_centred_with_the_variance_of_he() {
        let source = weights(1);
        for (id, parameter) in source.graph.parameters().iter().enumerate() {
            let values = floats(&rows(&source, id as u32, 0, parameter.features));
            let count = values.len() as f64;
            let values = values.into_iter().map(f64::from);
            let mean = values.clone().sum::<f64>() / count;
            let variance = values.map(|value| value * value).sum::<f64>() / count;
            let wanted = match parameter.row {
                1 => f64::from(BIAS_AMPLITUDE * BIAS_AMPLITUDE) / 3.0,
                fan_in => 2.0 / f64::from(fan_in),
            };
            let error = 4.0 / count.sqrt();
            assert!(mean.abs() < error * wanted.sqrt(), "{}: mean {mean}", parameter.name);
            assert!((variance / wanted - 1.0).abs() < error, "{}: {variance}", parameter.name);
        }
    }

    #[test]
    fn seeds_and_parameters_differ() {
        assert_ne!(rows(&weights(0), 0, 0, 1), rows(&weights(1), 0, 0, 1));
        assert_ne!(rows(&weights(0), 1, 0, 1), rows(&weights(0), 3, 0, 1));
    }

    #[test]
    fn rows_that_are_not_there_are_refused() {
        let mut out = Vec::new();
        let source = weights(0);
        assert!(source.read(ParameterId(0), ChannelRange::new(0, 65), &mut out).is_err());
        assert!(source.read(ParameterId(99), ChannelRange::new(0, 1), &mut out).is_err());
    }
}
