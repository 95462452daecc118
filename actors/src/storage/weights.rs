//! Where a session's weights come from: the leader's own source, or chunks that are fetched once
//! and kept on disk.
//!
//! Whoever has a chunk may send it: the leader, which has all, and the other devices of the plan. All
//! of them are asked at once, each for the next chunk in the list, so a fast one sends more. What a
//! device turns out not to have is left to the leader. If three devices hold a model and a fourth joins,
//! the leader sends about a quarter of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::weights::WeightSource;
use edgeld_runtime::wire::{WeightsMessage, decode, encode};

use super::chunks::{ChunkStore, StoreWeights};
use crate::transport::{Connection, Receiver, Sender};

/// Chunks (about a megabyte each) requested ahead of each supplier: enough to fill any LAN link, and
/// few enough to wait for when a plan is cancelled.
const WINDOW: usize = 4;

/// How long to wait for the leader to open the connection for weights.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// How soon a fetch that waits for the connection notices that it was cancelled.
const CANCEL_CHECK: Duration = Duration::from_millis(100);

/// Where a device gets a session's weights.
#[derive(Clone)]
pub(crate) enum SessionWeights {
    /// Local: this device leads the session.
    Local(Arc<dyn WeightSource>),
    /// Fetched from the leader and other devices.
    Remote(Arc<ChunkFetcher>),
}

/// Fetches the chunks missing in this device's store.
pub(crate) struct ChunkFetcher {
    manifest: Arc<Manifest>,
    store: Arc<ChunkStore>,
    shared: Mutex<Shared>,
    changed: Condvar,
}

#[derive(Default)]
struct Shared {
    /// The leader's connection, while no fetch uses it.
    leader: Option<Supplier>,
    /// The connections in use by a fetch.
    in_use: Vec<Sender>,
    /// The session has ended.
    closed: bool,
}

/// A connection to a device that sends chunks.
struct Supplier {
    sender: Sender,
    receiver: Receiver,
}

/// Chunks that a supplier did not send, and why.
struct Undelivered {
    chunks: Vec<u32>,
    error: String,
    /// Whether the connection is of no more use.
    broken: bool,
}

/// What a supplier answered to a request.
enum Answer {
    Stored,
    /// It does not have the chunk.
    Unavailable(String),
}

/// One fetch: chunks to request next, shared by all suppliers.
struct Fetch<'a> {
    waiting: Mutex<VecDeque<u32>>,
    cancelled: &'a AtomicBool,
    /// Called with the bytes of every chunk that has been stored.
    stored: &'a (dyn Fn(Bytes) + Sync),
}

impl<'a> Fetch<'a> {
    fn new(
        chunks: impl IntoIterator<Item = u32>,
        cancelled: &'a AtomicBool,
        stored: &'a (dyn Fn(Bytes) + Sync),
    ) -> Fetch<'a> {
        Fetch { waiting: Mutex::new(chunks.into_iter().collect()), cancelled, stored }
    }

    /// The next chunk to request; none once the fetch is cancelled.
    fn next(&self) -> Option<u32> {
        // The queue is always consistent, so poisoning can be ignored.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front().filter(|_| !self.cancelled.load(Ordering::Relaxed))
    }
}

impl ChunkFetcher {
    /// A fetcher for a model, not yet connected.
    pub(crate) fn new(manifest: Arc<Manifest>, store: Arc<ChunkStore>) -> ChunkFetcher {
        ChunkFetcher { manifest, store, shared: Mutex::default(), changed: Condvar::new() }
    }

    /// The model's manifest.
    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The store that chunks are fetched into.
    pub(crate) fn store(&self) -> &Arc<ChunkStore> {
        &self.store
    }

    /// Uses this connection, opened by the leader, from now on.
    pub(crate) fn connect(&self, connection: Connection) {
        self.lock().leader = Some(self.supplier(connection));
        self.changed.notify_all();
    }

    /// Ends any fetch; the session has ended.
    pub(crate) fn close(&self) {
        let mut shared = self.lock();
        shared.closed = true;
        shared.leader = None;
        for sender in shared.in_use.drain(..) {
            sender.abort("the session has ended");
        }
        self.changed.notify_all();
    }

    /// The weights, after [`fetch`](ChunkFetcher::fetch) has stored their chunks.
    pub(crate) fn source(&self) -> StoreWeights {
        StoreWeights::new(self.store.clone(), self.manifest.clone())
    }

