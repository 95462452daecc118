//! Which incoming connections may take a handshake's time.
//!
//! A peer that connects and says nothing costs a slot. When all are taken, the newcomer gets the
//! slot of one that has been silent for longest, or else of the one that is slowest: an honest peer
//! speaks at once and is through in a round trip, so silence keeps nobody out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::AbortHandle;

/// Handshakes in progress, the oldest first.
pub(super) struct Handshakes {
    limit: usize,
    running: VecDeque<Running>,
}

struct Running {
    address: String,
    task: AbortHandle,
    /// Whether the peer has begun to speak.
    spoken: Arc<AtomicBool>,
}

impl Handshakes {
    /// At most `limit` at once.
    pub(super) fn new(limit: usize) -> Handshakes {
        Handshakes { limit: limit.max(1), running: VecDeque::new() }
    }

    /// Adds one with the peer at `address`; if there are too many, ends another and returns the
    /// address of its peer.
    pub(super) fn admit(
        &mut self,
        address: String,
        task: AbortHandle,
        spoken: Arc<AtomicBool>,
    ) -> Option<String> {
        self.running.retain(|running| !running.task.is_finished());
        let victim = (self.running.len() >= self.limit).then(|| {
            let is_silent = |running: &Running| !running.spoken.load(Ordering::Relaxed);
            self.running.iter().position(is_silent).unwrap_or(0)
        });
        let victim = victim.and_then(|victim| self.running.remove(victim));
        self.running.push_back(Running { address, task, spoken });
        victim.map(|victim| {
            victim.task.abort();
            victim.address
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_silent_make_room_first_then_the_slowest() {
        let mut handshakes = Handshakes::new(3);
        let mut tasks = Vec::new();
        let mut admit = |name: &str, spoken| {
            let task = tokio::spawn(std::future::pending::<()>());
            let spoken = Arc::new(AtomicBool::new(spoken));
            let ended = handshakes.admit(name.to_owned(), task.abort_handle(), spoken);
            tasks.push(task);
            ended
        };
        for (name, spoken) in [("a", true), ("b", false), ("c", false)] {
            assert_eq!(admit(name, spoken), None);
        }
        let ended = ["d", "e", "f"].map(|name| admit(name, true));
        assert_eq!(ended, ["b", "c", "a"].map(|name| Some(name.to_owned())));
        for task in tasks.drain(..3) {
            assert!(task.await.unwrap_err().is_cancelled());
        }
        let last = tasks.pop().unwrap();
        last.abort();
        assert!(last.await.unwrap_err().is_cancelled());
        let task = tokio::spawn(std::future::pending::<()>());
        let ended = handshakes.admit("g".to_owned(), task.abort_handle(), Arc::default());
        assert_eq!(ended, None, "what has ended takes no place");
    }
}
