//! The first exchange on a connection: who is there, can we work together, and do we have the same
//! key?
//!
//! The initiator writes [`MAGIC`], [`REVISION`] and an [`Opening`] with its [`Hello`]; the responder
//! reads all of it before it writes the magic, the revision and a [`Reply`]. The magic is compared
//! byte by byte on arrival, so that a web server on that port is recognised by its first byte instead
//! of a timeout. Each side checks the other's `Hello` and words its own objection.
//!
//! In a cluster with a key both messages carry one of the Noise handshake [`PATTERN`], whose
//! prologue is what the initiator said in the clear; the responder's `Hello` is encrypted. Keys are
//! made for this connection alone: a recorded handshake that is replayed gets an answer that only
//! the true initiator can use, so the responder believes it only after it has used it.

use std::sync::atomic::{AtomicBool, Ordering};

use edgeld_runtime::wire::{Hello, decode, encode, printable};
use serde::{Deserialize, Serialize};
use snow::{Builder, HandshakeState};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::TransportError;
use super::frame::{Lengths, MAGIC, MAX_HANDSHAKE, PREFIX, REVISION};
use super::key::ClusterKey;
use super::pipe::Pipe;
use super::sealed::seal;

/// New keys for every connection, and a secret that both ends must know.
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";

/// Longest message of the Noise handshake, in bytes.
const MAX_NOISE: usize = MAX_HANDSHAKE;

/// The initiator's message.
#[derive(Debug, Serialize, Deserialize)]
struct Opening {
    /// Its [`Hello`], encoded.
    #[serde(with = "serde_bytes")]
    hello: Vec<u8>,
    /// Its message of the Noise handshake, if it has a key.
    noise: Option<serde_bytes::ByteBuf>,
}

