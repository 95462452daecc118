//! How many frames a second plans give that run side by side.
//!
//! Each plan keeps the resources of its devices busy for some part of every frame's time, and at
//! most all of the time is there for all plans together. A device that only passes strips on for a
//! plan has little to do for it and gets much in return, so plans are served in that order: those
//! that ask least of the leader's processor first. What is left is for the plan that computes on it.

use super::makespan::Prediction;
use crate::plan::{DeviceIx, InFlight};
use crate::units::Ms;

/// The time from one answer to the next under each of the plans that run side by side on the same
/// devices, while frames wait for all of them: at most that many of each plan's frames are in
/// flight. Infinite for a plan for which nothing is left.
///
/// Worked example: a device takes 100 ms for a frame, the leader 90 ms and 10 ms to serve the other.
/// In 100 ms the device answers one frame, and the leader has 90 ms left, for one frame.
///
/// ```
/// use edgeld_runtime::cost::{DeviceTime, Prediction, intervals};
/// use edgeld_runtime::plan::InFlight;
/// use edgeld_runtime::units::Ms;
/// let busy = |compute, strips| DeviceTime {
///     compute: Ms(compute),
///     strips: Ms(strips),
///     ..DeviceTime::default()
/// };
/// let plan = |total, devices| Prediction { total: Ms(total), stages: Vec::new(), devices };
/// let own = plan(90.0, vec![busy(90.0, 0.0), busy(0.0, 0.0)]);
/// let other = plan(110.0, vec![busy(0.0, 10.0), busy(100.0, 0.0)]);
/// let two = InFlight::of(2);
/// let found = intervals(&[(&own, two), (&other, two)]);
/// assert!((found[0].0 - 100.0).abs() < 1e-9 && (found[1].0 - 100.0).abs() < 1e-9);
/// ```
pub fn intervals(plans: &[(&Prediction, InFlight)]) -> Vec<Ms> {
    let asks = |at: &usize| {
        let leader = plans[*at].0.devices.get(DeviceIx::LEADER.index());
        leader.map_or(0.0, |time| time.compute.0 + time.strips.0)
    };
    let mut order: Vec<usize> = (0..plans.len()).collect();
    order.sort_by(|a, b| asks(a).total_cmp(&asks(b)));
    let mut left: Vec<f64> = Vec::new();
    let mut intervals = vec![Ms(f64::INFINITY); plans.len()];
    for at in order {
        let (prediction, in_flight) = plans[at];
        let uses: Vec<Ms> = prediction.uses().map(|(_, time)| time).collect();
        left.resize(left.len().max(uses.len()), 1.0);
        let busiest = uses.iter().zip(&left).filter(|(time, _)| time.0 > 0.0);
        let busiest = busiest.map(|(time, left)| time.0 / left.max(0.0)).fold(0.0, f64::max);
        let interval = busiest.max(prediction.total.0 / f64::from(in_flight.frames()));
        intervals[at] = Ms(interval);
        for (left, time) in left.iter_mut().zip(&uses) {
            *left -= time.0 / interval;
        }
    }
    intervals
}
