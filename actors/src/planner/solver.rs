//! The solver thread: takes requests and answers each with the best plan.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;
use std::time::Instant;

use edgeld_runtime::coord::Reason;
use edgeld_runtime::coord::emergency::without_idle;
use edgeld_runtime::coord::holdings::Holdings;
use edgeld_runtime::coord::leader::{Lane, Proposal};
use edgeld_runtime::coord::replan::interval_in_proportion;
use edgeld_runtime::cost::{ClusterProfile, Prediction, intervals, makespan, traffic};
use edgeld_runtime::graph::Graph;
use edgeld_runtime::ids::Pair;
use edgeld_runtime::plan::{DeviceIx, Generation, InFlight, Plan, PlanError};
use edgeld_runtime::program::{Derivation, Encoding, Program, Transfer, derive};
use edgeld_runtime::solve::{
    self, Lanes, Objective, Policy, Problem, explain, solve_apart, what_if,
};
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::NodeId;

use crate::api::{PlanInfo, PlanNames, describe};
use crate::worker::panic_text;

/// What the solver is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    /// Which plan is best, for the session's request of this number.
    Plan(u32),
    /// Whether another plan is better than the active one.
    Better,
    /// How long the active plan takes: a hundredth of the effort.
    Prediction,
    /// Which plans to be ready for.
    Contingencies,
}

/// A request to the solver.
pub(super) struct SolveRequest {
    /// What is asked.
    pub question: Question,
    /// Why.
    pub reason: Reason,
    /// The model.
    pub graph: Arc<Graph>,
    /// How its inputs are encoded.
    pub encodings: Vec<Encoding>,
    /// Which plans may be chosen.
    pub policy: Policy,
    /// Whether to explain plans.
    pub explain: bool,
    /// Devices that the plan may use, the leader first.
    pub members: Vec<NodeId>,
    /// Those of them that cannot exchange strips.
    pub apart: Vec<Pair>,
    /// Their names.
    pub names: Vec<String>,
    /// Their profiles.
    pub profile: ClusterProfile,
    /// The active plans, extended to all members.
    pub previous: Vec<PreviousLane>,
    /// Which devices hold which weights.
    pub holdings: Holdings,
    /// Plans that need few weights, if devices were lost.
    pub stopgaps: Vec<Plan>,
    /// Whether all devices compute bit-identical results.
    pub exact: bool,
    /// Expected number of frames, if a short run may be done before weights have moved.
    pub expected_frames: Option<u64>,
}

/// A plan that is active.
pub(super) struct PreviousLane {
    /// The plan, for all members.
    pub plan: Plan,
    /// The time between its answers that was predicted when it became active.
    pub interval: Ms,
    /// How many frames it carries at once.
    pub in_flight: InFlight,
}

/// What is predicted for the active plans now.
pub(super) struct Current {
    /// By the objective: the time of a frame, or that from one answer to the next.
    pub cost: Ms,
    /// Compute time of each device per frame: the sum over the plans that run side by side.
    pub computes: Vec<Ms>,
}

/// A plan for the time after a device was lost.
#[derive(Clone)]
pub(super) struct Contingency {
    /// For the members.
    pub plan: Plan,
    /// Who has a share, the leader first.
    pub members: Vec<NodeId>,
    /// A program for each.
    pub programs: Vec<Arc<Program>>,
}

/// The solver's answer.
pub(super) struct SolveOutcome {
    /// As in the request.
    pub question: Question,
    /// The best plan, or why there is none; nothing where only a prediction was asked for.
    pub result: Option<Result<Candidate, String>>,
    /// Plans to be ready for, if they were asked for.
    pub contingencies: Vec<Contingency>,
    /// The overhead that the predictions contain.
    pub overhead: f64,
    /// What was pursued.
    pub objective: Objective,
    /// Prediction for the active plans with the current profiles.
    pub current: Option<Current>,
    /// How long solving took.
    pub took: Ms,
}

/// A plan and everything derived from it.
#[derive(Clone)]
pub(crate) struct PlannedLane {
    /// For `coord::leader`.
    pub lane: Lane,
    /// For users.
    pub info: PlanInfo,
    /// A program for each member.
    pub programs: Vec<Arc<Program>>,
    /// How long each computes for a frame.
    pub computes: Vec<Ms>,
    /// What they send each other.
    pub transfers: Arc<[Transfer]>,
    /// Payload transferred per frame.
    pub bytes_moved: Bytes,
}

