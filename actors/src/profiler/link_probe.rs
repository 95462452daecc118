//! How fast is the link to a device? Payloads sent there and echoed by nothing.
//!
//! One side [`measure`]s, the other [`echo`]es: every payload is answered by an empty one, so that
//! goodput is measured in one direction and the round trip in both.

use std::time::Instant;

use edgeld_runtime::cost::LinkProfile;
use edgeld_runtime::units::{Bytes, Mbps, Ms};
use edgeld_runtime::wire::{NodeId, Purpose};

use crate::transport::{Connection, Network, Receiver, Sender, TransportError};

/// Payload of a probe.
const PROBE: usize = 256 << 10;

/// Round trips of nothing, then of payloads.
const ROUNDS: (usize, usize) = (5, 3);

/// Sends nothing, then something, there and back: the shortest times count.
pub(crate) async fn measure(
    network: &Network,
    addresses: &[String],
    node: NodeId,
) -> Result<LinkProfile, TransportError> {
    let connection = network.dial_any(addresses, node, Purpose::Probe).await?;
    let (sender, mut receiver) = connection.split();
    let rtt = fastest(&sender, &mut receiver, 0, ROUNDS.0).await?;
    let loaded = fastest(&sender, &mut receiver, PROBE, ROUNDS.1).await?;
    // A clock is no finer than a microsecond; loopback is that fast.
    let transfer = Ms((loaded - rtt).0.max(1e-3));
    Ok(LinkProfile::described(Mbps::of(Bytes(PROBE as u64), transfer), rtt * 0.5))
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

/// Bytes of echoes that may wait to be sent.
const ECHOES: usize = 64 << 10;

/// Answers every payload of a probe with an empty one.
pub(crate) fn echo(connection: Connection, network: &Network) {
    debug_assert_eq!(connection.peer().purpose, Purpose::Probe);
    let (sender, mut receiver) = connection.split();
    network.spawn(async move {
        while let Ok(frame) = receiver.next().await {
            // A peer that does not read its answers is not heard either.
            let sent = sender.send(frame.header, Vec::new());
            if sent.is_err() || sender.backlog_below(ECHOES).await.is_err() {
                return;
            }
        }
    });
}
