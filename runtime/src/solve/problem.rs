//! What the planner is asked, and what it answers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cost::{ClusterProfile, Prediction};
use crate::graph::Graph;
use crate::plan::{DeviceIx, Exchange, Plan, PlanError};
use crate::program::Encoding;
use crate::units::{Bytes, Ms};

/// How the rows of a stage are shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Partition {
    /// In proportion to speed, the network ignored (MoDNN).
    Bodp,
    /// From there, row by row from the slowest device to the fastest, transfers included
    /// (EdgeLD).
    Ocbp,
    /// So that the slowest share is as fast as can be.
    #[default]
    Minmax,
}

/// Which layers run without exchange between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fusion {
    /// Every layer is a stage.
    Layerwise,
    /// A stage ends where the height of the maps changes.
    #[default]
    Block,
}

/// A name that is none of those there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not one of {known}")]
pub struct UnknownName {
    /// What was given.
    pub found: String,
    /// What may be given.
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
names!(Fusion, "layerwise, block", Layerwise = "layerwise", Block = "block");
names!(Exchange, "leader, peer", Leader = "leader", Peer = "peer");

/// Which plans may be chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// How rows are shared out.
    pub partition: Partition,
    /// Which layers make a stage.
    pub fusion: Fusion,
    /// How strips travel.
    pub exchange: Exchange,
    /// The leader has no part in split stages; it may hold whole ones.
    pub leader_idle: bool,
    /// Every device has a part of every split stage that has two rows for each, even where that
    /// costs time.
    pub spread: bool,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            partition: Partition::default(),
            fusion: Fusion::default(),
            exchange: Exchange::Peer,
            leader_idle: false,
            spread: false,
        }
    }
}

/// Share out `graph` over the devices of `profile`.
#[derive(Debug, Clone, Copy)]
pub struct Problem<'a> {
    /// The model.
    pub graph: &'a Graph,
    /// How its inputs travel.
    pub encodings: &'a [Encoding],
    /// The devices, in cluster order; the first is the leader.
    pub profile: &'a ClusterProfile,
    /// Which plans may be chosen from.
    pub policy: Policy,
    /// A plan for the same devices under the same policy; it is kept unless another is faster.
    pub previous: Option<&'a Plan>,
}

/// A kind of plan that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Candidate {
    /// The split over these devices.
    Over(Vec<DeviceIx>),
    /// Everything on one device.
    Only(DeviceIx),
    /// The plan there was.
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

/// The plan chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// Who computes what.
    pub plan: Plan,
    /// Predicted time of one inference.
    pub predicted: Ms,
    /// Predicted time of the leader alone; `None` where it cannot hold the model.
    pub alone: Option<Ms>,
    /// How the predicted time comes about.
    pub prediction: Prediction,
    /// Which of the candidates it is.
    pub chosen: Candidate,
    /// The other candidates that fit, fastest first.
    pub runners_up: Vec<(Candidate, Ms)>,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SolveError {
    /// A cluster without devices.
    #[error("there is no device to plan for")]
    NoDevices,
    /// Every plan takes more memory somewhere than there is.
    #[error(
        "no plan fits the memory: the closest takes {needed} on device {}, which may use \
         {available}; {} are short. Give it more (--memory) or add a device",
        device.0, needed.saturating_sub(*available)
    )]
    Memory {
        /// Where the closest plan does not fit.
        device: DeviceIx,
        /// What it takes there.
        needed: Bytes,
        /// What there is.
        available: Bytes,
    },
    /// A plan that does not fit its graph.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_back() {
        for partition in [Partition::Bodp, Partition::Ocbp, Partition::Minmax] {
            assert_eq!(partition.to_string().parse(), Ok(partition));
        }
        assert_eq!("block".parse(), Ok(Fusion::Block));
        assert_eq!("peer".parse(), Ok(Exchange::Peer));
        let error = "auto".parse::<Fusion>().unwrap_err();
        assert_eq!(error.to_string(), "\"auto\" is not one of layerwise, block");
    }
}
