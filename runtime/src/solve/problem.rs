//! What goes into the planner, and what comes out.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cost::{ClusterProfile, Prediction, intervals};
use crate::graph::{DType, Graph};
use crate::plan::{DeviceIx, Exchange, InFlight, Plan, PlanError};
use crate::program::Encoding;
use crate::units::{Bytes, Ms};

/// How the rows of a stage are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Partition {
    /// In proportion to speed, ignoring the network (MoDNN).
    Bodp,
    /// Starting from those, moves row by row from the slowest device to the fastest, taking
    /// transfers into account (EdgeLD).
    Ocbp,
    /// So that the slowest share is as fast as possible.
    #[default]
    Minmax,
}

/// What a plan is to be best at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// A short time from input to answer.
    #[default]
    Latency,
    /// Many frames a second.
    Throughput,
}

impl Partition {
    /// Whether ways to split a group, and whole plans, are compared by their predicted times. The
    /// published partitions split whatever can be split, and never keep a previous plan.
    pub(super) fn compares(self) -> bool {
        match self {
            Partition::Bodp | Partition::Ocbp => false,
            Partition::Minmax => true,
        }
    }
}

/// Which layers run without exchange between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fusion {
    /// Every layer is a stage.
    Layerwise,
    /// A stage ends where the height of the maps changes.
    Block,
    /// Where the planner finds that an exchange costs less than redundant work.
    #[default]
    Auto,
}

/// A name that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of {known}")]
pub struct UnknownName {
    /// What was given.
    pub found: String,
    /// The names that exist.
    pub known: &'static str,
}

macro_rules! names {
    ($type:ident, $known:literal, $($variant:ident = $name:literal),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($type::$variant => $name),+ })
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<$type, UnknownName> {
                match name {
                    $($name => Ok($type::$variant),)+
                    _ => Err(UnknownName { found: name.to_owned(), known: $known }),
                }
            }
        }
    };
}

names!(Partition, "bodp, ocbp, minmax", Bodp = "bodp", Ocbp = "ocbp", Minmax = "minmax");
names!(Fusion, "layerwise, block, auto", Layerwise = "layerwise", Block = "block", Auto = "auto");
names!(Objective, "latency, throughput", Latency = "latency", Throughput = "throughput");
names!(Exchange, "leader, peer", Leader = "leader", Peer = "peer");
names!(DType, "f32, f16", F32 = "f32", F16 = "f16");

/// Which plans are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// How rows are shared out.
    pub partition: Partition,
    /// Which layers make a stage.
    pub fusion: Fusion,
    /// How strips travel.
    pub exchange: Exchange,
    /// What activations travel as.
    pub wire: DType,
    /// What devices keep packed weights as.
    pub weights: DType,
    /// The leader gets no share of split stages; it may run whole ones.
    pub leader_idle: bool,
    /// Every device gets a share of every split stage with at least two rows per device, even if
    /// that costs time; for [`Objective::Throughput`] whole frames, if all can hold the model.
    pub spread: bool,
    /// What a plan is to be best at.
    pub objective: Objective,
    /// How many frames are in the cluster at once; devices need the memory for that many. If `None`,
    /// it is one for [`Objective::Latency`], and as many as keep all devices busy for
    /// [`Objective::Throughput`].
    pub in_flight: Option<InFlight>,
}

impl Policy {
    /// Whether frames may overlap: several are in the cluster at once.
    pub fn overlaps(&self) -> bool {
        self.objective == Objective::Throughput || self.depth() > InFlight::ONE
    }

    /// How many frames one plan carries at once.
    pub(super) fn depth(&self) -> InFlight {
        self.in_flight.unwrap_or_default()
    }

