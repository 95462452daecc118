//! 3x3 convolutions of stride 1 with a quarter to a half of the products.
//!
//! Outputs are computed in tiles. The inputs under a tile are transformed, the products of all
//! channels are added up for each position of the transformed tile, and the sums are transformed
//! back (Winograd's minimal filtering, see [`transform`]):
//!
//! ```text
//! for each group of tiles that stays in the caches  (tasks, on several threads)
//!   transform the inputs:        positions x blocks of channels x tiles x 16
//!   for each position: products  positions x blocks of features x tiles x 16, as register tiles
//!   transform the products back; bias and activation on the way out
//! ```
//!
//! Weights are transformed once, when they are packed, and grow: a kernel's nine cells become 36
//! positions with tiles of 4x4 outputs. With few rows that costs more than it saves, so the size of
//! the tile depends on the height of a device's share ([`Tile::best`](crate::graph::Tile::best)). Rounding
//! differs from that of a direct convolution, and between sizes.

pub(crate) mod compute;
pub(crate) mod pack;
pub(crate) mod transform;
