//! Who may wait for a model, and whose turn it is.
//!
//! As many requests as the plan carries at once, and one more so that it never idles, are handed to
//! the cluster; others wait here in their order, where a client that goes away takes its request with
//! it. What would wait too long is refused at once: a client that knows can ask elsewhere.
//!
//! ```text
//! limit 2, the plan carries one frame:    running  waiting
//! first and second request                   2        0      one frame computes, the next is ready
//! third and fourth                           2        2
//! fifth                                      2        2      refused
//! ```

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// The part of a new observation in the mean.
const NEW: f64 = 0.2;

/// Requests for one model.
#[derive(Debug)]
pub(super) struct Queue {
    /// How many may wait.
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// How many may run at once.
    width: usize,
    running: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
    /// Mean time between answers while there is always work.
    interval: Option<Duration>,
    is_closed: bool,
}

/// Why a request may not wait, or waits no longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// So many wait already; there may be room after that time.
    Full { waiting: usize, after: Duration },
    /// Its turn did not come in time.
    Late,
    /// Nothing is accepted any more.
    Closed,
}

/// A request's turn. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    queue: Arc<Queue>,
    begun: Instant,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Arc<Queue> {
        Arc::new(Queue { limit, state: Mutex::default() })
    }

    /// Waits for a turn, until the deadline at most, where `width` may run at once.
    pub(super) async fn turn(
        self: &Arc<Queue>,
        width: usize,
        patience: Duration,
    ) -> Result<Turn, Refused> {
        let given = match self.enter(width, patience)? {
            Place::Now(turn) => return Ok(turn),
            Place::Later(given) => given,
        };
        match tokio::time::timeout(patience, given).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(Refused::Closed),
            Err(_) => Err(Refused::Late),
        }
    }

    fn enter(self: &Arc<Queue>, width: usize, patience: Duration) -> Result<Place, Refused> {
        let mut state = self.state();
        if state.is_closed {
            return Err(Refused::Closed);
        }
        state.width = width.max(1);
        state.waiting.retain(|waiting| !waiting.is_closed());
        if state.running < state.width && state.waiting.is_empty() {
            state.running += 1;
            return Ok(Place::Now(Turn { queue: Arc::clone(self), begun: Instant::now() }));
        }
        let waiting = state.waiting.len();
        let ahead = u32::try_from(waiting + 1).unwrap_or(u32::MAX);
        let wait = state.interval.unwrap_or(Duration::ZERO).saturating_mul(ahead);
        if waiting >= self.limit || wait > patience {
            let after = state.usual().max(wait.saturating_sub(patience));
            return Err(Refused::Full { waiting, after });
        }
        let (give, given) = oneshot::channel();
        state.waiting.push_back(give);
        Ok(Place::Later(given))
    }

    /// Whether a request that came now could wait, or run at once, where `width` may run.
    pub(super) fn has_room(&self, width: usize) -> Result<(), Refused> {
        let mut state = self.state();
        state.waiting.retain(|waiting| !waiting.is_closed());
        let waiting = state.waiting.len();
        match waiting < self.limit || state.running < width {
            _ if state.is_closed => Err(Refused::Closed),
            true => Ok(()),
            false => Err(Refused::Full { waiting, after: state.usual() }),
        }
    }

    /// How many wait, and how many run.
    pub(super) fn lengths(&self) -> (usize, usize) {
        let mut state = self.state();
        state.waiting.retain(|waiting| !waiting.is_closed());
        (state.waiting.len(), state.running)
    }

    /// Accepts nothing any more. What waits keeps its place.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
    }

    /// No code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free turns to those that wait.
    fn advance(self: &Arc<Queue>) {
        loop {
            let mut state = self.state();
            if state.running >= state.width {
                return;
            }
            let Some(next) = state.waiting.pop_front() else { return };
            state.running += 1;
            drop(state);
            // Who has gone away hands the turn back by dropping it.
            drop(next.send(Turn { queue: Arc::clone(self), begun: Instant::now() }));
        }
    }
}

impl State {
    /// When the next answer may be expected.
    fn usual(&self) -> Duration {
        self.interval.unwrap_or(Duration::from_secs(1))
    }
}

enum Place {
    Now(Turn),
    Later(oneshot::Receiver<Turn>),
}

impl Turn {
    /// The request was answered: how long that took says how soon the next ones can be.
    pub(super) fn answered(self) {
        let mut state = self.queue.state();
        // Little's law: those that run share the devices' time.
        let took = self.begun.elapsed().div_f64(state.running.max(1) as f64);
        state.interval = Some(match state.interval {
            Some(before) => before.mul_f64(1.0 - NEW) + took.mul_f64(NEW),
            None => took,
        });
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.queue.state().running -= 1;
        self.queue.advance();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn turns_come_in_order_and_the_rest_is_refused() {
        let queue = Queue::new(2);
        let first = queue.turn(1, LONG).await.unwrap();
        let (mut second, mut third) =
            (Box::pin(queue.turn(1, LONG)), Box::pin(queue.turn(1, LONG)));
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        let refused = queue.turn(1, LONG).await.unwrap_err();
        assert!(matches!(refused, Refused::Full { waiting: 2, .. }), "{refused:?}");
        first.answered();
        let second = second.await.unwrap();
        assert!((&mut third).now_or_never().is_none());
        drop(second);
        assert!(third.now_or_never().unwrap().is_ok());
        assert_eq!(queue.lengths(), (0, 0));
    }

    #[tokio::test]
    async fn without_places_to_wait_requests_still_run() {
        let queue = Queue::new(0);
        assert_eq!(queue.has_room(1), Ok(()));
        let _turn = queue.turn(1, LONG).await.unwrap();
        assert!(matches!(queue.has_room(1), Err(Refused::Full { waiting: 0, .. })));
    }

    #[tokio::test]
    async fn who_goes_away_frees_the_place() {
        let queue = Queue::new(1);
        let first = queue.turn(1, LONG).await.unwrap();
        let mut gone = Box::pin(queue.turn(1, LONG));
        assert!((&mut gone).now_or_never().is_none());
        drop(gone);
        let mut next = Box::pin(queue.turn(1, LONG));
        assert!((&mut next).now_or_never().is_none());
        drop(first);
        assert!(next.await.is_ok());
    }

    #[tokio::test]
    async fn what_cannot_be_in_time_is_refused_at_once() {
        let queue = Queue::new(100);
        let first = queue.turn(1, LONG).await.unwrap();
        queue.state().interval = Some(Duration::from_secs(1));
        let soon = Duration::from_millis(1);
        assert!(matches!(queue.turn(1, soon).await, Err(Refused::Full { .. })));
        queue.state().interval = None;
        assert_eq!(queue.turn(1, soon).await.unwrap_err(), Refused::Late);
        queue.close();
        assert_eq!(queue.turn(1, LONG).await.unwrap_err(), Refused::Closed);
        drop(first);
    }
}
