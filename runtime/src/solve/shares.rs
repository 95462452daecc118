//! How the partitions share out one group, given who holds what it reads, and what that costs.

use std::ops::Range;

use super::bodp::bodp;
use super::members::Members;
use super::minmax::{Limits, minmax};
use super::model::{Crossing, Demand, GroupModel};
use super::ocbp::ocbp;
use super::problem::{Partition, Problem};
use crate::cost::{ClusterProfile, DeviceProfile, LinkProfile};
use crate::graph::LayerId;
use crate::plan::{Cuts, DeviceIx, Exchange, Split, feature_step};
use crate::region::{ChannelRange, Region, RowRange};
use crate::units::Bytes;

/// Rows per member that a group needs before every member must have a share (`spread`).
const SPREAD: u64 = 2;

/// A device's link in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    /// Of the interface, per byte.
    per_byte: f64,
    /// Of the processor, per byte.
    processing: f64,
    /// Of an empty message, the processor's time included.
    latency: f64,
}

impl Link {
    pub(super) fn all(profile: &ClusterProfile) -> Vec<Link> {
        let link = |(link, device): (&LinkProfile, &DeviceProfile)| Link {
            per_byte: link.time_for(Bytes(1)).0,
            processing: device.messages.per_byte,
            latency: link.rtt.0 * 0.5 + device.messages.per_message.0,
        };
        profile.links.iter().zip(&profile.devices).map(link).collect()
    }
}

/// Who holds what of an external tensor.
#[derive(Clone, Copy)]
pub(super) struct Holders<'e> {
    /// By device; `None` if the leader has all of it.
    parts: Option<&'e [Region]>,
    /// The only device that has any, if there is just one.
    only: Option<DeviceIx>,
}

impl<'e> Holders<'e> {
    /// The leader holds all of it.
    pub(super) const LEADER_ALONE: Holders<'static> =
        Holders { parts: None, only: Some(DeviceIx::LEADER) };

    /// Every device holds its part.
    pub(super) fn from_parts(parts: &'e [Region]) -> Holders<'e> {
        let mut holders = (0u16..).zip(parts).filter(|(_, part)| !part.is_empty());
        let first = holders.next().map(|(owner, _)| DeviceIx(owner));
        Holders { parts: Some(parts), only: first.filter(|_| holders.next().is_none()) }
    }

    fn part_of(&self, device: DeviceIx, external: &Crossing) -> Region {
        match self.parts {
            Some(parts) => parts[device.index()],
            None if device == DeviceIx::LEADER => external.all(),
            None => Region::empty(),
        }
    }
}

/// A group to be split, given who holds what it reads.
pub(super) struct GroupProblem<'q> {
    pub problem: &'q Problem<'q>,
    pub model: &'q GroupModel,
    /// By external tensor.
    pub holders: &'q [Holders<'q>],
    /// How many devices share the interface of a device that is the only one to have or need a
    /// tensor.
    pub sharing: f64,
    /// By device.
    pub links: &'q [Link],
    pub demand: &'q mut Demand,
}

/// A group split in some way.
pub(super) struct GroupSplit {
    pub split: Split,
    /// Milliseconds of the slowest share.
    pub time: f64,
    /// Who owns what afterwards: by boundary tensor, then by device.
    pub owned: Vec<Vec<Region>>,
}

