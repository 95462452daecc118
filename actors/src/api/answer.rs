//! What comes out of one inference.

use edgeld_runtime::coord::Moment;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::units::{Bytes, Ms};

/// One output of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The model's name for it.
    pub name: String,
    /// The model's own dimensions, batch included.
    pub dims: Vec<u64>,
    /// Its elements, in the model's order (row-major).
    pub data: Vec<f32>,
}

/// What came out of one inference, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Number of the frame within the session, from 0.
    pub frame: u64,
    /// The plan that answered it.
    pub generation: Generation,
    /// How often it was begun anew because of a loss.
    pub retries: u32,
    /// From input in memory to output in memory: since the frame was first begun, however long it
    /// had waited for that.
    pub total: Ms,
    /// When its output was in memory, on this device's clock.
    pub completed: Moment,
    /// Payload between all devices.
    pub bytes_moved: Bytes,
    /// All outputs of the model.
    pub outputs: Vec<Output>,
}
