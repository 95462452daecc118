//! The actor that knows who is there: it follows the sources of sightings, keeps a control
//! connection to every device seen, judges by what it hears who lives, and tells the sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::liveness::{Life, TICK, Watch};
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::{Hello, NodeId, Purpose, WorkerMessage};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::control::{ControlEvent, read_control};
use super::mdns::Mdns;
use super::messages::{
    AttachSession, ControlReceived, DeviceEvent, Dialled, FailedPeers, Peer, Publish,
    QueryFailures, Sighted, Subscribe,
};
use super::peers::Peers;
use super::sighting::{SightedDevice, Sighting};
use crate::api::{DeviceInfo, DeviceState, Event, Found};
use crate::profiler::{BenchmarkDone, ProfileUpdated, ProfilerActor};
use crate::transport::{Network, Sender, TransportError};
use crate::worker::Device;

/// Pauses between attempts to reach a device, first and longest.
const PAUSES: (Ms, Ms) = (Ms(250.0), Ms(5_000.0));

/// Addresses of a device that are remembered: it may have had others before it was restarted.
const ADDRESSES: usize = 8;

/// Where devices are looked for; ends with this.
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
    known: BTreeMap<NodeId, KnownDevice>,
    /// Given addresses that lead nowhere.
    failures: BTreeMap<String, TransportError>,
    sessions: Vec<Recipient<DeviceEvent>>,
    subscribers: Vec<UnboundedSender<Event>>,
    shown: watch::Sender<Vec<DeviceInfo>>,
    /// One link is probed at a time.
    probing: Arc<tokio::sync::Mutex<()>>,
    watch: Watch,
    numbers: u64,
    sources: Sources,
}

/// A device that was seen.
struct KnownDevice {
    sighted: SightedDevice,
    network: Network,
    /// Seen by nobody any more.
    unseen: bool,
    /// It has been connected.
    reached: bool,
    state: State,
    pause: Ms,
    /// Why it would not work with this device when it was dialled last.
    refused: Option<TransportError>,
}

enum State {
    Dialling,
    /// Tried again at this moment.
    Disconnected(Moment),
    Connected(Box<Connected>),
}

struct Connected {
    number: u64,
    hello: Hello,
    control: Sender,
    profiler: Addr<ProfilerActor>,
    profile: Option<(DeviceProfile, LinkProfile)>,
    /// What was measured when it joined: for people, who do not want to hear of every frame.
    measured: Option<(DeviceProfile, LinkProfile)>,
    life: Life,
    leaving: bool,
}

impl DiscoveryActor {
    /// For the leader `device`, which finds others through `network` and its own worker at
    /// `own`, an address of another network.
    pub(crate) fn new(
        device: Arc<Device>,
        network: Network,
        (own_network, own): (Network, String),
        kernels: KernelKind,
        shown: watch::Sender<Vec<DeviceInfo>>,
        sources: Sources,
    ) -> DiscoveryActor {
        let hello = &device.hello;
        let sighted = SightedDevice {
            node: hello.node,
            name: hello.name.clone(),
            addresses: vec![own],
            found: Found::Me,
            protocol: hello.protocol,
            build: hello.build.clone(),
        };
        let me = KnownDevice {
            sighted,
            network: own_network,
            unseen: false,
            reached: false,
            state: State::Disconnected(device.clock.now()),
            pause: PAUSES.0,
            refused: None,
        };
        DiscoveryActor {
            known: BTreeMap::from([(hello.node, me)]),
            watch: Watch::new(device.clock.now()),
            device,
            network,
            kernels,
            failures: BTreeMap::new(),
            sessions: Vec::new(),
            subscribers: Vec::new(),
            shown,
            probing: Arc::default(),
            numbers: 0,
            sources,
        }
    }

    fn dial(&mut self, node: NodeId, context: &mut Context<Self>) {
        let Some(known) = self.known.get_mut(&node) else { return };
        known.state = State::Dialling;
        let (network, addresses) = (known.network.clone(), known.sighted.addresses.clone());
        let address = context.address();
        self.network.spawn(async move {
            let connection = network.dial_any(&addresses, node, Purpose::Control).await;
            address.do_send(Dialled { node, connection });
        });
    }

