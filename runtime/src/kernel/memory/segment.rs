//! Contiguous elements of a window.

/// Elements of a window that are contiguous in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Index of the first, relative to the first element of the pixel's window.
    pub(crate) offset: usize,
    /// How many there are.
    pub(crate) len: usize,
}
