//! Which plan runs, which frame runs under which plan, what happens after a loss.
//!
//! A plan becomes a **generation** when it is prepared: every member fetches its weights and
//! reserves its memory, and once all have said `Ready` the next frames run under it. Several plans
//! may run side by side, as **lanes**: they are prepared and become active together, and each frame
//! runs under one of them. A lane that was active before stays as it is. Frames in
//! flight finish under the generation they started in. A generation that loses a member is
//! abandoned, and its frames are run again from their input under another one. The leader keeps
//! every input until the answer is out, so a frame is lost only with the leader. A plan carries as
//! many frames at once as it says; they are answered in the order of their numbers.
//!
//! ```text
//!               Proposed             Ready from all           another is active, frames done
//!  (requested) ─────────▶ preparing ───────────────▶ active ─────────────────────────▶ retired
//!      ▲                      │ loss, refusal, timeout  │ loss, failure
//!      └──────────────────────┴─────────────────────────┘  abandoned: retired, frames rerun
//! ```
//!
//! Gradual changes never disturb a generation in preparation; they wait for it. Joins wait only for one
//! that is soon ready: not for a better plan, for which devices take their time. Frames never wait for a
//! join: a loss that leaves no plan to run cancels a preparation that was started for another reason.
//!
//! Two devices that cannot exchange strips are kept apart: plans are requested for which they need
//! not. A frame that takes far too long is looked into (`stall`). A frame that other devices have
//! disturbed too often runs on the leader alone (`shelter`).

mod backoff;
mod event;
mod frames;
mod loss;
mod run;
mod shelter;
mod stall;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::{Moment, Reason};
use crate::ids::{Incarnation, NodeId, Pair};
use crate::plan::{Generation, InFlight};
use crate::units::{Bytes, Ms};

use backoff::Backoffs;
pub use event::{Awaited, Command, Event, Lane, Proposal};
use frames::Frames;
use stall::Inspection;

/// A member whose preparation makes no progress for this long is left out. It may be packing what it
/// has read, at [`PACKING_RATE`].
const PREPARE_TIMEOUT: Ms = Ms(10_000.0);

/// The weights that even a slow device packs in a millisecond: 20 MB/s.
const PACKING_RATE: f64 = 20e3;

/// When a link breaks, the device behind it may have died. This is how long to wait for that news
/// before the link itself is blamed.
const LINK_GRACE: Ms = Ms(400.0);

/// How often the leader's own device may refuse before planning counts as failed.
const OWN_REFUSALS: u32 = 3;

/// How many back-offs frames without a plan sit out before they fail.
const BACKOFFS_AWAITED: u32 = 3;

/// How many of the waiting frames are looked at to find out which lane is next.
const LOOKAHEAD: usize = 1024;

/// A generation that is not retired yet, and the members that it still waits for.
#[derive(Debug, Clone)]
struct Live {
    generation: Generation,
    lane: Lane,
    reason: Reason,
    /// Members that are not ready yet.
    waiting: BTreeMap<NodeId, FetchProgress>,
}

/// Plans that run side by side; at least one.
#[derive(Debug, Clone)]
struct Lanes {
    live: Vec<Live>,
    in_flight: InFlight,
    reason: Reason,
    provisional: bool,
    /// As in their proposal.
    alone: Ms,
}

impl Lanes {
    fn find(&self, generation: Generation) -> Option<&Live> {
        self.live.iter().find(|live| live.generation == generation)
    }
}

/// How far a member has got with its weights.
#[derive(Debug, Clone, Copy)]
struct FetchProgress {
    /// Bytes fetched and bytes packed.
    done: Bytes,
    /// How long it may take until there is more.
    patience: Ms,
    /// When it last made progress.
    at: Moment,
}

impl Live {
    fn has(&self, node: NodeId) -> bool {
        self.lane.members.contains(&node)
    }

    /// Whether all of it runs on this device.
    fn is_only_on(&self, node: NodeId) -> bool {
        self.lane.members == [node]
    }
}

