//! Which devices take part: tries subsets and compares whole plans.
//!
//! Every candidate plan is derived and simulated. If one does not fit in memory, dense features are
//! taken from the device that is short, then its whole share.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroU8;

use super::fusion::{Exposure, Outlook};
use super::members::Members;
use super::model::GroupModel;
use super::models;
use super::path::Planner;
use super::problem::{Candidate, Problem, SolveError};
use super::stages::{Group, cuts_freely};
use crate::cost::{Prediction, makespan, memory, weight_bytes};
use crate::graph::{Graph, LayerId};
use crate::plan::{DeviceIx, Exchange, Plan, Split};
use crate::program::derive;
use crate::region::ChannelRange;
use crate::units::{Bytes, Ms};

/// A plan that fits in memory, and its predicted time.
#[derive(Debug, Clone)]
pub(super) struct Evaluated {
    pub candidate: Candidate,
    pub plan: Plan,
    pub prediction: Prediction,
    /// By the policy's objective.
    pub cost: Ms,
}

/// Where a plan does not fit in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shortage {
    pub device: DeviceIx,
    pub needed: Bytes,
    pub available: Bytes,
    /// The part of the weights of all layers split by features that it has memory for.
    features: f64,
}

impl Shortage {
    fn missing(&self) -> Bytes {
        self.needed.saturating_sub(self.available)
    }
}

/// The plans considered so far.
pub(super) struct Search<'a> {
    problem: &'a Problem<'a>,
    models: &'a [GroupModel],
    planner: Planner<'a>,
    pub found: Vec<Evaluated>,
    /// The plan that came closest to fitting, while none does.
    pub closest: Option<Shortage>,
}

