//! The messages of both sides.

use snow::{Builder, HandshakeState};
use spake2::{Ed25519Group, Identity, Password, Spake2};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::code::Code;
use super::error::PairError;
use crate::transport::ClusterKey;

/// What the new device says first; the digit is the version.
const MAGIC: &[u8; 12] = b"EDGELD PAIR1";

/// The Noise pattern, with the secret of SPAKE2 as its key.
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s";

/// A message of SPAKE2.
const ELEMENT: usize = 33;

/// The longest message of Noise that is read: names are short.
const LONGEST: usize = 1024;

/// The longest name that is sent.
const NAME: usize = 255;

/// What the new device gets.
pub(super) struct Gift {
    pub(super) cluster: String,
    pub(super) key: ClusterKey,
}

/// What the device with the key saw.
pub(super) enum Seen {
    /// The right code, and the name of the device.
    Right(String),
    Wrong,
}

/// The new device's side.
pub(super) async fn ask<S>(mut stream: S, code: &Code, name: &str) -> Result<Gift, PairError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (state, own) = spake(code, Side::New);
    stream.write_all(&[&MAGIC[..], &own].concat()).await?;
    let mut theirs = [0; ELEMENT];
    stream.read_exact(&mut theirs).await.map_err(|_| {
        PairError::Other("it closed the connection: does it still show a code?".to_owned())
    })?;
    let mut noise = noise(state, &theirs, Side::New)?;
    send(&mut stream, &mut noise, &truncated(name)).await?;
    // Who cannot open the first message closes the connection.
    let gift = receive(&mut stream, &mut noise).await.map_err(|_| PairError::WrongCode)?;
    let (key, cluster) = gift.split_first_chunk::<32>().ok_or(PairError::WrongCode)?;
    let cluster = String::from_utf8_lossy(cluster).into_owned();
    Ok(Gift { cluster, key: ClusterKey::of(*key) })
}

/// The side of the device with the key.
///
/// # Errors
/// When the other side is something else or goes away: that is no guess.
pub(super) async fn answer<S>(mut stream: S, code: &Code, gift: &Gift) -> Result<Seen, PairError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut opening = [0; MAGIC.len() + ELEMENT];
    stream.read_exact(&mut opening).await?;
    let (magic, theirs) = opening.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(PairError::Other("it speaks something else".to_owned()));
    }
    let (state, own) = spake(code, Side::Host);
    let mut noise = noise(state, theirs, Side::Host)?;
    stream.write_all(&own).await?;
    let name = match receive(&mut stream, &mut noise).await {
        Ok(name) => name,
        Err(PairError::WrongCode) => return Ok(Seen::Wrong),
        Err(error) => return Err(error),
    };
    let content = [&gift.key.bytes()[..], &truncated(&gift.cluster)].concat();
    send(&mut stream, &mut noise, &content).await?;
    Ok(Seen::Right(String::from_utf8_lossy(&name).into_owned()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    New,
    Host,
}

fn spake(code: &Code, side: Side) -> (Spake2<Ed25519Group>, Vec<u8>) {
    let password = Password::new(code.digits());
    let (new, host) = (Identity::new(b"edgeld new"), Identity::new(b"edgeld host"));
    match side {
        Side::New => Spake2::start_a(&password, &new, &host),
        Side::Host => Spake2::start_b(&password, &new, &host),
    }
}

fn noise(
    state: Spake2<Ed25519Group>,
    theirs: &[u8],
    side: Side,
) -> Result<HandshakeState, PairError> {
    let malformed = |_| PairError::Other("its first message makes no sense".to_owned());
    let secret = state.finish(theirs).map_err(malformed)?;
    let failed = |error: snow::Error| PairError::Failed(error.to_string());
    // SPAKE2's hash has as many bytes as Noise wants.
    let secret: &[u8; 32] = secret[..]
        .try_into()
        .map_err(|_| PairError::Failed("the secret has another length".to_owned()))?;
    let builder = PATTERN.parse().map(Builder::new).map_err(failed)?;
    let builder = builder.prologue(MAGIC).and_then(|builder| builder.psk(0, secret));
    let builder = builder.map_err(failed)?;
    match side {
        Side::New => builder.build_initiator(),
        Side::Host => builder.build_responder(),
    }
    .map_err(failed)
}

async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    noise: &mut HandshakeState,
    content: &[u8],
) -> Result<(), PairError> {
    let mut message = vec![0; LONGEST];
    let length = noise.write_message(content, &mut message);
    let length = length.map_err(|error| PairError::Failed(error.to_string()))?;
    // At most LONGEST.
    stream.write_u16(length as u16).await?;
    stream.write_all(&message[..length]).await?;
    Ok(stream.flush().await?)
}

/// # Errors
/// [`PairError::WrongCode`] if the message does not open.
async fn receive<S: AsyncRead + Unpin>(
    stream: &mut S,
    noise: &mut HandshakeState,
) -> Result<Vec<u8>, PairError> {
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST {
        return Err(PairError::Other(format!("a message of {length} bytes")));
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    let mut content = vec![0; LONGEST];
    let length = noise.read_message(&message, &mut content).map_err(|_| PairError::WrongCode)?;
    content.truncate(length);
    Ok(content)
}

fn truncated(name: &str) -> Vec<u8> {
    let end = name.floor_char_boundary(NAME.min(name.len()));
    name.as_bytes()[..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    fn gift() -> Gift {
        Gift { cluster: "home".to_owned(), key: ClusterKey::of([7; 32]) }
    }

    async fn pair(shown: &str, typed: &str) -> (Result<Gift, PairError>, Result<Seen, PairError>) {
        let (new, host) = duplex(4096);
        let (shown, typed) = (shown.parse().unwrap(), typed.parse().unwrap());
        let gift = gift();
        // The host's end closes when it is done.
        let answered = async { answer(host, &shown, &gift).await };
        tokio::join!(ask(new, &typed, "attic"), answered)
    }

    #[tokio::test]
    async fn the_right_code_brings_the_key() {
        let (got, seen) = pair("004-217", "004217").await;
        let got = got.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((got.key.bytes(), &got.cluster[..]), (&[7; 32], "home"));
        assert!(matches!(seen, Ok(Seen::Right(name)) if name == "attic"));
    }

    #[tokio::test]
    async fn a_wrong_code_brings_nothing() {
        let (got, seen) = pair("004-217", "004-218").await;
        assert!(matches!(got, Err(PairError::WrongCode)));
        assert!(matches!(seen, Ok(Seen::Wrong)));
    }

    #[tokio::test]
    async fn noise_from_outside_is_no_guess() {
        for bytes in
            [&b""[..], b"GET / HTTP/1.1\r\n\r\n", &[0xff; 200], &[&MAGIC[..], &[9; 40]].concat()]
        {
            let (mut other, host) = duplex(4096);
            other.write_all(bytes).await.unwrap();
            drop(other);
            let seen = answer(host, &"004-217".parse().unwrap(), &gift()).await;
            assert!(seen.is_err());
        }
    }
}
