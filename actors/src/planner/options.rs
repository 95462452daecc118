//! A session's requirements for plans.

use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::solve::Policy;

/// A session's requirements for plans.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlannerOptions {
    /// Which plans the planner may choose.
    pub policy: Policy,
    /// Whether to explain plans.
    pub explain: bool,
    /// Which kernels compute.
    pub kernels: KernelKind,
    /// Expected number of frames, if a short run may be done before weights have moved.
    pub expected_frames: Option<u64>,
}
