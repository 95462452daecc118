//! Which plan runs, which frame runs under which plan, what happens after a loss.
//!
//! A plan becomes a **generation** when it is prepared: every member fetches its weights and
//! reserves its memory, and when all have said `Ready` the next frames run under it. Frames in
//! flight finish under the generation they started in; a generation with a member that died is
//! broken, its frames are run again from their input under another one. The leader keeps every
//! input until the answer is out, so a frame is lost only with the leader.
//!
//! ```text
//!              Proposed             Ready from all            another is active, frames done
//!  (asked) ───────────▶ preparing ─────────────────▶ active ──────────────────────────▶ retired
//!     ▲                     │ loss, refusal, silence    │ loss, failure
//!     └─────────────────────┴───────────────────────────┘  broken: retired, frames again
//! ```
//!
//! Joins and gradual changes never disturb a generation in preparation; they wait for it. Frames
//! never wait for a join: a loss that leaves no plan to run ends a preparation that was under way
//! for another reason.

mod event;
mod frames;
mod rest;
mod run;

use std::collections::{BTreeMap, BTreeSet};

use super::{Moment, Reason};
use crate::ids::NodeId;
use crate::plan::Generation;
use crate::units::Ms;

pub use event::{Command, Event, Proposal};
use frames::{Frame, Frames};
use rest::Rests;

/// A member that shows no progress for this long while it prepares is left out.
pub const PATIENCE: Ms = Ms(10_000.0);

/// After a link broke, the death of the device behind it has this long to show.
pub const LINK_GRACE: Ms = Ms(400.0);

/// A frame that takes this long, and [`STALL_FACTOR`] times its prediction, is run again.
pub const STALL: Ms = Ms(60_000.0);

/// See [`STALL`].
pub const STALL_FACTOR: f64 = 20.0;

/// How often the leader's own device may refuse a plan before there is none.
const OWN_REFUSALS: u32 = 3;

/// A plan with its number, and the members that it still waits for.
#[derive(Debug, Clone)]
struct Live {
    generation: Generation,
    proposal: Proposal,
    /// Who is not ready yet, and when it was last seen to make progress.
    waiting: BTreeMap<NodeId, Moment>,
}

impl Live {
    fn has(&self, node: NodeId) -> bool {
        self.proposal.members.contains(&node)
    }
}

/// A broken link, until the death behind it shows.
#[derive(Debug, Clone, Copy)]
struct Down {
    since: Moment,
    generation: Generation,
    blame: NodeId,
}

/// The leader of a session.
#[derive(Debug, Clone)]
pub struct Leader {
    me: NodeId,
    devices: BTreeSet<NodeId>,
    rests: Rests,
    newest: Generation,
    asks: u32,
    asked: Option<Reason>,
    /// Asked for when the preparation under way has ended.
    deferred: Option<Reason>,
    preparing: Option<Live>,
    active: Option<Live>,
    retiring: Vec<Live>,
    frames: Frames,
    down: Option<Down>,
    own_refusals: u32,
    stuck: Option<String>,
}

impl Leader {
    /// A session led by `me` with the devices that are known already, and the commands that begin
    /// it.
    pub fn new(me: NodeId, others: impl IntoIterator<Item = NodeId>) -> (Leader, Vec<Command>) {
        let mut leader = Leader {
            me,
            devices: others.into_iter().filter(|node| *node != me).collect(),
            rests: Rests::default(),
            newest: Generation(0),
            asks: 0,
            asked: None,
            deferred: None,
            preparing: None,
            active: None,
            retiring: Vec::new(),
            frames: Frames::default(),
            down: None,
            own_refusals: 0,
            stuck: None,
        };
        let mut commands = Vec::new();
        leader.ask(Reason::Start, &mut commands);
        (leader, commands)
    }

    /// The plan that frames run under now.
    pub fn active(&self) -> Option<(Generation, &Proposal)> {
        self.active.as_ref().map(|live| (live.generation, &live.proposal))
    }

    /// Whether a plan is prepared, active or finishing.
    pub fn knows(&self, generation: Generation) -> bool {
        self.live(generation).is_some()
    }

    /// Frames that are not answered yet.
    pub fn unanswered(&self) -> usize {
        self.frames.len()
    }

