//! The leader alone, as the shelter of frames that others have disturbed too often, or kept waiting.
//!
//! A plan for the leader alone is requested from the planner like any other, with one member. When
//! the frames that need it are done, a plan for all follows.

use super::event::Command;
use super::{Leader, Live};
use crate::coord::{Moment, Reason};
use crate::units::Ms;

/// How long frames without a plan wait for other devices to prepare one, and at least as long as the
/// leader alone would take: so they wait at most twice as long as under the better choice, whichever it
/// would have been.
const HURRY_AFTER: Ms = Ms(2_000.0);

impl Leader {
    /// Whether the next plan is to be for the leader alone.
    pub(super) fn needs_shelter(&self) -> bool {
        let side_by_side = self.active.as_ref().is_some_and(|lanes| lanes.live.len() > 1);
        let is_there = side_by_side && self.has_shelter();
        let needed = self.hurry || self.frames.need_shelter();
        needed && !self.alone_fails && !is_there
    }

    /// Whether a plan for the leader alone is active.
    fn has_shelter(&self) -> bool {
        let mut active = self.active.iter().flat_map(|lanes| &lanes.live);
        active.any(|live| live.is_only_on(self.me))
    }

    /// Requests a plan for the leader alone if a frame needs it now, and one for all when none does
    /// any more.
    pub(super) fn mind_shelter(&mut self, out: &mut Vec<Command>) {
        let idle = self.requested.is_none() && self.preparing.is_none();
        let is_coming = self.sheltered && !idle;
        if self.needs_shelter() && !self.has_shelter() && !is_coming {
            self.request_plan(Reason::Lost, out);
        } else if self.sheltered && idle && self.has_shelter() && !self.frames.need_shelter() {
            self.request_plan(Reason::Joined, out);
        }
    }

    /// Frames must not wait for ever for devices that do not get ready, nor for one plan after another
    /// that fails.
    pub(super) fn mind_hurry(&mut self, now: Moment, out: &mut Vec<Command>) {
        let inactive = match self.active {
            Some(_) => None,
            None => self.inactive.or(Some(now)),
        };
        self.inactive = inactive;
        let (Some(lanes), Some(inactive)) = (&self.preparing, inactive) else { return };
        let waits_for_me = |live: &Live| live.waiting.contains_key(&self.me);
        let waits_for_others = !lanes.live.iter().any(waits_for_me);
        let waited = now.since(inactive) >= HURRY_AFTER.max(lanes.alone);
        let frames_wait = self.frames.waiting() > 0;
        if waited && waits_for_others && frames_wait && !self.alone_fails {
            let reason = lanes.reason;
            self.hurry = true;
            self.request_plan(reason, out);
        }
    }
}
