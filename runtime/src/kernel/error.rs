//! Why a layer cannot be prepared or computed.

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
        /// Why.
        source: WeightError,
    },
    /// The source gave more or fewer bytes than the parameter has.
    #[error(
        "weights of layer {layer}: {found} bytes of {parameter} {features} where {wanted} were \
         asked for; the model's file and its description do not fit"
    )]
    Length {
        /// Which layer.
        layer: String,
        /// Which parameter.
        parameter: String,
        /// Which of its rows.
        features: ChannelRange,
        /// Bytes that came.
        found: usize,
        /// Bytes that were asked for.
        wanted: u64,
    },
    /// A layer or features that the graph does not have.
    #[error("the graph has no features {features} of layer {layer}")]
    NoSuchLayer {
        /// The layer's number.
        layer: u32,
        /// Which features.
        features: ChannelRange,
    },
    /// A layer is to be computed whose weights were not prepared.
    #[error(
        "layer {layer}: features {wanted} are to be computed, {held} are prepared; prepare the \
         kernels with what the program computes"
    )]
    NotPrepared {
        /// Which layer.
        layer: String,
        /// Features to be computed.
        wanted: ChannelRange,
        /// Features whose weights are there.
        held: ChannelRange,
    },
    /// A sum that is not to be computed along with the layer before it.
    #[error(
        "layer {sum} is no sum that the kernel of layer {layer} can add to; run one after the other"
    )]
    Apart {
        /// The layer's number.
        layer: u32,
        /// The sum's number.
        sum: u32,
    },
    /// A region that begins or ends within a block of channels.
    #[error(
        "layer {layer}: {region} is to be computed, but channels lie in blocks of {lanes}; cut \
         features at multiples of {lanes}"
    )]
    CutBlock {
        /// Which layer.
        layer: String,
        /// What is to be computed.
        region: Region,
        /// Channels of a block.
        lanes: u32,
    },
    /// More or fewer inputs than the layer has.
    #[error("layer {layer} reads {wanted} maps, {found} were given")]
    InputCount {
        /// Which layer.
        layer: String,
        /// Inputs of the layer.
        wanted: usize,
        /// Inputs that were given.
        found: usize,
    },
    /// A map that lacks what is to be read or written.
    #[error("layer {layer}: {what} must hold {wanted}, the map holds {found}")]
    Uncovered {
        /// Which layer.
        layer: String,
        /// `input 0`, `the output`.
        what: String,
        /// What is read or written.
        wanted: Region,
        /// What the map holds.
        found: Region,
    },
    /// A map of another width or layout.
    #[error(
        "layer {layer}: {what} is {} wide with {} lanes, the map {} wide with {} lanes",
        wanted.0, wanted.1, found.0, found.1
    )]
    Layout {
        /// Which layer.
        layer: String,
        /// `input 0`, `the output`.
        what: String,
        /// Width and lanes that are needed.
        wanted: (u32, u32),
        /// Width and lanes of the map.
        found: (u32, u32),
    },
}
