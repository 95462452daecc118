//! One leader's session on a worker: its model, its plans in preparation, its connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgeld_runtime::exec::Prepared;
use edgeld_runtime::graph::{Graph, TensorId};
use edgeld_runtime::kernel::{Isa, KernelKind, Setup};
use edgeld_runtime::plan::{DeviceIx, Generation};
use edgeld_runtime::program::{Encoding, Program, Transfer, derive};
use edgeld_runtime::units::Bytes;
use edgeld_runtime::wire::{
    LeaderMessage, Member, NodeId, Prepare, SessionId, WorkerMessage, encode,
};

use super::executor::{ExecutorHandle, Job, Route};
use super::preparation::Preparation;
use crate::storage::SessionWeights;
use crate::transport::Sender;

/// Plans of a session at once; a leader needs three.
const PLANS: usize = 8;

/// Devices of a plan: with more of them, deriving it would take a worker longer than it should
/// for anyone who asks.
const DEVICES: u16 = 256;

/// A session.
pub(super) struct Session {
    /// Its id.
    pub id: SessionId,
    /// Number of the leader's control connection.
    pub control: u64,
    /// The way to the leader.
    pub sender: Sender,
    /// The leader's name.
    pub leader: String,
    /// The model.
    pub graph: Arc<Graph>,
    /// How its inputs travel.
    pub encodings: Vec<Encoding>,
    /// Which kernels compute.
    pub kernels: KernelKind,
    /// Where its weights are.
    pub weights: SessionWeights,
    /// Its executor.
    pub executor: ExecutorHandle,
    /// Open connections for strips, by device, with their numbers. Of several the oldest is used:
    /// whoever dials by several addresses keeps the first that answers.
    strips: BTreeMap<NodeId, Vec<(u64, Sender)>>,
    /// Devices that are being dialled.
    pub dialling: BTreeSet<NodeId>,
    plans: BTreeMap<Generation, SessionPlan>,
    /// What was packed last: the next plan shares its weights, even if it is over by then.
    packed: Option<Arc<Prepared>>,
}

/// A plan: in preparation, or ready.
struct SessionPlan {
    members: Vec<Member>,
    /// Devices that strips are exchanged with.
    partners: BTreeSet<NodeId>,
    /// What it consists of, once packed.
    prepared: Option<Arc<Prepared>>,
    /// The leader has been told.
    ready: bool,
    cancelled: Arc<AtomicBool>,
    /// Bytes of weights that are here, of those needed.
    progress: (Bytes, Bytes),
}

/// A plan for this device, checked and derived.
pub(super) struct Draft {
    /// Its number.
    pub generation: Generation,
    /// What this device is to do.
    pub program: Program,
    transfers: Arc<[Transfer]>,
    members: Vec<Member>,
    partners: BTreeSet<NodeId>,
}

impl Session {
    /// A session without plans.
    #[allow(clippy::too_many_arguments)] // each is a field
    pub(super) fn new(
        id: SessionId,
        (control, sender): (u64, Sender),
        leader: String,
        graph: Arc<Graph>,
        encodings: Vec<Encoding>,
        kernels: KernelKind,
        weights: SessionWeights,
        executor: ExecutorHandle,
    ) -> Session {
        Session {
            id,
            control,
            sender,
            leader,
            graph,
            encodings,
            kernels,
            weights,
            executor,
            strips: BTreeMap::new(),
            dialling: BTreeSet::new(),
            plans: BTreeMap::new(),
            packed: None,
        }
    }

    /// Tells the leader something.
    pub(super) fn send(&self, message: &WorkerMessage) {
        // That the connection has ended is noticed by whoever reads from it.
        let _ = self.sender.send(encode(message), Vec::new());
    }

    /// The longest strip that any plan of this model can have, in bytes.
    pub(super) fn longest_strip(&self) -> usize {
        let tensors = (0..self.graph.tensor_count() as u32).map(TensorId);
        let bytes = tensors.map(|tensor| self.graph.shape(tensor).elements() * 4);
        bytes.max().unwrap_or(0) as usize
    }

