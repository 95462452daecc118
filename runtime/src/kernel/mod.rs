//! What layers compute, on regions of maps.
use serde::{Deserialize, Serialize};

/// Which kernels compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelKind {
    /// burn-ndarray's own operators: the reference that the others are tested against.
    Burn,
    /// Every output's summation order depends on the layer alone: the same bits for every plan.
    Exact,
    /// The fastest; within 1e-4 of the largest logit.
    Fast,
}