    /// Whether nothing is going on: no frame, no preparation, no question, no plan to retire.
    pub fn is_quiet(&self) -> bool {
        self.frames.len() == 0
            && self.preparing.is_none()
            && self.asked.is_none()
            && self.retiring.is_empty()
    }

    /// Takes in what happened at `now`; what is to be done, in this order.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        let out = &mut commands;
        match event {
            Event::Joined(node) => self.joined(now, node, out),
            Event::Left(node) => self.gone(now, node, Reason::Left, out),
            Event::Lost(node) => self.gone(now, node, Reason::Lost, out),
            Event::Progress { node, generation } => self.progressed(now, node, generation),
            Event::Ready { node, generation } => self.ready(node, generation, out),
            Event::Refused { node, generation, why } => {
                self.refused(now, node, generation, why, out);
            }
            Event::Proposed { ask, proposal } => self.proposed(now, ask, proposal, out),
            Event::Improved(proposal) => {
                let free = self.active.is_some() && self.preparing.is_none();
                if free && self.asked.is_none() && self.is_possible(&proposal) {
                    self.prepare(now, proposal, out);
                }
            }
            Event::Submitted { frame } => self.submitted(frame, out),
            Event::Answered { frame, generation } => self.answered(frame, generation, out),
            Event::Failed { node, generation, frame, error } => {
                self.failed(now, node, generation, frame, &error, out);
            }
            Event::LinkDown { node, generation, peer } => {
                let blame = if peer == self.me { node } else { peer };
                let known = self.live(generation).is_some_and(|live| live.has(blame));
                if known && self.down.is_none() {
                    self.down = Some(Down { since: now, generation, blame });
                }
            }
            Event::Tick => self.tick(now, out),
        }
        self.start_frames(now, out);
        commands
    }

    fn live(&self, generation: Generation) -> Option<&Live> {
        let all = self.preparing.iter().chain(&self.active).chain(&self.retiring);
        all.into_iter().find(|live| live.generation == generation)
    }

    fn joined(&mut self, now: Moment, node: NodeId, out: &mut Vec<Command>) {
        if self.devices.insert(node) && !self.rests.is_resting(node, now) {
            self.ask(Reason::Joined, out);
        }
    }

    fn gone(&mut self, now: Moment, node: NodeId, reason: Reason, out: &mut Vec<Command>) {
        if !self.devices.remove(&node) {
            return;
        }
        if reason == Reason::Lost {
            self.rests.rest(node, now);
        }
        if self.down.is_some_and(|down| down.blame == node) {
            self.down = None;
        }
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
        // A question under way may be answered with a plan for the device that is gone.
        if !broken.is_empty() || self.asked.is_some() {
            self.ask(reason, out);
        }
    }

    fn progressed(&mut self, now: Moment, node: NodeId, generation: Generation) {
        if let Some(live) = self.preparing.as_mut().filter(|live| live.generation == generation)
            && let Some(seen) = live.waiting.get_mut(&node)
        {
            *seen = now;
        }
    }

    fn ready(&mut self, node: NodeId, generation: Generation, out: &mut Vec<Command>) {
        let Some(live) = self.preparing.as_mut().filter(|live| live.generation == generation)
        else {
            return;
        };
        live.waiting.remove(&node);
        if !live.waiting.is_empty() {
            return;
        }
        let Some(live) = self.preparing.take() else { return };
        let provisional = live.proposal.provisional;
        out.push(Command::Activate { generation });
        if let Some(former) = self.active.replace(live) {
            self.retire_when_done(former, out);
        }
        self.own_refusals = 0;
        self.stuck = None;
        let better = provisional.then_some(Reason::Weights);
        if let Some(reason) = self.deferred.take().into_iter().chain(better).min() {
            self.ask(reason, out);
        }
    }

    fn refused(
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
            self.no_plan(why, out);
        }
    }

    fn proposed(
        &mut self,
        now: Moment,
        ask: u32,
        proposal: Result<Proposal, String>,
        out: &mut Vec<Command>,
    ) {
        let Some(reason) = self.asked.filter(|_| ask == self.asks) else { return };
        self.asked = None;
        let proposal = match proposal {
            Ok(proposal) => Proposal { reason, ..proposal },
            Err(why) => return self.no_plan(why, out),
        };
        if !self.is_possible(&proposal) {
            return self.no_plan("the plan is for devices that are not there".to_owned(), out);
        }
        let same = self.active.as_ref().is_some_and(|live| {
            live.proposal.plan == proposal.plan && live.proposal.members == proposal.members
        });
        if !same {
            self.prepare(now, proposal, out);
        }
    }

    fn is_possible(&self, proposal: &Proposal) -> bool {
        proposal.members.first() == Some(&self.me)
            && proposal.members.len() == usize::from(proposal.plan.devices)
            && proposal.members[1..].iter().all(|node| self.devices.contains(node))
    }

    /// Whatever was being prepared is given up for `proposal`.
    fn prepare(&mut self, now: Moment, proposal: Proposal, out: &mut Vec<Command>) {
        if let Some(live) = self.preparing.take() {
            self.retire(live, out);
        }
        self.newest = Generation(self.newest.0 + 1);
        let generation = self.newest;
        let waiting = proposal.members.iter().map(|node| (*node, now)).collect();
        out.push(Command::Prepare { generation, proposal: proposal.clone() });
        self.preparing = Some(Live { generation, proposal, waiting });
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Command>) {
        let silent = self.preparing.as_ref().and_then(|live| {
            let late = live.waiting.iter().find(|(_, seen)| now.since(**seen) >= PATIENCE);
            late.map(|(node, _)| (*node, live.generation))
        });
        if let Some((node, generation)) = silent {
            let why = format!("not ready, and no progress for {PATIENCE}");
            self.refused(now, node, generation, why, out);
        }
        if let Some(down) = self.down.filter(|down| now.since(down.since) >= LINK_GRACE) {
            self.down = None;
            if self.knows(down.generation) {
                self.break_off(down.generation, None, out);
                self.rest(now, down.blame, "its connection to another device broke".into(), out);
                self.ask(Reason::Link, out);
            }
        }
        if let Some((frame, generation)) = self.stalled(now) {
            let error = format!("no answer within {STALL}");
            self.failed(now, self.me, generation, frame, &error, out);
        }
        if self.rests.wake(now).iter().any(|node| self.devices.contains(node)) {
            self.ask(Reason::Joined, out);
        }
    }

    /// A device is left out for a while, and the question under way asked anew without it.
    fn rest(&mut self, now: Moment, node: NodeId, why: String, out: &mut Vec<Command>) {
        self.rests.rest(node, now);
        out.push(Command::Rest { node, why });
    }

    fn present(&self, live: &Live) -> Vec<NodeId> {
        let is_present = |node: &NodeId| *node == self.me || self.devices.contains(node);
        live.proposal.members.iter().copied().filter(is_present).collect()
    }

    fn retire(&mut self, live: Live, out: &mut Vec<Command>) {
        let members = self.present(&live);
        out.push(Command::Retire { generation: live.generation, members });
    }

    /// Asks for a plan: now, or when the preparation under way has ended. After a loss that leaves
    /// no plan to run, nobody waits for a preparation that was in no hurry.
    fn ask(&mut self, reason: Reason, out: &mut Vec<Command>) {
        let urgent = matches!(reason, Reason::Lost | Reason::Left | Reason::Link);
        if let Some(live) = self.preparing.as_ref().filter(|_| urgent && self.active.is_none()) {
            self.break_off(live.generation, None, out);
        }
        let reason = [self.deferred.take(), self.asked.take()]
            .into_iter()
            .flatten()
            .fold(reason, Reason::min);
        if self.preparing.is_some() {
            self.deferred = Some(reason);
            return;
        }
        self.stuck = None;
        self.asks += 1;
        self.asked = Some(reason);
        let others = self.devices.iter().copied().filter(|node| !self.rests.rests(*node));
        let members = std::iter::once(self.me).chain(others).collect();
        out.push(Command::Ask { ask: self.asks, reason, members });
    }

    fn no_plan(&mut self, why: String, out: &mut Vec<Command>) {
        if self.active.is_some() {
            return;
        }
        for Frame { number, retries, .. } in self.frames.drain_waiting() {
            out.push(Command::GiveUp { frame: number, attempts: retries, error: why.clone() });
        }
        self.stuck = Some(why.clone());
        out.push(Command::Stuck { why });
    }
}
