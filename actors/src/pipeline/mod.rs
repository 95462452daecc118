//! The actor that leads a session: it drives frames through the current plan.
//!
//! Every handler reads the same: decode, [`Leader::handle`], perform the commands. Inputs are kept
//! here until their answers are out.

mod frames;
mod plans;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::leader::{Command, Event as Happening, Leader};
use edgeld_runtime::coord::liveness::TICK;
use edgeld_runtime::exec::Input;
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::plan::{DeviceIx, Generation};
use edgeld_runtime::units::Bytes;
use edgeld_runtime::wire::{LeaderMessage, NodeId, Refusal, SessionId, WorkerMessage, encode};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use crate::device::Device;
use crate::discovery::actor::DiscoveryActor;
use crate::discovery::news::{Announce, News, Peer};
use crate::error::{InferError, LoadError};
use crate::face::{Answer, DeviceInfo, DeviceState, Event, PlanInfo};
use crate::model::Source;
use crate::planner::{Ask, Made, PlannerActor, Seen, Wishes};
use crate::profiler::Observed;
use crate::solver::Candidate;
use crate::worker::{Lead, Led, WorkerActor};

/// Plans that are remembered, with what follows from them.
const REMEMBERED: usize = 16;

/// What a session begins with.
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The leading device.
    pub device: Arc<Device>,
    /// Its worker.
    pub worker: Addr<WorkerActor>,
    /// The model.
    pub source: Source,
    /// What is wanted of plans.
    pub wishes: Wishes,
    /// Whether nobody else takes part.
    pub alone: bool,
    /// Who knows the devices, and tells those who listen to the cluster of weights on their way.
    pub cluster: Addr<DiscoveryActor>,
    /// Where the plan that runs is shown.
    pub plan: watch::Sender<Option<Arc<PlanInfo>>>,
    /// Who is told when frames can run, or why they never will.
    pub loaded: oneshot::Sender<Result<(), LoadError>>,
}

/// The actor.
pub struct PipelineActor {
    id: SessionId,
    device: Arc<Device>,
    worker: Addr<WorkerActor>,
    cluster: Addr<DiscoveryActor>,
    planner: Option<Addr<PlannerActor>>,
    source: Source,
    wishes: Wishes,
    alone: bool,
    manifest: Option<Arc<Manifest>>,
    manifest_wanted: bool,
    leader: Option<Leader>,
    /// Who may take part; joins wait for the manifest.
    peers: BTreeMap<NodeId, Peer>,
    opened: BTreeSet<NodeId>,
    supplied: BTreeSet<NodeId>,
    /// Plans by number; those that were proposed, newest last.
    plans: BTreeMap<Generation, Candidate>,
    candidates: Vec<Candidate>,
    frames: BTreeMap<u64, Pending>,
    next_frame: u64,
    /// Frames finished under the plan that runs.
    warm: BTreeSet<(NodeId, Generation)>,
    outputs: BTreeMap<u64, Vec<Vec<f32>>>,
    answered: Moment,
    devices: Vec<DeviceInfo>,
    told: Vec<DeviceInfo>,
    fetching: BTreeSet<NodeId>,
    subscribers: Vec<UnboundedSender<Event>>,
    plan: watch::Sender<Option<Arc<PlanInfo>>>,
    loaded: Option<oneshot::Sender<Result<(), LoadError>>>,
}

struct Pending {
    inputs: Vec<Input>,
    submitted: Moment,
    answer: oneshot::Sender<Result<Answer, InferError>>,
}

/// One inference.
#[derive(Message)]
#[rtype(result = "Result<Answer, InferError>")]
pub struct Infer(pub Vec<Input>);

/// Tell a subscriber everything from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Subscribe(pub UnboundedSender<Event>);

/// Nobody wants answers any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Close;

impl PipelineActor {
    /// For a session that is about to begin; news of devices come from
    /// [`Attach`](crate::discovery::news::Attach).
    pub fn new(session: Session) -> PipelineActor {
        let Session { id, device, worker, source, wishes, alone, cluster, plan, loaded } = session;
        PipelineActor {
            id,
            answered: device.clock.now(),
            device,
            worker,
            cluster,
            planner: None,
            source,
            wishes,
            alone,
            manifest: None,
            manifest_wanted: false,
            leader: None,
            peers: BTreeMap::new(),
            opened: BTreeSet::new(),
            supplied: BTreeSet::new(),
            plans: BTreeMap::new(),
            candidates: Vec::new(),
            frames: BTreeMap::new(),
            next_frame: 0,
            warm: BTreeSet::new(),
            outputs: BTreeMap::new(),
            devices: Vec::new(),
            told: Vec::new(),
            fetching: BTreeSet::new(),
            subscribers: Vec::new(),
            plan,
            loaded: Some(loaded),
        }
    }

