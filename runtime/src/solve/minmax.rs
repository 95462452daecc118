//! Exact min-max: contiguous shares whose slowest is as fast as possible.
//!
//! The cost of a share does not fall when it grows at either end. So for a bound T each device, in
//! order, takes as much as it can within T. If that takes everything, T is feasible. If it does
//! not, no other way of sharing meets T either, since in none does a device end later than here. A
//! probe yields more than one bit: if everything was taken, the optimum is at most the largest cost
//! that occurred; if not, it is at least the smallest cost that stopped a device. Probing between
//! these two bounds ends at the optimum itself.

use std::ops::Range;

/// Limits of one device's share, in units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub least: u32,
    pub most: u32,
}

/// Shares `total` units among as many devices as there are limits. `cost(device, share)` is never
/// negative, zero for an empty share, and does not fall when the share grows. Returns the length of
/// each share, or nothing if the limits leave units over.
///
/// The search starts from `guess`. Minimum lengths are honoured as long as they fit in `total`; the
/// result is exact if the optimum without them happens to keep them.
pub(super) fn minmax(
    total: u32,
    limits: &[Limits],
    guess: &[u32],
    mut cost: impl FnMut(usize, Range<u32>) -> f64,
) -> Vec<u32> {
    let mut search = Search { total, limits, cost: &mut cost, ends: Vec::new() };
    let mut best = search.begin(guess);
    let mut high = search.largest(&best);
    let mut low = 0.0;
    if !high.is_finite() {
        return Vec::new();
    }
    // The guess is rarely far off.
    let mut probe = high * FIRST_PROBE;
    for _ in 0..MAX_PROBES {
        match search.fill(probe, &best) {
            Fill::All => {
                let reached = search.largest(&search.ends.clone());
                best.clone_from(&search.ends);
                high = reached.min(probe);
            }
            Fill::Short { stopped_by } => low = stopped_by.max(low),
        }
        if low >= high {
            break;
        }
        probe = if high - low > CLOSE * high { (low + high) / 2.0 } else { low };
    }
    let starts = std::iter::once(0).chain(best.iter().copied());
    best.iter().zip(starts).map(|(end, start)| end - start).collect()
}

/// More than any monotonic cost needs; a bound in case a cost is not monotonic.
const MAX_PROBES: u32 = 200;
/// The first bound to probe, as a fraction of the largest cost of the guess.
const FIRST_PROBE: f64 = 0.9;
/// Once the bounds are this close, the lower bound itself is probed: it jumps from cost to cost.
const CLOSE: f64 = 1e-2;

enum Fill {
    All,
    Short { stopped_by: f64 },
}

struct Search<'a, C> {
    total: u32,
    limits: &'a [Limits],
    cost: &'a mut C,
    /// Where each share ends, after the last `fill`.
    ends: Vec<u32>,
}