impl<'a> Search<'a> {
    pub(super) fn new(problem: &'a Problem<'a>, models: &'a [GroupModel]) -> Search<'a> {
        let planner = Planner::new(problem, models);
        Search { problem, models, planner, found: Vec::new(), closest: None }
    }

    /// Evaluates everything on one device; `None` if it does not fit there.
    pub(super) fn try_whole(&mut self, device: DeviceIx) -> Result<Option<Evaluated>, SolveError> {
        let plan = self.planner.whole(device);
        Ok(self.evaluate(Candidate::Only(device), plan)?.ok())
    }

    /// Considers everything on one follower, which only exchange between peers allows.
    pub(super) fn try_follower(&mut self, device: DeviceIx) -> Result<(), SolveError> {
        if self.problem.policy.exchange == Exchange::Peer {
            let only = self.try_whole(device)?;
            self.found.extend(only);
        }
        Ok(())
    }

    /// Considers the previous plan, if it is for these devices and was not found again anyway. The
    /// published partitions do not compare times and never keep one.
    pub(super) fn try_previous(&mut self) -> Result<(), SolveError> {
        let Problem { graph, profile, policy, .. } = *self.problem;
        let Some(plan) = self.problem.previous else { return Ok(()) };
        let comparable = usize::from(plan.devices) == profile.len()
            && plan.exchange == policy.exchange
            && (plan.wire, plan.weights) == (policy.wire, policy.weights)
            && policy.partition.compares()
            && self.found.iter().all(|evaluated| evaluated.plan != *plan)
            && self.planner.whole(DeviceIx::LEADER) != *plan
            && plan.check(graph).is_ok();
        if comparable {
            let evaluated = self.evaluate(Candidate::Previous, plan.clone())?;
            self.found.extend(evaluated.ok());
        }
        Ok(())
    }

    /// Considers plans over the most useful devices: all of them, half, a quarter and so on, then
    /// counts around the best of these, ever closer. How a plan's time depends on the count is not
    /// smooth (14 rows over 5 devices or over 7), so the search may miss the best count, by little.
    pub(super) fn try_subsets(&mut self) -> Result<(), SolveError> {
        let order = self.order();
        let careful = self.problem.policy.partition.compares();
        let best = match self.problem.policy.spread {
            true => self.most_devices(&order, careful)?,
            false => self.best_count(&order, careful)?,
        };
        if careful && let Some(best) = best {
            self.try_over(&order[..best], false)?;
        }
        Ok(())
    }

    /// Considers the best plan so far with shares of few rows in pieces: strips leave sooner, but
    /// there are more of them.
    pub(super) fn try_pieces(&mut self) -> Result<(), SolveError> {
        let policy = &self.problem.policy;
        let peers = policy.partition.compares() && policy.exchange == Exchange::Peer;
        let best = self.best().filter(|best| peers && links_are_busy(best));
        let Some(Evaluated { candidate, plan, .. }) = best.cloned() else { return Ok(()) };
        let evaluated = self.evaluate(candidate, Plan { pieces: PIECES, ..plan })?;
        self.found.extend(evaluated.ok());
        Ok(())
    }

    /// Plans over the best devices so far, with layers cut for as many devices and as if most of every
    /// exchange were hidden; none if that changes nothing, or little is left to hide.
    pub(super) fn try_finer_groups(&self) -> Result<Vec<Evaluated>, SolveError> {
        let Problem { profile, policy, .. } = self.problem;
        let Some(best) = self.best().filter(|_| cuts_freely(policy)) else {
            return Ok(Vec::new());
        };
        let Candidate::Over(devices) = &best.candidate else { return Ok(Vec::new()) };
        if devices.len() == profile.len() && !links_are_busy(best) {
            return Ok(Vec::new());
        }
        let outlook = Outlook { devices: devices.len(), exposure: Exposure::Quarter };
        let models = models(self.problem, outlook)?;
        let groups = |models: &[GroupModel]| -> Vec<Group> {
            models.iter().map(|model| model.group.clone()).collect()
        };
        if groups(&models) == groups(self.models) {
            return Ok(Vec::new());
        }
        let mut search = Search::new(self.problem, &models);
        search.try_over(devices, policy.partition.compares())?;
        search.try_pieces()?;
        Ok(search.found)
    }

    fn best(&self) -> Option<&Evaluated> {
        self.found.iter().min_by(|a, b| a.cost.0.total_cmp(&b.cost.0))
    }

    /// The most devices for which there is a plan.
    fn most_devices(
        &mut self,
        order: &[DeviceIx],
        careful: bool,
    ) -> Result<Option<usize>, SolveError> {
        for count in (1..=order.len()).rev() {
            if self.try_over(&order[..count], careful)?.is_some() {
                return Ok(Some(count));
            }
        }
        Ok(None)
    }

    /// How many devices answer soonest, as far as counts were tried.
    fn best_count(
        &mut self,
        order: &[DeviceIx],
        careful: bool,
    ) -> Result<Option<usize>, SolveError> {
        let mut tried = BTreeMap::new();
        let mut counts = halvings(order.len());
        let (mut step, mut last) = (usize::MAX, None);
        loop {
            for count in counts {
                if let Entry::Vacant(entry) = tried.entry(count) {
                    entry.insert(self.try_over(&order[..count], careful)?);
                }
            }
            // Of equals the larger.
            let times = tried.iter().rev().filter_map(|(count, time)| Some((*count, (*time)?)));
            let best = times.min_by(|(_, a), (_, b)| a.0.total_cmp(&b.0));
            let Some((best, _)) = best else { return Ok(None) };
            // As long as it gets better, on with the same step.
            step = if last == Some(best) { step / 2 } else { step.min(best.div_ceil(4)) };
            if step == 0 {
                return Ok(Some(best));
            }
            last = Some(best);
            counts = vec![best.saturating_sub(step), best + step];
            counts.retain(|count| (1..=order.len()).contains(count));
        }
    }

    /// Devices that may get shares of split stages, most useful first: by the time that the whole
    /// model takes on them plus that of the strips of an equal share.
    fn order(&self) -> Vec<DeviceIx> {
        let Problem { profile, policy, .. } = self.problem;
        let mut devices: Vec<DeviceIx> = profile
            .ids()
            .filter(|device| {
                *device != DeviceIx::LEADER || !policy.leader_idle || profile.len() == 1
            })
            .collect();
        let crossing: f64 = self
            .models
            .iter()
            .flat_map(|model| &model.boundary)
            .map(|tensor| tensor.all().lines() as f64 * tensor.line_bytes)
            .sum();
        let bytes = Bytes((crossing / profile.len() as f64) as u64);
        let time = |device: DeviceIx| {
            let compute: f64 = self.models.iter().map(|model| model.whole[device.index()]).sum();
            let strips = profile.link(device).time_for(bytes).0;
            if device == DeviceIx::LEADER { 0.0 } else { compute + strips }
        };
        devices.sort_by(|a, b| time(*a).total_cmp(&time(*b)).then(a.cmp(b)));
        devices
    }

    /// Considers a plan over just these devices, adjusted until it fits in memory. Returns its
    /// cost.
    fn try_over(
        &mut self,
        devices: &[DeviceIx],
        share_links: bool,
    ) -> Result<Option<Ms>, SolveError> {
        let count = self.problem.profile.len();
        let mut members = Members {
            has_share: vec![false; count],
            feature_cap: vec![1.0; count],
            must_split: self.problem.policy.spread,
            share_links,
        };
        for device in devices {
            members.has_share[device.index()] = true;
        }
        for _ in 0..ATTEMPTS {
            let Some(plan) = self.planner.plan(&members) else { return Ok(None) };
            let candidate = Candidate::Over(members.ids().collect());
            let evaluated = self.evaluate(candidate, plan.clone())?;
            match evaluated {
                Ok(evaluated) => {
                    let cost = evaluated.cost;
                    self.found.push(evaluated);
                    return Ok(Some(cost));
                }
                Err(short) if !relieve(&mut members, &plan, &short) => return Ok(None),
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Derives and simulates a plan, or says where it does not fit in memory.
    pub(super) fn evaluate(
        &mut self,
        candidate: Candidate,
        plan: Plan,
    ) -> Result<Result<Evaluated, Vec<Shortage>>, SolveError> {
        let Problem { graph, encodings, profile, policy, .. } = self.problem;
        let derivation = derive(graph, &plan)?;
        let short = derivation.programs.iter().filter_map(|program| {
            let device = program.device;
            let (needed, available) =
                (memory(graph, program, policy.depth()).total(), profile.device(device).memory);
            (needed > available).then(|| {
                let (held, all) = feature_weights(graph, &plan, device);
                let left = (available + held).saturating_sub(needed);
                let features = left.as_f64() / all.as_f64().max(1.0);
                Shortage { device, needed, available, features }
            })
        });
        let short: Vec<Shortage> = short.collect();
        if let Some(most) = short.iter().max_by_key(|short| short.missing()) {
            if self.closest.is_none_or(|closest| most.missing() < closest.missing()) {
                self.closest = Some(*most);
            }
            return Ok(Err(short));
        }
        let prediction = makespan(graph, encodings, profile, &derivation);
        let cost = policy.cost(&prediction);
        Ok(Ok(Evaluated { candidate, plan, prediction, cost }))
    }
}

/// The part of a plan's time for which a link has to be busy for it to be worth a search for plans that
/// hide more of that.
const BUSY: f64 = 0.2;

fn links_are_busy(plan: &Evaluated) -> bool {
    let Prediction { total, devices, .. } = &plan.prediction;
    devices.iter().any(|device| device.uplink.max(device.downlink) > *total * BUSY)
}

/// The number of pieces to try besides one. More gain nothing, since each transforms the same inputs.
const PIECES: NonZeroU8 = NonZeroU8::MIN.saturating_add(1);

/// `count`, half of it, a quarter, .., 1; rounded up.
fn halvings(count: usize) -> Vec<usize> {
    let half = |count: &usize| (*count > 1).then(|| count.div_ceil(2));
    std::iter::successors(Some(count), half).collect()
}

/// Attempts to make a plan fit in memory; each takes something from one device.
const ATTEMPTS: u32 = 24;

/// Takes something from every device that is short of memory: features as long as it has some, then
/// its share of split stages. Returns false if there is nothing left to take.
fn relieve(members: &mut Members, plan: &Plan, short: &[Shortage]) -> bool {
    let is_whole = |short: &Shortage| {
        plan.stages.iter().any(|stage| stage.split == Split::Whole(short.device))
    };
    if !members.must_split && short.iter().any(is_whole) {
        members.must_split = true;
        return true;
    }
    short.iter().all(|short| relieve_one(members, plan, short))
}

fn relieve_one(members: &mut Members, plan: &Plan, short: &Shortage) -> bool {
    let at = short.device.index();
    let has_features = |split: &Split| match split {
        Split::Features(cuts) => !cuts.range::<()>(short.device).is_empty(),
        _ => false,
    };
    if plan.stages.iter().any(|stage| has_features(&stage.split)) {
        // At least a little less than before, or it would go on for ever.
        let less = members.feature_cap[at] * 0.995;
        members.feature_cap[at] =
            if short.features > 0.01 { short.features.min(less) } else { 0.0 };
        return true;
    }
    std::mem::replace(&mut members.has_share[at], false) && members.ids().next().is_some()
}

/// The weights of layers split by features: those of a device, and all.
fn feature_weights(graph: &Graph, plan: &Plan, device: DeviceIx) -> (Bytes, Bytes) {
    let mut sums = (Bytes::ZERO, Bytes::ZERO);
    for stage in &plan.stages {
        let Split::Features(cuts) = &stage.split else { continue };
        for layer in stage.layers.clone().map(LayerId) {
            let bytes = |features| weight_bytes(graph, layer, features, plan.weights);
            sums.0 += bytes(cuts.range(device));
            sums.1 += bytes(ChannelRange::new(0, cuts.total()));
        }
    }
    sums
}
