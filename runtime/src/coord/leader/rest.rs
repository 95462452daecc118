//! Devices that are left out for a while: after a loss, a refusal, a failure. Each time for twice
//! as long.

use std::collections::BTreeMap;

use crate::coord::Moment;
use crate::ids::NodeId;
use crate::units::Ms;

const FIRST: Ms = Ms(1_000.0);
const LONGEST: Ms = Ms(60_000.0);

#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Moment,
    length: Ms,
    over: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Rests {
    rests: BTreeMap<NodeId, Rest>,
}

impl Rests {
    pub(super) fn rest(&mut self, node: NodeId, now: Moment) {
        let length = self.rests.get(&node).map_or(FIRST, |rest| (rest.length * 2.0).min(LONGEST));
        self.rests.insert(node, Rest { until: now + length, length, over: false });
    }

    /// Whether a device was resting at the last [`wake`](Rests::wake).
    pub(super) fn rests(&self, node: NodeId) -> bool {
        self.rests.get(&node).is_some_and(|rest| !rest.over)
    }

    /// Whether a device rests at `now`; it will be woken.
    pub(super) fn is_resting(&self, node: NodeId, now: Moment) -> bool {
        self.rests.get(&node).is_some_and(|rest| !rest.over && now < rest.until)
    }

    /// The devices whose rest has ended since the last call. What went well for long enough is
    /// forgotten.
    pub(super) fn wake(&mut self, now: Moment) -> Vec<NodeId> {
        self.rests.retain(|_, rest| !rest.over || now.since(rest.until) < LONGEST);
        let ended = self.rests.iter_mut().filter(|(_, rest)| !rest.over && now >= rest.until);
        ended
            .map(|(node, rest)| {
                rest.over = true;
                *node
            })
            .collect()
    }
}
