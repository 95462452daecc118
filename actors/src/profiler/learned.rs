//! What frames have taught about a device, kept for the next run of this leader.
//!
//! A benchmark of half a second runs each kind of layer by itself; in a network caches are colder,
//! and a processor quota pauses it in the middle. Frames show by how much. Without this memory every
//! run would begin with predictions that are off by that.

use edgeld_runtime::cost::DeviceProfile;
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::wire::Hello;

use super::benchmark;
use crate::storage::Cache;
use crate::transport::Network;

/// Frames after which something is known. It is written again whenever there are twice as many, but
/// at least every so many.
const FIRST: u32 = 4;
const PERIOD: u32 = 64;

/// What was learned about one device.
pub(crate) struct Learned {
    cache: Cache,
    key: String,
    frames: u32,
}

impl Learned {
    /// About the device that greets like this, computing with these kernels.
    pub(crate) fn of(cache: Cache, hello: &Hello, kernels: KernelKind) -> Learned {
        let Hello { node, build, isa, threads, .. } = hello;
        let version = benchmark::VERSION;
        let key = format!("learned {version} {node} {build} {isa} {threads} {kernels:?}");
        Learned { cache, key, frames: 0 }
    }

    /// A profile with what was learned before.
    pub(super) fn recall(&self, profile: DeviceProfile) -> DeviceProfile {
        match self.cache.get::<Vec<f64>>(&self.key) {
            Some(corrections) => profile.with_corrections(&corrections),
            None => profile,
        }
    }

    /// Another frame has taught something.
    pub(super) fn frame(&mut self, profile: &DeviceProfile, network: &Network) {
        self.frames += 1;
        let is_due = self.frames.is_power_of_two() || self.frames.is_multiple_of(PERIOD);
        if self.frames < FIRST || !is_due {
            return;
        }
        let (cache, key, corrections) =
            (self.cache.clone(), self.key.clone(), profile.corrections());
        network.spawn(async move {
            // A disk may be slow, and nobody waits for it.
            drop(tokio::task::spawn_blocking(move || {
                if let Err(error) = cache.put(&key, &corrections) {
                    tracing::debug!("cannot keep what frames have taught: {error}");
                }
            }));
        });
    }
}
