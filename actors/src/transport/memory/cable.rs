//! One direction of a pipe in memory, and the wire that it runs over.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes that are on their way before the writer waits, as a socket's buffers do.
const WINDOW: usize = 1 << 20;

/// What happens between two devices.
#[derive(Default)]
pub(super) struct Wire {
    state: Mutex<WireState>,
}

#[derive(Default)]
struct WireState {
    condition: Condition,
    /// Bytes that have arrived, both ways.
    carried: u64,
    cables: Vec<Weak<Cable>>,
}

/// How a wire is.
#[derive(Clone, Copy, Default)]
pub(super) struct Condition {
    pub(super) delay: Duration,
    pub(super) cut: bool,
    /// Counts resets; a cable of an earlier count is dead.
    pub(super) severed: u64,
}

struct Cable {
    wire: Arc<Wire>,
    laid: u64,
    state: Mutex<CableState>,
}

#[derive(Default)]
struct CableState {
    travelling: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    ended: bool,
    unread: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

pub(super) struct CableReader {
    cable: Arc<Cable>,
    due: Pin<Box<Sleep>>,
}

pub(super) struct CableWriter {
    cable: Arc<Cable>,
}

/// Lays a cable over a wire, one way.
pub(super) fn lay(wire: &Arc<Wire>) -> (CableWriter, CableReader) {
    let mut state = lock(&wire.state);
    let laid = state.condition.severed;
    let cable = Arc::new(Cable { wire: wire.clone(), laid, state: Mutex::default() });
    state.cables.retain(|cable| cable.strong_count() > 0);
    state.cables.push(Arc::downgrade(&cable));
    let due = Box::pin(sleep_until(Instant::now()));
    (CableWriter { cable: cable.clone() }, CableReader { cable, due })
}

impl Wire {
    pub(super) fn change(&self, change: impl FnOnce(&mut Condition)) {
        let cables: Vec<_> = {
            let mut state = lock(&self.state);
            change(&mut state.condition);
            state.cables.iter().filter_map(Weak::upgrade).collect()
        };
        for cable in cables {
            let mut state = lock(&cable.state);
            wake(&mut state.reader);
            wake(&mut state.writer);
        }
    }

    pub(super) fn carried(&self) -> u64 {
        lock(&self.state).carried
    }
}

impl Cable {
    fn condition(&self) -> io::Result<Condition> {
        let condition = lock(&self.wire.state).condition;
        match condition.severed == self.laid {
            true => Ok(condition),
            false => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl AsyncRead for CableReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let CableReader { cable, due } = self.get_mut();
        // Before the condition is looked at: a change of it then either is seen or wakes.
        let mut state = lock(&cable.state);
        state.reader = Some(context.waker().clone());
        if cable.condition()?.cut {
            return Poll::Pending;
        }
        let Some((arrives, _)) = state.travelling.front() else {
            return if state.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        if *arrives > Instant::now() {
            due.as_mut().reset(*arrives);
            if due.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        if let Some((arrives, mut piece)) = state.travelling.pop_front() {
            let count = piece.len().min(into.remaining());
            into.put_slice(&piece.split_to(count));
            if !piece.is_empty() {
                state.travelling.push_front((arrives, piece));
            }
            state.bytes -= count;
            lock(&cable.wire.state).carried += count as u64;
        }
        wake(&mut state.writer);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CableWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = lock(&self.cable.state);
        state.writer = Some(context.waker().clone());
        let delay = self.cable.condition()?.delay;
        if state.unread {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(WINDOW.saturating_sub(state.bytes));
        if count == 0 && !bytes.is_empty() {
            return Poll::Pending;
        }
        state.bytes += count;
        state
            .travelling
            .push_back((Instant::now() + delay, Bytes::copy_from_slice(&bytes[..count])));
        wake(&mut state.reader);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.cable.state);
        state.ended = true;
        wake(&mut state.reader);
        Poll::Ready(Ok(()))
    }
}

impl Drop for CableWriter {
    fn drop(&mut self) {
        let mut state = lock(&self.cable.state);
        state.ended = true;
        wake(&mut state.reader);
    }
}

impl Drop for CableReader {
    fn drop(&mut self) {
        let mut state = lock(&self.cable.state);
        state.unread = true;
        wake(&mut state.writer);
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change is whole when a lock is released, so that a panic elsewhere does no harm.
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
