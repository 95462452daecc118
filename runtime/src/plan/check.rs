//! What makes a plan valid, checked before anything is derived from it.

use super::stage::{Cuts, DeviceIx, Plan, Split, Stage};
use crate::graph::{Graph, LayerId, Op};
use crate::region::CHANNEL_BLOCK;

/// Why a plan does not fit its graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No device.
    #[error("a plan needs at least one device")]
    NoDevices,
    /// Stages that skip or repeat layers.
    #[error("stage {stage} starts at layer {found}, layer {wanted} is next")]
    Order {
        /// Index of the stage.
        stage: usize,
        /// Its first layer.
        found: u32,
        /// The layer after the stage before.
        wanted: u32,
    },
    /// Layers after the last stage.
    #[error("the stages end at layer {found} of {layers}")]
    Incomplete {
        /// Where they end.
        found: u32,
        /// Number of layers.
        layers: u32,
    },
    /// Cuts for another number of devices, out of order, or for another number of rows.
    #[error("stage {stage}: the cuts {cuts:?} do not share {total} among {devices} devices")]
    Cuts {
        /// Index of the stage.
        stage: usize,
        /// The cuts.
        cuts: Vec<u32>,
        /// Number of rows or features.
        total: u32,
        /// Number of devices.
        devices: u16,
    },
    /// A split by features that includes a layer that does not allow it.
    #[error("stage {stage}: {layer} cannot be part of a split by features")]
    Features {
        /// Index of the stage.
        stage: usize,
        /// The layer that does not allow it.
        layer: String,
    },
    /// A device that is not in the plan.
    #[error("stage {stage} is for device {device} of {devices}")]
    Device {
        /// Index of the stage.
        stage: usize,
        /// The device named.
        device: u16,
        /// Number of devices.
        devices: u16,
    },
}

impl Plan {
    /// Checks that the plan fits `graph`: every layer is in exactly one stage, cuts share out all
    /// rows or features, and features are cut at block and group borders.
    ///
    /// # Errors
    /// The first thing found that does not fit.
    pub fn check(&self, graph: &Graph) -> Result<(), PlanError> {
        if self.devices == 0 {
            return Err(PlanError::NoDevices);
        }
        let mut wanted = 0;
        for (index, stage) in self.stages.iter().enumerate() {
            let found = stage.layers.start;
            if found != wanted || stage.layers.is_empty() {
                return Err(PlanError::Order { stage: index, found, wanted });
            }
            wanted = stage.layers.end;
            if wanted as usize > graph.layers().len() {
                break;
            }
            self.check_split(graph, index, stage)?;
        }
        if wanted as usize != graph.layers().len() {
            let layers = graph.layers().len() as u32;
            return Err(PlanError::Incomplete { found: wanted, layers });
        }
        Ok(())
    }

    fn check_split(&self, graph: &Graph, index: usize, stage: &Stage) -> Result<(), PlanError> {
        let (cuts, total) = match &stage.split {
            Split::Whole(DeviceIx(device)) if *device < self.devices => return Ok(()),
            Split::Whole(DeviceIx(device)) => {
                let devices = self.devices;
                return Err(PlanError::Device { stage: index, device: *device, devices });
            }
            Split::Rows(cuts) => (cuts, graph.output_shape(stage.last_layer()).rows),
            Split::Features(cuts) => (cuts, check_features(graph, index, stage, cuts)?),
        };
        let boundaries = cuts.boundaries();
        let valid = cuts.devices() == usize::from(self.devices)
            && boundaries.first() == Some(&0)
            && boundaries.is_sorted()
            && cuts.total() == total;
        if !valid {
            let (cuts, devices) = (boundaries.to_vec(), self.devices);
            return Err(PlanError::Cuts { stage: index, cuts, total, devices });
        }
        Ok(())
    }
}

/// The step at which a layer's output features may be cut: a block, or with several groups a
/// multiple of both a block and a group. `None` if the layer cannot be split by features.
pub fn feature_step(graph: &Graph, layer: LayerId) -> Option<u32> {
    match &graph.layer(layer).op {
        Op::Conv(conv) => {
            let group = conv.features / conv.groups;
            Some(if group <= 1 { CHANNEL_BLOCK } else { lcm(CHANNEL_BLOCK, group, conv.groups) })
        }
        _ => None,
    }
}

/// With one group any block border will do; with several it must be a group border, too.
fn lcm(block: u32, group: u32, groups: u32) -> u32 {
    if groups == 1 {
        return block;
    }
    let gcd = |mut a: u32, mut b: u32| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    block / gcd(block, group) * group
}

fn check_features(
    graph: &Graph,
    index: usize,
    stage: &Stage,
    cuts: &Cuts,
) -> Result<u32, PlanError> {
    let refuse = |layer: LayerId| {
        let layer = graph.layer(layer).name.clone();
        Err(PlanError::Features { stage: index, layer })
    };
    let mut layers = stage.layer_ids();
    let first = LayerId(stage.layers.start);
    let Some(step) = feature_step(graph, first) else { return refuse(first) };
    layers.next();
    for layer in layers {
        let within = |tensor: &crate::graph::TensorId| {
            graph.producer(*tensor).is_some_and(|producer| producer >= first)
        };
        let node = graph.layer(layer);
        if !node.op.is_channelwise() || !node.inputs.iter().all(within) {
            return refuse(layer);
        }
    }
    let total = graph.output_shape(first).channels;
    let inner = cuts.boundaries().iter().filter(|cut| **cut != 0 && **cut != total);
    if inner.clone().any(|cut| !cut.is_multiple_of(step)) {
        return refuse(first);
    }
    Ok(total)
}
