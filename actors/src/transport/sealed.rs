//! Encrypted pipes: a byte stream cut into Noise messages.
//!
//! ```text
//! u16 LE   length of what follows, with its tag of 16 bytes
//! bytes    encrypted and authenticated
//! ```
//!
//! Each message is authenticated with its number in the stream, so that one that is altered, left
//! out, repeated or moved does not decrypt, which ends the stream. A stream may end between two
//! messages, whoever ended it: nothing follows from the end of a connection but that it is gone. Large
//! writes fill whole messages without a copy beside that of encryption, and large reads are decrypted
//! to where they are wanted.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use snow::StatelessTransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::READ_AHEAD;
use super::frame::FrameError;
use super::pipe::Pipe;

/// Bytes of a message's length.
const PREFIX: usize = 2;

/// Bytes that authenticate a message.
const TAG: usize = 16;

/// Longest content of a message; Noise limits messages to 65,535 bytes.
const MAX_CONTENT: usize = 65_535 - TAG;

/// Slices of at least this length are encrypted from where they are; shorter ones are gathered.
const LARGE: usize = 16 << 10;

/// Encrypts a pipe with keys that both ends have agreed on.
pub(super) fn seal(pipe: Pipe, keys: StatelessTransportState) -> Pipe {
    let keys = Arc::new(keys);
    let reader = SealedReader {
        pipe: pipe.reader,
        keys: keys.clone(),
        next: 0,
        sealed: Vec::new(),
        received: 0,
        content: Vec::new(),
        delivered: 0,
    };
    let writer = SealedWriter {
        pipe: pipe.writer,
        keys,
        next: 0,
        gathered: Vec::new(),
        sealed: Vec::new(),
        written: 0,
    };
    Pipe { reader: Box::new(reader), writer: Box::new(writer), remote: pipe.remote }
}

struct SealedWriter {
    pipe: Box<dyn AsyncWrite + Send + Unpin>,
    keys: Arc<StatelessTransportState>,
    /// Number of the next message.
    next: u64,
    /// Small slices on their way into one message.
    gathered: Vec<u8>,
    /// A message, `written` bytes of which are on their way.
    sealed: Vec<u8>,
    written: usize,
}

impl SealedWriter {
    /// Passes the current message on to the pipe.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.sealed.len() {
            let rest = &self.sealed[self.written..];
            match ready!(Pin::new(&mut self.pipe).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Makes `content` the current message; the one before must be on its way.
    fn seal(&mut self, content: &[u8]) -> io::Result<()> {
        let length = content.len() + TAG;
        self.sealed.resize(PREFIX + length, 0);
        self.written = 0;
        // Cannot wrap: `content` is at most `MAX_CONTENT`.
        self.sealed[..PREFIX].copy_from_slice(&(length as u16).to_le_bytes());
        let sealed = self.keys.write_message(self.next, content, &mut self.sealed[PREFIX..]);
        sealed.map_err(io::Error::other)?;
        self.next += 1;
        Ok(())
    }

    /// Seals what was taken of a write, and begins to pass it on.
    fn take(&mut self, content: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if content.is_empty() {
            return Poll::Ready(Ok(0));
        }
        self.seal(content)?;
        // What the pipe does not accept yet, it gets with the next write or flush.
        match self.poll_drain(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(content.len())),
        }
    }
}

impl AsyncWrite for SealedWriter {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        this.take(&bytes[..bytes.len().min(MAX_CONTENT)], context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        let first = slices.iter().find(|slice| !slice.is_empty());
        if let Some(first) = first.filter(|first| first.len() >= LARGE) {
            return this.take(&first[..first.len().min(MAX_CONTENT)], context);
        }
        let mut gathered = std::mem::take(&mut this.gathered);
        gathered.clear();
        for slice in slices {
            let room = MAX_CONTENT - gathered.len();
            gathered.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        let taken = this.take(&gathered, context);
        this.gathered = gathered;
        taken
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.pipe).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(context))?;
        Pin::new(&mut this.pipe).poll_shutdown(context)
    }
}

struct SealedReader {
    pipe: Box<dyn AsyncRead + Send + Unpin>,
    keys: Arc<StatelessTransportState>,
    /// Number of the next message.
    next: u64,
    /// A message and what follows it, `received` bytes of which are here.
    sealed: Vec<u8>,
    received: usize,
    /// A decrypted message, `delivered` bytes of which were read.
    content: Vec<u8>,
    delivered: usize,
}

impl SealedReader {
    /// Receives the next message; returns its length, or `None` at the end of the stream. Reads ahead,
    /// so that small messages share a call to the system; but what it asks for beyond [`READ_AHEAD`]
    /// is known to come, and the pipe may wait for it.
    fn poll_message(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<usize>>> {
        loop {
            let known = match self.sealed.get(..PREFIX) {
                Some(prefix) if self.received >= PREFIX => {
                    let length = usize::from(u16::from_le_bytes([prefix[0], prefix[1]]));
                    // There is no message without content.
                    if length <= TAG {
                        return Poll::Ready(Err(FrameError::NotAuthentic.into()));
                    }
                    if self.received >= PREFIX + length {
                        return Poll::Ready(Ok(Some(length)));
                    }
                    PREFIX + length
                }
                _ => PREFIX,
            };
            let wanted = known.max(self.received + READ_AHEAD);
            self.sealed.resize(self.sealed.len().max(wanted), 0);
            let mut room = ReadBuf::new(&mut self.sealed[self.received..wanted]);
            ready!(Pin::new(&mut self.pipe).poll_read(context, &mut room))?;
            match room.filled().len() {
                0 if self.received == 0 => return Poll::Ready(Ok(None)),
                0 => return Poll::Ready(Err(FrameError::Truncated.into())),
                count => self.received += count,
            }
        }
    }

    /// Decrypts the message of this length into `place`, which has room for it and its tag.
    fn open(&mut self, length: usize, place: &mut [u8]) -> io::Result<usize> {
        let sealed = &self.sealed[PREFIX..PREFIX + length];
        let opened = self.keys.read_message(self.next, sealed, place);
        let count = opened.map_err(|_| io::Error::from(FrameError::NotAuthentic))?;
        self.next += 1;
        self.sealed.copy_within(PREFIX + length..self.received, 0);
        self.received -= PREFIX + length;
        Ok(count)
    }
}

impl AsyncRead for SealedReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.delivered == this.content.len() {
            let Some(length) = ready!(this.poll_message(context))? else {
                return Poll::Ready(Ok(()));
            };
            if into.remaining() >= length {
                let count = this.open(length, into.initialize_unfilled_to(length))?;
                into.advance(count);
                return Poll::Ready(Ok(()));
            }
            let mut content = std::mem::take(&mut this.content);
            content.resize(length, 0);
            let count = this.open(length, &mut content)?;
            content.truncate(count);
            (this.content, this.delivered) = (content, 0);
        }
        let rest = &this.content[this.delivered..];
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        this.delivered += count;
        Poll::Ready(Ok(()))
    }
}
