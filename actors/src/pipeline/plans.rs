//! Brings a session's plans into force: admits devices, has them prepare, serves their weights.

use std::sync::Arc;

use actix::prelude::*;
use edgeld_runtime::coord::Reason;
use edgeld_runtime::coord::leader::{Event as LeaderEvent, Lane, Leader};
use edgeld_runtime::manifest::{Hash, Manifest};
use edgeld_runtime::plan::{DeviceIx, Generation};
use edgeld_runtime::weights::WeightError;
use edgeld_runtime::wire::{
    Incarnation, LeaderMessage, Member, NodeId, Prepare, Purpose, Urgency, encode,
};

use super::actor::{MAX_CANDIDATES, PipelineActor};
use super::messages::{Close, ManifestBuilt, WeightsServed};
use crate::api::{Event, LoadError, PlanInfo, Source};
use crate::discovery::Peer;
use crate::planner::{
    Candidate, Held, PlanActivated, Planned, PlannedLane, PredictionChanged, StandBy, WeightsHeld,
};
use crate::storage::Supply;
use crate::worker::Device;

impl PipelineActor {
    pub(super) fn prepare(
        &mut self,
        generation: Generation,
        lane: &Lane,
        context: &mut Context<Self>,
    ) {
        let Some((candidate, planned)) = self.planned(lane) else { return };
        let urgency = match candidate.proposal.reason {
            _ if candidate.proposal.provisional => Urgency::Stopgap,
            reason if reason.is_patient() => Urgency::Patient,
            _ => Urgency::Soon,
        };
        let planned = planned.clone();
        self.plans.insert(generation, planned);
        let members: Vec<Member> = (0..)
            .map(DeviceIx)
            .zip(&lane.members)
            .map(|(device, node)| self.member(device, *node))
            .collect();
        tracing::debug!(generation = generation.0, members = ?lane.members, "prepare");
        for member in &members {
            self.open(member.node, context);
            let prepare = Prepare {
                generation,
                plan: lane.plan.clone(),
                device: member.device,
                members: members.clone(),
                in_flight: lane.in_flight,
                urgency,
            };
            self.send(&[member.node], &LeaderMessage::Prepare { session: self.id, prepare });
            self.begins_packing(member.node);
        }
    }

    /// The newest plan of the planner that is this lane, and what it was proposed with.
    fn planned(&self, lane: &Lane) -> Option<(&Candidate, &PlannedLane)> {
        let is = |planned: &&PlannedLane| {
            planned.lane.plan == lane.plan && planned.lane.members == lane.members
        };
        let mut newest = self.candidates.iter().rev();
        newest.find_map(|candidate| Some((candidate, candidate.lanes.iter().find(is)?)))
    }

    fn member(&self, device: DeviceIx, node: NodeId) -> Member {
        let peer = self.peers.get(&node);
        let incarnation = peer.map(|peer| peer.hello.incarnation).unwrap_or_default();
        let addresses = match device {
            DeviceIx::LEADER => Vec::new(),
            _ => peer.map(|peer| peer.addresses.clone()).unwrap_or_default(),
        };
        Member { device, node, incarnation, name: self.name(node), addresses }
    }

    /// Opens the session on a device, and a connection to serve weights.
    fn open(&mut self, node: NodeId, context: &mut Context<Self>) {
        let is_me = node == self.me();
        if self.opened.insert(node) {
            let manifest = self.manifest.as_ref().filter(|_| !is_me);
            let open = LeaderMessage::Open {
                session: self.id,
                leader: self.device.hello.name.clone(),
                manifest: manifest.map(|manifest| manifest.encode()).unwrap_or_default(),
                encodings: self.source.encodings.clone(),
                kernels: self.planner_options.kernels,
                traced: self.clocks.is_some(),
            };
            self.send(&[node], &open);
        }
        let (Some(peer), Some(manifest)) = (self.peers.get(&node), self.manifest.clone()) else {
            return;
        };
        if is_me || !self.serving_weights.insert(node) {
            return;
        }
        let (network, addresses) = (peer.network.clone(), peer.addresses.clone());
        let supply = Supply::Model(manifest, self.source.weights.clone());
        let session = self.id;
        let address = context.address();
        peer.network.spawn(async move {
            match network.dial_any(&addresses, node, Purpose::Weights(session)).await {
                Ok(connection) => {
                    drop(network);
                    supply.serve(connection).await;
                }
                Err(error) => tracing::warn!("cannot connect to {node} to send weights: {error}"),
            }
            address.do_send(WeightsServed(node));
        });
    }

