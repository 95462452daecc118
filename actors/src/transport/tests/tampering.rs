//! Somebody between two devices that have a key: what is altered, left out, repeated, moved or cut
//! off ends the connection, and only that.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use edgeld_runtime::wire::Purpose;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::lan::{Lan, STRIPS, hello, join, keyed, memory, tcp};
use super::within;
use crate::transport::error::TransportError;
use crate::transport::frame::{FrameError, MAGIC, REVISION};
use crate::transport::key::ClusterKey;
use crate::transport::network::Network;
use crate::transport::pipe::{Accept, BoxFuture, Pipe, Transport};
use crate::transport::security::Security;
use crate::transport::settings::Settings;

/// What becomes of the n-th write of the side that dialled: first its opening, then its
/// confirmation, then one message for each frame.
type Meddling = Box<dyn FnMut(usize, &[u8]) -> Vec<u8> + Send>;

/// A transport with somebody in between.
#[derive(Clone)]
struct Meddler {
    inner: Arc<dyn Transport>,
    meddling: Arc<Mutex<Meddling>>,
}

impl Meddler {
    fn new(
        inner: &Arc<dyn Transport>,
        meddling: impl FnMut(usize, &[u8]) -> Vec<u8> + Send + 'static,
    ) -> Meddler {
        Meddler { inner: inner.clone(), meddling: Arc::new(Mutex::new(Box::new(meddling))) }
    }
}

impl std::fmt::Debug for Meddler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meddler")
    }
}

impl Transport for Meddler {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Accept>>> {
        self.inner.listen(address)
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Pipe>> {
        Box::pin(async move {
            let pipe = self.inner.dial(address).await?;
            let (inner, meddling) = (pipe.writer, self.meddling.clone());
            let writer = Meddled { inner, meddling, writes: 0, passed_on: Vec::new() };
            Ok(Pipe { writer: Box::new(writer), ..pipe })
        })
    }
}

struct Meddled {
    inner: Box<dyn AsyncWrite + Send + Unpin>,
    meddling: Arc<Mutex<Meddling>>,
    writes: usize,
    passed_on: Vec<u8>,
}

impl AsyncWrite for Meddled {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut *this).poll_flush(context))?;
        this.passed_on = this.meddling.lock().unwrap()(this.writes, bytes);
        this.writes += 1;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.passed_on.is_empty() {
            let count = ready!(Pin::new(&mut this.inner).poll_write(context, &this.passed_on))?;
            this.passed_on.drain(..count);
        }
        Pin::new(&mut this.inner).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut *this).poll_flush(context))?;
        Pin::new(&mut this.inner).poll_shutdown(context)
    }
}

/// The write that is meddled with, and the number of the frame in it.
const WRITE: usize = 4;
const FRAME: u8 = 2;

/// Sends six frames past `meddling`; returns how many arrive, and the error that follows. The
/// worker must be there for others afterwards.
async fn six_frames(
    lan: &Lan,
    meddling: impl FnMut(usize, &[u8]) -> Vec<u8> + Send + 'static,
) -> (u8, TransportError) {
    let (_worker, mut listener) = lan.worker().await;
    let leader: Arc<dyn Transport> = Arc::new(Meddler::new(&lan.leader, meddling));
    let leader = lan.start(&leader, hello(2), Settings::default());
    let (dialled, accepted) = join(&leader, &mut listener).await;
    let (sender, _answers) = dialled.split();
    let (_kept, mut receiver) = accepted.split();
    for number in 0..6 {
        // An error means that the receiver has noticed already.
        let _ = sender.send(vec![number], vec![number; 1000]);
    }
    drop(sender);
    let mut arrived = 0;
    let error = loop {
        match receiver.next().await {
            Ok(frame) => {
                assert_eq!((frame.header, frame.payload), (vec![arrived], vec![arrived; 1000]))
            }
            Err(error) => break error,
        }
        arrived += 1;
    };
    join(&lan.leader(), &mut listener).await;
    (arrived, error)
}

fn is_forged(error: &TransportError) -> bool {
    matches!(error, TransportError::Violation { error: FrameError::NotAuthentic, .. })
}

async fn what_is_passed_on_untouched_arrives(lan: Lan) {
    let (arrived, error) = six_frames(&lan, |_, bytes| bytes.to_vec()).await;
    assert_eq!(arrived, 6);
    assert!(error.to_string().contains("the peer closed it"), "{error}");
}

async fn altered_bytes_end_the_connection(lan: Lan) {
    for place in [0, 1, 2, 500, usize::MAX] {
        let (arrived, error) = six_frames(&lan, move |write, bytes| {
            let mut bytes = bytes.to_vec();
            if write == WRITE {
                let place = place.min(bytes.len() - 1);
                bytes[place] ^= 1;
            }
            bytes
        })
        .await;
        assert_eq!(arrived, FRAME);
        assert!(is_forged(&error), "{place}: {error}");
    }
}

async fn a_message_left_out_ends_the_connection(lan: Lan) {
    let left_out = |write, bytes: &[u8]| if write == WRITE { vec![] } else { bytes.to_vec() };
    let (arrived, error) = six_frames(&lan, left_out).await;
    assert_eq!(arrived, FRAME);
    assert!(is_forged(&error), "{error}");
}

async fn a_repeated_message_ends_the_connection(lan: Lan) {
    let repeated = |write, bytes: &[u8]| bytes.repeat(if write == WRITE { 2 } else { 1 });
    let (arrived, error) = six_frames(&lan, repeated).await;
    assert_eq!(arrived, FRAME + 1);
    assert!(is_forged(&error), "{error}");
}

