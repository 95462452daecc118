//! The first exchange on a connection: who is there, and will we work together?
//!
//! The dialler writes [`MAGIC`], [`REVISION`] and its [`Hello`]; the answerer reads all that before
//! it writes the same and an [`Answer`]. Magic is compared byte by byte as it comes, so that a web
//! server on that port is told from a slow device at its first byte. Either side checks the other's
//! `Hello` and says in its own words what does not fit.

use edgeld_runtime::wire::{Hello, decode, encode};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::TransportError;
use super::frame::{Lengths, MAGIC, MAX_GREETING, PREFIX, REVISION};
use super::pipe::Pipe;

/// What the answerer says.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    /// Who it is.
    hello: Hello,
    /// Why it will not work with the dialler, if so.
    refusal: Option<String>,
}

/// Greets as the one who dialled.
pub(super) async fn call(pipe: &mut Pipe, me: &Hello) -> Result<Hello, TransportError> {
    write(pipe, &encode(me)).await?;
    read_magic(pipe).await?;
    let answer: Answer = read(pipe).await?;
    me.accepts(&answer.hello).map_err(|error| refused(pipe, error.to_string()))?;
    match answer.refusal {
        Some(why) => Err(refused(pipe, format!("it says: {why}"))),
        None => Ok(answer.hello),
    }
}

/// Greets as the one who was dialled.
pub(super) async fn answer(pipe: &mut Pipe, me: &Hello) -> Result<Hello, TransportError> {
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
    let told = write(pipe, &encode(&Answer { hello, refusal })).await;
    let peer = verdict?;
    told?;
    Ok(peer)
}

async fn write(pipe: &mut Pipe, handshake: &[u8]) -> Result<(), TransportError> {
    let lengths = Lengths { header: handshake.len(), payload: 0 };
    let mut bytes = Vec::with_capacity(MAGIC.len() + 1 + PREFIX + handshake.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.push(REVISION);
    bytes.extend_from_slice(&lengths.prefix());
    bytes.extend_from_slice(handshake);
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
                (true, Ok(_)) => "it closed the connection without a word".to_owned(),
                (false, _) => format!("it began with {:?}", String::from_utf8_lossy(&seen)),
            };
            return Err(TransportError::NotEdgeld { address: pipe.remote.clone(), saw });
        }
    }
    if seen[MAGIC.len()] != REVISION {
        let why = format!(
            "it greets in revision {}, this build in {REVISION}: install the same version on both",
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
    let lengths = Lengths::parse(prefix, MAX_GREETING, 0)
        .map_err(|error| TransportError::Violation { address: pipe.remote.clone(), error })?;
    let mut bytes = vec![0; lengths.header];
    pipe.reader.read_exact(&mut bytes).await.map_err(|error| closed(pipe, &error))?;
    decode(&bytes).map_err(|error| {
        refused(pipe, format!("its greeting is {error}: install the same version on both"))
    })
}

fn refused(pipe: &Pipe, why: String) -> TransportError {
    TransportError::Refused { address: pipe.remote.clone(), why }
}

fn closed(pipe: &Pipe, error: &std::io::Error) -> TransportError {
    TransportError::Closed { address: pipe.remote.clone(), why: error.to_string() }
}