impl GroupProblem<'_> {
    /// The rows of each device as the partition shares them out.
    pub(super) fn lengths(&mut self, members: &Members) -> Option<Vec<u32>> {
        self.share_out(self.model.rows, None, members, |this, device, share| {
            this.rows_cost(device, RowRange::new(share.start, share.end))
        })
    }

    pub(super) fn rows(&mut self, lengths: Vec<u32>) -> GroupSplit {
        let cuts = Cuts::from_lengths(lengths);
        let mut time: f64 = 0.0;
        let mut owned = vec![Vec::new(); self.model.boundary.len()];
        for device in self.problem.profile.ids() {
            let rows: RowRange = cuts.range(device);
            time = time.max(self.rows_cost(device, rows));
            self.model.walk_back(rows, self.demand);
            for (owned, crossing) in owned.iter_mut().zip(&self.model.boundary) {
                owned.push(self.owned_after(
                    device,
                    crossing,
                    self.model.made(crossing, self.demand),
                ));
            }
        }
        GroupSplit { split: Split::Rows(cuts), time, owned }
    }

    pub(super) fn features(&mut self, members: &Members) -> Option<GroupSplit> {
        let graph = self.problem.graph;
        let first = LayerId(self.model.group.layers.start);
        let features = graph.output_shape(first).channels;
        let step = feature_step(graph, first)?.min(features);
        let blocks = (features / step).max(1);
        // The last block takes the remainder.
        let range = |blocks_of: Range<u32>| {
            let border = |block: u32| if block == blocks { features } else { block * step };
            ChannelRange::new(border(blocks_of.start), border(blocks_of.end))
        };
        let most: Vec<u32> = members
            .feature_cap
            .iter()
            .map(|cap| if *cap >= 1.0 { u32::MAX } else { (cap * f64::from(blocks)) as u32 })
            .collect();
        let lengths = self.share_out(blocks, Some(&most), members, |this, device, share| {
            this.features_cost(device, range(share))
        })?;
        let mut ranges = Vec::with_capacity(lengths.len());
        let mut start = 0;
        for length in lengths {
            ranges.push(range(start..start + length));
            start += length;
        }
        let mut time: f64 = 0.0;
        let mut owned = vec![Vec::new(); self.model.boundary.len()];
        for (device, range) in self.problem.profile.ids().zip(&ranges) {
            time = time.max(self.features_cost(device, *range));
            for (owned, crossing) in owned.iter_mut().zip(&self.model.boundary) {
                let made = Region::new(*range, RowRange::all(crossing.rows));
                owned.push(self.owned_after(device, crossing, made));
            }
        }
        let cuts = Cuts::from_lengths(ranges.iter().map(ChannelRange::len));
        Some(GroupSplit { split: Split::Features(cuts), time, owned })
    }

    pub(super) fn whole(&mut self, device: DeviceIx) -> GroupSplit {
        let time = if self.model.rows > 0 {
            self.rows_cost(device, RowRange::all(self.model.rows))
        } else {
            0.0
        };
        let owned = self
            .model
            .boundary
            .iter()
            .map(|crossing| {
                let made = |other| if other == device { crossing.all() } else { Region::empty() };
                self.problem
                    .profile
                    .ids()
                    .map(|other| self.owned_after(other, crossing, made(other)))
                    .collect()
            })
            .collect();
        GroupSplit { split: Split::Whole(device), time, owned }
    }

    /// What a device owns of a boundary tensor once the group is done.
    fn owned_after(&self, device: DeviceIx, crossing: &Crossing, made: Region) -> Region {
        match self.problem.policy.exchange {
            Exchange::Peer => made,
            Exchange::Leader if device == DeviceIx::LEADER => crossing.all(),
            Exchange::Leader => Region::empty(),
        }
    }

    /// Shares `total` units among the members by the policy's partition, at most `most` each.
    pub(super) fn share_out(
        &mut self,
        total: u32,
        most: Option<&[u32]>,
        members: &Members,
        mut cost: impl FnMut(&mut Self, DeviceIx, Range<u32>) -> f64,
    ) -> Option<Vec<u32>> {
        let policy = self.problem.policy;
        let most = |device: usize| most.map_or(u32::MAX, |most| most[device]);
        let enough = SPREAD * members.count() as u64 <= u64::from(total);
        let least = u32::from(policy.spread && enough);
        let parts = || members.has_share.iter().copied().enumerate();
        let capabilities: Vec<f64> = parts()
            .map(|(device, part)| {
                let time = self.model.whole[device].max(f64::MIN_POSITIVE);
                if part && most(device) > 0 { 1.0 / time } else { 0.0 }
            })
            .collect();
        let start = bodp(total, &capabilities, least);
        let lengths = match policy.partition {
            Partition::Bodp => start,
            Partition::Ocbp => ocbp(start, &members.has_share, |device, share| {
                cost(self, DeviceIx(device as u16), share)
            }),
            Partition::Minmax => {
                let limits: Vec<Limits> = parts()
                    .map(|(device, part)| match part {
                        true => Limits { least: least.min(most(device)), most: most(device) },
                        false => Limits { least: 0, most: 0 },
                    })
                    .collect();
                minmax(total, &limits, &start, |device, share| {
                    cost(self, DeviceIx(device as u16), share)
                })
            }
        };
        let fits = (0..).zip(&lengths).all(|(device, length)| *length <= most(device));
        (fits && lengths.iter().sum::<u32>() == total).then_some(lengths)
    }

    /// Milliseconds from the start of the group to the end of a share of `rows`.
    fn rows_cost(&mut self, device: DeviceIx, rows: RowRange) -> f64 {
        if rows.is_empty() {
            return 0.0;
        }
        self.model.walk_back(rows, self.demand);
        let mut time = self.model.compute(device, self.demand);
        for (external, holders) in self.model.externals.iter().zip(self.holders) {
            let need = self.model.need(external, self.demand);
            time += self.receive(device, external, *holders, need);
        }
        for crossing in &self.model.boundary {
            time += self.gather(device, crossing, self.model.owned(crossing, rows));
        }
        time
    }

    /// Milliseconds from the start of the group to the end of a share of `features`.
    fn features_cost(&self, device: DeviceIx, features: ChannelRange) -> f64 {
        if features.is_empty() {
            return 0.0;
        }
        let (graph, weights) = (self.problem.graph, self.problem.policy.weights);
        let profile = self.problem.profile.device(device);
        let mut time = 0.0;
        for layer in self.model.group.layers.clone().map(LayerId) {
            let rows = RowRange::all(graph.output_shape(layer).rows);
            let region = Region::new(features, rows);
            time += profile.time(&profile.work(graph, layer, region, rows.len(), weights)).0;
        }
        for (external, holders) in self.model.externals.iter().zip(self.holders) {
            time += self.receive(device, external, *holders, external.all());
        }
        for crossing in &self.model.boundary {
            let owned = Region::new(features, RowRange::all(crossing.rows));
            time += self.gather(device, crossing, owned);
        }
        time
    }

    /// Time to receive the part of `need` that the device does not hold.
    fn receive(
        &self,
        device: DeviceIx,
        external: &Crossing,
        holders: Holders,
        need: Region,
    ) -> f64 {
        let mine = holders.part_of(device, external);
        if mine.covers(need) {
            return 0.0;
        }
        self.transfer(device, holders.only, external.missing(need, mine))
    }

    /// Time to send the leader what it must have.
    fn gather(&self, device: DeviceIx, crossing: &Crossing, owned: Region) -> f64 {
        let wanted = crossing.is_output || self.problem.policy.exchange == Exchange::Leader;
        if !wanted || device == DeviceIx::LEADER || owned.is_empty() {
            return 0.0;
        }
        let bytes = crossing.missing(owned, Region::empty());
        self.transfer(device, Some(DeviceIx::LEADER), bytes)
    }

    /// Time for `bytes` between a device and `other`, if that is the only one to have or need them.
    fn transfer(&self, device: DeviceIx, other: Option<DeviceIx>, bytes: f64) -> f64 {
        let link = &self.links[device.index()];
        let (theirs, latency) = match other.map(|other| &self.links[other.index()]) {
            Some(other) => (other.per_byte * self.sharing, link.latency.max(other.latency)),
            None => (0.0, link.latency),
        };
        bytes * (link.per_byte.max(theirs) + link.processing) + latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::TensorId;
    use crate::solve::Policy;
    use crate::solve::stages::{AllowedSplit, Group};
    use crate::solve::testing::residual;
    use crate::units::{Mbps, Ms};
    use proptest::prelude::*;

    /// The largest cost of the best cuts of `start..total` among `devices` and those after.
    fn brute_force(group: &mut GroupProblem, devices: &[DeviceIx], start: u32, total: u32) -> f64 {
        let [first, rest @ ..] = devices else {
            return if start == total { 0.0 } else { f64::INFINITY };
        };
        (start..=total)
            .map(|end| {
                let mine = group.rows_cost(*first, RowRange::new(start, end));
                mine.max(brute_force(group, rest, end, total))
            })
            .fold(f64::INFINITY, f64::min)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Whoever holds which rows of the input, through the leader or between peers.
        #[test]
        fn no_cuts_are_better_than_min_max(
            devices in prop::collection::vec(
                (0.001..0.1f64, 1.0..500.0f64, 0.0..1.0f64, 0u32..=24), 1..=4),
            through_leader in any::<bool>(),
            share_links in any::<bool>(),
        ) {
            let graph = residual();
            let profile = ClusterProfile::new(devices.iter().map(|(gflops, mbps, latency, _)| {
                let link = LinkProfile::described(Mbps(*mbps), Ms(*latency));
                (DeviceProfile::described(*gflops, 0.1), link)
            }));
            let exchange = if through_leader { Exchange::Leader } else { Exchange::Peer };
            let policy = Policy { exchange, ..Policy::default() };
            let (graph, profile) = (&graph, &profile);
            let problem = Problem { graph, encodings: &[], profile, policy, previous: None };
            let group = Group { layers: 0..4, allowed: AllowedSplit::Rows };
            let leaves: Vec<bool> =
                (0..graph.tensor_count() as u32).map(|id| graph.is_output(TensorId(id))).collect();
            let model = GroupModel::new(&problem, &group, &leaves);
            let mut borders: Vec<u32> = devices.iter().map(|(_, _, _, border)| *border).collect();
            borders.sort_unstable();
            let starts = std::iter::once(0).chain(borders.iter().copied());
            let channels = ChannelRange::all(8);
            let parts: Vec<Region> = starts
                .zip(&borders)
                .map(|(start, end)| Region::new(channels, RowRange::new(start, *end)))
                .collect();
            let holders = [match through_leader {
                true => Holders::LEADER_ALONE,
                false => Holders::from_parts(&parts),
            }];
            let members = Members {
                has_share: vec![true; devices.len()],
                feature_cap: vec![1.0; devices.len()],
                must_split: false,
                share_links,
            };
            let mut demand = Demand::new();
            let mut group = GroupProblem {
                problem: &problem,
                model: &model,
                holders: &holders,
                sharing: members.sharing(),
                links: &Link::all(profile),
                demand: &mut demand,
            };
            let lengths = group.lengths(&members).unwrap();
            let found = group.rows(lengths);
            let ids: Vec<DeviceIx> = profile.ids().collect();
            let best = brute_force(&mut group, &ids, 0, model.rows);
            prop_assert_eq!(found.time, best);
        }
    }
}
