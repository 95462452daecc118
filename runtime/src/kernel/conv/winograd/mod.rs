//! 3x3 convolutions of stride 1 with a quarter to a half of the products.
//!
//! Outputs are computed in tiles. The inputs under a tile are transformed, the products of all
//! channels are added up place by place of the transformed tile, and the sums transformed back
//! (Winograd's minimal filtering, see [`transform`]):
//!
//! ```text
//! for each group of tiles that stays in the caches  (tasks, on several threads)
//!   transform the inputs:        places x blocks of channels x tiles x 16
//!   for each place: products     places x blocks of features x tiles x 16, as register tiles
//!   transform the products back; bias and activation on the way out
//! ```
//!
//! Weights are transformed once, when they are packed, and grow by that: 36 places for the nine
//! cells of a kernel in tiles of 4x4 outputs. Few rows cannot make up for reading that much more,
//! so that the tile's size is a choice by the height of a device's share ([`Tile::best`](tile::Tile::best)).
//! The rounding differs from a plain convolution's, and with the tile.

pub(crate) mod compute;
pub(crate) mod tile;
pub(crate) mod transform;
