//! Measures the link to a device.
//!
//! One side calls [`measure`], the other [`echo`]: every payload is answered by an empty frame, so
//! goodput is measured in one direction and the round trip in both.

use std::time::Instant;

use edgeld_runtime::cost::LinkProfile;
use edgeld_runtime::units::{Bytes, Mbps, Ms};
use edgeld_runtime::wire::{NodeId, Purpose};

use crate::transport::{Connection, Network, Receiver, Sender, TransportError};

/// Payload of a probe, in bytes.
const PROBE_BYTES: usize = 256 << 10;

/// Round trips without, then with payload.
const ROUNDS: (usize, usize) = (5, 3);

/// Times round trips without and with payload; the shortest ones count.
pub(crate) async fn measure(
    network: &Network,
    addresses: &[String],
    node: NodeId,
) -> Result<LinkProfile, TransportError> {
    let connection = network.dial_any(addresses, node, Purpose::Probe).await?;
    let (sender, mut receiver) = connection.split();
    let rtt = fastest(&sender, &mut receiver, 0, ROUNDS.0).await?;
    let loaded = fastest(&sender, &mut receiver, PROBE_BYTES, ROUNDS.1).await?;
    // At least a microsecond, the resolution of the clock: loopback is that fast.
    let transfer = Ms((loaded - rtt).0.max(1e-3));
    Ok(LinkProfile::described(Mbps::of(Bytes(PROBE_BYTES as u64), transfer), rtt * 0.5))
}

async fn fastest(
    sender: &Sender,
    receiver: &mut Receiver,
    bytes: usize,
    rounds: usize,
) -> Result<Ms, TransportError> {
    let mut shortest = Ms(f64::INFINITY);
    for _ in 0..rounds {
        let start = Instant::now();
        sender.send(b"?".to_vec(), vec![0; bytes])?;
        receiver.next().await?;
        shortest = shortest.min(Ms::from_duration(start.elapsed()));
    }
    Ok(shortest)
}

/// Bytes of answers queued at a time.
const MAX_BACKLOG: usize = 64 << 10;

/// Answers every frame of a probe with an empty payload.
pub(crate) fn echo(connection: Connection, network: &Network) {
    debug_assert_eq!(connection.peer().purpose, Purpose::Probe);
    let (sender, mut receiver) = connection.split();
    network.spawn(async move {
        while let Ok(frame) = receiver.next().await {
            // Do not read from a peer that does not read its answers.
            let sent = sender.send(frame.header, Vec::new());
            if sent.is_err() || sender.backlog_below(MAX_BACKLOG).await.is_err() {
                return;
            }
        }
    });
}
