//! The actor that tracks devices: it takes sightings, keeps a control connection to every device
//! sighted, detects lost ones, and notifies sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::liveness::{FailureDetector, Liveness, TICK};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::wire::{NodeId, Purpose, WorkerMessage};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::control::read_control;
use super::mdns::Mdns;
use super::messages::{
    AttachSession, ControlEvent, ControlReceived, DeviceEvent, Dialled, FailedPeers, Peer, Publish,
    QueryFailures, Sighted, Subscribe,
};
use super::peers::Peers;
use super::sighting::{SightedDevice, Sighting};
use super::tracked::{Connected, MAX_RETRY_DELAY, MIN_RETRY_DELAY, State, TrackedDevice};
use crate::api::{DeviceInfo, DeviceState, Event, Found};
use crate::profiler::{BenchmarkDone, Learned, ProfileUpdated, ProfilerActor};
use crate::transport::{Network, TransportError};
use crate::worker::Device;

/// How many devices of which there are only hints are dialled at once.
const MAX_STRANGERS_DIALLED: usize = 64;

/// How many devices of which there are only hints are remembered.
const MAX_STRANGERS: usize = 1024;

/// The sources of sightings; they end when this is dropped.
#[derive(Default)]
pub(crate) struct Sources {
    /// Multicast.
    pub mdns: Option<Mdns>,
    /// Given addresses.
    pub peers: Option<Peers>,
}

/// The actor.
pub(crate) struct DiscoveryActor {
    device: Arc<Device>,
    network: Network,
    kernels: KernelKind,
    devices: BTreeMap<NodeId, TrackedDevice>,
    /// Given addresses that cannot be reached or used.
    failures: BTreeMap<String, TransportError>,
    sessions: Vec<Recipient<DeviceEvent>>,
    subscribers: Vec<UnboundedSender<Event>>,
    /// The list of devices shown to users.
    published: watch::Sender<Vec<DeviceInfo>>,
    /// Held while probing: links are probed one at a time.
    probe_lock: Arc<tokio::sync::Mutex<()>>,
    detector: FailureDetector,
    last_connection_id: u64,
    sources: Sources,
}

impl DiscoveryActor {
    /// For the leader `device`, which reaches other devices through `network` and its own worker at
    /// `own_address` through `own_network`.
    pub(crate) fn new(
        device: Arc<Device>,
        network: Network,
        (own_network, own_address): (Network, String),
        kernels: KernelKind,
        published: watch::Sender<Vec<DeviceInfo>>,
        sources: Sources,
    ) -> DiscoveryActor {
        let hello = &device.hello;
        let sighted = SightedDevice {
            node: hello.node,
            name: hello.name.clone(),
            addresses: vec![own_address],
            found: Found::Me,
            protocol: hello.protocol,
            build: hello.build.clone(),
        };
        let me = TrackedDevice::new(sighted, own_network, device.clock.now());
        DiscoveryActor {
            devices: BTreeMap::from([(hello.node, me)]),
            detector: FailureDetector::new(device.clock.now()),
            device,
            network,
            kernels,
            failures: BTreeMap::new(),
            sessions: Vec::new(),
            subscribers: Vec::new(),
            published,
            probe_lock: Arc::default(),
            last_connection_id: 0,
            sources,
        }
    }

    /// Dials the devices that are due. Hints wait for their turn, so that a device that is there does
    /// not wait for a thousand that are not.
    fn dial_due(&mut self, now: Moment, context: &mut Context<Self>) {
        let strangers = self.devices.values().filter(|tracked| tracked.is_stranger());
        let dialled = strangers.filter(|tracked| matches!(tracked.state, State::Dialling)).count();
        let mut due: Vec<(NodeId, &TrackedDevice)> = self
            .devices
            .iter()
            .filter(|(_, tracked)| tracked.is_due(now))
            .map(|(node, tracked)| (*node, tracked))
            .collect();
        due.sort_by(|(_, a), (_, b)| a.precedence(b));
        let known = due.iter().filter(|(_, tracked)| !tracked.is_stranger()).count();
        due.truncate(known + MAX_STRANGERS_DIALLED.saturating_sub(dialled));
        let due: Vec<NodeId> = due.into_iter().map(|(node, _)| node).collect();
        due.into_iter().for_each(|node| self.dial(node, context));
    }

