//! Which devices may take part in a plan, and to what extent.

use crate::plan::DeviceIx;

/// The devices that a plan may use, and how much of the dense layers' features each may hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Members {
    /// By device: whether it gets shares of split stages.
    pub has_share: Vec<bool>,
    /// By device: the largest fraction of a layer's features that it has memory for.
    pub feature_cap: Vec<f64>,
    /// Whether every group that can be split must be.
    pub must_split: bool,
    /// Whether members that all receive from one device, or all send to it, are assumed to share
    /// its interface. The published partitions do not assume that, and it is too cautious when
    /// strips are sent ahead of time.
    pub share_links: bool,
}

impl Members {
    /// The devices that get shares.
    pub(super) fn ids(&self) -> impl Iterator<Item = DeviceIx> {
        let devices = self.has_share.iter().enumerate();
        devices.filter(|(_, part)| **part).map(|(index, _)| DeviceIx(index as u16))
    }

    pub(super) fn count(&self) -> usize {
        self.has_share.iter().filter(|part| **part).count()
    }

    pub(super) fn sharing(&self) -> f64 {
        if self.share_links { self.count().saturating_sub(1).max(1) as f64 } else { 1.0 }
    }
}
