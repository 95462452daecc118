//! The actor that owns a session's devices of the cluster and has plans planned from it.
//!
//! The session asks when devices come or go; after every frame this actor asks itself whether
//! another plan would be better by now. Solving runs on a thread of its own.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use actix::prelude::*;
use edgeld_runtime::coord::emergency::{Holdings, with_idle};
use edgeld_runtime::coord::leader::Proposal;
use edgeld_runtime::coord::replan::{Hysteresis, reason};
use edgeld_runtime::coord::{Moment, Reason};
use edgeld_runtime::cost::{ClusterProfile, LinkProfile};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::units::{Mbps, Ms};
use edgeld_runtime::wire::NodeId;

use super::messages::{
    FrameAnswered, PlanActivated, Planned, RequestPlan, Solved, UpdateDevice, WeightsHeld,
};
use super::options::PlannerOptions;
use super::solver::{self, Candidate, SolveOutcome, SolveRequest};
use crate::api::Source;
use crate::clock::Clock;

/// Of the leader's time, solving after frames takes at most one part in so many.
const SPARING: f64 = 50.0;

/// The actor.
pub(crate) struct PlannerActor {
    me: NodeId,
    clock: Clock,
    source: Source,
    options: PlannerOptions,
    devices: BTreeMap<NodeId, UpdateDevice>,
    holdings: Holdings,
    /// Who may be in a plan, the leader first.
    allowed: Vec<NodeId>,
    active: Option<Active>,
    considered: Moment,
    /// Frames that were answered.
    frames: u64,
    /// How long solving took last.
    took: Ms,
    considering: bool,
    session: Recipient<Planned>,
    solver: Option<Sender<SolveRequest>>,
}

/// The plan that runs.
struct Active {
    proposal: Proposal,
    /// What each device was to compute of a frame when the plan was planned, and its link's goodput.
    then: BTreeMap<NodeId, (Ms, Mbps)>,
    hysteresis: Hysteresis,
}

impl PlannerActor {
    /// For a session led by `me`, which is told of plans.
    pub(crate) fn new(
        me: NodeId,
        clock: Clock,
        source: Source,
        options: PlannerOptions,
        session: Recipient<Planned>,
    ) -> PlannerActor {
        PlannerActor {
            me,
            clock,
            source,
            options,
            devices: BTreeMap::new(),
            holdings: Holdings::default(),
            allowed: vec![me],
            active: None,
            considered: Moment(0.0),
            frames: 0,
            took: Ms::ZERO,
            considering: false,
            session,
            solver: None,
        }
    }

    /// The request for the devices that may be in a plan; `None` while one is unknown.
    fn request(&self, request: Option<u32>, reason: Reason) -> Option<SolveRequest> {
        let seen: Vec<&UpdateDevice> =
            self.allowed.iter().map(|node| self.devices.get(node)).collect::<Option<_>>()?;
        let goodput = seen.iter().skip(1).map(|seen| seen.link.goodput.0).reduce(f64::max);
        let link = |seen: &UpdateDevice| match goodput {
            // The leader's interface is as fast as the fastest of those that it reaches.
            Some(goodput) if seen.node == self.me => {
                LinkProfile { goodput: Mbps(goodput), ..seen.link }
            }
            _ => seen.link,
        };
        let one_isa = seen.windows(2).all(|pair| pair[0].isa == pair[1].isa);
        let previous = self.active.as_ref().and_then(|active| {
            with_idle(&active.proposal.plan, &active.proposal.members, &self.allowed)
        });
        Some(SolveRequest {
            request,
            reason,
            graph: self.source.graph.clone(),
            encodings: self.source.encodings.clone(),
            policy: self.options.policy,
            members: self.allowed.clone(),
            names: seen.iter().map(|seen| seen.name.clone()).collect(),
            profile: ClusterProfile::new(
                seen.iter().map(|seen| (seen.profile.clone(), link(seen))),
            ),
            previous,
            holdings: self.holdings.clone(),
            exact: one_isa && self.options.kernels == KernelKind::Exact,
            expected_frames: self.options.expected_frames,
        })
    }

    fn solve(&self, request: SolveRequest) {
        if let Some(solver) = &self.solver {
            // The solver ends with this sender, so that it is there.
            let _ = solver.send(request);
        }
    }

