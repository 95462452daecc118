//! The cheapest sequence of splits over given devices: dynamic programming over groups.
//!
//! The state after a group is how it was split, since that says who holds what; for every state
//! the cheapest way there is kept. A group's time is that of its slowest share, transfers
//! included, and groups follow one another: an estimate that ignores overlap, so that the
//! finished plan is judged by the simulation.

use super::members::Members;
use super::model::{Crossing, Demand, GroupModel};
use super::problem::{Partition, Policy, Problem};
use super::shares::{GroupProblem, GroupSplit, Holders, Link};
use super::stages::Splits;
use crate::plan::{DeviceIx, Plan, Split, Stage};
use crate::region::{Region, RowRange};

/// How many of the ways to have done the groups before, cheapest first, a min-max search is begun
/// from.
const SEARCHES: usize = 2;

/// One way to have done the groups so far.
struct State {
    parent: Option<usize>,
    split: Split,
    total: f64,
    /// By boundary tensor of the group, then by device: what it holds of it.
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

    /// The plan with the smallest estimate over `members`; `None` where they have no memory for the
    /// features.
    pub(super) fn plan(&mut self, members: &Members) -> Option<Plan> {
        let mut states: Vec<State> = Vec::new();
        let mut front: Vec<usize> = Vec::new();
        for at in 0..self.models.len() {
            let mut next: Vec<State> = Vec::new();
            let parents: Vec<Option<usize>> =
                if at == 0 { vec![None] } else { front.iter().copied().map(Some).collect() };
            for choice in self.choices(at, members) {
                // A search for each parent is dear, and seldom begins from a bad one.
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
            stages,
        }
    }

    /// The ways in which a group may be split.
    fn choices(&mut self, at: usize, members: &Members) -> Vec<Choice> {
        let Policy { partition, leader_idle, .. } = self.problem.policy;
        let model = &self.models[at];
        let fastest =
            members.ids().min_by(|a, b| model.whole[a.index()].total_cmp(&model.whole[b.index()]));
        let mut whole = vec![DeviceIx::LEADER];
        whole.extend(fastest.filter(|device| *device != DeviceIx::LEADER));
        let choice = match model.group.splits {
            Splits::Leader => return vec![Choice::Whole(DeviceIx::LEADER)],
            Splits::Whole => None,
            Splits::Rows => (model.rows > 1).then_some(Choice::Rows),
            Splits::Features => Some(Choice::Features),
        };
        let Some(choice) = choice else { return whole.into_iter().map(Choice::Whole).collect() };
        let mut all = Vec::new();
        if let (Choice::Rows, Partition::Minmax) = (&choice, partition) {
            all.extend(self.steady(at, members).map(Choice::Steady));
        }
        all.push(choice);
        let forced = members.forced || partition != Partition::Minmax;
        if !forced || (members.count() == 1 && !leader_idle) {
            // An idle leader computes only what cannot be split.
            let idle = |device: &DeviceIx| leader_idle && *device == DeviceIx::LEADER;
            all.extend(whole.into_iter().filter(|device| !idle(device)).map(Choice::Whole));
        }
        all
    }

    /// Min-max cuts of computation alone: they hardly move from one group to the next, so that
    /// little has to be sent once the input is where it belongs.
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
        group.share(total, None, members, |this, device, share| {
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

    /// Who holds what of a tensor on the way that leads to `parent`.
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
    /// By rows, as the partition says.
    Rows,
    /// By rows, shares of these lengths.
    Steady(Vec<u32>),
    /// By features, as the partition says.
    Features,
    /// On one device.
    Whole(DeviceIx),
}
