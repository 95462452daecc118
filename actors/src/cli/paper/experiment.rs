//! What the paper measured, run by run.
//!
//! A run is a network on a cluster under a system. Figures share runs: the four followers at
//! 1000 Mbit/s of the table are also those of the figures on links, map sizes and frames.

use std::fmt;

use edgeld_runtime::plan::Exchange;
use edgeld_runtime::solve::{Fusion, Partition, Policy};
use edgeld_runtime::units::Mbps;
use serde::{Deserialize, Serialize};

/// Followers in the largest cluster.
pub const MOST: u32 = 4;

/// The side of the networks' inputs, where nothing else is said.
pub const SIZE: u32 = 224;

/// Frames in the figures on several of them.
pub const FRAMES: u32 = 5;

/// The networks, by their layers with weights.
pub const DEPTHS: [u32; 2] = [13, 16];

/// The sides of inputs that are compared.
pub const SIZES: [u32; 3] = [96, SIZE, 448];

/// What limits the devices' interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Links {
    /// 50 Mbit/s.
    #[serde(rename = "50")]
    Slow,
    /// 100 Mbit/s.
    #[serde(rename = "100")]
    Fast,
    /// From 100 to 1000 Mbit/s.
    #[serde(rename = "mixed")]
    Mixed,
    /// 1000 Mbit/s.
    #[serde(rename = "1000")]
    Gigabit,
}

impl Links {
    /// All of them, as the paper orders them.
    pub const ALL: [Links; 4] = [Links::Slow, Links::Fast, Links::Mixed, Links::Gigabit];

    /// The rate of each follower's interface, the first one's first.
    pub fn followers(self) -> [Mbps; MOST as usize] {
        match self {
            Links::Slow => [50.0; 4],
            Links::Fast => [100.0; 4],
            Links::Mixed => [100.0, 400.0, 700.0, 1000.0],
            Links::Gigabit => [1000.0; 4],
        }
        .map(Mbps)
    }

    /// The rate of the leader's interface: that of the fastest follower.
    pub fn leader(self) -> Mbps {
        self.followers()[MOST as usize - 1]
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Links::Slow => "50 Mbit/s",
            Links::Fast => "100 Mbit/s",
            Links::Mixed => "100 to 1000 Mbit/s",
            Links::Gigabit => "1000 Mbit/s",
        })
    }
}

/// How the network is split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// MoDNN's rows, in EdgeLD's fused blocks.
    Bodp,
    /// EdgeLD.
    Ocbp,
    /// EdgeLD's rows, layer by layer.
    Layerwise,
    /// This project's default, with a leader that computes as fast as a follower.
    Default,
}

impl System {
    /// Whether the leader computes no convolution, as in the paper.
    pub fn leader_is_idle(self) -> bool {
        self != System::Default
    }

    /// The plans that it allows.
    pub fn policy(self) -> Policy {
        let published = |partition, fusion| Policy {
            partition,
            fusion,
            exchange: Exchange::Leader,
            leader_idle: true,
            ..Policy::default()
        };
        match self {
            System::Bodp => published(Partition::Bodp, Fusion::Block),
            System::Ocbp => published(Partition::Ocbp, Fusion::Block),
            System::Layerwise => published(Partition::Ocbp, Fusion::Layerwise),
            System::Default => Policy::default(),
        }
    }
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            System::Bodp => "BODP",
            System::Ocbp => "OCBP",
            System::Layerwise => "OCBP, layer by layer",
            System::Default => "default of this project",
        })
    }
}

/// A run. The order is that in which clusters need to be started least often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Experiment {
    /// Followers; the leader comes on top.
    pub followers: u32,
    /// Their links.
    pub links: Links,
    /// How it is split.
    pub system: System,
    /// Layers with weights of the VGG network.
    pub depth: u32,
    /// The side of its input.
    pub size: u32,
}

impl fmt::Display for Experiment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Experiment { followers, links, system, depth, size } = self;
        let s = if *followers == 1 { "" } else { "s" };
        write!(f, "VGG{depth} at {size}, {followers} follower{s}, {links}, {system}")
    }
}

impl Experiment {
    /// All that the report needs, each once.
    pub fn all() -> Vec<Experiment> {
        let mut all = Vec::new();
        for depth in DEPTHS {
            let run = |followers, links, system| Experiment {
                followers,
                links,
                system,
                depth,
                size: SIZE,
            };
            for followers in 1..=MOST {
                for links in [Links::Fast, Links::Gigabit] {
                    let systems = [System::Bodp, System::Ocbp, System::Default];
                    all.extend(systems.map(|system| run(followers, links, system)));
                }
                all.push(run(followers, Links::Gigabit, System::Layerwise));
            }
            for system in [System::Bodp, System::Ocbp] {
                all.push(run(1, Links::Slow, system));
                all.extend([Links::Slow, Links::Mixed].map(|links| run(MOST, links, system)));
                let sized = |size| Experiment { size, ..run(MOST, Links::Gigabit, system) };
                all.extend(SIZES.map(sized));
            }
        }
        all.sort();
        all.dedup();
        all
    }

    /// How many frames of it are timed, if it is otherwise so many: some figures show five.
    pub fn frames(&self, otherwise: u32) -> u32 {
        let is_shown = self.followers == MOST
            && (self.links, self.size) == (Links::Gigabit, SIZE)
            && [System::Bodp, System::Ocbp].contains(&self.system);
        if is_shown { otherwise.max(FRAMES) } else { otherwise }
    }

    /// Roughly how long a frame takes on the paper's devices, in seconds: what progress goes by.
    pub fn expected(&self) -> f64 {
        let alone = 23.0 * f64::from(self.size * self.size) / f64::from(SIZE * SIZE);
        let computing = self.followers + u32::from(!self.system.leader_is_idle());
        alone / f64::from(computing) + 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_grouped_by_cluster_and_none_is_repeated() {
        let all = Experiment::all();
        let cluster = |run: &Experiment| (run.followers, run.links, run.system.leader_is_idle());
        let changes = all.windows(2).filter(|pair| cluster(&pair[0]) != cluster(&pair[1])).count();
        let mut clusters: Vec<_> = all.iter().map(cluster).collect();
        clusters.sort();
        clusters.dedup();
        assert_eq!(changes + 1, clusters.len());
        let mut distinct = all.clone();
        distinct.dedup();
        assert_eq!(distinct, all);
        assert_eq!(all.len(), 2 * (4 * 7 + 2 * 3 + 2 * 2));
    }

    #[test]
    fn the_systems_of_the_paper_leave_the_leader_idle() {
        for system in [System::Bodp, System::Ocbp, System::Layerwise] {
            let policy = system.policy();
            assert!(policy.leader_idle && policy.exchange == Exchange::Leader);
        }
        assert_eq!(System::Default.policy(), Policy::default());
    }
}
