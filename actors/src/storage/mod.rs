//! What a device keeps on disk, and weights on their way there.
//!
//! Who this device is ([`Identity`]), chunks of weights by their hash ([`ChunkStore`]), small things
//! worth remembering such as manifests and measured profiles ([`Cache`]), and the fetching of
//! missing chunks over a connection ([`ChunkFetcher`], [`serve_chunks`]). All of it lies under
//! `EDGELD_HOME`. Called by whoever needs weights or memory of an earlier run; it knows no plan, no
//! actor, and never decides what is worth keeping.

mod cache;
mod chunks;
mod identity;
mod weights;

pub(crate) use cache::Cache;
pub(crate) use chunks::ChunkStore;
pub(crate) use identity::{Home, Identity, new_session};
pub(crate) use weights::{ChunkFetcher, SessionWeights, serve_chunks};
