//! The devices that are found, and how far away they are.

use std::collections::BTreeMap;

use edgeld::{Builder, DeviceInfo, DeviceState, Found, VERSION};

use super::super::args::ClusterArgs;
use super::finding::Finding;

/// A link slower than this part of the middle one holds the others up.
const SLOW_LINK: f64 = 0.25;

/// A device slower than this part of the fastest one gets few rows.
const SLOW_DEVICE: f64 = 0.1;

/// A round trip longer than this, in milliseconds, is felt in every stage.
const FAR: f64 = 5.0;

/// Looks for devices and measures them.
pub async fn findings(builder: Builder, args: &ClusterArgs) -> Vec<Finding> {
    let cluster = match builder.discover().await {
        Ok(cluster) => cluster,
        Err(error) => return vec![Finding::error("cluster", error.to_string(), error.hint())],
    };
    let devices = cluster.devices();
    let mut found = judge(&devices, args);
    for (peer, why) in cluster.refusals().await {
        found.push(refused(&peer, &why));
    }
    cluster.shutdown().await;
    found
}

fn refused(peer: &str, why: &str) -> Finding {
    let remedy = match why {
        _ if why.contains("install the same version") => "install the same version on both",
        _ if why.contains("--cluster") => "give both the same --cluster",
        _ if why.contains("key") => "copy the key to it: scp -p cluster.key HOST:",
        _ => "on it: sudo ufw allow 7070/tcp, and edgeld worker --key cluster.key",
    };
    Finding::error("device", format!("{peer} cannot take part: {why}"), remedy)
}

fn judge(devices: &[DeviceInfo], args: &ClusterArgs) -> Vec<Finding> {
    let mut found = Vec::new();
    let others: Vec<&DeviceInfo> = devices.iter().filter(|device| !device.leader).collect();
    if others.is_empty() && !args.alone {
        found.push(Finding::warning(
            "cluster",
            "no other device was found",
            "on another device: edgeld worker --key cluster.key; where multicast does not pass, \
             here: --peer HOST:PORT",
        ));
    }
    let fastest = figures(devices, |device| device.gflops).last().copied();
    for device in devices {
        found.push(of_device(device, fastest));
    }
    found.extend(same_names(devices));
    let rates = figures(devices, |device| device.goodput.map(|rate| rate.0));
    let middle = rates.get(rates.len() / 2).copied();
    found.extend(others.iter().filter_map(|device| of_link(device, middle)));
    found
}

