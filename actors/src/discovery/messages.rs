//! Messages to the DiscoveryActor, and the events it sends to sessions.

use actix::prelude::*;
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::wire::{Hello, NodeId, WorkerMessage};
use tokio::sync::mpsc::UnboundedSender;

use super::sighting::Sighting;
use crate::api::{DeviceInfo, Event};
use crate::profiler::ProfilerActor;
use crate::transport::{Connection, Network, Sender, TransportError};

/// A connected and measured device.
#[derive(Clone)]
pub(crate) struct Peer {
    /// Its `Hello`.
    pub hello: Hello,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The network that reaches it; the leader's own worker is in the same process.
    pub network: Network,
    /// Its control connection.
    pub control: Sender,
    /// The actor that refines its profile.
    pub profiler: Addr<ProfilerActor>,
    /// How fast it is.
    pub profile: DeviceProfile,
    /// How fast its link is.
    pub link: LinkProfile,
}

/// Events for sessions.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) enum DeviceEvent {
    /// All usable devices, when a session is attached.
    Snapshot(Vec<Peer>),
    /// A device became usable.
    Joined(Box<Peer>),
    /// A device is about to leave.
    Leaving(NodeId),
    /// A device is gone.
    Gone {
        /// The device.
        node: NodeId,
        /// Whether it said goodbye.
        left: bool,
    },
    /// A device sent a message.
    Message(NodeId, WorkerMessage),
    /// A device's profile has changed.
    Profiled(NodeId, Box<DeviceProfile>, LinkProfile),
    /// The list of devices shown to users has changed.
    Devices(Vec<DeviceInfo>),
}

/// Send events to a session from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttachSession(pub Recipient<DeviceEvent>);

/// Send events about devices, and warnings, to a subscriber from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Subscribe(pub UnboundedSender<Event>);

/// Send an event to all subscribers.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Publish(pub Event);

/// Ask which peers cannot take part, and why.
#[derive(Message)]
#[rtype(result = "FailedPeers")]
pub(crate) struct QueryFailures;

/// Peers that cannot take part.
#[derive(Debug, Default)]
pub(crate) struct FailedPeers {
    /// Given addresses that cannot be reached or used.
    pub named: Vec<(String, TransportError)>,
    /// Sighted devices that refused this one or were refused, by name.
    pub seen: Vec<(String, TransportError)>,
}

/// A source has reported something.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Sighted(pub Sighting);

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Dialled {
    pub(super) node: NodeId,
    pub(super) connection: Result<Connection, TransportError>,
}

/// What arrives on a worker's control connection.
#[derive(Debug)]
pub(super) enum ControlEvent {
    /// A message.
    Message(WorkerMessage),
    /// The connection ended, and why.
    Closed(TransportError),
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ControlReceived {
    pub(super) node: NodeId,
    pub(super) connection_id: u64,
    pub(super) event: ControlEvent,
}
