//! BODP, MoDNN's partition: shares in proportion to capability, ignoring the network.

/// Shares `total` units in proportion to `capabilities`, rounding by largest remainder; the earlier
/// device wins a tie. Every device with a capability gets at least `least`, if there is enough.
///
/// The paper rounds every share by itself, which need not add up to the total; largest remainder is
/// the nearest rounding that does.
pub(super) fn bodp(total: u32, capabilities: &[f64], least: u32) -> Vec<u32> {
    let sum: f64 = capabilities.iter().sum();
    if sum.is_nan() || sum <= 0.0 {
        return Vec::new();
    }
    let exact: Vec<f64> =
        capabilities.iter().map(|capability| capability / sum * f64::from(total)).collect();
    let mut lengths: Vec<u32> = exact.iter().map(|share| share.floor() as u32).collect();
    let mut order: Vec<usize> = (0..lengths.len()).filter(|at| capabilities[*at] > 0.0).collect();
    order.sort_by(|a, b| {
        let remainder = |at: usize| exact[at] - exact[at].floor();
        remainder(*b).total_cmp(&remainder(*a)).then(a.cmp(b))
    });
    let missing = total.saturating_sub(lengths.iter().sum()) as usize;
    for at in order.iter().cycle().take(missing) {
        lengths[*at] += 1;
    }
    if u64::from(least) * order.len() as u64 <= u64::from(total) {
        for at in &order {
            while lengths[*at] < least {
                let most = (0..lengths.len()).rev().max_by_key(|index| lengths[*index]);
                let Some(most) = most else { break };
                lengths[most] -= 1;
                lengths[*at] += 1;
            }
        }
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_capability() {
        assert_eq!(bodp(224, &[1.0, 1.0, 2.0], 0), [56, 56, 112]);
        assert_eq!(bodp(10, &[1.0, 1.0, 1.0], 0), [4, 3, 3]);
        assert_eq!(bodp(224, &[6.0, 6.0, 6.0, 1.0], 0), [71, 71, 70, 12]);
        assert_eq!(bodp(7, &[0.0, 1.0, 0.0, 1.0], 0), [0, 4, 0, 3]);
    }

    #[test]
    fn the_least_is_kept_where_there_is_enough() {
        assert_eq!(bodp(7, &[100.0, 1.0, 1.0], 1), [5, 1, 1]);
        assert_eq!(bodp(2, &[100.0, 1.0, 1.0], 1), [2, 0, 0]);
    }
}
