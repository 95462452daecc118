//! Which devices take part in a plan, and how far.

use crate::plan::DeviceIx;

/// Devices that a plan may use, and how much of the dense layers' features each may hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Members {
    /// By device: whether it has a part in split stages.
    pub splits: Vec<bool>,
    /// By device: the largest part of a layer's features that it has memory for.
    pub feature_cap: Vec<f64>,
    /// Whether every group that can be split is.
    pub forced: bool,
    /// Whether members that all get from one device, or all send to it, count as sharing its
    /// interface. The published partitions do not count so, and where strips are sent ahead of
    /// time it is too careful.
    pub share_links: bool,
}

impl Members {
    /// The devices with a part.
    pub(super) fn ids(&self) -> impl Iterator<Item = DeviceIx> {
        let splits = self.splits.iter().enumerate();
        splits.filter(|(_, part)| **part).map(|(index, _)| DeviceIx(index as u16))
    }

    pub(super) fn count(&self) -> usize {
        self.splits.iter().filter(|part| **part).count()
    }

    pub(super) fn sharing(&self) -> f64 {
        if self.share_links { self.count().saturating_sub(1).max(1) as f64 } else { 1.0 }
    }
}
