//! A device of the cluster, as users see it.

use edgeld_runtime::units::{Bytes, Mbps, Ms};
use edgeld_runtime::wire::NodeId;
use serde::Serialize;

/// How a device was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Found {
    /// It is this device.
    #[serde(rename = "self")]
    Me,
    /// It announced itself over mDNS.
    Mdns,
    /// Its address was given.
    Peer,
}

/// What a device is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceState {
    /// Found; being measured or getting its weights.
    Joining,
    /// Has a share of the current plan.
    Active,
    /// Ready, without a share.
    Idle,
    /// Not heard of for a while.
    Suspect,
    /// Gone.
    Lost,
}

/// A device of the cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// Which.
    #[serde(serialize_with = "as_text")]
    pub id: NodeId,
    /// Its name, for people.
    pub name: String,
    /// Where it is reached, `host:port`.
    pub address: String,
    /// Whether it is the leader.
    pub leader: bool,
    /// How it was found.
    pub found: Found,
    /// What it is doing.
    pub state: DeviceState,
    /// Measured convolution speed, 10^9 floating-point operations a second.
    pub gflops: Option<f64>,
    /// Measured goodput of its link.
    #[serde(rename = "goodput_mbps")]
    pub goodput: Option<Mbps>,
    /// Measured round trip to it.
    #[serde(rename = "rtt_ms")]
    pub rtt: Option<Ms>,
    /// What it may use.
    #[serde(rename = "memory_bytes")]
    pub memory: Bytes,
}

impl DeviceInfo {
    /// Whether `other` is the same but for figures that moved by less than a tenth: nothing that
    /// is worth telling again.
    pub fn is_much_like(&self, other: &DeviceInfo) -> bool {
        let near = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() <= 0.1 * a.abs().max(b.abs()),
            (a, b) => a == b,
        };
        let with_its_figures = DeviceInfo {
            gflops: other.gflops,
            goodput: other.goodput,
            rtt: other.rtt,
            ..self.clone()
        };
        with_its_figures == *other
            && near(self.gflops, other.gflops)
            && near(self.goodput.map(|rate| rate.0), other.goodput.map(|rate| rate.0))
            && near(self.rtt.map(|time| time.0), other.rtt.map(|time| time.0))
    }
}

fn as_text<S: serde::Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}
