//! Where a session's weights come from: the leader's own source, or chunks that are fetcher once
//! and kept on disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::weights::WeightSource;
use edgeld_runtime::wire::{WeightsMessage, decode, encode};

use super::chunks::{ChunkStore, StoreWeights};
use crate::transport::{Connection, Receiver, Sender};

/// Chunks, of a megabyte or so, that are asked for and not yet there: enough for any link of a LAN,
/// and few to wait for when a plan is given up.
const WINDOW: usize = 4;

/// How long to wait for the leader to open the connection for weights.
const CONNECT: Duration = Duration::from_secs(8);

/// A session's weights, as a device gets at them.
#[derive(Clone)]
pub(crate) enum SessionWeights {
    /// They are here: this device leads the session.
    Local(Arc<dyn WeightSource>),
    /// They are fetcher from the leader.
    Remote(Arc<ChunkFetcher>),
}

/// Chunks in this device's store, the missing ones from the leader.
pub(crate) struct ChunkFetcher {
    manifest: Arc<Manifest>,
    store: Arc<ChunkStore>,
    link: Mutex<Link>,
    changed: Condvar,
}

#[derive(Default)]
struct Link {
    connection: Option<(Sender, Receiver)>,
    /// The connection that somebody fetches over.
    taken: Option<Sender>,
    /// The session is over: nobody need wait any more.
    closed: bool,
}

impl ChunkFetcher {
    /// For a model; the connection comes later.
    pub(crate) fn new(manifest: Arc<Manifest>, store: Arc<ChunkStore>) -> ChunkFetcher {
        ChunkFetcher { manifest, store, link: Mutex::default(), changed: Condvar::new() }
    }

    /// The model.
    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The leader opened a connection for weights; the newest counts.
    pub(crate) fn connect(&self, connection: Connection) {
        let (sender, receiver) = connection.split();
        let largest = self.manifest.chunks().iter().map(|chunk| chunk.bytes.0).max();
        receiver.limit_payload(largest.unwrap_or(0) as usize);
        self.lock().connection = Some((sender, receiver));
        self.changed.notify_all();
    }

    /// The session is over.
    pub(crate) fn close(&self) {
        let mut link = self.lock();
        link.closed = true;
        link.connection = None;
        if let Some(taken) = link.taken.take() {
            taken.abort("the session is over");
        }
        self.changed.notify_all();
    }

    /// The weights, once [`fetch`](ChunkFetcher::fetch) has brought the chunks.
    pub(crate) fn source(&self) -> StoreWeights {
        StoreWeights::new(self.store.clone(), self.manifest.clone())
    }

    /// Brings the chunks that are missing. `progress` is told the bytes that are here, of those
    /// needed. Blocks; for a thread of its own.
    ///
    /// # Errors
    /// In words: the leader does not send them, or they cannot be stored.
    pub(crate) fn fetch(
        &self,
        chunks: &[u32],
        cancelled: &AtomicBool,
        progress: &dyn Fn(Bytes, Bytes),
    ) -> Result<(), String> {
        let all = self.manifest.chunks();
        let bytes = |index: &u32| all[*index as usize].bytes;
        let need: Bytes = chunks.iter().map(bytes).sum();
        let is_missing = |index: &&u32| !self.store.touch(&all[**index as usize].hash);
        let missing: Vec<u32> = chunks.iter().filter(is_missing).copied().collect();
        let mut have = need.saturating_sub(missing.iter().map(bytes).sum());
        progress(have, need);
        if missing.is_empty() {
            return Ok(());
        }
        let mut link = self.take_link()?;
        let brought = self.fetch_missing(&mut link, &missing, cancelled, &mut |bytes| {
            have += bytes;
            progress(have, need);
        });
        let mut shared = self.lock();
        shared.taken = None;
        // After an error the connection is dropped: who knows what is still to come on it.
        if brought.is_ok() && !shared.closed {
            shared.connection.get_or_insert(link);
            self.changed.notify_all();
        }
        brought
    }

    /// Asks for `missing`, some ahead, until all are stored or nobody wants them any more.
    fn fetch_missing(
        &self,
        (sender, receiver): &mut (Sender, Receiver),
        missing: &[u32],
        cancelled: &AtomicBool,
        stored: &mut dyn FnMut(Bytes),
    ) -> Result<(), String> {
        let ask = |chunks: &[u32]| {
            let message = WeightsMessage::Fetch { chunks: chunks.to_vec() };
            sender.send(encode(&message), Vec::new()).map_err(|error| error.to_string())
        };
        let mut asked = missing.len().min(WINDOW);
        ask(&missing[..asked])?;
        for (done, index) in missing.iter().enumerate() {
            if done == asked {
                break;
            }
            self.receive(receiver, *index)?;
            stored(self.manifest.chunks()[*index as usize].bytes);
            if asked < missing.len() && !cancelled.load(Ordering::Relaxed) {
                ask(&missing[asked..=asked])?;
                asked += 1;
            }
        }
        Ok(())
    }

