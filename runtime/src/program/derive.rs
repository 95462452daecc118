//! From a plan to every device's program.
//!
//! For each stage and device, the receptive field is walked back from what the device owns of the
//! stage's boundary tensors. That yields the regions it computes and the regions it needs of
//! earlier tensors. What it needs and did not compute itself comes from the owners. With
//! [`Exchange::Peer`] a strip is sent once, as soon as it is computed, for all its later readers.
//! With [`Exchange::Leader`] every result is gathered to the leader, which scatters it again for
//! each stage that reads it. That is the only difference.

use std::collections::BTreeMap;

use super::step::{
    Action, Buffer, BufferId, Program, Purpose, Run, Step, StepIx, Transfer, TransferId,
};
use crate::graph::{DType, Graph, LayerId, Op, TensorId, Tile};
use crate::halo::walk_back;
use crate::plan::{DeviceIx, Exchange, Ownership, Plan, PlanError, Split, Stage};
use crate::region::{CHANNEL_BLOCK, ChannelRange, Region, RowRange};

/// A share is cut into borders and an interior only if the interior has at least this many rows:
/// with thinner ones the cut costs more than the overlap gains.
const MIN_INTERIOR_ROWS: u32 = 4;

/// A piece by features has at least this many: with fewer, transforming the inputs once more costs
/// more than the overlap gains.
const MIN_PIECE_FEATURES: u32 = 64;

/// The programs and transfers that follow from a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derivation {
    /// A program per device, in cluster order.
    pub programs: Vec<Program>,
    /// All transfers, indexed by [`TransferId`].
    pub transfers: Vec<Transfer>,
}

/// Derives every device's program.
///
/// # Errors
/// When the plan does not [fit](Plan::check) the graph.
pub fn derive(graph: &Graph, plan: &Plan) -> Result<Derivation, PlanError> {
    plan.check(graph)?;
    let ownership = Ownership::derive(graph, plan);
    let shares = plan
        .stages
        .iter()
        .enumerate()
        .map(|(stage, _)| {
            plan.device_ids()
                .map(|device| Share::derive(graph, plan, &ownership, stage, device))
                .collect()
        })
        .collect();
    let mut deriver = Deriver {
        graph,
        plan,
        ownership,
        shares,
        transfers: Vec::new(),
        drafts: plan.device_ids().map(|device| Draft::new(device, plan.weights)).collect(),
    };
    deriver.run();
    let programs = deriver.drafts.into_iter().map(|draft| draft.program).collect();
    Ok(Derivation { programs, transfers: deriver.transfers })
}

/// The fewest rows of an interior worth cutting out, if they are computed `tile` at a time.
fn least_interior(tile: u32) -> u32 {
    MIN_INTERIOR_ROWS.max(2 * tile)
}

/// The part of `interior` that leaves borders of whole tiles: one row of a tile takes as long to
/// compute as all of them.
fn whole_tiles(interior: RowRange, rows: RowRange, tile: u32) -> RowRange {
    if interior.is_empty() {
        return interior;
    }
    let top = (interior.start - rows.start).next_multiple_of(tile);
    let bottom = (rows.end - interior.end).next_multiple_of(tile);
    match top + bottom < rows.len() {
        true => RowRange::new(rows.start + top, rows.end - bottom),
        false => RowRange::empty(),
    }
}

/// What one device does in one stage.
struct Share {
    /// Which region of each layer's output, in layer order.
    computed: Vec<(LayerId, Region)>,
    /// What it reads of tensors from other stages.
    needs: BTreeMap<TensorId, Region>,
}

impl Share {
    fn derive(
        graph: &Graph,
        plan: &Plan,
        ownership: &Ownership,
        stage: usize,
        device: DeviceIx,
    ) -> Share {
        let stage = &plan.stages[stage];
        let mut demand = vec![Region::empty(); graph.tensor_count()];
        for layer in stage.layer_ids() {
            let tensor = graph.output_of(layer);
            if ownership.is_boundary(tensor) {
                demand[tensor.index()] = ownership.owned(tensor, device);
            }
        }
        walk_back(graph, stage.layers.clone(), &mut demand);
        let computed: Vec<(LayerId, Region)> = stage
            .layer_ids()
            .map(|layer| (layer, demand[graph.output_of(layer).index()]))
            .filter(|(_, region)| !region.is_empty())
            .collect();
        let first = graph.output_of(LayerId(stage.layers.start));
        let needs = (0..first.0)
            .map(|tensor| (TensorId(tensor), demand[tensor as usize]))
            .filter(|(_, region)| !region.is_empty())
            .collect();
        Share { computed, needs }
    }