    /// Those of `chunks` that are not in the store. Marks the others as used.
    pub(crate) fn missing(&self, chunks: &[u32]) -> Vec<u32> {
        let all = self.manifest.chunks();
        let is_missing = |index: &u32| {
            let chunk = &all[*index as usize];
            !self.store.touch(&chunk.hash, chunk.bytes)
        };
        chunks.iter().copied().filter(is_missing).collect()
    }

    /// Removes those of `chunks` from the store that are damaged; says whether any are missing now.
    pub(crate) fn remove_damaged(&self, chunks: &[u32]) -> bool {
        let all = self.manifest.chunks();
        let damaged =
            chunks.iter().filter(|index| self.store.read(&all[**index as usize].hash).is_none());
        damaged.count() > 0
    }

    /// Fetches the missing ones of `chunks` from the leader and from `peers`, which are connected only
    /// if any are missing. Calls `progress` with the bytes present and the bytes needed. Blocks until
    /// done.
    ///
    /// # Errors
    /// When the leader does not send what nobody else has, or chunks cannot be stored.
    pub(crate) fn fetch(
        &self,
        chunks: &[u32],
        peers: &dyn Fn() -> Vec<Connection>,
        cancelled: &AtomicBool,
        progress: &(dyn Fn(Bytes, Bytes) + Sync),
    ) -> Result<(), String> {
        let all = self.manifest.chunks();
        let bytes = |index: &u32| all[*index as usize].bytes;
        let need: Bytes = chunks.iter().map(bytes).sum();
        let missing = self.missing(chunks);
        let have = need.saturating_sub(missing.iter().map(bytes).sum());
        progress(have, need);
        if missing.is_empty() {
            return Ok(());
        }
        let peers = peers().into_iter().map(|connection| self.supplier(connection)).collect();
        let mut leader = self.take_leader(cancelled)?;
        let have = Mutex::new(have);
        let stored = |bytes| {
            // A sum is always consistent, so poisoning can be ignored.
            let mut have = have.lock().unwrap_or_else(PoisonError::into_inner);
            *have += bytes;
            progress(*have, need);
        };
        let fetched = self.fetch_missing(&mut leader, peers, missing, cancelled, &stored);
        let mut shared = self.lock();
        shared.in_use.clear();
        // After an error, answers may still be under way: drop the connection.
        if fetched.is_ok() && !shared.closed {
            shared.leader.get_or_insert(leader);
            self.changed.notify_all();
        }
        fetched
    }

    /// Fetches the missing ones of `chunks` without haste, one at a time: of the peer that had the last
    /// one, else of another, else of the leader. Calls `rest` after each with the time that it took.
    ///
    /// # Errors
    /// As [`fetch`](ChunkFetcher::fetch), and when it was cancelled.
    pub(crate) fn fetch_one_by_one(
        &self,
        chunks: &[u32],
        peers: &dyn Fn() -> Vec<Connection>,
        cancelled: &AtomicBool,
        rest: &dyn Fn(Duration),
    ) -> Result<(), String> {
        let missing = self.missing(chunks);
        if missing.is_empty() {
            return Ok(());
        }
        let mut peers: VecDeque<Supplier> =
            peers().into_iter().map(|connection| self.supplier(connection)).collect();
        for chunk in missing {
            let begun = Instant::now();
            if !self.receive_of_any(&mut peers, chunk, cancelled) {
                self.fetch(&[chunk], &Vec::new, cancelled, &|_, _| ())?;
            }
            rest(begun.elapsed());
            if cancelled.load(Ordering::Relaxed) || self.lock().closed {
                return Err("it is no longer wanted".to_owned());
            }
        }
        Ok(())
    }

    /// Asks peers for a chunk until one has sent it. That one is asked first next time; one whose
    /// connection ends is not asked again.
    fn receive_of_any(
        &self,
        peers: &mut VecDeque<Supplier>,
        chunk: u32,
        cancelled: &AtomicBool,
    ) -> bool {
        for _ in 0..peers.len() {
            let Some(mut peer) = peers.pop_front() else { break };
            match self.receive_all(&mut peer, &Fetch::new([chunk], cancelled, &|_| ())) {
                Ok(()) if !cancelled.load(Ordering::Relaxed) => {
                    peers.push_front(peer);
                    return true;
                }
                Ok(()) => return false,
                Err(Undelivered { broken: false, .. }) => peers.push_back(peer),
                Err(_) => {}
            }
        }
        false
    }

