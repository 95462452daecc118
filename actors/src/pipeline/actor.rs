//! The actor that leads a session: it drives frames through the active plan.
//!
//! Every handler does the same: turn the message into an event, pass it to [`Leader::handle`], and
//! perform the commands. Inputs are kept until their frame is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::leader::{Awaited, Command, Event as LeaderEvent, Leader};
use edgeld_runtime::coord::liveness::TICK;
use edgeld_runtime::exec::Input;
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::plan::{DeviceIx, Generation};
use edgeld_runtime::program::TransferId;
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::{LeaderMessage, NodeId, Refusal, SessionId, WorkerMessage, encode};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{oneshot, watch};

use super::clocks::{Clocks, FrameReport};
use super::messages::{Close, Pursue, Subscribe};
use crate::api::{Answer, DeviceInfo, DeviceState, Event, InferError, LoadError, PlanInfo, Source};
use crate::discovery::{DeviceEvent, DiscoveryActor, Peer, Publish};
use crate::planner::{
    self, Candidate, Held, PlannedLane, PlannerActor, PlannerOptions, RequestPlan, UpdateDevice,
    WeightsHeld,
};
use crate::profiler::StagesTimed;
use crate::transport::TransportError;
use crate::worker::{Device, HostSession, ReleaseSession, WorkerActor};

/// For how long at most frames count as disturbed by a device that packs weights.
const MAX_PACKING: Ms = Ms(15_000.0);

/// Candidates to keep.
pub(super) const MAX_CANDIDATES: usize = 16;

/// What a session starts with.
pub(crate) struct Session {
    /// Its id.
    pub id: SessionId,
    /// This device, which leads the session.
    pub device: Arc<Device>,
    /// This device's worker.
    pub worker: Addr<WorkerActor>,
    /// The model.
    pub source: Source,
    /// Requirements for plans.
    pub planner_options: PlannerOptions,
    /// Whether to use only this device.
    pub alone: bool,
    /// Whether to publish what devices did when.
    pub trace: bool,
    /// Publishes progress of weights to the cluster's subscribers while the model loads.
    pub cluster: Addr<DiscoveryActor>,
    /// Receives the active plans.
    pub plan: watch::Sender<Vec<Arc<PlanInfo>>>,
    /// Receives the outcome of loading: ready for frames, or why not.
    pub loaded: oneshot::Sender<Result<(), LoadError>>,
}

/// The actor.
pub(crate) struct PipelineActor {
    pub(super) id: SessionId,
    pub(super) device: Arc<Device>,
    pub(super) worker: Addr<WorkerActor>,
    pub(super) cluster: Addr<DiscoveryActor>,
    pub(super) planner: Option<Addr<PlannerActor>>,
    pub(super) source: Source,
    pub(super) planner_options: PlannerOptions,
    pub(super) alone: bool,
    /// If the session is traced.
    pub(super) clocks: Option<Clocks>,
    pub(super) manifest: Option<Arc<Manifest>>,
    pub(super) manifest_requested: bool,
    pub(super) leader: Option<Leader>,
    /// Devices that may take part.
    pub(super) peers: BTreeMap<NodeId, Peer>,
    /// Devices on which the session is open.
    pub(super) opened: BTreeSet<NodeId>,
    pub(super) serving_weights: BTreeSet<NodeId>,
    /// Plans in preparation or active.
    pub(super) plans: BTreeMap<Generation, PlannedLane>,
    /// Plans from the planner, newest last.
    pub(super) candidates: Vec<Candidate>,
    pub(super) frames: BTreeMap<u64, PendingFrame>,
    pub(super) next_frame: u64,
    /// Devices that have finished a first frame under a plan.
    pub(super) warmed_up: BTreeSet<(NodeId, Generation)>,
    pub(super) outputs: BTreeMap<u64, Vec<Vec<f32>>>,
    /// Devices as discovery lists them, and as last published.
    pub(super) devices: Vec<DeviceInfo>,
    pub(super) published_devices: Vec<DeviceInfo>,
    /// Devices that are fetching weights.
    pub(super) fetching: BTreeSet<NodeId>,
    /// Devices that are packing weights, and since when: what they compute meanwhile takes longer.
    pub(super) packing: BTreeMap<NodeId, Moment>,
    pub(super) subscribers: Vec<UnboundedSender<Event>>,
    pub(super) plan: watch::Sender<Vec<Arc<PlanInfo>>>,
    pub(super) loaded: Option<oneshot::Sender<Result<(), LoadError>>>,
}