impl<C: FnMut(usize, Range<u32>) -> f64> Search<'_, C> {
    /// The guess, adjusted to the limits.
    fn begin(&mut self, guess: &[u32]) -> Vec<u32> {
        let mut start = 0;
        let mut owed: u32 = self.limits.iter().map(|limits| limits.least).sum();
        let mut room: u32 =
            self.limits.iter().map(|limits| limits.most).fold(0, u32::saturating_add);
        let mut ends = Vec::with_capacity(self.limits.len());
        for (index, limits) in self.limits.iter().enumerate() {
            owed -= limits.least;
            room = room.saturating_sub(limits.most);
            let left = self.total - start;
            let most = limits.most.min(left.saturating_sub(owed));
            let least = limits.least.max(left.saturating_sub(room)).min(most);
            let length = guess.get(index).copied().unwrap_or(0).clamp(least, most);
            start += length;
            ends.push(start);
        }
        ends
    }

    fn largest(&mut self, ends: &[u32]) -> f64 {
        let mut start = 0;
        let mut largest: f64 = 0.0;
        for (device, end) in ends.iter().enumerate() {
            largest = largest.max((self.cost)(device, start..*end));
            start = *end;
        }
        if start < self.total { f64::INFINITY } else { largest }
    }

    /// Every device takes as much as it can within `bound`; `near` is a guess of where shares end.
    fn fill(&mut self, bound: f64, near: &[u32]) -> Fill {
        self.ends.clear();
        let mut owed: u32 = self.limits.iter().map(|limits| limits.least).sum();
        let mut start = 0;
        let mut stopped_by = f64::INFINITY;
        for (device, Limits { least, most }) in self.limits.iter().copied().enumerate() {
            owed -= least;
            let last = (start + most.min(self.total - start)).min(self.total.saturating_sub(owed));
            let first = (start + least).min(last);
            if first > start {
                let needed = (self.cost)(device, start..first);
                if needed > bound {
                    return Fill::Short { stopped_by: needed.min(stopped_by) };
                }
            }
            let (end, next) = self.furthest(device, start, first..last, bound, near[device]);
            stopped_by = stopped_by.min(next);
            self.ends.push(end);
            start = end;
        }
        if start == self.total { Fill::All } else { Fill::Short { stopped_by } }
    }

    /// The furthest end in `ends` whose cost is within `bound`, and the cost of the next one. Both
    /// ends of the range are included; the first is known to be within the bound.
    fn furthest(
        &mut self,
        device: usize,
        start: u32,
        ends: Range<u32>,
        bound: f64,
        near: u32,
    ) -> (u32, f64) {
        let (mut within, mut beyond) = (ends.start, ends.end + 1);
        let mut next = f64::INFINITY;
        let mut probe = near.clamp(ends.start, ends.end).max(within + 1);
        // Gallop away from the guess until a probe falls on the other side, then halve.
        let mut stride = Some(1u32);
        let mut side = None;
        while beyond - within > 1 {
            if probe <= within || probe >= beyond {
                probe = within + (beyond - within) / 2;
            }
            let cost = (self.cost)(device, start..probe);
            let fits = cost <= bound;
            if fits {
                within = probe;
            } else {
                beyond = probe;
                next = cost;
            }
            if side.is_some_and(|before| before != fits) {
                stride = None;
            }
            side = Some(fits);
            probe = match stride {
                Some(stride) if fits => within.saturating_add(stride),
                Some(stride) => beyond.saturating_sub(stride),
                None => within,
            };
            stride = stride.map(|stride| stride.saturating_mul(2));
        }
        (within, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A device that owns some units already and pays for the others.
    #[derive(Debug, Clone)]
    struct Device {
        fixed: f64,
        per_unit: f64,
        halo: u32,
        owned: Range<u32>,
        per_missing: f64,
    }

    impl Device {
        fn cost(&self, share: Range<u32>, total: u32) -> f64 {
            if share.is_empty() {
                return 0.0;
            }
            let need = share.start.saturating_sub(self.halo)..(share.end + self.halo).min(total);
            let missing = need.clone().filter(|unit| !self.owned.contains(unit)).count();
            let units = f64::from(share.end - share.start);
            self.fixed + self.per_unit * units + self.per_missing * missing as f64
        }
    }

    fn device() -> impl Strategy<Value = Device> {
        (0.0..5.0f64, 0.01..10.0f64, 0u32..4, 0u32..12, 0u32..12, 0.0..10.0f64).prop_map(
            |(fixed, per_unit, halo, from, to, per_missing)| Device {
                fixed,
                per_unit,
                halo,
                owned: from..to,
                per_missing,
            },
        )
    }

    fn brute_force(total: u32, devices: &[Device], start: u32, all: u32) -> f64 {
        let [first, rest @ ..] = devices else {
            return if start == total { 0.0 } else { f64::INFINITY };
        };
        (start..=total)
            .map(|end| first.cost(start..end, all).max(brute_force(total, rest, end, all)))
            .fold(f64::INFINITY, f64::min)
    }

    const FREE: Limits = Limits { least: 0, most: u32::MAX };

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn is_as_good_as_brute_force(
            devices in prop::collection::vec(device(), 1..=4),
            total in 1u32..=12,
            guess in prop::collection::vec(0u32..12, 4),
        ) {
            let lengths = minmax(total, &vec![FREE; devices.len()], &guess,
                |device, share| devices[device].cost(share, total));
            prop_assert_eq!(lengths.iter().sum::<u32>(), total);
            let mut start = 0;
            let mut reached = 0.0f64;
            for (device, length) in devices.iter().zip(&lengths) {
                reached = reached.max(device.cost(start..start + length, total));
                start += length;
            }
            prop_assert_eq!(reached, brute_force(total, &devices, 0, total));
        }

        #[test]
        fn limits_hold(
            devices in prop::collection::vec(device(), 1..=8),
            total in 8u32..=40,
            least in 0u32..=1,
        ) {
            let limits = vec![Limits { least, most: total }; devices.len()];
            let lengths =
                minmax(total, &limits, &[], |device, share| devices[device].cost(share, total));
            prop_assert_eq!(lengths.iter().sum::<u32>(), total);
            prop_assert!(lengths.iter().all(|length| *length >= least));
        }
    }

    #[test]
    fn a_device_that_costs_too_much_gets_nothing() {
        let slow = |device: usize, share: Range<u32>| {
            let units = f64::from(share.end - share.start);
            if device == 1 && units > 0.0 { 100.0 + units } else { units }
        };
        assert_eq!(minmax(10, &[FREE; 3], &[], slow), [5, 0, 5]);
    }

    #[test]
    fn a_cap_sends_the_rest_elsewhere() {
        let limits = [FREE, Limits { least: 0, most: 2 }];
        let units = |_: usize, share: Range<u32>| f64::from(share.end - share.start);
        assert_eq!(minmax(10, &limits, &[], units), [8, 2]);
    }
}
