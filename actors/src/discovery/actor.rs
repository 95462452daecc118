//! The actor that knows who is there: it follows the sources of sightings, keeps a control
//! connection to every device seen, judges by what it hears who lives, and tells the sessions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::liveness::{FailureDetector, Liveness, TICK};
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::{Hello, NodeId, Purpose, WorkerMessage};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::news::{Announce, Attach, Failed, Failures, News, Peer, Profiled, Saw, Subscribe};
use super::{Device as Sighted, Mdns, Peers, Sighting};
use crate::device::Device;
use crate::face::{DeviceInfo, DeviceState, Event, Found};
use crate::profiler::{ProfilerActor, Suite};
use crate::pump::{self, Heard};
use crate::transport::{Connection, Network, Sender, TransportError};

/// Pauses between attempts to reach a device, first and longest.
const PAUSES: (Ms, Ms) = (Ms(250.0), Ms(5_000.0));

/// Addresses of a device that are remembered: it may have had others before it was restarted.
const ADDRESSES: usize = 8;

/// Where devices are looked for; ends with this.
#[derive(Default)]
pub struct Sources {
    /// Multicast.
    pub mdns: Option<Mdns>,
    /// Given addresses.
    pub peers: Option<Peers>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Dialled {
    node: NodeId,
    connection: Result<Connection, TransportError>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct HeardFrom {
    node: NodeId,
    number: u64,
    heard: Heard,
}

/// The actor.
pub struct DiscoveryActor {
    device: Arc<Device>,
    network: Network,
    kernels: KernelKind,
    known: BTreeMap<NodeId, Known>,
    /// Given addresses that lead nowhere.
    failures: BTreeMap<String, TransportError>,
    sessions: Vec<Recipient<News>>,
    subscribers: Vec<UnboundedSender<Event>>,
    shown: watch::Sender<Vec<DeviceInfo>>,
    /// One link is probed at a time.
    probing: Arc<tokio::sync::Mutex<()>>,
    watch: FailureDetector,
    numbers: u64,
    sources: Sources,
}

/// A device that was seen.
struct Known {
    sighted: Sighted,
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
    Down(Moment),
    Up(Box<Up>),
}

struct Up {
    number: u64,
    hello: Hello,
    control: Sender,
    profiler: Addr<ProfilerActor>,
    profile: Option<(DeviceProfile, LinkProfile)>,
    /// What was measured when it joined: for people, who do not want to hear of every frame.
    measured: Option<(DeviceProfile, LinkProfile)>,
    life: Liveness,
    leaving: bool,
}

impl DiscoveryActor {
    /// For the leader `device`, which finds others through `network` and its own worker at
    /// `own`, an address of another network.
    pub fn new(
        device: Arc<Device>,
        network: Network,
        (own_network, own): (Network, String),
        kernels: KernelKind,
        shown: watch::Sender<Vec<DeviceInfo>>,
        sources: Sources,
    ) -> DiscoveryActor {
        let hello = &device.hello;
        let sighted = Sighted {
            node: hello.node,
            name: hello.name.clone(),
            addresses: vec![own],
            found: Found::Me,
            protocol: hello.protocol,
            build: hello.build.clone(),
        };
        let me = Known {
            sighted,
            network: own_network,
            unseen: false,
            reached: false,
            state: State::Down(device.clock.now()),
            pause: PAUSES.0,
            refused: None,
        };
        DiscoveryActor {
            known: BTreeMap::from([(hello.node, me)]),
            watch: FailureDetector::new(device.clock.now()),
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
        let State::Up(up) = &known.state else { return None };
        let (profile, link) = up.profile.clone()?;
        Some(Peer {
            hello: up.hello.clone(),
            addresses: known.sighted.addresses.clone(),
            network: known.network.clone(),
            control: up.control.clone(),
            profiler: up.profiler.clone(),
            profile,
            link,
        })
    }

    fn tell(&mut self, news: &News) {
        self.sessions.retain(|session| session.connected());
        for session in &self.sessions {
            session.do_send(news.clone());
        }
    }

    fn announce(&mut self, event: &Event) {
        self.subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    /// A device's connection is over.
    fn down(&mut self, node: NodeId, why: &TransportError) {
        let now = self.device.clock.now();
        let Some(known) = self.known.get_mut(&node) else { return };
        let State::Up(up) = &known.state else { return };
        let (left, was_told) = (up.leaving, up.profile.is_some());
        tracing::info!("{} is gone: {why}", known.sighted.name);
        if left {
            self.known.remove(&node);
        } else {
            known.state = State::Down(now + known.pause);
            if let Some(mdns) = &self.sources.mdns {
                mdns.verify(node);
            }
        }
        if was_told {
            self.tell(&News::Gone { node, left });
        }
        self.show();
    }

    /// Tells people who is there, if that has changed.
    fn show(&mut self) {
        let me = self.device.node();
        let mut devices: Vec<DeviceInfo> =
            self.known.values().filter_map(|known| self.describe(known)).collect();
        devices.sort_by_key(|device| (device.id != me, device.id));
        let same = |(shown, device): (&DeviceInfo, &DeviceInfo)| shown.is_much_like(device);
        let shown = self.shown.borrow().clone();
        if shown.len() == devices.len() && shown.iter().zip(&devices).all(same) {
            return;
        }
        self.shown.send_replace(devices.clone());
        self.announce(&Event::Cluster(devices.clone()));
        self.tell(&News::Devices(devices));
    }

    fn describe(&self, known: &Known) -> Option<DeviceInfo> {
        let leader = known.sighted.node == self.device.node();
        let (state, up) = match &known.state {
            State::Up(up) if up.profile.is_none() => (DeviceState::Joining, Some(up)),
            State::Up(up) => match up.life {
                Liveness::Alive => (DeviceState::Idle, Some(up)),
                Liveness::Suspect | Liveness::Lost => (DeviceState::Suspect, Some(up)),
            },
            State::Dialling | State::Down(_) if leader => (DeviceState::Joining, None),
            State::Dialling | State::Down(_) if known.unseen || !known.reached => return None,
            State::Dialling | State::Down(_) => (DeviceState::Lost, None),
        };
        let profile = up.and_then(|up| up.measured.as_ref());
        let address = match leader {
            true => "this device".to_owned(),
            false => known.sighted.addresses.first().cloned().unwrap_or_default(),
        };
        Some(DeviceInfo {
            id: known.sighted.node,
            name: known.sighted.name.clone(),
            address: up.filter(|_| !leader).map_or(address, |up| up.control.address().to_owned()),
            leader,
            found: known.sighted.found,
            state,
            gflops: profile.map(|(device, _)| device.gflops()),
            goodput: profile.filter(|_| !leader).map(|(_, link)| link.goodput),
            rtt: profile.filter(|_| !leader).map(|(_, link)| link.rtt),
            memory: Bytes(up.map_or(0, |up| up.hello.memory)),
        })
    }

    fn tick(&mut self, context: &mut Context<Self>) {
        let now = self.device.clock.now();
        self.watch.tick(now);
        let mut due = Vec::new();
        for (node, known) in &mut self.known {
            match &mut known.state {
                State::Up(up) => {
                    up.life = self.watch.liveness(self.device.clock.at(up.control.last_heard()));
                    if up.life == Liveness::Lost {
                        up.control.cut("silent for too long");
                    }
                }
                State::Down(at) if now >= *at && !known.unseen => due.push(*node),
                State::Down(_) | State::Dialling => {}
            }
        }
        due.into_iter().for_each(|node| self.dial(node, context));
        self.known.retain(|_, known| !known.unseen || matches!(known.state, State::Up(_)));
        self.show();
    }
}

impl Actor for DiscoveryActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.dial(self.device.node(), context);
        context.run_interval(Duration::from_secs_f64(TICK.0 / 1e3), Self::tick);
    }
}

impl Handler<Saw> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, Saw(sighting): Saw, context: &mut Self::Context) {
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
                    if matches!(known.state, State::Down(_)) {
                        self.dial(node, context);
                    }
                    return;
                }
                let network = self.network.clone();
                let state = State::Dialling;
                let (unseen, reached, pause, refused) = (false, false, PAUSES.0, None);
                let known = Known { sighted, network, unseen, reached, state, pause, refused };
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
                self.announce(&Event::Warning(format!("{peer}: {error}")));
                self.failures.insert(peer, error);
            }
        }
    }
}

