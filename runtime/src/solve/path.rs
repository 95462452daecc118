//! The cheapest sequence of splits over given devices: dynamic programming over groups.
//!
//! The state after a group is how it was split, since that says who holds what; for every state
//! the cheapest way there is kept. A group's time is that of its slowest share, transfers
//! included, and groups follow one another: an estimate that ignores overlap, so that the
//! finished plan is judged by the simulation.

use super::bodp::bodp;
use super::minmax::{Limits, minmax};
use super::model::{Crossing, Demand, Model};
use super::ocbp::ocbp;
use super::problem::{Partition, Policy, Problem};
use super::stages::Splits;
use crate::cost::Work;
use crate::graph::{Graph, LayerId};
use crate::plan::{Cuts, DeviceIx, Exchange, Plan, Split, Stage, feature_step};
use crate::region::{ChannelRange, Region, RowRange};
use crate::units::Bytes;

/// Devices that a plan may use, and how much of the dense layers' features each may hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Members {
    /// By device: whether it has a part in split stages.
    pub splits: Vec<bool>,
    /// By device: the largest part of a layer's features that it has memory for.
    pub feature_cap: Vec<f64>,
    /// Whether every group that can be split is.
    pub forced: bool,
}

impl Members {
    /// The devices with a part.
    pub(super) fn ids(&self) -> impl Iterator<Item = DeviceIx> {
        let splits = self.splits.iter().enumerate();
        splits.filter(|(_, part)| **part).map(|(index, _)| DeviceIx(index as u16))
    }

    fn count(&self) -> usize {
        self.splits.iter().filter(|part| **part).count()
    }
}

/// One way to have done the groups so far.
struct Entry {
    parent: Option<usize>,
    split: Split,
    total: f64,
    /// By boundary tensor of the group, then by device: what it holds of it.
    held: Vec<Vec<Region>>,
}

/// Finds plans for one problem.
pub(super) struct Planner<'a> {
    problem: &'a Problem<'a>,
    models: &'a [Model],
    demand: Demand,
}

impl<'a> Planner<'a> {
    pub(super) fn new(problem: &'a Problem<'a>, models: &'a [Model]) -> Planner<'a> {
        Planner { problem, models, demand: Demand::new() }
    }

    /// The plan with the smallest estimate over `members`, and the estimate in ms. `None` where
    /// the features cannot be held.
    pub(super) fn plan(&mut self, members: &Members) -> Option<Plan> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut front: Vec<usize> = Vec::new();
        for at in 0..self.models.len() {
            let mut next: Vec<Entry> = Vec::new();
            let parents: Vec<Option<usize>> =
                if at == 0 { vec![None] } else { front.iter().copied().map(Some).collect() };
            for option in self.options(at, members) {
                let reached = parents
                    .iter()
                    .filter_map(|parent| self.step(at, option, &entries, *parent, members));
                let best = reached.reduce(
                    |best, entry| {
                        if entry.total < best.total { entry } else { best }
                    },
                );
                next.extend(best);
            }
            if next.is_empty() {
                return None;
            }
            front = (entries.len()..entries.len() + next.len()).collect();
            entries.extend(next);
        }
        let mut last = front
            .into_iter()
            .reduce(|best, at| if entries[at].total < entries[best].total { at } else { best });
        let mut splits = Vec::with_capacity(self.models.len());
        while let Some(at) = last {
            splits.push(entries[at].split.clone());
            last = entries[at].parent;
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
    fn options(&self, at: usize, members: &Members) -> Vec<Choice> {
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
        let forced = members.forced || partition != Partition::Minmax;
        match choice {
            Some(choice) if forced && (members.count() > 1 || leader_idle) => vec![choice],
            Some(choice) => {
                // An idle leader computes only what cannot be split.
                let mut all = vec![choice];
                let idle = |device: &DeviceIx| leader_idle && *device == DeviceIx::LEADER;
                all.extend(whole.into_iter().filter(|device| !idle(device)).map(Choice::Whole));
                all
            }
            None => whole.into_iter().map(Choice::Whole).collect(),
        }
    }

    fn step(
        &mut self,
        at: usize,
        choice: Choice,
        entries: &[Entry],
        parent: Option<usize>,
        members: &Members,
    ) -> Option<Entry> {
        let model = &self.models[at];
        let held: Vec<Held> = model
            .externals
            .iter()
            .map(|external| self.held(at, external, entries, parent))
            .collect();
        let before = parent.map_or(0.0, |parent| entries[parent].total);
        let mut asking = Asking {
            problem: self.problem,
            model,
            held: &held,
            receivers: members.count().saturating_sub(1).max(1) as f64,
            demand: &mut self.demand,
        };
        let (split, time, kept) = match choice {
            Choice::Whole(device) => asking.whole(device),
            Choice::Rows => asking.rows(members)?,
            Choice::Features => asking.features(members)?,
        };
        Some(Entry { parent, split, total: before + time, held: kept })
    }

    /// Who holds what of a tensor on the way that leads to `parent`.
    fn held<'e>(
        &self,
        at: usize,
        external: &Crossing,
        entries: &'e [Entry],
        parent: Option<usize>,
    ) -> Held<'e> {
        let (mut at, mut entry) = (at, parent);
        while let Some(index) = entry {
            at -= 1;
            let made = self.models[at].boundary.iter().position(|b| b.tensor == external.tensor);
            if let Some(place) = made {
                return Held::Spread(&entries[index].held[place]);
            }
            entry = entries[index].parent;
        }
        Held::Leader
    }
}

