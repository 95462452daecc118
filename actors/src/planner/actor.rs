//! The actor that plans for a session.
//!
//! The pipeline requests a plan when devices come or go. After frames this actor also checks
//! whether another plan has become better, and compares what frames took with what was predicted:
//! a prediction that no longer holds is announced anew. Solving runs on a thread of its own.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::time::Duration;

use actix::prelude::*;
use edgeld_runtime::coord::emergency::{absorbed, with_idle, without_idle};
use edgeld_runtime::coord::holdings::Holdings;
use edgeld_runtime::coord::leader::Lane;
use edgeld_runtime::coord::replan::{Change, Hysteresis, Overhead, reason};
use edgeld_runtime::coord::{Moment, Reason};
use edgeld_runtime::cost::{ClusterProfile, LinkProfile};
use edgeld_runtime::ids::Pair;
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::plan::{DeviceIx, Generation, InFlight, Plan};
use edgeld_runtime::solve::Objective;
use edgeld_runtime::units::{Mbps, Ms};
use edgeld_runtime::wire::NodeId;

use super::messages::{
    FrameAnswered, Held, PlanActivated, Planned, PredictionChanged, Pursue, RequestPlan, Solved,
    StandBy, UpdateDevice, WeightsHeld,
};
use super::options::PlannerOptions;
use super::solver::{self, Candidate, PreviousLane, Question, SolveOutcome, SolveRequest};
use super::standby::Contingencies;
use crate::api::Source;
use crate::clock::Clock;

/// Pause between checks for a better plan, as a multiple of the time the last check took: it limits
/// their share of the leader's time.
const PAUSE_FACTOR: f64 = 50.0;

/// The same while another plan seems better, or frames take so many times longer or shorter than
/// their plan promised.
const SURPRISED_PAUSE_FACTOR: f64 = 10.0;
const SURPRISE: f64 = 1.3;

/// The same after a single frame that took so many times longer.
const LATE: f64 = 2.0;

/// How often to see whether it is time to plan for losses.
const CONTINGENCY_CHECK: Duration = Duration::from_millis(100);

/// The actor.
pub(crate) struct PlannerActor {
    me: NodeId,
    clock: Clock,
    source: Source,
    options: PlannerOptions,
    devices: BTreeMap<NodeId, UpdateDevice>,
    holdings: Holdings,
    /// Devices that a plan may use, the leader first.
    members: Vec<NodeId>,
    /// Those of them that cannot exchange strips.
    apart: Vec<Pair>,
    active: Option<ActivePlans>,
    /// When the last check for a better plan began, and how long it took.
    last_check: Moment,
    last_check_took: Ms,
    is_checking: bool,
    /// What the active plans were chosen by.
    pursued: Objective,
    /// Frames answered.
    frames: u64,
    overhead: Overhead,
    contingencies: Contingencies,
    session: Recipient<Planned>,
    predictions: Recipient<PredictionChanged>,
    standby: Recipient<StandBy>,
    solver: Option<Sender<SolveRequest>>,
}

/// By what part a prediction must change to be announced again.
const NOTABLE: f64 = 0.05;

/// By how much of the difference a prediction moves towards what single frames say: the overhead is a
/// median of several already, but what devices learn of themselves is not.
const WEIGHT: f64 = 0.5;

/// The plans that run side by side.
struct ActivePlans {
    lanes: Vec<(Generation, Lane)>,
    /// What was last announced of the only plan, where frames follow each other.
    announced: Option<Ms>,
    /// What would be announced: predictions after single frames, smoothed.
    smoothed: Option<Ms>,
    /// Whether a frame was answered: the first one loads caches and does not count.
    is_warm: bool,
    /// What frames took since the overhead was last observed.
    times: Vec<Ms>,
    /// When they were made: each device's compute time per frame, and its link's goodput.
    baseline: BTreeMap<NodeId, (Ms, Mbps)>,
    hysteresis: Hysteresis,
}

impl ActivePlans {
    /// Whether frames take much longer or shorter than the only plan promised.
    fn is_surprised(&self) -> bool {
        let [(_, only)] = &self.lanes[..] else { return false };
        let ratio = self.smoothed.map_or(1.0, |seen| seen / only.predicted);
        !(1.0 / SURPRISE..SURPRISE).contains(&ratio)
    }
}

