//! What a kernel is called with, and how it shares its work among threads.

pub(crate) mod job;
pub(crate) mod lines;
pub(crate) mod scratch;
pub(crate) mod threads;
