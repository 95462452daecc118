//! Announcements that are false, late or missing: a leader finds what is there all the same.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use edgeld_runtime::wire::{NodeId, PROTOCOL};
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Cluster, Worker, WorkerOptions};
use crate::api::{DeviceInfo, DeviceState, Found, WorkerEvent};
use crate::discovery::{QueryFailures, Sighted, SightedDevice, Sighting};
use crate::transport::{Accept, BoxFuture, Memory, Pipe, Switchboard, Transport};

const PATIENCE: Duration = Duration::from_secs(60);

/// Starts a worker; returns its id, too.
async fn worker(switchboard: &Switchboard, home: &TempDir, listen: &str) -> (Worker, NodeId) {
    let options = WorkerOptions {
        name: Some("worker".to_owned()),
        listen: Some(listen.parse().unwrap()),
        threads: Some(1),
        cluster: "hints".to_owned(),
        mdns: false,
        home: Some(home.path().to_owned()),
        transport: Some(Arc::new(switchboard.plug("worker"))),
        ..WorkerOptions::default()
    };
    let (events, mut told) = unbounded_channel();
    let worker = Worker::start(options, events).await.unwrap();
    let Some(WorkerEvent::Listening { id, .. }) = told.recv().await else { panic!("it listens") };
    (worker, id)
}

/// A leader that looks for nobody: what is sighted, the test says.
async fn leader(transport: impl Transport, home: &TempDir) -> Cluster {
    let builder = Cluster::builder().name("hints").alone().threads(1).home(home.path());
    builder.transport(Arc::new(transport)).discover().await.unwrap()
}

fn announce(leader: &Cluster, node: NodeId, name: &str, address: &str) {
    let sighted = SightedDevice {
        node,
        name: name.to_owned(),
        addresses: vec![address.to_owned()],
        found: Found::Mdns,
        protocol: PROTOCOL,
        build: "test".to_owned(),
    };
    leader.inner.discovery.do_send(Sighted(Sighting::Found(sighted)));
}

async fn until(leader: &Cluster, seen: impl Fn(&[DeviceInfo]) -> bool) {
    let mut devices = leader.inner.devices.clone();
    let waited = timeout(PATIENCE, devices.wait_for(|devices| seen(devices))).await;
    drop(waited.unwrap_or_else(|_| panic!("{:?}", leader.devices())).unwrap());
}

fn is_there(devices: &[DeviceInfo], node: NodeId) -> bool {
    devices.iter().any(|device| device.id == node && device.state == DeviceState::Idle)
}

#[tokio::test]
async fn a_worker_that_restarts_at_once_is_found_without_another_announcement() {
    let switchboard = Switchboard::default();
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (first, node) = worker(&switchboard, &homes[0], "127.0.0.1:7070").await;
    let leader = leader(switchboard.plug("leader"), &homes[1]).await;
    announce(&leader, node, "worker", "127.0.0.1:7070");
    until(&leader, |devices| is_there(devices, node)).await;
    first.stop().await;
    until(&leader, |devices| devices.len() == 1).await;
    // Its identity is free again once the last of its threads has ended.
    let again = async {
        loop {
            let (again, id) = worker(&switchboard, &homes[0], "127.0.0.1:7070").await;
            if id == node {
                return again;
            }
            again.stop().await;
        }
    };
    let again = timeout(PATIENCE, again).await.expect("the same identity");
    until(&leader, |devices| is_there(devices, node)).await;
    leader.shutdown().await;
    again.stop().await;
}

/// A transport that counts how many dials to `false:` addresses are under way; they fail when the
/// gate is open.
#[derive(Debug, Clone)]
struct Counting {
    inner: Memory,
    dialling: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    gate: watch::Receiver<bool>,
}

impl Transport for Counting {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Accept>>> {
        self.inner.listen(address)
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Pipe>> {
        if !address.starts_with("false:") {
            return self.inner.dial(address);
        }
        Box::pin(async move {
            let dialling = 1 + self.dialling.fetch_add(1, Ordering::Relaxed);
            self.most.fetch_max(dialling, Ordering::Relaxed);
            // An error means that the test is over.
            let _ = self.gate.clone().wait_for(|open| *open).await;
            self.dialling.fetch_sub(1, Ordering::Relaxed);
            Err(io::ErrorKind::ConnectionRefused.into())
        })
    }
}

#[tokio::test]
async fn a_thousand_false_announcements_hide_no_device() {
    let switchboard = Switchboard::default();
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (worker, node) = worker(&switchboard, &homes[0], "127.0.0.1:7070").await;
    let (open, gate) = watch::channel(false);
    let inner = switchboard.plug("leader");
    let counting = Counting { inner, dialling: Arc::default(), most: Arc::default(), gate };
    let leader = leader(counting.clone(), &homes[1]).await;
    for number in 0..1000 {
        announce(&leader, NodeId(number), "liar", &format!("false:{number}"));
    }
    announce(&leader, node, "worker", "127.0.0.1:7070");
    // Answered when all announcements have been handled.
    leader.inner.discovery.send(QueryFailures).await.unwrap();
    open.send_replace(true);
    until(&leader, |devices| is_there(devices, node)).await;
    assert!(leader.devices().len() == 2, "{:?}", leader.devices());
    let most = counting.most.load(Ordering::Relaxed);
    assert!((1..=64).contains(&most), "{most} false addresses were dialled at once");
    leader.shutdown().await;
    worker.stop().await;
}
