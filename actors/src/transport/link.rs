//! State shared by a connection's tasks and handles.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use edgeld_runtime::wire::Hello;
use tokio::sync::watch;

use super::error::TransportError;
use super::frame::Limits;

pub(super) struct Link {
    pub(super) peer: Hello,
    pub(super) remote: String,
    pub(super) max_payload: AtomicUsize,
    /// Bytes queued and not yet written to the socket.
    pub(super) backlog: watch::Sender<usize>,
    end: watch::Sender<Option<TransportError>>,
    heard: Heard,
}

/// When the peer was last heard.
struct Heard {
    start: Instant,
    micros: AtomicU64,
    /// The receive queue is full: the peer waits for us.
    unread: AtomicBool,
}

impl Link {
    pub(super) fn new(peer: Hello, remote: String) -> Link {
        Link {
            max_payload: AtomicUsize::new(Limits::of(peer.purpose).payload),
            peer,
            remote,
            backlog: watch::Sender::new(0),
            end: watch::Sender::new(None),
            heard: Heard {
                start: Instant::now(),
                micros: AtomicU64::new(0),
                unread: AtomicBool::new(false),
            },
        }
    }

    /// Ends the connection at once; the first reason is kept.
    pub(super) fn abort(&self, error: TransportError) {
        self.end.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert(error);
            first
        });
    }

    /// Why it ended, if it has.
    pub(super) fn end(&self) -> Option<TransportError> {
        self.end.borrow().clone()
    }

    /// Completes when the connection has ended.
    pub(super) async fn ended(&self) -> TransportError {
        let mut end = self.end.subscribe();
        // Waiting cannot fail: the channel lives as long as `self`.
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or_else(|| self.closed("closed here")),
            Err(_) => self.closed("closed here"),
        }
    }

    pub(super) fn closed(&self, why: impl ToString) -> TransportError {
        TransportError::Closed { address: self.remote.clone(), why: why.to_string() }
    }

    pub(super) fn mark_heard(&self) {
        let micros = self.heard.start.elapsed().as_micros() as u64;
        self.heard.micros.store(micros, Ordering::Relaxed);
    }

    pub(super) fn set_unread(&self, unread: bool) {
        self.heard.unread.store(unread, Ordering::Relaxed);
        self.mark_heard();
    }

    pub(super) fn last_heard(&self) -> Instant {
        if self.heard.unread.load(Ordering::Relaxed) {
            return Instant::now();
        }
        self.heard.start + Duration::from_micros(self.heard.micros.load(Ordering::Relaxed))
    }
}
