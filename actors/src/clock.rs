//! The device's clock, and the CPU time of its threads. Decision code takes the time as an argument
//! and never reads it.

use std::time::{Duration, Instant};

use edgeld_runtime::coord::Moment;
use edgeld_runtime::units::Ms;

/// Counts milliseconds since this device started; copies agree.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that starts at zero.
    pub(crate) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// The current time.
    pub(crate) fn now(&self) -> Moment {
        self.at(Instant::now())
    }

    /// The time of `instant`; anything before the start counts as the start.
    pub(crate) fn at(&self, instant: Instant) -> Moment {
        Moment(Ms::from_duration(instant.saturating_duration_since(self.0)).0)
    }
}

/// CPU time of this thread. A thread that computes alone takes as much wall time on an idle machine.
#[cfg(unix)]
pub(crate) fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes to the struct it is given, or leaves it unchanged on failure.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Wall time: this system does not report the CPU time of a thread.
#[cfg(not(unix))]
pub(crate) fn cpu_time() -> Duration {
    static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    BEGIN.elapsed()
}