/// A device that is there.
#[derive(Debug, Clone, Copy)]
struct Presence {
    incarnation: Incarnation,
    /// It has helped to answer a frame.
    proven: bool,
}

/// The leader of a session, as a state machine.
#[derive(Debug, Clone)]
pub struct Leader {
    me: NodeId,
    devices: BTreeMap<NodeId, Presence>,
    /// Those of them that are about to leave.
    leaving: BTreeSet<NodeId>,
    backoffs: Backoffs<NodeId>,
    /// Devices that cannot exchange strips.
    apart: Backoffs<Pair>,
    newest: Generation,
    requests: u32,
    requested: Option<Reason>,
    /// To be requested when the current preparation has ended.
    deferred: Option<Reason>,
    /// A stopgap is active: a better plan is to follow, once the frames that were disturbed are done.
    is_stopgap: bool,
    /// Lanes that are to follow the active ones; some may be among those.
    preparing: Option<Lanes>,
    active: Option<Lanes>,
    /// Since when there has been none, as far as ticks have shown.
    inactive: Option<Moment>,
    /// The generations that were last reported to be active.
    reported: Vec<Generation>,
    retiring: Vec<Live>,
    frames: Frames,
    /// Broken links: since when. One of the two devices may turn out to be dead.
    down: BTreeMap<(Generation, Pair), Moment>,
    /// Frames that take too long.
    inspections: BTreeMap<(Generation, u64), Inspection>,
    /// The plan that was requested last is for the leader alone; one for all is to follow.
    sheltered: bool,
    /// Frames have waited too long for others: the leader is to run them alone.
    hurry: bool,
    /// The leader cannot run the model alone.
    alone_fails: bool,
    own_refusals: u32,
    backoffs_awaited: u32,
    /// Why there is no plan at present.
    no_plan: Option<String>,
    /// Why the session is over.
    ended: Option<String>,
}

impl Leader {
    /// A session led by `me` with the devices known so far, and the commands that start it.
    pub fn new(
        me: NodeId,
        others: impl IntoIterator<Item = (NodeId, Incarnation)>,
    ) -> (Leader, Vec<Command>) {
        let present = |(node, incarnation)| (node, Presence { incarnation, proven: false });
        let others = others.into_iter().filter(|(node, _)| *node != me);
        let mut leader = Leader {
            me,
            devices: others.map(present).collect(),
            leaving: BTreeSet::new(),
            backoffs: Backoffs::default(),
            apart: Backoffs::default(),
            newest: Generation(0),
            requests: 0,
            requested: None,
            deferred: None,
            is_stopgap: false,
            preparing: None,
            active: None,
            inactive: None,
            reported: Vec::new(),
            retiring: Vec::new(),
            frames: Frames::default(),
            down: BTreeMap::new(),
            inspections: BTreeMap::new(),
            sheltered: false,
            hurry: false,
            alone_fails: false,
            own_refusals: 0,
            backoffs_awaited: 0,
            no_plan: None,
            ended: None,
        };
        let mut commands = Vec::new();
        leader.request_plan(Reason::Start, &mut commands);
        (leader, commands)
    }

    /// The plans that frames run under now.
    pub fn active(&self) -> impl Iterator<Item = (Generation, &Lane)> {
        let live = self.active.iter().flat_map(|lanes| &lanes.live);
        live.map(|live| (live.generation, &live.lane))
    }

    /// Whether a plan is prepared, active or finishing.
    pub(crate) fn knows(&self, generation: Generation) -> bool {
        self.live(generation).is_some()
    }

    /// Whether the leader is idle: no frame, no preparation, no open request, no plan to retire.
    pub fn is_quiet(&self) -> bool {
        self.frames.is_empty()
            && self.preparing.is_none()
            && self.requested.is_none()
            && self.retiring.is_empty()
    }