/// A frame that is not answered yet.
pub(super) struct PendingFrame {
    pub(super) inputs: Vec<Input>,
    /// When it was first begun.
    pub(super) begun: Option<Moment>,
    /// When it was begun under each generation.
    pub(super) runs: BTreeMap<Generation, Moment>,
    /// Once it is done; frames before it may not be.
    pub(super) done: Option<Answer>,
    pub(super) caller: oneshot::Sender<Result<Answer, InferError>>,
}

impl PipelineActor {
    /// For a new session. It starts once
    /// [`AttachSession`](crate::discovery::AttachSession) brings the first devices.
    pub(crate) fn new(session: Session) -> PipelineActor {
        let Session { id, device, worker, source, planner_options, .. } = session;
        let Session { alone, trace, cluster, plan, loaded, .. } = session;
        PipelineActor {
            id,
            device,
            worker,
            cluster,
            planner: None,
            source,
            planner_options,
            alone,
            clocks: trace.then(Clocks::default),
            manifest: None,
            manifest_requested: false,
            leader: None,
            peers: BTreeMap::new(),
            opened: BTreeSet::new(),
            serving_weights: BTreeSet::new(),
            plans: BTreeMap::new(),
            candidates: Vec::new(),
            frames: BTreeMap::new(),
            next_frame: 0,
            warmed_up: BTreeSet::new(),
            outputs: BTreeMap::new(),
            devices: Vec::new(),
            published_devices: Vec::new(),
            fetching: BTreeSet::new(),
            packing: BTreeMap::new(),
            subscribers: Vec::new(),
            plan,
            loaded: Some(loaded),
        }
    }

    pub(super) fn me(&self) -> NodeId {
        self.device.node()
    }

    /// Passes an event to the leader and performs its commands.
    pub(super) fn handle_event(&mut self, event: LeaderEvent, context: &mut Context<Self>) {
        let now = self.device.clock.now();
        let Some(leader) = &mut self.leader else { return };
        let commands = leader.handle(now, event);
        self.perform(commands, context);
    }

    pub(super) fn perform(&mut self, commands: Vec<Command>, context: &mut Context<Self>) {
        for command in commands {
            match command {
                Command::RequestPlan { request: request_id, reason, members, apart } => {
                    if let Some(planner) = &self.planner {
                        planner.do_send(RequestPlan { request_id, reason, members, apart });
                    }
                }
                Command::Prepare { generation, lane } => self.prepare(generation, &lane, context),
                Command::Activate { lanes, reason } => self.activate(lanes, reason),
                Command::Start { frame, generation } => self.start_frame(frame, generation),
                Command::Abort { frame, generation, members } => {
                    let (session, frames) = (self.id, vec![frame]);
                    self.outputs.remove(&frame);
                    self.trace_given_up(frame, generation);
                    tracing::debug!(frame, generation = generation.0, "given up");
                    self.send(&members, &LeaderMessage::Abort { session, generation, frames });
                }
                Command::Inspect { frame, generation, members } => {
                    let session = self.id;
                    self.send(&members, &LeaderMessage::Inspect { session, generation, frame });
                }
                Command::Disconnect { node, incarnation, members } => {
                    let gone = LeaderMessage::Disconnect { session: self.id, node, incarnation };
                    self.send(&members, &gone);
                }
                Command::KeepApart { pair } => {
                    let name = |node| self.name(node);
                    let text = format!(
                        "{} do not reach each other: plans do without that for now",
                        pair.map(name).join(" and ")
                    );
                    self.publish(&Event::Warning(text));
                }
                Command::Retire { generation, members } => {
                    let plan = self.plans.remove(&generation);
                    if let (Some(clocks), Some(plan)) = (&mut self.clocks, plan) {
                        clocks.retire(generation, plan);
                    }
                    self.warmed_up.retain(|(_, of)| *of != generation);
                    self.packing.retain(|node, _| !members.contains(node));
                    let session = self.id;
                    self.send(&members, &LeaderMessage::Retire { session, generation });
                }
                Command::Complete { frame, generation, retries } => {
                    self.complete(frame, generation, retries);
                }
                Command::Answer { frame } => self.answer(frame),
                Command::FailFrame { frame, attempts, error } => {
                    if let Some(pending) = self.frames.remove(&frame) {
                        let failed = InferError::Failed { frame, attempts, error };
                        // The caller may be gone.
                        let _ = pending.caller.send(Err(failed));
                    }
                }
                Command::BackOff { node, why } => {
                    let name = self.name(node);
                    self.publish(&Event::Warning(format!("{name} is excluded for now: {why}")));
                }
                Command::NoPlan { why } => match self.loaded.take() {
                    Some(loaded) => drop(loaded.send(Err(LoadError::NoPlan(why)))),
                    None => self.publish(&Event::Warning(format!("no plan fits: {why}"))),
                },
                Command::End { why } => match self.loaded.take() {
                    Some(loaded) => drop(loaded.send(Err(LoadError::Start(why)))),
                    None => self.publish(&Event::Warning(why)),
                },
            }
        }
    }

