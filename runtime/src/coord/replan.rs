//! When a measured change is worth a new plan, and what its reason is called.
//!
//! Every frame reports what each stage cost on each device, which corrects the devices' profiles
//! ([`DeviceProfile::observe`](crate::cost::DeviceProfile::observe)). [`Hysteresis`] keeps plans
//! from flapping. Losses and joins do not go through it; they are planned for at once. [`Overhead`]
//! is what frames of several devices take beyond what the profiles explain.
//!
//! # What a change must gain
//!
//! Another plan must have been better by 10 % for five frames in a row (as far as the planner ran
//! after them), or by a third for three, and the present one must have run for two seconds. What it
//! gains must also pay for the weights that its devices lack. With times per frame under the `present`
//! plan and the `other`,
//!
//! ```text
//! present - other  >=  10 % of present + moving / frames
//! frames            =  horizon / time from one frame to the next
//! ```
//!
//! where `moving` is how long the weights occupy the links ([`moving_time`](super::holdings::moving_time)). Frames go on under the
//! present plan meanwhile, but their strips share the links with the weights, so in the worst case
//! `moving` is lost to them. All frames that profit bear it in equal parts: those of the next minute,
//! at the pace at which frames came since the other plan was better. Nobody knows for how long speeds
//! stay as they are; a minute is as long as an overhead is remembered.
//!
//! Worked example: frames of 100 ms follow each other, 600 a minute. A plan of 80 ms gains 20 ms a
//! frame, of which 10 ms are the hysteresis; the other 10 ms pay for 6 s of weights. If frames come
//! once a second, they pay for 600 ms.
//!
//! ```
//! use edgeld_runtime::coord::Moment;
//! use edgeld_runtime::coord::replan::{Change, Hysteresis};
//! use edgeld_runtime::units::Ms;
//! let fifth_frame_changes = |interval, moving| {
//!     let change = Change { present: Ms(100.0), other: Ms(80.0), moving: Ms(moving) };
//!     let mut hysteresis = Hysteresis::new(Moment(-2_000.0));
//!     let mut after = |frame: u32| {
//!         hysteresis.consider(Moment(f64::from(frame) * interval), frame.into(), change)
//!     };
//!     assert!((1..=4).all(|frame| !after(frame)));
//!     after(5)
//! };
//! assert!(fifth_frame_changes(100.0, 5_900.0) && !fifth_frame_changes(100.0, 6_100.0));
//! assert!(fifth_frame_changes(1_000.0, 590.0) && !fifth_frame_changes(1_000.0, 610.0));
//! ```

use std::collections::VecDeque;

use super::{Moment, Reason};
use crate::units::Ms;

/// What another plan must gain, as a fraction of the present plan's time.
const GAIN: f64 = 0.10;

/// For how many frames in a row it must.
const FRAMES: u64 = 5;

/// The same if the change is [pressing](is_pressing): noise does not look like that.
const PRESSING_FRAMES: u64 = 3;

/// How many times as long as under another plan frames take if that cannot wait.
const PRESSING: f64 = 1.5;

/// Whether another plan is so much better than the present one that it is worth a change.
pub fn is_notable(present: Ms, other: Ms) -> bool {
    Change { present, other, moving: Ms::ZERO }.gain() >= Ms::ZERO
}

/// Whether frames take so much longer under the present plan than under another that the other one
/// cannot wait.
fn is_pressing(present: Ms, other: Ms) -> bool {
    present >= other * PRESSING
}

/// How long a plan runs before it may be replaced.
const HOLD: Ms = Ms(2_000.0);

/// The frames of this time pay for a change of plans.
const HORIZON: Ms = Ms(60_000.0);

/// What a change of plans would bring.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Predicted time of a frame, or from one answer to the next, under the present plan.
    pub present: Ms,
    /// The same under the other plan.
    pub other: Ms,
    /// How long the weights that its devices lack occupy the links.
    pub moving: Ms,
}

impl Change {
    /// What it gains per frame beyond the hysteresis; negative if it does not.
    fn gain(&self) -> Ms {
        self.present * (1.0 - GAIN) - self.other
    }
}

/// Keeps plans from flapping.
#[derive(Debug, Clone, Copy)]
pub struct Hysteresis {
    since: Moment,
    /// The first frame of those since which another plan has been better, and when it was.
    better: Option<(u64, Moment)>,
}

impl Hysteresis {
    /// Starts when a plan becomes active.
    pub fn new(now: Moment) -> Hysteresis {
        Hysteresis { since: now, better: None }
    }

