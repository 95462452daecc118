//! A session on a worker: its model, plans and connections.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use edgeld_runtime::coord::worker::session::{self as links, ConnectionId, Partner};
use edgeld_runtime::graph::{DType, Graph, LayerId};
use edgeld_runtime::kernel::{Isa, KernelKind, Kernels, Setup};
use edgeld_runtime::plan::{DeviceIx, Generation, InFlight};
use edgeld_runtime::program::{Encoding, Program, Transfer, derivation_effort, derive};
use edgeld_runtime::region::Region;
use edgeld_runtime::units::Bytes;
use edgeld_runtime::wire::{
    Hello, LeaderMessage, Member, NodeId, Prepare, Purpose, SessionId, Urgency, WorkerMessage,
    encode,
};

use super::claim::{Claim, ClaimedPlan, PackedWeights};
use super::executor::{ExecutorHandle, Job, Route, computes};
use super::preparation::{Packing, Preparation};
use super::standby::{self, Standby, Step};
use super::suppliers::Suppliers;
use crate::storage::SessionWeights;
use crate::transport::{Network, Sender};

/// Plans of a session at once: a leader has those that frames finish under, those that run and those
/// that follow, and of each as many as run side by side.
const MAX_PLANS: usize = 3 * InFlight::MAX.frames() as usize;

/// Devices of a plan.
const MAX_DEVICES: u16 = 256;

/// Steps of deriving a plan. Bounds the time that any leader can make a worker spend on it, to some
/// tenths of a second; a thousand stages on thirty devices stay below it.
const MAX_EFFORT: u64 = 64 << 20;

/// A session.
pub(super) struct Session {
    /// Its id.
    pub id: SessionId,
    /// The leader's control connection.
    pub control_id: u64,
    /// Sends to the leader.
    pub sender: Sender,
    /// The leader's name.
    pub leader: String,
    /// The model.
    pub graph: Arc<Graph>,
    /// How its inputs are encoded.
    pub encodings: Vec<Encoding>,
    /// Which kernels compute.
    pub kernels: KernelKind,
    /// Where to get its weights.
    pub weights: SessionWeights,
    /// Its executor.
    pub executor: ExecutorHandle,
    /// Decides which connections to open and use, and which plans are ready.
    pub links: links::Session,
    /// Open connections for strips.
    strips: BTreeMap<ConnectionId, Sender>,
    plans: BTreeMap<Generation, SessionPlan>,
    /// The longest strip that any plan brings or brought, in bytes: strips of a plan that has ended
    /// may still be on their way.
    longest_strip: usize,
    /// The weights of the last plan that was prepared, retired or not: the next one reuses them,
    /// packed as they are.
    last: Option<Kernels>,
    /// Weights for plans to come.
    standby: Standbys,
    /// Whether it was seen which weights are on disk.
    stored_checked: bool,
}

/// Weights that are packed in advance.
#[derive(Default)]
struct Standbys {
    /// Numbers what the leader wants.
    set: u32,
    /// For the first of its plans.
    packed: Vec<Kernels>,
    /// Ends the thread that packs them.
    cancelled: Arc<AtomicBool>,
}

/// A plan in preparation, or ready.
struct SessionPlan {
    members: Vec<Member>,
    /// How many frames it carries at once.
    in_flight: InFlight,
    /// The result of preparation.
    prepared: Option<ClaimedPlan>,
    cancelled: Arc<AtomicBool>,
    progress: Packing,
}

/// A plan that was checked, and this device's part of it.
pub(super) struct CheckedPlan {
    /// Its number.
    pub generation: Generation,
    /// This device's program.
    pub program: Program,
    /// How many frames it carries at once.
    pub in_flight: InFlight,
    /// How soon it is needed.
    pub urgency: Urgency,
    transfers: Arc<[Transfer]>,
    members: Vec<Member>,
    /// Devices to exchange strips with.
    pub partners: Vec<Partner>,
}

