//! What goes into an inference.

use std::sync::Arc;

/// One input of one inference.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// u8 pixels, planar (channel by channel), of the model's input size; they travel as they are
    /// and are normalised where they arrive, as the model's
    /// [`Encoding`](crate::program::Encoding) says.
    Pixels(Arc<[u8]>),
    /// float32 values in the model's order.
    Values(Arc<[f32]>),
}

impl Input {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Input::Pixels(pixels) => pixels.len(),
            Input::Values(values) => values.len(),
        }
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
