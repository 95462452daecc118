//! The other operators: pools, sums, products, and those that only rearrange elements.

pub(crate) mod elementwise;
pub(crate) mod general;
pub(crate) mod lrn;
pub(crate) mod mul;
pub(crate) mod pool;
pub(crate) mod rearrange;
pub(crate) mod reduce;
pub(crate) mod slide;
