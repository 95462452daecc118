//! What a device holds of one plan.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::error::ExecError;
use super::fused::{Call, calls};
use crate::graph::{Graph, TensorId};
use crate::kernel::{Arena, Kernels};
use crate::plan::{DeviceIx, Generation};
use crate::program::{Action, Encoding, Program, StepIx, Transfer, TransferId};
use crate::wire::{SessionId, StripHeader};

/// One device's program and everything needed to run it.
pub struct Prepared {
    /// The session it belongs to.
    pub session: SessionId,
    /// The plan's number.
    pub generation: Generation,
    /// The model.
    pub graph: Arc<Graph>,
    /// The steps.
    pub program: Program,
    /// All transfers of the plan.
    pub transfers: Arc<[Transfer]>,
    /// The kernels, with packed weights.
    pub kernels: Kernels,
    /// Memory of the frames' buffers.
    pub(super) arena: Arena,
    encodings: Vec<Encoding>,
    receives: BTreeMap<TransferId, StepIx>,
    uses: Vec<u32>,
    calls: Vec<Vec<Call>>,
}

impl Prepared {
    /// Combines a program with kernels that were prepared for [what it computes](Program::regions).
    pub fn new(
        (session, generation): (SessionId, Generation),
        graph: Arc<Graph>,
        encodings: Vec<Encoding>,
        program: Program,
        transfers: Arc<[Transfer]>,
        kernels: Kernels,
    ) -> Prepared {
        let mut receives = BTreeMap::new();
        let mut uses = vec![0; program.buffers.len()];
        for (index, step) in program.steps.iter().enumerate() {
            if let Action::Receive { transfer, .. } = step.action {
                receives.insert(transfer, StepIx(index as u32));
            }
            for buffer in step.action.buffers() {
                uses[buffer.index()] += 1;
            }
        }
        let calls = calls(&program, &kernels, &uses);
        Prepared {
            session,
            generation,
            graph,
            program,
            transfers,
            kernels,
            arena: Arena::default(),
            encodings,
            receives,
            uses,
            calls,
        }
    }

    /// How a tensor travels.
    pub(super) fn encoding(&self, tensor: TensorId) -> Encoding {
        Encoding::of(&self.graph, tensor, &self.encodings)
    }

    /// Checks the header and the payload length of a strip; returns who sends it.
    ///
    /// # Errors
    /// When this device does not receive that strip, or its length is wrong.
    pub fn check_strip(&self, header: &StripHeader, payload: usize) -> Result<DeviceIx, ExecError> {
        self.receive_step(header.transfer)?;
        let transfer = &self.transfers[header.transfer.0 as usize];
        header.check(payload, transfer, &self.graph, &self.encodings)?;
        Ok(transfer.from)
    }

    /// The step that receives a transfer.
    pub fn receive_step(&self, transfer: TransferId) -> Result<StepIx, ExecError> {
        self.receives.get(&transfer).copied().ok_or(ExecError::Stray(transfer))
    }

    /// How a compute step calls the kernels.
    pub(super) fn calls(&self, step: StepIx) -> &[Call] {
        &self.calls[step.index()]
    }

    /// How often the steps use each buffer.
    pub(super) fn uses(&self) -> &[u32] {
        &self.uses
    }
}