    /// Whether it is time to change plans, after `frames` frames so far. If solving takes longer than
    /// a frame, it is not called after every frame.
    pub fn consider(&mut self, now: Moment, frames: u64, change: Change) -> bool {
        let gain = change.gain();
        if gain < Ms::ZERO {
            self.better = None;
            return false;
        }
        let (first, began) = *self.better.get_or_insert((frames, now));
        let passed = frames.saturating_sub(first);
        let needed = match is_pressing(change.present, change.other) {
            true => PRESSING_FRAMES,
            false => FRAMES,
        };
        let lasts = passed + 1 >= needed && now.since(self.since) >= HOLD;
        // Times the duration on both sides: frames may be answered at the same moment.
        lasts && gain * passed as f64 * HORIZON.0 >= change.moving * now.since(began).0
    }

    /// Whether another plan has been better, but only since a few of all `frames`: soon it is clear
    /// whether it stays so, or does not pay for its weights.
    pub fn is_tempted(&self, frames: u64) -> bool {
        self.better.is_some_and(|(first, _)| frames.saturating_sub(first) < 2 * FRAMES)
    }
}

/// The time from one answer to the next if frames go to plans that run side by side in the same
/// proportion as before, although the times between each plan's answers have changed: the plan that
/// is then the last with its part holds up the others.
///
/// ```
/// use edgeld_runtime::coord::replan::interval_in_proportion;
/// use edgeld_runtime::units::Ms;
/// // Two answered every 100 ms, one frame in 50 ms together; now one of them takes 300 ms.
/// let (before, now) = ([Ms(100.0); 2], [Ms(100.0), Ms(300.0)]);
/// assert_eq!(interval_in_proportion(&before, &now), Ms(150.0));
/// ```
pub fn interval_in_proportion(before: &[Ms], now: &[Ms]) -> Ms {
    let rate: f64 = before.iter().map(|interval| interval.0.recip()).sum();
    let parts = before.iter().map(|interval| interval.0.recip() / rate);
    parts.zip(now).map(|(part, now)| *now * part).fold(Ms::ZERO, Ms::max)
}

/// How many of the latest frames count for the overhead: so many that the median is steady where
/// single frames are not, and so few that half of them are over soon.
const REMEMBERED: usize = 9;

/// A simulated time that has become longer or shorter by this factor is that of a change.
const STEP: f64 = 1.5;

/// How long until half of an overhead is forgotten, if no frame confirms it: so that a plan that was
/// given up for a network that has recovered since is tried again.
const HALF_LIFE: Ms = Ms(60_000.0);

/// The overhead before anything is known of it. A plan for several devices that promises next to
/// nothing is not worth the risk.
const EXPECTED: f64 = 1.05;

/// No frame counts as further off than this.
const MOST: f64 = 100.0;

/// How many times longer the frames of several devices take than their simulation, whatever the
/// cause: a network slower than it was, or devices that wait for each other's pauses. The planner
/// multiplies by it what it [simulates](crate::cost::ClusterProfile::overhead) for plans that
/// exchange strips, so that a plan that does not keep its promise loses to a device alone.
///
/// It compares the median of the latest frames, which one slow frame does not move, with what their
/// plan is simulated to take by what is known now, not when they ran: when a device becomes slower,
/// frames show it first and its profile a few frames later, and that must not count twice.
///
/// ```
/// use edgeld_runtime::coord::Moment;
/// use edgeld_runtime::coord::replan::Overhead;
/// use edgeld_runtime::units::Ms;
/// let mut overhead = Overhead::default();
/// overhead.observe(Moment(0.0), [Ms(101.0), Ms(400.0), Ms(99.0)], Ms(50.0));
/// assert_eq!(overhead.factor(Moment(0.0)), 2.02);
/// assert!((overhead.factor(Moment(60_000.0)) - 2.02f64.sqrt()).abs() < 1e-9);
/// // Now the devices are known to be slower: nothing is left to explain.
/// overhead.observe(Moment(0.0), [], Ms(101.0));
/// assert_eq!(overhead.factor(Moment(0.0)), 1.0);
/// ```
#[derive(Debug, Clone)]
pub struct Overhead {
    /// What frames of the present plan took, oldest first.
    times: VecDeque<Ms>,
    /// What the present plan is simulated to take.
    simulated: Ms,
    /// The factor when the present plan became active.
    before: f64,
    /// When the last frame was observed.
    last: Moment,
}

impl Default for Overhead {
    fn default() -> Overhead {
        let (simulated, last) = (Ms::ZERO, Moment(0.0));
        Overhead { times: VecDeque::new(), simulated, before: EXPECTED, last }
    }
}