impl PlannerActor {
    /// A planner for the session led by `me`; plans are sent to `session`, changed predictions to
    /// `predictions`, and what devices should be ready for to `standby`.
    pub(crate) fn new(
        me: NodeId,
        clock: Clock,
        source: Source,
        options: PlannerOptions,
        session: Recipient<Planned>,
        predictions: Recipient<PredictionChanged>,
        standby: Recipient<StandBy>,
    ) -> PlannerActor {
        PlannerActor {
            me,
            clock,
            source,
            options,
            devices: BTreeMap::new(),
            holdings: Holdings::new(options.kernels == KernelKind::Fast),
            members: vec![me],
            apart: Vec::new(),
            active: None,
            last_check: Moment(0.0),
            last_check_took: Ms::ZERO,
            is_checking: false,
            pursued: options.policy.objective,
            frames: 0,
            overhead: Overhead::default(),
            contingencies: Contingencies::default(),
            session,
            predictions,
            standby,
            solver: None,
        }
    }

    /// A request to the solver; `None` while a member has no profile.
    fn request(&self, question: Question, reason: Reason) -> Option<SolveRequest> {
        let devices: Vec<&UpdateDevice> =
            self.members.iter().map(|node| self.devices.get(node)).collect::<Option<_>>()?;
        let goodputs = devices.iter().skip(1).map(|device| device.link.goodput.0);
        let fastest = goodputs.reduce(f64::max);
        let link = |device: &UpdateDevice| match fastest {
            // The leader's interface is as fast as the fastest link measured over it.
            Some(goodput) if device.node == self.me => {
                LinkProfile { goodput: Mbps(goodput), ..device.link }
            }
            _ => device.link,
        };
        let one_isa = devices.windows(2).all(|pair| pair[0].isa == pair[1].isa);
        let previous = |(_, lane): &(Generation, Lane)| {
            let plan = with_idle(&lane.plan, &lane.members, &self.members)?;
            Some(PreviousLane { plan, interval: lane.interval, in_flight: lane.in_flight })
        };
        let active = self.active.iter().flat_map(|active| &active.lanes);
        let previous: Option<Vec<PreviousLane>> = active.map(previous).collect();
        let profiles = devices.iter().map(|device| (device.profile.clone(), link(device)));
        Some(SolveRequest {
            question,
            reason,
            graph: self.source.graph.clone(),
            encodings: self.source.encodings.clone(),
            policy: self.options.policy,
            explain: self.options.explain,
            members: self.members.clone(),
            apart: self.apart.clone(),
            names: devices.iter().map(|device| device.name.clone()).collect(),
            profile: ClusterProfile::new(profiles)
                .with_overhead(self.overhead.factor(self.clock.now())),
            previous: previous.unwrap_or_default(),
            holdings: self.holdings.clone(),
            stopgaps: self.stopgaps(),
            exact: one_isa && self.options.kernels == KernelKind::Exact,
            expected_frames: self.options.expected_frames,
        })
    }

    /// Plans for the members that need few weights, if devices were lost: the one that the others stand by
    /// for, and the active one with what several lost devices had absorbed.
    fn stopgaps(&self) -> Vec<Plan> {
        let planned = self.contingencies.plan_for(&self.members, &self.apart);
        planned.into_iter().chain(self.absorbing()).collect()
    }

    /// The only active plan if others had absorbed what several lost devices had; what one had, devices
    /// stand by for.
    fn absorbing(&self) -> Option<Plan> {
        let [(_, lane)] = &self.active.as_ref()?.lanes[..] else { return None };
        let is_lost = |node: &NodeId| !self.members.contains(node);
        let places = (0..).map(DeviceIx).zip(&lane.members);
        let lost: Vec<DeviceIx> =
            places.filter(|(_, node)| is_lost(node)).map(|(device, _)| device).collect();
        if lost.len() < 2 || !self.apart.is_empty() {
            return None;
        }
        let (plan, kept) = without_idle(&absorbed(&self.source.graph, &lane.plan, &lost));
        let kept: Vec<NodeId> = kept.iter().map(|device| lane.members[device.index()]).collect();
        with_idle(&plan, &kept, &self.members)
    }

    fn solve(&self, request: SolveRequest) {
        if let Some(solver) = &self.solver {
            // Cannot fail: the solver runs as long as this sender exists.
            let _ = solver.send(request);
        }
    }

