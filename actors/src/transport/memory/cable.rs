//! One direction of an in-memory pipe, and the wire it runs over.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use edgeld_runtime::units::{self, Ms};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::port::{Port, carry, lock};

/// Bytes in flight before the writer has to wait, like a socket's buffer.
const WINDOW: usize = 1 << 20;

/// Time for which what is in flight keeps a fast interface busy, if that is more: timers are no finer
/// than a millisecond.
const AHEAD: Ms = Ms(10.0);

/// Bytes that arrive at once, if an interface has a rate.
const PIECE: usize = 1 << 16;

/// The link between two devices.
#[derive(Default)]
pub(super) struct Wire {
    state: Mutex<WireState>,
}

#[derive(Default)]
struct WireState {
    condition: Condition,
    /// Bytes delivered, both ways.
    carried: u64,
    cables: Vec<Weak<Cable>>,
}

/// The state of a wire.
#[derive(Clone, Copy, Default)]
pub(super) struct Condition {
    pub(super) delay: Duration,
    pub(super) cut: bool,
    /// Number of resets; a cable from before the last one is dead.
    pub(super) resets: u64,
}

struct Cable {
    wire: Arc<Wire>,
    /// Resets of the wire when this cable was laid.
    resets: u64,
    /// The interfaces of the sender and the receiver.
    ports: [Arc<Mutex<Port>>; 2],
    state: Mutex<CableState>,
}

#[derive(Default)]
struct CableState {
    in_flight: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    writer_done: bool,
    reader_gone: bool,
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

/// Lays a one-way cable over a wire, from the first of these interfaces to the second.
pub(super) fn lay(wire: &Arc<Wire>, ports: [&Arc<Mutex<Port>>; 2]) -> (CableWriter, CableReader) {
    let mut state = lock(&wire.state);
    let resets = state.condition.resets;
    let ports = ports.map(Arc::clone);
    let cable = Arc::new(Cable { wire: wire.clone(), resets, ports, state: Mutex::default() });
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
        match condition.resets == self.resets {
            true => Ok(condition),
            false => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }

    /// How many bytes may be in flight, and how many of them pass at once.
    fn limits(&self) -> (usize, usize) {
        let rates = self.ports.iter().filter_map(|port| lock(port).rate());
        match rates.reduce(|a, b| if a < b { a } else { b }) {
            Some(rate) => (WINDOW.max(rate.within(AHEAD).0 as usize), PIECE),
            None => (WINDOW, WINDOW),
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
        // Register before checking the condition, so that no change of it goes unnoticed.
        let mut state = lock(&cable.state);
        state.reader = Some(context.waker().clone());
        if cable.condition()?.cut {
            return Poll::Pending;
        }
        let Some((arrives, _)) = state.in_flight.front() else {
            return if state.writer_done { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        if *arrives > Instant::now() {
            due.as_mut().reset(*arrives);
            if due.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        if let Some((arrives, mut piece)) = state.in_flight.pop_front() {
            let count = piece.len().min(into.remaining());
            into.put_slice(&piece.split_to(count));
            if !piece.is_empty() {
                state.in_flight.push_front((arrives, piece));
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
        let cable = &self.cable;
        let mut state = lock(&cable.state);
        state.writer = Some(context.waker().clone());
        let delay = cable.condition()?.delay;
        if state.reader_gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let (window, piece) = cable.limits();
        let count = bytes.len().min(window.saturating_sub(state.bytes)).min(piece);
        if count == 0 && !bytes.is_empty() {
            return Poll::Pending;
        }
        state.bytes += count;
        let [from, to] = &cable.ports;
        let arrives = carry(from, to, units::Bytes(count as u64), Instant::now()) + delay;
        state.in_flight.push_back((arrives, Bytes::copy_from_slice(&bytes[..count])));
        wake(&mut state.reader);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = lock(&self.cable.state);
        state.writer_done = true;
        wake(&mut state.reader);
        Poll::Ready(Ok(()))
    }
}

impl Drop for CableWriter {
    fn drop(&mut self) {
        let mut state = lock(&self.cable.state);
        state.writer_done = true;
        wake(&mut state.reader);
    }
}

impl Drop for CableReader {
    fn drop(&mut self) {
        let mut state = lock(&self.cable.state);
        state.reader_gone = true;
        wake(&mut state.writer);
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}
