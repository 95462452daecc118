//! An open connection: one task writes queued frames, one reads frames into a queue.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes};
use edgeld_runtime::wire::{Hello, MAX_PAYLOAD, Purpose};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::error::TransportError;
use super::frame::{FrameError, Lengths, Limits, PREFIX};
use super::link::Link;
use super::log_limit::LogLimit;
use super::pipe::Pipe;
use super::settings::Settings;

/// Bytes of control messages that may wait for a peer: whoever reads so little that more would is
/// stuck, or wants this device to run out of memory.
const MAX_CONTROL_BACKLOG: usize = 64 << 20;

/// Read buffer, so that small frames share a system call. A read of more is for known bytes.
pub(super) const READ_AHEAD: usize = 16 << 10;

/// The unit of transfer: a message and the raw bytes that belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Frame {
    /// MessagePack, for [`decode`](edgeld_runtime::wire::decode).
    pub header: Vec<u8>,
    /// Raw bytes; the allocation has exactly this length.
    pub payload: Vec<u8>,
}

/// A connection to a device after a successful handshake.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: Sender,
    receiver: Receiver,
}

/// Sends frames, in order. Clones share the connection; when the last one is dropped, queued
/// frames are still written before the peer sees the end.
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
    const HEARTBEAT: Outgoing =
        Outgoing { lengths: Lengths::HEARTBEAT, header: Bytes::new(), payload: Bytes::new() };

    fn bytes(&self) -> usize {
        self.header.len() + self.payload.len()
    }
}

impl Connection {
    /// Spawns the connection's tasks on the caller's runtime.
    pub(super) fn open(
        pipe: Pipe,
        peer: Hello,
        settings: &Settings,
        rejections: Arc<LogLimit>,
        closing: watch::Receiver<bool>,
    ) -> Connection {
        let beats = matches!(peer.purpose, Purpose::Control | Purpose::Strips(_));
        let heartbeat = beats.then_some(settings.heartbeat);
        let unread = Limits::of(peer.purpose).unread;
        let link = Arc::new(Link::new(peer, pipe.remote));
        let (queue, outgoing) = mpsc::unbounded_channel();
        let (deliver, frames) = mpsc::channel(unread);
        let writer = Writer {
            pipe: pipe.writer,
            link: link.clone(),
            queue: outgoing,
            stall: settings.stall,
            closing,
        };
        tokio::spawn(writer.run(heartbeat));
        let reader = Reader {
            pipe: BufReader::with_capacity(READ_AHEAD, pipe.reader),
            link: link.clone(),
            deliver,
            rejections,
        };
        tokio::spawn(reader.run());
        let sender = Sender { queue, link: link.clone() };
        Connection { sender, receiver: Receiver { frames, link } }
    }

    /// The peer's `Hello`.
    pub(crate) fn peer(&self) -> &Hello {
        &self.sender.link.peer
    }

    /// The peer's address.
    pub(crate) fn address(&self) -> &str {
        &self.sender.link.remote
    }

    /// Joins the directions that [`split`](Connection::split) separated.
    #[cfg(test)]
    pub(super) fn join(sender: Sender, receiver: Receiver) -> Connection {
        Connection { sender, receiver }
    }

    /// Splits it into its two directions.
    pub(crate) fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }
}

impl Sender {
    /// Queues a frame. Never blocks, on any thread; wait for the backlog with
    /// [`Sender::backlog_below`].
    ///
    /// # Errors
    /// When the connection has ended, or the frame is longer than any peer accepts.
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
        if self.peer().purpose == Purpose::Control
            && *self.link.backlog.borrow() + frame.bytes() > MAX_CONTROL_BACKLOG
        {
            let error = self.link.closed("it does not read what it is sent");
            self.link.abort(error.clone());
            return Err(error);
        }
        self.link.backlog.send_modify(|backlog| *backlog += frame.bytes());
        self.queue.send(frame).map_err(|rejected| {
            self.link.backlog.send_modify(|backlog| *backlog -= rejected.0.bytes());
            self.link.closed("this device is closing it")
        })
    }

    /// Bytes queued here and not yet written to the socket.
    #[cfg(test)]
    pub(super) fn backlog(&self) -> usize {
        *self.link.backlog.borrow()
    }

    /// Completes when at most `bytes` are queued. Bulk senders await it to bound their memory.
    ///
    /// # Errors
    /// When the connection ends first.
    pub(crate) async fn backlog_below(&self, bytes: usize) -> Result<(), TransportError> {
        let mut backlog = self.link.backlog.subscribe();
        tokio::select! {
            // Cannot fail: the channel lives as long as `self`.
            _ = backlog.wait_for(|backlog| *backlog <= bytes) => Ok(()),
            error = self.link.ended() => Err(error),
        }
    }

    /// Sets the longest payload to accept, in bytes. A frame already being read keeps the previous
    /// limit.
    pub(crate) fn limit_payload(&self, bytes: usize) {
        self.link.max_payload.store(bytes.min(MAX_PAYLOAD), Ordering::Relaxed);
    }

    /// Ends the connection at once, both ways, and discards queued frames.
    pub(crate) fn abort(&self, why: impl ToString) {
        self.link.abort(self.link.closed(why));
    }

    /// Completes when the connection is aborted or breaks. An orderly end by the peer shows up in
    /// [`Receiver::next`] instead.
    #[cfg(test)]
    pub(super) async fn broken(&self) -> TransportError {
        self.link.ended().await
    }

    /// The peer's `Hello`.
    pub(crate) fn peer(&self) -> &Hello {
        &self.link.peer
    }

    /// The peer's address.
    pub(crate) fn address(&self) -> &str {
        &self.link.remote
    }

    /// When the peer was last heard. Any byte counts, even within a long payload. While the receive
    /// queue is full this is now, since the peer is then waiting for us.
    pub(crate) fn last_heard(&self) -> Instant {
        self.link.last_heard()
    }
}

