//! The kernels of one device: prepared once for what it computes, then run layer by layer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pulp::Arch;

use super::call::job::{Addend, Job};
use super::call::scratch::Scratch;
use super::call::threads::Threads;
use super::conv::algorithm::Algorithm;
use super::conv::weights::Reader;
use super::error::KernelError;
use super::kind::KernelKind;
use super::memory::arena::Arena;
use super::memory::map::{Map, Place};
use super::ops::general::{self, Rows};
use super::ops::{elementwise, lrn, mul, rearrange, reduce};
use super::packed::Packed;
use super::setup::Setup;
use super::{backend, layout, reference};
use crate::graph::{Activation, BlockId, Graph, Layer, LayerId, Op, TensorId};
use crate::region::{ChannelRange, Region};
use crate::units::Bytes;
use crate::weights::WeightSource;

/// Computes layers of one graph; holds the weights of the features for which it was prepared.
#[derive(Debug, Clone)]
pub struct Kernels {
    pub(super) graph: Arc<Graph>,
    pub(super) kind: KernelKind,
    pub(super) arch: Arch,
    /// The lanes of every tensor's maps.
    pub(super) lanes: Arc<[u32]>,
    pub(super) weights: BTreeMap<LayerId, Packed>,
    pub(super) constants: BTreeMap<LayerId, Arc<Rows>>,
}

impl Kernels {
    /// Reads and packs the weights for these regions of layers, a piece at a time, in the form that
    /// suits the height of each region. What `earlier` kernels have packed for the same graph and kind
    /// is shared instead of read again.
    ///
    /// # Errors
    /// When the graph has no such features, their weights cannot be read, or burn's operators should
    /// use halves.
    pub fn prepare(
        graph: &Arc<Graph>,
        regions: &BTreeMap<LayerId, Region>,
        source: &dyn WeightSource,
        setup: impl Into<Setup>,
        earlier: &[&Kernels],
    ) -> Result<Kernels, KernelError> {
        let setup: Setup = setup.into();
        let (kind, arch) = (setup.kind, setup.isa.arch().unwrap_or_default());
        let mut earlier = earlier.to_vec();
        earlier.retain(|kernels| kernels.graph == *graph && kernels.kind == kind);
        let mut weights = BTreeMap::new();
        let held: BTreeSet<BlockId> = match setup.reuse {
            true => earlier.iter().flat_map(|kernels| kernels.blocks().into_keys()).collect(),
            false => BTreeSet::new(),
        };
        for (id, packing) in setup.packings(graph, regions, |block| held.contains(block))? {
            let layer = graph.layer(id);
            if let Op::Conv(conv) = &layer.op {
                let known = earlier.iter().filter_map(|kernels| kernels.weights.get(&id));
                let known: Vec<&Packed> = known.collect();
                let reader = Reader::new(graph, layer, source);
                let (shape, features) = (graph.input_shapes(id)[0], regions[&id].channels);
                let how = (kind, packing);
                weights.insert(id, Packed::read(how, reader, conv, shape, features, &known)?);
            }
        }
        let mut constants = BTreeMap::new();
        for (id, region) in regions {
            let layer = graph.layer(*id);
            if let Op::Constant(constant) = &layer.op {
                let known = earlier.iter().filter_map(|kernels| kernels.constants.get(id));
                let reader = Reader::new(graph, layer, source);
                let rows = Rows::read(reader, constant.value, region.channels, known)?;
                constants.insert(*id, rows);
            }
        }
        let lanes = layout::lanes(graph, kind);
        let (graph, lanes) = (Arc::clone(graph), lanes.into());
        Ok(Kernels { graph, kind, arch, lanes, weights, constants })
    }

    /// Computes `region` of a layer's output, including the activation, from maps that cover what
    /// the region reads ([`Op::reads`]). The rest of `output` does not change. The region must
    /// cover whole blocks of channels (the tensor's last block may be incomplete).
    ///
    /// # Errors
    /// When a map is missing, too small, or of another width or layout, the region cuts a block of
    /// channels, or the weights of these features were not prepared.
    pub fn run(
        &self,
        layer: LayerId,
        inputs: &[&Map],
        output: &mut Map,
        region: Region,
        scratch: &mut Scratch,
        threads: &dyn Threads,
    ) -> Result<(), KernelError> {
        self.call(layer, inputs, None, output, region, scratch, threads)
    }

    /// Computes `region` of a convolution and adds `other`, as layer `sum` would. The bits are
    /// those of running both layers one after the other.
    ///
    /// # Errors
    /// As [`Kernels::run`], and when [the two cannot be combined](Kernels::can_sum).
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn run_into_sum(
        &self,
        (layer, sum): (LayerId, LayerId),
        inputs: &[&Map],
        other: &Map,
        output: &mut Map,
        region: Region,
        scratch: &mut Scratch,
        threads: &dyn Threads,
    ) -> Result<(), KernelError> {
        if !self.can_sum(layer, sum) {
            return Err(KernelError::Apart { layer: layer.0, sum: sum.0 });
        }
        self.call(layer, inputs, Some((sum, other)), output, region, scratch, threads)
    }