    /// Whether to switch to `candidate`, given the cost of the current plans. If they are the same, it
    /// is only their parts of the frames that change.
    fn is_better(&mut self, candidate: &Candidate, current: Ms) -> bool {
        let now = self.clock.now();
        let Some(active) = &mut self.active else { return false };
        let is_same = |other: &Lane| {
            let [(_, only)] = &active.lanes[..] else { return false };
            other.plan == only.plan && other.members == only.members
        };
        let same = matches!(&candidate.proposal.lanes[..], [other] if is_same(other));
        let change = Change { present: current, other: candidate.cost, moving: candidate.moving };
        active.hysteresis.consider(now, self.frames, change) && !same
    }

    /// Learns from the frames of the only plan how much longer they take than simulated, and
    /// announces a prediction that has changed. `cost` was predicted with this `overhead`.
    fn compare(&mut self, cost: Ms, overhead: f64) {
        let now = self.clock.now();
        let Some(active) = &mut self.active else { return };
        let Some(announced) = &mut active.announced else { return };
        let [(generation, lane)] = &active.lanes[..] else { return };
        let mut predicted = cost;
        if lane.members.len() > 1 {
            let simulated = cost * overhead.recip();
            self.overhead.observe(now, active.times.drain(..), simulated);
            predicted = simulated * self.overhead.factor(now);
        }
        let before = active.smoothed.unwrap_or(predicted);
        let predicted = before * (1.0 - WEIGHT) + predicted * WEIGHT;
        active.smoothed = Some(predicted);
        if (predicted / *announced - 1.0).abs() > NOTABLE {
            *announced = predicted;
            self.predictions.do_send(PredictionChanged { generation: *generation, predicted });
        }
    }

    /// Has plans made for the loss of devices, when it is time.
    fn plan_for_losses(&mut self) {
        let (now, graph) = (self.clock.now(), &self.source.graph);
        let stored = self.members.iter().skip(1).all(|node| self.holdings.has_all(*node, graph));
        if self.contingencies.are_due(now, stored)
            && let Some(request) = self.request(Question::Contingencies, Reason::Lost)
        {
            self.solve(request);
            self.contingencies.asked_for();
        }
    }

    /// What changed most since the active plan was made, as the reason for a new one.
    fn change_reason(&self, now: &[(NodeId, Ms)]) -> Reason {
        if self.pursued != self.options.policy.objective {
            return Reason::Load;
        }
        let Some(active) = &self.active else { return Reason::Faster };
        let baseline = |node: &NodeId| active.baseline.get(node);
        let slowdowns = now.iter().filter_map(|(node, compute)| {
            let (before, _) = baseline(node)?;
            (before.0 > 0.0).then(|| *compute / *before)
        });
        let links = now.iter().filter_map(|(node, _)| {
            let (_, before) = baseline(node)?;
            Some(before.0 / self.devices.get(node)?.link.goodput.0)
        });
        reason(slowdowns, links)
    }
}

impl Actor for PlannerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(CONTINGENCY_CHECK, |planner, _| planner.plan_for_losses());
        // A weak address, so that the thread does not keep this actor alive.
        let address = context.address().downgrade();
        let answer = move |outcome| {
            if let Some(planner) = address.upgrade() {
                planner.do_send(Solved(outcome));
            }
        };
        match solver::start(answer) {
            Ok(solver) => self.solver = Some(solver),
            Err(error) => tracing::error!("cannot start the planner thread: {error}"),
        }
    }
}

impl Handler<UpdateDevice> for PlannerActor {
    type Result = ();

    fn handle(&mut self, device: UpdateDevice, _: &mut Self::Context) {
        self.devices.insert(device.node, device);
    }
}

impl Handler<RequestPlan> for PlannerActor {
    type Result = ();

    fn handle(
        &mut self,
        RequestPlan { request_id, reason, members, apart }: RequestPlan,
        _: &mut Self::Context,
    ) {
        (self.members, self.apart) = (members, apart);
        match self.request(Question::Plan(request_id), reason) {
            Some(request) if self.solver.is_some() => self.solve(request),
            _ => {
                let result =
                    Err("a device has no profile, or there is no planner thread".to_owned());
                self.session.do_send(Planned { request_id: Some(request_id), result });
            }
        }
    }
}

impl Handler<WeightsHeld> for PlannerActor {
    type Result = ();

    fn handle(&mut self, WeightsHeld { node, held }: WeightsHeld, _: &mut Self::Context) {
        let graph = &self.source.graph;
        match held {
            Held::Program(program) => self.holdings.prepared(node, graph, &program),
            Held::All => self.holdings.add_all(node, graph),
            Held::Standby { set, plans } => {
                let programs = self.contingencies.programs(node, set, plans);
                self.holdings.stands_by(node, graph, programs);
            }
            Held::Stored => self.holdings.lost(node),
        }
    }
}

