//! What goes wrong: devices that are gone or refuse, links that break, no plan at all.

use std::collections::{BTreeMap, BTreeSet};

use super::event::Command;
use super::frames::Frame;
use super::{LINK_GRACE, Leader, OWN_REFUSALS, RESTS_AWAITED};
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
            self.rests.rest(node, now);
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
            self.break_off(*generation, None, out);
        }
        // A question under way may be answered with a plan for the device that is gone; one that
        // is put off may be waiting for it.
        let put_off = self.deferred.is_some() && self.preparing.is_none();
        if !broken.is_empty() || self.asked.is_some() || put_off {
            self.ask(reason, out);
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
        self.break_off(generation, None, out);
        if node != self.me {
            self.rest(now, node, why, out);
            self.ask(reason, out);
            return;
        }
        self.own_refusals += 1;
        if self.own_refusals < OWN_REFUSALS {
            self.ask(reason, out);
        } else {
            self.own_refusals = 0;
            self.no_plan(reason, why, out);
        }
    }

    /// Breaks off the plans over links that have been down for [`LINK_GRACE`].
    pub(super) fn give_up_links(&mut self, now: Moment, out: &mut Vec<Command>) {
        let mut blamed = BTreeSet::new();
        let (late, fresh): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.down)
            .into_iter()
            .partition(|(_, since)| now.since(*since) >= LINK_GRACE);
        self.down = fresh;
        for (generation, blame) in late.into_keys() {
            if self.knows(generation) {
                blamed.insert(blame);
                self.break_off(generation, None, out);
            }
        }
        for node in &blamed {
            self.rest(now, *node, "its connection to another device broke".into(), out);
        }
        if !blamed.is_empty() {
            self.ask(Reason::Link, out);
        }
    }

    /// The leader's own device is gone, and with it the session.
    pub(super) fn end(&mut self, out: &mut Vec<Command>) {
        let why = "the worker of the leading device itself has ended".to_owned();
        for Frame { number, retries, .. } in self.frames.drain() {
            out.push(Command::GiveUp { frame: number, attempts: retries, error: why.clone() });
        }
        self.over = Some(why.clone());
        out.push(Command::End { why });
    }

    /// A device is left out for a while, and the question under way asked anew without it.
    pub(super) fn rest(&mut self, now: Moment, node: NodeId, why: String, out: &mut Vec<Command>) {
        self.rests.rest(node, now);
        out.push(Command::Rest { node, why });
    }

    pub(super) fn no_plan(&mut self, reason: Reason, why: String, out: &mut Vec<Command>) {
        if self.active.is_some() {
            return;
        }
        // With a device that rests for now there may be one.
        let awaits = self.devices.iter().any(|node| self.rests.rests(*node));
        if awaits && self.rests_awaited < RESTS_AWAITED {
            self.rests_awaited += 1;
            self.deferred = self.deferred.take().into_iter().chain([reason]).min();
            return;
        }
        self.rests_awaited = 0;
        for Frame { number, retries, .. } in self.frames.drain_waiting() {
            out.push(Command::GiveUp { frame: number, attempts: retries, error: why.clone() });
        }
        self.stuck = Some(why.clone());
        out.push(Command::Stuck { why });
    }
}
