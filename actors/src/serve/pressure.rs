//! Whether requests queue or come one by one.
//!
//! A change of plans costs weights that move and are packed, so a moment's crowd changes nothing: some
//! must have waited at every look for two seconds, or none for ten.
//!
//! ```text
//! seconds     0    1    2    3    4   ...  14
//! waiting     3    1    2    0    0         0
//! pursued    lat  lat  thr  thr  thr       lat
//! ```

use std::time::{Duration, Instant};

use edgeld_runtime::solve::Objective;

/// How often to look.
pub(super) const PERIOD: Duration = Duration::from_millis(250);

/// How long some must have waited.
const CROWD: Duration = Duration::from_secs(2);

/// How long none must have.
const QUIET: Duration = Duration::from_secs(10);

/// What was seen of a queue.
#[derive(Debug)]
pub(super) struct Pressure {
    pursued: Objective,
    /// Since when all looks have spoken for the other objective.
    since: Option<Instant>,
}

impl Pressure {
    /// At the beginning, when single answers are to come soon.
    pub(super) fn new() -> Pressure {
        Pressure { pursued: Objective::Latency, since: None }
    }

    /// What to pursue from now on, if that is another objective than before. There are so many that
    /// wait, and so many that run.
    pub(super) fn look(
        &mut self,
        now: Instant,
        (waiting, running): (usize, usize),
    ) -> Option<Objective> {
        let (other, speaks, patience) = match self.pursued {
            Objective::Latency => (Objective::Throughput, waiting > 0, CROWD),
            Objective::Throughput => (Objective::Latency, waiting == 0 && running <= 1, QUIET),
        };
        if !speaks {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) < patience {
            return None;
        }
        (self.pursued, self.since) = (other, None);
        Some(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lasts_changes_the_objective() {
        let (begun, mut pressure) = (Instant::now(), Pressure::new());
        let mut look = |ms: u64, waiting, running| {
            pressure.look(begun + Duration::from_millis(ms), (waiting, running))
        };
        assert_eq!([look(0, 3, 2), look(1_900, 0, 2), look(2_100, 1, 2)], [None; 3]);
        assert_eq!(look(4_000, 1, 2), None);
        assert_eq!(look(4_100, 5, 2), Some(Objective::Throughput));
        assert_eq!([look(5_000, 0, 1), look(14_000, 0, 4), look(15_000, 0, 0)], [None; 3]);
        assert_eq!(look(24_900, 0, 1), None);
        assert_eq!(look(25_000, 0, 1), Some(Objective::Latency));
        assert_eq!(look(25_100, 1, 1), None);
    }
}