    fn dial(&mut self, node: NodeId, context: &mut Context<Self>) {
        let Some(tracked) = self.devices.get_mut(&node) else { return };
        tracked.state = State::Dialling;
        let (network, addresses) = (tracked.network.clone(), tracked.addresses());
        let address = context.address();
        self.network.spawn(async move {
            let connection = network.dial_any(&addresses, node, Purpose::Control).await;
            address.do_send(Dialled { node, connection });
        });
    }

    /// Makes room for a device of which there is only a hint: of the others, the last in order is
    /// forgotten.
    fn make_room(&mut self) {
        let me = self.device.node();
        let is_stranger =
            |(node, tracked): &(&NodeId, &TrackedDevice)| **node != me && tracked.is_stranger();
        let strangers = || self.devices.iter().filter(is_stranger);
        if strangers().count() < MAX_STRANGERS {
            return;
        }
        let last = strangers().max_by(|(_, a), (_, b)| a.precedence(b));
        if let Some(node) = last.map(|(node, _)| *node) {
            self.devices.remove(&node);
        }
    }

    fn peer(&self, node: NodeId) -> Option<Peer> {
        let tracked = self.devices.get(&node)?;
        let State::Connected(connected) = &tracked.state else { return None };
        let (profile, link) = connected.profile.clone().filter(|_| !connected.leaving)?;
        Some(Peer {
            hello: connected.hello.clone(),
            addresses: tracked.addresses(),
            network: tracked.network.clone(),
            control: connected.control.clone(),
            profiler: connected.profiler.clone(),
            profile,
            link,
        })
    }

    fn notify_sessions(&mut self, event: &DeviceEvent) {
        self.sessions.retain(|session| session.connected());
        for session in &self.sessions {
            session.do_send(event.clone());
        }
    }

    fn publish(&mut self, event: &Event) {
        self.subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    /// Handles the end of a device's connection.
    fn disconnected(&mut self, node: NodeId, why: &TransportError) {
        let now = self.device.clock.now();
        let Some(tracked) = self.devices.get_mut(&node) else { return };
        let State::Connected(connected) = &tracked.state else { return };
        let (left, had_joined) = (connected.leaving, connected.profile.is_some());
        tracing::info!("{} disconnected: {why}", tracked.name());
        tracked.state = State::Disconnected(now + tracked.retry_delay);
        (tracked.ended, tracked.is_missed) = (Some(now), !left);
        if let Some(mdns) = self.sources.mdns.as_ref().filter(|_| !left) {
            mdns.verify(node);
        }
        if had_joined {
            self.notify_sessions(&DeviceEvent::Gone { node, left });
        }
        self.publish_devices();
    }

    /// Publishes the list of devices if it has changed noticeably.
    fn publish_devices(&mut self) {
        let me = self.device.node();
        let mut devices: Vec<DeviceInfo> =
            self.devices.values().filter_map(|tracked| self.describe(tracked)).collect();
        devices.sort_by_key(|device| (device.id != me, device.id));
        let same = |(old, new): (&DeviceInfo, &DeviceInfo)| old.is_close_to(new);
        let published = self.published.borrow().clone();
        if published.len() == devices.len() && published.iter().zip(&devices).all(same) {
            return;
        }
        self.published.send_replace(devices.clone());
        self.publish(&Event::Cluster(devices.clone()));
        self.notify_sessions(&DeviceEvent::Devices(devices));
    }

    fn describe(&self, tracked: &TrackedDevice) -> Option<DeviceInfo> {
        let leader = tracked.sighted.node == self.device.node();
        let (state, connected) = match &tracked.state {
            State::Connected(connected) if connected.profile.is_none() => {
                (DeviceState::Joining, Some(connected))
            }
            State::Connected(connected) => match connected.liveness {
                Liveness::Alive => (DeviceState::Idle, Some(connected)),
                Liveness::Suspect | Liveness::Lost => (DeviceState::Suspect, Some(connected)),
            },
            State::Dialling | State::Disconnected(_) if leader => (DeviceState::Joining, None),
            State::Dialling | State::Disconnected(_)
                if tracked.out_of_sight || !tracked.is_missed =>
            {
                return None;
            }
            State::Dialling | State::Disconnected(_) => (DeviceState::Lost, None),
        };
        let profile = connected.and_then(|connected| connected.initial_profile.as_ref());
        let address = match leader {
            true => "this device".to_owned(),
            false => tracked.addresses().into_iter().next().unwrap_or_default(),
        };
        Some(DeviceInfo {
            id: tracked.sighted.node,
            name: tracked.name().to_owned(),
            address: connected
                .filter(|_| !leader)
                .map_or(address, |connected| connected.control.address().to_owned()),
            leader,
            found: tracked.sighted.found,
            state,
            gflops: profile.map(|(device, _)| device.gflops()),
            goodput: profile.filter(|_| !leader).map(|(_, link)| link.goodput),
            rtt: profile.filter(|_| !leader).map(|(_, link)| link.rtt),
            memory: Bytes(connected.map_or(0, |connected| connected.hello.memory)),
            version: connected.map(|connected| connected.hello.build.clone()).unwrap_or_default(),
        })
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        let now = self.device.clock.now();
        self.detector.tick(now);
        let me = self.device.node();
        // This device's own worker shares its fate: if it is late, so is everything here.
        for (_, tracked) in self.devices.iter_mut().filter(|(node, _)| **node != me) {
            let State::Connected(connected) = &mut tracked.state else { continue };
            connected.liveness =
                self.detector.liveness(self.device.clock.at(connected.control.last_heard()));
            if connected.liveness == Liveness::Lost {
                connected.control.abort("the device has been silent for too long");
            }
        }
        self.devices.retain(|node, tracked| *node == me || !tracked.is_gone(now));
        self.dial_due(now, context);
        self.publish_devices();
    }
}

impl Actor for DiscoveryActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.dial(self.device.node(), context);
        context.run_interval(Duration::from_secs_f64(TICK.0 / 1e3), Self::tick);
    }
}