    fn me(&self) -> NodeId {
        self.device.node()
    }

    /// Something happened: what follows is done.
    fn happen(&mut self, happening: Happening, context: &mut Context<Self>) {
        let now = self.device.clock.now();
        let Some(leader) = &mut self.leader else { return };
        let commands = leader.handle(now, happening);
        self.perform(commands, context);
    }

    fn perform(&mut self, commands: Vec<Command>, context: &mut Context<Self>) {
        for command in commands {
            match command {
                Command::RequestPlan { request: ask, reason, members } => {
                    if let Some(planner) = &self.planner {
                        planner.do_send(Ask { ask, reason, members });
                    }
                }
                Command::Prepare { generation, proposal } => {
                    self.prepare(generation, &proposal, context);
                }
                Command::Activate { generation } => self.activate(generation),
                Command::Start { frame, generation } => self.start_frame(frame, generation),
                Command::Abort { frame, generation, members } => {
                    let (session, frames) = (self.id, vec![frame]);
                    self.outputs.remove(&frame);
                    self.tell(&members, &LeaderMessage::Abort { session, generation, frames });
                }
                Command::Retire { generation, members } => {
                    self.plans.remove(&generation);
                    self.warm.retain(|(_, of)| *of != generation);
                    let session = self.id;
                    self.tell(&members, &LeaderMessage::Retire { session, generation });
                }
                Command::Answer { frame, generation, retries } => {
                    self.answer(frame, generation, retries);
                }
                Command::FailFrame { frame, attempts, error } => {
                    if let Some(pending) = self.frames.remove(&frame) {
                        let failed = InferError::Failed { frame, attempts, error };
                        // Whoever asked may have gone.
                        let _ = pending.answer.send(Err(failed));
                    }
                }
                Command::BackOff { node, why } => {
                    let name = self.name(node);
                    self.announce(&Event::Warning(format!("{name} is left out for now: {why}")));
                }
                Command::NoPlan { why } => match self.loaded.take() {
                    Some(loaded) => drop(loaded.send(Err(LoadError::NoPlan(why)))),
                    None => self.announce(&Event::Warning(format!("no plan fits: {why}"))),
                },
                Command::End { why } => match self.loaded.take() {
                    Some(loaded) => drop(loaded.send(Err(LoadError::Start(why)))),
                    None => self.announce(&Event::Warning(why)),
                },
            }
        }
    }

    fn name(&self, node: NodeId) -> String {
        self.peers.get(&node).map_or_else(|| node.to_string(), |peer| peer.hello.name.clone())
    }

    fn tell(&self, members: &[NodeId], message: &LeaderMessage) {
        let encoded = encode(message);
        for peer in members.iter().filter_map(|node| self.peers.get(node)) {
            // That the connection has ended is noticed by whoever reads from it.
            let _ = peer.control.send(encoded.clone(), Vec::new());
        }
    }

