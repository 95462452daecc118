//! Exponential back-off: a device that was lost, refused a plan or failed is left out of plans for
//! a while, each time for twice as long. So are two devices that cannot reach each other: plans keep
//! them apart.

use std::collections::BTreeMap;

use crate::coord::Moment;
use crate::ids::{Incarnation, NodeId};
use crate::units::Ms;

const FIRST: Ms = Ms(1_000.0);
const LONGEST: Ms = Ms(60_000.0);

#[derive(Debug, Clone, Copy)]
struct Backoff {
    until: Moment,
    length: Ms,
    over: bool,
    /// It is forgotten if the device comes back as another incarnation than this.
    pardoned_after: Option<Incarnation>,
}

/// What is left out of plans, devices or pairs of them.
#[derive(Debug, Clone)]
pub(super) struct Backoffs<Key> {
    backoffs: BTreeMap<Key, Backoff>,
}

impl<Key> Default for Backoffs<Key> {
    fn default() -> Backoffs<Key> {
        Backoffs { backoffs: BTreeMap::new() }
    }
}

impl<Key: Ord + Copy> Backoffs<Key> {
    /// Leaves something out from `now` on.
    pub(super) fn start(&mut self, key: Key, now: Moment) {
        let before = self.backoffs.get(&key);
        let length = before.map_or(FIRST, |backoff| (backoff.length * 2.0).min(LONGEST));
        let backoff = Backoff { until: now + length, length, over: false, pardoned_after: None };
        self.backoffs.insert(key, backoff);
    }

    /// Whether something was left out as of the last [`expire`](Backoffs::expire).
    pub(super) fn is_left_out(&self, key: Key) -> bool {
        self.backoffs.get(&key).is_some_and(|backoff| !backoff.over)
    }

    /// What was left out as of the last [`expire`](Backoffs::expire).
    pub(super) fn left_out(&self) -> impl Iterator<Item = Key> {
        self.backoffs.iter().filter(|(_, backoff)| !backoff.over).map(|(key, _)| *key)
    }

    /// Whether something is still left out at `now`: a later [`expire`](Backoffs::expire) will
    /// return it.
    pub(super) fn is_left_out_at(&self, key: Key, now: Moment) -> bool {
        self.backoffs.get(&key).is_some_and(|backoff| !backoff.over && now < backoff.until)
    }

    /// What is no longer left out since the last call. What has behaved for [`LONGEST`] since then
    /// starts from [`FIRST`] again.
    pub(super) fn expire(&mut self, now: Moment) -> Vec<Key> {
        self.backoffs.retain(|_, backoff| !backoff.over || now.since(backoff.until) < LONGEST);
        let ended =
            self.backoffs.iter_mut().filter(|(_, backoff)| !backoff.over && now >= backoff.until);
        ended
            .map(|(key, backoff)| {
                backoff.over = true;
                *key
            })
            .collect()
    }

    /// Forgets what `keep` does not want to know any more.
    pub(super) fn retain(&mut self, keep: impl Fn(Key) -> bool) {
        self.backoffs.retain(|key, _| keep(*key));
    }
}

impl Backoffs<NodeId> {
    /// Lets a device off if it comes back as another incarnation than this: whoever starts anew had
    /// reason to stop.
    pub(super) fn pardon_after(&mut self, node: NodeId, incarnation: Incarnation) {
        if let Some(backoff) = self.backoffs.get_mut(&node) {
            backoff.pardoned_after = Some(incarnation);
        }
    }

    /// Forgets a device that has come back, if that was promised. Returns whether it was.
    pub(super) fn pardon(&mut self, node: NodeId, incarnation: Incarnation) -> bool {
        let Some(backoff) = self.backoffs.get(&node) else { return false };
        let pardoned = backoff.pardoned_after.is_some_and(|before| before != incarnation);
        if pardoned {
            self.backoffs.remove(&node);
        }
        pardoned
    }
}
