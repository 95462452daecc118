//! Plans for devices of which some cannot reach each other, although the leader reaches them all.
//!
//! The best plan of all may do without the links that do not work. Otherwise the best one is taken
//! of those in which all strips go through the leader and those that leave out one of two devices
//! that would have to exchange strips.

use std::cmp::Ordering;

use super::lanes::{Lane, Lanes, solve_lanes};
use super::problem::{Candidate, Problem, Solution, SolveError};
use crate::cost::{ClusterProfile, makespan};
use crate::graph::Graph;
use crate::plan::{DeviceIx, Exchange, Plan};
use crate::program::derive;

/// With more pairs than this, only one device of each is tried to be left out.
const TRY_BOTH: usize = 3;

/// As [`solve_lanes`], for devices that cannot exchange strips if they are one of the pairs `apart`.
/// The leader is in none of them.
///
/// # Errors
/// When there is no device, or no such plan fits in memory.
pub fn solve_apart(problem: &Problem, apart: &[(DeviceIx, DeviceIx)]) -> Result<Lanes, SolveError> {
    let best = solve_lanes(problem)?;
    let Some(pair) = first_exchanging(problem.graph, &best, apart)? else { return Ok(best) };
    let mut found = Vec::new();
    for device in to_leave_out(pair, apart) {
        let kept: Vec<DeviceIx> = problem.profile.ids().filter(|other| *other != device).collect();
        found.push(solve_among(problem, &kept, apart));
    }
    let mut relayed = *problem;
    relayed.policy.exchange = Exchange::Leader;
    found.push(solve_lanes(&relayed));
    let mut failed = SolveError::NoDevices;
    let mut fit = Vec::new();
    for result in found {
        match result {
            Ok(lanes) if first_exchanging(problem.graph, &lanes, apart)?.is_none() => {
                fit.push(lanes);
            }
            Ok(_) => {}
            Err(error) => failed = error,
        }
    }
    let cost = |lanes: &Lanes| lanes.cost(&problem.policy).0;
    fit.into_iter().min_by(|a, b| cost(a).total_cmp(&cost(b))).ok_or(failed)
}

/// As [`solve_apart`], with plans in which only the devices `kept` have a part: in order, the leader
/// first.
///
/// # Errors
/// When no such plan fits in memory.
pub fn solve_among(
    problem: &Problem,
    kept: &[DeviceIx],
    apart: &[(DeviceIx, DeviceIx)],
) -> Result<Lanes, SolveError> {
    let Problem { profile, .. } = problem;
    let members = kept.iter().map(|id| (profile.device(*id).clone(), *profile.link(*id)));
    let fewer = ClusterProfile::new(members).with_overhead(profile.overhead);
    let place = |device: &DeviceIx| {
        let at = kept.iter().position(|kept| kept == device)?;
        Some(DeviceIx(at as u16))
    };
    let apart: Vec<(DeviceIx, DeviceIx)> =
        apart.iter().filter_map(|(a, b)| Some((place(a)?, place(b)?))).collect();
    let lanes = solve_apart(&Problem { profile: &fewer, previous: None, ..*problem }, &apart)?;
    let wide = lanes.lanes.into_iter().map(|lane| {
        let solution = widen(problem, lane.solution, kept)?;
        Ok(Lane { solution, ..lane })
    });
    Ok(Lanes { lanes: wide.collect::<Result<_, SolveError>>()?, in_flight: lanes.in_flight })
}

/// The first of the pairs that would have to exchange strips.
fn first_exchanging(
    graph: &Graph,
    lanes: &Lanes,
    apart: &[(DeviceIx, DeviceIx)],
) -> Result<Option<(DeviceIx, DeviceIx)>, SolveError> {
    if apart.is_empty() {
        return Ok(None);
    }
    for lane in &lanes.lanes {
        for transfer in derive(graph, &lane.solution.plan)?.transfers {
            let is_it = |(a, b): &&(DeviceIx, DeviceIx)| {
                (transfer.from, transfer.to) == (*a, *b) || (transfer.from, transfer.to) == (*b, *a)
            };
            if let Some(pair) = apart.iter().find(is_it) {
                return Ok(Some(*pair));
            }
        }
    }
    Ok(None)
}

/// The devices of a pair that may be left out: the one that is apart from more others, else either.
fn to_leave_out(
    (one, other): (DeviceIx, DeviceIx),
    apart: &[(DeviceIx, DeviceIx)],
) -> Vec<DeviceIx> {
    let count = |device| apart.iter().filter(|(a, b)| *a == device || *b == device).count();
    match count(one).cmp(&count(other)) {
        Ordering::Greater => vec![one],
        Ordering::Less => vec![other],
        Ordering::Equal if apart.len() > TRY_BOTH => vec![other],
        Ordering::Equal => vec![one, other],
    }
}

/// A solution for these devices as one for all devices of the problem.
fn widen(
    problem: &Problem,
    solution: Solution,
    places: &[DeviceIx],
) -> Result<Solution, SolveError> {
    let Problem { graph, encodings, profile, .. } = problem;
    let plan: Plan = solution.plan.spread_over(places, profile.len() as u16);
    let prediction = makespan(graph, encodings, profile, &derive(graph, &plan)?);
    let candidate = |candidate: Candidate| match candidate {
        Candidate::Over(devices) => {
            Candidate::Over(devices.iter().map(|device| places[device.index()]).collect())
        }
        Candidate::Only(device) => Candidate::Only(places[device.index()]),
        Candidate::Previous => Candidate::Previous,
    };
    let runners_up = solution.runners_up.into_iter();
    Ok(Solution {
        plan,
        prediction,
        chosen: candidate(solution.chosen),
        runners_up: runners_up.map(|(other, time)| (candidate(other), time)).collect(),
        ..solution
    })
}
