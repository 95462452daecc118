//! The actor that owns a session's picture of the cluster and has plans made from it.
//!
//! The session asks when devices come or go; after every frame this actor asks itself whether
//! another plan would be better by now. Solving runs on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use actix::prelude::*;
use edgeld_runtime::coord::emergency::{Holdings, with_idle};
use edgeld_runtime::coord::leader::Proposal;
use edgeld_runtime::coord::replan::{Hysteresis, reason};
use edgeld_runtime::coord::{Moment, Reason};
use edgeld_runtime::cost::{ClusterProfile, DeviceProfile, LinkProfile};
use edgeld_runtime::kernel::{Isa, KernelKind};
use edgeld_runtime::solve::Policy;
use edgeld_runtime::units::{Mbps, Ms};
use edgeld_runtime::wire::NodeId;

use crate::device::Clock;
use crate::model::Source;
use crate::solver::{self, Candidate, Question, Verdict};

/// Of the leader's time, solving after frames takes at most one part in so many.
const SPARING: f64 = 50.0;

/// What a session wants of its plans.
#[derive(Debug, Clone, Copy)]
pub struct Wishes {
    /// Which plans may be chosen from.
    pub policy: Policy,
    /// Which kernels compute.
    pub kernels: KernelKind,
    /// How many frames there will be, if few frames may be done before weights have moved.
    pub hurry: Option<u64>,
}

/// The actor.
pub struct PlannerActor {
    me: NodeId,
    clock: Clock,
    source: Source,
    wishes: Wishes,
    picture: BTreeMap<NodeId, Seen>,
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
    session: Recipient<Made>,
    solver: Option<Sender<Question>>,
}

/// The plan that runs.
struct Active {
    proposal: Proposal,
    /// What each device was to compute of a frame when the plan was made, and its link's goodput.
    then: BTreeMap<NodeId, (Ms, Mbps)>,
    hysteresis: Hysteresis,
}

/// A device, as it is known.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct Seen {
    /// Which.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Its instruction set.
    pub isa: Isa,
    /// Its speed.
    pub profile: DeviceProfile,
    /// Its link.
    pub link: LinkProfile,
}

/// A plan is wanted.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ask {
    /// Names the question.
    pub ask: u32,
    /// Why.
    pub reason: Reason,
    /// Who may be in it, the leader first.
    pub members: Vec<NodeId>,
}

/// The answer, or with `ask: None` a better plan that nobody asked for.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Made {
    /// The question.
    pub ask: Option<u32>,
    /// The plan, or why there is none.
    pub result: Result<Box<Candidate>, String>,
}

/// A device has got the weights of a plan.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Holds {
    /// Which.
    pub node: NodeId,
    /// What it does in the plan.
    pub program: Arc<edgeld_runtime::program::Program>,
}

/// A plan is active.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Activated(pub Candidate);

/// A frame was answered.
#[derive(Message)]
#[rtype(result = "()")]
pub struct FrameDone;

#[derive(Message)]
#[rtype(result = "()")]
struct Solved(Verdict);

