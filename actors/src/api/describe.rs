//! Turns a planner solution into the [`PlanInfo`] that users see.

use edgeld_runtime::coord::Reason;
use edgeld_runtime::cost::traffic;
use edgeld_runtime::graph::DType;
use edgeld_runtime::ids::NodeId;
use edgeld_runtime::plan::{DeviceIx, Generation, PlanError, Split, Stage};
use edgeld_runtime::program::derive;
use edgeld_runtime::solve::{Lane, Lanes, Problem};
use edgeld_runtime::units::Bytes;

use super::plan::{PlanInfo, ShareInfo, StageInfo};

/// The devices a plan was made for. Lists are in cluster order.
#[derive(Debug, Clone, Copy)]
pub struct PlanNames<'a> {
    /// Labels used in shares: device ids, or names if there are no ids.
    pub ids: &'a [String],
    /// The ids, if there are any.
    pub members: &'a [NodeId],
    /// Whether kernels and devices are such that the answer is bit-identical to that of one
    /// device, as long as nothing is rounded to halves.
    pub exact: bool,
}

/// Describes one of the plans that run side by side for users, without an explanation.
///
/// # Errors
/// When it does not fit `problem`.
pub fn describe(
    problem: &Problem,
    (lane, lanes): (&Lane, &Lanes),
    names: PlanNames<'_>,
    generation: Generation,
    reason: Reason,
) -> Result<PlanInfo, PlanError> {
    let Problem { graph, encodings, policy, .. } = problem;
    let Lane { solution, interval, in_flight } = lane;
    let plan = &solution.plan;
    let frames_per_second = lanes.frames_per_second();
    let traffic = traffic(graph, encodings, plan, &derive(graph, plan)?);
    let sent = policy.wire != DType::F32 && traffic.bytes_moved > Bytes::ZERO;
    let rounded = sent || policy.weights != DType::F32;
    let whole = |stage: &Stage| {
        let shape = graph.output_shape(stage.last_layer());
        if shape.rows > 1 { shape.rows } else { shape.channels }
    };
    let stages = plan
        .stages
        .iter()
        .zip(&traffic.stages)
        .map(|(stage, traffic)| StageInfo {
            layers: stage.layer_ids().map(|id| graph.layer(id).name.clone()).collect(),
            split: split_name(&stage.split),
            shares: shares(&stage.split, whole(stage), names.ids),
            redundant: traffic.redundant,
            bytes_in: traffic.bytes_in,
        })
        .collect();
    Ok(PlanInfo {
        generation,
        reason,
        objective: policy.objective.to_string(),
        partition: policy.partition.to_string(),
        fusion: policy.fusion.to_string(),
        exchange: policy.exchange.to_string(),
        wire: policy.wire.to_string(),
        weights: policy.weights.to_string(),
        exact: names.exact && !rounded,
        predicted: solution.predicted,
        in_flight: *in_flight,
        part_of_frames: 1e3 / interval.0 / frames_per_second,
        frames_per_second,
        alone: solution.alone,
        stages,
        explanation: Vec::new(),
        plan: plan.clone(),
        members: names.members.to_vec(),
    })
}

/// Each device's part of `whole` rows or features; empty shares are omitted.
fn shares(split: &Split, whole: u32, ids: &[String]) -> Vec<ShareInfo> {
    let share = |device: DeviceIx, from: u32, to: u32| ShareInfo {
        device: ids.get(device.index()).cloned().unwrap_or_default(),
        from,
        to,
    };
    match split {
        Split::Whole(device) => vec![share(*device, 0, whole)],
        Split::Rows(cuts) | Split::Features(cuts) => cuts
            .boundaries()
            .windows(2)
            .zip((0..).map(DeviceIx))
            .filter(|(pair, _)| pair[0] < pair[1])
            .map(|(pair, device)| share(device, pair[0], pair[1]))
            .collect(),
    }
}

fn split_name(split: &Split) -> &'static str {
    match split {
        Split::Rows(_) => "rows",
        Split::Features(_) => "features",
        Split::Whole(_) => "whole",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeld_runtime::plan::Cuts;

    #[test]
    fn empty_shares_are_omitted() {
        let ids = ["a", "b", "c"].map(str::to_owned);
        let split = Split::Rows(Cuts::from_lengths([4, 0, 3]));
        let shares = shares(&split, 7, &ids);
        let found: Vec<_> =
            shares.iter().map(|share| (share.device.as_str(), share.from, share.to)).collect();
        assert_eq!(found, [("a", 0, 4), ("c", 4, 7)]);
    }

    #[test]
    fn a_whole_stage_is_one_share() {
        let ids = ["a", "b"].map(str::to_owned);
        let shares = shares(&Split::Whole(DeviceIx(1)), 7, &ids);
        assert_eq!(shares, [ShareInfo { device: "b".into(), from: 0, to: 7 }]);
    }
}
