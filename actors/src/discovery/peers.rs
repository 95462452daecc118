//! Finds devices at given addresses.

use std::time::Duration;

use edgeld_runtime::wire::Purpose;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use super::sighting::{SightedDevice, Sighting};
use crate::api::Found;
use crate::transport::{Connection, Network};

/// Shortest and longest pause between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Keeps dialling addresses until it is dropped. It holds a connection to each device it finds, to
/// notice when the device goes away or restarts.
pub(crate) struct Peers {
    tasks: Vec<AbortHandle>,
}

impl Peers {
    /// Starts dialling `addresses`, each `host:port`, and reports to `sightings`. Repeated failures
    /// with the same error are reported once.
    pub(crate) fn watch(
        network: &Network,
        addresses: &[String],
        sightings: &UnboundedSender<Sighting>,
    ) -> Peers {
        let start = |address: &String| {
            network.spawn(watch(network.clone(), address.clone(), sightings.clone()))
        };
        Peers { tasks: addresses.iter().map(start).collect() }
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn watch(network: Network, address: String, sightings: UnboundedSender<Sighting>) {
    let mut pause = FIRST_PAUSE;
    let mut last_error = None;
    while !sightings.is_closed() {
        match network.dial(&address, Purpose::Probe).await {
            Ok(connection) => {
                let node = connection.peer().node;
                (pause, last_error) = (FIRST_PAUSE, None);
                // The loop condition checks whether the receiver is gone.
                let _ = sightings.send(Sighting::Answered { peer: address.clone() });
                let _ = sightings.send(Sighting::Found(describe(&connection)));
                ended(connection).await;
                let _ = sightings.send(Sighting::Gone { node, found: Found::Peer });
            }
            Err(error) if last_error.as_ref() != Some(&error) => {
                last_error = Some(error.clone());
                let _ = sightings.send(Sighting::Failed { peer: address.clone(), error });
            }
            Err(_) => {}
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn describe(connection: &Connection) -> SightedDevice {
    let hello = connection.peer();
    SightedDevice {
        node: hello.node,
        name: hello.name.clone(),
        addresses: vec![connection.address().to_owned()],
        found: Found::Peer,
        protocol: hello.protocol,
        build: hello.build.clone(),
    }
}

async fn ended(connection: Connection) {
    let (_open, mut receiver) = connection.split();
    while receiver.next().await.is_ok() {}
}
