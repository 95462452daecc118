//! What goes wrong: devices that leave, vanish or refuse, links that break, no plan at all.

use std::collections::BTreeSet;

use super::event::Command;
use super::frames::Frame;
use super::{BACKOFFS_AWAITED, LINK_GRACE, Lanes, Leader, OWN_REFUSALS};
use crate::coord::{Moment, Reason};
use crate::ids::{NodeId, Pair};
use crate::plan::Generation;

impl Leader {
    /// Plans without a device that is about to leave. Until there is a new plan, frames go on under the
    /// present one; the device waits for that.
    pub(super) fn leaving(&mut self, node: NodeId, out: &mut Vec<Command>) {
        if !self.devices.contains_key(&node) || !self.leaving.insert(node) {
            return;
        }
        let mut preparing = self.preparing.iter().flat_map(|lanes| &lanes.live);
        let stopped = match preparing.any(|live| live.has(node)) {
            true => self.stop_preparing(out),
            false => None,
        };
        let mut active = self.active.iter().flat_map(|lanes| &lanes.live);
        let runs = active.any(|live| live.has(node));
        // The answer to an open request may include it.
        if runs || stopped.is_some() || self.requested.is_some() {
            let reason = stopped.into_iter().fold(Reason::Left, Reason::min);
            self.request_plan(reason, out);
        }
    }

    pub(super) fn gone(
        &mut self,
        now: Moment,
        node: NodeId,
        reason: Reason,
        out: &mut Vec<Command>,
    ) {
        let Some(presence) = self.devices.remove(&node) else { return };
        self.leaving.remove(&node);
        let incarnation = presence.incarnation;
        // Only those that use the device: others run on.
        let broken: BTreeSet<Generation> =
            self.all_live().filter(|live| live.has(node)).map(|live| live.generation).collect();
        if reason == Reason::Lost {
            self.backoffs.start(node, now);
            // One that dies of every plan that it gets is not let off.
            if presence.proven || broken.is_empty() {
                self.backoffs.pardon_after(node, incarnation);
            }
        }
        self.down.retain(|(_, pair), _| !pair.has(node));
        let members = std::iter::once(self.me).chain(self.devices.keys().copied()).collect();
        out.push(Command::Disconnect { node, incarnation, members });
        for generation in &broken {
            self.abandon(*generation, None, out);
        }
        // The answer to an open request may include the lost device; a deferred request may be
        // waiting for it.
        let deferred = self.deferred.is_some() && self.preparing.is_none();
        if !broken.is_empty() || self.requested.is_some() || deferred {
            self.request_plan(reason, out);
        }
    }

    pub(super) fn refused(
        &mut self,
        now: Moment,
        node: NodeId,
        generation: Generation,
        why: String,
        out: &mut Vec<Command>,
    ) {
        let is_active = |active: &Lanes| active.find(generation).is_some();
        let live = self.preparing.as_ref().and_then(|lanes| lanes.find(generation));
        let live =
            live.filter(|live| live.has(node) && !self.active.as_ref().is_some_and(is_active));
        let Some(reason) = live.map(|live| live.reason) else { return };
        self.abandon(generation, None, out);
        if node != self.me {
            self.back_off(now, node, why, out);
            self.request_plan(reason, out);
            return;
        }
        self.own_refusals += 1;
        if self.own_refusals < OWN_REFUSALS {
            self.request_plan(reason, out);
        } else {
            self.own_refusals = 0;
            self.planning_failed(reason, why, out);
        }
    }

    /// Abandons generations that use a link that has been down for [`LINK_GRACE`].
    pub(super) fn abandon_dead_links(&mut self, now: Moment, out: &mut Vec<Command>) {
        let is_late = |since: &Moment| now.since(*since) >= LINK_GRACE;
        let late: BTreeSet<Generation> = self
            .down
            .iter()
            .filter(|(_, since)| is_late(since))
            .map(|((generation, _), _)| *generation)
            .collect();
        if late.is_empty() {
            return;
        }
        // What else has been reported of these plans counts, too: it may be one device whose links
        // have all broken.
        let is_of = |(generation, _): &(Generation, Pair)| late.contains(generation);
        let pairs = self.down.keys().filter(|key| is_of(key)).map(|(_, pair)| *pair).collect();
        self.down.retain(|key, _| !is_of(key));
        self.keep_apart(now, &pairs, &late, out);
    }

    /// Abandons these generations, as the devices of these pairs cannot exchange strips.
    pub(super) fn keep_apart(
        &mut self,
        now: Moment,
        pairs: &BTreeSet<Pair>,
        generations: &BTreeSet<Generation>,
        out: &mut Vec<Command>,
    ) {
        let known: Vec<Generation> =
            generations.iter().copied().filter(|generation| self.knows(*generation)).collect();
        if known.is_empty() {
            return;
        }
        for generation in known {
            self.abandon(generation, None, out);
        }
        for pair in pairs {
            match pair.other(self.me) {
                // Nobody works without the leader.
                Some(node) => {
                    self.back_off(now, node, "its connection to the leader broke".into(), out);
                }
                None => {
                    self.apart.start(*pair, now);
                    out.push(Command::KeepApart { pair: *pair });
                }
            }
        }
        self.request_plan(Reason::Link, out);
    }

    /// Ends the session: the leader's own device is gone.
    pub(super) fn end_session(&mut self, out: &mut Vec<Command>) {
        let why = "the leader's own worker has ended".to_owned();
        for Frame { number, retries, .. } in self.frames.drain() {
            out.push(Command::FailFrame { frame: number, attempts: retries, error: why.clone() });
        }
        self.ended = Some(why.clone());
        out.push(Command::End { why });
    }

    /// Leaves a device out of plans for a while.
    pub(super) fn back_off(
        &mut self,
        now: Moment,
        node: NodeId,
        why: String,
        out: &mut Vec<Command>,
    ) {
        self.backoffs.start(node, now);
        if let Some(presence) = self.devices.get(&node) {
            self.backoffs.pardon_after(node, presence.incarnation);
        }
        out.push(Command::BackOff { node, why });
    }

    pub(super) fn planning_failed(&mut self, reason: Reason, why: String, out: &mut Vec<Command>) {
        if self.sheltered {
            self.alone_fails = true;
            return self.request_plan(reason, out);
        }
        if self.active.is_some() {
            return;
        }
        // There may be a plan with a device that is left out for now.
        let awaits = self.devices.keys().any(|node| self.backoffs.is_left_out(*node));
        if awaits && self.backoffs_awaited < BACKOFFS_AWAITED {
            self.backoffs_awaited += 1;
            self.deferred = self.deferred.take().into_iter().chain([reason]).min();
            return;
        }
        self.backoffs_awaited = 0;
        for Frame { number, retries, .. } in self.frames.drain_waiting() {
            out.push(Command::FailFrame { frame: number, attempts: retries, error: why.clone() });
        }
        self.no_plan = Some(why.clone());
        out.push(Command::NoPlan { why });
    }
}
