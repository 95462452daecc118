//! How far another device's clock is from the leader's.

use crate::coord::Moment;
use crate::units::Ms;

/// How much two clocks may drift apart, as a part of the time that passes: more than quartz does.
const DRIFT: f64 = 1e-4;

/// The time on another device's clock, asked for and received by the leader.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockReading {
    /// When the leader asked.
    pub sent: Moment,
    /// The time on the other clock when the question was there.
    pub read: Ms,
    /// When the leader had the answer.
    pub received: Moment,
}

/// The distance between the leader's clock and another.
///
/// ```
/// use edgeld_runtime::coord::Moment;
/// use edgeld_runtime::trace::{ClockOffset, ClockReading};
/// use edgeld_runtime::units::Ms;
/// let reading = ClockReading { sent: Moment(10.0), read: Ms(511.0), received: Moment(12.0) };
/// let clock = ClockOffset::of([reading]).unwrap();
/// assert_eq!(clock.on_leader(Ms(600.0)), Moment(100.0));
/// assert_eq!(clock.error(Moment(12.0)), Ms(1.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockOffset {
    /// How far the other clock is ahead; negative if it is behind.
    offset: Ms,
    /// How far off that is at most, when measured.
    error: Ms,
    measured: Moment,
}

impl ClockOffset {
    /// Between the leader's clock and itself.
    pub const SAME: ClockOffset =
        ClockOffset { offset: Ms::ZERO, error: Ms::ZERO, measured: Moment(f64::INFINITY) };

    /// From the reading with the shortest round trip: the other clock was read between question and
    /// answer, at most half of the round trip from the middle. `None` without a valid reading.
    pub fn of(readings: impl IntoIterator<Item = ClockReading>) -> Option<ClockOffset> {
        let offset = |reading: ClockReading| {
            let half = reading.received.since(reading.sent) * 0.5;
            let middle = reading.sent + half;
            ClockOffset {
                offset: Ms(reading.read.0 - middle.0),
                error: half,
                measured: reading.received,
            }
        };
        let valid = readings.into_iter().map(offset).filter(|clock| clock.offset.0.is_finite());
        valid.min_by(|a, b| a.error.0.total_cmp(&b.error.0))
    }

    /// How far off a time may be that is converted at `now`.
    pub fn error(&self, now: Moment) -> Ms {
        self.error + now.since(self.measured) * DRIFT
    }

    /// The more exact one at `now`.
    #[must_use]
    pub fn or(self, other: ClockOffset, now: Moment) -> ClockOffset {
        if other.error(now) <= self.error(now) { other } else { self }
    }

    /// What the leader's clock shows when the other shows `time`.
    pub fn on_leader(&self, time: Ms) -> Moment {
        Moment(time.0 - self.offset.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that is `ahead`, read after `there`; the answer takes `back`.
    fn reading(sent: f64, ahead: f64, there: f64, back: f64) -> ClockReading {
        let read = Ms(sent + there + ahead);
        ClockReading { sent: Moment(sent), read, received: Moment(sent + there + back) }
    }

    #[test]
    fn the_error_is_a_bound_however_unequal_the_ways_are() {
        for (there, back) in [(0.0, 4.0), (1.0, 3.0), (2.0, 2.0), (4.0, 0.0)] {
            for ahead in [-1e6, 0.0, 77.0] {
                let clock = ClockOffset::of([reading(100.0, ahead, there, back)]).unwrap();
                let off = clock.on_leader(Ms(500.0 + ahead)).0 - 500.0;
                assert!(off.abs() <= clock.error(Moment(104.0)).0 + 1e-9, "{off}");
            }
        }
    }

    #[test]
    fn the_shortest_round_trip_counts() {
        let readings = [
            reading(0.0, 50.0, 1.0, 9.0),
            reading(20.0, 50.0, 1.0, 1.0),
            reading(30.0, 50.0, 9.0, 1.0),
        ];
        let clock = ClockOffset::of(readings).unwrap();
        assert_eq!(clock.on_leader(Ms(50.0)), Moment(0.0));
        assert_eq!(ClockOffset::of([]), None);
        assert_eq!(ClockOffset::of([reading(0.0, f64::NAN, 1.0, 1.0)]), None);
        assert_eq!(ClockOffset::of([reading(0.0, f64::INFINITY, 1.0, 1.0)]), None);
    }

    #[test]
    fn an_old_reading_gives_way_to_a_worse_one_in_time() {
        let old = ClockOffset::of([reading(0.0, 5.0, 0.1, 0.1)]).unwrap();
        let soon = ClockOffset::of([reading(1_000.0, 5.0, 1.0, 1.0)]).unwrap();
        assert_eq!(old.or(soon, Moment(1_002.0)), old);
        let late = ClockOffset::of([reading(60_000.0, 5.0, 1.0, 1.0)]).unwrap();
        assert_eq!(old.or(late, Moment(60_002.0)), late);
        assert_eq!(ClockOffset::SAME.error(Moment(1e9)), Ms::ZERO);
    }
}