    pub(super) fn activate(&mut self, lanes: Vec<(Generation, Lane)>, reason: Reason) {
        let mut computes = Vec::new();
        for (generation, lane) in &lanes {
            let Some((candidate, planned)) = self.planned(lane) else { continue };
            computes.clone_from(&candidate.computes);
            let mut planned = planned.clone();
            (planned.info.generation, planned.info.reason) = (*generation, reason);
            self.plans.insert(*generation, planned);
        }
        let plans = lanes.iter().filter_map(|(generation, _)| self.plans.get(generation));
        let infos: Vec<Arc<PlanInfo>> =
            plans.map(|planned| Arc::new(planned.info.clone())).collect();
        let objective = infos.first().and_then(|info| info.objective.parse().ok());
        let objective = objective.unwrap_or(self.planner_options.policy.objective);
        self.plan.send_replace(infos.clone());
        infos.into_iter().for_each(|info| self.publish(&Event::Plan(info)));
        if let Some(planner) = &self.planner {
            planner.do_send(PlanActivated { lanes, computes, objective });
        }
        self.publish_devices();
        if let Some(loaded) = self.loaded.take() {
            let _ = loaded.send(Ok(()));
        }
    }

    pub(super) fn weights_held(&self, node: NodeId, generation: Generation) {
        let Some(plan) = self.plans.get(&generation) else { return };
        let at = plan.lane.members.iter().position(|member| *member == node);
        let program = at.and_then(|at| plan.programs.get(at)).cloned();
        if let (Some(program), Some(planner)) = (program, &self.planner) {
            planner.do_send(WeightsHeld { node, held: Held::Program(program) });
        }
    }

    /// Starts the session, or adds new devices to it. Builds the manifest first if any device but
    /// this one takes part.
    pub(super) fn admit(&mut self, context: &mut Context<Self>) {
        let me = self.me();
        if self.manifest.is_none() && self.peers.keys().any(|node| *node != me) {
            return self.build_manifest(context);
        }
        if !self.peers.contains_key(&me) {
            return;
        }
        let node = |peer: &Peer| (peer.hello.node, peer.hello.incarnation);
        let nodes: Vec<(NodeId, Incarnation)> = self.peers.values().map(node).collect();
        if self.leader.is_none() {
            let (leader, commands) = Leader::new(me, nodes);
            self.leader = Some(leader);
            return self.perform(commands, context);
        }
        for (node, incarnation) in nodes.into_iter().filter(|(node, _)| *node != me) {
            self.handle_event(LeaderEvent::Joined { node, incarnation }, context);
        }
    }

    /// Lists and hashes the model's weights on a thread of its own, once.
    fn build_manifest(&mut self, context: &mut Context<Self>) {
        if std::mem::replace(&mut self.manifest_requested, true) {
            return;
        }
        let (source, device) = (self.source.clone(), self.device.clone());
        let address = context.address();
        let run = move || {
            address.do_send(ManifestBuilt(
                manifest(&source, &device).map_err(|error| error.to_string()),
            ));
        };
        let spawned = std::thread::Builder::new().name("edgeld-manifest".to_owned()).spawn(run);
        if let Err(error) = spawned {
            context.notify(ManifestBuilt(Err(error.to_string())));
        }
    }
}

