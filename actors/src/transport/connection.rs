//! An open connection: one task writes its queue, one reads frames into another.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use edgeld_runtime::wire::{Hello, MAX_HEADER, MAX_PAYLOAD, Purpose};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::error::TransportError;
use super::frame::{FrameError, Lengths, PREFIX};
use super::link::Link;
use super::pipe::Pipe;
use super::settings::Settings;

/// Frames that may wait to be taken; then the peer is no longer read.
const UNREAD_FRAMES: usize = 16;

/// Read ahead, so that small frames cost one system call together.
const READ_AHEAD: usize = 16 << 10;

/// What travels: a message and raw bytes that belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frame {
    /// MessagePack, for [`decode`](edgeld_runtime::wire::decode).
    pub header: Vec<u8>,
    /// Raw, of exactly this length in memory too.
    pub payload: Vec<u8>,
}

/// A connection to a device that has greeted and been accepted.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: Sender,
    receiver: Receiver,
}

/// Sends frames, in order. Clones send on the same connection; when the last one is dropped, what
/// waits is still written, then the peer sees the end.
#[derive(Clone)]
pub(crate) struct Sender {
    queue: mpsc::UnboundedSender<Outgoing>,
    link: Arc<Link>,
}

/// Receives frames, in order.
pub(crate) struct Receiver {
    frames: mpsc::Receiver<Result<Frame, TransportError>>,
    link: Arc<Link>,
}

struct Outgoing {
    lengths: Lengths,
    header: Bytes,
    payload: Bytes,
}

impl Outgoing {
    const ALIVE: Outgoing =
        Outgoing { lengths: Lengths::ALIVE, header: Bytes::new(), payload: Bytes::new() };

