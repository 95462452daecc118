//! The kernels to choose from.

use serde::{Deserialize, Serialize};

/// Which kernels compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelKind {
    /// burn-ndarray's own operators: the reference against which the others are tested.
    Burn,
    /// Every output's order of summation depends on the layer alone: the same bits for every plan.
    Exact,
    /// The fastest; within 1e-4 of the largest logit. Convolutions are transformed where that is
    /// faster, which depends on a share's height and memory: other plans may give other bits.
    Fast,
}
