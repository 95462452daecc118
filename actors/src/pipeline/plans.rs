//! How a session's plans come into force: devices are admitted, told to prepare, given weights.

use std::sync::Arc;

use actix::prelude::*;
use edgeld_runtime::coord::leader::{Event as Happening, Leader, Proposal};
use edgeld_runtime::manifest::{Hash, Manifest};
use edgeld_runtime::plan::{DeviceIx, Generation};
use edgeld_runtime::weights::WeightError;
use edgeld_runtime::wire::{LeaderMessage, Member, NodeId, Prepare, Purpose, encode};

use super::{Close, PipelineActor, REMEMBERED};
use crate::device::Device;
use crate::error::LoadError;
use crate::face::Event;
use crate::model::Source;
use crate::planner::{Activated, Holds, Made};
use crate::solver::Candidate;
use crate::supply::serve_chunks;

#[derive(Message)]
#[rtype(result = "()")]
struct Listed(Result<Manifest, String>);

#[derive(Message)]
#[rtype(result = "()")]
struct SupplyEnded(NodeId);

impl PipelineActor {
    pub(super) fn prepare(
        &mut self,
        generation: Generation,
        proposal: &Proposal,
        context: &mut Context<Self>,
    ) {
        let is_it = |candidate: &&Candidate| {
            candidate.proposal.plan == proposal.plan
                && candidate.proposal.members == proposal.members
        };
        let Some(candidate) = self.candidates.iter().rev().find(is_it) else { return };
        let mut candidate = candidate.clone();
        candidate.proposal = proposal.clone();
        candidate.info.generation = generation;
        candidate.info.reason = proposal.reason;
        self.plans.insert(generation, candidate);
        let members: Vec<Member> = (0..)
            .map(DeviceIx)
            .zip(&proposal.members)
            .map(|(device, node)| self.member(device, *node))
            .collect();
        for member in &members {
            self.open(member.node, context);
            let prepare = Prepare {
                generation,
                plan: proposal.plan.clone(),
                device: member.device,
                members: members.clone(),
            };
            self.tell(&[member.node], &LeaderMessage::Prepare { session: self.id, prepare });
        }
    }

    fn member(&self, device: DeviceIx, node: NodeId) -> Member {
        let peer = self.peers.get(&node);
        let addresses = match device {
            DeviceIx::LEADER => Vec::new(),
            _ => peer.map(|peer| peer.addresses.clone()).unwrap_or_default(),
        };
        Member { device, node, name: self.name(node), addresses }
    }

    /// Opens the session on a device, and its connection for weights.
    fn open(&mut self, node: NodeId, context: &mut Context<Self>) {
        let is_me = node == self.me();
        if self.opened.insert(node) {
            let manifest = self.manifest.as_ref().filter(|_| !is_me);
            let open = LeaderMessage::Open {
                session: self.id,
                leader: self.device.hello.name.clone(),
                manifest: manifest.map(|manifest| manifest.encode()).unwrap_or_default(),
                encodings: self.source.encodings.clone(),
                kernels: self.wishes.kernels,
            };
            self.tell(&[node], &open);
        }
        let (Some(peer), Some(manifest)) = (self.peers.get(&node), self.manifest.clone()) else {
            return;
        };
        if is_me || !self.supplied.insert(node) {
            return;
        }
        let (network, addresses) = (peer.network.clone(), peer.addresses.clone());
        let (weights, session) = (self.source.weights.clone(), self.id);
        let address = context.address();
        peer.network.spawn(async move {
            match network.dial_any(&addresses, node, Purpose::Weights(session)).await {
                Ok(connection) => {
                    drop(network);
                    serve_chunks(connection, manifest, weights).await;
                }
                Err(error) => tracing::warn!("weights for {node}: {error}"),
            }
            address.do_send(SupplyEnded(node));
        });
    }

    pub(super) fn activate(&mut self, generation: Generation) {
        let Some(candidate) = self.plans.get(&generation).cloned() else { return };
        let info = Arc::new(candidate.info.clone());
        self.plan.send_replace(Some(info.clone()));
        self.announce(&Event::Plan(info));
        if let Some(planner) = &self.planner {
            planner.do_send(Activated(candidate));
        }
        self.show();
        if let Some(loaded) = self.loaded.take() {
            let _ = loaded.send(Ok(()));
        }
    }

