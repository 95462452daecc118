//! Windows along any number of axes.

use serde::{Deserialize, Serialize};

/// Windows that slide over all axes behind the first two: one number for each of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows {
    /// How many elements a window has.
    pub kernel: Vec<u32>,
    /// From one window to the next.
    pub stride: Vec<u32>,
    /// From one element of a window to the next.
    pub dilation: Vec<u32>,
    /// Padding before.
    pub before: Vec<u32>,
    /// Padding after.
    pub after: Vec<u32>,
    /// Whether a last window may reach beyond the padding, as long as it starts within.
    pub ceil: bool,
    /// How many groups channels and features are divided into.
    pub groups: u32,
}

/// What becomes of the elements of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aggregate {
    /// The largest.
    Max,
    /// The index of the largest in the whole tensor.
    Index {
        /// Whether the first of the last axes varies fastest in that index, not the last.
        column_major: bool,
    },
    /// The mean.
    Average {
        /// Whether padding counts.
        padded: bool,
    },
    /// The root of the sum of powers.
    Lp {
        /// Which power.
        p: u32,
    },
}

impl Windows {
    /// How many axes it has, if all lists have as many and no number is out of bounds.
    fn axes(&self) -> Option<usize> {
        let axes = self.kernel.len();
        let lists = [&self.stride, &self.dilation, &self.before, &self.after];
        let bounded = |list: &Vec<u32>| list.iter().all(|number| *number < 1 << 20);
        let positive = [&self.kernel, &self.stride, &self.dilation];
        let fits = lists.iter().all(|list| list.len() == axes && bounded(list))
            && bounded(&self.kernel)
            && positive.iter().all(|list| !list.contains(&0))
            && self.groups > 0;
        fits.then_some(axes)
    }

    /// How far a window reaches along an axis.
    pub(crate) fn reach(&self, axis: usize) -> u64 {
        u64::from(self.kernel[axis] - 1) * u64::from(self.dilation[axis]) + 1
    }

    /// The length of each axis with its padding.
    pub(crate) fn padded(&self, input: &[u32]) -> Option<Vec<u32>> {
        let axes = self.axes().filter(|axes| *axes == input.len())?;
        let len =
            |axis: usize| input[axis].checked_add(self.before[axis])?.checked_add(self.after[axis]);
        (0..axes).map(len).collect()
    }

    /// The length of each axis that this many windows reach over.
    pub(crate) fn uncut(&self, windows: &[u32]) -> Option<Vec<u32>> {
        let axes = self.axes().filter(|axes| *axes == windows.len())?;
        let len = |axis: usize| {
            let last = u64::from(windows[axis].checked_sub(1)?) * u64::from(self.stride[axis]);
            u32::try_from(last + self.reach(axis)).ok()
        };
        (0..axes).map(len).collect()
    }

    /// The number of windows along each axis of an input.
    pub(crate) fn outputs(&self, input: &[u32]) -> Option<Vec<u32>> {
        let axes = self.axes().filter(|axes| *axes == input.len())?;
        (0..axes)
            .map(|axis| {
                let (before, after) = (u64::from(self.before[axis]), u64::from(self.after[axis]));
                let len = u64::from(input[axis]) + before + after;
                let (rest, stride) =
                    (len.checked_sub(self.reach(axis))?, u64::from(self.stride[axis]));
                let mut count = rest / stride + 1;
                if self.ceil && !rest.is_multiple_of(stride) {
                    // A window that would start in the padding behind is left out.
                    count += u64::from(count * stride < u64::from(input[axis]) + before);
                }
                u32::try_from(count).ok()
            })
            .collect()
    }

    /// The length of each axis of an input that this many windows make.
    pub(crate) fn inputs(&self, windows: &[u32], extra: &[u32]) -> Option<Vec<u32>> {
        let axes = self.axes().filter(|axes| *axes == windows.len() && extra.len() == *axes)?;
        (0..axes)
            .map(|axis| {
                let last = u64::from(windows[axis].checked_sub(1)?) * u64::from(self.stride[axis]);
                let all = last + self.reach(axis) + u64::from(extra[axis]);
                let padding = u64::from(self.before[axis]) + u64::from(self.after[axis]);
                u32::try_from(all.checked_sub(padding)?).ok()
            })
            .collect()
    }
}