    pub(super) fn name(&self, node: NodeId) -> String {
        self.peers.get(&node).map_or_else(|| node.to_string(), |peer| peer.hello.name.clone())
    }

    pub(super) fn send(&self, members: &[NodeId], message: &LeaderMessage) {
        let encoded = encode(message);
        for peer in members.iter().filter_map(|node| self.peers.get(node)) {
            // If the connection has ended, its reader notices.
            if let Err(error @ TransportError::Violation { .. }) =
                peer.control.send(encoded.clone(), Vec::new())
            {
                tracing::warn!("cannot send a message to {}: {error}", peer.hello.name);
            }
        }
    }

    pub(super) fn publish(&mut self, event: &Event) {
        self.subscribers.retain(|subscriber| subscriber.send(event.clone()).is_ok());
    }

    /// The devices, marking those with a share of the active plan.
    fn devices_with_shares(&self) -> Vec<DeviceInfo> {
        let has_share = |device: &DeviceInfo| {
            let mut lanes = self.leader.iter().flat_map(Leader::active);
            lanes.any(|(_, lane)| {
                let at = lane.members.iter().position(|node| *node == device.id);
                at.is_some_and(|at| lane.plan.is_active(DeviceIx(at as u16)))
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

    pub(super) fn publish_devices(&mut self) {
        let devices = self.devices_with_shares();
        if devices != self.published_devices {
            self.published_devices.clone_from(&devices);
            self.publish(&Event::Cluster(devices));
        }
    }

    /// Adds a device or updates its profile.
    fn update_peer(&mut self, peer: Peer) {
        let update = UpdateDevice {
            node: peer.hello.node,
            name: peer.hello.name.clone(),
            isa: peer.hello.isa,
            profile: peer.profile.clone(),
            link: peer.link,
        };
        if let Some(planner) = &self.planner {
            planner.do_send(update);
        }
        self.peers.insert(peer.hello.node, peer);
    }

    fn handle_worker_message(
        &mut self,
        node: NodeId,
        message: WorkerMessage,
        context: &mut Context<Self>,
    ) {
        if message.session() != Some(self.id) {
            return; // a late message of an earlier session
        }
        match message {
            WorkerMessage::Ready { generation, .. } => {
                tracing::debug!(%node, generation = generation.0, "ready");
                self.weights_held(node, generation);
                self.fetching.remove(&node);
                self.packing.remove(&node);
                self.handle_event(LeaderEvent::Ready { node, generation }, context);
            }
            WorkerMessage::Fetching { generation, have, need, packed, .. } => {
                let progress = (have, need, packed);
                tracing::debug!(%node, generation = generation.0, ?progress, "fetching");
                self.fetching(node, have, need);
                if have < need {
                    self.packing.remove(&node);
                } else {
                    self.begins_packing(node);
                }
                let done = have + packed;
                self.handle_event(LeaderEvent::Progress { node, generation, done, need }, context);
            }
            WorkerMessage::Refused {
                generation,
                why: Refusal::Unreachable { peer, error },
                ..
            } => {
                tracing::info!("{node} cannot connect to {peer}: {error}");
                self.handle_event(LeaderEvent::LinkDown { node, generation, peer }, context);
            }
            WorkerMessage::Refused { generation, why, .. } => {
                tracing::debug!(%node, generation = generation.0, %why, "refused");
                // The device may not have opened the session: open it again next time.
                self.opened.remove(&node);
                self.packing.remove(&node);
                let why = why.to_string();
                self.handle_event(LeaderEvent::Refused { node, generation, why }, context);
            }
            WorkerMessage::Finished { generation, frame, times, steps, .. } => {
                self.trace_steps(FrameReport { node, generation, frame, steps });
                let compute: Ms = times.iter().map(|time| time.compute).sum();
                self.publish(&Event::Finished { device: node, generation, frame, compute });
                // Ignore the first frame under a plan: it touches its memory for the first time.
                if self.warmed_up.insert((node, generation)) {
                    return;
                }
                let Some(plan) = self.plans.get(&generation) else { return };
                let Some(at) = plan.lane.members.iter().position(|member| *member == node) else {
                    return;
                };
                if self.is_beside_packing(&[node], compute, plan.computes[at]) {
                    return;
                }
                if let Some(peer) = self.peers.get(&node) {
                    let (graph, program) = (self.source.graph.clone(), plan.programs[at].clone());
                    peer.profiler.do_send(StagesTimed { graph, program, times });
                }
            }
            WorkerMessage::Failed { generation, frame, error, .. } => {
                self.handle_event(LeaderEvent::Failed { node, generation, frame, error }, context);
            }
            WorkerMessage::StandsBy { set, plans, done, .. } => {
                tracing::debug!(%node, set, plans, done, "stands by");
                if done {
                    self.packing.remove(&node);
                }
                if let Some(planner) = &self.planner {
                    planner.do_send(WeightsHeld { node, held: Held::Standby { set, plans } });
                }
            }
            WorkerMessage::Stored { .. } => {
                if let Some(planner) = &self.planner {
                    planner.do_send(WeightsHeld { node, held: Held::All });
                }
            }
            WorkerMessage::LinkDown { generation, peer, error, .. } => {
                tracing::info!("{node} lost its connection to {peer}: {error}");
                self.handle_event(LeaderEvent::LinkDown { node, generation, peer }, context);
            }
            WorkerMessage::Inspected { generation, frame, awaits, owes, .. } => {
                let Some(plan) = self.plans.get(&generation) else { return };
                let awaited = |transfer: TransferId| {
                    let from = plan.transfers.get(transfer.0 as usize)?.from;
                    let from = *plan.lane.members.get(from.index())?;
                    Some(Awaited { transfer, from })
                };
                let awaits = awaits.into_iter().filter_map(awaited).collect();
                let event = LeaderEvent::Inspected { node, generation, frame, awaits, owes };
                self.handle_event(event, context);
            }
            // Handled by discovery.
            WorkerMessage::Measured(_) | WorkerMessage::Leaving => {}
        }
    }

    /// Notes that a device has begun to pack weights.
    pub(super) fn begins_packing(&mut self, node: NodeId) {
        self.packing.entry(node).or_insert(self.device.clock.now());
    }

    /// Whether a device packs weights, as far as is known.
    pub(super) fn is_packing(&self, node: NodeId) -> bool {
        let since = self.packing.get(&node);
        since.is_some_and(|since| self.device.clock.now().since(*since) < MAX_PACKING)
    }

    fn fetching(&mut self, device: NodeId, have: Bytes, need: Bytes) {
        if have < need {
            self.fetching.insert(device);
        }
        if self.fetching.contains(&device) {
            let name = self.name(device);
            let event = Event::Weights { device, name, have, need };
            if self.loaded.is_some() {
                self.cluster.do_send(Publish(event.clone()));
            }
            self.publish(&event);
        }
    }
}

impl Actor for PipelineActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let host = HostSession {
            session: self.id,
            graph: self.source.graph.clone(),
            weights: self.source.weights.clone(),
            answers: context.address().recipient(),
        };
        self.worker.do_send(host);
        let (plans, predictions) = (context.address().recipient(), context.address().recipient());
        let standby = context.address().recipient();
        let (me, clock) = (self.me(), self.device.clock);
        let (source, options) = (self.source.clone(), self.planner_options);
        let planner = PlannerActor::new(me, clock, source, options, plans, predictions, standby);
        self.planner = Some(planner.start());
        let tick = Duration::from_secs_f64(TICK.0 / 1e3);
        context.run_interval(tick, |pipeline, context| {
            pipeline.read_clocks(context);
            pipeline.handle_event(LeaderEvent::Tick, context)
        });
    }
}

impl Handler<DeviceEvent> for PipelineActor {
    type Result = ();

    fn handle(&mut self, event: DeviceEvent, context: &mut Self::Context) {
        let me = self.me();
        match event {
            DeviceEvent::Snapshot(peers) => {
                let wanted = peers.into_iter().filter(|peer| !self.alone || peer.hello.node == me);
                wanted.collect::<Vec<_>>().into_iter().for_each(|peer| self.update_peer(peer));
                self.read_clocks(context);
                self.admit(context);
            }
            DeviceEvent::Joined(peer) => {
                if !self.alone || peer.hello.node == me {
                    self.update_peer(*peer);
                    self.admit(context);
                }
            }
            DeviceEvent::Leaving(node) => {
                if self.peers.contains_key(&node) {
                    self.handle_event(LeaderEvent::Leaving(node), context);
                }
            }
            DeviceEvent::Gone { node, left } => {
                if self.peers.remove(&node).is_none() {
                    return;
                }
                self.opened.remove(&node);
                if let Some(planner) = &self.planner {
                    planner.do_send(WeightsHeld { node, held: Held::Stored });
                }
                self.serving_weights.remove(&node);
                self.fetching.remove(&node);
                self.packing.remove(&node);
                if let Some(clocks) = &mut self.clocks {
                    clocks.forget(node);
                }
                let event = if left { LeaderEvent::Left(node) } else { LeaderEvent::Lost(node) };
                self.handle_event(event, context);
            }
            DeviceEvent::Message(node, message) => {
                if self.peers.contains_key(&node) {
                    self.handle_worker_message(node, message, context);
                }
            }
            DeviceEvent::Profiled(node, profile, link) => {
                let Some(peer) = self.peers.get_mut(&node) else { return };
                (peer.profile, peer.link) = (*profile, link);
                let peer = peer.clone();
                self.update_peer(peer);
            }
            DeviceEvent::Devices(devices) => {
                self.devices = devices;
                self.publish_devices();
            }
        }
    }
}

impl Handler<Subscribe> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Subscribe(events): Subscribe, _: &mut Self::Context) {
        let mut alive = events.send(Event::Cluster(self.devices_with_shares())).is_ok();
        for plan in self.plan.borrow().iter() {
            alive &= events.send(Event::Plan(plan.clone())).is_ok();
        }
        if alive {
            self.subscribers.push(events);
        }
    }
}

impl Handler<Pursue> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Pursue(objective): Pursue, _: &mut Self::Context) {
        self.planner_options.policy.objective = objective;
        if let Some(planner) = &self.planner {
            planner.do_send(planner::Pursue(objective));
        }
    }
}

impl Handler<Close> for PipelineActor {
    type Result = ();

    fn handle(&mut self, _: Close, context: &mut Self::Context) {
        self.worker.do_send(ReleaseSession(self.id));
        let peers: Vec<NodeId> = self.peers.keys().copied().collect();
        let reason = "the leader closed the session".to_owned();
        self.send(&peers, &LeaderMessage::Close { session: self.id, reason });
        context.stop();
    }
}
