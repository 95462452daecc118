//! Devices find each other: over mDNS on loopback, over mDNS between machines (network namespaces
//! joined by a bridge, if this user may create them), and at given addresses.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeld_runtime::kernel::Isa;
use edgeld_runtime::wire::{Hello, Incarnation, NodeId, PROTOCOL, Purpose};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::timeout;

use super::mdns::{Announcement, Mdns, MdnsError, Scope};
use super::peers::Peers;
use super::sighting::{SightedDevice, Sighting};
use crate::api::Found;
use crate::storage::new_session;
use crate::transport::{Network, Security, Settings, Tcp, TransportError};

fn hello(node: u128, cluster: &str) -> Hello {
    Hello {
        protocol: PROTOCOL,
        build: "0.1.0".to_owned(),
        node: NodeId(node),
        incarnation: Incarnation::default(),
        name: format!("device-{node}"),
        cluster: cluster.to_owned(),
        isa: Isa::Plain,
        threads: 1,
        memory: 0,
        purpose: Purpose::Control,
    }
}

/// A cluster name that no one else uses.
fn cluster() -> String {
    new_session().unwrap().to_string()
}

/// mDNS on loopback; skips the test with a message if there is none.
fn loopback() -> Option<Mdns> {
    match Mdns::start(Scope::Loopback) {
        Ok(mdns) => Some(mdns),
        Err(error @ (MdnsError::NoInterface(_) | MdnsError::Port(_))) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

async fn next(sightings: &mut UnboundedReceiver<Sighting>) -> Sighting {
    let sighting = timeout(Duration::from_secs(20), sightings.recv()).await;
    sighting.expect("no sighting").expect("the source has ended")
}

#[tokio::test]
async fn workers_are_found_on_loopback_and_say_goodbye() {
    let cluster = cluster();
    let (sender, mut sightings) = unbounded_channel();
    let Some(leader) = loopback() else { return };
    leader.browse(&cluster, sender).unwrap();
    let announce = |node: u128, cluster: &str, address: &str| {
        let mdns = Mdns::start(Scope::Loopback).unwrap();
        let address = address.parse().unwrap();
        mdns.announce(&Announcement { hello: hello(node, cluster), address }).unwrap();
        mdns
    };
    let start = Instant::now();
    let first = announce(1, &cluster, "127.0.0.1:7001");
    let _stranger = announce(9, "another cluster", "127.0.0.1:7009");
    let expected = |node: u128, address: &str| {
        Sighting::Found(SightedDevice {
            node: NodeId(node),
            name: format!("device-{node}"),
            addresses: vec![address.to_owned()],
            found: Found::Mdns,
            protocol: PROTOCOL,
            build: "0.1.0".to_owned(),
        })
    };
    assert_eq!(next(&mut sightings).await, expected(1, "127.0.0.1:7001"));
    println!("found after {:?}", start.elapsed());
    let _second = announce(2, &cluster, "127.0.0.1:7002");
    assert_eq!(next(&mut sightings).await, expected(2, "127.0.0.1:7002"));

    // A leader that starts later finds them too.
    let (sender, mut later) = unbounded_channel();
    let start = Instant::now();
    let other = Mdns::start(Scope::Loopback).unwrap();
    other.browse(&cluster, sender).unwrap();
    let mut found = [next(&mut later).await, next(&mut later).await];
    println!("found later after {:?}", start.elapsed());
    found.sort_by_key(|sighting| format!("{sighting:?}"));
    assert_eq!(found, [expected(1, "127.0.0.1:7001"), expected(2, "127.0.0.1:7002")]);

    first.shutdown().await;
    let gone = Sighting::Gone { node: NodeId(1), found: Found::Mdns };
    assert_eq!(next(&mut sightings).await, gone);
    assert_eq!(next(&mut later).await, gone);
}

#[tokio::test]
async fn a_given_address_is_retried_until_a_device_is_there() {
    let network = |node| {
        Network::start(
            Arc::new(Tcp::default()),
            hello(node, "home"),
            Security::Local,
            Settings::default(),
        )
        .unwrap()
    };
    let worker = network(1);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let leader = network(2);
    let (sender, mut sightings) = unbounded_channel();
    let _peers = Peers::watch(&leader, std::slice::from_ref(&address), &sender);

    let Sighting::Failed { peer, error } = next(&mut sightings).await else {
        panic!("nothing listens there")
    };
    assert_eq!(peer, address);
    assert!(matches!(error, TransportError::Unreachable { .. }), "{error}");

    let mut listener = worker.listen(&address).await.unwrap();
    assert_eq!(next(&mut sightings).await, Sighting::Answered { peer: address.clone() });
    let Sighting::Found(device) = next(&mut sightings).await else { panic!("it listens now") };
    assert_eq!((device.node, device.found), (NodeId(1), Found::Peer));
    assert_eq!(device.addresses, [address]);
    assert_eq!(listener.accept().await.unwrap().peer().node, NodeId(2));

    worker.shutdown().await;
    let gone = Sighting::Gone { node: NodeId(1), found: Found::Peer };
    assert_eq!(next(&mut sightings).await, gone);
}

/// Network namespaces on a bridge, without a default route; removed on drop.
struct Lan {
    prefix: String,
    machines: usize,
}

impl Lan {
    /// `None`, with a message, if this user may not create them.
    fn new(machines: usize) -> Option<Lan> {
        let prefix = format!("edgeld{}", std::process::id());
        let lan = Lan { prefix, machines };
        let switch = format!("{}s", lan.prefix);
        let ran = ip(&format!("netns add {switch}"))
            && ip(&format!("-n {switch} link add br0 type bridge"))
            && ip(&format!("-n {switch} link set br0 up"))
            && (1..=machines).all(|machine| lan.plug(&switch, machine));
        if !ran {
            println!("skipped: no network namespaces (needs root and iproute2)");
        }
        ran.then_some(lan)
    }

    fn plug(&self, switch: &str, machine: usize) -> bool {
        let space = self.space(machine);
        ip(&format!("netns add {space}"))
            && ip(&format!(
                "-n {space} link add eth0 type veth peer name port{machine} netns {switch}"
            ))
            && ip(&format!("-n {switch} link set port{machine} master br0 up"))
            && ip(&format!("-n {space} addr add 10.77.0.{machine}/24 dev eth0"))
            && ip(&format!("-n {space} link set lo up"))
            && ip(&format!("-n {space} link set eth0 up"))
    }

    fn space(&self, machine: usize) -> String {
        format!("{}m{machine}", self.prefix)
    }

    /// Runs a helper test of this file as a process on a machine.
    fn run(&self, machine: usize, helper: &str, cluster: &str) -> Child {
        Command::new("ip")
            .args(["netns", "exec", &self.space(machine)])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", &format!("discovery::tests::{helper}"), "--nocapture"])
            .env("EDGELD_TEST_MACHINE", machine.to_string())
            .env("EDGELD_TEST_CLUSTER", cluster)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Lan {
    fn drop(&mut self) {
        for machine in 1..=self.machines {
            ip(&format!("netns del {}", self.space(machine)));
        }
        ip(&format!("netns del {}s", self.prefix));
    }
}

fn ip(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments.split(' ')).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A parameter that the parent passes to a helper.
fn parameter(variable: &str) -> Option<String> {
    std::env::var(format!("EDGELD_TEST_{variable}")).ok()
}

/// Runs as a process on a machine of the LAN below; otherwise does nothing.
#[tokio::test]
async fn helper_worker() {
    let (Some(cluster), Some(node)) = (parameter("CLUSTER"), parameter("MACHINE")) else { return };
    let node = node.parse().unwrap();
    let address = SocketAddr::from(([0, 0, 0, 0], 7070));
    let mdns = Mdns::start(Scope::of(address)).unwrap();
    mdns.announce(&Announcement { hello: hello(node, &cluster), address }).unwrap();
    // Wait until the parent closes stdin.
    tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin())).await.ok();
    mdns.shutdown().await;
}

/// Runs as a process on a machine of the LAN below; otherwise does nothing.
#[tokio::test]
async fn helper_leader() {
    let Some(cluster) = parameter("CLUSTER") else { return };
    let (sender, mut sightings) = unbounded_channel();
    let start = Instant::now();
    let mdns = Mdns::start(Scope::Lan).unwrap();
    mdns.browse(&cluster, sender).unwrap();
    let mut found = Vec::new();
    while found.len() < 4 {
        if let Sighting::Found(device) = next(&mut sightings).await {
            let address = format!("10.77.0.{}:7070", device.node.0);
            assert_eq!(device.addresses, [address]);
            found.push(device.node.0);
        }
    }
    found.sort_unstable();
    println!("leader saw {found:?} after {:?}", start.elapsed());
    mdns.shutdown().await;
}

#[test]
fn five_machines_of_a_lan_find_each_other() {
    let Some(lan) = Lan::new(5) else { return };
    let cluster = cluster();
    let leader = lan.run(5, "helper_leader", &cluster);
    let mut workers: Vec<Child> =
        (1..=4).map(|machine| lan.run(machine, "helper_worker", &cluster)).collect();
    let output = leader.wait_with_output().unwrap();
    for worker in &mut workers {
        drop(worker.stdin.take());
        worker.wait().unwrap();
    }
    let output = String::from_utf8_lossy(&output.stdout);
    println!("{output}");
    assert!(output.contains("leader saw [1, 2, 3, 4]"), "{output}");
}