impl Session {
    /// A session without plans.
    #[allow(clippy::too_many_arguments)] // each is a field
    pub(super) fn new(
        id: SessionId,
        (control_id, sender): (u64, Sender),
        leader: String,
        graph: Arc<Graph>,
        encodings: Vec<Encoding>,
        kernels: KernelKind,
        weights: SessionWeights,
        executor: ExecutorHandle,
    ) -> Session {
        Session {
            id,
            control_id,
            sender,
            leader,
            graph,
            encodings,
            kernels,
            weights,
            executor,
            links: links::Session::default(),
            strips: BTreeMap::new(),
            plans: BTreeMap::new(),
            longest_strip: 0,
            last: None,
            standby: Standbys::default(),
            stored_checked: false,
        }
    }

    /// Sends a message to the leader.
    pub(super) fn send(&self, message: &WorkerMessage) {
        // If the connection has ended, its reader notices.
        let _ = self.sender.send(encode(message), Vec::new());
    }

    /// Whether a connection is one that this session needs: for strips of a device that takes part
    /// in one of its plans, or for weights from its leader or to such a device.
    pub(super) fn expects(&self, peer: &Hello) -> bool {
        match (peer.purpose, &self.weights) {
            (Purpose::Strips(_), _) => self.links.expects(peer.node),
            (Purpose::Weights(_), SessionWeights::Remote(_)) => {
                self.is_leader(peer.node) || self.member(peer.node).is_some()
            }
            _ => false,
        }
    }

    /// Whether it has no plan.
    pub(super) fn is_idle(&self) -> bool {
        self.plans.is_empty()
    }

    /// Whether a device leads the session.
    pub(super) fn is_leader(&self, node: NodeId) -> bool {
        self.sender.peer().node == node
    }

    /// Tells the leader if all weights of the model are on disk; once.
    pub(super) fn check_stored(&mut self, report: impl Fn(Step) + Send + 'static) {
        if let SessionWeights::Remote(fetcher) = &self.weights
            && !std::mem::replace(&mut self.stored_checked, true)
        {
            standby::check_stored(fetcher.clone(), report);
        }
    }

    /// Packs the weights for plans to come, for as many of these as there is room for: the first ones.
    pub(super) fn stand_by(
        &mut self,
        set: u32,
        (plans, weights): (Vec<BTreeMap<LayerId, Region>>, DType),
        isa: Isa,
        network: &Network,
        report: impl Fn(Step) + Send + 'static,
    ) {
        self.cancel_standby();
        // What is packed by now is handed on, and given up unless it is of use again.
        let earlier = self.packed();
        let cancelled = Arc::new(AtomicBool::new(false));
        self.standby = Standbys { set, packed: Vec::new(), cancelled: cancelled.clone() };
        let newest = self.plans.values().next_back();
        let suppliers = newest.filter(|_| matches!(self.weights, SessionWeights::Remote(_)));
        let suppliers = suppliers.and_then(|plan| {
            let program = &plan.prepared.as_ref()?.program;
            Some(Suppliers::among(&plan.members, program.device, network.clone(), self.id))
        });
        let standby = Standby {
            graph: self.graph.clone(),
            setup: Setup { reuse: true, ..self.setup(isa, weights) },
            plans,
            weights: self.weights.clone(),
            suppliers,
            earlier,
            cancelled,
        };
        standby.start(report);
    }

    /// How weights for plans to come are packed.
    pub(super) fn setup(&self, isa: Isa, weights: DType) -> Setup {
        Setup { kind: self.kernels, isa, memory: None, reuse: false, weights }
    }

    /// Records what the thread that packs weights in advance has done.
    pub(super) fn standby_reported(&mut self, set: u32, step: Step) {
        let is_wanted = set == self.standby.set;
        match step {
            Step::Packed(kernels) if is_wanted => {
                self.standby.packed.push(kernels);
                self.stands_by(false);
            }
            Step::Ready if is_wanted => self.stands_by(true),
            Step::Stored => self.send(&WorkerMessage::Stored { session: self.id }),
            Step::Packed(_) | Step::Ready => {}
        }
    }

    fn stands_by(&self, done: bool) {
        let Standbys { set, packed, .. } = &self.standby;
        let (set, plans) = (*set, packed.len() as u32);
        self.send(&WorkerMessage::StandsBy { session: self.id, set, plans, done });
    }

