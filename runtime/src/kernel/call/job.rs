//! What every kernel is called with.

use pulp::Arch;

use super::scratch::Scratch;
use super::threads::Threads;
use crate::graph::{Activation, Shape};
use crate::kernel::memory::map::{Map, Place};
use crate::region::Region;

/// One call: which region of a layer's output to compute, from where and to where.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    /// The shape of the whole input, outside of which there is padding.
    pub(crate) shape: Shape,
    /// Where the input's elements lie.
    pub(crate) input: Place,
    /// Where the output's elements lie.
    pub(crate) output: Place,
    /// Which region of the output to compute.
    pub(crate) region: Region,
    /// A map to add to the result of a convolution.
    pub(crate) addend: Option<Addend<'a>>,
    /// Applied to every result.
    pub(crate) activation: Activation,
    /// The instruction set to compute with.
    pub(crate) arch: Arch,
    pub(crate) scratch: &'a Scratch,
    pub(crate) threads: &'a dyn Threads,
}

/// A map in the output's layout that is added to the result.
#[derive(Clone, Copy)]
pub(crate) struct Addend<'a> {
    /// Where its elements lie.
    pub(crate) place: Place,
    /// All of them.
    pub(crate) elements: &'a [f32],
}

impl<'a> Addend<'a> {
    pub(crate) fn of(map: &'a Map) -> Addend<'a> {
        Addend { place: map.place(), elements: map.as_slice() }
    }
}

impl Job<'_> {
    /// Divides `units` of work into enough tasks to keep all threads busy to the end, and runs
    /// `work` on the units of each.
    pub(crate) fn share(&self, units: usize, work: impl Fn(std::ops::Range<usize>) + Sync) {
        let threads = self.threads.count().max(1);
        let tasks = if threads == 1 { 1 } else { (4 * threads).min(units) };
        let task = |task: usize| work(task * units / tasks..(task + 1) * units / tasks);
        self.threads.each(tasks, &task);
    }
}
