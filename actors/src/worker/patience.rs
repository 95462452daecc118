//! Work that should not slow frames much: after each step it rests as long as the step took.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use edgeld_runtime::graph::ParameterId;
use edgeld_runtime::region::ChannelRange;
use edgeld_runtime::weights::{WeightError, WeightSource};

/// How soon a thread that rests notices that it is no longer wanted.
const CANCEL_CHECK: Duration = Duration::from_millis(50);

/// Rests after a step that took so long, unless it is `cancelled`.
pub(super) fn rest(took: Duration, cancelled: &AtomicBool) {
    let until = Instant::now() + took;
    while !cancelled.load(Ordering::Relaxed) && Instant::now() < until {
        thread::sleep(CANCEL_CHECK.min(until.saturating_duration_since(Instant::now())));
    }
}

/// Weights that are read with rests, as long as reading and packing took since the last one.
pub(super) struct Patient<'a> {
    source: &'a dyn WeightSource,
    cancelled: &'a AtomicBool,
    /// Since when it has not rested.
    awake: Mutex<Instant>,
}

impl<'a> Patient<'a> {
    /// Reads these weights until it is `cancelled`.
    pub(super) fn new(source: &'a dyn WeightSource, cancelled: &'a AtomicBool) -> Patient<'a> {
        Patient { source, cancelled, awake: Mutex::new(Instant::now()) }
    }
}

impl WeightSource for Patient<'_> {
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        // A time is always valid, so poisoning can be ignored.
        let mut awake = self.awake.lock().unwrap_or_else(PoisonError::into_inner);
        rest(awake.elapsed(), self.cancelled);
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(WeightError::Missing("they are no longer wanted".to_owned()));
        }
        *awake = Instant::now();
        self.source.read(parameter, features, out)
    }

    fn origin(&self) -> Option<String> {
        self.source.origin()
    }
}
