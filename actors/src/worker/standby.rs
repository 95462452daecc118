//! Packs in advance what this device may need at once.
//!
//! A device starts with the weights of its own share. When another device is lost its share grows, and
//! what it lacks would have to be fetched and packed before the best plan can run: on a device with a
//! fifth of a core, 30 MB of dense weights take a second. So the leader says which plans would follow
//! the loss of each device, and this device fetches and packs what they need while frames run, as far
//! as there is memory. Then it fetches the rest of the model, for changes that nobody has foreseen.
//!
//! All of that with [patience](super::patience). Other devices are asked for weights first, as their
//! links are not the one that the leader's frames need.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use edgeld_runtime::graph::{Graph, LayerId};
use edgeld_runtime::kernel::{Kernels, Setup};
use edgeld_runtime::region::Region;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::weights::WeightSource;

use super::claim::PackedWeights;
use super::patience::{Patient, rest};
use super::suppliers::Suppliers;
use crate::storage::{ChunkFetcher, SessionWeights};

/// What to pack and fetch.
pub(super) struct Standby {
    /// The model.
    pub graph: Arc<Graph>,
    /// Kernels and instruction set.
    pub setup: Setup,
    /// For each plan, which region this device computes of every layer.
    pub plans: Vec<BTreeMap<LayerId, Region>>,
    /// Where to get the weights.
    pub weights: SessionWeights,
    /// Other devices to get them from, if they are fetched.
    pub suppliers: Option<Suppliers>,
    /// What is packed already.
    pub earlier: Vec<PackedWeights>,
    /// Set when it is no longer wanted.
    pub cancelled: Arc<AtomicBool>,
}

/// How far it has got.
pub(super) enum Step {
    /// The weights for one more plan are packed.
    Packed(Kernels),
    /// Those for all plans are.
    Ready,
    /// All weights of the model are on disk.
    Stored,
}

impl Standby {
    /// Does it, on a thread of its own.
    pub(super) fn start(self, report: impl Fn(Step) + Send + 'static) {
        let run = move || {
            if let Err(why) = self.run(&report) {
                tracing::debug!("weights for plans to come: {why}");
            }
        };
        if let Err(error) = thread::Builder::new().name("edgeld-standby".to_owned()).spawn(run) {
            tracing::warn!("cannot pack weights in advance: {error}");
        }
    }

    fn run(mut self, report: &dyn Fn(Step)) -> Result<(), String> {
        for regions in std::mem::take(&mut self.plans) {
            let kernels = self.pack(&regions)?;
            self.earlier.push(PackedWeights::kept(kernels.clone()));
            report(Step::Packed(kernels));
        }
        // What others hold may be in use no longer; this thread has all it needs.
        self.earlier.clear();
        report(Step::Ready);
        if let SessionWeights::Remote(fetcher) = &self.weights {
            let chunks = fetcher.manifest().chunks();
            let total: Bytes = chunks.iter().map(|chunk| chunk.bytes).sum();
            if !fetcher.store().may_hold(total) {
                return Err(format!("the store is too small for the whole model of {total}"));
            }
            self.fetch(fetcher, &(0..chunks.len() as u32).collect::<Vec<_>>())?;
            report(Step::Stored);
        }
        Ok(())
    }

    fn pack(&self, regions: &BTreeMap<LayerId, Region>) -> Result<Kernels, String> {
        let earlier: Vec<&Kernels> = self.earlier.iter().map(|weights| &weights.kernels).collect();
        let pack = |source: &dyn WeightSource| {
            let source = Patient::new(source, &self.cancelled).sparing();
            Kernels::prepare(&self.graph, regions, &source, self.setup, &earlier)
                .map_err(|error| error.to_string())
        };
        match &self.weights {
            SessionWeights::Local(source) => pack(&**source),
            SessionWeights::Remote(fetcher) => {
                let features = regions.iter().map(|(layer, region)| (*layer, region.channels));
                let chunks = fetcher.manifest().chunks_for(&features.collect());
                self.fetch(fetcher, &chunks)?;
                pack(&fetcher.source())
            }
        }
    }

    fn fetch(&self, fetcher: &ChunkFetcher, chunks: &[u32]) -> Result<(), String> {
        let peers = || self.suppliers.as_ref().map(Suppliers::connect).unwrap_or_default();
        fetcher
            .fetch_one_by_one(chunks, &peers, &self.cancelled, &|took| rest(took, &self.cancelled))
    }
}

/// Calls `report` if all weights of the model are on disk already; looks on a thread of its own.
pub(super) fn check_stored(fetcher: Arc<ChunkFetcher>, report: impl Fn(Step) + Send + 'static) {
    let check = move || {
        let chunks = fetcher.manifest().chunks().len() as u32;
        if fetcher.missing(&(0..chunks).collect::<Vec<_>>()).is_empty() {
            report(Step::Stored);
        }
    };
    if let Err(error) = thread::Builder::new().name("edgeld-standby".to_owned()).spawn(check) {
        tracing::warn!("cannot see which weights are on disk: {error}");
    }
}