/// The model's manifest: from the cache if layers and weights are the same, else a new one.
fn manifest(source: &Source, device: &Device) -> Result<Manifest, WeightError> {
    let key = source.weights.origin().map(|origin| {
        let layers = Hash::of(&encode(&*source.graph));
        format!("manifest {} {layers} {origin}", crate::api::VERSION)
    });
    let cached = key.as_ref().and_then(|key| Manifest::decode(&device.cache.get_bytes(key)?).ok());
    if let Some(manifest) = cached {
        return Ok(manifest);
    }
    let manifest = Manifest::build(&source.graph, &*source.weights, &mut |_, _| ())?;
    if let Some(key) = key
        && let Err(error) = device.cache.put_bytes(&key, &manifest.encode())
    {
        tracing::warn!("cannot cache the manifest: {error}");
    }
    Ok(manifest)
}

impl Handler<ManifestBuilt> for PipelineActor {
    type Result = ();

    fn handle(&mut self, ManifestBuilt(result): ManifestBuilt, context: &mut Self::Context) {
        match result {
            Ok(manifest) => {
                self.manifest = Some(Arc::new(manifest));
                self.admit(context);
            }
            Err(error) => match self.loaded.take() {
                Some(loaded) => {
                    // The caller may be gone.
                    let _ = loaded.send(Err(LoadError::Weights(error)));
                    context.notify(Close);
                }
                None => {
                    let text =
                        format!("no other device can take part: cannot read the weights: {error}");
                    self.publish(&Event::Warning(text));
                }
            },
        }
    }
}

impl Handler<Planned> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Planned { request_id, result }: Planned, context: &mut Self::Context) {
        let is_plan = result.is_ok();
        let proposal = result.map(|candidate| {
            let proposal = candidate.proposal.clone();
            self.candidates.push(*candidate);
            proposal
        });
        match (request_id, proposal) {
            (Some(request), proposal) => {
                self.handle_event(LeaderEvent::Proposed { request, proposal }, context);
            }
            (None, Ok(proposal)) => self.handle_event(LeaderEvent::Improved(proposal), context),
            (None, Err(_)) => {}
        }
        // Drop the candidate unless it is now in use.
        let in_use = |candidate: &Candidate| {
            let plans = candidate.lanes.iter().map(|planned| &planned.lane.plan);
            plans
                .into_iter()
                .any(|plan| self.plans.values().any(|planned| planned.lane.plan == *plan))
        };
        if is_plan && self.candidates.last().is_some_and(|candidate| !in_use(candidate)) {
            self.candidates.pop();
        }
        if self.candidates.len() > MAX_CANDIDATES {
            self.candidates.remove(0);
        }
    }
}

impl Handler<StandBy> for PipelineActor {
    type Result = ();

    fn handle(&mut self, StandBy { set, weights, plans }: StandBy, _: &mut Self::Context) {
        let session = self.id;
        for (node, plans) in plans {
            if !plans.is_empty() {
                self.begins_packing(node);
            }
            self.send(&[node], &LeaderMessage::Standby { session, set, weights, plans });
        }
    }
}

impl Handler<PredictionChanged> for PipelineActor {
    type Result = ();

    fn handle(&mut self, changed: PredictionChanged, _: &mut Self::Context) {
        let PredictionChanged { generation, predicted } = changed;
        let is_active = self.plan.borrow().iter().any(|plan| plan.generation == generation);
        let Some(planned) = self.plans.get_mut(&generation).filter(|_| is_active) else { return };
        planned.info.predicted = predicted;
        planned.info.frames_per_second = 1e3 / predicted.0;
        let info = Arc::new(planned.info.clone());
        self.plan.send_replace(vec![info.clone()]);
        self.publish(&Event::Plan(info));
    }
}

impl Handler<WeightsServed> for PipelineActor {
    type Result = ();

    fn handle(&mut self, WeightsServed(node): WeightsServed, _: &mut Self::Context) {
        self.serving_weights.remove(&node);
    }
}