    fn peer(&self, node: NodeId) -> Option<Peer> {
        let known = self.known.get(&node)?;
        let State::Connected(connected) = &known.state else { return None };
        let (profile, link) = connected.profile.clone()?;
        Some(Peer {
            hello: connected.hello.clone(),
            addresses: known.sighted.addresses.clone(),
            network: known.network.clone(),
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

    /// A device's connection is over.
    fn disconnected(&mut self, node: NodeId, why: &TransportError) {
        let now = self.device.clock.now();
        let Some(known) = self.known.get_mut(&node) else { return };
        let State::Connected(connected) = &known.state else { return };
        let (left, was_told) = (connected.leaving, connected.profile.is_some());
        tracing::info!("{} is gone: {why}", known.sighted.name);
        if left {
            self.known.remove(&node);
        } else {
            known.state = State::Disconnected(now + known.pause);
            if let Some(mdns) = &self.sources.mdns {
                mdns.verify(node);
            }
        }
        if was_told {
            self.notify_sessions(&DeviceEvent::Gone { node, left });
        }
        self.publish_devices();
    }

    /// Tells people who is there, if that has changed.
    fn publish_devices(&mut self) {
        let me = self.device.node();
        let mut devices: Vec<DeviceInfo> =
            self.known.values().filter_map(|known| self.describe(known)).collect();
        devices.sort_by_key(|device| (device.id != me, device.id));
        let same = |(shown, device): (&DeviceInfo, &DeviceInfo)| shown.is_close_to(device);
        let shown = self.shown.borrow().clone();
        if shown.len() == devices.len() && shown.iter().zip(&devices).all(same) {
            return;
        }
        self.shown.send_replace(devices.clone());
        self.publish(&Event::Cluster(devices.clone()));
        self.notify_sessions(&DeviceEvent::Devices(devices));
    }

    fn describe(&self, known: &KnownDevice) -> Option<DeviceInfo> {
        let leader = known.sighted.node == self.device.node();
        let (state, connected) = match &known.state {
            State::Connected(connected) if connected.profile.is_none() => {
                (DeviceState::Joining, Some(connected))
            }
            State::Connected(connected) => match connected.life {
                Life::Well => (DeviceState::Idle, Some(connected)),
                Life::Suspect | Life::Lost => (DeviceState::Suspect, Some(connected)),
            },
            State::Dialling | State::Disconnected(_) if leader => (DeviceState::Joining, None),
            State::Dialling | State::Disconnected(_) if known.unseen || !known.reached => {
                return None;
            }
            State::Dialling | State::Disconnected(_) => (DeviceState::Lost, None),
        };
        let profile = connected.and_then(|connected| connected.measured.as_ref());
        let address = match leader {
            true => "this device".to_owned(),
            false => known.sighted.addresses.first().cloned().unwrap_or_default(),
        };
        Some(DeviceInfo {
            id: known.sighted.node,
            name: known.sighted.name.clone(),
            address: connected
                .filter(|_| !leader)
                .map_or(address, |connected| connected.control.address().to_owned()),
            leader,
            found: known.sighted.found,
            state,
            gflops: profile.map(|(device, _)| device.gflops()),
            goodput: profile.filter(|_| !leader).map(|(_, link)| link.goodput),
            rtt: profile.filter(|_| !leader).map(|(_, link)| link.rtt),
            memory: Bytes(connected.map_or(0, |connected| connected.hello.memory)),
        })
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        let now = self.device.clock.now();
        self.watch.tick(now);
        let mut due = Vec::new();
        for (node, known) in &mut self.known {
            match &mut known.state {
                State::Connected(connected) => {
                    connected.life =
                        self.watch.life(self.device.clock.at(connected.control.last_heard()));
                    if connected.life == Life::Lost {
                        connected.control.abort("silent for too long");
                    }
                }
                State::Disconnected(at) if now >= *at && !known.unseen => due.push(*node),
                State::Disconnected(_) | State::Dialling => {}
            }
        }
        due.into_iter().for_each(|node| self.dial(node, context));
        self.known.retain(|_, known| !known.unseen || matches!(known.state, State::Connected(_)));
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
                self.failures.retain(|address, _| !sighted.addresses.contains(address));
                if let Some(known) = self.known.get_mut(&node) {
                    known.unseen = false;
                    merge(&mut known.sighted, sighted);
                    if matches!(known.state, State::Disconnected(_)) {
                        self.dial(node, context);
                    }
                    return;
                }
                let network = self.network.clone();
                let state = State::Dialling;
                let (unseen, reached, pause, refused) = (false, false, PAUSES.0, None);
                let known =
                    KnownDevice { sighted, network, unseen, reached, state, pause, refused };
                self.known.insert(node, known);
                self.dial(node, context);
            }
            Sighting::Gone { node, found } => {
                if let Some(known) = self.known.get_mut(&node)
                    && known.sighted.found == found
                {
                    known.unseen = true;
                }
            }
            Sighting::Failed { peer, error } => {
                self.publish(&Event::Warning(format!("{peer}: {error}")));
                self.failures.insert(peer, error);
            }
        }
    }
}

/// The newest sighting counts, and the addresses of both.
fn merge(known: &mut SightedDevice, mut new: SightedDevice) {
    for address in std::mem::take(&mut known.addresses) {
        if !new.addresses.contains(&address) {
            new.addresses.push(address);
        }
    }
    new.addresses.truncate(ADDRESSES);
    *known = new;
}

impl Handler<Dialled> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, Dialled { node, connection }: Dialled, context: &mut Self::Context) {
        let now = self.device.clock.now();
        self.numbers += 1;
        let number = self.numbers;
        let (probing, kernels) = (self.probing.clone(), self.kernels);
        let Some(known) = self.known.get_mut(&node) else { return };
        // Sighted again while it was dialled, say: the connection that there is stays.
        if matches!(known.state, State::Connected(_)) {
            return;
        }
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!("{}: {error}", known.sighted.name);
                if matches!(error, TransportError::Refused { .. }) && known.pause == PAUSES.0 {
                    let text = format!("{}: {error}", known.sighted.name);
                    known.refused = Some(error);
                    known.state = State::Disconnected(now + known.pause);
                    known.pause = PAUSES.1;
                    return self.publish(&Event::Warning(text));
                }
                known.state = State::Disconnected(now + known.pause);
                known.pause = (known.pause * 2.0).min(PAUSES.1);
                return;
            }
        };
        (known.pause, known.reached, known.refused) = (PAUSES.0, true, None);
        let hello = connection.peer().clone();
        let (sender, mut events) = unbounded_channel();
        let control = read_control(connection, &self.network, sender);
        let address = context.address();
        self.network.spawn(async move {
            while let Some(event) = events.recv().await {
                if address.send(ControlReceived { node, number, event }).await.is_err() {
                    return;
                }
            }
        });
        let profiler = ProfilerActor {
            number,
            hello: hello.clone(),
            control: control.clone(),
            network: known.network.clone(),
            addresses: known.sighted.addresses.clone(),
            is_self: node == self.device.node(),
            kernels,
            probing,
            results: context.address().recipient(),
            profile: None,
            link: None,
        };
        let profiler = profiler.start();
        let connected = Connected {
            number,
            hello,
            control,
            profiler,
            profile: None,
            measured: None,
            life: Life::Well,
            leaving: false,
        };
        known.state = State::Connected(Box::new(connected));
        self.publish_devices();
    }
}

