//! Plans for what may happen: the loss of a device.
//!
//! A plan that runs without a device that was just lost gives others larger shares, with weights that
//! they would have to fetch and pack first. So these plans are made while frames run, and devices
//! pack in advance what the plans need. That should be little, as packing slows frames: two others
//! [absorb](edgeld_runtime::coord::emergency::absorbed) what the lost device had. When a device is lost,
//! the plan for that is one of those that [`interim`](super::interim) considers: usually the one that can
//! start at once. The best plan follows when it is ready. If several are lost at once, others absorb what
//! all of them had, with what they packed for the loss of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::emergency::{absorbed, with_idle, without_idle};
use edgeld_runtime::cost::memory;
use edgeld_runtime::graph::{DType, Graph};
use edgeld_runtime::ids::Pair;
use edgeld_runtime::plan::{DeviceIx, InFlight, Plan};
use edgeld_runtime::program::{Program, derive};
use edgeld_runtime::units::Ms;
use edgeld_runtime::wire::NodeId;

use super::messages::StandBy;
use super::solver::{Contingency, PreviousLane, SolveRequest};

/// How long after its first plan a session begins, if weights have to be fetched: those who want a few
/// answers are spared.
const DELAY: Ms = Ms(10_000.0);

/// The same if they only have to be packed.
const STORED_DELAY: Ms = Ms(5_000.0);

/// How long after a later plan, when most are packed: it may soon be followed by another.
const SHORT_DELAY: Ms = Ms(1_000.0);

/// For the loss of how many devices there are plans at most.
const MAX_PLANS: usize = 16;

/// The plans for what may happen to the active one.
#[derive(Default)]
pub(super) struct Contingencies {
    /// Numbers the sets of plans.
    set: u32,
    /// The plans that devices were told of last.
    told: Vec<Contingency>,
    /// When the active plans began, if nobody has planned for what may happen to them.
    begun: Option<Moment>,
}

impl Contingencies {
    /// Begins anew for plans that have just become active.
    pub(super) fn begin(&mut self, now: Moment) {
        self.begun = Some(now);
    }

    /// Whether it is time to plan, until [it was](Contingencies::asked_for). `stored` says whether all
    /// devices have all weights on disk.
    pub(super) fn are_due(&self, now: Moment, stored: bool) -> bool {
        let delay = match self.set {
            0 if stored => STORED_DELAY,
            0 => DELAY,
            _ => SHORT_DELAY,
        };
        self.begun.is_some_and(|begun| now >= begun + delay)
    }

    /// The solver was asked for plans.
    pub(super) fn asked_for(&mut self) {
        self.begun = None;
    }

    /// Takes new plans; returns what to tell the devices. Even where there is no plan, those that are
    /// `active` fetch the rest of the model.
    pub(super) fn replace(
        &mut self,
        contingencies: Vec<Contingency>,
        active: impl Iterator<Item = NodeId>,
        graph: &Graph,
    ) -> StandBy {
        self.set += 1;
        self.told = contingencies;
        let mut plans: BTreeMap<NodeId, Vec<_>> = active.map(|node| (node, Vec::new())).collect();
        for (index, contingency) in self.told.iter().enumerate() {
            for (node, program) in contingency.members.iter().zip(&contingency.programs) {
                let of_node = plans.entry(*node).or_default();
                // It has no part in the plans before.
                of_node.resize(index, BTreeMap::new());
                of_node.push(program.regions(graph));
            }
        }
        let program = self.told.first().and_then(|first| first.programs.first());
        let weights = program.map_or(DType::F32, |program| program.weights);
        StandBy { set: self.set, weights, plans }
    }

    /// The programs of a device under the first `plans` of the set that devices were told of last.
    pub(super) fn programs(&self, node: NodeId, set: u32, plans: u32) -> Vec<&Program> {
        let told = if set == self.set { &self.told[..] } else { &[] };
        let of_node = told
            .iter()
            .take(plans as usize)
            .flat_map(|contingency| contingency.members.iter().zip(&contingency.programs));
        of_node.filter(|(member, _)| **member == node).map(|(_, program)| &**program).collect()
    }

    /// The plan with the most devices among those that `members` allow, for all of them. None of those
    /// that cannot exchange strips, which are `apart`, are in it both.
    pub(super) fn plan_for(&self, members: &[NodeId], apart: &[Pair]) -> Option<Plan> {
        let possible =
            self.told.iter().filter_map(|Contingency { plan, members: of_plan, .. }| {
                let has = |node| of_plan.contains(&node);
                let is_whole = |pair: &Pair| pair.map(has) == [true; 2];
                let plan = with_idle(plan, of_plan, members)?;
                (!apart.iter().any(is_whole)).then_some((of_plan.len(), plan))
            });
        possible.max_by_key(|(devices, _)| *devices).map(|(_, plan)| plan)
    }
}