async fn messages_in_another_order_end_the_connection(lan: Lan) {
    let mut held = Vec::new();
    let swapped = move |write, bytes: &[u8]| match write {
        WRITE => {
            held = bytes.to_vec();
            Vec::new()
        }
        _ => [bytes, &std::mem::take(&mut held)].concat(),
    };
    let (arrived, error) = six_frames(&lan, swapped).await;
    assert_eq!(arrived, FRAME);
    assert!(is_forged(&error), "{error}");
}

async fn a_message_cut_short_ends_the_connection(lan: Lan) {
    for kept in [1, 2, 100] {
        let cut = move |write, bytes: &[u8]| match write {
            ..WRITE => bytes.to_vec(),
            WRITE => bytes[..kept].to_vec(),
            _ => Vec::new(),
        };
        let (arrived, error) = six_frames(&lan, cut).await;
        assert_eq!(arrived, FRAME);
        let is_truncated =
            matches!(&error, TransportError::Violation { error: FrameError::Truncated, .. });
        assert!(is_truncated, "{kept}: {error}");
    }
}

async fn a_recorded_connection_cannot_be_replayed(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    let recording = Arc::new(Mutex::new(Vec::new()));
    let tape = recording.clone();
    let record = move |_, bytes: &[u8]| {
        tape.lock().unwrap().extend_from_slice(bytes);
        bytes.to_vec()
    };
    let leader: Arc<dyn Transport> = Arc::new(Meddler::new(&lan.leader, record));
    let leader = lan.start(&leader, hello(2), Settings::default());
    let (dialled, accepted) = join(&leader, &mut listener).await;
    let (sender, _answers) = dialled.split();
    let (_kept, mut receiver) = accepted.split();
    sender.send(vec![1], b"a payload that nobody else may read".to_vec()).unwrap();
    receiver.next().await.unwrap();
    let recording = recording.lock().unwrap().clone();
    let secret = b"a payload that nobody";
    assert!(!recording.windows(secret.len()).any(|window| window == secret));

    let mut replayed = lan.leader.dial(listener.address()).await.unwrap();
    replayed.writer.write_all(&recording).await.unwrap();
    // The worker answers the opening, cannot read the rest, and closes.
    let mut answer = Vec::new();
    let _ = replayed.reader.read_to_end(&mut answer).await;
    assert!(answer.starts_with(&MAGIC), "{answer:?}");
    // The replayed connection would come first.
    let later = lan.start(&lan.leader, hello(9), Settings::default());
    let (_, accepted) = join(&later, &mut listener).await;
    assert_eq!(accepted.peer().node, hello(9).node);
}

/// A device of this cluster with another idea of its security.
fn stranger(lan: &Lan, security: Security) -> Network {
    Network::start(lan.leader.clone(), hello(3), security, Settings::default()).unwrap()
}

async fn another_key_or_none_is_refused_in_words(lan: Lan) {
    let (_worker, mut listener) = lan.worker().await;
    for security in [Security::Keyed(ClusterKey::generate().unwrap()), Security::Insecure] {
        let leader = stranger(&lan, security);
        let error = leader.dial(listener.address(), Purpose::Control).await.unwrap_err();
        assert!(matches!(error, TransportError::Refused { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains("device-1") && error.contains("device-3"), "{error}");
        assert!(error.contains("--key"), "{error}");
    }
    join(&lan.leader(), &mut listener).await;

    // The other way round: a leader with a key, a worker without.
    let keyless = stranger(&lan, Security::Insecure);
    let listener = keyless.listen(lan.at).await.unwrap();
    let error = lan.leader().dial(listener.address(), Purpose::Control).await.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("device-3 has no cluster key"), "{error}");
}

/// Somebody who cannot encrypt pretends that nothing needs to be encrypted.
async fn encryption_cannot_be_talked_away(lan: Lan) {
    let keyless = stranger(&lan, Security::Insecure);
    let mut honest = keyless.listen(lan.at).await.unwrap();
    let recorded = {
        let mut pipe = lan.leader.dial(honest.address()).await.unwrap();
        pipe.writer.write_all(&super::lan::opening(&hello(2))).await.unwrap();
        pipe.writer.shutdown().await.unwrap();
        let connection = honest.accept().await.unwrap();
        drop(connection);
        let mut answer = Vec::new();
        pipe.reader.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer[MAGIC.len()], REVISION);
        answer
    };
    let mut accept = lan.worker.listen(lan.at).await.unwrap();
    let address = accept.address().to_owned();
    let pretend = async {
        let mut pipe = accept.accept().await.unwrap().unwrap();
        pipe.writer.write_all(&recorded).await.unwrap();
        pipe.writer.flush().await.unwrap();
        let mut rest = Vec::new();
        let _ = pipe.reader.read_to_end(&mut rest).await;
    };
    let leader = lan.leader();
    let (dialled, ()) = tokio::join!(leader.dial(&address, STRIPS), pretend);
    let error = dialled.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("no cluster key"), "{error}");
}

macro_rules! over_both {
    ($($name:ident)*) => {
        mod over_tcp {
            $(#[tokio::test]
            async fn $name() {
                super::within(super::$name(super::keyed(super::tcp()))).await;
            })*
        }
        mod in_memory {
            $(#[tokio::test]
            async fn $name() {
                super::within(super::$name(super::keyed(super::memory()))).await;
            })*
        }
    };
}

over_both! {
    what_is_passed_on_untouched_arrives
    altered_bytes_end_the_connection
    a_message_left_out_ends_the_connection
    a_repeated_message_ends_the_connection
    messages_in_another_order_end_the_connection
    a_message_cut_short_ends_the_connection
    a_recorded_connection_cannot_be_replayed
    another_key_or_none_is_refused_in_words
    encryption_cannot_be_talked_away
}
