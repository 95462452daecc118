//! Random names of devices, of their runs, and of sessions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:08x}", self.0 >> 96)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                u128::from_str_radix(text, 16).map($name)
            }
        }
    };
}

id!(
    /// A device, the same across restarts.
    NodeId
);
id!(
    /// One run of one leader.
    SessionId
);

/// One run of a device's process: a device that starts again is another one, with nothing in memory.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(pub u64);

/// Two devices, in either order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pair {
    low: NodeId,
    high: NodeId,
}

impl Pair {
    /// The pair of two devices.
    pub fn of(a: NodeId, b: NodeId) -> Pair {
        Pair { low: a.min(b), high: a.max(b) }
    }

    /// The other device of the pair; `None` if `node` is not one of the two.
    pub fn other(self, node: NodeId) -> Option<NodeId> {
        match node {
            node if node == self.low => Some(self.high),
            node if node == self.high => Some(self.low),
            _ => None,
        }
    }

    /// Something of both.
    pub fn map<T>(self, of: impl Fn(NodeId) -> T) -> [T; 2] {
        [of(self.low), of(self.high)]
    }

    /// Whether a device is one of the two.
    pub fn has(self, node: NodeId) -> bool {
        self.other(node).is_some()
    }
}
