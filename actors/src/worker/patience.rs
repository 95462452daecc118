//! Work that should not slow frames much.
//!
//! A thread that packs weights while frames run gives way to those that compute: it gets what they
//! leave while they wait for strips, and a tenth of the processor when they do not wait. A strip that
//! needs the link finds it free half of the time: after each piece that was fetched the thread rests as
//! long as that took. Where threads have no priority of their own it rests after packing, too.
//!
//! Under a quota nothing is left while others wait: what one thread uses of a period all of them lack.
//! What nobody waits for keeps to a tenth of the quota there.
//!
//! ```text
//! 0.18 cores, a piece packed in 10 ms of CPU time     rests until 10 / (0.1 x 0.18) = 556 ms are over
//! ```

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use edgeld_runtime::graph::ParameterId;
use edgeld_runtime::region::ChannelRange;
use edgeld_runtime::weights::{WeightError, WeightSource};

use crate::clock::cpu_time;
use crate::profiler::Quota;

/// How soon a thread that rests notices that it is no longer wanted.
const CANCEL_CHECK: Duration = Duration::from_millis(50);

/// The part of a quota for work that nobody waits for.
const PART: f64 = 0.1;

/// Whether a thread can [give way](give_way).
const HAS_PRIORITIES: bool = cfg!(target_os = "linux");

/// The niceness of a thread that gives way: another one gets nine times as much.
#[cfg(target_os = "linux")]
const NICE: libc::c_int = 10;

/// Lets other threads of this device go first, from now on.
#[cfg(target_os = "linux")]
fn give_way() {
    // SAFETY: no memory is involved. On Linux 0 stands for the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        tracing::debug!("cannot give way: {}", std::io::Error::last_os_error());
    }
}

/// Nothing: there is no such thing on this system.
#[cfg(not(target_os = "linux"))]
fn give_way() {}

/// Rests after a step that took so long, unless it is `cancelled`.
pub(super) fn rest(took: Duration, cancelled: &AtomicBool) {
    let until = Instant::now() + took;
    while !cancelled.load(Ordering::Relaxed) && Instant::now() < until {
        thread::sleep(CANCEL_CHECK.min(until.saturating_duration_since(Instant::now())));
    }
}

/// Weights that are read until that is cancelled, by a thread that gives way or rests in between.
pub(super) struct Patient<'a> {
    source: &'a dyn WeightSource,
    cancelled: &'a AtomicBool,
    /// Its process's quota, if it keeps to a part of that.
    quota: Option<Mutex<Quota>>,
    /// Since when it has not rested, and its CPU time then.
    awake: Mutex<(Instant, Duration)>,
}

impl<'a> Patient<'a> {
    /// Has this thread give way, and reads these weights until it is `cancelled`.
    pub(super) fn new(source: &'a dyn WeightSource, cancelled: &'a AtomicBool) -> Patient<'a> {
        give_way();
        Patient { source, cancelled, quota: None, awake: Mutex::new((Instant::now(), cpu_time())) }
    }

    /// The same for what nobody waits for.
    #[must_use]
    pub(super) fn sparing(self) -> Patient<'a> {
        Patient { quota: Some(Mutex::new(Quota::of_this_process())), ..self }
    }

    /// How many cores' time this process has, if this thread keeps to a part of that.
    fn cores(&self) -> Option<f64> {
        // What was read last is always valid, so poisoning can be ignored.
        self.quota.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).cores()
    }
}

/// How long to rest after work of this time and CPU time, with a quota of so many cores.
fn pause(took: Duration, cpu: Duration, cores: Option<f64>) -> Duration {
    match cores.map(|cores| cores * PART) {
        Some(part) if part < 1.0 => cpu.div_f64(part).saturating_sub(took),
        _ if HAS_PRIORITIES => Duration::ZERO,
        _ => took,
    }
}

impl WeightSource for Patient<'_> {
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        // Times are always valid, so poisoning can be ignored.
        let mut awake = self.awake.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, cpu) = *awake;
        let cpu = cpu_time().saturating_sub(cpu);
        rest(pause(since.elapsed(), cpu, self.cores()), self.cancelled);
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(WeightError::Missing("they are no longer wanted".to_owned()));
        }
        *awake = (Instant::now(), cpu_time());
        self.source.read(parameter, features, out)
    }

    fn origin(&self) -> Option<String> {
        self.source.origin()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_waits_for_keeps_to_a_part_of_a_quota() {
        let [took, cpu] = [30, 10].map(Duration::from_millis);
        let rest = pause(took, cpu, Some(0.18));
        assert_eq!((took + rest).as_millis(), 555);
        let without = if HAS_PRIORITIES { Duration::ZERO } else { took };
        assert_eq!(pause(took, cpu, None), without);
        assert_eq!(pause(took, cpu, Some(12.0)), without);
        // It has rested already.
        assert_eq!(pause(Duration::from_secs(1), cpu, Some(0.18)), Duration::ZERO);
    }
}
