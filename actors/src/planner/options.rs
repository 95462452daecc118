//! What a session wants of its plans.

use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::solve::Policy;

/// What a session wants of its plans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannerOptions {
    /// Which plans may be chosen from.
    pub policy: Policy,
    /// Which kernels compute.
    pub kernels: KernelKind,
    /// How many frames there will be, if few frames may be done before weights have moved.
    pub expected_frames: Option<u64>,
}
