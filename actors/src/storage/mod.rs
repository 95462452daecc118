//! What a device keeps on disk, and how weights get there.
//!
//! The device's [`Identity`], chunks of weights named by hash ([`ChunkStore`]), small cached
//! results such as manifests and measured profiles ([`Cache`]), and the transfer of missing chunks
//! over connections ([`ChunkFetcher`], [`Supply`]). Everything is under `EDGELD_HOME`. Any
//! room above may call it. It knows no plans or actors, and never decides what is worth keeping.

mod cache;
mod chunks;
mod identity;
mod supply;
#[cfg(test)]
pub(crate) mod testing;
mod weights;

use std::path::PathBuf;

pub(crate) use cache::Cache;
pub(crate) use chunks::ChunkStore;
pub(crate) use identity::{Home, Identity, new_incarnation, new_session};
pub(crate) use supply::Supply;
pub(crate) use weights::{ChunkFetcher, SessionWeights};

/// Where this device keeps weights.
///
/// # Errors
/// When there is no directory for that; in words.
pub fn home_of_weights() -> Result<PathBuf, String> {
    Home::find(None).map(|home| home.cache).map_err(|error| error.to_string())
}
