//! Plans that run side by side: whole frames on different devices.
//!
//! For [`Objective::Latency`](super::Objective::Latency) there is one lane, the plan that answers
//! soonest, or most often if several frames are in flight. For
//! [`Objective::Throughput`](super::Objective::Throughput) every device with enough memory for the
//! whole model gets a lane of its own: nothing is computed twice and nobody waits for a neighbour's
//! rows. Where one split plan promises more, such as when only the leader can hold the
//! model, that is the one lane, unless everybody is to have a part (`spread`) and can.

use super::fusion::Outlook;
use super::model::GroupModel;
use super::problem::{Objective, Policy, Problem, Solution, SolveError};
use super::subsets::{Evaluated, Search};
use super::{models, solve_with};
use crate::cost::{MemoryNeed, intervals, memory};
use crate::plan::{DeviceIx, Exchange, InFlight};
use crate::program::derive;
use crate::units::Ms;

/// Frames in flight on a device that computes whole frames, if not told: the next one's input is
/// there when it is done with the one before.
const PER_DEVICE: usize = 2;

/// Frames in flight under a split plan, if not told; fewer if memory is short.
const SPLIT: [usize; 3] = [3, 2, 1];

/// One of the plans that run side by side. Every frame runs under one of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Lane {
    /// Its plan.
    pub solution: Solution,
    /// Predicted time from one answer to the next under this plan, while frames wait for all lanes.
    pub interval: Ms,
    /// How many frames this plan carries at once.
    pub in_flight: InFlight,
}

/// The plans that run side by side; there is at least one.
#[derive(Debug, Clone, PartialEq)]
pub struct Lanes {
    /// The plans.
    pub lanes: Vec<Lane>,
    /// How many frames are in the cluster at once, under all plans together.
    pub in_flight: InFlight,
}

impl Lanes {
    /// Predicted rate of answers while frames wait for all lanes.
    pub fn frames_per_second(&self) -> f64 {
        self.lanes.iter().map(|lane| 1e3 / lane.interval.0).sum()
    }

    /// What they cost by this policy: its [cost](Policy::cost) of the first plan, or the time from one
    /// answer to the next under all of them.
    pub fn cost(&self, policy: &Policy) -> Ms {
        match policy.objective {
            Objective::Latency => {
                let first = self.lanes.first();
                first.map_or(Ms(f64::INFINITY), |first| policy.cost(&first.solution.prediction))
            }
            Objective::Throughput => Ms(1e3 / self.frames_per_second()),
        }
    }

    /// One plan for all frames.
    pub fn of_one(solution: Solution, in_flight: InFlight) -> Lanes {
        let interval = intervals(&[(&solution.prediction, in_flight)])[0];
        Lanes { lanes: vec![Lane { solution, interval, in_flight }], in_flight }
    }
}

/// Finds the plans to run side by side that are best by the policy's objective; deterministic.
///
/// # Errors
/// When there is no device, or no plan fits in memory.
pub fn solve_lanes(problem: &Problem) -> Result<Lanes, SolveError> {
    let models = models(problem, Outlook::first(problem.profile))?;
    if problem.policy.objective == Objective::Latency {
        return Ok(Lanes::of_one(solve_with(problem, &models)?, problem.policy.depth()));
    }
    let whole = whole(problem, &models)?;
    let everybody = problem.profile.len() - usize::from(problem.policy.leader_idle);
    if let Some(whole) = &whole
        && problem.policy.spread
        && whole.lanes.len() == everybody
    {
        return Ok(whole.clone());
    }
    match (split(problem, &models), whole) {
        (Ok(split), Some(whole)) if whole.frames_per_second() > split.frames_per_second() => {
            Ok(whole)
        }
        (Ok(split), _) => Ok(split),
        (Err(_), Some(whole)) => Ok(whole),
        (Err(error), None) => Err(error),
    }
}

