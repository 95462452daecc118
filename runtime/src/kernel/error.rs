//! Why a layer cannot be prepared or computed.

use crate::graph::DType;
use crate::region::{ChannelRange, Region};
use crate::weights::WeightError;

/// Why a layer cannot be prepared or computed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Its weights could not be read.
    #[error("weights of layer {layer}: {source}")]
    Weights {
        /// Which layer.
        layer: String,
        /// The cause.
        source: WeightError,
    },
    /// The source returned another number of bytes than the parameter has.
    #[error(
        "weights of layer {layer}: {parameter} {features} has {found} bytes instead of {wanted}; \
         the model's file does not match its description"
    )]
    Length {
        /// Which layer.
        layer: String,
        /// Which parameter.
        parameter: String,
        /// Which of its rows.
        features: ChannelRange,
        /// Bytes returned.
        found: usize,
        /// Bytes requested.
        wanted: u64,
    },
    /// Weights of another type than burn's operators take.
    #[error(
        "burn's operators cannot use weights kept as {0}; use --kernels fast or exact, or --weights f32"
    )]
    BurnWeights(DType),
    /// The graph has no such layer or features.
    #[error("the graph has no features {features} of layer {layer}")]
    NoSuchLayer {
        /// The layer's number.
        layer: u32,
        /// Which features.
        features: ChannelRange,
    },
    /// A function that does not take what the layer gives it.
    #[error("layer {layer} cannot be computed from its inputs")]
    Refused {
        /// Which layer.
        layer: String,
    },
    /// The weights were not prepared.
    #[error(
        "layer {layer}: features {wanted} are not prepared, only {held} are; prepare the kernels \
         for everything that the program computes"
    )]
    NotPrepared {
        /// Which layer.
        layer: String,
        /// Features to compute.
        wanted: ChannelRange,
        /// Features whose weights are prepared.
        held: ChannelRange,
    },
    /// A sum that cannot be computed together with this layer.
    #[error("layer {sum} cannot be computed together with layer {layer}; run one after the other")]
    Apart {
        /// The layer's number.
        layer: u32,
        /// The sum's number.
        sum: u32,
    },
    /// A region that starts or ends within a block of channels.
    #[error(
        "layer {layer}: {region} cuts a block of {lanes} channels; cut features at multiples of \
         {lanes}"
    )]
    CutBlock {
        /// Which layer.
        layer: String,
        /// The region to compute.
        region: Region,
        /// Channels per block.
        lanes: u32,
    },
    /// The wrong number of inputs.
    #[error("layer {layer} reads {wanted} maps, but {found} were given")]
    InputCount {
        /// Which layer.
        layer: String,
        /// Number of inputs of the layer.
        wanted: usize,
        /// Number of inputs given.
        found: usize,
    },
    /// A map that does not cover what is read or written.
    #[error("layer {layer}: {what} must hold {wanted}, but the map holds {found}")]
    Uncovered {
        /// Which layer.
        layer: String,
        /// Which map: `input 0`, `the output`.
        what: String,
        /// The region that is read or written.
        wanted: Region,
        /// The region that the map holds.
        found: Region,
    },
    /// A map of the wrong width or layout.
    #[error(
        "layer {layer}: {what} is {} wide with {} lanes, but the map is {} wide with {} lanes",
        wanted.0, wanted.1, found.0, found.1
    )]
    Layout {
        /// Which layer.
        layer: String,
        /// Which map: `input 0`, `the output`.
        what: String,
        /// Width and lanes that are needed.
        wanted: (u32, u32),
        /// Width and lanes of the map.
        found: (u32, u32),
    },
}
