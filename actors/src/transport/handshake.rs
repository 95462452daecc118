//! The first exchange on a connection: who is there, and can we work together?
//!
//! The initiator writes [`MAGIC`], [`REVISION`] and its [`Hello`]; the responder reads all of it
//! before it writes the magic, the revision and a [`Reply`]. The magic is compared byte by byte on
//! arrival, so that a web server on that port is recognised by its first byte instead of a timeout.
//! Each side checks the other's `Hello` and words its own objection.

use edgeld_runtime::wire::{Hello, decode, encode};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::TransportError;
use super::frame::{Lengths, MAGIC, MAX_HANDSHAKE, PREFIX, REVISION};
use super::pipe::Pipe;

/// The responder's message.
#[derive(Debug, Serialize, Deserialize)]
struct Reply {
    /// Who it is.
    hello: Hello,
    /// Why it refuses the initiator, if it does.
    refusal: Option<String>,
}

/// Performs the handshake as the side that dialled.
pub(super) async fn initiate(pipe: &mut Pipe, me: &Hello) -> Result<Hello, TransportError> {
    // What a peer says counts, even if it closes before it has read what we say.
    let sent = write(pipe, &encode(me)).await;
    read_magic(pipe).await?;
    let reply: Reply = read(pipe).await?;
    sent?;
    me.accepts(&reply.hello).map_err(|error| refused(pipe, error.to_string()))?;
    match reply.refusal {
        Some(why) => Err(refused(pipe, format!("it says: {why}"))),
        None => Ok(reply.hello),
    }
}

/// Performs the handshake as the side that was dialled.
pub(super) async fn respond(pipe: &mut Pipe, me: &Hello) -> Result<Hello, TransportError> {
    read_magic(pipe).await?;
    let peer: Result<Hello, _> = read(pipe).await;
    let verdict = peer.and_then(|peer| match me.accepts(&peer) {
        Ok(()) => Ok(peer),
        Err(error) => Err(refused(pipe, error.to_string())),
    });
    let mut hello = me.clone();
    if let Ok(peer) = &verdict {
        hello.purpose = peer.purpose;
    }
    let refusal = verdict.as_ref().err().map(|error| match error {
        TransportError::Refused { why, .. } => why.clone(),
        other => other.to_string(),
    });
    let sent = write(pipe, &encode(&Reply { hello, refusal })).await;
    let peer = verdict?;
    sent?;
    Ok(peer)
}

async fn write(pipe: &mut Pipe, message: &[u8]) -> Result<(), TransportError> {
    let lengths = Lengths { header: message.len(), payload: 0 };
    let mut bytes = Vec::with_capacity(MAGIC.len() + 1 + PREFIX + message.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.push(REVISION);
    bytes.extend_from_slice(&lengths.prefix());
    bytes.extend_from_slice(message);
    let written = async {
        pipe.writer.write_all(&bytes).await?;
        pipe.writer.flush().await
    };
    written.await.map_err(|error| closed(pipe, &error))
}

async fn read_magic(pipe: &mut Pipe) -> Result<(), TransportError> {
    let mut seen = Vec::with_capacity(MAGIC.len() + 1);
    while seen.len() <= MAGIC.len() {
        let room = MAGIC.len() + 1 - seen.len();
        let count = (&mut pipe.reader).take(room as u64).read_buf(&mut seen).await;
        let ended = matches!(count, Ok(0) | Err(_));
        if ended || !MAGIC.starts_with(&seen[..seen.len().min(MAGIC.len())]) {
            let saw = match (seen.is_empty(), count) {
                (true, Err(error)) => error.to_string(),
                (true, Ok(_)) => "it closed the connection without answering".to_owned(),
                (false, _) => format!("it sent {:?}", String::from_utf8_lossy(&seen)),
            };
            return Err(TransportError::NotEdgeld { address: pipe.remote.clone(), saw });
        }
    }
    if seen[MAGIC.len()] != REVISION {
        let why = format!(
            "it uses handshake revision {}, this build {REVISION}: install the same version on both",
            seen[MAGIC.len()]
        );
        return Err(refused(pipe, why));
    }
    Ok(())
}

async fn read<Message: serde::de::DeserializeOwned>(
    pipe: &mut Pipe,
) -> Result<Message, TransportError> {
    let mut prefix = [0; PREFIX];
    pipe.reader.read_exact(&mut prefix).await.map_err(|error| closed(pipe, &error))?;
    let lengths = Lengths::parse(prefix, MAX_HANDSHAKE, 0)
        .map_err(|error| TransportError::Violation { address: pipe.remote.clone(), error })?;
    let mut bytes = vec![0; lengths.header];
    pipe.reader.read_exact(&mut bytes).await.map_err(|error| closed(pipe, &error))?;
    decode(&bytes).map_err(|error| {
        refused(pipe, format!("its handshake is {error}: install the same version on both"))
    })
}

fn refused(pipe: &Pipe, why: String) -> TransportError {
    TransportError::Refused { address: pipe.remote.clone(), why }
}

fn closed(pipe: &Pipe, error: &std::io::Error) -> TransportError {
    TransportError::Closed { address: pipe.remote.clone(), why: error.to_string() }
}