impl Handler<ControlReceived> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, from: ControlReceived, _: &mut Self::Context) {
        let ControlReceived { node, number, event } = from;
        let known = self.known.get_mut(&node).map(|known| &mut known.state);
        let Some(State::Connected(connected)) = known else { return };
        if connected.number != number {
            return;
        }
        match event {
            ControlEvent::Message(WorkerMessage::Measured(suite)) => {
                connected.profiler.do_send(BenchmarkDone(suite))
            }
            ControlEvent::Message(WorkerMessage::Leaving) => connected.leaving = true,
            ControlEvent::Message(message) => {
                self.notify_sessions(&DeviceEvent::Message(node, message))
            }
            ControlEvent::Closed(why) => self.disconnected(node, &why),
        }
    }
}

impl Handler<ProfileUpdated> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, profiled: ProfileUpdated, _: &mut Self::Context) {
        let ProfileUpdated { node, number, profile, link } = profiled;
        let known = self.known.get_mut(&node).map(|known| &mut known.state);
        let Some(State::Connected(connected)) = known else { return };
        if connected.number != number {
            return;
        }
        let is_new = connected.profile.replace((profile.clone(), link)).is_none();
        if !is_new {
            return self.notify_sessions(&DeviceEvent::Profiled(node, Box::new(profile), link));
        }
        connected.measured = connected.profile.clone();
        if let Some(peer) = self.peer(node) {
            self.notify_sessions(&DeviceEvent::Joined(Box::new(peer)));
        }
        self.publish_devices();
    }
}

impl Handler<AttachSession> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, AttachSession(session): AttachSession, _: &mut Self::Context) {
        let roster = self.known.keys().filter_map(|node| self.peer(*node)).collect();
        session.do_send(DeviceEvent::Snapshot(roster));
        session.do_send(DeviceEvent::Devices(self.shown.borrow().clone()));
        self.sessions.push(session);
    }
}

impl Handler<Subscribe> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, Subscribe(events): Subscribe, _: &mut Self::Context) {
        if events.send(Event::Cluster(self.shown.borrow().clone())).is_ok() {
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
        let seen = self.known.values().filter_map(|known| {
            let error = known.refused.clone()?;
            Some((known.sighted.name.clone(), error))
        });
        MessageResult(FailedPeers { named: named.collect(), seen: seen.collect() })
    }
}