    /// Checks a plan and derives this device's part.
    ///
    /// # Errors
    /// In words: the plan does not fit the model or its members.
    pub(super) fn draft(&self, prepare: Prepare, me: NodeId) -> Result<Draft, String> {
        let Prepare { generation, plan, device, members } = prepare;
        if self.plans.len() >= PLANS || self.plans.contains_key(&generation) {
            return Err(format!("{} plans are prepared already", self.plans.len()));
        }
        if plan.devices > DEVICES {
            return Err(format!("{} devices; a plan has {DEVICES} at most", plan.devices));
        }
        let fits = members.len() == usize::from(plan.devices)
            && members.get(device.index()).is_some_and(|member| member.node == me)
            && members.iter().enumerate().all(|(at, member)| member.device.index() == at);
        if !fits {
            return Err("the plan's devices are not its members".to_owned());
        }
        let derivation = derive(&self.graph, &plan).map_err(|error| error.to_string())?;
        let partner = |transfer: &Transfer| match (transfer.from, transfer.to) {
            (from, to) if from == device => Some(to),
            (from, to) if to == device => Some(from),
            _ => None,
        };
        let partners: BTreeSet<DeviceIx> =
            derivation.transfers.iter().filter_map(partner).collect();
        let partners = partners.iter().map(|device| members[device.index()].node).collect();
        let Some(program) = derivation.programs.into_iter().nth(device.index()) else {
            return Err("the plan has no part for this device".to_owned());
        };
        Ok(Draft { generation, program, transfers: derivation.transfers.into(), members, partners })
    }

    /// Begins to prepare a plan; the work for a thread of its own.
    pub(super) fn begin(&mut self, draft: Draft, isa: Isa, memory: Bytes) -> Preparation {
        let Draft { generation, program, transfers, members, partners } = draft;
        let cancelled = Arc::new(AtomicBool::new(false));
        let previous = self.packed.clone();
        let plan = SessionPlan {
            members,
            partners,
            prepared: None,
            ready: false,
            cancelled: cancelled.clone(),
            progress: (Bytes::ZERO, Bytes::ZERO),
        };
        self.plans.insert(generation, plan);
        Preparation {
            session: self.id,
            generation,
            graph: self.graph.clone(),
            encodings: self.encodings.clone(),
            setup: Setup { kind: self.kernels, isa, memory: Some(memory) },
            program,
            transfers,
            weights: self.weights.clone(),
            previous,
            cancelled,
        }
    }

    /// Partners of a plan that this device has to dial and does not dial yet: all of them if it
    /// leads, else those with a higher id, the leader excepted. They count as being dialled from
    /// now on.
    pub(super) fn to_dial(&mut self, generation: Generation, me: NodeId) -> Vec<Member> {
        let Some(plan) = self.plans.get(&generation) else { return Vec::new() };
        let leads = plan.members.first().is_some_and(|member| member.node == me);
        let mine = |member: &&Member| {
            plan.partners.contains(&member.node)
                && (leads || (me < member.node && member.device != DeviceIx::LEADER))
                && !self.strips.contains_key(&member.node)
                && !self.dialling.contains(&member.node)
        };
        let members: Vec<Member> = plan.members.iter().filter(mine).cloned().collect();
        self.dialling.extend(members.iter().map(|member| member.node));
        members
    }

    /// A connection for strips is open.
    pub(super) fn connected(&mut self, number: u64, sender: Sender) {
        let node = sender.peer().node;
        self.dialling.remove(&node);
        self.strips.entry(node).or_default().push((number, sender));
    }

    /// A connection for strips has ended. Whether it was the one in use.
    pub(super) fn disconnected(&mut self, number: u64, node: NodeId) -> bool {
        let Some(open) = self.strips.get_mut(&node) else { return false };
        let used = open.first().is_some_and(|(first, _)| *first == number);
        open.retain(|(other, _)| *other != number);
        if open.is_empty() {
            self.strips.remove(&node);
        }
        used
    }

