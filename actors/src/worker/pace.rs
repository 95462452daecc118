//! Computing part of the time only.
//!
//! At pace F a device that worked for w owes a rest of w (1/F - 1): at 0.25, 3 ms for every 1 ms.
//! It takes that rest as soon as it owes [`DUE`], layer by layer, so to everybody else it looks like
//! a device that is 1/F times as slow. All time without work counts as rest, sleep that lasted too
//! long and waiting for strips too, but no more than [`CREDIT`] in advance.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use edgeld_runtime::units::Ms;

use crate::clock::cpu_time;

/// A rest begins once this much is owed, in seconds. The shortest sleep takes about half of it.
const DUE: f64 = 1e-4;

/// The most rest that counts in advance, in seconds. It evens out late timers and the unsteadiness of
/// a shared machine; with much more, a device would be faster than its pace after every pause.
const CREDIT: f64 = 5e-3;

/// The part of the time in which a device's compute threads work: from 0.001 to 1, the
/// default.
///
/// It holds on average over a few milliseconds. Waiting for strips counts as rest too, up to 5 ms in
/// advance, so unlike a processor that is simply slow a paced device makes up a little after a wait.
/// Sending and receiving strips, packing weights for a new plan and
/// planning itself take little time and are not paced. Whatever measures the device, be it the
/// benchmark or the times of its frames, finds it that much slower. Work is CPU time of a single
/// thread where the system reports it, otherwise wall time.
///
/// ```
/// use edgeld::Pace;
/// assert_eq!("0.15".parse::<Pace>().unwrap().part(), 0.15);
/// assert!("0".parse::<Pace>().is_err() && "1.5".parse::<Pace>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Pace(f64);

impl Pace {
    /// Without rest.
    pub const FULL: Pace = Pace(1.0);

    /// The least: a device that rests longer would look dead.
    pub const MIN: Pace = Pace(0.001);

    /// This part of the time; `None` unless it lies between [`Pace::MIN`] and 1.
    pub fn new(part: f64) -> Option<Pace> {
        (Pace::MIN.0..=1.0).contains(&part).then_some(Pace(part))
    }

    /// The part of the time, from [`Pace::MIN`] to 1.
    pub fn part(self) -> f64 {
        self.0
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::FULL
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is not a [`Pace`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("give a number from 0.001 to 1, such as 0.25 for a quarter of the time")]
pub struct InvalidPace;

impl FromStr for Pace {
    type Err = InvalidPace;

    fn from_str(text: &str) -> Result<Pace, InvalidPace> {
        text.parse().ok().and_then(Pace::new).ok_or(InvalidPace)
    }
}

/// Makes callers rest in proportion to their work; one works at a time.
pub(super) struct Brake {
    pace: Pace,
    /// Whether the caller works alone, so that its CPU time is all the work.
    alone: bool,
    debt: Mutex<Debt>,
}

impl Brake {
    /// For this many threads at this pace; `None` at full pace.
    pub(super) fn new(pace: Pace, threads: usize) -> Option<Brake> {
        (pace < Pace::FULL).then(|| Brake { pace, alone: threads == 1, debt: Mutex::default() })
    }

    /// All work so far and the rest that it calls for.
    pub(super) fn total(&self) -> Ms {
        let worked = self.debt.lock().unwrap_or_else(PoisonError::into_inner).worked;
        Ms::from_duration(worked) * (1.0 / self.pace.part())
    }

    /// Works, then rests if that is due.
    pub(super) fn work(&self, work: impl FnOnce()) {
        let mut debt = self.debt.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = debt.since {
            debt.rest(since.elapsed());
        }
        let start = (Instant::now(), cpu_time());
        work();
        let (cpu, end) = (cpu_time().saturating_sub(start.1), Instant::now());
        // A caller with helpers may sleep while they work on.
        debt.work(if self.alone { cpu } else { end - start.0 }, self.pace);
        if let Some(rest) = debt.due() {
            thread::sleep(rest);
        }
        debt.since = Some(end);
    }
}

/// The rest that is owed.
#[derive(Debug, Default)]
struct Debt {
    /// In seconds; negative if rest was taken in advance.
    owed: f64,
    /// All work so far.
    worked: Duration,
    /// When work last ended.
    since: Option<Instant>,
}

impl Debt {
    fn work(&mut self, worked: Duration, pace: Pace) {
        self.worked += worked;
        self.owed += worked.as_secs_f64() * (1.0 / pace.part() - 1.0);
    }

    /// How long to rest now.
    fn due(&self) -> Option<Duration> {
        let rest = || Duration::try_from_secs_f64(self.owed).unwrap_or(Duration::MAX);
        (self.owed >= DUE).then(rest)
    }

    fn rest(&mut self, rested: Duration) {
        self.owed = (self.owed - rested.as_secs_f64()).max(-CREDIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: f64) -> Duration {
        Duration::from_secs_f64(ms / 1e3)
    }

    /// Works in steps of so many milliseconds and rests `late` longer than due. Returns the part of
    /// the time that was work.
    fn part_of_work(pace: f64, steps: &[f64], late: f64) -> f64 {
        let (mut debt, pace) = (Debt::default(), Pace::new(pace).unwrap());
        let (mut worked, mut rested) = (Duration::ZERO, Duration::ZERO);
        for step in steps.iter().cycle().take(10_000) {
            worked += ms(*step);
            debt.work(ms(*step), pace);
            if let Some(due) = debt.due() {
                rested += due + ms(late);
                debt.rest(due + ms(late));
            }
        }
        worked.as_secs_f64() / (worked + rested).as_secs_f64()
    }

    #[test]
    fn work_is_its_part_of_the_time() {
        for pace in [0.02, 0.15, 0.5, 0.99] {
            for steps in [&[0.01][..], &[2.0], &[0.05, 0.2, 7.0]] {
                for late in [0.0, 0.1, 1.0] {
                    let part = part_of_work(pace, steps, late);
                    assert!(
                        (part / pace - 1.0).abs() < 0.01,
                        "{part} at {pace}, {steps:?}, {late}"
                    );
                }
            }
        }
    }

    #[test]
    fn small_debts_wait_and_rest_cannot_be_saved_up() {
        let (mut debt, half) = (Debt::default(), Pace::new(0.5).unwrap());
        debt.work(ms(0.06), half);
        assert_eq!(debt.due(), None);
        debt.work(ms(0.06), half);
        assert!((debt.due().unwrap().as_secs_f64() - 0.12e-3).abs() < 1e-9);
        debt.rest(ms(100.0));
        debt.work(ms(5.0), half);
        assert_eq!(debt.due(), None);
        debt.work(ms(0.2), half);
        assert!((debt.due().unwrap().as_secs_f64() - 0.2e-3).abs() < 1e-9);
    }

    #[test]
    fn the_full_pace_has_no_brake_and_the_least_rests_long() {
        assert!(Brake::new(Pace::FULL, 1).is_none());
        let mut debt = Debt::default();
        debt.work(ms(1.0), Pace::MIN);
        assert!((debt.due().unwrap().as_secs_f64() - 0.999).abs() < 1e-9);
    }

    #[test]
    fn paces_are_parts() {
        assert_eq!("1".parse(), Ok(Pace::FULL));
        assert_eq!(
            Pace::new(0.15).unwrap().to_string().parse(),
            Pace::new(0.15).ok_or(InvalidPace)
        );
        for wrong in ["", "0", "0.0009", "-0.5", "1.01", "nan", "inf", "15%", "half"] {
            assert_eq!(wrong.parse::<Pace>(), Err(InvalidPace), "{wrong}");
        }
    }
}
