//! What several examples share: workers, and a plan on one line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use edgeld::WorkerOptions;
use edgeld::{DeviceInfo, PlanInfo};

/// A worker on any free port of the loopback interface, on one thread, announced over mDNS.
pub fn on_loopback(name: &str, cluster: &str, homes: &Path) -> WorkerOptions {
    WorkerOptions {
        name: Some(name.to_owned()),
        listen: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        threads: Some(1),
        cluster: cluster.to_owned(),
        home: Some(homes.join(name)),
        ..WorkerOptions::default()
    }
}

/// A cluster name that no other process has.
pub fn own_cluster() -> String {
    format!("example-{}", std::process::id())
}

/// The shares of a plan's highest stage: `you 0..56, attic 56..112`.
pub fn shares(plan: &PlanInfo, devices: &[DeviceInfo]) -> String {
    let name = |id: &str| {
        let device = devices.iter().find(|device| device.id.to_string() == id);
        device.map_or(id.to_owned(), |device| device.name.clone())
    };
    let rows = plan.stages.iter().filter(|stage| stage.split == "rows");
    let highest = rows.max_by_key(|stage| stage.shares.iter().map(|share| share.to).max());
    let shares = highest.into_iter().flat_map(|stage| &stage.shares);
    let words = shares.map(|share| format!("{} {}..{}", name(&share.device), share.from, share.to));
    words.collect::<Vec<_>>().join(", ")
}