    /// The plans that exchange strips with a device.
    pub(super) fn waiting_for(&self, node: NodeId) -> Vec<Generation> {
        let plans = self.plans.iter().filter(|(_, plan)| plan.partners.contains(&node));
        plans.map(|(generation, _)| *generation).collect()
    }

    /// A plan's weights are packed.
    pub(super) fn packed(&mut self, generation: Generation, prepared: Arc<Prepared>) {
        if let Some(plan) = self.plans.get_mut(&generation) {
            plan.prepared = Some(prepared.clone());
            self.packed = Some(prepared);
        }
    }

    /// Weights of a plan have come. The first news that some are missing is told at once.
    pub(super) fn progressed(&mut self, generation: Generation, have: Bytes, need: Bytes) {
        let Some(plan) = self.plans.get_mut(&generation) else { return };
        let is_first = plan.progress.1 == Bytes::ZERO && have < need;
        plan.progress = (have, need);
        if is_first {
            self.send(&WorkerMessage::Fetching { session: self.id, generation, have, need });
        }
    }

    /// How far the plans in preparation are.
    pub(super) fn progress(&self) -> Vec<WorkerMessage> {
        let preparing = self.plans.iter().filter(|(_, plan)| !plan.ready);
        preparing
            .map(|(generation, plan)| {
                let (have, need) = plan.progress;
                WorkerMessage::Fetching { session: self.id, generation: *generation, have, need }
            })
            .collect()
    }

    /// Hands the plans that are packed and connected to the executor and tells the leader; gives
    /// them, with the number of stages in which this device computes.
    pub(super) fn start_ready_plans(&mut self) -> Vec<(Generation, usize)> {
        let mut ready = Vec::new();
        for (generation, plan) in &mut self.plans {
            let Some(prepared) = plan.prepared.clone().filter(|_| !plan.ready) else { continue };
            if !plan.partners.iter().all(|node| self.strips.contains_key(node)) {
                continue;
            }
            plan.ready = true;
            let route = |member: &Member| Route {
                node: member.node,
                strips: self.strips.get(&member.node).map(|open| open[0].1.clone()),
            };
            let stages = stages(&prepared.program);
            let routes = plan.members.iter().map(route).collect();
            self.executor.send(Job::Plan { prepared, routes });
            ready.push((*generation, stages));
        }
        for (generation, _) in &ready {
            self.send(&WorkerMessage::Ready { session: self.id, generation: *generation });
        }
        ready
    }

    /// A plan is over.
    pub(super) fn retire(&mut self, generation: Generation) {
        if let Some(plan) = self.plans.remove(&generation) {
            plan.cancelled.store(true, Ordering::Relaxed);
        }
        self.executor.send(Job::Retire { generation });
    }

    /// The session is over.
    pub(super) fn close(&mut self) {
        for plan in self.plans.values() {
            plan.cancelled.store(true, Ordering::Relaxed);
        }
        if let SessionWeights::Remote(fetcher) = &self.weights {
            fetcher.close();
        }
        for (_, strips) in self.strips.values().flatten() {
            strips.abort("the session is over");
        }
    }
}

/// Stages in which a program computes.
fn stages(program: &Program) -> usize {
    let computes = program.steps.iter().filter_map(|step| match &step.action {
        edgeld_runtime::program::Action::Compute { stage, .. } => Some(*stage),
        _ => None,
    });
    computes.collect::<BTreeSet<usize>>().len()
}

/// The session that a message is about; `None` for those about none.
pub(super) fn session_of(message: &LeaderMessage) -> Option<SessionId> {
    match message {
        LeaderMessage::Open { session, .. }
        | LeaderMessage::Prepare { session, .. }
        | LeaderMessage::Abort { session, .. }
        | LeaderMessage::Retire { session, .. }
        | LeaderMessage::Close { session, .. } => Some(*session),
        LeaderMessage::Measure { .. } => None,
    }
}