impl SolveRequest {
    /// A plan for the loss of each device that has a share of the active plan. Where several run side by
    /// side there is none: the others go on.
    pub(super) fn contingencies(&self) -> Vec<Contingency> {
        let [PreviousLane { plan, in_flight, .. }] = &self.previous[..] else { return Vec::new() };
        let shares = plan.device_ids().skip(1).filter(|device| plan.is_active(*device));
        let without = |lost| {
            let (plan, kept) = without_idle(&absorbed(&self.graph, plan, &[lost]));
            let programs = derive(&self.graph, &plan).ok()?.programs;
            let members = kept.iter().map(|device| self.members[device.index()]).collect();
            let fits = self.fit(kept.iter().copied().zip(&programs), *in_flight);
            let programs = fits.then_some(programs)?;
            let programs = programs.into_iter().map(Arc::new).collect();
            Some(Contingency { plan, members, programs })
        };
        shares.take(MAX_PLANS).filter_map(without).collect()
    }

    /// Whether these devices have the memory for their programs.
    pub(super) fn fit<'a>(
        &self,
        programs: impl IntoIterator<Item = (DeviceIx, &'a Program)>,
        in_flight: InFlight,
    ) -> bool {
        programs.into_iter().all(|(device, program)| {
            let need = memory(&self.graph, program, in_flight).total();
            need <= self.profile.device(device).memory
        })
    }
}

#[cfg(test)]
mod tests {
    use edgeld_runtime::models::Vgg;
    use edgeld_runtime::plan::{Cuts, Split, Stage};

    use super::*;

    const NODES: [NodeId; 4] = [NodeId(1), NodeId(2), NodeId(3), NodeId(4)];

    /// A plan for some devices, in which the leader computes everything.
    fn contingency(graph: &Graph, members: &[NodeId]) -> Contingency {
        let others = members.len() as u32 - 1;
        let lengths = std::iter::once(32 - 8 * others).chain((0..others).map(|_| 8));
        let rows = Split::Rows(Cuts::from_lengths(lengths));
        let stages = vec![
            Stage { layers: 0..1, split: rows },
            Stage { layers: 1..graph.layers().len() as u32, split: Split::Whole(DeviceIx::LEADER) },
        ];
        let plan = Plan::new(members.len() as u16, stages);
        let programs = derive(graph, &plan).unwrap().programs.into_iter().map(Arc::new).collect();
        Contingency { plan, members: members.to_vec(), programs }
    }

    #[test]
    fn devices_are_told_once_for_each_plan_and_not_at_once() {
        let mut contingencies = Contingencies::default();
        assert!(!contingencies.are_due(Moment(0.0), true), "there is no plan");
        contingencies.begin(Moment(0.0));
        let soon = Moment(0.0) + STORED_DELAY;
        assert!(!contingencies.are_due(soon, false), "weights have to be fetched");
        assert!(contingencies.are_due(soon, true));
        contingencies.asked_for();
        assert!(!contingencies.are_due(soon + DELAY, true));
    }

    #[test]
    fn of_the_plans_for_a_loss_the_one_with_most_devices_is_considered() {
        let model = Vgg::new(11).unwrap().size(32).classes(3).model().unwrap();
        let graph = &*model.graph;
        let mut contingencies = Contingencies::default();
        let plans = [&NODES[..1], &[NODES[0], NODES[2]], &NODES[..2]];
        let plans = plans.map(|members| contingency(graph, members)).to_vec();
        let told = contingencies.replace(plans, NODES.into_iter(), graph);
        let parts =
            |node| told.plans[&node].iter().map(|plan| !plan.is_empty()).collect::<Vec<_>>();
        assert_eq!(parts(NODES[0]), [true, true, true]);
        assert_eq!(told.plans.values().map(Vec::len).collect::<Vec<_>>(), [3, 3, 2, 0]);
        assert_eq!(contingencies.programs(NODES[0], told.set, 2).len(), 2);
        assert_eq!(contingencies.programs(NODES[2], told.set, 3).len(), 1);
        assert!(contingencies.programs(NODES[0], told.set + 1, 2).is_empty());
        // Without the second device, those with it are out of the question.
        let after = contingencies.plan_for(&[NODES[0], NODES[2], NODES[3]], &[]).unwrap();
        assert_eq!(after.devices, 3);
        assert!(contingencies.plan_for(&NODES[1..], &[]).is_none());
        // Nor those with two devices that do not reach each other.
        let with = |apart: &[Pair]| {
            let plan = contingencies.plan_for(&NODES, apart).unwrap();
            plan.device_ids().map(|device| plan.is_active(device)).collect::<Vec<_>>()
        };
        let [first, second, third] = [NODES[0], NODES[1], NODES[2]];
        assert_eq!(with(&[Pair::of(first, second)])[..3], [true, false, true]);
        assert_eq!(with(&[Pair::of(first, third)])[..3], [true, true, false]);
        let both = [Pair::of(first, second), Pair::of(third, first)];
        assert_eq!(with(&both)[..3], [true, false, false]);
    }
}
