//! How many channels lie side by side in a map that is kept in blocks.

use crate::region::CHANNEL_BLOCK;

/// Channels of a block.
pub(crate) const LANES: u32 = CHANNEL_BLOCK;

/// The same, as the length of vectors and arrays.
pub(crate) const BLOCK: usize = LANES as usize;
