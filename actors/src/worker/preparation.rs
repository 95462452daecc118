//! Prepares a plan on a thread of its own: fetches the weights, then packs them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use edgeld_runtime::coord::worker::Demand;
use edgeld_runtime::cost;
use edgeld_runtime::exec::Prepared;
use edgeld_runtime::graph::{BlockId, Graph, ParameterId};
use edgeld_runtime::kernel::{KernelError, Kernels, Setup};
use edgeld_runtime::plan::{Generation, InFlight};
use edgeld_runtime::program::{Encoding, Program, Transfer};
use edgeld_runtime::region::ChannelRange;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::weights::{WeightError, WeightSource};
use edgeld_runtime::wire::{Refusal, SessionId, Urgency};

use super::claim::{Claim, ClaimedPlan, PackedWeights};
use super::compute::panic_text;
use super::patience::Patient;
use super::suppliers::Suppliers;
use crate::storage::SessionWeights;

/// Everything needed to prepare a plan.
pub(super) struct Preparation {
    /// The session.
    pub session: SessionId,
    /// The plan's number.
    pub generation: Generation,
    /// The model.
    pub graph: Arc<Graph>,
    /// How its inputs are encoded.
    pub encodings: Vec<Encoding>,
    /// Kernels, instruction set and memory.
    pub setup: Setup,
    /// This device's program.
    pub program: Program,
    /// All transfers of the plan.
    pub transfers: Arc<[Transfer]>,
    /// Where to get the weights.
    pub weights: SessionWeights,
    /// Other devices to get them from, if they are fetched.
    pub suppliers: Option<Suppliers>,
    /// How soon the plan is needed.
    pub urgency: Urgency,
    /// Set when the plan is no longer wanted.
    pub cancelled: Arc<AtomicBool>,
    /// On the memory that it takes.
    pub claim: Claim,
}

/// How far a preparation has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Packing {
    /// Bytes of weights that are here.
    pub have: Bytes,
    /// Bytes that are needed; zero until that is known.
    pub need: Bytes,
    /// Bytes that have been read to be packed.
    pub packed: Bytes,
}

impl Preparation {
    /// Prepares the plan, with weights that are packed already where there are some. Calls `progress`
    /// whenever there is some. A panic refuses the plan, like an error.
    ///
    /// # Errors
    /// When the weights cannot be fetched or packed, or the plan was cancelled.
    pub(super) fn run(
        self,
        earlier: &[PackedWeights],
        progress: &(dyn Fn(Packing) + Sync),
    ) -> Result<ClaimedPlan, Refusal> {
        catch_unwind(AssertUnwindSafe(|| self.fetch_and_pack(earlier, progress)))
            .unwrap_or_else(|panic| Err(Refusal::Weights(panic_text(&*panic))))
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    fn fetch_and_pack(
        self,
        earlier: &[PackedWeights],
        progress: &(dyn Fn(Packing) + Sync),
    ) -> Result<ClaimedPlan, Refusal> {
        let earlier: Vec<&Kernels> = earlier.iter().map(|weights| &weights.kernels).collect();
        let refuse = |error: &dyn ToString| Refusal::Weights(error.to_string());
        let features = self.program.features(&self.graph);
        let pack = |source: &dyn WeightSource, need| {
            let packing = Mutex::new(Packing { have: need, need, packed: Bytes::ZERO });
            let patient =
                (self.urgency == Urgency::Patient).then(|| Patient::new(source, &self.cancelled));
            let source = patient.as_ref().map_or(source, |patient| patient as &dyn WeightSource);
            let source = Counting { source, packing, progress };
            let regions = self.program.regions(&self.graph);
            let packed = Kernels::prepare(&self.graph, &regions, &source, self.setup, &earlier);
            packed.map_err(|error| refuse(&error))
        };
        let kernels = match &self.weights {
            SessionWeights::Local(source) => {
                let weights = |(layer, features)| {
                    cost::weight_bytes(&self.graph, layer, features, self.program.weights)
                };
                pack(&**source, features.into_iter().map(weights).sum())?
            }
            SessionWeights::Remote(fetcher) => {
                let chunks = fetcher.manifest().chunks_for(&features);
                let fetched = |have, need| {
                    progress(Packing { have, need, packed: Bytes::ZERO });
                };
                let peers = || self.suppliers.as_ref().map(Suppliers::connect).unwrap_or_default();
                let fetch = || {
                    let fetched = fetcher.fetch(&chunks, &peers, &self.cancelled, &fetched);
                    fetched.map_err(|error| refuse(&error))?;
                    match self.is_cancelled() {
                        true => Err(Refusal::Invalid("it was cancelled".to_owned())),
                        false => Ok(()),
                    }
                };
                let all = fetcher.manifest().chunks();
                let needed = chunks.iter().map(|chunk| all[*chunk as usize].bytes).sum();
                fetch()?;
                match pack(&fetcher.source(), needed) {
                    // Damaged on disk: fetched again, once.
                    Err(_) if !self.is_cancelled() && fetcher.remove_damaged(&chunks) => {
                        fetch()?;
                        pack(&fetcher.source(), needed)?
                    }
                    packed => packed?,
                }
            }
        };
        let prepared = Prepared::new(
            (self.session, self.generation),
            self.graph,
            self.encodings,
            self.program,
            self.transfers,
            kernels,
        );
        Ok(ClaimedPlan::new(prepared, self.claim))
    }
}

/// Weights, with a report of how much of them has been read.
struct Counting<'a> {
    source: &'a dyn WeightSource,
    packing: Mutex<Packing>,
    progress: &'a (dyn Fn(Packing) + Sync),
}

impl WeightSource for Counting<'_> {
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        let before = out.len();
        self.source.read(parameter, features, out)?;
        // The value is always consistent, so poisoning can be ignored.
        let mut packing = self.packing.lock().unwrap_or_else(PoisonError::into_inner);
        packing.packed += Bytes(out.len().saturating_sub(before) as u64);
        (self.progress)(*packing);
        Ok(())
    }

    fn origin(&self) -> Option<String> {
        self.source.origin()
    }
}

/// The memory that a program takes on this device to carry that many frames. `held` says which blocks
/// of weights are packed already.
///
/// # Errors
/// As [`Setup::blocks`].
pub(super) fn demand(
    graph: &Graph,
    program: &Program,
    in_flight: InFlight,
    setup: Setup,
    held: impl Fn(&BlockId) -> bool,
) -> Result<Demand, KernelError> {
    let need = cost::memory(graph, program, in_flight);
    let blocks = setup.blocks(graph, &program.regions(graph), held)?;
    Ok(Demand { blocks, working: need.activations + need.workspace })
}