    /// What is computed, and read of other stages' tensors, for these rows of the last layer alone.
    fn part(
        &self,
        graph: &Graph,
        rows: RowRange,
    ) -> (Vec<(LayerId, Region)>, BTreeMap<TensorId, Region>) {
        let mut computed = Vec::new();
        let mut demand: BTreeMap<TensorId, Region> = BTreeMap::new();
        for (at, (layer, region)) in self.computed.iter().enumerate().rev() {
            let wanted = match at + 1 == self.computed.len() {
                true => Region { rows, ..*region },
                false => demand.remove(&graph.output_of(*layer)).unwrap_or(Region::empty()),
            };
            let (node, shapes) = (graph.layer(*layer), graph.input_shapes(*layer));
            for (index, input) in node.inputs.iter().enumerate() {
                let read = node.op.reads(index, shapes, wanted);
                let entry = demand.entry(*input).or_insert(Region::empty());
                *entry = entry.hull(read);
            }
            computed.push((*layer, wanted));
        }
        computed.reverse();
        (computed, demand)
    }

    fn made(&self, graph: &Graph, tensor: TensorId) -> Region {
        self.computed
            .iter()
            .find(|(layer, _)| graph.output_of(*layer) == tensor)
            .map_or(Region::empty(), |(_, region)| *region)
    }
}

/// One device's program under construction.
struct Draft {
    program: Program,
    /// Where a tensor is kept, from the stage that computes or first receives it on.
    homes: BTreeMap<TensorId, BufferId>,
    /// Where a tensor is read from instead, in a stage for which it was scattered.
    scattered: BTreeMap<(usize, TensorId), BufferId>,
    /// By buffer: which step writes which region of it.
    writers: Vec<Vec<(Region, StepIx)>>,
}

impl Draft {
    fn new(device: DeviceIx, weights: DType) -> Draft {
        Draft {
            program: Program { device, buffers: Vec::new(), steps: Vec::new(), weights },
            homes: BTreeMap::new(),
            scattered: BTreeMap::new(),
            writers: Vec::new(),
        }
    }

    fn buffer(&mut self, tensor: TensorId, region: Region) -> BufferId {
        self.program.buffers.push(Buffer { tensor, region });
        self.writers.push(Vec::new());
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    fn step(&mut self, action: Action, after: Vec<StepIx>) -> StepIx {
        self.program.steps.push(Step { action, after });
        StepIx(self.program.steps.len() as u32 - 1)
    }

    /// Records that a step writes `region` of `buffer`.
    fn writes(&mut self, step: StepIx, buffer: BufferId, region: Region) {
        self.writers[buffer.index()].push((region, step));
    }

    /// The steps that write any of `region` of `buffer`.
    fn writers_of(&self, buffer: BufferId, region: Region) -> impl Iterator<Item = StepIx> {
        self.writers[buffer.index()]
            .iter()
            .filter(move |(part, _)| !part.intersect(region).is_empty())
            .map(|(_, step)| *step)
    }

    fn source(&self, stage: usize, tensor: TensorId) -> BufferId {
        match self.scattered.get(&(stage, tensor)) {
            Some(buffer) => *buffer,
            None => self.homes[&tensor],
        }
    }
}

struct Deriver<'a> {
    graph: &'a Graph,
    plan: &'a Plan,
    ownership: Ownership,
    /// By stage, then by device.
    shares: Vec<Vec<Share>>,
    transfers: Vec<Transfer>,
    drafts: Vec<Draft>,
}

