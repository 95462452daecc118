//! Plans that are being prepared, each on a thread, and those that wait for one.
//!
//! A plan that is cancelled may take a while to notice; until then its thread counts. So a leader
//! that prepares and retires plans in a loop has a few threads, not thousands.

use std::collections::{BTreeMap, VecDeque};

use edgeld_runtime::plan::Generation;
use edgeld_runtime::wire::SessionId;

/// Threads of one session at once.
const MAX_THREADS: usize = 8;

/// Work of sessions, in order.
pub(super) struct Preparations<T> {
    threads: BTreeMap<SessionId, usize>,
    waiting: VecDeque<(SessionId, Generation, T)>,
}

impl<T> Default for Preparations<T> {
    fn default() -> Preparations<T> {
        Preparations { threads: BTreeMap::new(), waiting: VecDeque::new() }
    }
}

impl<T> Preparations<T> {
    /// Adds a plan to prepare.
    pub(super) fn add(&mut self, session: SessionId, generation: Generation, work: T) {
        self.waiting.push_back((session, generation, work));
    }

    /// The next one that gets a thread now; [`ended`](Preparations::ended) must follow.
    pub(super) fn next(&mut self) -> Option<(SessionId, Generation, T)> {
        let has_room = |session: &SessionId| {
            self.threads.get(session).is_none_or(|threads| *threads < MAX_THREADS)
        };
        let next = self.waiting.iter().position(|(session, ..)| has_room(session))?;
        let (session, generation, work) = self.waiting.remove(next)?;
        *self.threads.entry(session).or_default() += 1;
        Some((session, generation, work))
    }

    /// A thread of a session has ended.
    pub(super) fn ended(&mut self, session: SessionId) {
        if let Some(threads) = self.threads.get_mut(&session) {
            *threads -= 1;
            if *threads == 0 {
                self.threads.remove(&session);
            }
        }
    }

    /// Drops what waits and `is_over`.
    pub(super) fn cancel(&mut self, is_over: impl Fn(SessionId, Generation) -> bool) {
        self.waiting.retain(|(session, generation, _)| !is_over(*session, *generation));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_few_threads_and_keeps_no_other_waiting() {
        let (busy, other) = (SessionId(1), SessionId(2));
        let mut preparations = Preparations::default();
        let limit = MAX_THREADS as u32;
        for number in 0..3 * limit {
            preparations.add(busy, Generation(number), ());
        }
        preparations.add(other, Generation(0), ());
        let started: Vec<_> = std::iter::from_fn(|| preparations.next()).collect();
        assert_eq!(started.len(), MAX_THREADS + 1);
        assert_eq!(started.last().map(|(session, ..)| *session), Some(other));
        assert!(preparations.next().is_none());
        // Cancelled while they run, they keep their threads.
        preparations.cancel(|session, generation| session == busy && generation.0 < 2 * limit);
        assert!(preparations.next().is_none());
        preparations.ended(busy);
        let next = preparations.next().map(|(_, generation, ())| generation);
        assert_eq!(next, Some(Generation(2 * limit)));
        assert!(preparations.next().is_none());
    }
}
