//! What devices send each other, as bytes: encoding and decoding only, no sockets.
//!
//! A connection starts with a [`Hello`] from each side. After that it carries frames: a MessagePack
//! header of at most [`MAX_HEADER`] bytes and, for strips and weights, a raw little-endian payload.
//! Control messages, strips and weights use separate connections.

mod control;
mod hello;
mod strip;
mod text;

pub use crate::ids::{Incarnation, NodeId, SessionId};
pub use control::{
    BenchmarkResult, LayerSample, LeaderMessage, Member, Prepare, Refusal, StageTime, StepTime,
    Urgency, WeightsMessage, WorkerMessage,
};
pub use hello::{Hello, HelloError, PROTOCOL, Purpose};
pub use strip::{StripError, StripHeader};
pub use text::printable;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest header; a longer one is refused before memory is allocated for it.
pub const MAX_HEADER: usize = 4 << 20;

/// The longest payload.
pub const MAX_PAYLOAD: usize = 1 << 30;

/// Bytes that are not a message of this protocol.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than any message.
    #[error("a header of {found} bytes; at most {MAX_HEADER} are allowed")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// Not MessagePack, or not this message.
    #[error("not a message of this protocol: {0}")]
    Malformed(#[from] rmp_serde::decode::Error),
}

/// Encodes a message as MessagePack with named fields, so that fields can be added.
pub fn encode<Message: Serialize>(message: &Message) -> Vec<u8> {
    // Serialising into memory fails only for types whose implementation says so; ours do not.
    rmp_serde::to_vec_named(message).expect("messages are plain data")
}

/// Decodes a message.
///
/// # Errors
/// When the bytes are too many or are not that message. Never panics.
pub fn decode<Message: DeserializeOwned>(bytes: &[u8]) -> Result<Message, DecodeError> {
    if bytes.len() > MAX_HEADER {
        return Err(DecodeError::TooLong { found: bytes.len() });
    }
    Ok(rmp_serde::from_slice(bytes)?)
}