    /// Handles an event that happened at `now`; returns what to do, in this order.
    pub fn handle(&mut self, now: Moment, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        let out = &mut commands;
        if let Some(why) = &self.ended {
            if let Event::Submitted { frame } = event {
                out.push(Command::FailFrame { frame, attempts: 0, error: why.clone() });
            }
            return commands;
        }
        match event {
            Event::Joined { node, incarnation } => self.joined(now, node, incarnation, out),
            Event::Leaving(node) => self.leaving(node, out),
            Event::Left(node) | Event::Lost(node) if node == self.me => self.end_session(out),
            Event::Left(node) => self.gone(now, node, Reason::Left, out),
            Event::Lost(node) => self.gone(now, node, Reason::Lost, out),
            Event::Progress { node, generation, done, need } => {
                self.progressed(now, node, generation, (done, need));
            }
            Event::Ready { node, generation } => self.ready(node, generation, out),
            Event::Refused { node, generation, why } => {
                self.refused(now, node, generation, why, out);
            }
            Event::Proposed { request, proposal } => self.proposed(now, request, proposal, out),
            Event::Improved(proposal) => {
                let free = self.active.is_some() && self.preparing.is_none();
                let free = free && !self.sheltered;
                if free && self.requested.is_none() && self.is_possible(&proposal) {
                    self.prepare(now, proposal, out);
                }
            }
            Event::Submitted { frame } => self.submitted(frame, out),
            Event::Answered { frame, generation } => self.answered(frame, generation, out),
            Event::Failed { node, generation, frame, error } => {
                self.failed(now, node, generation, frame, &error, out);
            }
            Event::LinkDown { node, generation, peer } => {
                let between = |live: &Live| node != peer && live.has(node) && live.has(peer);
                if self.live(generation).is_some_and(between) {
                    self.down.entry((generation, Pair::of(node, peer))).or_insert(now);
                }
            }
            Event::Inspected { node, generation, frame, awaits, owes } => {
                self.inspected(node, (generation, frame), awaits, owes);
            }
            Event::Tick => self.tick(now, out),
        }
        self.mind_shelter(out);
        self.start_frames(now, out);
        self.follow_stopgap(out);
        out.extend(self.frames.answer().map(|frame| Command::Answer { frame }));
        commands
    }

    fn live(&self, generation: Generation) -> Option<&Live> {
        self.all_live().find(|live| live.generation == generation)
    }

    /// All generations; those that stay active are there twice while others are being prepared.
    fn all_live(&self) -> impl Iterator<Item = &Live> {
        let lanes = self.preparing.iter().chain(&self.active).flat_map(|lanes| &lanes.live);
        lanes.chain(&self.retiring)
    }

    fn joined(
        &mut self,
        now: Moment,
        node: NodeId,
        incarnation: Incarnation,
        out: &mut Vec<Command>,
    ) {
        if node == self.me || self.devices.contains_key(&node) {
            return;
        }
        self.devices.insert(node, Presence { incarnation, proven: false });
        if self.backoffs.pardon(node, incarnation) {
            // It may be reachable now where it was not.
            self.apart.retain(|pair| !pair.has(node));
        }
        if !self.backoffs.is_left_out_at(node, now) {
            self.request_plan(Reason::Joined, out);
        }
    }

    /// New bytes are progress; saying again what is known is not.
    fn progressed(
        &mut self,
        now: Moment,
        node: NodeId,
        generation: Generation,
        (done, need): (Bytes, Bytes),
    ) {
        let mut preparing = self.preparing.iter_mut().flat_map(|lanes| &mut lanes.live);
        if let Some(live) = preparing.find(|live| live.generation == generation)
            && let Some(fetched) = live.waiting.get_mut(&node)
            && done > fetched.done
        {
            let patience = PREPARE_TIMEOUT + Ms(need.as_f64() / PACKING_RATE);
            *fetched = FetchProgress { done, patience, at: now };
        }
    }

    fn ready(&mut self, node: NodeId, generation: Generation, out: &mut Vec<Command>) {
        let Some(lanes) = &mut self.preparing else { return };
        for live in lanes.live.iter_mut().filter(|live| live.generation == generation) {
            live.waiting.remove(&node);
        }
        self.activate_if_ready(out);
    }