    /// What a plan costs: the time of a frame, or, where several are in flight, that from one answer
    /// to the next. With as many in flight as may be, each of them takes so many times that.
    pub fn cost(&self, prediction: &Prediction) -> Ms {
        match self.overlaps() {
            // Frames may have taken less than simulated, and a device be busy for longer than that.
            false => prediction.total,
            true => intervals(&[(prediction, self.depth())])[0],
        }
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            partition: Partition::default(),
            fusion: Fusion::default(),
            exchange: Exchange::Peer,
            wire: DType::F32,
            weights: DType::F32,
            leader_idle: false,
            spread: false,
            objective: Objective::default(),
            in_flight: None,
        }
    }
}

/// How to share out `graph` among the devices of `profile`.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// The model.
    pub graph: &'a Graph,
    /// How its inputs travel.
    pub encodings: &'a [Encoding],
    /// The devices, in cluster order; the first is the leader.
    pub profile: &'a ClusterProfile,
    /// Which plans are allowed.
    pub policy: Policy,
    /// A plan for the same devices under the same policy, which is kept unless another is faster.
    pub previous: Option<&'a Plan>,
}

/// A kind of plan that was considered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate {
    /// A split over these devices.
    Over(Vec<DeviceIx>),
    /// Everything on one device.
    Only(DeviceIx),
    /// The previous plan.
    Previous,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Candidate::Over(devices) => {
                let numbers: Vec<String> =
                    devices.iter().map(|device| device.0.to_string()).collect();
                write!(f, "split over devices {}", numbers.join(", "))
            }
            Candidate::Only(DeviceIx::LEADER) => f.write_str("the leader alone"),
            Candidate::Only(device) => write!(f, "all on device {}", device.0),
            Candidate::Previous => f.write_str("the previous plan"),
        }
    }
}

/// The plan that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// Who computes what.
    pub plan: Plan,
    /// Predicted time of one inference.
    pub predicted: Ms,
    /// Predicted time of the leader alone; `None` if it cannot hold the model.
    pub alone: Option<Ms>,
    /// Details of the predicted time.
    pub prediction: Prediction,
    /// Which of the candidates it is.
    pub chosen: Candidate,
    /// The other candidates that fit in memory, fastest first.
    pub runners_up: Vec<(Candidate, Ms)>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SolveError {
    /// The cluster has no devices.
    #[error("there is no device to plan for")]
    NoDevices,
    /// Every plan needs more memory on some device than it has.
    #[error(
        "no plan fits in memory: the closest needs {needed} on device {}, which may use \
         {available}; {} are short. Allow it more (--memory) or add a device",
        device.0, needed.saturating_sub(*available)
    )]
    Memory {
        /// Where the closest plan does not fit.
        device: DeviceIx,
        /// What it needs there.
        needed: Bytes,
        /// What the device has.
        available: Bytes,
    },
    /// A plan that does not fit its graph.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::DeviceTime;

    #[test]
    fn a_frame_at_a_time_costs_its_makespan_and_several_what_the_busiest_device_takes() {
        // Learned from frames: they take less than simulated, though not less than computing does.
        let device = DeviceTime { compute: Ms(90.0), ..DeviceTime::default() };
        let prediction = Prediction { total: Ms(50.0), stages: Vec::new(), devices: vec![device] };
        let costs = |in_flight| Policy { in_flight, ..Policy::default() }.cost(&prediction);
        assert_eq!(costs(None), Ms(50.0));
        assert_eq!(costs(Some(InFlight::ONE)), Ms(50.0));
        assert_eq!(costs(Some(InFlight::of(3))), Ms(90.0));
    }

    #[test]
    fn names_parse_back() {
        for partition in [Partition::Bodp, Partition::Ocbp, Partition::Minmax] {
            assert_eq!(partition.to_string().parse(), Ok(partition));
        }
        for fusion in [Fusion::Layerwise, Fusion::Block, Fusion::Auto] {
            assert_eq!(fusion.to_string().parse(), Ok(fusion));
        }
        assert_eq!("peer".parse(), Ok(Exchange::Peer));
        assert_eq!("f16".parse(), Ok(DType::F16));
        let error = "none".parse::<Fusion>().unwrap_err();
        assert_eq!(error.to_string(), "\"none\" is not one of layerwise, block, auto");
    }
}
