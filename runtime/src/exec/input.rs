//! The inputs of an inference.

use std::sync::Arc;

/// One input of an inference.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// u8 pixels of the model's input size, planar (channel by channel). They travel as they are
    /// and are normalised on arrival, according to the [`Encoding`](crate::program::Encoding).
    Pixels(Arc<[u8]>),
    /// float32 values, in the model's order.
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

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