/// What devices have of something, the smallest first.
fn figures(devices: &[DeviceInfo], of: impl Fn(&DeviceInfo) -> Option<f64>) -> Vec<f64> {
    let mut figures: Vec<f64> = devices.iter().filter_map(of).collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn of_device(device: &DeviceInfo, fastest: Option<f64>) -> Finding {
    let DeviceInfo { name, address, version, .. } = device;
    match (device.state, device.gflops, fastest) {
        (DeviceState::Lost, ..) => Finding::error(
            "device",
            format!("{name} ({address}) was lost"),
            "is it on, and in the network? on it: systemctl status edgeld-worker",
        ),
        (DeviceState::Suspect, ..) => Finding::warning(
            "device",
            format!("{name} ({address}) has been silent for a while"),
            "on it: top; is it overloaded, or its Wi-Fi weak?",
        ),
        (DeviceState::Joining, ..) | (_, None, _) => Finding::warning(
            "device",
            format!("{name} ({address}) was found, but not measured in time"),
            "try again; if it stays, on it: RUST_LOG=debug edgeld worker --key cluster.key",
        ),
        _ if !version.is_empty() && version != VERSION => Finding::warning(
            "version",
            format!("{name} runs edgeld {version}, this is {VERSION}"),
            "install the same version on both",
        ),
        (_, Some(speed), Some(fastest)) if speed < SLOW_DEVICE * fastest => Finding::warning(
            "device",
            format!(
                "{name} computes {speed:.1} GFLOP/s, the fastest {fastest:.1}: it gets few rows"
            ),
            format!("on {name}: edgeld doctor"),
        ),
        (_, Some(speed), _) => Finding::ok(
            "device",
            format!("{name} ({address}) runs edgeld {version}, {speed:.1} GFLOP/s"),
        ),
    }
}

fn of_link(device: &DeviceInfo, middle: Option<f64>) -> Option<Finding> {
    let (name, rate, rtt) = (&device.name, device.goodput?.0, device.rtt?.0);
    let figures = format!("{name}: {rate:.0} Mbit/s, {rtt:.2} ms");
    let remedy = format!("connect {name} by cable, to the same switch as the others");
    Some(match middle {
        Some(middle) if rate < SLOW_LINK * middle => Finding::warning(
            "link",
            format!("{figures}; the middle one has {middle:.0} Mbit/s"),
            remedy,
        ),
        _ if rtt > FAR => Finding::warning("link", format!("{figures}: far away"), remedy),
        _ if device.found == Found::Peer => {
            Finding::ok("link", format!("{figures} (named, not found over multicast)"))
        }
        _ => Finding::ok("link", figures),
    })
}

fn same_names(devices: &[DeviceInfo]) -> Vec<Finding> {
    let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // This machine may have a worker of its own beside this command.
    for device in devices.iter().filter(|device| !device.leader) {
        named.entry(&device.name).or_default().push(&device.address);
    }
    let twice = named.into_iter().filter(|(_, addresses)| addresses.len() > 1);
    let complain = |(name, addresses): (&str, Vec<&str>)| {
        let addresses = addresses.join(" and ");
        Finding::warning(
            "name",
            format!("{addresses} have the same name {name}: a copied SD card?"),
            "on one of them: sudo hostnamectl set-hostname ANOTHER, or edgeld worker --name ANOTHER",
        )
    };
    twice.map(complain).collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;
    use clap::Parser;
    use edgeld_runtime::units::{Bytes, Mbps, Ms};
    use edgeld_runtime::wire::NodeId;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        cluster: ClusterArgs,
    }

    fn device(id: u8, leader: bool) -> DeviceInfo {
        DeviceInfo {
            id: NodeId(u128::from(id)),
            name: format!("d{id}"),
            address: format!("10.0.0.{id}:7070"),
            leader,
            found: Found::Mdns,
            state: DeviceState::Idle,
            gflops: Some(20.0),
            goodput: (!leader).then_some(Mbps(900.0)),
            rtt: (!leader).then_some(Ms(0.3)),
            memory: Bytes(1 << 30),
            version: VERSION.to_owned(),
        }
    }

    /// What five devices of which the last is odd are told.
    fn complaint(change: impl Fn(&mut DeviceInfo)) -> Vec<Finding> {
        let mut devices: Vec<DeviceInfo> = (1..=5).map(|id| device(id, id == 1)).collect();
        change(&mut devices[4]);
        let args = Line::parse_from(["x"]).cluster;
        let all = judge(&devices, &args);
        all.into_iter().filter(|finding| finding.severity != Severity::Ok).collect()
    }

    #[test]
    fn a_clean_cluster_is_clean() {
        assert_eq!(complaint(|_| ()), []);
    }

    #[test]
    fn every_fault_is_named() {
        type Change = fn(&mut DeviceInfo);
        let faults: [(Change, &str, &str); 8] = [
            (|device| device.name = "d2".to_owned(), "name", "same name d2"),
            (|device| device.state = DeviceState::Lost, "device", "was lost"),
            (|device| device.state = DeviceState::Suspect, "device", "silent"),
            (|device| device.gflops = None, "device", "not measured"),
            (|device| device.version = "0.0.7".to_owned(), "version", "0.0.7"),
            (|device| device.gflops = Some(1.0), "device", "few rows"),
            (|device| device.goodput = Some(Mbps(40.0)), "link", "40 Mbit/s"),
            (|device| device.rtt = Some(Ms(30.0)), "link", "far away"),
        ];
        for (change, check, words) in faults {
            let complaints = complaint(change);
            assert_eq!(complaints.len(), 1, "{complaints:?}");
            let finding = &complaints[0];
            assert_eq!(finding.check, check);
            assert!(finding.message.contains(words), "{finding:?}");
            assert!(finding.remedy.is_some());
        }
    }

    #[test]
    fn refusals_come_with_what_mends_them() {
        for (why, remedy) in [
            ("runs edgeld 9, ...: install the same version on both", "same version"),
            ("belongs to cluster \"a\": give both the same --cluster", "--cluster"),
            ("it has another key", "scp"),
            ("connection refused", "ufw"),
        ] {
            let finding = refused("kitchen", why);
            assert!(finding.remedy.unwrap().contains(remedy));
        }
    }

    #[test]
    fn nobody_else_is_worth_a_word() {
        let args = Line::parse_from(["x"]).cluster;
        assert!(judge(&[device(1, true)], &args)[0].message.contains("no other device"));
    }
}