    /// Whether the kernel of layer `layer` can add the other input of layer `sum` to its result.
    pub(crate) fn can_sum(&self, layer: LayerId, sum: LayerId) -> bool {
        let layers = self.graph.layers();
        let (Some(conv), Some(add)) = (layers.get(layer.index()), layers.get(sum.index())) else {
            return false;
        };
        let direct = match self.weights.get(&layer) {
            Some(Packed::Own(weights)) => {
                matches!(weights.algorithm(), Algorithm::Direct | Algorithm::Winograd(_))
            }
            _ => false,
        };
        direct
            && conv.activation == Activation::Linear
            && add.op == Op::Add
            && add.inputs.len() == 2
            && add.inputs.contains(&self.graph.output_of(layer))
    }

    #[allow(clippy::too_many_arguments)]
    fn call(
        &self,
        layer: LayerId,
        inputs: &[&Map],
        sum: Option<(LayerId, &Map)>,
        output: &mut Map,
        region: Region,
        scratch: &mut Scratch,
        threads: &dyn Threads,
    ) -> Result<(), KernelError> {
        let Some(node) = self.graph.layers().get(layer.index()) else {
            return Err(KernelError::NoSuchLayer { layer: layer.0, features: region.channels });
        };
        self.check(layer, node, inputs, output, region)?;
        if region.is_empty() {
            return Ok(());
        }
        let shapes = self.graph.input_shapes(layer);
        let (mut addend, mut activation) = (None, node.activation);
        if let Some((sum, other)) = sum {
            let layout = (output.width(), output.lanes());
            self.check_map(node, MapRole::Addend, other, region, layout)?;
            addend = Some(Addend::of(other));
            activation = self.graph.layer(sum).activation;
        }
        let shape = self.graph.output_shape(layer);
        let job = Job {
            // A constant reads nothing.
            shape: shapes.first().copied().unwrap_or(shape),
            input: inputs.first().map_or(output.place(), |input| input.place()),
            output: output.place(),
            region,
            addend,
            activation,
            arch: self.arch,
            scratch,
            threads,
        };
        match &node.op {
            Op::Conv(conv) => match self.weights_of(layer, node, region.channels)? {
                Packed::Burn(weights) => reference::conv(&job, conv, weights, inputs[0], output),
                Packed::Own(weights) => {
                    let input = inputs[0].tensor();
                    let run = |output| backend::conv_region(input, output, &job, conv, weights);
                    output.lend(run);
                }
            },
            Op::Pool(pool) if self.kind == KernelKind::Burn && reference::can_pool(pool) => {
                reference::pool(&job, pool, inputs[0], output);
            }
            Op::Pool(pool) => {
                let input = inputs[0].tensor();
                output.lend(|output| backend::pool_region(input, output, &job, pool));
            }
            Op::SumWidth => reduce::sum_width(&job, inputs[0], output),
            Op::SumRows { scale } => reduce::sum_rows(&job, *scale, inputs[0], output),
            Op::Add => elementwise::add(&job, inputs, output),
            Op::Concat => {
                let channels = shapes.iter().map(|shape| shape.channels);
                elementwise::concat(&job, inputs, channels, output);
            }
            Op::Identity => elementwise::identity(&job, inputs[0], output),
            Op::Softmax => elementwise::softmax(&job, inputs[0], output),
            Op::Mul => mul::mul(&job, shapes, inputs, output),
            Op::Lrn(lrn) => lrn::normalise(&job, lrn, inputs[0], output),
            Op::Upsample { rows, cols } => {
                rearrange::upsample(&job, *rows, *cols, inputs[0], output)
            }
            Op::Slice(slice) => rearrange::slice(&job, slice, inputs[0], output),
            Op::Shuffle { groups } => rearrange::shuffle(&job, *groups, inputs[0], output),
            Op::Stack => {
                let heights = shapes.iter().map(|shape| shape.rows);
                rearrange::stack(&job, inputs, heights, output);
            }
            Op::DepthToSpace { block } => {
                rearrange::depth_to_space(&job, *block, inputs[0], output)
            }
            Op::Reorder(order) => rearrange::reorder(&job, order, inputs[0], output),
            Op::Constant(_) => {
                let rows = self.constants.get(&layer).map(|rows| (&**rows, rows.features));
                let rows = held(node, region.channels, rows)?;
                general::constant(&job, shape, rows, output);
            }
            Op::General(function) => {
                if !general::general(&job, function, shapes, inputs, shape, output) {
                    return Err(KernelError::Refused { layer: node.name.clone() });
                }
            }
        }
        Ok(())
    }

    /// A map of zeros for a region of a tensor, in the layout that the kernels use.
    pub fn map(&self, tensor: TensorId, region: Region) -> Map {
        let Place { region, width, lanes } = self.place(tensor, region);
        Map::zeros(region, width, lanes)
    }

