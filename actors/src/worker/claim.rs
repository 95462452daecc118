//! Claims on memory: they end when the last thread that uses the memory is done with it.
//!
//! A plan that is retired may still be prepared by one thread, run by another, or be copied from by a
//! third. Whoever uses a plan's memory holds its claim; once nobody does, the worker is told, and can
//! promise the memory to others.

use std::ops::Deref;
use std::sync::Arc;

use edgeld_runtime::exec::Prepared;
use edgeld_runtime::kernel::Kernels;

/// A claim on the memory of a plan.
pub(super) struct Claim(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Claim {
    /// A claim that calls `released` when it ends.
    pub(super) fn new(released: impl FnOnce() + Send + Sync + 'static) -> Claim {
        Claim(Some(Box::new(released)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(released) = self.0.take() {
            released();
        }
    }
}

/// A plan that is prepared, and the claim on its memory.
#[derive(Clone)]
pub(super) struct ClaimedPlan {
    plan: Arc<Prepared>,
    claim: Arc<Claim>,
}

impl ClaimedPlan {
    /// A plan that was prepared in the memory of this claim.
    pub(super) fn new(plan: Prepared, claim: Claim) -> ClaimedPlan {
        ClaimedPlan { plan: Arc::new(plan), claim: Arc::new(claim) }
    }

    /// Its packed weights, to be copied from.
    pub(super) fn weights(&self) -> PackedWeights {
        PackedWeights { kernels: self.plan.kernels.clone(), _claim: Some(self.claim.clone()) }
    }
}

impl Deref for ClaimedPlan {
    type Target = Arc<Prepared>;

    fn deref(&self) -> &Arc<Prepared> {
        &self.plan
    }
}

/// Packed weights of a plan, or kept for plans to come.
#[derive(Clone)]
pub(super) struct PackedWeights {
    /// Kernels with these weights.
    pub kernels: Kernels,
    _claim: Option<Arc<Claim>>,
}

impl PackedWeights {
    /// Weights that are kept.
    pub(super) fn kept(kernels: Kernels) -> PackedWeights {
        PackedWeights { kernels, _claim: None }
    }
}