    /// Leaves the processor to something more urgent. What is packed stays.
    pub(super) fn cancel_standby(&self) {
        self.standby.cancelled.store(true, Ordering::Relaxed);
    }

    /// Gives up the weights that are kept beside those of plans.
    pub(super) fn give_up_kept(&mut self) {
        self.cancel_standby();
        self.last = None;
        if !self.standby.packed.is_empty() {
            self.standby.packed.clear();
            self.stands_by(true);
        }
    }

    /// All weights that are packed.
    pub(super) fn packed(&self) -> Vec<PackedWeights> {
        let plans = self.plans.values().filter_map(|plan| plan.prepared.as_ref());
        let kept = self.last.iter().chain(&self.standby.packed).cloned();
        plans.map(ClaimedPlan::weights).chain(kept.map(PackedWeights::kept)).collect()
    }

    /// The longest strip that may arrive, in bytes.
    pub(super) fn longest_strip(&self) -> usize {
        self.longest_strip
    }

    /// Checks a plan and derives this device's part of it.
    ///
    /// # Errors
    /// When the plan does not fit the model, its members or this session's limits.
    pub(super) fn check(&self, prepare: Prepare, me: NodeId) -> Result<CheckedPlan, String> {
        let Prepare { generation, plan, device, members, in_flight, urgency } = prepare;
        if self.plans.len() >= MAX_PLANS || self.plans.contains_key(&generation) {
            return Err(format!("{} plans are already prepared", self.plans.len()));
        }
        if plan.devices > MAX_DEVICES {
            return Err(format!("{} devices; a plan may have {MAX_DEVICES}", plan.devices));
        }
        let fits = members.len() == usize::from(plan.devices)
            && members.get(device.index()).is_some_and(|member| member.node == me)
            && members.iter().enumerate().all(|(at, member)| member.device.index() == at);
        if !fits {
            return Err("the plan's members do not match its devices".to_owned());
        }
        let effort = derivation_effort(&self.graph, &plan);
        if effort > MAX_EFFORT {
            return Err(format!("it takes {effort} steps to derive; {MAX_EFFORT} are allowed"));
        }
        let derivation = derive(&self.graph, &plan).map_err(|error| error.to_string())?;
        let partner = |transfer: &Transfer| match (transfer.from, transfer.to) {
            (from, to) if from == device => Some(to),
            (from, to) if to == device => Some(from),
            _ => None,
        };
        let partners: BTreeSet<DeviceIx> =
            derivation.transfers.iter().filter_map(partner).collect();
        // The leader dials all others; of two others the one with the lower id dials.
        let dials = |member: &Member| {
            device == DeviceIx::LEADER || (me < member.node && member.device != DeviceIx::LEADER)
        };
        let partner = |device: &DeviceIx| {
            let member = &members[device.index()];
            let (node, incarnation) = (member.node, member.incarnation);
            Partner { node, incarnation, dial: dials(member) }
        };
        let partners = partners.iter().map(partner).collect();
        let Some(program) = derivation.programs.into_iter().nth(device.index()) else {
            return Err("the plan has no program for this device".to_owned());
        };
        Ok(CheckedPlan {
            generation,
            program,
            in_flight,
            urgency,
            transfers: derivation.transfers.into(),
            members,
            partners,
        })
    }

    /// Adds a plan and returns the work of preparing it.
    pub(super) fn begin_preparation(
        &mut self,
        checked: CheckedPlan,
        setup: Setup,
        claim: Claim,
        network: &Network,
    ) -> Preparation {
        let CheckedPlan { generation, program, in_flight, urgency, transfers, members, .. } =
            checked;
        let received = transfers.iter().filter(|transfer| transfer.to == program.device);
        let bytes = received.map(|transfer| transfer.bytes(&self.graph, &self.encodings).0);
        let cancelled = Arc::new(AtomicBool::new(false));
        let suppliers = match self.weights {
            SessionWeights::Local(_) => None,
            SessionWeights::Remote(_) => {
                Some(Suppliers::among(&members, program.device, network.clone(), self.id))
            }
        };
        let plan = SessionPlan {
            members,
            in_flight,
            prepared: None,
            cancelled: cancelled.clone(),
            progress: Packing::default(),
        };
        self.plans.insert(generation, plan);
        let longest = bytes.max().unwrap_or(0) as usize;
        self.longest_strip = self.longest_strip.max(longest);
        self.strips.values().for_each(|strips| strips.limit_payload(self.longest_strip));
        Preparation {
            session: self.id,
            generation,
            graph: self.graph.clone(),
            encodings: self.encodings.clone(),
            setup,
            program,
            transfers,
            weights: self.weights.clone(),
            suppliers,
            urgency,
            cancelled,
            claim,
        }
    }

