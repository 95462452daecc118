//! A thread that detects when this process is stalled, by ticking while frames are computed.
//!
//! [`coord::stalls`](edgeld_runtime::coord::stalls) interprets the ticks.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::stalls::{Stalls, TICK, WINDOW};
use edgeld_runtime::units::Ms;

use crate::clock::Clock;

/// How long it keeps ticking after the last [`touch`](StallMonitor::touch): longer than the pause
/// between two frames.
const LINGER: Ms = Ms(2.0 * WINDOW.0);

/// One per device; its thread ends when it is dropped.
pub(crate) struct StallMonitor {
    shared: Arc<Shared>,
    clock: Clock,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    /// `None` while the thread is idle.
    stalls: Option<Stalls>,
    deadline: Moment,
    stopping: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StallMonitor {
    /// Starts the thread, idle at first.
    ///
    /// # Errors
    /// When the thread cannot be spawned.
    pub(crate) fn start(clock: Clock) -> std::io::Result<StallMonitor> {
        let state = State { stalls: None, deadline: Moment(0.0), stopping: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() });
        let thread_shared = Arc::clone(&shared);
        Builder::new()
            .name("edgeld-stalls".to_owned())
            .spawn(move || run(&thread_shared, clock))?;
        Ok(StallMonitor { shared, clock })
    }

    /// Keeps the thread ticking for a while; call this when there is something to compute.
    pub(crate) fn touch(&self) {
        let now = self.clock.now();
        let mut state = self.shared.lock();
        state.deadline = now + LINGER;
        if state.stalls.is_none() {
            state.stalls = Some(Stalls::new(now));
            self.shared.wake.notify_all();
        }
    }

    /// The average cost of computing during these spans on this device, stalls included.
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
        self.shared.lock().stopping = true;
        self.shared.wake.notify_all();
    }
}

fn run(shared: &Shared, clock: Clock) {
    let tick = Duration::from_secs_f64(TICK.0 / 1e3);
    loop {
        let idle = |state: &mut State| state.stalls.is_none() && !state.stopping;
        let waited = shared.wake.wait_while(shared.lock(), idle);
        if waited.unwrap_or_else(PoisonError::into_inner).stopping {
            return;
        }
        thread::sleep(tick);
        let now = clock.now();
        let mut state = shared.lock();
        if let Some(stalls) = &mut state.stalls {
            stalls.tick(now);
        }
        if now > state.deadline {
            state.stalls = None;
        }
    }
}
