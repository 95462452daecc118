//! A worker, other devices and the chunks that travel between them, within this process.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeld_runtime::graph::Graph;
use edgeld_runtime::kernel::Isa;
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::models::{Model, Vgg};
use edgeld_runtime::wire::{Hello, Incarnation, NodeId, PROTOCOL, Purpose, SessionId};
use tokio::sync::watch;
use tokio::time::timeout;

use super::chunks::ChunkStore;
use super::supply::Supply;
use super::weights::ChunkFetcher;
use crate::transport::{Connection, Listener, Network, Security, Settings, Switchboard};

/// How long a fetch may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(60);

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

/// A worker without chunks, other devices, and how they reach each other.
pub(crate) struct Lan {
    pub(crate) fetcher: Arc<ChunkFetcher>,
    model: Model,
    /// Its listener ends with it.
    _worker: Network,
    listener: Listener,
    switchboard: Switchboard,
    folder: tempfile::TempDir,
}

impl Lan {
    pub(crate) async fn new() -> Lan {
        let switchboard = Switchboard::default();
        let worker = device(&switchboard, "worker", 1);
        let listener = worker.listen("worker:0").await.unwrap();
        let model = Vgg::new(11).unwrap().size(32).classes(3).model().unwrap();
        let manifest = Manifest::build(&model.graph, &*model.weights, &mut |_, _| ()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(ChunkStore::open(folder.path(), None).unwrap());
        let fetcher = Arc::new(ChunkFetcher::new(Arc::new(manifest), store));
        Lan { fetcher, model, _worker: worker, listener, switchboard, folder }
    }

    /// A connection between the worker and another device: the worker's end and the other's.
    pub(crate) async fn connect(
        &mut self,
        name: &str,
        node: u128,
    ) -> (Connection, Connection, Network) {
        let other = device(&self.switchboard, name, node);
        let address = self.listener.address().to_owned();
        let dialled = other.dial(&address, Purpose::Weights(SessionId(1)));
        let (dialled, accepted) = tokio::join!(dialled, self.listener.accept());
        (accepted.unwrap(), dialled.unwrap(), other)
    }

    pub(crate) fn graph(&self) -> Arc<Graph> {
        self.model.graph.clone()
    }

    pub(crate) fn chunks(&self) -> Vec<u32> {
        (0..self.fetcher.manifest().chunks().len() as u32).collect()
    }

    /// Flips a bit of a chunk on the worker's disk.
    pub(crate) fn damage(&self, chunk: u32) {
        let path =
            self.fetcher.store().path(&self.fetcher.manifest().chunks()[chunk as usize].hash);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[0] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }

    /// All chunks of the model.
    pub(crate) fn model(&self) -> Supply {
        Supply::Model(self.fetcher.manifest().clone(), self.model.weights.clone())
    }

    /// Another device's disk, with these chunks.
    pub(crate) fn disk(&self, chunks: impl Iterator<Item = u32>) -> Supply {
        let manifest = self.fetcher.manifest();
        let store = ChunkStore::open(self.folder.path().join("other"), None).unwrap();
        for chunk in chunks {
            let bytes = manifest.read(chunk, &*self.model.weights).unwrap();
            store.write(&manifest.chunks()[chunk as usize].hash, &bytes).unwrap();
        }
        Supply::Store(manifest.clone(), Arc::new(store))
    }

    /// Fetches everything, of these peers too; counts the chunks.
    pub(crate) async fn fetch(
        &self,
        peers: Vec<Connection>,
        count: watch::Sender<usize>,
    ) -> Result<(), String> {
        let (fetcher, chunks, peers) = (self.fetcher.clone(), self.chunks(), Mutex::new(peers));
        let fetch = move || {
            let progress = |_, _| count.send_modify(|count| *count += 1);
            let peers = || std::mem::take(&mut *peers.lock().unwrap());
            fetcher.fetch(&chunks, &peers, &AtomicBool::new(false), &progress)
        };
        timeout(PATIENCE, tokio::task::spawn_blocking(fetch)).await.unwrap().unwrap()
    }
}