    /// A device of the newest plan that it is in.
    pub(super) fn member(&self, node: NodeId) -> Option<Member> {
        let mut newest = self.plans.values().rev().flat_map(|plan| &plan.members);
        newest.find(|member| member.node == node).cloned()
    }

    /// Adds a connection for strips.
    pub(super) fn add_strips(&mut self, connection: ConnectionId, sender: Sender) {
        self.strips.insert(connection, sender);
    }

    /// Removes a connection for strips.
    pub(super) fn remove_strips(&mut self, connection: ConnectionId) -> Option<Sender> {
        self.strips.remove(&connection)
    }

    /// The connections for strips.
    pub(super) fn strips(&self) -> impl Iterator<Item = &Sender> {
        self.strips.values()
    }

    /// Stores the result of preparing a plan.
    pub(super) fn preparation_done(&mut self, generation: Generation, prepared: ClaimedPlan) {
        if let Some(plan) = self.plans.get_mut(&generation) {
            if computes(&prepared.program) {
                self.last = Some(prepared.kernels.clone());
            }
            plan.prepared = Some(prepared);
        }
    }

    /// Records a plan's progress. The first report of missing weights goes to the leader at once.
    pub(super) fn record_progress(&mut self, generation: Generation, progress: Packing) {
        let Some(plan) = self.plans.get_mut(&generation) else { return };
        let is_first = plan.progress.need == Bytes::ZERO && progress.have < progress.need;
        plan.progress = progress;
        if is_first {
            self.send(&self.fetching(generation, progress));
        }
    }

    fn fetching(&self, generation: Generation, progress: Packing) -> WorkerMessage {
        let Packing { have, need, packed } = progress;
        WorkerMessage::Fetching { session: self.id, generation, have, need, packed }
    }

    /// Progress messages for the plans in preparation.
    pub(super) fn progress(&self) -> Vec<WorkerMessage> {
        let preparing =
            self.plans.iter().filter(|(generation, _)| !self.links.is_ready(**generation));
        preparing.map(|(generation, plan)| self.fetching(*generation, plan.progress)).collect()
    }

    /// Gives the executor a plan that is prepared and connected, and tells the leader. Returns the
    /// number of stages in which this device computes.
    pub(super) fn start(
        &self,
        generation: Generation,
        routes: &BTreeMap<NodeId, ConnectionId>,
    ) -> Option<usize> {
        let plan = self.plans.get(&generation)?;
        let prepared = plan.prepared.clone()?;
        let route = |member: &Member| Route {
            node: member.node,
            strips: routes.get(&member.node).and_then(|id| self.strips.get(id)).cloned(),
        };
        let stages = stages(&prepared.program);
        let routes = plan.members.iter().map(route).collect();
        self.executor.send(Job::AddPlan { prepared, routes, in_flight: plan.in_flight });
        self.send(&WorkerMessage::Ready { session: self.id, generation });
        Some(stages)
    }

    /// Removes a plan.
    pub(super) fn retire(&mut self, generation: Generation) {
        if let Some(plan) = self.plans.remove(&generation) {
            plan.cancelled.store(true, Ordering::Relaxed);
        }
        self.executor.send(Job::RetirePlan { generation });
    }

