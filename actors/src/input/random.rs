//! Inputs generated from a seed, for trying out a model without real data.

/// A counter-based generator (SplitMix64): element i of seed s is the same on every machine.
fn bits(seed: u64, index: u64) -> u64 {
    let mut z = seed
        .wrapping_mul(0xd134_2543_de82_ef95)
        .wrapping_add((index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `count` uniform pixels.
pub(super) fn pixels(seed: u64, count: usize) -> Vec<u8> {
    (0..count as u64).map(|index| (bits(seed, index) >> 56) as u8).collect()
}

/// `count` normally distributed values with mean 0 and standard deviation 1 (Box-Muller).
pub(super) fn normal(seed: u64, count: usize) -> Vec<f32> {
    let uniform = |index: u64| ((bits(seed, index) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    (0..count as u64)
        .map(|index| {
            let radius = (-2.0 * uniform(2 * index).ln()).sqrt();
            (radius * (std::f64::consts::TAU * uniform(2 * index + 1)).cos()) as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_input() {
        assert_eq!(pixels(7, 100), pixels(7, 100));
        assert_ne!(pixels(7, 100), pixels(8, 100));
        assert_eq!(pixels(7, 10), pixels(7, 100)[..10]);
    }

    #[test]
    fn pixels_are_uniform() {
        let pixels = pixels(1, 100_000);
        let mean = pixels.iter().map(|p| f64::from(*p)).sum::<f64>() / 1e5;
        assert!((mean - 127.5).abs() < 1.0, "{mean}");
        assert!((0..=255).all(|value| pixels.contains(&value)));
    }

    #[test]
    fn normal_values_have_mean_0_and_deviation_1() {
        let values = normal(3, 100_000);
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / 1e5;
        let square = values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.02 && (square - 1.0).abs() < 0.02, "{mean} {square}");
        assert!(values.iter().all(|value| value.is_finite()));
    }
}
