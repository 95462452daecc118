//! Local response normalisation.

use serde::{Deserialize, Serialize};

use crate::region::ChannelRange;

/// Local response normalisation: x / (bias + alpha / size * sum of squares)^beta, summed over up to
/// `size` channels around that of x (Krizhevsky et al., 2012, section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Lrn {
    /// How many channels: x's own, half of the others (rounded down) before
    /// it, the rest after it.
    pub size: u32,
    /// Factor of the mean square.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
    /// Summand.
    pub bias: f32,
}

impl Lrn {
    /// The channels around `channel`, of `total`.
    pub(crate) fn around(&self, channel: u32, total: u32) -> ChannelRange {
        let before = self.size.saturating_sub(1) / 2;
        let after = self.size.saturating_sub(1) - before;
        let end = channel.saturating_add(after).saturating_add(1).min(total);
        ChannelRange::new(channel.saturating_sub(before), end)
    }
}
