//! What is learned about a link from one measurement after the other.
//!
//! Devices that are busy answer a probe late, so what it measures is the least that the link can do. A
//! link that seems somewhat slower than believed is not; one that seems eight times slower twice in a
//! row is.

use super::profile::LinkProfile;
use super::smoothed::Smoothed;
use crate::units::{Mbps, Ms};

/// How many times slower than believed a link may seem because its ends are busy.
const BUSY: f64 = 8.0;

/// A link as measured so far. An outlier does not move it, a lasting change does, after two
/// measurements.
///
/// What is averaged is the time of a byte, not the rate: predictions add up times, and the mean of
/// rates would promise more than the mean of times keeps.
///
/// ```
/// use edgeld_runtime::cost::{LinkEstimate, LinkProfile};
/// use edgeld_runtime::units::{Mbps, Ms};
/// let [fast, slow] = [1000.0, 10.0].map(|rate| LinkProfile::described(Mbps(rate), Ms(0.1)));
/// let mut link = LinkEstimate::new(fast);
/// assert!(link.observe(slow));
/// assert_eq!(link.profile(), fast);
/// assert!(!link.observe(slow));
/// assert!((link.profile().goodput.0 - 10.0).abs() < 1e-9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkEstimate {
    /// Of the rate in Mbit/s.
    inverse: Smoothed,
    rtt: Ms,
}

impl LinkEstimate {
    /// After the first measurement.
    pub fn new(measured: LinkProfile) -> LinkEstimate {
        LinkEstimate { inverse: Smoothed::new(measured.goodput.0.recip()), rtt: measured.rtt }
    }

    /// Learns from another measurement. Returns whether it is far from what was believed and one more
    /// will decide.
    pub fn observe(&mut self, measured: LinkProfile) -> bool {
        let (believed, measured_inverse) = (self.inverse.value(), measured.goodput.0.recip());
        let slower = measured_inverse / believed;
        let is_busy = slower > 1.0 && slower < BUSY;
        self.inverse.observe(if is_busy { believed } else { measured_inverse }, 1.0);
        let is_doubtful = self.inverse.is_doubtful();
        self.rtt =
            if slower >= BUSY && !is_doubtful { measured.rtt } else { self.rtt.min(measured.rtt) };
        is_doubtful
    }

    /// What the link is believed to be.
    pub fn profile(&self) -> LinkProfile {
        LinkProfile { goodput: Mbps(self.inverse.value().recip()), rtt: self.rtt }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_probe_measures_is_the_least_that_the_link_can_do() {
        let link = |rate| LinkProfile::described(Mbps(rate), Ms(0.1));
        let mut estimate = LinkEstimate::new(link(500.0));
        for _ in 0..9 {
            assert!(!estimate.observe(link(150.0)));
        }
        assert_eq!(estimate.profile(), link(500.0));
        assert!(!estimate.observe(link(600.0)));
        assert!(estimate.profile().goodput > Mbps(500.0));
        // Only in a row.
        for rate in [10.0, 300.0, 10.0, 600.0, 10.0] {
            estimate.observe(link(rate));
        }
        assert!(estimate.profile().goodput > Mbps(500.0));
    }
}
