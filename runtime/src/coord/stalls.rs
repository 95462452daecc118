//! What share of the time a device's process is allowed to run.
//!
//! A process that is stopped at intervals (by a processor quota, a hypervisor, stop signals) runs
//! at full speed in between, and most stages of a frame fit between two stops. The time lost passes
//! before a stage begins, where no stage's measured time can show it. Callers therefore tick every
//! [`TICK`] while there are frames: a tick that is 8 ms late means that the process stood
//! still until then. Threads that merely take turns on busy cores are not that late, and the
//! computation that they delay is measured as longer anyway.
//!
//! ```
//! use edgeld_runtime::coord::Moment;
//! use edgeld_runtime::coord::stalls::Stalls;
//! let mut stalls = Stalls::new(Moment(0.0));
//! for turn in 1..=40 {
//!     stalls.tick(Moment(f64::from(turn) * 25.0)); // due 5 ms after the one before: 20 ms lost
//! }
//! assert!((stalls.available(Moment(1_000.0)) - 0.2).abs() < 1e-9);
//! // A stage of 1 ms in that fifth costs 5 ms; so does one that stood still for 20 ms besides.
//! let cost = |from, to| stalls.cost(Moment(from), Moment(to), Moment(1_000.0)).0;
//! assert!((cost(976.0, 977.0) - 5.0).abs() < 1e-9);
//! assert!((cost(954.5, 975.5) - 5.0).abs() < 1e-9);
//! ```

use std::collections::VecDeque;

use super::Moment;
use crate::units::Ms;

/// How often to tick.
pub const TICK: Ms = Ms(5.0);

/// A tick that is this late was held up.
const LATE: Ms = Ms(8.0);

/// The period over which availability is measured.
pub const WINDOW: Ms = Ms(1_000.0);

/// How many stalls are remembered: enough for a frame of some seconds.
const REMEMBERED: usize = 512;

/// No device is assumed to run less than this share of the time.
const MIN_AVAILABILITY: f64 = 0.02;

/// The intervals in which this process stood still.
#[derive(Debug, Clone)]
pub struct Stalls {
    since: Moment,
    last: Moment,
    /// From when a tick was due to when it came, oldest first.
    stalls: VecDeque<(Moment, Moment)>,
}

impl Stalls {
    /// Starts at `now`, knowing nothing of what came before.
    pub fn new(now: Moment) -> Stalls {
        Stalls { since: now, last: now, stalls: VecDeque::new() }
    }

    /// Call it every [`TICK`].
    pub fn tick(&mut self, now: Moment) {
        let due = self.last + TICK;
        self.last = now;
        if now.since(due) >= LATE {
            if self.stalls.len() >= REMEMBERED {
                self.stalls.pop_front();
            }
            self.stalls.push_back((due, now));
        }
    }

    /// How long the process stood still between two moments.
    fn stalled(&self, from: Moment, to: Moment) -> Ms {
        let lately = self.stalls.iter().rev().take_while(|(_, end)| *end > from);
        let overlaps = lately.map(|(start, end)| {
            let start = if *start > from { *start } else { from };
            let end = if *end < to { *end } else { to };
            end.since(start)
        });
        overlaps.fold(Ms::ZERO, |sum, overlap| sum + overlap)
    }

    /// The share of the last [`WINDOW`] in which the process could run.
    pub fn available(&self, now: Moment) -> f64 {
        let elapsed = now.since(self.since).min(WINDOW);
        if elapsed <= Ms::ZERO {
            return 1.0;
        }
        let stalled = self.stalled(Moment(now.0 - elapsed.0), now);
        (1.0 - stalled / elapsed).clamp(MIN_AVAILABILITY, 1.0)
    }

    /// What a computation from `from` to `to` costs this device on average, as of `now`: the time
    /// it ran, divided by the share of the time in which it may run.
    pub fn cost(&self, from: Moment, to: Moment, now: Moment) -> Ms {
        let ran = Ms((to.since(from) - self.stalled(from, to)).0.max(0.0));
        ran * (1.0 / self.available(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_runs_all_the_time_costs_what_it_took() {
        let mut stalls = Stalls::new(Moment(0.0));
        // Ticks come late by what threads wait for each other, never by more.
        (1..=200).for_each(|tick| stalls.tick(Moment(f64::from(tick) * 12.0)));
        let now = Moment(2_400.0);
        assert_eq!(stalls.available(now), 1.0);
        assert_eq!(stalls.cost(Moment(2_000.0), Moment(2_050.0), now), Ms(50.0));
    }

    #[test]
    fn stalls_inside_a_stage_count_once() {
        let mut stalls = Stalls::new(Moment(0.0));
        (1..=100).for_each(|turn| stalls.tick(Moment(f64::from(turn) * 20.0)));
        let now = Moment(2_000.0);
        assert_eq!(stalls.available(now), 0.25);
        // However a stage lies, over many turns it costs four times what it ran.
        let long = stalls.cost(Moment(1_000.0), Moment(1_400.0), now);
        assert!((long - Ms(400.0)).0.abs() < 1e-9, "{long}");
        // All of it in a stop: the clock was read before and after.
        assert_eq!(stalls.cost(Moment(1_008.0), Moment(1_018.0), now), Ms::ZERO);
    }

    #[test]
    fn what_is_over_is_forgotten() {
        let mut stalls = Stalls::new(Moment(0.0));
        (1..=1_000).for_each(|turn| stalls.tick(Moment(f64::from(turn) * 100.0)));
        let part = stalls.available(Moment(100_000.0));
        assert!((part - 0.05).abs() < 1e-9, "{part}");
        assert!(stalls.stalls.len() <= REMEMBERED);
        (1..=400).for_each(|tick| stalls.tick(Moment(100_000.0 + f64::from(tick) * 5.0)));
        assert_eq!(stalls.available(Moment(102_000.0)), 1.0);
        assert_eq!(Stalls::new(Moment(7.0)).available(Moment(7.0)), 1.0);
        let mut stopped = Stalls::new(Moment(0.0));
        stopped.tick(Moment(60_000.0));
        assert_eq!(stopped.available(Moment(60_000.0)), MIN_AVAILABILITY);
    }
}