/// The newest sighting counts, and the addresses of both.
fn merge(known: &mut Sighted, mut new: Sighted) {
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
        if matches!(known.state, State::Up(_)) {
            return;
        }
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                tracing::debug!("{}: {error}", known.sighted.name);
                if matches!(error, TransportError::Refused { .. }) && known.pause == PAUSES.0 {
                    let text = format!("{}: {error}", known.sighted.name);
                    known.refused = Some(error);
                    known.state = State::Down(now + known.pause);
                    known.pause = PAUSES.1;
                    return self.announce(&Event::Warning(text));
                }
                known.state = State::Down(now + known.pause);
                known.pause = (known.pause * 2.0).min(PAUSES.1);
                return;
            }
        };
        (known.pause, known.reached, known.refused) = (PAUSES.0, true, None);
        let hello = connection.peer().clone();
        let (tell, mut heard) = unbounded_channel();
        let control = pump::worker_messages(connection, &self.network, tell);
        let address = context.address();
        self.network.spawn(async move {
            while let Some(heard) = heard.recv().await {
                if address.send(HeardFrom { node, number, heard }).await.is_err() {
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
        let up = Up {
            number,
            hello,
            control,
            profiler,
            profile: None,
            measured: None,
            life: Liveness::Alive,
            leaving: false,
        };
        known.state = State::Up(Box::new(up));
        self.show();
    }
}

impl Handler<HeardFrom> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, from: HeardFrom, _: &mut Self::Context) {
        let HeardFrom { node, number, heard } = from;
        let known = self.known.get_mut(&node).map(|known| &mut known.state);
        let Some(State::Up(up)) = known else { return };
        if up.number != number {
            return;
        }
        match heard {
            Heard::Message(WorkerMessage::Measured(suite)) => up.profiler.do_send(Suite(suite)),
            Heard::Message(WorkerMessage::Leaving) => up.leaving = true,
            Heard::Message(message) => self.tell(&News::Said(node, message)),
            Heard::Ended(why) => self.down(node, &why),
        }
    }
}