impl Receiver {
    /// The next frame. Cancel safe.
    ///
    /// # Errors
    /// When the connection has ended, now and on every later call: [`TransportError::Closed`] if
    /// the peer ended it in order, else what went wrong.
    pub(crate) async fn next(&mut self) -> Result<Frame, TransportError> {
        self.frames.recv().await.unwrap_or_else(|| Err(self.end()))
    }

    /// Like [`Receiver::next`], for a thread outside any async runtime.
    ///
    /// # Errors
    /// As [`Receiver::next`].
    pub(crate) fn blocking_next(&mut self) -> Result<Frame, TransportError> {
        self.frames.blocking_recv().unwrap_or_else(|| Err(self.end()))
    }

    /// As [`Sender::limit_payload`].
    pub(crate) fn limit_payload(&self, bytes: usize) {
        self.link.max_payload.store(bytes.min(MAX_PAYLOAD), Ordering::Relaxed);
    }

    /// As [`Sender::last_heard`].
    #[cfg(test)]
    pub(super) fn last_heard(&self) -> Instant {
        self.link.last_heard()
    }

    fn end(&self) -> TransportError {
        self.link.end().unwrap_or_else(|| self.link.closed("the peer closed it"))
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
    async fn run(mut self, heartbeat: Option<Duration>) {
        let link = self.link.clone();
        let error = tokio::select! {
            written = self.write_all(heartbeat) => match written {
                Ok(()) => return,
                Err(error) => error,
            },
            error = link.ended() => error,
        };
        link.abort(error);
    }

    /// Writes until no sender is left.
    async fn write_all(&mut self, heartbeat: Option<Duration>) -> Result<(), TransportError> {
        let mut ticks = heartbeat.map(interval);
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
                () = tick(&mut ticks) => Outgoing::HEARTBEAT,
                // An error means that the network is gone, which also ends this task.
                _ = self.closing.wait_for(|closing| *closing), if !closing => {
                    closing = true;
                    self.queue.close();
                    continue;
                }
            };
            let bytes = frame.bytes();
            self.write(frame).await?;
            self.link.backlog.send_modify(|backlog| *backlog -= bytes);
        }
        let shut = timeout(self.stall, self.pipe.shutdown()).await;
        shut.map_err(|_| self.stalled())?.map_err(|error| self.link.closed(error))
    }

    /// Writes a frame without copying it: prefix, header and payload in one vectored write.
    async fn write(&mut self, frame: Outgoing) -> Result<(), TransportError> {
        let prefix = frame.lengths.prefix();
        let mut bytes = Buf::chain(&prefix[..], frame.header).chain(frame.payload);
        while bytes.has_remaining() {
            let written = timeout(self.stall, self.pipe.write_buf(&mut bytes)).await;
            match written.map_err(|_| self.stalled())? {
                Ok(0) => return Err(self.link.closed("the peer accepts no more data")),
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
            doing: "accepting data",
            after: self.stall,
        }
    }
}

/// Waits for the next tick; forever if there is no interval.
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
    rejections: Arc<LogLimit>,
}

impl Reader {
    async fn run(mut self) {
        let (link, deliver) = (self.link.clone(), self.deliver.clone());
        let rejections = self.rejections.clone();
        tokio::select! {
            error = self.read_all() => {
                // An orderly end leaves the other direction open; anything else ends both.
                if let Some(error) = error {
                    if matches!(error, TransportError::Violation { .. }) {
                        rejections.warn("ended a connection", &error);
                    }
                    link.abort(error);
                }
            }
            _ = link.ended() => {}
            () = deliver.closed() => {}
        }
    }

    /// Delivers frames until the stream ends; returns what went wrong, if anything.
    async fn read_all(&mut self) -> Option<TransportError> {
        loop {
            match self.read().await {
                Ok(Some(frame)) => self.deliver(frame).await,
                Ok(None) => return None,
                Err(error) => return Some(error),
            }
        }
    }

    async fn deliver(&mut self, frame: Frame) {
        if let Err(mpsc::error::TrySendError::Full(frame)) = self.deliver.try_send(Ok(frame)) {
            self.link.set_unread(true);
            // `run` notices when the receiver is gone.
            let _ = self.deliver.send(frame).await;
            self.link.set_unread(false);
        }
    }

    /// The next frame other than a heartbeat; `None` at the end of the stream.
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
            let max_header = Limits::of(self.link.peer.purpose).header;
            let lengths = Lengths::parse(prefix, max_header, max_payload)
                .map_err(|error| self.violation(error))?;
            if lengths == Lengths::HEARTBEAT {
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

    /// Reads `count` bytes into an allocation of exactly that size; fewer at the end of the stream.
    async fn read_bytes(&mut self, count: usize) -> Result<Vec<u8>, TransportError> {
        let mut bytes = Vec::with_capacity(count);
        while bytes.len() < count {
            let room = count - bytes.len();
            match self.pipe.read_buf(&mut (&mut bytes).limit(room)).await {
                Ok(0) => break,
                Ok(_) => self.link.mark_heard(),
                Err(error) => return Err(TransportError::of_pipe(&self.link.remote, &error)),
            }
        }
        Ok(bytes)
    }

    fn violation(&self, error: FrameError) -> TransportError {
        TransportError::Violation { address: self.link.remote.clone(), error }
    }
}
