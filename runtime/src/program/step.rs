//! What a program is made of: buffers, and steps that fill and read them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::graph::{DType, Graph, LayerId, TensorId};
use crate::plan::DeviceIx;
use crate::region::{CHANNEL_BLOCK, ChannelRange, Region};
use crate::units::Bytes;

/// Names one transfer of a plan; sender and receiver use the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TransferId(pub u32);

/// Names a buffer of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

impl BufferId {
    /// For indexing tables by buffer.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A step's place in its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepIx(pub u32);

impl StepIx {
    /// For indexing tables by step.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// How an input of the graph travels, and how it is converted on arrival.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Encoding {
    /// float32 where it comes from and where it arrives; on the way, what the plan's other
    /// activations are, too ([`Plan::wire`](crate::plan::Plan::wire)).
    F32,
    /// u8 pixels; channel c becomes (pixel - mean\[c\]) / std\[c\].
    Pixels {
        /// Subtracted, in the 0-255 scale.
        mean: [f32; 3],
        /// Divided by, in the 0-255 scale.
        std: [f32; 3],
    },
}

impl Encoding {
    /// How `tensor` travels if the model's inputs travel as `encodings` say.
    pub(crate) fn of(graph: &Graph, tensor: TensorId, encodings: &[Encoding]) -> Encoding {
        let given = match graph.producer(tensor) {
            Some(_) => None,
            None => encodings.get(tensor.index()),
        };
        given.copied().unwrap_or(Encoding::F32)
    }

    /// Bytes of one element on the wire, if activations travel as `wire`.
    pub(crate) const fn element_bytes(&self, wire: DType) -> u64 {
        match self {
            Encoding::F32 => wire.size(),
            Encoding::Pixels { .. } => 1,
        }
    }
}

/// Why a strip travels, and thereby for which stage its bytes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A share of this stage needs it.
    Stage(usize),
    /// Gathered to the leader after this stage (`--exchange leader`).
    Gather(usize),
    /// Part of an output of the graph.
    Answer,
}

/// A region of a tensor that one device sends to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// Which tensor.
    pub tensor: TensorId,
    /// Which part of it.
    pub region: Region,
    /// The sender.
    pub from: DeviceIx,
    /// The receiver.
    pub to: DeviceIx,
    /// What for.
    pub purpose: Purpose,
    /// What its elements travel as, unless they are pixels.
    pub wire: DType,
}

impl Transfer {
    /// Bytes of payload if the model's inputs travel as `encodings` say.
    pub fn bytes(&self, graph: &Graph, encodings: &[Encoding]) -> Bytes {
        let element = Encoding::of(graph, self.tensor, encodings).element_bytes(self.wire);
        Bytes(self.region.lines() * u64::from(graph.shape(self.tensor).width) * element)
    }
}

/// Memory for a part of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffer {
    /// Which tensor.
    pub tensor: TensorId,
    /// Which part of it; may hold both received and computed rows.
    pub region: Region,
}

impl Buffer {
    /// Its size as float32, in whole blocks of channels, as kernels keep it.
    pub(crate) fn bytes(&self, graph: &Graph) -> Bytes {
        let blocks = self.region.channels.blocks().len() as u64;
        let pixels = u64::from(self.region.rows.len()) * u64::from(graph.shape(self.tensor).width);
        Bytes(blocks * u64::from(CHANNEL_BLOCK) * pixels * 4)
    }
}

/// One layer on one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which layer.
    pub layer: LayerId,
    /// Where its inputs are, in order.
    pub inputs: Vec<BufferId>,
    /// Where its output goes.
    pub output: BufferId,
    /// Which part of its output is computed.
    pub region: Region,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The frame's input is put in a buffer; only on the leader.
    Input {
        /// Which input of the graph.
        input: usize,
        /// Where it goes.
        buffer: BufferId,
    },
    /// A strip from another device is put in a buffer.
    Receive {
        /// Which transfer.
        transfer: TransferId,
        /// Who sends it.
        from: DeviceIx,
        /// Where it goes.
        buffer: BufferId,
        /// Which part of the tensor it is.
        region: Region,
    },
    /// A share of a stage, or part of one, is computed: layers on shrinking regions.
    Compute {
        /// Index of the stage.
        stage: usize,
        /// The layers, in order.
        runs: Vec<Run>,
    },
    /// A strip is sent to another device.
    Send {
        /// Which transfer.
        transfer: TransferId,
        /// To whom.
        to: DeviceIx,
        /// Where it is.
        buffer: BufferId,
        /// Which part of the tensor it is.
        region: Region,
    },
    /// An output of the graph is complete; only on the leader.
    Output {
        /// Which output of the graph.
        output: usize,
        /// Where it is.
        buffer: BufferId,
    },
}

impl Action {
    /// Every buffer that the step reads or writes, with repetitions.
    pub(crate) fn buffers(&self) -> Vec<BufferId> {
        match self {
            Action::Input { buffer, .. }
            | Action::Receive { buffer, .. }
            | Action::Send { buffer, .. }
            | Action::Output { buffer, .. } => vec![*buffer],
            Action::Compute { runs, .. } => {
                runs.iter().flat_map(|run| run.inputs.iter().copied().chain([run.output])).collect()
            }
        }
    }
}

/// One step of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// The steps that must be done before it.
    pub after: Vec<StepIx>,
}

/// What one device does for every frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Which device.
    pub device: DeviceIx,
    /// Its buffers; each is freed after the last step that uses it.
    pub buffers: Vec<Buffer>,
    /// Its steps. Of those that are ready, the first in this order runs.
    pub steps: Vec<Step>,
    /// What packed weights are kept as.
    pub weights: DType,
}

impl Program {
    /// Which region the device computes of every layer with parameters.
    pub fn regions(&self, graph: &Graph) -> BTreeMap<LayerId, Region> {
        let mut regions: BTreeMap<LayerId, Region> = BTreeMap::new();
        for step in &self.steps {
            let Action::Compute { runs, .. } = &step.action else { continue };
            for run in runs {
                if graph.layer(run.layer).op.parameters().next().is_some() {
                    let region = regions.entry(run.layer).or_insert(Region::empty());
                    *region = region.hull(run.region);
                }
            }
        }
        regions
    }

    /// Which features the device computes of every layer with parameters, and therefore which rows
    /// of the parameters it must hold.
    pub fn features(&self, graph: &Graph) -> BTreeMap<LayerId, ChannelRange> {
        let regions = self.regions(graph).into_iter();
        regions.map(|(layer, region)| (layer, region.channels)).collect()
    }

    /// The peak of activation bytes when the steps run in order and each buffer is held from the
    /// first step that uses it to the last.
    pub(crate) fn peak_activation_bytes(&self, graph: &Graph) -> Bytes {
        let mut spans: Vec<Option<(usize, usize)>> = vec![None; self.buffers.len()];
        for (index, step) in self.steps.iter().enumerate() {
            for buffer in step.action.buffers() {
                let span = spans[buffer.index()].get_or_insert((index, index));
                span.1 = index;
            }
        }
        let mut change = vec![0i64; self.steps.len() + 1];
        for (buffer, span) in self.buffers.iter().zip(spans) {
            let Some((first, last)) = span else { continue };
            let bytes = buffer.bytes(graph).0 as i64;
            change[first] += bytes;
            change[last + 1] -= bytes;
        }
        let held = change.iter().scan(0i64, |held, change| {
            *held += change;
            Some(*held)
        });
        Bytes(held.max().unwrap_or(0).max(0) as u64)
    }
}