    fn activate_if_ready(&mut self, out: &mut Vec<Command>) {
        let is_ready = |lanes: &mut Lanes| lanes.live.iter().all(|live| live.waiting.is_empty());
        let Some(lanes) = self.preparing.take_if(is_ready) else { return };
        let (reason, provisional) = (lanes.reason, lanes.provisional);
        let active = lanes.live.iter().map(|live| (live.generation, live.lane.clone()));
        out.push(Command::Activate { lanes: active.collect(), reason });
        self.reported = lanes.live.iter().map(|live| live.generation).collect();
        let former = self.active.replace(lanes);
        for live in former.into_iter().flat_map(|lanes| lanes.live) {
            if !self.reported.contains(&live.generation) {
                self.retire_when_done(live, out);
            }
        }
        (self.own_refusals, self.backoffs_awaited) = (0, 0);
        (self.no_plan, self.hurry) = (None, false);
        self.is_stopgap = provisional;
        if let Some(reason) = self.deferred.take() {
            self.request_plan(reason, out);
        }
    }

    /// Requests the plan that follows a stopgap: getting ready for it slows the frames that it is for.
    fn follow_stopgap(&mut self, out: &mut Vec<Command>) {
        if self.is_stopgap && self.active.is_some() && !self.frames.are_disturbed() {
            self.is_stopgap = false;
            self.request_plan(Reason::Weights, out);
        }
    }

    fn proposed(
        &mut self,
        now: Moment,
        request: u32,
        proposal: Result<Proposal, String>,
        out: &mut Vec<Command>,
    ) {
        let Some(reason) = self.requested.filter(|_| request == self.requests) else { return };
        self.requested = None;
        let proposal = match proposal {
            Ok(proposal) => Proposal { reason, ..proposal },
            Err(why) => return self.planning_failed(reason, why, out),
        };
        if !self.is_possible(&proposal) {
            let why = "the plan names devices that are not present".to_owned();
            return self.planning_failed(reason, why, out);
        }
        if !self.runs_already(&proposal) {
            self.prepare(now, proposal, out);
        }
    }

    /// Whether a proposal is what was last reported to be active, and not only as a stopgap, in which
    /// devices use weights as they are packed.
    fn runs_already(&self, proposal: &Proposal) -> bool {
        let is_final = |active: &&Lanes| proposal.provisional || !active.provisional;
        let Some(active) = self.active.as_ref().filter(is_final) else { return false };
        let is_active = |lane: &Lane| active.live.iter().any(|live| live.lane.runs_like(lane));
        proposal.lanes.len() == active.live.len()
            && proposal.lanes.iter().all(is_active)
            && active.live.iter().map(|live| live.generation).eq(self.reported.iter().copied())
    }

    fn is_possible(&self, proposal: &Proposal) -> bool {
        !proposal.lanes.is_empty() && proposal.lanes.iter().all(|lane| self.can_run(lane))
    }

    fn can_run(&self, lane: &Lane) -> bool {
        lane.members.first() == Some(&self.me)
            && lane.members.len() == usize::from(lane.plan.devices)
            && lane.members[1..].iter().all(|node| self.is_available(*node))
    }

    /// Whether a new plan may include a device.
    fn is_available(&self, node: NodeId) -> bool {
        self.devices.contains_key(&node) && !self.leaving.contains(&node)
    }

    /// Starts to prepare `proposal` in place of whatever was being prepared. Lanes that are active
    /// already need no preparation; if all are, they are what is active from now on.
    fn prepare(&mut self, now: Moment, proposal: Proposal, out: &mut Vec<Command>) {
        self.stop_preparing(out);
        let Proposal { lanes, in_flight, reason, provisional, alone } = proposal;
        let mut live = Vec::new();
        for lane in lanes {
            let active = self.active.iter().filter(|lanes| provisional || !lanes.provisional);
            let mut active = active.flat_map(|lanes| &lanes.live);
            let active = active.find(|live| live.lane.runs_like(&lane));
            let (generation, waiting) = match active {
                Some(active) => (active.generation, BTreeMap::new()),
                None => {
                    self.newest = Generation(self.newest.0 + 1);
                    let (done, patience) = (Bytes::ZERO, PREPARE_TIMEOUT);
                    let nothing = FetchProgress { done, patience, at: now };
                    let generation = self.newest;
                    out.push(Command::Prepare { generation, lane: lane.clone() });
                    (generation, lane.members.iter().map(|node| (*node, nothing)).collect())
                }
            };
            live.push(Live { generation, lane, reason, waiting });
        }
        self.preparing = Some(Lanes { live, in_flight, reason, provisional, alone });
        self.activate_if_ready(out);
    }

