//! The byte layout of frames.
//!
//! ```text
//! u32 LE   u32 LE    header bytes         payload bytes
//! header   payload   MessagePack          raw, little-endian
//! ```
//!
//! Lengths are checked against their limits before memory is allocated. A frame without header and
//! payload is a heartbeat; it is never delivered. A connection opens with [`MAGIC`] and
//! [`REVISION`], before its first frame. In a cluster with a key, frames are encrypted (`sealed`).

use edgeld_runtime::wire::{MAX_HEADER, MAX_PAYLOAD, Purpose};

/// The first bytes each side sends.
pub(super) const MAGIC: [u8; 7] = *b"EDGELD\0";

/// The byte after [`MAGIC`]: version of the handshake and frame layout.
pub(super) const REVISION: u8 = 2;

/// Longest handshake message, in bytes.
pub(super) const MAX_HANDSHAKE: usize = 4096;

/// Bytes before each frame's header: the two lengths.
pub(super) const PREFIX: usize = 8;

/// What a peer may make this device hold for one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Bytes of a frame's header.
    pub header: usize,
    /// Bytes of a frame's payload, until a receiver says what it expects.
    pub payload: usize,
    /// Received frames that nobody has taken yet; reading pauses when there are so many.
    pub unread: usize,
}

impl Limits {
    /// The limits of a connection for `purpose`. Strips and weights begin with no payload: nobody
    /// sends any before a receiver expects it.
    pub(super) fn of(purpose: Purpose) -> Limits {
        match purpose {
            Purpose::Control => Limits { header: MAX_HEADER, payload: 0, unread: 1 },
            Purpose::Strips(_) => Limits { header: 4 << 10, payload: 0, unread: 16 },
            Purpose::Weights(_) => Limits { header: 64 << 10, payload: 0, unread: 16 },
            Purpose::Probe => Limits { header: 64, payload: 256 << 10, unread: 1 },
        }
    }
}

/// Lengths of a frame's two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    /// Bytes of header.
    pub header: usize,
    /// Bytes of payload.
    pub payload: usize,
}

/// An invalid frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// The header is too long.
    #[error("a header of {found} bytes; the limit is {limit}")]
    Header {
        /// Claimed bytes.
        found: usize,
        /// Allowed bytes.
        limit: usize,
    },
    /// The payload is too long.
    #[error("a payload of {found} bytes; the limit here is {limit}")]
    Payload {
        /// Claimed bytes.
        found: usize,
        /// Allowed bytes.
        limit: usize,
    },
    /// A payload that no header describes.
    #[error("a payload without a header")]
    Headless,
    /// The stream ends within the frame.
    #[error("a truncated frame")]
    Truncated,
    /// Encrypted bytes that do not decrypt.
    #[error("data that was altered, replayed, reordered or left out")]
    NotAuthentic,
}

/// As readers of a pipe report it.
impl From<FrameError> for std::io::Error {
    fn from(error: FrameError) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

impl Lengths {
    /// A heartbeat.
    pub(super) const HEARTBEAT: Lengths = Lengths { header: 0, payload: 0 };

    /// Lengths of a frame to send.
    ///
    /// # Errors
    /// When it is longer than any peer accepts.
    pub(super) fn of(header: &[u8], payload: &[u8]) -> Result<Lengths, FrameError> {
        let lengths = Lengths { header: header.len(), payload: payload.len() };
        lengths.check(MAX_HEADER, MAX_PAYLOAD)
    }

    /// Parses the bytes before a header.
    ///
    /// # Errors
    /// When a part is longer than its limit.
    pub(super) fn parse(
        prefix: [u8; PREFIX],
        max_header: usize,
        max_payload: usize,
    ) -> Result<Lengths, FrameError> {
        let [a, b, c, d, e, f, g, h] = prefix;
        let header = u32::from_le_bytes([a, b, c, d]) as usize;
        let payload = u32::from_le_bytes([e, f, g, h]) as usize;
        Lengths { header, payload }.check(max_header, max_payload)
    }

    /// The bytes before the header. Both lengths fit in a u32: [`Lengths::of`] and
    /// [`Lengths::parse`] have checked them.
    pub(super) fn prefix(self) -> [u8; PREFIX] {
        let [a, b, c, d] = (self.header as u32).to_le_bytes();
        let [e, f, g, h] = (self.payload as u32).to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }

    fn check(self, max_header: usize, max_payload: usize) -> Result<Lengths, FrameError> {
        if self.header > max_header {
            return Err(FrameError::Header { found: self.header, limit: max_header });
        }
        if self.payload > max_payload {
            return Err(FrameError::Payload { found: self.payload, limit: max_payload });
        }
        if self.header == 0 && self.payload > 0 {
            return Err(FrameError::Headless);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_survive_a_round_trip() {
        for lengths in [
            Lengths::HEARTBEAT,
            Lengths { header: 1, payload: 0 },
            Lengths { header: MAX_HEADER, payload: MAX_PAYLOAD },
        ] {
            assert_eq!(Lengths::parse(lengths.prefix(), MAX_HEADER, MAX_PAYLOAD), Ok(lengths));
        }
    }

    #[test]
    fn lengths_beyond_the_limits_are_rejected() {
        let claim = |header: u32, payload: u32| {
            let mut prefix = [0; PREFIX];
            prefix[..4].copy_from_slice(&header.to_le_bytes());
            prefix[4..].copy_from_slice(&payload.to_le_bytes());
            Lengths::parse(prefix, 100, 1000)
        };
        assert_eq!(claim(101, 0), Err(FrameError::Header { found: 101, limit: 100 }));
        assert_eq!(claim(100, 1001), Err(FrameError::Payload { found: 1001, limit: 1000 }));
        assert_eq!(claim(0, 1), Err(FrameError::Headless));
        assert!(claim(u32::MAX, u32::MAX).is_err());
    }
}