#[derive(Debug, Clone, Copy)]
enum Choice {
    Rows,
    Features,
    Whole(DeviceIx),
}

/// Who holds what of an external tensor.
#[derive(Clone, Copy)]
enum Held<'e> {
    /// The leader all of it.
    Leader,
    /// By device.
    Spread(&'e [Region]),
}

/// One question: what does this group cost, things being held as they are?
struct Asking<'q> {
    problem: &'q Problem<'q>,
    model: &'q Model,
    held: &'q [Held<'q>],
    /// Devices that share the uplink of a single owner.
    receivers: f64,
    demand: &'q mut Demand,
}

impl Asking<'_> {
    fn rows(&mut self, members: &Members) -> Option<(Split, f64, Vec<Vec<Region>>)> {
        let total = self.model.rows;
        let lengths = self.share(
            total,
            &vec![u32::MAX; members.splits.len()],
            members,
            |this, device, share| this.rows_cost(device, RowRange::new(share.start, share.end)),
        )?;
        let cuts = Cuts::from_lengths(lengths);
        let mut time: f64 = 0.0;
        let mut kept = vec![Vec::new(); self.model.boundary.len()];
        for device in self.problem.profile.ids() {
            let rows: RowRange = cuts.range(device);
            time = time.max(self.rows_cost(device, rows));
            self.model.walk_back(rows, self.demand);
            for (kept, crossing) in kept.iter_mut().zip(&self.model.boundary) {
                kept.push(self.keeps(device, crossing, self.model.made(crossing, self.demand)));
            }
        }
        Some((Split::Rows(cuts), time, kept))
    }

    fn features(&mut self, members: &Members) -> Option<(Split, f64, Vec<Vec<Region>>)> {
        let graph = self.problem.graph;
        let first = LayerId(self.model.group.layers.start);
        let features = graph.output_shape(first).channels;
        let step = feature_step(graph, first)?.min(features);
        let blocks = (features / step).max(1);
        // The last block takes the remainder.
        let range = |blocks_of: std::ops::Range<u32>| {
            let border = |block: u32| if block == blocks { features } else { block * step };
            ChannelRange::new(border(blocks_of.start), border(blocks_of.end))
        };
        let most: Vec<u32> = members
            .feature_cap
            .iter()
            .map(|cap| if *cap >= 1.0 { u32::MAX } else { (cap * f64::from(blocks)) as u32 })
            .collect();
        let lengths = self.share(blocks, &most, members, |this, device, share| {
            this.features_cost(device, range(share))
        })?;
        let mut ranges = Vec::with_capacity(lengths.len());
        let mut start = 0;
        for length in lengths {
            ranges.push(range(start..start + length));
            start += length;
        }
        let mut time: f64 = 0.0;
        let mut kept = vec![Vec::new(); self.model.boundary.len()];
        for (device, range) in self.problem.profile.ids().zip(&ranges) {
            time = time.max(self.features_cost(device, *range));
            for (kept, crossing) in kept.iter_mut().zip(&self.model.boundary) {
                let made = Region::new(*range, RowRange::all(crossing.rows));
                kept.push(self.keeps(device, crossing, made));
            }
        }
        let cuts = Cuts::from_lengths(ranges.iter().map(ChannelRange::len));
        Some((Split::Features(cuts), time, kept))
    }

    fn whole(&mut self, device: DeviceIx) -> (Split, f64, Vec<Vec<Region>>) {
        let time = if self.model.rows > 0 {
            self.rows_cost(device, RowRange::all(self.model.rows))
        } else {
            0.0
        };
        let kept = self
            .model
            .boundary
            .iter()
            .map(|crossing| {
                let made = |other| if other == device { crossing.all() } else { Region::empty() };
                self.problem
                    .profile
                    .ids()
                    .map(|other| self.keeps(other, crossing, made(other)))
                    .collect()
            })
            .collect();
        (Split::Whole(device), time, kept)
    }

    /// What a device has of a boundary tensor once the group is done.
    fn keeps(&self, device: DeviceIx, crossing: &Crossing, made: Region) -> Region {
        match self.problem.policy.exchange {
            Exchange::Peer => made,
            Exchange::Leader if device == DeviceIx::LEADER => crossing.all(),
            Exchange::Leader => Region::empty(),
        }
    }

    /// Shares `total` units among the members as the policy's partition says.
    fn share(
        &mut self,
        total: u32,
        most: &[u32],
        members: &Members,
        mut cost: impl FnMut(&mut Self, DeviceIx, std::ops::Range<u32>) -> f64,
    ) -> Option<Vec<u32>> {
        let policy = self.problem.policy;
        let least = u32::from(policy.spread && members.count() as u64 <= u64::from(total));
        let whole = &self.model.whole;
        let capabilities: Vec<f64> = members
            .splits
            .iter()
            .zip(whole)
            .zip(most)
            .map(
                |((part, time), most)| {
                    if *part && *most > 0 { 1.0 / time.max(f64::MIN_POSITIVE) } else { 0.0 }
                },
            )
            .collect();
        let start = bodp(total, &capabilities, least);
        let lengths = match policy.partition {
            Partition::Bodp => start,
            Partition::Ocbp => ocbp(start, &members.splits, |device, share| {
                cost(self, DeviceIx(device as u16), share)
            }),
            Partition::Minmax => {
                let limits: Vec<Limits> = members
                    .splits
                    .iter()
                    .zip(most)
                    .map(|(part, most)| match part {
                        true => Limits { least: least.min(*most), most: *most },
                        false => Limits { least: 0, most: 0 },
                    })
                    .collect();
                minmax(total, &limits, &start, |device, share| {
                    cost(self, DeviceIx(device as u16), share)
                })
            }
        };
        let fits = lengths.iter().zip(most).all(|(length, most)| length <= most);
        (fits && lengths.iter().sum::<u32>() == total).then_some(lengths)
    }

    /// Milliseconds from the moment the group may begin to the end of a share of `rows`.
    fn rows_cost(&mut self, device: DeviceIx, rows: RowRange) -> f64 {
        if rows.is_empty() {
            return 0.0;
        }
        self.model.walk_back(rows, self.demand);
        let mut time = self.model.compute(device, self.demand);
        for (external, held) in self.model.externals.iter().zip(self.held) {
            let need = self.model.need(external, self.demand);
            time += self.receive(device, external, *held, need);
        }
        for crossing in &self.model.boundary {
            time += self.gather(device, crossing, self.model.owned(crossing, rows));
        }
        time
    }

    /// Milliseconds from the moment the group may begin to the end of a share of `features`.
    fn features_cost(&self, device: DeviceIx, features: ChannelRange) -> f64 {
        if features.is_empty() {
            return 0.0;
        }
        let graph: &Graph = self.problem.graph;
        let profile = self.problem.profile.device(device);
        let mut time = 0.0;
        for layer in self.model.group.layers.clone().map(LayerId) {
            let rows = RowRange::all(graph.output_shape(layer).rows);
            time += profile.time(&Work::of(graph, layer, Region::new(features, rows))).0;
        }
        for (external, held) in self.model.externals.iter().zip(self.held) {
            time += self.receive(device, external, *held, external.all());
        }
        for crossing in &self.model.boundary {
            let owned = Region::new(features, RowRange::all(crossing.rows));
            time += self.gather(device, crossing, owned);
        }
        time
    }

    /// Time to receive what is needed of a tensor and not held.
    fn receive(&self, device: DeviceIx, external: &Crossing, held: Held, need: Region) -> f64 {
        if need.is_empty() {
            return 0.0;
        }
        let (mine, owner) = match held {
            Held::Leader if device == DeviceIx::LEADER => return 0.0,
            Held::Leader => (Region::empty(), Some(DeviceIx::LEADER)),
            Held::Spread(held) => {
                let mine = held[device.index()];
                if mine.covers(need) {
                    return 0.0;
                }
                let mut holders = (0u16..).zip(held).filter(|(_, part)| !part.is_empty());
                let owner = holders.next().map(|(owner, _)| DeviceIx(owner));
                (mine, owner.filter(|_| holders.next().is_none()))
            }
        };
        let bytes = external.missing(need, mine);
        if bytes == Bytes::ZERO { 0.0 } else { self.transfer(device, owner, bytes) }
    }

    /// Time to bring what the leader must have to it.
    fn gather(&self, device: DeviceIx, crossing: &Crossing, owned: Region) -> f64 {
        let wanted = crossing.is_output || self.problem.policy.exchange == Exchange::Leader;
        if !wanted || device == DeviceIx::LEADER || owned.is_empty() {
            return 0.0;
        }
        let bytes = crossing.missing(owned, Region::empty());
        self.transfer(device, Some(DeviceIx::LEADER), bytes)
    }

    /// Time for `bytes` between a device and another that may be the only one that has them or
    /// wants them: then its interface is shared with the other members. The published partitions
    /// know no such sharing.
    fn transfer(&self, device: DeviceIx, other: Option<DeviceIx>, bytes: Bytes) -> f64 {
        let profile = self.problem.profile;
        let link = profile.link(device);
        let own = link.time_for(bytes).0;
        let sharing = match self.problem.policy.partition {
            Partition::Minmax => self.receivers,
            Partition::Bodp | Partition::Ocbp => 1.0,
        };
        let theirs = other.map_or(0.0, |other| profile.link(other).time_for(bytes).0 * sharing);
        let latency = profile.latency(device, other.unwrap_or(device)).0;
        own.max(theirs) + latency + link.processing(bytes).0
    }
}
