//! What to start with, if frames would have to wait for the devices of the best plans.

use std::collections::VecDeque;

use edgeld_runtime::coord::Reason;
use edgeld_runtime::coord::emergency::{alone_is_sooner, on_leader, seams, spliced, with_idle};
use edgeld_runtime::coord::holdings::moving_time;
use edgeld_runtime::coord::replan::is_notable;
use edgeld_runtime::plan::{DeviceIx, Plan};
use edgeld_runtime::program::{Program, derive};
use edgeld_runtime::solve::{Lane, Lanes, Solution, solve_among};
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::NodeId;

use super::solver::{Current, PreviousLane, Question, SolveRequest};

/// How many frames more a plan must answer until the best one is ready, to be worth its own start. After
/// a join any gain is: who starts a device wants to see it at work.
const MORE_FRAMES: f64 = 1.0;

impl SolveRequest {
    /// Lanes that are ready sooner than these, if there is reason to hurry.
    pub(super) fn interim(
        &self,
        lanes: &Lanes,
        current: Option<&Current>,
    ) -> Result<Option<Lanes>, String> {
        match (self.reason, &lanes.lanes[..]) {
            (Reason::Lost | Reason::Left | Reason::Link, [best]) => self.soonest(best),
            (Reason::Lost | Reason::Left | Reason::Link, _) => self.without_fetching(lanes),
            (Reason::Start, [first, ..]) => self.leader_first(first, lanes),
            (Reason::Joined | Reason::Faster, [best]) => self.meanwhile(best, current),
            _ => Ok(None),
        }
    }

    /// The plan that answers most frames until the best one is ready, if that is more than go on under
    /// the present one. A device more makes all shares lower, a slow one those of others higher: with
    /// other tiles, and other features of dense layers, every device packs its weights anew. So what is
    /// tried is the best plan with weights as they are packed, and its first stages before the other
    /// stages of the present plan.
    fn meanwhile(&self, best: &Lane, current: Option<&Current>) -> Result<Option<Lanes>, String> {
        let ([PreviousLane { plan: present, .. }], Some(current)) = (&self.previous[..], current)
        else {
            return Ok(None);
        };
        // There the current cost is no time of a frame that runs by itself.
        if self.policy.overlaps() {
            return Ok(None);
        }
        let wanted = &best.solution.plan;
        // Most checks for better plans find none.
        let is_check = self.question == Question::Better;
        if is_check && !is_notable(current.cost, best.solution.predicted) {
            return Ok(None);
        }
        let derivation = derive(&self.graph, wanted).map_err(|error| error.to_string())?;
        let wait = self.all_ready_time(&derivation.programs, false);
        let mut most = (if is_check { MORE_FRAMES } else { 0.0 }, None);
        // Strips between devices that are apart may be in neither plan, but in one made of both.
        let seams = if self.apart.is_empty() { seams(wanted, present) } else { Vec::new() };
        let spliced = seams.into_iter().rev().map(|seam| spliced(wanted, present, seam));
        for plan in std::iter::once(wanted.clone()).chain(spliced) {
            // Not every two plans go together.
            let Ok(derivation) = derive(&self.graph, &plan) else { continue };
            let total = self.simulate(&derivation).total;
            let earlier = wait - self.all_ready_time(&derivation.programs, true);
            let more = earlier.0 / total.0 - earlier.0 / current.cost.0;
            let is_sooner = earlier > Ms::ZERO && total < current.cost;
            let fits = || self.fit(self.profile.ids().zip(&derivation.programs), best.in_flight);
            if is_sooner && more > most.0 && fits() {
                most = (more, Some(plan));
            }
        }
        most.1.map(|plan| self.instead(best, plan)).transpose()
    }

    /// What each member does in each of these lanes.
    fn programs(&self, lanes: &Lanes) -> Result<Vec<(NodeId, Program)>, String> {
        let mut programs = Vec::new();
        for lane in &lanes.lanes {
            let derivation = derive(&self.graph, &lane.solution.plan);
            let derivation = derivation.map_err(|error| error.to_string())?;
            programs.extend(self.members.iter().copied().zip(derivation.programs));
        }
        Ok(programs)
    }

    /// The plan under which the next frame is answered soonest, if that is not the best one: the best
    /// plan may need weights that have to be fetched and packed first. Others are the best plan for
    /// those devices that have packed weights by now, those that need few weights, and all with the
    /// stages for which a device lacks weights on the leader.
    fn soonest(&self, best: &Lane) -> Result<Option<Lanes>, String> {
        let mut plans = VecDeque::from([best.solution.plan.clone()]);
        plans.extend(self.among_the_prepared());
        plans.extend(self.stopgaps.iter().cloned());
        let mut soonest = (Ms(f64::INFINITY), None);
        while let Some(plan) = plans.pop_front() {
            // One that was made for other devices may not be valid.
            let Ok(derivation) = derive(&self.graph, &plan) else { continue };
            let programs = &derivation.programs[..];
            let lacking = self.holdings.lacking(&self.graph, programs, &self.members);
            if !lacking.is_empty() && best.solution.alone.is_some() {
                plans.push_back(on_leader(&plan, &lacking));
            }
            let stopgap = plan != best.solution.plan;
            let fits = || self.fit(self.profile.ids().zip(programs), best.in_flight);
            let answered =
                self.all_ready_time(programs, stopgap) + self.simulate(&derivation).total;
            if answered < soonest.0 && (!stopgap || fits()) {
                soonest = (answered, Some(plan));
            }
        }
        match soonest.1 {
            Some(plan) if plan != best.solution.plan => self.instead(best, plan).map(Some),
            _ => Ok(None),
        }
    }

