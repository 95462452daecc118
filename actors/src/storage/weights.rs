//! Where a session's weights come from: the leader's own source, or chunks that are fetched once
//! and kept on disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::weights::WeightSource;
use edgeld_runtime::wire::{WeightsMessage, decode, encode};

use super::chunks::{ChunkStore, StoreWeights};
use crate::transport::{Connection, Receiver, Sender};

/// Chunks (about a megabyte each) requested ahead: enough to fill any LAN link, and few enough to
/// wait for when a plan is cancelled.
const WINDOW: usize = 4;

/// How long to wait for the leader to open the connection for weights.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// How soon a fetch that waits for the connection notices that it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(100);

/// Bytes of chunks queued for one device at a time.
const MAX_BACKLOG: usize = 4 << 20;

/// Where a device gets a session's weights.
#[derive(Clone)]
pub(crate) enum SessionWeights {
    /// Local: this device leads the session.
    Local(Arc<dyn WeightSource>),
    /// Fetched from the leader.
    Remote(Arc<ChunkFetcher>),
}

/// Fetches the chunks missing in this device's store from the leader.
pub(crate) struct ChunkFetcher {
    manifest: Arc<Manifest>,
    store: Arc<ChunkStore>,
    link: Mutex<Link>,
    changed: Condvar,
}

#[derive(Default)]
struct Link {
    connection: Option<(Sender, Receiver)>,
    /// The connection in use by a fetch.
    in_use: Option<Sender>,
    /// The session has ended.
    closed: bool,
}

impl ChunkFetcher {
    /// A fetcher for a model, not yet connected.
    pub(crate) fn new(manifest: Arc<Manifest>, store: Arc<ChunkStore>) -> ChunkFetcher {
        ChunkFetcher { manifest, store, link: Mutex::default(), changed: Condvar::new() }
    }

    /// The model's manifest.
    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Uses this connection, opened by the leader, from now on.
    pub(crate) fn connect(&self, connection: Connection) {
        let (sender, receiver) = connection.split();
        let largest = self.manifest.chunks().iter().map(|chunk| chunk.bytes.0).max();
        receiver.limit_payload(largest.unwrap_or(0) as usize);
        self.lock().connection = Some((sender, receiver));
        self.changed.notify_all();
    }

    /// Ends any fetch; the session has ended.
    pub(crate) fn close(&self) {
        let mut link = self.lock();
        link.closed = true;
        link.connection = None;
        if let Some(sender) = link.in_use.take() {
            sender.abort("the session has ended");
        }
        self.changed.notify_all();
    }

    /// The weights, after [`fetch`](ChunkFetcher::fetch) has stored their chunks.
    pub(crate) fn source(&self) -> StoreWeights {
        StoreWeights::new(self.store.clone(), self.manifest.clone())
    }

    /// Fetches the missing ones of `chunks`. Calls `progress` with the bytes present and the bytes
    /// needed. Blocks until done.
    ///
    /// # Errors
    /// When the leader does not send them or they cannot be stored.
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
        let mut link = self.take_link(cancelled)?;
        let fetched = self.fetch_missing(&mut link, &missing, cancelled, &mut |bytes| {
            have += bytes;
            progress(have, need);
        });
        let mut shared = self.lock();
        shared.in_use = None;
        // After an error, answers may still be under way: drop the connection.
        if fetched.is_ok() && !shared.closed {
            shared.connection.get_or_insert(link);
            self.changed.notify_all();
        }
        fetched
    }

    /// Requests `missing`, some ahead, until all are stored or the fetch is cancelled.
    fn fetch_missing(
        &self,
        (sender, receiver): &mut (Sender, Receiver),
        missing: &[u32],
        cancelled: &AtomicBool,
        stored: &mut dyn FnMut(Bytes),
    ) -> Result<(), String> {
        let request = |chunks: &[u32]| {
            let message = WeightsMessage::Fetch { chunks: chunks.to_vec() };
            sender.send(encode(&message), Vec::new()).map_err(|error| error.to_string())
        };
        let mut requested = missing.len().min(WINDOW);
        request(&missing[..requested])?;
        for (done, index) in missing.iter().enumerate() {
            if done == requested {
                break;
            }
            self.receive(receiver, *index)?;
            stored(self.manifest.chunks()[*index as usize].bytes);
            if requested < missing.len() && !cancelled.load(Ordering::Relaxed) {
                request(&missing[requested..=requested])?;
                requested += 1;
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
            _ => Err("the leader sent something other than the requested chunk".to_owned()),
        }
    }

    /// Takes the connection, waiting for it if need be: one fetch runs at a time.
    fn take_link(&self, cancelled: &AtomicBool) -> Result<(Sender, Receiver), String> {
        let mut link = self.lock();
        let begun = Instant::now();
        let is_over = || cancelled.load(Ordering::Relaxed) || begun.elapsed() >= CONNECT_TIMEOUT;
        while link.connection.is_none() && !link.closed && !is_over() {
            let waited = self.changed.wait_timeout(link, CANCEL_CHECK);
            link = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let connection =
            link.connection.take().ok_or("no connection for weights from the leader")?;
        link.in_use = Some(connection.0.clone());
        Ok(connection)
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves chunks, on the leader, over a connection to a worker until it ends.
pub(crate) async fn serve_chunks(
    connection: Connection,
    manifest: Arc<Manifest>,
    weights: Arc<dyn WeightSource>,
) {
    let (sender, mut receiver) = connection.split();
    while let Ok(frame) = receiver.next().await {
        let Ok(WeightsMessage::Fetch { chunks }) = decode(&frame.header) else {
            return sender.abort("expected a request for chunks");
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
            if sent.is_err() || sender.backlog_below(MAX_BACKLOG).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use edgeld_runtime::kernel::Isa;
    use edgeld_runtime::models::Vgg;
    use edgeld_runtime::wire::{Hello, Incarnation, NodeId, PROTOCOL, Purpose, SessionId};

    use super::*;
    use crate::transport::{Network, Security, Settings, Switchboard};

    fn device(switchboard: &Switchboard, name: &str, node: u128) -> Network {
        let me = Hello {
            protocol: PROTOCOL,
            build: "test".to_owned(),
            node: NodeId(node),
            incarnation: Incarnation::default(),
            name: name.to_owned(),
            cluster: "test".to_owned(),
            isa: Isa::Plain,
            threads: 1,
            memory: 0,
            purpose: Purpose::Control,
        };
        Network::start(Arc::new(switchboard.plug(name)), me, Security::Local, Settings::default())
            .unwrap()
    }

    #[tokio::test]
    async fn closing_a_session_ends_a_running_fetch() {
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

        // The leader gets the request and does not answer.
        let (_sender, mut receiver) = dialled.unwrap().split();
        let request = decode(&receiver.next().await.unwrap().header).unwrap();
        let WeightsMessage::Fetch { chunks } = request else { panic!("{request:?}") };
        assert_eq!(chunks.len(), WINDOW);
        fetcher.close();
        assert!(fetching.await.unwrap().is_err());
    }
}