    /// The same with memory from `arena` and unspecified contents.
    pub(crate) fn map_from(&self, arena: &Arena, tensor: TensorId, region: Region) -> Map {
        arena.map(self.place(tensor, region))
    }

    fn place(&self, tensor: TensorId, region: Region) -> Place {
        let (width, lanes) = (self.graph.shape(tensor).width, self.lanes[tensor.index()]);
        Place { region, width, lanes }
    }

    /// The blocks of packed weights that this holds, and the bytes of each. Those of burn's operators have
    /// none.
    pub fn blocks(&self) -> BTreeMap<BlockId, Bytes> {
        let of_layer = |(id, packed): (&LayerId, &Packed)| match packed {
            Packed::Own(weights) => weights.blocks(*id),
            Packed::Burn(_) => Vec::new(),
        };
        self.weights.iter().flat_map(of_layer).collect()
    }

    /// Bytes of all packed weights.
    #[cfg(test)]
    pub(crate) fn weight_bytes(&self) -> Bytes {
        Bytes(self.weights.values().map(Packed::bytes).sum())
    }

    /// How a layer is computed, for display.
    pub fn algorithm(&self, layer: LayerId) -> &'static str {
        let Some(node) = self.graph.layers().get(layer.index()) else { return "none" };
        let shape = self.graph.input_shapes(layer).first();
        let shape = shape.copied().unwrap_or(self.graph.output_shape(layer));
        match (&node.op, self.kind) {
            (Op::Conv(conv), KernelKind::Burn) => reference::conv_name(conv, shape),
            (Op::Conv(conv), _) => match self.weights.get(&layer) {
                Some(Packed::Own(weights)) => weights.algorithm().name(),
                _ => Algorithm::of(conv, shape).name(),
            },
            (Op::Pool(pool), KernelKind::Burn) => reference::pool_name(pool),
            (op, _) => op.name(),
        }
    }

    fn weights_of(
        &self,
        id: LayerId,
        layer: &Layer,
        wanted: ChannelRange,
    ) -> Result<&Packed, KernelError> {
        let weights = self.weights.get(&id).map(|weights| (weights, weights.features()));
        held(layer, wanted, weights)
    }

    fn check(
        &self,
        id: LayerId,
        layer: &Layer,
        inputs: &[&Map],
        output: &Map,
        region: Region,
    ) -> Result<(), KernelError> {
        let shapes = self.graph.input_shapes(id);
        if inputs.len() != shapes.len() {
            return Err(KernelError::InputCount {
                layer: layer.name.clone(),
                wanted: shapes.len(),
                found: inputs.len(),
            });
        }
        let shape = self.graph.output_shape(id);
        let whole = shape.region();
        if !whole.covers(region) {
            return Err(KernelError::NoSuchLayer { layer: id.0, features: region.channels });
        }
        let lanes = self.lanes[self.graph.output_of(id).index()];
        let (start, end) = (region.channels.start, region.channels.end);
        if !start.is_multiple_of(lanes) || !end.is_multiple_of(lanes) && end != shape.channels {
            return Err(KernelError::CutBlock { layer: layer.name.clone(), region, lanes });
        }
        self.check_map(layer, MapRole::Output, output, region, (shape.width, lanes))?;
        for (index, input) in inputs.iter().enumerate() {
            let needs = layer.op.reads(index, shapes, region);
            let lanes = self.lanes[layer.inputs[index].index()];
            self.check_map(
                layer,
                MapRole::Input(index),
                input,
                needs,
                (shapes[index].width, lanes),
            )?;
        }
        Ok(())
    }

    fn check_map(
        &self,
        layer: &Layer,
        what: MapRole,
        map: &Map,
        wanted: Region,
        layout: (u32, u32),
    ) -> Result<(), KernelError> {
        let layer = || layer.name.clone();
        if !map.region().covers(wanted) {
            let (what, found) = (what.to_string(), map.region());
            return Err(KernelError::Uncovered { layer: layer(), what, wanted, found });
        }
        let (wanted, found) = (layout, (map.width(), map.lanes()));
        if found != wanted {
            let what = what.to_string();
            return Err(KernelError::Layout { layer: layer(), what, wanted, found });
        }
        Ok(())
    }
}

/// What is held for some features of a layer, if that covers what is wanted.
fn held<T>(
    layer: &Layer,
    wanted: ChannelRange,
    held: Option<(T, ChannelRange)>,
) -> Result<T, KernelError> {
    let features = held.as_ref().map_or(ChannelRange::empty(), |(_, features)| *features);
    held.filter(|_| features.covers(wanted)).map(|(held, _)| held).ok_or_else(|| {
        KernelError::NotPrepared { layer: layer.name.clone(), wanted, held: features }
    })
}

/// One of the maps that a kernel is given.
#[derive(Clone, Copy)]
enum MapRole {
    Input(usize),
    Addend,
    Output,
}

impl std::fmt::Display for MapRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MapRole::Input(index) => write!(f, "input {index}"),
            MapRole::Addend => f.write_str("the addend"),
            MapRole::Output => f.write_str("the output"),
        }
    }
}
