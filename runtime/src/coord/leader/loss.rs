//! What goes wrong: devices that are gone or refuse, links that break, no plan at all.

use std::collections::{BTreeMap, BTreeSet};

use super::event::Command;
use super::frames::Frame;
use super::{BACKOFFS_AWAITED, LINK_GRACE, Leader, OWN_REFUSALS};
use crate::coord::{Moment, Reason};
use crate::ids::NodeId;
use crate::plan::Generation;

impl Leader {
    pub(super) fn gone(
        &mut self,
        now: Moment,
        node: NodeId,
        reason: Reason,
        out: &mut Vec<Command>,
    ) {
        if !self.devices.remove(&node) {
            return;
        }
        if reason == Reason::Lost {
            self.backoffs.start(node, now);
        }
        self.down.retain(|(_, blame), _| *blame != node);
        let broken: Vec<Generation> = self
            .preparing
            .iter()
            .chain(&self.active)
            .chain(&self.retiring)
            .filter(|live| live.has(node))
            .map(|live| live.generation)
            .collect();
        for generation in &broken {
            self.abandon(*generation, None, out);
        }
        // A question under way may be answered with a plan for the device that is gone; one that
        // is put off may be waiting for it.
        let put_off = self.deferred.is_some() && self.preparing.is_none();
        if !broken.is_empty() || self.requested.is_some() || put_off {
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
        let Some(reason) = self
            .preparing
            .as_ref()
            .filter(|live| live.generation == generation && live.has(node))
            .map(|live| live.proposal.reason)
        else {
            return;
        };
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

    /// Breaks off the plans over links that have been down for [`LINK_GRACE`].
    pub(super) fn abandon_dead_links(&mut self, now: Moment, out: &mut Vec<Command>) {
        let mut blamed = BTreeSet::new();
        let (late, fresh): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.down)
            .into_iter()
            .partition(|(_, since)| now.since(*since) >= LINK_GRACE);
        self.down = fresh;
        for (generation, blame) in late.into_keys() {
            if self.knows(generation) {
                blamed.insert(blame);
                self.abandon(generation, None, out);
            }
        }
        for node in &blamed {
            self.back_off(now, *node, "its connection to another device broke".into(), out);
        }
        if !blamed.is_empty() {
            self.request_plan(Reason::Link, out);
        }
    }

    /// The leader's own device is gone, and with it the session.
    pub(super) fn end_session(&mut self, out: &mut Vec<Command>) {
        let why = "the worker of the leading device itself has ended".to_owned();
        for Frame { number, retries, .. } in self.frames.drain() {
            out.push(Command::FailFrame { frame: number, attempts: retries, error: why.clone() });
        }
        self.ended = Some(why.clone());
        out.push(Command::End { why });
    }

    /// A device is left out for a while, and the question under way asked anew without it.
    pub(super) fn back_off(
        &mut self,
        now: Moment,
        node: NodeId,
        why: String,
        out: &mut Vec<Command>,
    ) {
        self.backoffs.start(node, now);
        out.push(Command::BackOff { node, why });
    }

    pub(super) fn planning_failed(&mut self, reason: Reason, why: String, out: &mut Vec<Command>) {
        if self.active.is_some() {
            return;
        }
        // With a device that rests for now there may be one.
        let awaits = self.devices.iter().any(|node| self.backoffs.is_left_out(*node));
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