/// The problem with that many frames in flight under one plan.
fn with_depth<'a>(problem: &Problem<'a>, depth: InFlight) -> Problem<'a> {
    let mut problem = *problem;
    problem.policy.in_flight = Some(depth);
    problem
}

/// One plan for all frames.
fn split(problem: &Problem, models: &[GroupModel]) -> Result<Lanes, SolveError> {
    let told = problem.policy.in_flight;
    let tries = told.map_or(SPLIT.map(InFlight::of).to_vec(), |told| vec![told]);
    let mut solved = Err(SolveError::NoDevices);
    for depth in tries {
        solved = solve_with(&with_depth(problem, depth), models)
            .map(|solution| Lanes::of_one(solution, depth));
        if solved.is_ok() {
            break;
        }
    }
    solved
}

/// Whole frames on every device that can hold the model; `None` if there are no two of them.
fn whole(problem: &Problem, models: &[GroupModel]) -> Result<Option<Lanes>, SolveError> {
    let Problem { profile, policy, .. } = problem;
    if policy.exchange != Exchange::Peer {
        return Ok(None);
    }
    let told = policy.in_flight.map(|told| told.frames() as usize);
    let depth = InFlight::of(told.map_or(PER_DEVICE, |told| told.div_ceil(profile.len())));
    let deep = with_depth(problem, depth);
    let mut search = Search::new(&deep, models);
    let mut found: Vec<(DeviceIx, Evaluated)> = Vec::new();
    for device in profile.ids() {
        found.extend(search.try_whole(device)?.map(|evaluated| (device, evaluated)));
    }
    let own = found.iter().find(|(device, _)| *device == DeviceIx::LEADER);
    let alone = own.map(|(_, evaluated)| evaluated.prediction.total);
    found.retain(|(device, _)| *device != DeviceIx::LEADER || !policy.leader_idle);
    found.sort_by(|(_, a), (_, b)| a.cost.0.total_cmp(&b.cost.0));
    found.truncate(told.unwrap_or(InFlight::MAX.frames() as usize / PER_DEVICE));
    let found = fitting_together(&deep, found)?;
    let predictions: Vec<_> = found.iter().map(|plan| (&plan.prediction, depth)).collect();
    let intervals = intervals(&predictions);
    let lane = |(evaluated, interval): (Evaluated, Ms)| {
        let solution = Solution {
            plan: evaluated.plan,
            predicted: evaluated.prediction.total,
            alone,
            prediction: evaluated.prediction,
            chosen: evaluated.candidate,
            runners_up: Vec::new(),
        };
        let makes_sense = interval.0 > 0.0 && interval.0.is_finite();
        makes_sense.then_some(Lane { solution, interval, in_flight: depth })
    };
    let lanes: Vec<Lane> = found.into_iter().zip(intervals).filter_map(lane).collect();
    let in_flight = InFlight::of(told.unwrap_or(PER_DEVICE * lanes.len()));
    Ok((lanes.len() > 1).then_some(Lanes { lanes, in_flight }))
}

/// Those for which the leader has memory side by side, in cluster order. Each fits on its own; it is
/// the leader's that takes most there, and has to go first.
fn fitting_together(
    problem: &Problem,
    mut found: Vec<(DeviceIx, Evaluated)>,
) -> Result<Vec<Evaluated>, SolveError> {
    found.sort_by_key(|(device, _)| (*device == DeviceIx::LEADER, *device));
    let available = problem.profile.device(DeviceIx::LEADER).memory;
    let mut held = MemoryNeed::default();
    let mut fitting = Vec::new();
    for (device, evaluated) in found {
        let derivation = derive(problem.graph, &evaluated.plan)?;
        let own = derivation.programs.first();
        let need = own.map(|own| memory(problem.graph, own, problem.policy.depth()));
        let sum = held + need.unwrap_or_default();
        if sum.total() <= available {
            held = sum;
            fitting.push((device, evaluated));
        }
    }
    fitting.sort_by_key(|(device, _)| *device);
    Ok(fitting.into_iter().map(|(_, evaluated)| evaluated).collect())
}
