//! Prepares a plan on a thread of its own: fetches the weights, then packs them.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgeld_runtime::coord::worker::Demand;
use edgeld_runtime::cost;
use edgeld_runtime::exec::Prepared;
use edgeld_runtime::graph::Graph;
use edgeld_runtime::kernel::{Kernels, Setup};
use edgeld_runtime::plan::{Generation, InFlight};
use edgeld_runtime::program::{Encoding, Program, Transfer};
use edgeld_runtime::units::Bytes;
use edgeld_runtime::wire::{Refusal, SessionId};

use super::compute::panic_text;
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
    /// An earlier plan whose packed weights can be reused.
    pub previous: Option<Arc<Prepared>>,
    /// Set when the plan is no longer wanted.
    pub cancelled: Arc<AtomicBool>,
}

impl Preparation {
    /// Prepares the plan. Calls `progress` with the bytes of weights present and needed.
    ///
    /// # Errors
    /// When the weights cannot be fetched or packed, or the plan was cancelled.
    pub(super) fn run(self, progress: &dyn Fn(Bytes, Bytes)) -> Result<Prepared, Refusal> {
        let refuse = |error: &dyn ToString| Refusal::Weights(error.to_string());
        let features = self.program.features(&self.graph);
        let pack = |source: &dyn edgeld_runtime::weights::WeightSource| {
            let previous = self.previous.as_ref().map(|previous| &previous.kernels);
            let packed = catch_unwind(AssertUnwindSafe(|| {
                Kernels::prepare(
                    &self.graph,
                    &self.program.regions(&self.graph),
                    source,
                    self.setup,
                    previous,
                )
            }));
            packed
                .map_err(|panic| Refusal::Weights(panic_text(&*panic)))?
                .map_err(|error| refuse(&error))
        };
        let kernels = match &self.weights {
            SessionWeights::Local(source) => pack(&**source)?,
            SessionWeights::Remote(fetcher) => {
                let chunks = fetcher.manifest().chunks_for(&features);
                let fetched = fetcher.fetch(&chunks, &self.cancelled, progress);
                fetched.map_err(|error| refuse(&error))?;
                if self.cancelled.load(Ordering::Relaxed) {
                    return Err(Refusal::Invalid("it was cancelled".to_owned()));
                }
                pack(&fetcher.source())?
            }
        };
        Ok(Prepared::new(
            (self.session, self.generation),
            self.graph,
            self.encodings,
            self.program,
            self.transfers,
            kernels,
        ))
    }
}

/// The memory a program needs on this device to carry that many frames; weights shared by several
/// plans count once.
pub(super) fn demand(graph: &Graph, program: &Program, in_flight: InFlight) -> Demand {
    let need = cost::memory(graph, program, in_flight);
    let weights: BTreeMap<_, _> = program
        .features(graph)
        .into_iter()
        .map(|(layer, features)| {
            let key = (layer, features.start, features.end);
            (key, cost::weight_bytes(graph, layer, features, program.weights))
        })
        .collect();
    Demand { weights, working: need.activations + need.workspace }
}
