//! The cheapest sequence of splits over given devices: dynamic programming over groups.
//!
//! The state after a group is how the group was split, since that determines who holds what; for
//! every state the cheapest way to reach it is kept. A group takes as long as its slowest share,
//! including transfers, and groups run one after another. That estimate ignores overlap, so the
//! finished plan is evaluated by simulation.

use std::num::NonZeroU8;

use super::members::Members;
use super::model::{Crossing, Demand, GroupModel};
use super::problem::{Policy, Problem};
use super::shares::{GroupProblem, GroupSplit, Holders, Link};
use super::stages::AllowedSplit;
use crate::plan::{DeviceIx, Plan, Split, Stage};
use crate::region::{Region, RowRange};

/// From how many states, cheapest first, a min-max search is started.
const SEARCHES: usize = 2;

/// How the groups so far were split, and at what cost.
struct State {
    parent: Option<usize>,
    split: Split,
    total: f64,
    /// Who owns what of the last group's results: by boundary tensor, then by device.
    owned: Vec<Vec<Region>>,
}

/// Finds plans for one problem.
pub(super) struct Planner<'a> {
    problem: &'a Problem<'a>,
    models: &'a [GroupModel],
    links: Vec<Link>,
    demand: Demand,
}

impl<'a> Planner<'a> {
    pub(super) fn new(problem: &'a Problem<'a>, models: &'a [GroupModel]) -> Planner<'a> {
        Planner { problem, models, links: Link::all(problem.profile), demand: Demand::new() }
    }

    /// The plan with the smallest estimate over `members`; `None` if they lack the memory for dense
    /// features.
    pub(super) fn plan(&mut self, members: &Members) -> Option<Plan> {
        let mut states: Vec<State> = Vec::new();
        let mut front: Vec<usize> = Vec::new();
        for at in 0..self.models.len() {
            let mut next: Vec<State> = Vec::new();
            let parents: Vec<Option<usize>> =
                if at == 0 { vec![None] } else { front.iter().copied().map(Some).collect() };
            for choice in self.choices(at, members) {
                // Searching from every parent is expensive, and the first ones are usually good.
                let parents = match choice {
                    Choice::Rows => &parents[..parents.len().min(SEARCHES)],
                    _ => &parents[..],
                };
                let reached = parents
                    .iter()
                    .filter_map(|parent| self.extend(at, &choice, &states, *parent, members));
                let best = reached.reduce(
                    |best, state| {
                        if state.total < best.total { state } else { best }
                    },
                );
                next.extend(best);
            }
            if next.is_empty() {
                return None;
            }
            next.sort_by(|a, b| a.total.total_cmp(&b.total));
            front = (states.len()..states.len() + next.len()).collect();
            states.extend(next);
        }
        let mut last = front.first().copied();
        let mut splits = Vec::with_capacity(self.models.len());
        while let Some(at) = last {
            splits.push(states[at].split.clone());
            last = states[at].parent;
        }
        splits.reverse();
        Some(self.assemble(splits))
    }

    /// The plan with every group on one device.
    pub(super) fn whole(&self, device: DeviceIx) -> Plan {
        self.assemble(vec![Split::Whole(device); self.models.len()])
    }

    fn assemble(&self, splits: Vec<Split>) -> Plan {
        let layers = self.models.iter().map(|model| model.group.layers.clone());
        let stages = layers.zip(splits).map(|(layers, split)| Stage { layers, split }).collect();
        Plan {
            devices: self.problem.profile.len() as u16,
            exchange: self.problem.policy.exchange,
            wire: self.problem.policy.wire,
            weights: self.problem.policy.weights,
            pieces: NonZeroU8::MIN,
            stages,
        }
    }

    /// The ways to split a group that are allowed.
    fn choices(&mut self, at: usize, members: &Members) -> Vec<Choice> {
        let Policy { partition, leader_idle, .. } = self.problem.policy;
        let model = &self.models[at];
        let fastest =
            members.ids().min_by(|a, b| model.whole[a.index()].total_cmp(&model.whole[b.index()]));
        let mut whole = vec![DeviceIx::LEADER];
        whole.extend(fastest.filter(|device| *device != DeviceIx::LEADER));
        let choice = match model.group.allowed {
            AllowedSplit::Leader => return vec![Choice::Whole(DeviceIx::LEADER)],
            AllowedSplit::Whole => None,
            AllowedSplit::Rows | AllowedSplit::RowsOrFeatures => {
                (model.rows > 1).then_some(Choice::Rows)
            }
            AllowedSplit::Features => Some(Choice::Features),
        };
        let Some(choice) = choice else { return whole.into_iter().map(Choice::Whole).collect() };
        let mut all = Vec::new();
        if matches!(choice, Choice::Rows) && partition.compares() {
            all.extend(self.steady(at, members).map(Choice::Steady));
        }
        all.push(choice);
        // A low map may have more blocks of features than rows, or fewer; `spread` counts in rows.
        let by_features = partition.compares() && !self.problem.policy.spread;
        if model.group.allowed == AllowedSplit::RowsOrFeatures && by_features {
            all.push(Choice::Features);
        }
        let must_split = members.must_split || !partition.compares();
        if !must_split || (members.count() == 1 && !leader_idle) {
            // An idle leader computes only what cannot be split.
            let idle = |device: &DeviceIx| leader_idle && *device == DeviceIx::LEADER;
            all.extend(whole.into_iter().filter(|device| !idle(device)).map(Choice::Whole));
        }
        all
    }

    /// Min-max cuts of computation alone. They hardly move from group to group, so that little has
    /// to be sent once the input has been distributed.
    fn steady(&mut self, at: usize, members: &Members) -> Option<Vec<u32>> {
        let mut group = GroupProblem {
            problem: self.problem,
            model: &self.models[at],
            holders: &[],
            sharing: 1.0,
            links: &self.links,
            demand: &mut self.demand,
        };
        let total = group.model.rows;
        group.share_out(total, None, members, |this, device, share| {
            this.model.walk_back(RowRange::new(share.start, share.end), this.demand);
            this.model.compute(device, this.demand)
        })
    }

    fn extend(
        &mut self,
        at: usize,
        choice: &Choice,
        states: &[State],
        parent: Option<usize>,
        members: &Members,
    ) -> Option<State> {
        let model = &self.models[at];
        let holders: Vec<Holders> = model
            .externals
            .iter()
            .map(|external| self.holders(at, external, states, parent))
            .collect();
        let before = parent.map_or(0.0, |parent| states[parent].total);
        let mut group = GroupProblem {
            problem: self.problem,
            model,
            holders: &holders,
            sharing: members.sharing(),
            links: &self.links,
            demand: &mut self.demand,
        };
        let GroupSplit { split, time, owned } = match choice {
            Choice::Whole(device) => group.whole(*device),
            Choice::Rows => {
                let lengths = group.lengths(members)?;
                group.rows(lengths)
            }
            Choice::Steady(lengths) => group.rows(lengths.clone()),
            Choice::Features => group.features(members)?,
        };
        Some(State { parent, split, total: before + time, owned })
    }

    /// Who holds what of a tensor in state `parent`.
    fn holders<'e>(
        &self,
        at: usize,
        external: &Crossing,
        states: &'e [State],
        parent: Option<usize>,
    ) -> Holders<'e> {
        let (mut at, mut state) = (at, parent);
        while let Some(index) = state {
            at -= 1;
            let made = self.models[at].boundary.iter().position(|b| b.tensor == external.tensor);
            if let Some(place) = made {
                return Holders::from_parts(&states[index].owned[place]);
            }
            state = states[index].parent;
        }
        Holders::LEADER_ALONE
    }
}

/// A way to split a group.
#[derive(Debug, Clone)]
enum Choice {
    /// By rows, with the policy's partition.
    Rows,
    /// By rows, with shares of these lengths.
    Steady(Vec<u32>),
    /// By features, with the policy's partition.
    Features,
    /// On one device.
    Whole(DeviceIx),
}