impl Handler<Sighted> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, Sighted(sighting): Sighted, context: &mut Self::Context) {
        match sighting {
            Sighting::Found(sighted) => {
                let node = sighted.node;
                if node == self.device.node() {
                    return;
                }
                let now = self.device.clock.now();
                if let Some(tracked) = self.devices.get_mut(&node) {
                    tracked.sighted_again(sighted, now);
                    return self.dial_due(now, context);
                }
                self.make_room();
                let tracked = TrackedDevice::new(sighted, self.network.clone(), now);
                self.devices.insert(node, tracked);
                self.dial_due(now, context);
            }
            Sighting::Answered { peer } => drop(self.failures.remove(&peer)),
            Sighting::Gone { node, found } => {
                if let Some(tracked) = self.devices.get_mut(&node)
                    && tracked.sighted.found == found
                {
                    tracked.out_of_sight = true;
                }
            }
            Sighting::Failed { peer, error } => {
                self.publish(&Event::Warning(format!("{peer}: {error}")));
                self.failures.insert(peer, error);
            }
        }
    }
}

impl Handler<Dialled> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, Dialled { node, connection }: Dialled, context: &mut Self::Context) {
        let now = self.device.clock.now();
        self.last_connection_id += 1;
        let connection_id = self.last_connection_id;
        let (probe_lock, kernels) = (self.probe_lock.clone(), self.kernels);
        let Some(tracked) = self.devices.get_mut(&node) else { return };
        // Keep an existing connection, e.g. after a second sighting while dialling.
        if matches!(tracked.state, State::Connected(_)) {
            return;
        }
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!("{}: {error}", tracked.name());
                let is_news = matches!(error, TransportError::Refused { .. })
                    && tracked.retry_delay == MIN_RETRY_DELAY;
                tracked.unreachable(now);
                if is_news {
                    let text = format!("{}: {error}", tracked.name());
                    tracked.refused = Some(error);
                    tracked.retry_delay = MAX_RETRY_DELAY;
                    self.publish(&Event::Warning(text));
                }
                return;
            }
        };
        tracked.greeted(connection.address());
        let hello = connection.peer().clone();
        let ids = (node, connection_id);
        let control = read_control(connection, ids, context.address(), &self.network);
        let learned = Learned::of(self.device.cache.clone(), &hello, kernels);
        let profiler = ProfilerActor {
            connection_id,
            hello: hello.clone(),
            control: control.clone(),
            network: tracked.network.clone(),
            addresses: tracked.addresses(),
            is_self: node == self.device.node(),
            kernels,
            probe_lock,
            results: context.address().recipient(),
            learned,
            profile: None,
            link: None,
            last_probe: None,
        };
        let profiler = profiler.start();
        let connected = Connected {
            id: connection_id,
            hello,
            control,
            profiler,
            profile: None,
            initial_profile: None,
            liveness: Liveness::Alive,
            leaving: false,
        };
        tracked.state = State::Connected(Box::new(connected));
        self.publish_devices();
    }
}