impl Deriver<'_> {
    fn run(&mut self) {
        let inputs: Vec<TensorId> = self.graph.inputs().iter().map(|port| port.tensor).collect();
        for (input, tensor) in inputs.iter().enumerate() {
            self.make_homes(*tensor);
            let draft = &mut self.drafts[0];
            let buffer = draft.homes[tensor];
            let step = draft.step(Action::Input { input, buffer }, Vec::new());
            draft.writes(step, buffer, self.graph.shape(*tensor).region());
        }
        for tensor in inputs {
            self.distribute(tensor);
        }
        for stage in 0..self.plan.stages.len() {
            self.stage(stage);
        }
        self.answer();
    }

    fn made(&self, tensor: TensorId, device: DeviceIx) -> Region {
        match self.ownership.producer(tensor) {
            Some(stage) => self.shares[stage][device.index()].made(self.graph, tensor),
            None => self.ownership.owned(tensor, device),
        }
    }

    /// What `device` reads of `tensor` in later stages or outputs.
    fn later_needs(&self, tensor: TensorId, device: DeviceIx) -> Region {
        let answers = device == DeviceIx::LEADER && self.graph.is_output(tensor);
        let start = if answers { self.graph.shape(tensor).region() } else { Region::empty() };
        self.ownership.readers(tensor).iter().fold(start, |hull, stage| {
            let needs = &self.shares[*stage][device.index()].needs;
            hull.hull(needs.get(&tensor).copied().unwrap_or(Region::empty()))
        })
    }

    /// What `device` keeps of `tensor`, including received rows.
    fn home_region(&self, tensor: TensorId, device: DeviceIx) -> Region {
        let made = self.made(tensor, device);
        match self.plan.exchange {
            Exchange::Peer => made.hull(self.later_needs(tensor, device)),
            Exchange::Leader if device == DeviceIx::LEADER => self.graph.shape(tensor).region(),
            Exchange::Leader => made,
        }
    }

    fn make_homes(&mut self, tensor: TensorId) {
        for device in self.plan.device_ids() {
            let region = self.home_region(tensor, device);
            if !region.is_empty() {
                let draft = &mut self.drafts[device.index()];
                let buffer = draft.buffer(tensor, region);
                draft.homes.insert(tensor, buffer);
            }
        }
    }

    /// Sends an input of the graph to the devices that need it.
    fn distribute(&mut self, tensor: TensorId) {
        for transfer in self.transfers_of(tensor) {
            self.receive(transfer);
            self.send(transfer);
        }
    }

    /// Declares the transfers of `tensor` once it is computed.
    fn transfers_of(&mut self, tensor: TensorId) -> Vec<TransferId> {
        let mut declared = Vec::new();
        for to in self.plan.device_ids() {
            let (wanted, purpose) = match self.plan.exchange {
                Exchange::Peer => {
                    let readers = self.ownership.readers(tensor);
                    let first = readers
                        .iter()
                        .find(|stage| self.shares[**stage][to.index()].needs.contains_key(&tensor));
                    let purpose = first.map_or(Purpose::Answer, |stage| Purpose::Stage(*stage));
                    (self.later_needs(tensor, to), purpose)
                }
                Exchange::Leader if to == DeviceIx::LEADER => {
                    let read = !self.ownership.readers(tensor).is_empty();
                    let purpose = match self.ownership.producer(tensor) {
                        Some(stage) if read => Purpose::Gather(stage),
                        _ => Purpose::Answer,
                    };
                    (self.graph.shape(tensor).region(), purpose)
                }
                Exchange::Leader => continue,
            };
            for missing in wanted.minus(self.made(tensor, to)) {
                for from in self.plan.device_ids().filter(|from| *from != to) {
                    let region = missing.intersect(self.ownership.owned(tensor, from));
                    for piece in self.sent_pieces(tensor, from, region) {
                        declared.push(self.declare(tensor, piece, from, to, purpose));
                    }
                }
            }
        }
        declared
    }

    /// The parts of `region` of `tensor` that `from` sends one after the other, as it computes them.
    fn sent_pieces(&self, tensor: TensorId, from: DeviceIx, region: Region) -> Vec<Region> {
        if region.is_empty() {
            return Vec::new();
        }
        let groups = match self.ownership.producer(tensor) {
            Some(stage) => self.feature_groups(stage, from),
            None => Vec::new(),
        };
        let parts = groups.into_iter().map(|channels| Region { channels, ..region });
        let mut parts: Vec<Region> = parts.map(|part| part.intersect(region)).collect();
        if parts.is_empty() {
            parts.push(region);
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    fn declare(
        &mut self,
        tensor: TensorId,
        region: Region,
        from: DeviceIx,
        to: DeviceIx,
        purpose: Purpose,
    ) -> TransferId {
        let wire = self.plan.wire;
        self.transfers.push(Transfer { tensor, region, from, to, purpose, wire });
        TransferId(self.transfers.len() as u32 - 1)
    }

    fn receive(&mut self, id: TransferId) {
        let Transfer { tensor, region, from, to, purpose, .. } =
            self.transfers[id.0 as usize].clone();
        let draft = &mut self.drafts[to.index()];
        let buffer = match purpose {
            Purpose::Stage(stage) => draft.source(stage, tensor),
            Purpose::Gather(_) | Purpose::Answer => draft.homes[&tensor],
        };
        let action = Action::Receive { transfer: id, from, buffer, region };
        let step = draft.step(action, Vec::new());
        draft.writes(step, buffer, region);
    }

    fn send(&mut self, id: TransferId) {
        let Transfer { tensor, region, from, to, .. } = self.transfers[id.0 as usize].clone();
        let draft = &mut self.drafts[from.index()];
        let buffer = draft.homes[&tensor];
        let after = draft.writers_of(buffer, region).collect();
        draft.step(Action::Send { transfer: id, to, buffer, region }, after);
    }

    fn stage(&mut self, stage: usize) {
        if self.plan.exchange == Exchange::Leader {
            self.scatter(stage);
        }
        let boundaries: Vec<TensorId> = self.plan.stages[stage]
            .layer_ids()
            .map(|layer| self.graph.output_of(layer))
            .filter(|tensor| self.ownership.is_boundary(*tensor))
            .collect();
        let mut outgoing = Vec::new();
        for tensor in boundaries {
            self.make_homes(tensor);
            outgoing.extend(self.transfers_of(tensor));
        }
        for device in self.plan.device_ids() {
            self.compute(stage, device, &outgoing);
        }
        for transfer in outgoing {
            self.receive(transfer);
        }
    }

    /// Has the leader send every follower what its share of `stage` reads.
    fn scatter(&mut self, stage: usize) {
        for device in self.plan.device_ids().skip(1) {
            let needs = self.shares[stage][device.index()].needs.clone();
            for (tensor, region) in needs {
                let draft = &mut self.drafts[device.index()];
                let buffer = draft.buffer(tensor, region);
                draft.scattered.insert((stage, tensor), buffer);
                let purpose = Purpose::Stage(stage);
                let id = self.declare(tensor, region, DeviceIx::LEADER, device, purpose);
                self.receive(id);
                self.send(id);
            }
        }
    }

    /// Adds the compute steps of a share, each followed by the sends that it completes.
    fn compute(&mut self, stage: usize, device: DeviceIx, outgoing: &[TransferId]) {
        let mut sends: Vec<TransferId> = outgoing
            .iter()
            .copied()
            .filter(|id| self.transfers[id.0 as usize].from == device)
            .collect();
        for piece in self.pieces(stage, device, &sends) {
            self.compute_piece(stage, device, &piece);
            sends.retain(|id| {
                let transfer = &self.transfers[id.0 as usize];
                let draft = &self.drafts[device.index()];
                let home = draft.homes[&transfer.tensor];
                let written = draft.writers[home.index()].iter();
                let missing = written.fold(vec![transfer.region], |missing, (written, _)| {
                    missing.into_iter().flat_map(|part| part.minus(*written)).collect()
                });
                let complete = missing.is_empty();
                if complete {
                    self.send(*id);
                }
                !complete
            });
        }
        debug_assert!(sends.is_empty(), "a device sends only what it computes");
    }

    /// Groups of features that a share of few rows is computed in, one after the other, so that the
    /// rows of one travel while the next is computed; empty if it is not. Each reads only its own
    /// weights, but all transform the same inputs, which wide layers hardly notice.
    fn feature_groups(&self, stage: usize, device: DeviceIx) -> Vec<ChannelRange> {
        let Stage { split: Split::Rows(_), .. } = &self.plan.stages[stage] else {
            return Vec::new();
        };
        let share = &self.shares[stage][device.index()];
        let Some((first, region)) = share.computed.first() else { return Vec::new() };
        let Op::Conv(conv) = &self.graph.layer(*first).op else { return Vec::new() };
        let pieces = u32::from(self.plan.pieces.get()).min(conv.features / MIN_PIECE_FEATURES);
        if pieces < 2 {
            return Vec::new();
        }
        let follows = |layer: LayerId| {
            let node = self.graph.layer(layer);
            node.op.is_channelwise() && self.graph.output_shape(layer).channels == conv.features
        };
        // So low that there is no interior between borders of a tile each.
        let tile = self.tile_rows(*first, region.rows);
        let low = region.rows.len() < 2 * tile + least_interior(tile);
        let fits =
            conv.groups == 1 && low && share.computed[1..].iter().all(|(layer, _)| follows(*layer));
        if !fits {
            return Vec::new();
        }
        let blocks = conv.features.div_ceil(CHANNEL_BLOCK);
        let cut = |piece: u32| (piece * blocks / pieces * CHANNEL_BLOCK).min(conv.features);
        (0..pieces).map(|piece| ChannelRange::new(cut(piece), cut(piece + 1))).collect()
    }

    /// The regions that each compute step of a share covers: [groups of
    /// features](Self::feature_groups), or the rows at its borders first and then the rest, or all
    /// of it at once.
    fn pieces(
        &self,
        stage: usize,
        device: DeviceIx,
        sends: &[TransferId],
    ) -> Vec<Vec<(LayerId, Region)>> {
        let share = &self.shares[stage][device.index()];
        let groups = self.feature_groups(stage, device);
        if share.computed.is_empty() {
            Vec::new()
        } else if groups.is_empty() {
            let borders = self.borders_first(stage, device, sends);
            borders.unwrap_or_else(|| vec![share.computed.clone()])
        } else {
            let part = |channels: ChannelRange| {
                let regions = share.computed.iter();
                regions.map(|(layer, region)| (*layer, Region { channels, ..*region })).collect()
            };
            groups.into_iter().map(part).collect()
        }
    }

    /// A share in up to three pieces by rows of its last layer: the borders, for which neighbours
    /// wait, before the interior. `None` if it is too low for that, or something would be computed
    /// twice.
    fn borders_first(
        &self,
        stage: usize,
        device: DeviceIx,
        sends: &[TransferId],
    ) -> Option<Vec<Vec<(LayerId, Region)>>> {
        let share = &self.shares[stage][device.index()];
        let ((first, read), (_, region)) = (share.computed.first()?, share.computed.last()?);
        if !matches!(self.plan.stages[stage].split, Split::Rows(_)) {
            return None;
        }
        let (rows, tile) = (region.rows, self.tile_rows(*first, read.rows));
        // Rows of the first layer for one of the last: 2 if that is a pool of 2x2.
        let scale = (read.rows.len() / rows.len()).max(1);
        let step = if tile.is_multiple_of(scale) { tile / scale } else { tile };
        let interior = whole_tiles(self.interior(stage, device, rows, sends), rows, step);
        if interior.len() * scale < least_interior(tile) || interior == rows {
            return None;
        }
        let top = RowRange::new(rows.start, interior.start);
        let bottom = RowRange::new(interior.end, rows.end);
        let cut = [top, bottom, interior].into_iter().filter(|rows| !rows.is_empty());
        let pieces: Vec<_> = cut.map(|rows| share.part(self.graph, rows).0).collect();
        let height = |part: &[(LayerId, Region)]| -> u32 {
            part.iter().map(|(_, region)| region.rows.len()).sum()
        };
        let all: u32 = pieces.iter().map(|piece| height(piece)).sum();
        // Rows that the last layer does not read, but others do, may be in none.
        let is_covered = |(layer, region): &(LayerId, Region)| {
            let parts = pieces.iter().flatten().filter(|(of, _)| of == layer);
            let missing = parts.fold(vec![*region], |missing, (_, part)| {
                missing.into_iter().flat_map(|rest| rest.minus(*part)).collect()
            });
            missing.is_empty()
        };
        let exactly = all == height(&share.computed) && share.computed.iter().all(is_covered);
        exactly.then_some(pieces)
    }

    /// How many rows of a layer are computed at once where `rows` of them are.
    fn tile_rows(&self, layer: LayerId, rows: RowRange) -> u32 {
        let tile = match &self.graph.layer(layer).op {
            Op::Conv(conv) => {
                let shape = self.graph.input_shapes(layer)[0];
                Tile::best(conv, shape, rows.len(), self.plan.weights)
            }
            _ => None,
        };
        tile.map_or(1, |tile| tile.outputs().0)
    }

    /// Of the `rows` of a share's last layer those that no neighbour waits for and that need nothing
    /// from a neighbour.
    fn interior(
        &self,
        stage: usize,
        device: DeviceIx,
        rows: RowRange,
        sends: &[TransferId],
    ) -> RowRange {
        let share = &self.shares[stage][device.index()];
        let last = share.computed.last().map(|(layer, _)| self.graph.output_of(*layer));
        let mut interior = rows;
        for id in sends {
            let transfer = &self.transfers[id.0 as usize];
            let sent = transfer.region.rows;
            if sent.covers(rows) || last != Some(transfer.tensor) {
                return RowRange::empty();
            }
            if sent.start == rows.start {
                interior.start = interior.start.max(sent.end);
            } else if sent.end == rows.end {
                interior.end = interior.end.min(sent.start);
            } else {
                return RowRange::empty();
            }
        }
        let has_own = |row: u32| {
            let (_, needs) = share.part(self.graph, RowRange::new(row, row + 1));
            needs.iter().all(|(tensor, read)| self.made(*tensor, device).covers(*read))
        };
        while !interior.is_empty() && !has_own(interior.start) {
            interior.start += 1;
        }
        while !interior.is_empty() && !has_own(interior.end - 1) {
            interior.end -= 1;
        }
        interior
    }

    fn compute_piece(&mut self, stage: usize, device: DeviceIx, piece: &[(LayerId, Region)]) {
        let (graph, draft) = (self.graph, &mut self.drafts[device.index()]);
        let first = graph.output_of(LayerId(self.plan.stages[stage].layers.start));
        let mut after = Vec::new();
        let mut runs: Vec<Run> = Vec::new();
        let mut inside: BTreeMap<TensorId, BufferId> = BTreeMap::new();
        for (layer, region) in piece {
            let node = graph.layer(*layer);
            let mut inputs = Vec::new();
            for (index, tensor) in node.inputs.iter().enumerate() {
                let read = node.op.reads(index, graph.input_shapes(*layer), *region);
                let buffer = if *tensor >= first {
                    inside.get(tensor).copied()
                } else if read.is_empty() {
                    draft
                        .scattered
                        .get(&(stage, *tensor))
                        .or_else(|| draft.homes.get(tensor))
                        .copied()
                } else {
                    let buffer = draft.source(stage, *tensor);
                    after.extend(draft.writers_of(buffer, read));
                    Some(buffer)
                };
                inputs.push(match buffer {
                    Some(buffer) => buffer,
                    None => draft.buffer(*tensor, Region::empty()),
                });
            }
            let tensor = graph.output_of(*layer);
            let output = match draft.homes.get(&tensor) {
                Some(buffer) => *buffer,
                None => draft.buffer(tensor, *region),
            };
            inside.insert(tensor, output);
            runs.push(Run { layer: *layer, inputs, output, region: *region });
        }
        after.sort_unstable();
        after.dedup();
        let written: Vec<(BufferId, Region)> =
            runs.iter().map(|run| (run.output, run.region)).collect();
        let step = draft.step(Action::Compute { stage, runs }, after);
        written.into_iter().for_each(|(buffer, part)| draft.writes(step, buffer, part));
    }

    fn answer(&mut self) {
        let draft = &mut self.drafts[0];
        for (output, port) in self.graph.outputs().iter().enumerate() {
            let buffer = draft.homes[&port.tensor];
            let region = self.graph.shape(port.tensor).region();
            let after = draft.writers_of(buffer, region).collect();
            draft.step(Action::Output { output, buffer }, after);
        }
    }
}
