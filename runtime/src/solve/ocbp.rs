//! OCBP, EdgeLD's partition: starting from BODP's shares, moves one row at a time from the slowest
//! device to the fastest, taking transfers into account.

use std::ops::Range;

/// Times that differ by less than this fraction of the largest count as equal.
const TOLERANCE: f64 = 0.01;

/// Moves units between `lengths` until the predicted times `cost(device, share)` of the devices in
/// `members` are within tolerance of each other, the slowest share has shrunk to one unit, or a
/// move would not lower the largest time. The paper lacks the last rule and can move one row back
/// and forth for ever; with it every move lowers the largest time, so the search ends.
pub(super) fn ocbp(
    mut lengths: Vec<u32>,
    members: &[bool],
    mut cost: impl FnMut(usize, Range<u32>) -> f64,
) -> Vec<u32> {
    let mut times = Vec::new();
    let mut extremes = |lengths: &[u32]| -> Option<(usize, usize, f64, f64)> {
        times.clear();
        let mut start = 0;
        for (device, length) in lengths.iter().enumerate() {
            times.push(cost(device, start..start + length));
            start += length;
        }
        let each = || (0..lengths.len()).filter(|device| members[*device]);
        // The first of equals, so that equal inputs give equal plans.
        let slowest = each().rev().max_by(|a, b| times[*a].total_cmp(&times[*b]))?;
        let fastest = each().min_by(|a, b| times[*a].total_cmp(&times[*b]))?;
        Some((slowest, fastest, times[slowest], times[fastest]))
    };
    let Some(mut now) = extremes(&lengths) else { return lengths };
    loop {
        let (slowest, fastest, longest, shortest) = now;
        if longest - shortest <= TOLERANCE * longest || lengths[slowest] <= 1 {
            return lengths;
        }
        lengths[slowest] -= 1;
        lengths[fastest] += 1;
        match extremes(&lengths) {
            Some(next) if next.2 < longest => now = next,
            _ => {
                lengths[slowest] += 1;
                lengths[fastest] -= 1;
                return lengths;
            }
        }
        if lengths[slowest] == 1 {
            return lengths;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slow_link_gives_up_rows() {
        let cost = |device: usize, share: Range<u32>| {
            let rows = f64::from(share.end - share.start);
            rows * if device == 3 { 3.0 } else { 1.0 }
        };
        assert_eq!(ocbp(vec![56; 4], &[true; 4], cost), [68, 67, 67, 22]);
    }

    #[test]
    fn devices_without_a_part_stay_without() {
        let cost = |_: usize, share: Range<u32>| f64::from(share.end - share.start);
        assert_eq!(ocbp(vec![0, 8, 2], &[false, true, true], cost), [0, 5, 5]);
    }

    proptest! {
        #[test]
        fn ends_and_never_makes_the_largest_time_longer(
            costs in prop::collection::vec((0.0..50.0f64, 0.01..9.0f64), 1..6),
            rows in 1u32..60,
        ) {
            let cost = |device: usize, share: Range<u32>| {
                let (fixed, per_row) = costs[device];
                if share.is_empty() { 0.0 } else { fixed + per_row * f64::from(share.end - share.start) }
            };
            let largest = |lengths: &[u32]| {
                lengths.iter().enumerate().map(|(device, rows)| cost(device, 0..*rows))
                    .fold(0.0, f64::max)
            };
            let start = super::super::bodp::bodp(rows, &vec![1.0; costs.len()], 0);
            let end = ocbp(start.clone(), &vec![true; costs.len()], cost);
            prop_assert_eq!(end.iter().sum::<u32>(), rows);
            prop_assert!(largest(&end) <= largest(&start));
        }
    }
}
