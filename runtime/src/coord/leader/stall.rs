//! A frame that takes much longer than predicted: who waits for what?
//!
//! Its devices are asked twice. A strip that its receiver awaits although its sender has sent it,
//! both times, is lost on the way: the two devices are kept apart. A device that computes does not
//! answer before its step is done, so a slow device is not mistaken for a broken link.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Awaited, Command};
use super::{Lane, Leader};
use crate::coord::{Moment, Reason};
use crate::ids::{NodeId, Pair};
use crate::plan::Generation;
use crate::program::TransferId;
use crate::units::Ms;

/// A frame is looked into when it takes this long, and [`INSPECT_FACTOR`] times its prediction for
/// each of the frames in flight.
const INSPECT_AFTER: Ms = Ms(1_000.0);
const INSPECT_FACTOR: f64 = 4.0;

/// How long after the first question the second one is asked.
pub(super) const INSPECT_AGAIN: Ms = Ms(500.0);

/// A frame that takes this long, and [`FRAME_TIMEOUT_FACTOR`] times its prediction for each of the
/// frames in flight, is run again without the devices that do not say what they wait for.
const FRAME_TIMEOUT: Ms = Ms(60_000.0);
const FRAME_TIMEOUT_FACTOR: f64 = 20.0;

/// What is known of a frame that takes too long.
#[derive(Debug, Clone)]
pub(super) struct Inspection {
    asked: Moment,
    /// Strips that were lost on the way, by the answers to the question before.
    suspects: Option<BTreeSet<TransferId>>,
    /// The answers to the present question.
    answers: BTreeMap<NodeId, Answer>,
}

/// What a device says of its part of a frame.
#[derive(Debug, Clone, Default)]
struct Answer {
    awaits: Vec<Awaited>,
    owes: BTreeSet<TransferId>,
}

impl Inspection {
    /// The strips that their senders have sent and their receivers have not got.
    fn missing(&self) -> BTreeMap<TransferId, Pair> {
        let mut missing = BTreeMap::new();
        for (node, answer) in &self.answers {
            for Awaited { transfer, from } in &answer.awaits {
                let sent = |sender: &Answer| !sender.owes.contains(transfer);
                if from != node && self.answers.get(from).is_some_and(sent) {
                    missing.insert(*transfer, Pair::of(*node, *from));
                }
            }
        }
        missing
    }
}

/// Whether a frame takes too long by this measure.
fn is_over(lane: &Lane, took: Ms, least: Ms, factor: f64) -> bool {
    took >= least.max(lane.predicted * (factor * f64::from(lane.in_flight.frames())))
}

impl Leader {
    pub(super) fn inspected(
        &mut self,
        node: NodeId,
        of: (Generation, u64),
        awaits: Vec<Awaited>,
        owes: Vec<TransferId>,
    ) {
        if let Some(inspection) = self.inspections.get_mut(&of) {
            let owes = owes.into_iter().collect();
            inspection.answers.insert(node, Answer { awaits, owes });
        }
    }

    /// Asks about frames that take too long, and gives up those that will not be answered.
    pub(super) fn look_into_stalls(&mut self, now: Moment, out: &mut Vec<Command>) {
        let running: Vec<(u64, Generation, Moment)> = self.frames.running().collect();
        for (frame, generation, started) in running {
            // An earlier one may have been of the same generation.
            let Some(live) = self.live(generation) else { continue };
            let (took, members) = (now.since(started), self.present(live));
            if is_over(&live.lane, took, FRAME_TIMEOUT, FRAME_TIMEOUT_FACTOR) {
                self.give_up(now, frame, generation, out);
            } else if members.len() > 1 && is_over(&live.lane, took, INSPECT_AFTER, INSPECT_FACTOR)
            {
                self.inspect(now, frame, generation, members, out);
            }
        }
    }

    fn inspect(
        &mut self,
        now: Moment,
        frame: u64,
        generation: Generation,
        members: Vec<NodeId>,
        out: &mut Vec<Command>,
    ) {
        let Some(inspection) = self.inspections.get_mut(&(generation, frame)) else {
            let inspection = Inspection { asked: now, suspects: None, answers: BTreeMap::new() };
            self.inspections.insert((generation, frame), inspection);
            return out.push(Command::Inspect { frame, generation, members });
        };
        let complete = members.iter().all(|node| inspection.answers.contains_key(node));
        if !complete || now.since(inspection.asked) < INSPECT_AGAIN {
            return;
        }
        let missing = inspection.missing();
        let suspects = inspection.suspects.replace(missing.keys().copied().collect());
        let is_lost = |transfer: &TransferId| {
            suspects.as_ref().is_some_and(|suspects| suspects.contains(transfer))
        };
        let lost: BTreeSet<Pair> = missing
            .iter()
            .filter(|(transfer, _)| is_lost(transfer))
            .map(|(_, pair)| *pair)
            .collect();
        if lost.is_empty() {
            inspection.asked = now;
            inspection.answers.clear();
            return out.push(Command::Inspect { frame, generation, members });
        }
        self.keep_apart(now, &lost, &BTreeSet::from([generation]), out);
    }

    /// Runs a frame again without the devices that do not say what they wait for; if all do, without
    /// all others.
    fn give_up(&mut self, now: Moment, frame: u64, generation: Generation, out: &mut Vec<Command>) {
        let Some(live) = self.live(generation) else { return };
        let others: Vec<NodeId> =
            self.present(live).into_iter().filter(|node| *node != self.me).collect();
        let why = format!("frame {frame}: no answer within {FRAME_TIMEOUT}");
        if others.is_empty() {
            return self.failed(now, self.me, generation, frame, &why, out);
        }
        let answers = self.inspections.get(&(generation, frame)).map(|known| known.answers.clone());
        let answers = answers.unwrap_or_default();
        let mut silent: Vec<NodeId> =
            others.iter().copied().filter(|node| !answers.contains_key(node)).collect();
        if silent.is_empty() {
            silent = others;
        }
        self.abandon(generation, None, out);
        for node in silent {
            self.back_off(now, node, why.clone(), out);
        }
        self.request_plan(Reason::Lost, out);
    }
}
