#![doc = include_str!("README.md")]

mod apart;
mod bodp;
mod explain;
mod fusion;
mod lanes;
mod members;
mod minmax;
mod model;
mod ocbp;
mod path;
mod problem;
mod shares;
mod stages;
mod subsets;
#[cfg(test)]
mod testing;
mod what_if;

pub use apart::{solve_among, solve_apart};
pub use explain::explain;
pub use lanes::{Lane, Lanes, solve_lanes};
pub use problem::{
    Candidate, Fusion, Objective, Partition, Policy, Problem, Solution, SolveError, UnknownName,
};
pub use what_if::what_if;

use fusion::Outlook;
use model::GroupModel;
use subsets::{Evaluated, Search};

use crate::graph::{Graph, LayerId, TensorId};
use crate::plan::DeviceIx;
use crate::units::Ms;

/// Finds the best plan by the policy's objective: the one with the smallest predicted makespan, or of
/// those that the planner considers the one with most frames a second. It is deterministic: the same problem has
/// the same solution, and a solution given as `previous` is found again.
///
/// # Errors
/// When there is no device, or no plan fits in memory.
pub fn solve(problem: &Problem) -> Result<Solution, SolveError> {
    solve_with(problem, &models(problem, Outlook::first(problem.profile))?)
}

/// The groups of layers that a problem's plans are made of.
fn models(problem: &Problem, outlook: Outlook) -> Result<Vec<GroupModel>, SolveError> {
    let Problem { graph, profile, policy, .. } = problem;
    if profile.is_empty() {
        return Err(SolveError::NoDevices);
    }
    let groups = stages::groups(graph, profile, policy, outlook);
    let leaves = leaves_group(graph, &groups);
    Ok(groups.iter().map(|group| GroupModel::new(problem, group, &leaves)).collect())
}

fn solve_with(problem: &Problem, models: &[GroupModel]) -> Result<Solution, SolveError> {
    let Problem { profile, policy, .. } = problem;
    let mut search = Search::new(problem, models);
    let alone = search.try_whole(DeviceIx::LEADER)?;
    if profile.len() > 1 {
        search.try_subsets()?;
        let finer = search.try_finer_groups()?;
        search.try_pieces()?;
        search.found.extend(finer);
        if !policy.spread {
            search.try_follower(fastest_follower(models, profile.len()))?;
            search.try_previous()?;
        }
    }
    choose(search, alone, policy)
}

/// Picks the cheapest candidate; of equals the previous plan, then a single device.
fn choose(
    search: Search<'_>,
    alone: Option<Evaluated>,
    policy: &Policy,
) -> Result<Solution, SolveError> {
    let mut found = search.found;
    let alone_time = alone.as_ref().map(|evaluated| evaluated.prediction.total);
    let waived = (policy.spread || policy.leader_idle) && !found.is_empty();
    let mut runners_up = Vec::new();
    match alone {
        Some(evaluated) if waived => runners_up.push((evaluated.candidate, evaluated.cost)),
        Some(evaluated) => found.push(evaluated),
        None => {}
    }
    found.sort_by(|a, b| {
        let rank = |evaluated: &Evaluated| match evaluated.candidate {
            Candidate::Previous => 0,
            Candidate::Only(_) => 1,
            Candidate::Over(_) => 2,
        };
        a.cost.0.total_cmp(&b.cost.0).then(rank(a).cmp(&rank(b)))
    });
    let mut found = found.into_iter();
    let Some(best) = found.next() else {
        return Err(search.closest.map_or(SolveError::NoDevices, |short| SolveError::Memory {
            device: short.device,
            needed: short.needed,
            available: short.available,
        }));
    };
    runners_up.extend(found.map(|evaluated| (evaluated.candidate, evaluated.cost)));
    runners_up.sort_by(|a: &(Candidate, Ms), b| a.1.0.total_cmp(&b.1.0));
    let mut seen = vec![best.candidate.clone()];
    runners_up.retain(|(candidate, _)| {
        let new = !seen.contains(candidate);
        seen.push(candidate.clone());
        new
    });
    Ok(Solution {
        plan: best.plan,
        predicted: best.prediction.total,
        alone: alone_time,
        prediction: best.prediction,
        chosen: best.candidate,
        runners_up,
    })
}

/// For every tensor, whether it is an output or read by another group than the one that computes
/// it.
fn leaves_group(graph: &Graph, groups: &[stages::Group]) -> Vec<bool> {
    let mut leaves: Vec<bool> =
        (0..graph.tensor_count() as u32).map(|tensor| graph.is_output(TensorId(tensor))).collect();
    for group in groups {
        for layer in group.layers.clone().map(LayerId) {
            for tensor in &graph.layer(layer).inputs {
                let producer = graph.producer(*tensor);
                if producer.is_none_or(|producer| producer.0 < group.layers.start) {
                    leaves[tensor.index()] = true;
                }
            }
        }
    }
    leaves
}

/// The follower that would run the whole model fastest.
fn fastest_follower(models: &[GroupModel], devices: usize) -> DeviceIx {
    let time = |device: usize| models.iter().map(|model| model.whole[device]).sum::<f64>();
    let fastest = (1..devices).min_by(|a, b| time(*a).total_cmp(&time(*b)));
    DeviceIx(fastest.unwrap_or(0) as u16)
}