    /// The best plan for the leader and the devices that have packed weights, if there are others.
    fn among_the_prepared(&self) -> Option<Plan> {
        let is_prepared = |device: &DeviceIx| {
            *device == DeviceIx::LEADER || self.holdings.has_prepared(self.members[device.index()])
        };
        let kept: Vec<DeviceIx> = self.profile.ids().filter(is_prepared).collect();
        if kept.len() == self.members.len() {
            return None;
        }
        // Without one the other plans remain.
        let lanes = solve_among(&self.problem(), &kept, &self.apart()).ok()?;
        Some(lanes.lanes.into_iter().next()?.solution.plan)
    }

    /// The lanes whose members have their weights, if those of others do not.
    fn without_fetching(&self, lanes: &Lanes) -> Result<Option<Lanes>, String> {
        let mut ready = Vec::new();
        for lane in &lanes.lanes {
            let derivation = derive(&self.graph, &lane.solution.plan);
            let programs = derivation.map_err(|error| error.to_string())?.programs;
            if self.holdings.lacking(&self.graph, &programs, &self.members).is_empty() {
                ready.push(lane.clone());
            }
        }
        let fewer = !ready.is_empty() && ready.len() < lanes.lanes.len();
        Ok(fewer.then_some(Lanes { lanes: ready, in_flight: lanes.in_flight }))
    }

    /// The leader alone, if it will have answered all expected frames before the others have their
    /// weights.
    fn leader_first(&self, first: &Lane, lanes: &Lanes) -> Result<Option<Lanes>, String> {
        let (Some(frames), Some(alone)) = (self.expected_frames, first.solution.alone) else {
            return Ok(None);
        };
        let programs = self.programs(lanes)?;
        let moving = self.moving_time(programs.iter().map(|(node, program)| (*node, program)));
        let whole = Plan::alone(self.graph.layers().len() as u32);
        match with_idle(&whole, &self.members[..1], &self.members) {
            Some(plan) if alone_is_sooner(frames, alone, moving) => {
                self.instead(first, plan).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How long it takes until the leader alone has answered a frame, if it prepares itself for that
    /// first.
    pub(super) fn alone_time(&self) -> Ms {
        let whole = Plan::alone(self.graph.layers().len() as u32);
        let plan = with_idle(&whole, &self.members[..1], &self.members);
        let derivation = plan.and_then(|plan| derive(&self.graph, &plan).ok());
        derivation.map_or(Ms::ZERO, |derivation| {
            self.all_ready_time(&derivation.programs, true) + self.simulate(&derivation).total
        })
    }

    /// One plan for all frames in place of the lanes that were solved for.
    fn instead(&self, lane: &Lane, plan: Plan) -> Result<Lanes, String> {
        let prediction = self.predict(&plan)?;
        let predicted = prediction.total;
        let solution = Solution { plan, prediction, predicted, ..lane.solution.clone() };
        Ok(Lanes::of_one(solution, lane.in_flight))
    }

    /// How long until all devices have the weights for their programs.
    fn moving_time<'a>(&self, programs: impl IntoIterator<Item = (NodeId, &'a Program)>) -> Ms {
        let mut missing = vec![Bytes::ZERO; self.members.len()];
        for (device, node, program) in self.placed(programs) {
            missing[device.index()] += self.holdings.missing(&self.graph, program, node);
        }
        moving_time(&self.profile, &missing)
    }

    /// How long until devices have fetched and packed what they need for these lanes.
    pub(super) fn moving(&self, lanes: &Lanes) -> Result<Ms, String> {
        let programs = self.programs(lanes)?;
        Ok(self.ready_time(programs.iter().map(|(node, program)| (*node, program)), false))
    }

    /// How long until devices have fetched and packed what they need for their programs; for a stopgap
    /// they use weights as they are packed.
    pub(super) fn ready_time<'a>(
        &self,
        programs: impl IntoIterator<Item = (NodeId, &'a Program)> + Clone,
        stopgap: bool,
    ) -> Ms {
        let Self { graph, profile, holdings, .. } = self;
        let placed = self.placed(programs.clone());
        let packing = holdings.packing_time(graph, profile, stopgap, placed);
        self.moving_time(programs) + packing
    }

    /// The same for programs of all members.
    fn all_ready_time(&self, programs: &[Program], stopgap: bool) -> Ms {
        self.ready_time(self.members.iter().copied().zip(programs), stopgap)
    }

    /// Programs of members, and their places.
    fn placed<'a>(
        &self,
        programs: impl IntoIterator<Item = (NodeId, &'a Program)>,
    ) -> impl Iterator<Item = (DeviceIx, NodeId, &'a Program)> {
        programs.into_iter().filter_map(|(node, program)| {
            let at = self.members.iter().position(|member| *member == node)?;
            Some((DeviceIx(at as u16), node, program))
        })
    }
}