    fn bytes(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

impl Connection {
    /// Starts the tasks of a connection on the runtime of the caller.
    pub(super) fn open(
        pipe: Pipe,
        peer: Hello,
        settings: &Settings,
        closing: watch::Receiver<bool>,
    ) -> Connection {
        let beat = (peer.purpose == Purpose::Control).then_some(settings.heartbeat);
        let link = Arc::new(Link::new(peer, pipe.remote));
        let (queue, outgoing) = mpsc::unbounded_channel();
        let (deliver, frames) = mpsc::channel(UNREAD_FRAMES);
        let writer = Writer {
            pipe: pipe.writer,
            link: link.clone(),
            queue: outgoing,
            stall: settings.stall,
            closing,
        };
        tokio::spawn(writer.run(beat));
        let reader = Reader {
            pipe: BufReader::with_capacity(READ_AHEAD, pipe.reader),
            link: link.clone(),
            deliver,
        };
        tokio::spawn(reader.run());
        let sender = Sender { queue, link: link.clone() };
        Connection { sender, receiver: Receiver { frames, link } }
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Hello {
        &self.sender.link.peer
    }

    /// Address of the other end.
    pub(crate) fn address(&self) -> &str {
        &self.sender.link.remote
    }

    /// The two directions.
    pub(crate) fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

impl Sender {
    /// Hands over a frame. Never waits, from whatever thread; [`Sender::waiting`] and
    /// [`Sender::drained`] tell how far the link is behind.
    ///
    /// # Errors
    /// When the connection has ended, or no peer would take so long a frame.
    pub(crate) fn send(
        &self,
        header: impl Into<Bytes>,
        payload: impl Into<Bytes>,
    ) -> Result<(), TransportError> {
        let (header, payload) = (header.into(), payload.into());
        if let Some(error) = self.link.end() {
            return Err(error);
        }
        let lengths = Lengths::of(&header, &payload).map_err(|error| {
            TransportError::Violation { address: "this device".to_owned(), error }
        })?;
        let frame = Outgoing { lengths, header, payload };
        self.link.waiting.send_modify(|waiting| *waiting += frame.bytes());
        self.queue.send(frame).map_err(|refused| {
            self.link.waiting.send_modify(|waiting| *waiting -= refused.0.bytes());
            self.link.closed("it was being closed")
        })
    }

    /// Bytes that were handed over and that the system has not yet taken.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        *self.link.waiting.borrow()
    }

    /// Completes when at most `bytes` wait: how a sender of much keeps its memory bounded.
    ///
    /// # Errors
    /// When the connection ends before.
    pub(crate) async fn drained(&self, bytes: usize) -> Result<(), TransportError> {
        let mut waiting = self.link.waiting.subscribe();
        tokio::select! {
            // The sender of `waiting` lives as long as `self`, so that this cannot fail.
            _ = waiting.wait_for(|waiting| *waiting <= bytes) => Ok(()),
            error = self.link.ended() => Err(error),
        }
    }

    /// Ends the connection at once, both ways; what waits is not sent.
    pub(crate) fn cut(&self, why: impl ToString) {
        self.link.cut(self.link.closed(why));
    }

    /// Completes when the connection has been cut or broken. A peer that ends in order is told by
    /// [`Receiver::next`].
    #[cfg(test)]
    pub(super) async fn broken(&self) -> TransportError {
        self.link.ended().await
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Hello {
        &self.link.peer
    }

    /// Address of the other end.
    pub(crate) fn address(&self) -> &str {
        &self.link.remote
    }

    /// When the peer was last heard: any byte counts, also in the middle of a long payload. While
    /// frames wait here to be taken it is now, for then it is we who keep the peer waiting.
    pub(crate) fn last_heard(&self) -> Instant {
        self.link.last_heard()
    }
}

impl Receiver {
    /// The next frame. May be dropped and called again without losing one.
    ///
    /// # Errors
    /// When the connection has ended: [`TransportError::Closed`] where the peer ended it in order,
    /// else what went wrong. It then stays ended.
    pub(crate) async fn next(&mut self) -> Result<Frame, TransportError> {
        self.frames.recv().await.unwrap_or_else(|| Err(self.end()))
    }

    /// As [`Receiver::next`], for a thread outside any async runtime.
    ///
    /// # Errors
    /// As [`Receiver::next`].
    pub(crate) fn blocking_next(&mut self) -> Result<Frame, TransportError> {
        self.frames.blocking_recv().unwrap_or_else(|| Err(self.end()))
    }

    /// Sets the longest payload that is accepted from now on, in bytes: what the plan expects. A
    /// frame that is already being read keeps the limit it began under.
    pub(crate) fn limit_payload(&self, bytes: usize) {
        self.link.max_payload.store(bytes.min(MAX_PAYLOAD), Ordering::Relaxed);
    }

    /// As [`Sender::last_heard`].
    #[cfg(test)]
    pub(super) fn last_heard(&self) -> Instant {
        self.link.last_heard()
    }

    fn end(&self) -> TransportError {
        self.link.end().unwrap_or_else(|| self.link.closed("the other side ended it"))
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sender({} at {})", self.link.peer.name, self.link.remote)
    }
}

impl std::fmt::Debug for Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Receiver({} at {})", self.link.peer.name, self.link.remote)
    }
}

struct Writer {
    pipe: Box<dyn AsyncWrite + Send + Unpin>,
    link: Arc<Link>,
    queue: mpsc::UnboundedReceiver<Outgoing>,
    stall: Duration,
    closing: watch::Receiver<bool>,
}

impl Writer {
    async fn run(mut self, beat: Option<Duration>) {
        let link = self.link.clone();
        let error = tokio::select! {
            written = self.write_all(beat) => match written {
                Ok(()) => return,
                Err(error) => error,
            },
            error = link.ended() => error,
        };
        link.cut(error);
    }

    /// Writes until there is nobody left to send.
    async fn write_all(&mut self, beat: Option<Duration>) -> Result<(), TransportError> {
        let mut ticks = beat.map(interval);
        if let Some(ticks) = &mut ticks {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut closing = false;
        loop {
            let frame = tokio::select! {
                frame = self.queue.recv() => match frame {
                    Some(frame) => frame,
                    None => break,
                },
                () = tick(&mut ticks) => Outgoing::ALIVE,
                // An error means that the network is gone, which ends this task anyway.
                _ = self.closing.wait_for(|closing| *closing), if !closing => {
                    closing = true;
                    self.queue.close();
                    continue;
                }
            };
            let bytes = frame.bytes();
            self.write(frame).await?;
            self.link.waiting.send_modify(|waiting| *waiting -= bytes);
        }
        let shut = timeout(self.stall, self.pipe.shutdown()).await;
        shut.map_err(|_| self.stalled())?.map_err(|error| self.link.closed(error))
    }

    /// Writes a frame where it lies: one vectored write for prefix, header and payload.
    async fn write(&mut self, frame: Outgoing) -> Result<(), TransportError> {
        let prefix = frame.lengths.prefix();
        let mut bytes = Buf::chain(&prefix[..], frame.header).chain(frame.payload);
        while bytes.has_remaining() {
            let written = timeout(self.stall, self.pipe.write_buf(&mut bytes)).await;
            match written.map_err(|_| self.stalled())? {
                Ok(0) => return Err(self.link.closed("the other side takes no more bytes")),
                Ok(_) => {}
                Err(error) => return Err(self.link.closed(error)),
            }
        }
        let flushed = timeout(self.stall, self.pipe.flush()).await;
        flushed.map_err(|_| self.stalled())?.map_err(|error| self.link.closed(error))
    }

    fn stalled(&self) -> TransportError {
        TransportError::Timeout {
            address: self.link.remote.clone(),
            doing: "taking any byte",
            after: self.stall,
        }
    }
}

/// The next tick; never, where there are none.
async fn tick(ticks: &mut Option<tokio::time::Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

struct Reader {
    pipe: BufReader<Box<dyn AsyncRead + Send + Unpin>>,
    link: Arc<Link>,
    deliver: mpsc::Sender<Result<Frame, TransportError>>,
}

impl Reader {
    async fn run(mut self) {
        let (link, deliver) = (self.link.clone(), self.deliver.clone());
        tokio::select! {
            error = self.read_all() => {
                // An end in order leaves the other direction open; all else ends both.
                if let Some(error) = error {
                    link.cut(error);
                }
            }
            _ = link.ended() => {}
            () = deliver.closed() => {}
        }
    }

    /// Delivers frames until there are no more; what went wrong, if anything.
    async fn read_all(&mut self) -> Option<TransportError> {
        loop {
            match self.read().await {
                Ok(Some(frame)) => self.hand_over(frame).await,
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    }

    async fn hand_over(&mut self, frame: Frame) {
        if let Err(mpsc::error::TrySendError::Full(frame)) = self.deliver.try_send(Ok(frame)) {
            self.link.set_unread(true);
            // When the receiver is gone, `run` notices.
            let _ = self.deliver.send(frame).await;
            self.link.set_unread(false);
        }
    }

    /// The next frame that carries something; `None` at the end.
    async fn read(&mut self) -> Result<Option<Frame>, TransportError> {
        loop {
            let prefix = self.read_bytes(PREFIX).await?;
            let Ok(prefix) = <[u8; PREFIX]>::try_from(prefix.as_slice()) else {
                return match prefix.is_empty() {
                    true => Ok(None),
                    false => Err(self.violation(FrameError::Truncated)),
                };
            };
            let max_payload = self.link.max_payload.load(Ordering::Relaxed);
            let lengths = Lengths::parse(prefix, MAX_HEADER, max_payload)
                .map_err(|error| self.violation(error))?;
            if lengths == Lengths::ALIVE {
                continue;
            }
            let header = self.read_bytes(lengths.header).await?;
            let payload = self.read_bytes(lengths.payload).await?;
            if header.len() < lengths.header || payload.len() < lengths.payload {
                return Err(self.violation(FrameError::Truncated));
            }
            return Ok(Some(Frame { header, payload }));
        }
    }

    /// Reads `count` bytes into memory of just that size; fewer at the end of the stream.
    async fn read_bytes(&mut self, count: usize) -> Result<Vec<u8>, TransportError> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let room = count - bytes.len();
            match self.pipe.read_buf(&mut (&mut bytes).limit(room)).await {
                Ok(0) => break,
                Ok(_) => self.link.hear(),
                Err(error) => return Err(self.link.closed(error)),
            }
        }
        Ok(bytes)
    }

    fn violation(&self, error: FrameError) -> TransportError {
        TransportError::Violation { address: self.link.remote.clone(), error }
    }
}
