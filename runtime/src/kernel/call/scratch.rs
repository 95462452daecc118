//! Workspace that kernels reuse from layer to layer.

use std::sync::{Mutex, PoisonError};

use crate::kernel::memory::segment::Segment;

/// Vectors load fastest from addresses that are multiples of this many bytes.
const ALIGNMENT: usize = 64;

/// Buffers for the tasks of kernels: as many as ever ran at the same time, each as large as the
/// largest request (a few megabytes).
#[derive(Debug, Default)]
pub struct Scratch {
    idle: Mutex<Vec<Vec<f32>>>,
    segments: Mutex<Vec<Vec<Segment>>>,
}

impl Scratch {
    /// Empty; it grows with use.
    pub fn new() -> Scratch {
        Scratch::default()
    }

    /// Lends `work` a buffer of `len` elements, aligned, with unspecified contents.
    pub(crate) fn lend<R>(&self, len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
        let mut buffer = self.lock().pop().unwrap_or_default();
        let room = len + ALIGNMENT / size_of::<f32>();
        if buffer.len() < room {
            buffer = vec![0.0; room];
        }
        let skip = buffer.as_ptr().align_offset(ALIGNMENT);
        let result = work(&mut buffer[skip..skip + len]);
        self.lock().push(buffer);
        result
    }

    /// A list for segments with unspecified contents; [return it](Scratch::take_back) after use.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let mut segments = self.segments.lock().unwrap_or_else(PoisonError::into_inner);
        segments.pop().unwrap_or_default()
    }

    /// Takes back a list of segments.
    pub(crate) fn take_back(&self, segments: Vec<Segment>) {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner).push(segments);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Vec<f32>>> {
        // The list is valid whatever panicked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_and_is_aligned() {
        let scratch = Scratch::new();
        for len in [10, 1000, 100] {
            scratch.lend(len, |buffer| {
                assert_eq!(buffer.len(), len);
                assert_eq!(buffer.as_ptr().addr() % ALIGNMENT, 0);
            });
        }
        assert_eq!(scratch.idle.lock().unwrap().len(), 1);
    }
}