/// One plan or several that run side by side.
#[derive(Clone)]
pub(crate) struct Candidate {
    /// For `coord::leader`.
    pub proposal: Proposal,
    /// Its lanes, in the same order.
    pub lanes: Vec<PlannedLane>,
    /// By the objective: the predicted time of a frame, or that from one answer to the next, under the
    /// best plan: under this one or the one that follows it.
    pub cost: Ms,
    /// How long it takes to fetch and pack the weights that devices lack for the best plan.
    pub moving: Ms,
    /// Predicted compute time per frame of every device considered.
    pub computes: Vec<(NodeId, Ms)>,
}

/// Starts the solver thread; it ends when the sender is dropped.
///
/// # Errors
/// When the thread cannot be spawned.
pub(super) fn start(
    answer: impl Fn(SolveOutcome) + Send + 'static,
) -> std::io::Result<Sender<SolveRequest>> {
    let (sender, requests) = channel::<SolveRequest>();
    let run = move || {
        while let Ok(request) = requests.recv() {
            answer(request.answer());
        }
    };
    Builder::new().name("edgeld-planner".to_owned()).spawn(run)?;
    Ok(sender)
}

impl SolveRequest {
    /// The answer; after a panic it is that there is no plan, so that nobody waits for it.
    fn answer(self) -> SolveOutcome {
        let (question, overhead) = (self.question.clone(), self.profile.overhead);
        let objective = self.policy.objective;
        catch_unwind(AssertUnwindSafe(|| self.run())).unwrap_or_else(|panic| SolveOutcome {
            question,
            result: Some(Err(format!("the planner panicked: {}", panic_text(&*panic)))),
            contingencies: Vec::new(),
            overhead,
            objective,
            current: None,
            took: Ms::ZERO,
        })
    }

    fn run(self) -> SolveOutcome {
        let start = Instant::now();
        let (mut result, mut contingencies, mut current) = (None, Vec::new(), None);
        match &self.question {
            Question::Contingencies => contingencies = self.contingencies(),
            Question::Prediction => current = self.current(),
            Question::Plan(_) | Question::Better => {
                current = self.current();
                result = Some(self.candidate(current.as_ref()));
            }
        }
        SolveOutcome {
            question: self.question,
            result,
            contingencies,
            overhead: self.profile.overhead,
            objective: self.policy.objective,
            current,
            took: Ms::from_duration(start.elapsed()),
        }
    }