impl Overhead {
    /// Learns what frames of the present plan took, and what it is simulated to take now. If that is
    /// suddenly much more or less, profiles have learned of a change, and frames from before it say
    /// nothing any more, unless the change explains them.
    pub fn observe(&mut self, now: Moment, measured: impl IntoIterator<Item = Ms>, simulated: Ms) {
        let ratio = simulated / self.simulated;
        let is_step = ratio.is_finite() && !(1.0 / STEP..STEP).contains(&ratio);
        let unexplained = |factor: f64| factor.ln().abs();
        let former = self.median().map(|median| unexplained(median / simulated));
        if is_step && former.is_some_and(|former| former > unexplained(self.factor(now))) {
            self.change_plan(now);
        }
        self.simulated = simulated;
        for time in measured {
            if self.times.len() >= REMEMBERED {
                self.times.pop_front();
            }
            self.times.push_back(time);
            self.last = now;
        }
    }

    /// Another plan runs from now on.
    pub fn change_plan(&mut self, now: Moment) {
        (self.before, self.last) = (self.factor(now), now);
        self.times.clear();
    }

    /// Of the latest frames, if there are any.
    fn median(&self) -> Option<Ms> {
        let mut sorted: Vec<Ms> = self.times.iter().copied().collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        sorted.get(sorted.len() / 2).copied()
    }

    /// The factor, as of `now`; 1 if nothing is known.
    pub fn factor(&self, now: Moment) -> f64 {
        let ratio = self.median().map(|median| median / self.simulated);
        let ratio = ratio.filter(|ratio| !ratio.is_nan()).unwrap_or(self.before);
        let forgotten = 0.5f64.powf(now.since(self.last) / HALF_LIFE);
        ratio.clamp(1.0 / MOST, MOST).powf(forgotten)
    }
}

/// The reason that a change of speeds is given. `slowdowns` say how many times slower each device
/// computes than when the plan was made (below one: faster), `links` the same of its link.
///
/// The largest change decides, on a logarithmic scale; a slower device is preferred to one that
/// became faster by up to twice as much. What all devices have in common (another program on a
/// machine that they share, a measurement taken while all were busy) counts as one change, and each
/// device's own change is relative to it.
pub fn reason(
    slowdowns: impl IntoIterator<Item = f64>,
    links: impl IntoIterator<Item = f64>,
) -> Reason {
    let is_valid = |factor: &f64| *factor > 0.0;
    let slowdowns: Vec<f64> = slowdowns.into_iter().filter(is_valid).collect();
    let common = typical(slowdowns.clone());
    let changes = slowdowns.iter().map(|factor| factor / common).chain([common]);
    let (slower, faster) = changes.fold((0.0, 0.0), |(slower, faster): (f64, f64), factor| {
        (slower.max(factor.ln()), faster.max(-factor.ln()))
    });
    let link = links.into_iter().filter(is_valid).map(size).fold(0.0, f64::max);
    match () {
        () if link > slower.max(faster) => Reason::Link,
        () if 2.0 * slower >= faster => Reason::Slower,
        () => Reason::Faster,
    }
}

/// How large a change by a factor is, in either direction.
fn size(factor: f64) -> f64 {
    factor.ln().abs()
}