impl PlannerActor {
    /// For a session led by `me`, which is told of plans.
    pub fn new(
        me: NodeId,
        clock: Clock,
        source: Source,
        wishes: Wishes,
        session: Recipient<Made>,
    ) -> PlannerActor {
        PlannerActor {
            me,
            clock,
            source,
            wishes,
            picture: BTreeMap::new(),
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

    /// The question for the devices that may be in a plan; `None` while one is unknown.
    fn question(&self, ask: Option<u32>, reason: Reason) -> Option<Question> {
        let seen: Vec<&Seen> =
            self.allowed.iter().map(|node| self.picture.get(node)).collect::<Option<_>>()?;
        let goodput = seen.iter().skip(1).map(|seen| seen.link.goodput.0).reduce(f64::max);
        let link = |seen: &Seen| match goodput {
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
        Some(Question {
            ask,
            reason,
            graph: self.source.graph.clone(),
            encodings: self.source.encodings.clone(),
            policy: self.wishes.policy,
            members: self.allowed.clone(),
            names: seen.iter().map(|seen| seen.name.clone()).collect(),
            profile: ClusterProfile::new(
                seen.iter().map(|seen| (seen.profile.clone(), link(seen))),
            ),
            previous,
            holdings: self.holdings.clone(),
            exact: one_isa && self.wishes.kernels == KernelKind::Exact,
            hurry: self.wishes.hurry,
        })
    }

    fn solve(&self, question: Question) {
        if let Some(solver) = &self.solver {
            // The solver ends with this sender, so that it is there.
            let _ = solver.send(question);
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

    /// What the change since the plan was made is called.
    fn name(&self, now: &[(NodeId, Ms)]) -> Reason {
        let Some(active) = &self.active else { return Reason::Faster };
        let then = |node: &NodeId| active.then.get(node);
        let slowdowns = now.iter().filter_map(|(node, compute)| {
            let (before, _) = then(node)?;
            (before.0 > 0.0).then(|| *compute / *before)
        });
        let links = now.iter().filter_map(|(node, _)| {
            let (_, before) = then(node)?;
            Some(before.0 / self.picture.get(node)?.link.goodput.0)
        });
        reason(slowdowns, links)
    }
}

impl Actor for PlannerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        // The thread lives as long as this actor, not the other way round.
        let address = context.address().downgrade();
        let answer = move |verdict| {
            if let Some(planner) = address.upgrade() {
                planner.do_send(Solved(verdict));
            }
        };
        match solver::start(answer) {
            Ok(solver) => self.solver = Some(solver),
            Err(error) => tracing::error!("no thread to plan on: {error}"),
        }
    }
}

impl Handler<Seen> for PlannerActor {
    type Result = ();

    fn handle(&mut self, seen: Seen, _: &mut Self::Context) {
        self.picture.insert(seen.node, seen);
    }
}

impl Handler<Ask> for PlannerActor {
    type Result = ();

    fn handle(&mut self, Ask { ask, reason, members }: Ask, _: &mut Self::Context) {
        self.allowed = members;
        match self.question(Some(ask), reason) {
            Some(question) if self.solver.is_some() => self.solve(question),
            _ => {
                let result = Err("a device is not known, or there is no thread".to_owned());
                self.session.do_send(Made { ask: Some(ask), result });
            }
        }
    }
}

impl Handler<Holds> for PlannerActor {
    type Result = ();

    fn handle(&mut self, Holds { node, program }: Holds, _: &mut Self::Context) {
        self.holdings.add(node, &program.features(&self.source.graph));
    }
}

impl Handler<Activated> for PlannerActor {
    type Result = ();

    fn handle(&mut self, Activated(candidate): Activated, _: &mut Self::Context) {
        let goodput = |node: &NodeId| self.picture.get(node).map(|seen| seen.link.goodput);
        let then = candidate
            .computes
            .iter()
            .filter_map(|(node, compute)| Some((*node, (*compute, goodput(node)?))))
            .collect();
        let hysteresis = Hysteresis::new(self.clock.now());
        self.active = Some(Active { proposal: candidate.proposal, then, hysteresis });
    }
}

impl Handler<FrameDone> for PlannerActor {
    type Result = ();

    fn handle(&mut self, _: FrameDone, _: &mut Self::Context) {
        self.frames += 1;
        let now = self.clock.now();
        let pause = self.took * SPARING;
        if self.considering || self.active.is_none() || now.since(self.considered) < pause {
            return;
        }
        if let Some(question) = self.question(None, Reason::Faster) {
            self.considered = now;
            self.considering = true;
            self.solve(question);
        }
    }
}

impl Handler<Solved> for PlannerActor {
    type Result = ();

    fn handle(&mut self, Solved(verdict): Solved, _: &mut Self::Context) {
        let Verdict { ask, result, present, took } = verdict;
        if ask.is_some() {
            self.session.do_send(Made { ask, result: result.map(Box::new) });
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
        self.session.do_send(Made { ask: None, result: Ok(Box::new(candidate)) });
    }
}