    /// Retires what is being prepared, except for lanes that are active already. Returns why it was
    /// prepared.
    fn stop_preparing(&mut self, out: &mut Vec<Command>) -> Option<Reason> {
        let lanes = self.preparing.take()?;
        for live in lanes.live {
            if self.live(live.generation).is_none() {
                self.retire(live, out);
            }
        }
        Some(lanes.reason)
    }

    fn tick(&mut self, now: Moment, out: &mut Vec<Command>) {
        let silent = self.preparing.iter().flat_map(|lanes| &lanes.live).find_map(|live| {
            let is_late = |fetched: &FetchProgress| now.since(fetched.at) >= fetched.patience;
            let late = live.waiting.iter().find(|(_, fetched)| is_late(fetched));
            late.map(|(node, fetched)| (*node, live.generation, fetched.patience))
        });
        if let Some((node, generation, patience)) = silent {
            let why = format!("not ready, and no progress for {patience}");
            self.refused(now, node, generation, why, out);
        }
        self.abandon_dead_links(now, out);
        self.look_into_stalls(now, out);
        self.mind_hurry(now, out);
        let returned = self.backoffs.expire(now);
        let mut free = returned.iter().any(|node| self.devices.contains_key(node));
        free |= !self.apart.expire(now).is_empty();
        if free {
            self.request_plan(Reason::Joined, out);
        }
    }

    fn is_present(&self, node: NodeId) -> bool {
        node == self.me || self.devices.contains_key(&node)
    }

    fn present(&self, live: &Live) -> Vec<NodeId> {
        live.lane.members.iter().copied().filter(|node| self.is_present(*node)).collect()
    }

    fn retire(&mut self, live: Live, out: &mut Vec<Command>) {
        let members = self.present(&live);
        out.push(Command::Retire { generation: live.generation, members });
    }

    /// Requests a plan: now, or when the current preparation has ended. If a loss has left no plan
    /// to run, a frame is to run on the leader alone, or a device has joined and the preparation may take
    /// its time, it is abandoned instead of awaited.
    fn request_plan(&mut self, reason: Reason, out: &mut Vec<Command>) {
        let alone = self.needs_shelter();
        let urgent = matches!(reason, Reason::Lost | Reason::Left | Reason::Link);
        let is_patient = |lanes: &Lanes| lanes.reason.is_patient() && !lanes.provisional;
        let precedes = reason == Reason::Joined && self.preparing.as_ref().is_some_and(is_patient);
        let stopped = match alone || precedes || urgent && self.active.is_none() {
            true => self.stop_preparing(out),
            false => None,
        };
        let reason = [stopped, self.deferred.take(), self.requested.take()]
            .into_iter()
            .flatten()
            .fold(reason, Reason::min);
        if self.preparing.is_some() {
            self.deferred = Some(reason);
            return;
        }
        (self.no_plan, self.is_stopgap) = (None, false);
        self.requests += 1;
        self.requested = Some(reason);
        let mut members = vec![self.me];
        self.sheltered = alone;
        if !alone {
            let is_in =
                |node: &NodeId| self.is_available(*node) && !self.backoffs.is_left_out(*node);
            members.extend(self.devices.keys().copied().filter(is_in));
        }
        let are_members = |pair: &Pair| members.iter().filter(|node| pair.has(**node)).count() == 2;
        let apart = self.apart.left_out().filter(are_members).collect();
        out.push(Command::RequestPlan { request: self.requests, reason, members, apart });
    }
}