/// The median; of two middle values the one nearer to one.
fn typical(mut factors: Vec<f64>) -> f64 {
    factors.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) =
        (factors.get(factors.len().saturating_sub(1) / 2), factors.get(factors.len() / 2))
    else {
        return 1.0;
    };
    if size(*low) <= size(*high) { *low } else { *high }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a plan of 100 ms, moving nothing.
    fn to(other: f64) -> Change {
        Change { present: Ms(100.0), other: Ms(other), moving: Ms::ZERO }
    }

    #[test]
    fn a_gain_must_be_real_and_lasting() {
        let mut hysteresis = Hysteresis::new(Moment(0.0));
        let mut after = |frame: u32, other| {
            let now = Moment(f64::from(frame) * 1_000.0);
            hysteresis.consider(now, frame.into(), to(other))
        };
        assert!((1..=4).all(|frame| !after(frame, 80.0)));
        assert!(!after(5, 95.0));
        assert!((6..=9).all(|frame| !after(frame, 80.0)));
        assert!(after(10, 80.0));
        let mut young = Hysteresis::new(Moment(0.0));
        assert!((1..20).all(|frame: u32| {
            !young.consider(Moment(f64::from(frame) * 100.0), frame.into(), to(50.0))
        }));
    }

    #[test]
    fn a_temptation_passes() {
        let mut hysteresis = Hysteresis::new(Moment(0.0));
        assert!(!hysteresis.is_tempted(0));
        let far = Change { moving: Ms(1e9), ..to(50.0) };
        assert!(!hysteresis.consider(Moment(3_000.0), 40, far));
        assert!(hysteresis.is_tempted(41) && hysteresis.is_tempted(49));
        assert!(!hysteresis.is_tempted(50));
        assert!(!hysteresis.consider(Moment(3_500.0), 51, to(99.0)));
        assert!(!hysteresis.is_tempted(51));
    }

    #[test]
    fn frames_count_that_were_not_considered() {
        let mut hysteresis = Hysteresis::new(Moment(0.0));
        assert!(!hysteresis.consider(Moment(3_000.0), 40, to(80.0)));
        assert!(!hysteresis.consider(Moment(3_300.0), 43, to(80.0)));
        assert!(hysteresis.consider(Moment(5_000.0), 60, to(80.0)));
    }

    #[test]
    fn a_large_gain_is_believed_the_third_time() {
        let mut hysteresis = Hysteresis::new(Moment(0.0));
        assert!(!hysteresis.consider(Moment(3_000.0), 40, to(60.0)));
        assert!(!hysteresis.consider(Moment(3_100.0), 41, to(95.0)));
        assert!(!hysteresis.consider(Moment(3_200.0), 42, to(60.0)));
        assert!(!hysteresis.consider(Moment(3_300.0), 43, to(60.0)));
        assert!(hysteresis.consider(Moment(3_400.0), 44, to(60.0)));
    }

    #[test]
    fn what_devices_know_of_is_not_overhead() {
        let mut overhead = Overhead::default();
        let now = Moment(0.0);
        overhead.observe(now, [Ms(110.0); 9], Ms(100.0));
        assert!((overhead.factor(now) - 1.1).abs() < 1e-9);
        // A device becomes slower: frames show it at once, its profile little by little.
        for simulated in [100.0, 190.0, 240.0, 270.0, 285.0, 292.0, 296.0, 300.0] {
            overhead.observe(now, [Ms(330.0)], Ms(simulated));
            let predicted = simulated * overhead.factor(now);
            assert!(predicted < 331.0, "{predicted} of {simulated}");
        }
        assert!((overhead.factor(now) - 1.1).abs() < 1e-9);
        // Or its profile shows it at once, before most of the latest frames do.
        overhead.observe(now, [Ms(700.0)], Ms(600.0));
        assert!((overhead.factor(now) - 7.0 / 6.0).abs() < 1e-9);
        overhead.observe(now, [Ms(330.0)], Ms(300.0));
        // The next plan has it until it has frames of its own.
        overhead.change_plan(now);
        overhead.observe(now, [], Ms(200.0));
        assert!((overhead.factor(now) - 1.1).abs() < 1e-9);
        overhead.observe(now, [Ms(240.0)], Ms(200.0));
        assert!((overhead.factor(now) - 1.2).abs() < 1e-9);
    }

    #[test]
    fn the_largest_change_names_the_reason() {
        assert_eq!(reason([1.0, 3.0], [1.0]), Reason::Slower);
        assert_eq!(reason([0.2, 3.0], [1.0]), Reason::Faster);
        assert_eq!(reason([0.2, 1.0, 3.0], [1.0]), Reason::Slower);
        assert_eq!(reason([1.1], [4.0]), Reason::Link);
        assert_eq!(reason([], []), Reason::Slower);
    }

    #[test]
    fn what_all_devices_have_in_common_hides_nothing() {
        // The machine is busy, and one device slower still; or all were measured at a busy time.
        assert_eq!(reason([2.0, 2.0, 2.0, 5.0], [1.0; 4]), Reason::Slower);
        assert_eq!(reason([0.3, 0.4, 1.5, 0.3], [1.0; 4]), Reason::Slower);
        assert_eq!(reason([2.0, 2.0, 0.4, 2.0], [1.0; 4]), Reason::Faster);
        assert_eq!(reason([2.0; 4], [1.0; 4]), Reason::Slower);
        assert_eq!(reason([0.5; 4], [1.0; 4]), Reason::Faster);
        assert_eq!(reason([1.0, 3.0], [1.0; 2]), Reason::Slower);
        assert_eq!(reason([1.0, 0.3], [1.0; 2]), Reason::Faster);
        assert_eq!(reason([0.0, f64::NAN, 3.0], [f64::NAN]), Reason::Slower);
    }
}