    pub(super) fn holds(&self, node: NodeId, generation: Generation) {
        let Some(plan) = self.plans.get(&generation) else { return };
        let at = plan.proposal.members.iter().position(|member| *member == node);
        let program = at.and_then(|at| plan.programs.get(at)).cloned();
        if let (Some(program), Some(planner)) = (program, &self.planner) {
            planner.do_send(Holds { node, program });
        }
    }

    /// Begins, or takes up a device that came later, once there is a manifest for those who need
    /// one.
    pub(super) fn admit(&mut self, context: &mut Context<Self>) {
        let me = self.me();
        if self.manifest.is_none() && self.peers.keys().any(|node| *node != me) {
            return self.list(context);
        }
        if !self.peers.contains_key(&me) {
            return;
        }
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        if self.leader.is_none() {
            let (leader, commands) = Leader::new(me, nodes);
            self.leader = Some(leader);
            return self.perform(commands, context);
        }
        for node in nodes.into_iter().filter(|node| *node != me) {
            self.happen(Happening::Joined(node), context);
        }
    }

    /// Lists and hashes the model's weights, on a thread of its own; once.
    fn list(&mut self, context: &mut Context<Self>) {
        if std::mem::replace(&mut self.manifest_wanted, true) {
            return;
        }
        let (source, device) = (self.source.clone(), self.device.clone());
        let address = context.address();
        let run = move || {
            address.do_send(Listed(manifest(&source, &device).map_err(|error| error.to_string())));
        };
        let spawned = std::thread::Builder::new().name("edgeld-manifest".to_owned()).spawn(run);
        if let Err(error) = spawned {
            context.notify(Listed(Err(error.to_string())));
        }
    }
}

/// The model's manifest: the one that was kept for the same layers and weights, or a new one.
fn manifest(source: &Source, device: &Device) -> Result<Manifest, WeightError> {
    let key = source.weights.origin().map(|origin| {
        let layers = Hash::of(&encode(&*source.graph));
        format!("manifest {} {layers} {origin}", crate::VERSION)
    });
    let kept = key.as_ref().and_then(|key| Manifest::decode(&device.cache.bytes(key)?).ok());
    if let Some(manifest) = kept {
        return Ok(manifest);
    }
    let manifest = Manifest::build(&source.graph, &*source.weights, &mut |_, _| ())?;
    if let Some(key) = key
        && let Err(error) = device.cache.keep_bytes(&key, &manifest.encode())
    {
        tracing::warn!("the list of weights cannot be kept: {error}");
    }
    Ok(manifest)
}

impl Handler<Listed> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Listed(listed): Listed, context: &mut Self::Context) {
        match listed {
            Ok(manifest) => {
                self.manifest = Some(Arc::new(manifest));
                self.admit(context);
            }
            Err(error) => match self.loaded.take() {
                Some(loaded) => {
                    // Whoever loads may have given up.
                    let _ = loaded.send(Err(LoadError::Weights(error)));
                    context.notify(Close);
                }
                None => {
                    let text = format!("nobody else can take part: {error}");
                    self.announce(&Event::Warning(text));
                }
            },
        }
    }
}

impl Handler<Made> for PipelineActor {
    type Result = ();

    fn handle(&mut self, Made { ask, result }: Made, context: &mut Self::Context) {
        let made = result.is_ok();
        let proposal = result.map(|candidate| {
            let proposal = candidate.proposal.clone();
            self.candidates.push(*candidate);
            proposal
        });
        match (ask, proposal) {
            (Some(ask), proposal) => {
                self.happen(Happening::Proposed { request: ask, proposal }, context)
            }
            (None, Ok(proposal)) => self.happen(Happening::Improved(proposal), context),
            (None, Err(_)) => {}
        }
        // What was not taken up is forgotten.
        let taken_up = |candidate: &Candidate| {
            self.plans.values().any(|plan| plan.proposal.plan == candidate.proposal.plan)
        };
        if made && self.candidates.last().is_some_and(|candidate| !taken_up(candidate)) {
            self.candidates.pop();
        }
        if self.candidates.len() > REMEMBERED {
            self.candidates.remove(0);
        }
    }
}

impl Handler<SupplyEnded> for PipelineActor {
    type Result = ();

    fn handle(&mut self, SupplyEnded(node): SupplyEnded, _: &mut Self::Context) {
        self.supplied.remove(&node);
    }
}