    /// Requests `missing` of all suppliers until they are stored or the fetch is cancelled; then the
    /// leader for what the others did not deliver.
    fn fetch_missing(
        &self,
        leader: &mut Supplier,
        mut peers: Vec<Supplier>,
        missing: Vec<u32>,
        cancelled: &AtomicBool,
        stored: &(dyn Fn(Bytes) + Sync),
    ) -> Result<(), String> {
        {
            let mut shared = self.lock();
            if shared.closed {
                return Err("the session has ended".to_owned());
            }
            shared.in_use.extend(peers.iter().map(|peer| peer.sender.clone()));
        }
        let fetch = Fetch::new(missing, cancelled, stored);
        let (by_leader, by_peers) = thread::scope(|scope| {
            let fetch = &fetch;
            let receive = |peer| scope.spawn(move || self.receive_all(peer, fetch));
            let running: Vec<_> = peers.iter_mut().map(receive).collect();
            let by_leader = self.receive_all(leader, fetch);
            // A thread that panicked delivered nothing more; packing will miss its chunks.
            let by_peers: Vec<_> =
                running.into_iter().filter_map(|peer| peer.join().ok()?.err()).collect();
            (by_leader, by_peers)
        });
        by_leader.map_err(|undelivered| undelivered.error)?;
        if by_peers.is_empty() {
            return Ok(());
        }
        let undelivered = by_peers.into_iter().flat_map(|undelivered| undelivered.chunks);
        let fetch = Fetch::new(undelivered, cancelled, stored);
        self.receive_all(leader, &fetch).map_err(|undelivered| undelivered.error)
    }

    /// Requests chunks of one supplier, some ahead, and stores them, until none wait. Goes on after a
    /// chunk that is unavailable, but not after another error.
    fn receive_all(&self, supplier: &mut Supplier, fetch: &Fetch) -> Result<(), Undelivered> {
        let Supplier { sender, receiver } = supplier;
        let mut requested = VecDeque::new();
        let mut unavailable: Option<Undelivered> = None;
        loop {
            while requested.len() < WINDOW
                && let Some(chunk) = fetch.next()
            {
                requested.push_back(chunk);
                let message = WeightsMessage::Fetch { chunks: vec![chunk] };
                // If the connection has ended, the next answer is an error.
                let _ = sender.send(encode(&message), Vec::new());
            }
            let Some(chunk) = requested.front().copied() else {
                return unavailable.map_or(Ok(()), Err);
            };
            match self.receive(receiver, chunk) {
                Ok(Answer::Stored) => {
                    (fetch.stored)(self.manifest.chunks()[chunk as usize].bytes);
                }
                Ok(Answer::Unavailable(error)) => {
                    let none = Undelivered { chunks: Vec::new(), error, broken: false };
                    unavailable.get_or_insert(none).chunks.push(chunk);
                }
                Err(error) => {
                    let before = unavailable.map_or_else(Vec::new, |before| before.chunks);
                    let chunks = before.into_iter().chain(requested).collect();
                    return Err(Undelivered { chunks, error, broken: true });
                }
            }
            requested.pop_front();
        }
    }

    fn receive(&self, receiver: &mut Receiver, index: u32) -> Result<Answer, String> {
        let frame = receiver.blocking_next().map_err(|error| error.to_string())?;
        let message = decode(&frame.header).map_err(|error| error.to_string())?;
        match message {
            WeightsMessage::Chunk { chunk } if chunk == index => {
                let hash = &self.manifest.chunks()[index as usize].hash;
                let written = self.store.write(hash, &frame.payload);
                written.map(|()| Answer::Stored).map_err(|error| error.to_string())
            }
            WeightsMessage::Unavailable { chunk, error } if chunk == index => {
                Ok(Answer::Unavailable(error))
            }
            _ => Err("it sent something other than the requested chunk".to_owned()),
        }
    }

