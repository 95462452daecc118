//! Threads for kernels: the caller supplies them, kernels never spawn any.

use std::marker::PhantomData;
use std::ops::Range;

/// Threads that a kernel may use.
pub trait Threads: Sync {
    /// How many tasks run at the same time.
    fn count(&self) -> usize;

    /// Runs `task(0)` to `task(tasks - 1)`, in any order and concurrently, and returns when all are
    /// done.
    fn each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync));
}

/// The calling thread only.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Threads for Alone {
    fn count(&self) -> usize {
        1
    }

    fn each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks).for_each(task);
    }
}

/// A slice whose parts are written by several tasks at the same time.
///
/// A task writes some rows of some blocks of channels: many short ranges, not one slice that could
/// be split off beforehand.
pub(crate) struct Parts<'a> {
    start: *mut f32,
    len: usize,
    owner: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a `&mut [f32]` that hands out parts, which its user promises not to overlap.
unsafe impl Send for Parts<'_> {}
// SAFETY: as above.
unsafe impl Sync for Parts<'_> {}

impl<'a> Parts<'a> {
    pub(crate) fn new(slice: &'a mut [f32]) -> Parts<'a> {
        Parts { start: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// One part.
    ///
    /// # Safety
    /// No other part that overlaps `range` may be in use at the same time.
    #[allow(clippy::mut_from_ref)] // the exclusive borrow is `owner`; parts are disjoint
    #[inline(always)]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a part outside the map");
        // SAFETY: in bounds, from a slice borrowed for 'a; the caller keeps parts apart.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn alone_runs_every_task_once() {
        let seen = Mutex::new(Vec::new());
        Alone.each(4, &|task| seen.lock().unwrap().push(task));
        assert_eq!(*seen.lock().unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn parts_are_written_in_place() {
        let mut data = [0.0; 6];
        let parts = Parts::new(&mut data);
        // SAFETY: the ranges are disjoint.
        Alone.each(3, &|task| unsafe { parts.part(2 * task..2 * task + 2) }.fill(task as f32));
        assert_eq!(data, [0.0, 0.0, 1.0, 1.0, 2.0, 2.0]);
    }
}