impl Handler<Pursue> for PlannerActor {
    type Result = ();

    /// The next check for better plans, which is due at once, compares by the new objective.
    fn handle(&mut self, Pursue(objective): Pursue, _: &mut Self::Context) {
        self.options.policy.objective = objective;
        self.last_check_took = Ms::ZERO;
    }
}

impl Handler<PlanActivated> for PlannerActor {
    type Result = ();

    fn handle(
        &mut self,
        PlanActivated { lanes, computes, objective }: PlanActivated,
        _: &mut Self::Context,
    ) {
        self.pursued = objective;
        let goodput = |node: &NodeId| self.devices.get(node).map(|device| device.link.goodput);
        let baseline = computes
            .iter()
            .filter_map(|(node, compute)| Some((*node, (*compute, goodput(node)?))))
            .collect();
        let announced = match &lanes[..] {
            [(_, only)] if only.in_flight == InFlight::ONE => Some(only.predicted),
            _ => None,
        };
        self.overhead.change_plan(self.clock.now());
        self.contingencies.begin(self.clock.now());
        self.active = Some(ActivePlans {
            lanes,
            announced,
            smoothed: None,
            is_warm: false,
            times: Vec::new(),
            baseline,
            hysteresis: Hysteresis::new(self.clock.now()),
        });
    }
}

impl Handler<FrameAnswered> for PlannerActor {
    type Result = ();

    fn handle(&mut self, answered: FrameAnswered, _: &mut Self::Context) {
        self.frames += 1;
        let Some(active) = &mut self.active else { return };
        let is_ours = |(generation, _): &(Generation, Lane)| *generation == answered.generation;
        let counts = active.announced.is_some() && active.lanes.iter().any(is_ours);
        if counts && std::mem::replace(&mut active.is_warm, true) {
            active.times.push(answered.total);
        }
        if self.is_checking {
            return;
        }
        let now = self.clock.now();
        let is_late = active.announced.is_some_and(|announced| answered.total > announced * LATE);
        let is_tempted = active.hysteresis.is_tempted(self.frames);
        let factor = match is_late || is_tempted || active.is_surprised() {
            true => SURPRISED_PAUSE_FACTOR,
            false => PAUSE_FACTOR,
        };
        let is_due = now.since(self.last_check) >= self.last_check_took * factor;
        let question = if is_due { Question::Better } else { Question::Prediction };
        if let Some(request) = self.request(question, Reason::Faster) {
            if is_due {
                self.last_check = now;
            }
            self.is_checking = true;
            self.solve(request);
        }
    }
}

impl Handler<Solved> for PlannerActor {
    type Result = ();

    fn handle(&mut self, Solved(outcome): Solved, _: &mut Self::Context) {
        let SolveOutcome { question, result, contingencies, overhead, current, .. } = outcome;
        let SolveOutcome { objective, took, .. } = outcome;
        if question == Question::Contingencies {
            let lanes = self.active.iter().flat_map(|active| &active.lanes);
            let active = lanes.flat_map(|(_, lane)| &lane.members).copied();
            let told = self.contingencies.replace(contingencies, active, &self.source.graph);
            return self.standby.do_send(told);
        }
        if let Question::Plan(request) = question {
            if let Some(result) = result {
                let (request_id, result) = (Some(request), result.map(Box::new));
                self.session.do_send(Planned { request_id, result });
            }
            return;
        }
        self.is_checking = false;
        if objective != self.options.policy.objective {
            return; // asked for before another one was pursued
        }
        let Some(current) = current else { return };
        self.compare(current.cost, overhead);
        let Some(result) = result else { return };
        self.last_check_took = took;
        let Ok(mut candidate) = result else { return };
        let (now, best) = (current.cost, candidate.cost);
        tracing::debug!("current plan: {now}, best plan: {best}; solved in {took}");
        if !self.is_better(&candidate, current.cost) {
            return;
        }
        let nodes = candidate.computes.iter().map(|(node, _)| *node);
        let now: Vec<(NodeId, Ms)> = nodes.zip(current.computes).collect();
        let reason = self.change_reason(&now);
        candidate.proposal.reason = reason;
        self.session.do_send(Planned { request_id: None, result: Ok(Box::new(candidate)) });
    }
}
