//! The solver thread: takes requests and answers each with the best plan.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::Builder;
use std::time::Instant;

use edgeld_runtime::coord::Reason;
use edgeld_runtime::coord::emergency::{Holdings, alone_is_sooner, on_leader, without_idle};
use edgeld_runtime::coord::leader::Proposal;
use edgeld_runtime::cost::{ClusterProfile, Prediction, makespan, traffic};
use edgeld_runtime::graph::Graph;
use edgeld_runtime::plan::{DeviceIx, Generation, Plan};
use edgeld_runtime::program::{Encoding, Program, derive};
use edgeld_runtime::solve::{Policy, Problem, Solution, solve};
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::NodeId;

use crate::api::{PlanInfo, PlanNames, describe};

/// A request to the solver.
pub(super) struct SolveRequest {
    /// The session's request; `None` for a check whether another plan is better.
    pub request_id: Option<u32>,
    /// Why.
    pub reason: Reason,
    /// The model.
    pub graph: Arc<Graph>,
    /// How its inputs are encoded.
    pub encodings: Vec<Encoding>,
    /// Which plans may be chosen.
    pub policy: Policy,
    /// Devices that the plan may use, the leader first.
    pub members: Vec<NodeId>,
    /// Their names.
    pub names: Vec<String>,
    /// Their profiles.
    pub profile: ClusterProfile,
    /// The active plan, extended to all members.
    pub previous: Option<Plan>,
    /// Which devices hold which weights.
    pub holdings: Holdings,
    /// Whether all devices compute bit-identical results.
    pub exact: bool,
    /// Expected number of frames, if a short run may be done before weights have moved.
    pub expected_frames: Option<u64>,
}

/// The solver's answer.
pub(super) struct SolveOutcome {
    /// As in the request.
    pub request_id: Option<u32>,
    /// The best plan, or why there is none.
    pub result: Result<Candidate, String>,
    /// Prediction for the active plan with the current profiles.
    pub current: Option<Prediction>,
    /// How long solving took.
    pub took: Ms,
}

/// A plan and everything derived from it.
#[derive(Clone)]
pub(crate) struct Candidate {
    /// For `coord::leader`.
    pub proposal: Proposal,
    /// For users.
    pub info: PlanInfo,
    /// A program for each member of the proposal.
    pub programs: Vec<Arc<Program>>,
    /// Payload transferred per frame.
    pub bytes_moved: Bytes,
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
            answer(request.run());
        }
    };
    Builder::new().name("edgeld-planner".to_owned()).spawn(run)?;
    Ok(sender)
}

impl SolveRequest {
    fn run(self) -> SolveOutcome {
        let start = Instant::now();
        let current = self.previous.as_ref().and_then(|plan| self.predict(plan).ok());
        let result = self.candidate();
        SolveOutcome {
            request_id: self.request_id,
            result,
            current,
            took: Ms::from_duration(start.elapsed()),
        }
    }

    fn problem(&self) -> Problem<'_> {
        Problem {
            graph: &self.graph,
            encodings: &self.encodings,
            profile: &self.profile,
            policy: self.policy,
            previous: self.previous.as_ref(),
        }
    }

    fn predict(&self, plan: &Plan) -> Result<Prediction, String> {
        let derivation = derive(&self.graph, plan).map_err(|error| error.to_string())?;
        Ok(makespan(&self.graph, &self.encodings, &self.profile, &derivation))
    }

    fn candidate(&self) -> Result<Candidate, String> {
        let mut solution = solve(&self.problem()).map_err(|error| error.to_string())?;
        let provisional = match self.interim_plan(&solution)? {
            Some(plan) => {
                solution.prediction = self.predict(&plan)?;
                solution.predicted = solution.prediction.total;
                solution.plan = plan;
                true
            }
            None => false,
        };
        self.describe(solution, provisional)
    }

    /// A plan to start with, if frames would have to wait for weights under the best one.
    fn interim_plan(&self, solution: &Solution) -> Result<Option<Plan>, String> {
        let text = |error: &dyn ToString| error.to_string();
        match self.reason {
            Reason::Lost | Reason::Left | Reason::Link => {
                let lacking = self.holdings.lacking(&self.graph, &solution.plan, &self.members);
                let lacking = lacking.map_err(|error| text(&error))?;
                let fits = solution.alone.is_some() && !lacking.is_empty();
                Ok(fits.then(|| on_leader(&solution.plan, &lacking)))
            }
            Reason::Start => {
                let (Some(frames), Some(alone)) = (self.expected_frames, solution.alone) else {
                    return Ok(None);
                };
                let weights = self.weights_time(&solution.plan)?;
                let layers = self.graph.layers().len() as u32;
                let whole = Plan::alone(layers);
                let devices: Vec<NodeId> = self.members[..1].to_vec();
                let plan =
                    edgeld_runtime::coord::emergency::with_idle(&whole, &devices, &self.members);
                Ok(plan.filter(|_| alone_is_sooner(frames, alone, weights)))
            }
            _ => Ok(None),
        }
    }

    /// How long until all members have their weights, limited by each member's link and by the
    /// leader's, which all weights share.
    fn weights_time(&self, plan: &Plan) -> Result<Ms, String> {
        let derivation = derive(&self.graph, plan).map_err(|error| error.to_string())?;
        let mut all = Bytes::ZERO;
        let mut longest = Ms::ZERO;
        for (program, device) in derivation.programs.iter().zip(self.profile.ids()).skip(1) {
            let features = program.features(&self.graph).into_iter();
            let lacks = features.filter(|(layer, range)| {
                !self.holdings.has(self.members[device.index()], *layer, *range)
            });
            let bytes: u64 = lacks
                .flat_map(|(layer, range)| {
                    let ids = self.graph.layer(layer).op.parameters();
                    ids.map(move |id| (id, u64::from(range.len())))
                })
                .map(|(id, rows)| rows * self.graph.parameter(id).row_bytes())
                .sum();
            all += Bytes(bytes);
            longest = longest.max(self.profile.link(device).time_for(Bytes(bytes)));
        }
        Ok(longest.max(self.profile.link(DeviceIx::LEADER).time_for(all)))
    }

    fn describe(&self, solution: Solution, provisional: bool) -> Result<Candidate, String> {
        let ids: Vec<String> = self.members.iter().map(NodeId::to_string).collect();
        let names =
            PlanNames { ids: &ids, names: &self.names, members: &self.members, exact: self.exact };
        let info = describe(&self.problem(), &solution, names, Generation(0), self.reason);
        let info = info.map_err(|error| error.to_string())?;
        let (plan, kept) = without_idle(&solution.plan);
        let derivation = derive(&self.graph, &plan).map_err(|error| error.to_string())?;
        let bytes_moved = traffic(&self.graph, &self.encodings, &plan, &derivation).bytes_moved;
        let computes = self.members.iter().copied();
        let computes = computes.zip(solution.prediction.devices.iter().map(|time| time.compute));
        Ok(Candidate {
            proposal: Proposal {
                plan,
                members: kept.iter().map(|device| self.members[device.index()]).collect(),
                reason: self.reason,
                provisional,
                predicted: solution.predicted,
                in_flight: self.policy.in_flight,
            },
            info,
            programs: derivation.programs.into_iter().map(Arc::new).collect(),
            bytes_moved,
            computes: computes.collect(),
        })
    }
}