    /// Cancels all work and closes all connections of the session.
    pub(super) fn close(&mut self) {
        self.cancel_standby();
        for plan in self.plans.values() {
            plan.cancelled.store(true, Ordering::Relaxed);
        }
        if let SessionWeights::Remote(fetcher) = &self.weights {
            fetcher.close();
        }
        for strips in self.strips.values() {
            strips.abort("the session has ended");
        }
    }
}

/// Number of stages in which a program computes.
fn stages(program: &Program) -> usize {
    let computes = program.steps.iter().filter_map(|step| match &step.action {
        edgeld_runtime::program::Action::Compute { stage, .. } => Some(*stage),
        _ => None,
    });
    computes.collect::<BTreeSet<usize>>().len()
}

/// The session of a message, if it has one.
pub(super) fn session_of(message: &LeaderMessage) -> Option<SessionId> {
    match message {
        LeaderMessage::Open { session, .. }
        | LeaderMessage::Prepare { session, .. }
        | LeaderMessage::Abort { session, .. }
        | LeaderMessage::Retire { session, .. }
        | LeaderMessage::Inspect { session, .. }
        | LeaderMessage::Standby { session, .. }
        | LeaderMessage::Disconnect { session, .. }
        | LeaderMessage::Close { session, .. } => Some(*session),
        LeaderMessage::Measure { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use edgeld_runtime::plan::{Plan, Split, Stage};
    use edgeld_runtime::wire::Incarnation;

    use super::*;
    use crate::storage::testing::Lan;
    use crate::worker::device::{Device, DeviceOptions};
    use crate::worker::executor;

    const ME: NodeId = NodeId(1);
    const PEER: NodeId = NodeId(2);

    /// A plan under which the peer begins and this device does what comes after these layers.
    fn after(layers: u32, graph: &Graph, generation: u32) -> Prepare {
        let all = graph.layers().len() as u32;
        let stages = vec![
            Stage { layers: 0..layers, split: Split::Whole(DeviceIx::LEADER) },
            Stage { layers: layers..all, split: Split::Whole(DeviceIx(1)) },
        ];
        let member = |(device, node)| Member {
            device: DeviceIx(device),
            node,
            incarnation: Incarnation::default(),
            name: String::new(),
            addresses: Vec::new(),
        };
        Prepare {
            generation: Generation(generation),
            plan: Plan::new(2, stages),
            device: DeviceIx(1),
            members: [(0, PEER), (1, ME)].map(member).to_vec(),
            in_flight: InFlight::ONE,
            urgency: Urgency::Soon,
        }
    }

    #[tokio::test]
    async fn strips_of_a_plan_that_has_ended_may_still_be_on_their_way() {
        let mut lan = Lan::new().await;
        let (control, _leader, _leader_network) = lan.connect("leader", 3).await;
        let (strips, peer, network) = lan.connect("peer", PEER.0).await;
        let home = tempfile::tempdir().unwrap();
        let options = DeviceOptions { home: Some(home.path().into()), ..DeviceOptions::default() };
        let executor = executor::start(&Device::open(&options).unwrap(), false, drop).unwrap();
        let graph = lan.graph();
        let mut session = Session::new(
            SessionId(1),
            (1, control.split().0),
            "leader".to_owned(),
            graph.clone(),
            vec![Encoding::F32],
            KernelKind::Exact,
            SessionWeights::Remote(lan.fetcher.clone()),
            executor,
        );
        let (sender, mut receiver) = strips.split();
        session.add_strips(ConnectionId(1), sender);
        // A map after the first layer, then one vector after all but the last.
        let last = graph.layers().len() as u32 - 1;
        for (generation, layers) in [(1, 1), (2, last)] {
            let checked = session.check(after(layers, &graph, generation), ME).unwrap();
            let setup = session.setup(Isa::Plain, DType::F32);
            drop(session.begin_preparation(checked, setup, Claim::new(|| ()), &network));
            session.retire(Generation(generation));
        }
        let map = graph.output_shape(graph.layer_ids().next().unwrap());
        let strip = vec![0u8; 4 * map.elements() as usize];
        peer.split().0.send(vec![0], strip.clone()).unwrap();
        assert_eq!(receiver.next().await.unwrap().payload.len(), strip.len());
    }
}
