//! Exponential back-off: a device that was lost, refused a plan or failed is left out of plans for
//! a while, each time for twice as long.

use std::collections::BTreeMap;

use crate::coord::Moment;
use crate::ids::NodeId;
use crate::units::Ms;

const FIRST: Ms = Ms(1_000.0);
const LONGEST: Ms = Ms(60_000.0);

#[derive(Debug, Clone, Copy)]
struct Backoff {
    until: Moment,
    length: Ms,
    over: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Backoffs {
    backoffs: BTreeMap<NodeId, Backoff>,
}

impl Backoffs {
    /// Leaves a device out from `now` on.
    pub(super) fn start(&mut self, node: NodeId, now: Moment) {
        let before = self.backoffs.get(&node);
        let length = before.map_or(FIRST, |backoff| (backoff.length * 2.0).min(LONGEST));
        self.backoffs.insert(node, Backoff { until: now + length, length, over: false });
    }

    /// Whether a device was left out as of the last [`expire`](Backoffs::expire).
    pub(super) fn is_left_out(&self, node: NodeId) -> bool {
        self.backoffs.get(&node).is_some_and(|backoff| !backoff.over)
    }

    /// Whether a device is still left out at `now`: a later [`expire`](Backoffs::expire) will
    /// return it.
    pub(super) fn is_left_out_at(&self, node: NodeId, now: Moment) -> bool {
        self.backoffs.get(&node).is_some_and(|backoff| !backoff.over && now < backoff.until)
    }

    /// The devices whose back-off has ended since the last call. A device that has behaved for
    /// [`LONGEST`] since then starts from [`FIRST`] again.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<NodeId> {
        self.backoffs.retain(|_, backoff| !backoff.over || now.since(backoff.until) < LONGEST);
        let ended =
            self.backoffs.iter_mut().filter(|(_, backoff)| !backoff.over && now >= backoff.until);
        ended
            .map(|(node, backoff)| {
                backoff.over = true;
                *node
            })
            .collect()
    }
}
