//! What a plan costs: one model for all plans.
//!
//! In reading order: [`Work`] counts what a layer does on a region. A fit turns work into time.
//! A [`ClusterProfile`] holds every device's link and fits, corrected by what frames really took.
//! [`makespan`] simulates the programs of a plan on such a profile and returns a [`Prediction`].
//! [`intervals`] says how many frames a second plans give. [`memory`] and [`traffic`] count what else a
//! plan costs.
//!
//! ```
//! use edgeld_runtime::cost::{DeviceProfile, LayerKind, Work};
//! use edgeld_runtime::units::Ms;
//! // 100 GFLOP/s in convolutions, 10 GB/s in dense layers.
//! let device = DeviceProfile::described(100.0, 10.0);
//! let conv = Work { flops: 1e9, ..Work::nothing(LayerKind::Conv) };
//! let time = device.time(&conv);
//! assert!(time >= Ms(10.0) && time < Ms(10.1));
//! ```

mod fit;
mod link;
mod makespan;
mod memory;
mod profile;
mod rate;
mod smoothed;
mod traffic;
mod work;

pub use fit::Sample;
pub use link::LinkEstimate;
pub use makespan::{DeviceTime, Prediction, Resource, makespan};
pub use memory::{MemoryNeed, PROCESS, memory, weight_bytes};
pub use profile::{ClusterProfile, DeviceProfile, LinkProfile, MessageCost};
pub use rate::intervals;
pub use traffic::{StageTraffic, Traffic, traffic};
pub use work::{LayerKind, Work, graph_flops};
