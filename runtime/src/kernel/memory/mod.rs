//! Where the elements of maps lie, and the memory that they lie in.

pub(crate) mod arena;
pub(crate) mod lanes;
pub(crate) mod map;
pub(crate) mod segment;
pub(crate) mod storage;