    /// A better plan was looked for; whether it is to be had.
    fn is_better(&mut self, candidate: &Candidate, present: Ms) -> bool {
        let now = self.clock.now();
        let Some(active) = &mut self.active else { return false };
        let other = candidate.proposal.predicted;
        active.hysteresis.consider(now, self.frames, present, other)
            && (candidate.proposal.plan != active.proposal.plan
                || candidate.proposal.members != active.proposal.members)
    }

    /// What the change since the plan was planned is called.
    fn name(&self, now: &[(NodeId, Ms)]) -> Reason {
        let Some(active) = &self.active else { return Reason::Faster };
        let then = |node: &NodeId| active.then.get(node);
        let slowdowns = now.iter().filter_map(|(node, compute)| {
            let (before, _) = then(node)?;
            (before.0 > 0.0).then(|| *compute / *before)
        });
        let links = now.iter().filter_map(|(node, _)| {
            let (_, before) = then(node)?;
            Some(before.0 / self.devices.get(node)?.link.goodput.0)
        });
        reason(slowdowns, links)
    }
}

impl Actor for PlannerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // The thread lives as long as this actor, not the other way round.
        let address = context.address().downgrade();
        let answer = move |outcome| {
            if let Some(planner) = address.upgrade() {
                planner.do_send(Solved(outcome));
            }
        };
        match solver::start(answer) {
            Ok(solver) => self.solver = Some(solver),
            Err(error) => tracing::error!("no thread to plan on: {error}"),
        }
    }
}

impl Handler<UpdateDevice> for PlannerActor {
    type Result = ();

    fn handle(&mut self, seen: UpdateDevice, _: &mut Self::Context) {
        self.devices.insert(seen.node, seen);
    }
}

impl Handler<RequestPlan> for PlannerActor {
    type Result = ();

    fn handle(
        &mut self,
        RequestPlan { request, reason, members }: RequestPlan,
        _: &mut Self::Context,
    ) {
        self.allowed = members;
        match self.request(Some(request), reason) {
            Some(request) if self.solver.is_some() => self.solve(request),
            _ => {
                let result = Err("a device is not known, or there is no thread".to_owned());
                self.session.do_send(Planned { request: Some(request), result });
            }
        }
    }
}

impl Handler<WeightsHeld> for PlannerActor {
    type Result = ();

    fn handle(&mut self, WeightsHeld { node, program }: WeightsHeld, _: &mut Self::Context) {
        self.holdings.add(node, &program.features(&self.source.graph));
    }
}

impl Handler<PlanActivated> for PlannerActor {
    type Result = ();

    fn handle(&mut self, PlanActivated(candidate): PlanActivated, _: &mut Self::Context) {
        let goodput = |node: &NodeId| self.devices.get(node).map(|seen| seen.link.goodput);
        let then = candidate
            .computes
            .iter()
            .filter_map(|(node, compute)| Some((*node, (*compute, goodput(node)?))))
            .collect();
        let hysteresis = Hysteresis::new(self.clock.now());
        self.active = Some(Active { proposal: candidate.proposal, then, hysteresis });
    }
}

impl Handler<FrameAnswered> for PlannerActor {
    type Result = ();

    fn handle(&mut self, _: FrameAnswered, _: &mut Self::Context) {
        self.frames += 1;
        let now = self.clock.now();
        let pause = self.took * SPARING;
        if self.considering || self.active.is_none() || now.since(self.considered) < pause {
            return;
        }
        if let Some(request) = self.request(None, Reason::Faster) {
            self.considered = now;
            self.considering = true;
            self.solve(request);
        }
    }
}

impl Handler<Solved> for PlannerActor {
    type Result = ();

    fn handle(&mut self, Solved(outcome): Solved, _: &mut Self::Context) {
        let SolveOutcome { request, result, present, took } = outcome;
        if request.is_some() {
            self.session.do_send(Planned { request, result: result.map(Box::new) });
            return;
        }
        self.considering = false;
        self.took = took;
        let (Ok(mut candidate), Some(present)) = (result, present) else { return };
        let predicted = candidate.proposal.predicted;
        tracing::debug!("this plan now: {}, another one: {predicted}; took {took}", present.total);
        if !self.is_better(&candidate, present.total) {
            return;
        }
        let nodes = candidate.computes.iter().map(|(node, _)| *node);
        let now: Vec<(NodeId, Ms)> =
            nodes.zip(present.devices.iter().map(|time| time.compute)).collect();
        let reason = self.name(&now);
        candidate.proposal.reason = reason;
        candidate.info.reason = reason;
        self.session.do_send(Planned { request: None, result: Ok(Box::new(candidate)) });
    }
}
