//! Who owns which part of every tensor that leaves its stage.
//!
//! The owned regions of a tensor are disjoint and cover it. A device may compute more than it owns
//! (redundant work inside a fused stage), but it sends only what it owns.

use super::stage::{DeviceIx, Plan, Split};
use crate::graph::{Graph, TensorId};
use crate::region::{ChannelRange, Region, RowRange};

/// For every tensor: the stage that computes it, the stages that read it, and who owns what.
#[derive(Debug, Clone)]
pub(crate) struct Ownership {
    tensors: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    producer: Option<usize>,
    readers: Vec<usize>,
    is_boundary: bool,
    owned: Vec<Region>,
}

impl Ownership {
    /// Derives ownership from a plan that was [checked](Plan::check) against `graph`.
    pub(crate) fn derive(graph: &Graph, plan: &Plan) -> Ownership {
        let mut stage_of = vec![0; graph.layers().len()];
        for (index, stage) in plan.stages.iter().enumerate() {
            for layer in stage.layer_ids() {
                stage_of[layer.index()] = index;
            }
        }
        let mut tensors: Vec<Entry> = (0..graph.tensor_count() as u32)
            .map(TensorId)
            .map(|tensor| {
                let producer = graph.producer(tensor).map(|layer| stage_of[layer.index()]);
                let owned = plan
                    .device_ids()
                    .map(|device| owned(graph, plan, tensor, producer, device))
                    .collect();
                let is_boundary = graph.is_output(tensor);
                Entry { producer, readers: Vec::new(), is_boundary, owned }
            })
            .collect();
        for (layer, stage) in graph.layer_ids().zip(&stage_of) {
            for input in &graph.layer(layer).inputs {
                let entry = &mut tensors[input.index()];
                if entry.producer != Some(*stage) && entry.readers.last() != Some(stage) {
                    entry.readers.push(*stage);
                    entry.is_boundary = true;
                }
            }
        }
        Ownership { tensors }
    }

    /// The stage that computes `tensor`; `None` for the graph's inputs.
    pub(crate) fn producer(&self, tensor: TensorId) -> Option<usize> {
        self.tensors[tensor.index()].producer
    }

    /// The other stages that read `tensor`, in order.
    pub(crate) fn readers(&self, tensor: TensorId) -> &[usize] {
        &self.tensors[tensor.index()].readers
    }

    /// Whether `tensor` leaves the stage that computes it.
    pub(crate) fn is_boundary(&self, tensor: TensorId) -> bool {
        self.tensors[tensor.index()].is_boundary
    }

    /// What `device` owns of `tensor` once it has been computed.
    pub(crate) fn owned(&self, tensor: TensorId, device: DeviceIx) -> Region {
        self.tensors[tensor.index()].owned[device.index()]
    }
}

fn owned(
    graph: &Graph,
    plan: &Plan,
    tensor: TensorId,
    producer: Option<usize>,
    device: DeviceIx,
) -> Region {
    let shape = graph.shape(tensor);
    let region = match producer.map(|stage| &plan.stages[stage].split) {
        Some(Split::Rows(cuts)) => {
            Region::new(ChannelRange::all(shape.channels), cuts.scaled_range(device, shape.rows))
        }
        Some(Split::Features(cuts)) => Region::new(cuts.range(device), RowRange::all(shape.rows)),
        Some(Split::Whole(owner)) if *owner == device => shape.region(),
        None if device == DeviceIx::LEADER => shape.region(),
        Some(Split::Whole(_)) | None => Region::empty(),
    };
    if region.is_empty() { Region::empty() } else { region }
}
