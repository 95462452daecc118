//! The figures that the paper gives in numbers.
//!
//! Xue, Fang, Xu, Wang, Ma, Ding: EdgeLD: Locally Distributed Deep Learning Inference on Edge Device
//! Clusters, HPCC 2020. One leader and up to four followers: virtual machines with a core of 800 MHz.

use super::experiment::{Links, System};

/// Seconds per frame with one to four followers, of VGG13 or VGG16; `None` where the paper has none.
pub fn seconds(depth: u32, links: Links, system: System) -> Option<[f64; 4]> {
    Some(match (depth, links, system) {
        (13, Links::Fast, System::Bodp) => [22.29, 12.84, 8.07, 7.64],
        (13, Links::Fast, System::Ocbp) => [20.72, 12.04, 7.34, 6.84],
        (13, Links::Gigabit, System::Bodp) => [21.28, 12.80, 8.28, 7.30],
        (13, Links::Gigabit, System::Ocbp) => [20.71, 11.25, 6.97, 6.26],
        (16, Links::Fast, System::Bodp) => [24.57, 14.07, 9.50, 8.78],
        (16, Links::Fast, System::Ocbp) => [24.02, 13.71, 9.32, 7.52],
        (16, Links::Gigabit, System::Bodp) => [23.69, 13.50, 9.22, 7.58],
        (16, Links::Gigabit, System::Ocbp) => [23.36, 13.23, 8.37, 6.53],
        _ => return None,
    })
}

/// How many times sooner fused blocks answer than single layers.
pub fn fused(depth: u32) -> f64 {
    if depth == 13 { 1.11 } else { 1.13 }
}

/// How many times sooner two, three and four followers answer than one.
pub const SPEED_UPS: [f64; 3] = [1.77, 2.79, 3.57];

/// The range of what OCBP gains over BODP, in percent.
pub fn gain(depth: u32) -> (f64, f64) {
    if depth == 13 { (2.6, 15.8) } else { (1.4, 14.3) }
}

/// The range of speed-ups of four followers over one, over all links.
pub fn speed_up(system: System) -> Option<(f64, f64)> {
    match system {
        System::Bodp => Some((2.56, 3.19)),
        System::Ocbp => Some((2.68, 3.77)),
        System::Layerwise | System::Default => None,
    }
}

/// Seconds that one follower takes for VGG16's convolutions, the network's part left out: what the
/// emulated devices are calibrated by.
pub const COMPUTING: f64 = 23.0;
