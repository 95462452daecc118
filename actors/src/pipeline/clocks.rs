//! The clocks of a traced session's devices, and the reports that wait for them.

use std::collections::BTreeMap;

use edgeld_runtime::coord::Moment;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::trace::ClockOffset;
use edgeld_runtime::units::Ms;
use edgeld_runtime::wire::{NodeId, StepTime};

use crate::planner::PlannedLane;

/// How often the clocks of other devices are read.
const READING_INTERVAL: Ms = Ms(5_000.0);

/// Reports that may wait for a clock.
const MAX_WAITING: usize = 1024;

/// Plans to keep that are over: reports of their last frames may still be under way.
const MAX_RETIRED: usize = 16;

/// When a device ran the steps of a frame, by its own clock.
pub(super) struct FrameReport {
    pub(super) node: NodeId,
    pub(super) generation: Generation,
    pub(super) frame: u64,
    pub(super) steps: Vec<StepTime>,
}

/// The clocks of a traced session's devices.
#[derive(Default)]
pub(super) struct Clocks {
    offsets: BTreeMap<NodeId, ClockOffset>,
    /// When they were last asked for.
    asked: BTreeMap<NodeId, Moment>,
    waiting: Vec<FrameReport>,
    retired: BTreeMap<Generation, PlannedLane>,
}

impl Clocks {
    /// A device's clock, if it is known.
    pub(super) fn of(&self, node: NodeId) -> Option<ClockOffset> {
        self.offsets.get(&node).copied()
    }

    /// Whether a device's clock is to be read now; it is not to be read again for a while then.
    pub(super) fn is_due(&mut self, node: NodeId, now: Moment) -> bool {
        let asked = self.asked.get(&node);
        let is_due = asked.is_none_or(|asked| now.since(*asked) >= READING_INTERVAL);
        if is_due {
            self.asked.insert(node, now);
        }
        is_due
    }

    /// Takes in a reading, if there is one; returns the reports that have waited for it.
    pub(super) fn was_read(
        &mut self,
        node: NodeId,
        read: Option<ClockOffset>,
        now: Moment,
    ) -> Vec<FrameReport> {
        if let Some(read) = read {
            let best = self.of(node).map_or(read, |known| known.or(read, now));
            self.offsets.insert(node, best);
        }
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let (its, others) = waiting.partition(|report| report.node == node);
        self.waiting = others;
        its
    }

    /// Keeps a report until the clock of its device is read; gives it back if too many wait.
    pub(super) fn wait(&mut self, report: FrameReport) -> Option<FrameReport> {
        if self.waiting.len() >= MAX_WAITING {
            return Some(report);
        }
        self.waiting.push(report);
        None
    }

    /// Forgets a device that is gone: when it returns, its clock may have begun anew.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.offsets.remove(&node);
        self.asked.remove(&node);
        self.waiting.retain(|report| report.node != node);
    }

    /// Keeps a plan that is over.
    pub(super) fn retire(&mut self, generation: Generation, plan: PlannedLane) {
        self.retired.insert(generation, plan);
        if self.retired.len() > MAX_RETIRED {
            self.retired.pop_first();
        }
    }

    /// A plan that is over.
    pub(super) fn retired(&self, generation: Generation) -> Option<&PlannedLane> {
        self.retired.get(&generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeld_runtime::trace::ClockReading;

    fn report(node: u128, frame: u64) -> FrameReport {
        FrameReport { node: NodeId(node), generation: Generation(1), frame, steps: Vec::new() }
    }

    /// Read at that time, in a round trip of that length.
    fn read(at: f64, round_trip: f64) -> Option<ClockOffset> {
        let sent = Moment(at - round_trip);
        ClockOffset::of([ClockReading { sent, read: Ms(0.0), received: Moment(at) }])
    }

    #[test]
    fn reports_wait_for_the_clock_of_their_device() {
        let mut clocks = Clocks::default();
        for waiting in [report(1, 0), report(2, 0), report(1, 1)] {
            assert!(clocks.wait(waiting).is_none());
        }
        let frames =
            |reports: Vec<FrameReport>| reports.iter().map(|r| r.frame).collect::<Vec<_>>();
        assert_eq!(frames(clocks.was_read(NodeId(1), read(10.0, 1.0), Moment(10.0))), [0, 1]);
        assert!(clocks.of(NodeId(1)).is_some() && clocks.of(NodeId(2)).is_none());
        assert_eq!(frames(clocks.was_read(NodeId(2), None, Moment(10.0))), [0]);
        (0..MAX_WAITING as u64).for_each(|frame| assert!(clocks.wait(report(3, frame)).is_none()));
        assert!(clocks.wait(report(3, 0)).is_some());
        clocks.forget(NodeId(3));
        assert!(clocks.wait(report(3, 0)).is_none());
    }

    #[test]
    fn the_best_reading_is_kept_and_a_new_one_is_due_after_a_while() {
        let (mut clocks, node) = (Clocks::default(), NodeId(1));
        assert!(clocks.is_due(node, Moment(0.0)) && !clocks.is_due(node, Moment(4_999.0)));
        assert!(clocks.is_due(node, Moment(5_000.0)));
        clocks.was_read(node, read(0.0, 1.0), Moment(0.0));
        clocks.was_read(node, read(10.0, 9.0), Moment(10.0));
        assert_eq!(clocks.of(node), read(0.0, 1.0));
        clocks.was_read(node, read(20.0, 0.5), Moment(20.0));
        assert_eq!(clocks.of(node), read(20.0, 0.5));
        clocks.forget(node);
        assert!(clocks.of(node).is_none() && clocks.is_due(node, Moment(5_001.0)));
    }
}
