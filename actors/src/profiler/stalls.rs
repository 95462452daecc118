//! The thread that notices when this process stands still: it ticks while frames are computed.
//!
//! What the ticks mean is [`coord::stalls`](edgeld_runtime::coord::stalls).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::stalls::{Stalls, TICK, WINDOW};
use edgeld_runtime::units::Ms;

use crate::clock::Clock;

/// It ticks this long after it was last wanted: longer than the pause between two frames.
const LINGER: Ms = Ms(2.0 * WINDOW.0);

/// One for each device; it ends when dropped.
pub(crate) struct StallMonitor {
    shared: Arc<Shared>,
    clock: Clock,
}

struct Shared {
    state: Mutex<State>,
    wanted: Condvar,
}

struct State {
    /// `None` while it does not tick.
    stalls: Option<Stalls>,
    until: Moment,
    over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StallMonitor {
    /// A stalls that does not tick yet.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start(clock: Clock) -> std::io::Result<StallMonitor> {
        let state = State { stalls: None, until: Moment(0.0), over: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), wanted: Condvar::new() });
        let ticking = Arc::clone(&shared);
        Builder::new().name("edgeld-stalls".to_owned()).spawn(move || run(&ticking, clock))?;
        Ok(StallMonitor { shared, clock })
    }

    /// There is something to compute: it ticks, and goes on for a while.
    pub(crate) fn touch(&self) {
        let now = self.clock.now();
        let mut state = self.shared.lock();
        state.until = now + LINGER;
        if state.stalls.is_none() {
            state.stalls = Some(Stalls::new(now));
            self.shared.wanted.notify_all();
        }
    }

    /// What computing between these instants costs this device on average, stops included.
    pub(crate) fn cost(&self, spans: &[(Instant, Instant)]) -> Ms {
        let now = self.clock.now();
        let state = self.shared.lock();
        let cost = |(from, to): &(Instant, Instant)| match &state.stalls {
            Some(stalls) => stalls.cost(self.clock.at(*from), self.clock.at(*to), now),
            None => Ms::from_duration(*to - *from),
        };
        spans.iter().map(cost).fold(Ms::ZERO, |sum, cost| sum + cost)
    }
}

impl Drop for StallMonitor {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.wanted.notify_all();
    }
}

fn run(shared: &Shared, clock: Clock) {
    let tick = Duration::from_secs_f64(TICK.0 / 1e3);
    loop {
        let idle = |state: &mut State| state.stalls.is_none() && !state.over;
        let waited = shared.wanted.wait_while(shared.lock(), idle);
        if waited.unwrap_or_else(PoisonError::into_inner).over {
            return;
        }
        thread::sleep(tick);
        let now = clock.now();
        let mut state = shared.lock();
        if let Some(stalls) = &mut state.stalls {
            stalls.tick(now);
        }
        if now > state.until {
            state.stalls = None;
        }
    }
}