    fn announce(&mut self, event: &Event) {
        self.subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    /// The devices, those with a share as active.
    fn present(&self) -> Vec<DeviceInfo> {
        let active = self.leader.as_ref().and_then(Leader::active);
        let has_share = |device: &DeviceInfo| {
            active.is_some_and(|(_, proposal)| {
                let at = proposal.members.iter().position(|node| *node == device.id);
                at.is_some_and(|at| proposal.plan.is_active(DeviceIx(at as u16)))
            })
        };
        let mut devices = self.devices.clone();
        for device in &mut devices {
            if device.state == DeviceState::Idle && has_share(device) {
                device.state = DeviceState::Active;
            }
        }
        devices
    }

    fn show(&mut self) {
        let devices = self.present();
        if devices != self.told {
            self.told.clone_from(&devices);
            self.announce(&Event::Cluster(devices));
        }
    }

    /// A device may be planned with.
    fn know(&mut self, peer: Peer) {
        let seen = Seen {
            node: peer.hello.node,
            name: peer.hello.name.clone(),
            isa: peer.hello.isa,
            profile: peer.profile.clone(),
            link: peer.link,
        };
        if let Some(planner) = &self.planner {
            planner.do_send(seen);
        }
        self.peers.insert(peer.hello.node, peer);
    }

    fn said(&mut self, node: NodeId, message: WorkerMessage, context: &mut Context<Self>) {
        if message.session() != Some(self.id) {
            return; // late news of an earlier session
        }
        match message {
            WorkerMessage::Ready { generation, .. } => {
                self.holds(node, generation);
                self.fetched(node);
                self.happen(Happening::Ready { node, generation }, context);
            }
            WorkerMessage::Fetching { generation, have, need, .. } => {
                self.fetching(node, have, need);
                self.happen(Happening::Progress { node, generation, have, need }, context);
            }
            WorkerMessage::Refused { generation, why, .. } => {
                // A device that others cannot reach is the one to do without.
                let node = match &why {
                    Refusal::Unreachable { peer, .. } if *peer != self.me() => *peer,
                    _ => node,
                };
                // It may not even have opened the session.
                self.opened.remove(&node);
                let why = why.to_string();
                self.happen(Happening::Refused { node, generation, why }, context);
            }
            WorkerMessage::Finished { generation, times, .. } => {
                // The first frame under a plan touches its memory for the first time.
                if self.warm.insert((node, generation)) {
                    return;
                }
                let Some(plan) = self.plans.get(&generation) else { return };
                let at = plan.proposal.members.iter().position(|member| *member == node);
                let program = at.and_then(|at| plan.programs.get(at)).cloned();
                if let (Some(program), Some(peer)) = (program, self.peers.get(&node)) {
                    let graph = self.source.graph.clone();
                    peer.profiler.do_send(Observed { graph, program, times });
                }
            }
            WorkerMessage::Failed { generation, frame, error, .. } => {
                self.happen(Happening::Failed { node, generation, frame, error }, context);
            }
            WorkerMessage::LinkDown { generation, peer, error, .. } => {
                tracing::info!("{node} lost its connection to {peer}: {error}");
                self.happen(Happening::LinkDown { node, generation, peer }, context);
            }
            // Its profiler's and the discovery's business.
            WorkerMessage::Measured(_) | WorkerMessage::Leaving => {}
        }
    }

    fn fetching(&mut self, device: NodeId, have: Bytes, need: Bytes) {
        if have < need {
            self.fetching.insert(device);
        }
        if self.fetching.contains(&device) {
            let name = self.name(device);
            let event = Event::Weights { device, name, have, need };
            if self.loaded.is_some() {
                self.cluster.do_send(Announce(event.clone()));
            }
            self.announce(&event);
        }
    }

    fn fetched(&mut self, node: NodeId) {
        self.fetching.remove(&node);
    }
}

impl Actor for PipelineActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let lead = Lead {
            session: self.id,
            graph: self.source.graph.clone(),
            weights: self.source.weights.clone(),
            answers: context.address().recipient(),
        };
        self.worker.do_send(lead);
        let made = context.address().recipient::<Made>();
        let (me, clock) = (self.me(), self.device.clock);
        let planner = PlannerActor::new(me, clock, self.source.clone(), self.wishes, made);
        self.planner = Some(planner.start());
        let tick = Duration::from_secs_f64(TICK.0 / 1e3);
        context.run_interval(tick, |pipeline, context| pipeline.happen(Happening::Tick, context));
    }
}

impl Handler<News> for PipelineActor {
    type Result = ();

    fn handle(&mut self, news: News, context: &mut Self::Context) {
        let me = self.me();
        match news {
            News::Roster(peers) => {
                let wanted = peers.into_iter().filter(|peer| !self.alone || peer.hello.node == me);
                wanted.collect::<Vec<_>>().into_iter().for_each(|peer| self.know(peer));
                self.admit(context);
            }
            News::Joined(peer) => {
                if !self.alone || peer.hello.node == me {
                    self.know(*peer);
                    self.admit(context);
                }
            }
            News::Gone { node, left } => {
                if self.peers.remove(&node).is_none() {
                    return;
                }
                self.opened.remove(&node);
                self.supplied.remove(&node);
                self.fetching.remove(&node);
                let happening = if left { Happening::Left(node) } else { Happening::Lost(node) };
                self.happen(happening, context);
            }
            News::Said(node, message) => {
                if self.peers.contains_key(&node) {
                    self.said(node, message, context);
                }
            }
            News::Profiled(node, profile, link) => {
                let Some(peer) = self.peers.get_mut(&node) else { return };
                (peer.profile, peer.link) = (*profile, link);
                let peer = peer.clone();
                self.know(peer);
            }
            News::Devices(devices) => {
                self.devices = devices;
                self.show();
            }
        }
    }
}

impl Handler<Subscribe> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Subscribe(events): Subscribe, _: &mut Self::Context) {
        let mut alive = events.send(Event::Cluster(self.present())).is_ok();
        let plan = self.plan.borrow().clone();
        if let Some(plan) = plan {
            alive &= events.send(Event::Plan(plan)).is_ok();
        }
        if alive {
            self.subscribers.push(events);
        }
    }
}

impl Handler<Close> for PipelineActor {
    type Result = ();

    fn handle(&mut self, _: Close, context: &mut Self::Context) {
        self.worker.do_send(Led(self.id));
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        let reason = "the leader is done".to_owned();
        self.tell(&peers, &LeaderMessage::Close { session: self.id, reason });
        context.stop();
    }
}