    pub(super) fn problem(&self) -> Problem<'_> {
        Problem {
            graph: &self.graph,
            encodings: &self.encodings,
            profile: &self.profile,
            policy: self.policy,
            previous: match &self.previous[..] {
                [only] => Some(&only.plan),
                _ => None,
            },
        }
    }

    pub(super) fn predict(&self, plan: &Plan) -> Result<Prediction, String> {
        let derivation = derive(&self.graph, plan).map_err(|error| error.to_string())?;
        Ok(self.simulate(&derivation))
    }

    pub(super) fn simulate(&self, derivation: &Derivation) -> Prediction {
        makespan(&self.graph, &self.encodings, &self.profile, derivation)
    }

    /// What is predicted for the active plans if frames go to them in the same proportion as before.
    pub(super) fn current(&self) -> Option<Current> {
        let predictions: Option<Vec<Prediction>> =
            self.previous.iter().map(|lane| self.predict(&lane.plan).ok()).collect();
        let predictions = predictions.filter(|predictions| !predictions.is_empty())?;
        let cost = match self.policy.objective {
            // Of several, which are left from another objective, a frame that comes alone gets the
            // one that answers first.
            Objective::Latency => {
                let times = predictions.iter().map(|prediction| self.policy.cost(prediction));
                times.reduce(Ms::min)?
            }
            Objective::Throughput => {
                let depths = self.previous.iter().map(|lane| lane.in_flight);
                let plans: Vec<_> = predictions.iter().zip(depths).collect();
                let before: Vec<Ms> = self.previous.iter().map(|lane| lane.interval).collect();
                interval_in_proportion(&before, &intervals(&plans))
            }
        };
        Some(Current { cost, computes: self.computes(&predictions) })
    }

    /// Each member's compute time per frame, summed over plans that run side by side.
    fn computes<'a>(&self, plans: impl IntoIterator<Item = &'a Prediction>) -> Vec<Ms> {
        let mut sums = vec![Ms::ZERO; self.members.len()];
        for prediction in plans {
            for (sum, time) in sums.iter_mut().zip(&prediction.devices) {
                *sum += time.compute;
            }
        }
        sums
    }

    /// The best plan, or what to start with; the active plans are predicted to take what is `current`.
    pub(super) fn candidate(&self, current: Option<&Current>) -> Result<Candidate, String> {
        let lanes =
            solve_apart(&self.problem(), &self.apart()).map_err(|error| error.to_string())?;
        match self.interim(&lanes, current)? {
            Some(interim) => {
                let (cost, moving) = (lanes.cost(&self.policy), self.moving(&lanes)?);
                Ok(Candidate { cost, moving, ..self.describe(&interim, true)? })
            }
            None => self.describe(&lanes, false),
        }
    }

    /// The pairs of devices that cannot exchange strips, by their places.
    pub(super) fn apart(&self) -> Vec<(DeviceIx, DeviceIx)> {
        let place = |node: NodeId| {
            let at = self.members.iter().position(|member| *member == node)?;
            Some(DeviceIx(at as u16))
        };
        let pairs = self.apart.iter().filter_map(|pair| {
            let [a, b] = pair.map(place);
            a.zip(b)
        });
        pairs.collect()
    }

    fn describe(&self, lanes: &Lanes, provisional: bool) -> Result<Candidate, String> {
        let mut planned: Vec<PlannedLane> = lanes
            .lanes
            .iter()
            .map(|lane| self.describe_lane(lane, lanes).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?;
        if let (true, Some(first)) = (self.explain, planned.first_mut()) {
            first.info.explanation.extend(what_if(&self.problem(), lanes, &self.names));
        }
        let computes = self.computes(lanes.lanes.iter().map(|lane| &lane.solution.prediction));
        let programs = planned.iter().flat_map(|planned| {
            let programs = planned.programs.iter().map(|program| &**program);
            planned.lane.members.iter().copied().zip(programs)
        });
        let moving = self.ready_time(programs, provisional);
        Ok(Candidate {
            proposal: Proposal {
                lanes: planned.iter().map(|planned| planned.lane.clone()).collect(),
                in_flight: lanes.in_flight,
                reason: self.reason,
                provisional,
                alone: self.alone_time(),
            },
            lanes: planned,
            cost: lanes.cost(&self.policy),
            moving,
            computes: self.members.iter().copied().zip(computes).collect(),
        })
    }

    fn describe_lane(&self, lane: &solve::Lane, lanes: &Lanes) -> Result<PlannedLane, PlanError> {
        let ids: Vec<String> = self.members.iter().map(NodeId::to_string).collect();
        let names = PlanNames { ids: &ids, members: &self.members, exact: self.exact };
        let problem = self.problem();
        let mut info = describe(&problem, (lane, lanes), names, Generation(0), self.reason)?;
        if self.explain {
            info.explanation = explain(&problem, &lane.solution, &self.names)?;
        }
        let (plan, kept) = without_idle(&lane.solution.plan);
        let derivation = derive(&self.graph, &plan)?;
        let bytes_moved = traffic(&self.graph, &self.encodings, &plan, &derivation).bytes_moved;
        let planned = Lane {
            plan,
            members: kept.iter().map(|device| self.members[device.index()]).collect(),
            predicted: lane.solution.predicted,
            interval: lane.interval,
            in_flight: lane.in_flight,
        };
        let programs = derivation.programs.into_iter().map(Arc::new).collect();
        let times = &lane.solution.prediction.devices;
        let computes = kept.iter().map(|device| times[device.index()].compute).collect();
        let transfers = derivation.transfers.into();
        Ok(PlannedLane { lane: planned, info, programs, computes, transfers, bytes_moved })
    }
}
