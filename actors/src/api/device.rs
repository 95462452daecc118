//! A device of the cluster, as users see it.

use edgeld_runtime::units::{Bytes, Mbps, Ms};
use edgeld_runtime::wire::NodeId;
use serde::Serialize;

/// How a device was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// This device itself.
    #[serde(rename = "self")]
    Me,
    /// Announced over mDNS.
    Mdns,
    /// Address given by the user.
    Peer,
}

/// What a device is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// Found; being measured or fetching weights.
    Joining,
    /// Computes part of the current plan.
    Active,
    /// Ready, but not part of the current plan.
    Idle,
    /// Silent for a while.
    Suspect,
    /// Connection lost.
    Lost,
}

/// A device of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// Its id.
    #[serde(serialize_with = "as_text")]
    pub id: NodeId,
    /// Its human-readable name.
    pub name: String,
    /// Its address, `host:port`.
    pub address: String,
    /// Whether it is the leader.
    pub leader: bool,
    /// How it was found.
    pub found: Found,
    /// What it is doing.
    pub state: DeviceState,
    /// Measured convolution speed, in GFLOP/s.
    pub gflops: Option<f64>,
    /// Measured goodput of its link.
    #[serde(rename = "goodput_mbps")]
    pub goodput: Option<Mbps>,
    /// Measured round-trip time.
    #[serde(rename = "rtt_ms")]
    pub rtt: Option<Ms>,
    /// Memory it may use.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
    /// The version of its build; empty until it has answered.
    pub version: String,
}

impl DeviceInfo {
    /// Whether `other` is the same device in the same state, with measurements within a tenth: a
    /// difference not worth reporting.
    pub fn is_close_to(&self, other: &DeviceInfo) -> bool {
        let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= 0.1 * a.abs().max(b.abs()),
            (a, b) => a == b,
        };
        let with_same_figures = DeviceInfo {
            gflops: other.gflops,
            goodput: other.goodput,
            rtt: other.rtt,
            ..self.clone()
        };
        with_same_figures == *other
            && near(self.gflops, other.gflops)
            && near(self.goodput.map(|rate| rate.0), other.goodput.map(|rate| rate.0))
            && near(self.rtt.map(|time| time.0), other.rtt.map(|time| time.0))
    }
}

fn as_text<S: serde::Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}
