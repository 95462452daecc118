//! Keeps whoever connects again and again from filling the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::TransportError;

/// How many lines are logged in each [`PERIOD`].
const LINES: u32 = 20;

/// The time after which lines are logged again.
const PERIOD: Duration = Duration::from_secs(10);

/// Counts lines.
#[derive(Debug, Default)]
pub(super) struct LogLimit {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    lines: u32,
}

impl LogLimit {
    /// Logs why a peer lost its connection, unless there have been many such lines just now.
    pub(super) fn warn(&self, what: &str, error: &TransportError) {
        match self.take(Instant::now()) {
            Line::Full(0) => tracing::warn!("{what}: {error}"),
            Line::Full(hidden) => {
                tracing::warn!("{what}: {error} (and {hidden} more in the last seconds)");
            }
            Line::Hidden => tracing::debug!("{what}: {error}"),
        }
    }

    fn take(&self, now: Instant) -> Line {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = state.since.is_none_or(|since| now.duration_since(since) >= PERIOD);
        let hidden = if is_over { state.lines.saturating_sub(LINES) } else { 0 };
        if is_over {
            *state = State { since: Some(now), lines: 0 };
        }
        state.lines = state.lines.saturating_add(1);
        match state.lines <= LINES {
            true => Line::Full(hidden),
            false => Line::Hidden,
        }
    }
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// It is logged, with the number of those that were hidden before it.
    Full(u32),
    /// It is not.
    Hidden,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lines_become_one_number() {
        let limit = LogLimit::default();
        let start = Instant::now();
        for _ in 0..LINES {
            assert_eq!(limit.take(start), Line::Full(0));
        }
        for _ in 0..7 {
            assert_eq!(limit.take(start), Line::Hidden);
        }
        assert_eq!(limit.take(start + PERIOD), Line::Full(7));
        assert_eq!(limit.take(start + PERIOD), Line::Full(0));
        assert_eq!(limit.take(start + 2 * PERIOD), Line::Full(0));
    }
}