    fn receive(&self, receiver: &mut Receiver, index: u32) -> Result<(), String> {
        let frame = receiver.blocking_next().map_err(|error| error.to_string())?;
        let message = decode(&frame.header).map_err(|error| error.to_string())?;
        match message {
            WeightsMessage::Chunk { chunk } if chunk == index => {
                let hash = &self.manifest.chunks()[index as usize].hash;
                self.store.write(hash, &frame.payload).map_err(|error| error.to_string())
            }
            WeightsMessage::Unavailable { error, .. } => Err(error),
            _ => Err("the leader sent something else than what it was asked for".to_owned()),
        }
    }

    /// Takes the connection for itself: one fetch at a time.
    fn take_link(&self) -> Result<(Sender, Receiver), String> {
        let link = self.lock();
        let waits = |link: &mut Link| link.connection.is_none() && !link.closed;
        let waited = self.changed.wait_timeout_while(link, CONNECT, waits);
        let (mut link, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let taken = link.connection.take().ok_or("the leader offers no weights")?;
        link.taken = Some(taken.0.clone());
        Ok(taken)
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves chunks on a connection that this device, the leader, has opened; until it ends.
pub(crate) async fn serve_chunks(
    connection: Connection,
    manifest: Arc<Manifest>,
    weights: Arc<dyn WeightSource>,
) {
    let (sender, mut receiver) = connection.split();
    while let Ok(frame) = receiver.next().await {
        let Ok(WeightsMessage::Fetch { chunks }) = decode(&frame.header) else {
            return sender.abort("not a request for weights");
        };
        for chunk in chunks {
            let (manifest, weights) = (manifest.clone(), weights.clone());
            let read = tokio::task::spawn_blocking(move || manifest.read(chunk, &*weights)).await;
            let (message, payload) = match read {
                Ok(Ok(bytes)) => (WeightsMessage::Chunk { chunk }, bytes),
                Ok(Err(error)) => {
                    (WeightsMessage::Unavailable { chunk, error: error.to_string() }, Vec::new())
                }
                Err(error) => {
                    (WeightsMessage::Unavailable { chunk, error: error.to_string() }, Vec::new())
                }
            };
            let sent = sender.send(encode(&message), payload);
            if sent.is_err() || sender.backlog_below(AHEAD).await.is_err() {
                return;
            }
        }
    }
}

/// Bytes of chunks that may wait to be sent to one device.
const AHEAD: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use edgeld_runtime::kernel::Isa;
    use edgeld_runtime::models::Vgg;
    use edgeld_runtime::wire::{Hello, NodeId, PROTOCOL, Purpose, SessionId};

    use super::*;
    use crate::transport::{Network, Settings, Switchboard};

    fn device(switchboard: &Switchboard, name: &str, node: u128) -> Network {
        let me = Hello {
            protocol: PROTOCOL,
            build: "test".to_owned(),
            node: NodeId(node),
            name: name.to_owned(),
            cluster: "test".to_owned(),
            isa: Isa::Plain,
            threads: 1,
            memory: 0,
            purpose: Purpose::Control,
        };
        Network::start(Arc::new(switchboard.plug(name)), me, Settings::default()).unwrap()
    }

    #[tokio::test]
    async fn the_end_of_a_session_ends_a_fetch_under_way() {
        let switchboard = Switchboard::default();
        let (worker, leader) = (device(&switchboard, "w", 1), device(&switchboard, "l", 2));
        let mut listener = worker.listen("w:0").await.unwrap();
        let address = listener.address().to_owned();
        let dialled = leader.dial(&address, Purpose::Weights(SessionId(1)));
        let (dialled, accepted) = tokio::join!(dialled, listener.accept());

        let model = Vgg::new(11).unwrap().size(32).classes(3).model().unwrap();
        let manifest = Manifest::build(&model.graph, &*model.weights, &mut |_, _| ()).unwrap();
        let all: Vec<u32> = (0..manifest.chunks().len() as u32).collect();
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(ChunkStore::open(folder.path(), None).unwrap());
        let fetcher = Arc::new(ChunkFetcher::new(Arc::new(manifest), store));
        fetcher.connect(accepted.unwrap());
        let fetch = {
            let fetcher = fetcher.clone();
            move || fetcher.fetch(&all, &AtomicBool::new(false), &|_, _| ())
        };
        let fetching = tokio::task::spawn_blocking(fetch);

        // The leader is asked, and says nothing.
        let (_sender, mut receiver) = dialled.unwrap().split();
        let asked = decode(&receiver.next().await.unwrap().header).unwrap();
        let WeightsMessage::Fetch { chunks } = asked else { panic!("{asked:?}") };
        assert_eq!(chunks.len(), WINDOW);
        fetcher.close();
        assert!(fetching.await.unwrap().is_err());
    }
}
