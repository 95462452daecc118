//! What the discovery actor is told, and what it tells sessions.

use actix::prelude::*;
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::wire::{Hello, NodeId, WorkerMessage};
use tokio::sync::mpsc::UnboundedSender;

use super::control::ControlEvent;
use super::sighting::Sighting;
use crate::api::{DeviceInfo, Event};
use crate::profiler::ProfilerActor;
use crate::transport::{Connection, Network, Sender, TransportError};

/// A device, as a session needs to know it.
#[derive(Clone)]
pub(crate) struct Peer {
    /// How it greeted.
    pub hello: Hello,
    /// Where it may be reached.
    pub addresses: Vec<String>,
    /// By which network; the leader's own worker is within the process.
    pub network: Network,
    /// The way to it.
    pub control: Sender,
    /// Who corrects its profile.
    pub profiler: Addr<ProfilerActor>,
    /// How fast it is.
    pub profile: DeviceProfile,
    /// How fast its link is.
    pub link: LinkProfile,
}

/// What sessions are told.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) enum DeviceEvent {
    /// All devices that may be planned with now: what a session begins with.
    Snapshot(Vec<Peer>),
    /// Another one.
    Joined(Box<Peer>),
    /// A device is gone, in order or not.
    Gone {
        /// Which.
        node: NodeId,
        /// Whether it said goodbye.
        left: bool,
    },
    /// A device says something.
    Message(NodeId, WorkerMessage),
    /// What is known of a device's speed has changed.
    Profiled(NodeId, Box<DeviceProfile>, LinkProfile),
    /// The list for people has changed.
    Devices(Vec<DeviceInfo>),
}

/// Tell a session everything from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttachSession(pub Recipient<DeviceEvent>);

/// Tell a subscriber about devices and warnings from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Subscribe(pub UnboundedSender<Event>);

/// Tell all subscribers something.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Publish(pub Event);

/// Who does not take part, and why?
#[derive(Message)]
#[rtype(result = "FailedPeers")]
pub(crate) struct QueryFailures;

/// Those who do not take part.
#[derive(Debug, Default)]
pub(crate) struct FailedPeers {
    /// Given addresses that lead nowhere.
    pub named: Vec<(String, TransportError)>,
    /// Devices that were seen and will not work with this one, by name.
    pub seen: Vec<(String, TransportError)>,
}

/// Something was seen.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Sighted(pub Sighting);

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Dialled {
    pub(super) node: NodeId,
    pub(super) connection: Result<Connection, TransportError>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ControlReceived {
    pub(super) node: NodeId,
    pub(super) number: u64,
    pub(super) event: ControlEvent,
}
