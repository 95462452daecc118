//! What a plan is made of: stages, each split among devices.

use std::num::NonZeroU8;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::graph::{DType, LayerId};
use crate::region::Span;

/// A device's position in the cluster order; 0 is the leader. Shares lie along the rows in this
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeviceIx(pub u16);

impl DeviceIx {
    /// The device that holds the input and receives the output.
    pub const LEADER: DeviceIx = DeviceIx(0);

    /// For indexing tables by device.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Numbers the plans of a session, in ascending order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u32);

/// Where the shares of a stage meet: device d has the rows (or features) between boundary d and
/// boundary d + 1. A device between two equal boundaries has an empty share.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cuts(Vec<u32>);

impl Cuts {
    /// From the length of every device's share, in cluster order.
    pub fn from_lengths(lengths: impl IntoIterator<Item = u32>) -> Cuts {
        let mut end = 0;
        let ends = lengths.into_iter().map(|length| {
            end += length;
            end
        });
        Cuts(std::iter::once(0).chain(ends).collect())
    }

    /// The boundaries, from 0 to the number of rows; one more than there are devices.
    pub fn boundaries(&self) -> &[u32] {
        &self.0
    }

    /// Number of devices.
    pub(crate) fn devices(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// Total number of rows or features.
    pub fn total(&self) -> u32 {
        self.0.last().copied().unwrap_or(0)
    }

    /// The share of `device`.
    pub fn range<Axis: Copy>(&self, device: DeviceIx) -> Span<Axis> {
        Span::new(self.0[device.index()], self.0[device.index() + 1])
    }

    /// The share of `device` in a tensor with `total` rows: boundaries are scaled and rounded down.
    pub fn scaled_range<Axis: Copy>(&self, device: DeviceIx, total: u32) -> Span<Axis> {
        let scale =
            |cut: u32| (u64::from(cut) * u64::from(total) / u64::from(self.total().max(1))) as u32;
        Span::new(scale(self.0[device.index()]), scale(self.0[device.index() + 1]))
    }
}

/// Who computes what of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Split {
    /// Rows of the stage's last layer.
    Rows(Cuts),
    /// Features (output channels) of the stage's first layer; the layers after it follow, channel
    /// by channel.
    Features(Cuts),
    /// Everything on one device.
    Whole(DeviceIx),
}

/// Consecutive layers between which nothing is exchanged: a fused group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stage {
    /// First layer, and the one after the last, in topological order.
    pub layers: Range<u32>,
    /// Who computes what.
    pub split: Split,
}

impl Stage {
    /// The ids of its layers.
    pub fn layer_ids(&self) -> impl DoubleEndedIterator<Item = LayerId> + use<> {
        self.layers.clone().map(LayerId)
    }

    /// The layer to which cuts of rows refer.
    pub fn last_layer(&self) -> LayerId {
        LayerId(self.layers.end.saturating_sub(1))
    }
}

/// How strips travel between stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exchange {
    /// Gathered to the leader after every stage and scattered again, as the published systems do.
    Leader,
    /// Directly from the device that owns them to those that need them.
    Peer,
}

/// Who computes what, for one model on one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Plan {
    /// Number of devices, the leader included.
    pub devices: u16,
    /// How strips travel.
    pub exchange: Exchange,
    /// What activations travel as. Pixels of pictures travel as they are.
    pub wire: DType,
    /// What devices keep packed weights as.
    pub weights: DType,
    /// In how many pieces a share of few rows is computed, by features: the rows of one piece travel
    /// while the next is computed. What is gained where links are slow is lost again to more
    /// messages and transforms where they are fast.
    pub pieces: NonZeroU8,
    /// All layers, stage after stage.
    pub stages: Vec<Stage>,
}

impl Plan {
    /// A plan in which strips travel between peers, and everything is float32.
    pub fn new(devices: u16, stages: Vec<Stage>) -> Plan {
        let (wire, weights) = (DType::F32, DType::F32);
        let pieces = NonZeroU8::MIN;
        Plan { devices, exchange: Exchange::Peer, wire, weights, pieces, stages }
    }

    /// The plan of one device: everything on the leader.
    pub fn alone(layers: u32) -> Plan {
        let stage = Stage { layers: 0..layers, split: Split::Whole(DeviceIx::LEADER) };
        Plan::new(1, vec![stage])
    }

    /// All devices, in cluster order.
    pub fn device_ids(&self) -> impl DoubleEndedIterator<Item = DeviceIx> + use<> {
        (0..self.devices).map(DeviceIx)
    }

    /// The same work in a larger cluster: device i of the plan is `places[i]` there, and the others
    /// have nothing to do. The places must be in order.
    pub fn spread_over(&self, places: &[DeviceIx], devices: u16) -> Plan {
        let widen = |cuts: &Cuts| {
            Cuts::from_lengths((0..devices).map(|place| {
                let member = places.iter().position(|at| at.0 == place);
                member.map_or(0, |member| cuts.range::<()>(DeviceIx(member as u16)).len())
            }))
        };
        let mut wide = Plan { devices, ..self.clone() };
        for stage in &mut wide.stages {
            stage.split = match &stage.split {
                Split::Rows(cuts) => Split::Rows(widen(cuts)),
                Split::Features(cuts) => Split::Features(widen(cuts)),
                Split::Whole(owner) => Split::Whole(places[owner.index()]),
            };
        }
        wide
    }

    /// Whether a device has a share. A leader that only runs whole stages while others share the
    /// split ones counts as idle, as in EdgeLD.
    pub fn is_active(&self, device: DeviceIx) -> bool {
        let is_split = |stage: &Stage| !matches!(stage.split, Split::Whole(_));
        let shares_nothing = !self.stages.iter().any(is_split);
        self.stages.iter().any(|stage| match &stage.split {
            Split::Rows(cuts) | Split::Features(cuts) => !cuts.range::<()>(device).is_empty(),
            Split::Whole(owner) => {
                *owner == device && (device != DeviceIx::LEADER || shares_nothing)
            }
        })
    }
}