impl Handler<ControlReceived> for DiscoveryActor {
    /// Completes when the sessions have taken the message.
    type Result = ResponseFuture<()>;

    fn handle(&mut self, received: ControlReceived, _: &mut Self::Context) -> Self::Result {
        let ControlReceived { node, connection_id, event } = received;
        let done = || -> Self::Result { Box::pin(std::future::ready(())) };
        let state = self.devices.get_mut(&node).map(|device| &mut device.state);
        let Some(State::Connected(connected)) = state else { return done() };
        if connected.id != connection_id {
            return done();
        }
        match event {
            ControlEvent::Message(WorkerMessage::Measured(result)) => {
                connected.profiler.do_send(BenchmarkDone(result))
            }
            ControlEvent::Message(WorkerMessage::Leaving) => {
                connected.leaving = true;
                if connected.profile.is_some() {
                    self.notify_sessions(&DeviceEvent::Leaving(node));
                }
            }
            ControlEvent::Message(message) => {
                let event = DeviceEvent::Message(node, message);
                let sent: Vec<_> =
                    self.sessions.iter().map(|session| session.send(event.clone())).collect();
                return Box::pin(async move {
                    for sent in sent {
                        // A session that has ended needs no message.
                        let _ = sent.await;
                    }
                });
            }
            ControlEvent::Closed(why) => self.disconnected(node, &why),
        }
        done()
    }
}

impl Handler<ProfileUpdated> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, updated: ProfileUpdated, _: &mut Self::Context) {
        let ProfileUpdated { node, connection_id, profile, link } = updated;
        let state = self.devices.get_mut(&node).map(|device| &mut device.state);
        let Some(State::Connected(connected)) = state else { return };
        if connected.id != connection_id {
            return;
        }
        let is_new = connected.profile.replace((profile.clone(), link)).is_none();
        if !is_new {
            return self.notify_sessions(&DeviceEvent::Profiled(node, Box::new(profile), link));
        }
        connected.initial_profile = connected.profile.clone();
        if let Some(peer) = self.peer(node) {
            self.notify_sessions(&DeviceEvent::Joined(Box::new(peer)));
        }
        self.publish_devices();
    }
}

impl Handler<AttachSession> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, AttachSession(session): AttachSession, _: &mut Self::Context) {
        let peers = self.devices.keys().filter_map(|node| self.peer(*node)).collect();
        session.do_send(DeviceEvent::Snapshot(peers));
        session.do_send(DeviceEvent::Devices(self.published.borrow().clone()));
        self.sessions.push(session);
    }
}

impl Handler<Subscribe> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, Subscribe(events): Subscribe, _: &mut Self::Context) {
        if events.send(Event::Cluster(self.published.borrow().clone())).is_ok() {
            self.subscribers.push(events);
        }
    }
}

impl Handler<Publish> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, Publish(event): Publish, _: &mut Self::Context) {
        self.publish(&event);
    }
}

impl Handler<QueryFailures> for DiscoveryActor {
    type Result = MessageResult<QueryFailures>;

    fn handle(&mut self, _: QueryFailures, _: &mut Self::Context) -> Self::Result {
        let named = self.failures.iter().map(|(peer, error)| (peer.clone(), error.clone()));
        let seen = self.devices.values().filter_map(|tracked| {
            let error = tracked.refused.clone()?;
            Some((tracked.name().to_owned(), error))
        });
        MessageResult(FailedPeers { named: named.collect(), seen: seen.collect() })
    }
}
