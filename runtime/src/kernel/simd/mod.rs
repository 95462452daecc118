//! Instruction sets, and work on single vectors.

pub(crate) mod activate;
pub(crate) mod element;
pub(crate) mod isa;
pub(crate) mod vector;