/// The responder's message.
#[derive(Debug, Serialize, Deserialize)]
enum Reply {
    /// It works with the initiator, in the clear.
    Accepted(Hello),
    /// It works with the initiator: its message of the Noise handshake, with its [`Hello`].
    Sealed(#[serde(with = "serde_bytes")] Vec<u8>),
    /// It does not.
    Refused {
        /// Who it is.
        hello: Hello,
        /// Why not.
        why: String,
    },
}

/// Performs the handshake as the side that dialled. Returns the pipe, encrypted if there is a key,
/// and who is at its other end.
pub(super) async fn initiate(
    mut pipe: Pipe,
    me: &Hello,
    key: Option<&ClusterKey>,
) -> Result<(Pipe, Hello), TransportError> {
    let hello = encode(me);
    let mut noise = None;
    if let Some(key) = key {
        let mut state = noise_state(&pipe, key, &hello, true)?;
        let message = written(&pipe, &mut state, &[])?;
        noise = Some((state, message));
    }
    let message = noise.as_ref().map(|(_, message)| serde_bytes::ByteBuf::from(message.clone()));
    // What a peer says counts, even if it closes before it has read what we say.
    let sent = write(&mut pipe, &encode(&Opening { hello, noise: message })).await;
    read_magic(&mut pipe).await?;
    let reply = read(&mut pipe).await?;
    sent?;
    match (reply, noise) {
        (Reply::Refused { hello, why }, _) => {
            me.accepts(&hello).map_err(|error| refused(&pipe, error.to_string()))?;
            Err(refused(&pipe, format!("it says: {}", printable(&why))))
        }
        (Reply::Accepted(peer), None) => {
            me.accepts(&peer).map_err(|error| refused(&pipe, error.to_string()))?;
            Ok((pipe, peer))
        }
        (Reply::Sealed(answer), Some((mut state, _))) => {
            let mut content = vec![0; MAX_NOISE];
            let length = state.read_message(&answer, &mut content).map_err(|_| {
                refused(&pipe, "its answer was not made with this cluster's key".to_owned())
            })?;
            let peer = decoded(&pipe, &content[..length])?;
            me.accepts(&peer).map_err(|error| refused(&pipe, error.to_string()))?;
            let mut pipe = sealed(pipe, state)?;
            let confirmed = async {
                pipe.writer.write_all(&MAGIC).await?;
                pipe.writer.flush().await
            };
            confirmed.await.map_err(|error| closed(&pipe, &error))?;
            Ok((pipe, peer))
        }
        (Reply::Accepted(peer), Some(_)) => Err(refused(&pipe, no_key(&peer, me))),
        (Reply::Sealed(_), None) => {
            Err(refused(&pipe, "it encrypts although this device has no key".to_owned()))
        }
    }
}

/// Performs the handshake as the side that was dialled; sets `spoken` once the initiator has begun
/// to speak. Returns the same as [`initiate`].
pub(super) async fn respond(
    mut pipe: Pipe,
    me: &Hello,
    key: Option<&ClusterKey>,
    spoken: &AtomicBool,
) -> Result<(Pipe, Hello), TransportError> {
    read_magic(&mut pipe).await?;
    spoken.store(true, Ordering::Relaxed);
    let checked = match read::<Opening>(&mut pipe).await {
        Ok(opening) => check(&pipe, &opening, me, key),
        Err(error) => Err(error),
    };
    let (peer, state, reply) = match checked {
        Ok(checked) => checked,
        Err(error) => {
            let why = match &error {
                TransportError::Refused { why, .. } => why.clone(),
                other => other.to_string(),
            };
            // It may be gone already.
            let _ = write(&mut pipe, &encode(&Reply::Refused { hello: me.clone(), why })).await;
            return Err(error);
        }
    };
    write(&mut pipe, &encode(&reply)).await?;
    let Some(state) = state else { return Ok((pipe, peer)) };
    let mut pipe = sealed(pipe, state)?;
    let mut confirmation = [0; MAGIC.len()];
    let read = pipe.reader.read_exact(&mut confirmation).await;
    read.map_err(|error| closed(&pipe, &error))?;
    Ok((pipe, peer))
}

/// Checks what an initiator says, and words the answer.
fn check(
    pipe: &Pipe,
    opening: &Opening,
    me: &Hello,
    key: Option<&ClusterKey>,
) -> Result<(Hello, Option<HandshakeState>, Reply), TransportError> {
    let peer: Hello = decoded(pipe, &opening.hello)?;
    me.accepts(&peer).map_err(|error| refused(pipe, error.to_string()))?;
    let me = Hello { purpose: peer.purpose, ..me.clone() };
    match (key, &opening.noise) {
        (None, None) => Ok((peer, None, Reply::Accepted(me))),
        (Some(key), Some(message)) => {
            let mut state = noise_state(pipe, key, &opening.hello, false)?;
            state.read_message(message, &mut [0; MAX_NOISE]).map_err(|_| {
                let why = format!(
                    "{} and {} have different cluster keys: start both with the same --key FILE",
                    peer.name, me.name
                );
                refused(pipe, why)
            })?;
            let answer = written(pipe, &mut state, &encode(&me))?;
            Ok((peer, Some(state), Reply::Sealed(answer)))
        }
        (Some(_), None) => Err(refused(pipe, no_key(&peer, &me))),
        (None, Some(_)) => Err(refused(pipe, no_key(&me, &peer))),
    }
}

fn no_key(keyless: &Hello, keyed: &Hello) -> String {
    format!(
        "{} has no cluster key, but {} has: start both with the same --key FILE",
        keyless.name, keyed.name
    )
}

fn noise_state(
    pipe: &Pipe,
    key: &ClusterKey,
    hello: &[u8],
    initiator: bool,
) -> Result<HandshakeState, TransportError> {
    let failed = |error: snow::Error| refused(pipe, format!("encryption: {error}"));
    let prologue = [&MAGIC[..], &[REVISION], hello].concat();
    let builder = PATTERN.parse().map(Builder::new).map_err(failed)?;
    let builder = builder.prologue(&prologue).and_then(|builder| builder.psk(0, key.bytes()));
    let builder = builder.map_err(failed)?;
    let built = if initiator { builder.build_initiator() } else { builder.build_responder() };
    built.map_err(failed)
}

/// This side's message of the Noise handshake.
fn written(
    pipe: &Pipe,
    state: &mut HandshakeState,
    content: &[u8],
) -> Result<Vec<u8>, TransportError> {
    let mut message = vec![0; MAX_NOISE];
    let length = state.write_message(content, &mut message);
    let length = length.map_err(|error| refused(pipe, format!("encryption: {error}")))?;
    message.truncate(length);
    Ok(message)
}

fn sealed(pipe: Pipe, state: HandshakeState) -> Result<Pipe, TransportError> {
    match state.into_stateless_transport_mode() {
        Ok(keys) => Ok(seal(pipe, keys)),
        Err(error) => Err(refused(&pipe, format!("encryption: {error}"))),
    }
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
    decoded(pipe, &bytes)
}

fn decoded<Message: serde::de::DeserializeOwned>(
    pipe: &Pipe,
    bytes: &[u8],
) -> Result<Message, TransportError> {
    decode(bytes).map_err(|error| {
        refused(pipe, format!("its handshake is {error}: install the same version on both"))
    })
}

fn refused(pipe: &Pipe, why: String) -> TransportError {
    TransportError::Refused { address: pipe.remote.clone(), why }
}

fn closed(pipe: &Pipe, error: &std::io::Error) -> TransportError {
    TransportError::of_pipe(&pipe.remote, error)
}