impl Handler<Profiled> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, profiled: Profiled, _: &mut Self::Context) {
        let Profiled { node, number, profile, link } = profiled;
        let known = self.known.get_mut(&node).map(|known| &mut known.state);
        let Some(State::Up(up)) = known else { return };
        if up.number != number {
            return;
        }
        let is_new = up.profile.replace((profile.clone(), link)).is_none();
        if !is_new {
            return self.tell(&News::Profiled(node, Box::new(profile), link));
        }
        up.measured = up.profile.clone();
        if let Some(peer) = self.peer(node) {
            self.tell(&News::Joined(Box::new(peer)));
        }
        self.show();
    }
}

impl Handler<Attach> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, Attach(session): Attach, _: &mut Self::Context) {
        let roster = self.known.keys().filter_map(|node| self.peer(*node)).collect();
        session.do_send(News::Roster(roster));
        session.do_send(News::Devices(self.shown.borrow().clone()));
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

impl Handler<Announce> for DiscoveryActor {
    type Result = ();

    fn handle(&mut self, Announce(event): Announce, _: &mut Self::Context) {
        self.announce(&event);
    }
}

impl Handler<Failures> for DiscoveryActor {
    type Result = MessageResult<Failures>;

    fn handle(&mut self, _: Failures, _: &mut Self::Context) -> Self::Result {
        let named = self.failures.iter().map(|(peer, error)| (peer.clone(), error.clone()));
        let seen = self.known.values().filter_map(|known| {
            let error = known.refused.clone()?;
            Some((known.sighted.name.clone(), error))
        });
        MessageResult(Failed { named: named.collect(), seen: seen.collect() })
    }
}