    /// Takes the leader's connection, waiting for it if need be: one fetch runs at a time.
    fn take_leader(&self, cancelled: &AtomicBool) -> Result<Supplier, String> {
        let mut shared = self.lock();
        let begun = Instant::now();
        let is_over = || cancelled.load(Ordering::Relaxed) || begun.elapsed() >= CONNECT_TIMEOUT;
        while shared.leader.is_none() && !shared.closed && !is_over() {
            let waited = self.changed.wait_timeout(shared, CANCEL_CHECK);
            shared = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let leader = shared.leader.take().ok_or("no connection for weights from the leader")?;
        shared.in_use.push(leader.sender.clone());
        Ok(leader)
    }

    fn supplier(&self, connection: Connection) -> Supplier {
        let (sender, receiver) = connection.split();
        let largest = self.manifest.chunks().iter().map(|chunk| chunk.bytes.0).max();
        receiver.limit_payload(largest.unwrap_or(0) as usize);
        Supplier { sender, receiver }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use edgeld_runtime::wire::{WeightsMessage, decode};
    use tokio::sync::watch;

    use super::*;
    use crate::storage::testing::Lan;

    #[tokio::test]
    async fn closing_a_session_ends_a_running_fetch() {
        let mut lan = Lan::new().await;
        let (connection, leader, _network) = lan.connect("leader", 2).await;
        lan.fetcher.connect(connection);
        let fetcher = lan.fetcher.clone();
        let unanswered = async {
            // The leader gets the requests and does not answer.
            let (_sender, mut receiver) = leader.split();
            let mut requested = Vec::new();
            while requested.len() < WINDOW {
                let request = decode(&receiver.next().await.unwrap().header).unwrap();
                let WeightsMessage::Fetch { chunks } = request else { panic!("{request:?}") };
                requested.extend(chunks);
            }
            fetcher.close();
        };
        let (fetched, ()) = tokio::join!(lan.fetch(Vec::new(), watch::Sender::new(0)), unanswered);
        assert!(fetched.is_err());
    }

    #[tokio::test]
    async fn what_is_damaged_on_disk_is_fetched_again() {
        let mut lan = Lan::new().await;
        let (connection, leader, _network) = lan.connect("leader", 2).await;
        lan.fetcher.connect(connection);
        tokio::spawn(lan.model().serve(leader));
        let chunks = lan.chunks();
        lan.fetch(Vec::new(), watch::Sender::new(0)).await.unwrap();
        assert!(!lan.fetcher.remove_damaged(&chunks));
        lan.damage(chunks[1]);
        assert!(lan.fetcher.missing(&chunks).is_empty(), "as long as it was");
        assert!(lan.fetcher.remove_damaged(&chunks));
        assert_eq!(lan.fetcher.missing(&chunks), [chunks[1]]);
        lan.fetch(Vec::new(), watch::Sender::new(0)).await.unwrap();
        assert!(!lan.fetcher.remove_damaged(&chunks));
    }

    #[tokio::test]
    async fn another_device_sends_what_the_leader_is_not_asked_for() {
        let mut lan = Lan::new().await;
        let (connection, leader, _leader) = lan.connect("leader", 2).await;
        lan.fetcher.connect(connection);
        let (from_peer, peer, _peer) = lan.connect("peer", 3).await;
        tokio::spawn(lan.disk(lan.chunks().into_iter()).serve(peer));
        // The leader answers nothing before all is there that it was not asked for in advance.
        let (count, mut counted) = watch::channel(0);
        let (supply, total) = (lan.model(), lan.chunks().len());
        tokio::spawn(async move {
            counted.wait_for(|count| *count == 1 + total - WINDOW).await.unwrap();
            supply.serve(leader).await;
        });
        lan.fetch(vec![from_peer], count).await.unwrap();
        assert!(lan.fetcher.missing(&lan.chunks()).is_empty());
    }

    #[tokio::test]
    async fn the_leader_sends_what_others_do_not_have_or_do_not_send() {
        let mut lan = Lan::new().await;
        let (connection, leader, _leader) = lan.connect("leader", 2).await;
        lan.fetcher.connect(connection);
        tokio::spawn(lan.model().serve(leader));
        let (from_half, half, _half) = lan.connect("half", 3).await;
        tokio::spawn(lan.disk(lan.chunks().into_iter().step_by(2)).serve(half));
        let (from_dead, dead, _dead) = lan.connect("dead", 4).await;
        tokio::spawn(async move {
            let (sender, mut receiver) = dead.split();
            receiver.next().await.unwrap();
            sender.abort("it dies");
        });
        lan.fetch(vec![from_half, from_dead], watch::Sender::new(0)).await.unwrap();
        assert!(lan.fetcher.missing(&lan.chunks()).is_empty());
    }
}
