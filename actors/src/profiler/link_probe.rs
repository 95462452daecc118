//! Measures the link to a device.
//!
//! One side calls [`measure`], the other [`echo`]: every payload is answered by the time on the
//! other clock, so goodput is measured in one direction and the round trip in both. [`read_clock`]
//! uses the same answers to find out how far the clocks are apart.

use std::time::{Duration, Instant};

use edgeld_runtime::cost::LinkProfile;
use edgeld_runtime::trace::{ClockOffset, ClockReading};
use edgeld_runtime::units::{Bytes, Mbps, Ms};
use edgeld_runtime::wire::{NodeId, Purpose, decode, encode};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::clock::Clock;
use crate::transport::{Connection, Network, Receiver, Sender, TransportError};

/// Payload of a probe, in bytes.
const PROBE_BYTES: usize = 256 << 10;

/// Round trips without, then with payload.
const ROUNDS: (usize, usize) = (5, 3);

/// Once round trips have taken so long, there are no more of them: a slow link is measured by one.
const LONG: Duration = Duration::from_millis(300);

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
    let begun = Instant::now();
    for round in 0..rounds {
        if round > 0 && begun.elapsed() > LONG {
            break;
        }
        let start = Instant::now();
        sender.send(b"?".to_vec(), vec![0; bytes])?;
        receiver.next().await?;
        shortest = shortest.min(Ms::from_duration(start.elapsed()));
    }
    Ok(shortest)
}

/// Round trips to read a clock.
const READINGS: usize = 8;

/// How long these may take.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Finds out how far a device's clock is from `clock`; `None` if its answers are no times.
pub(crate) async fn read_clock(
    network: &Network,
    addresses: &[String],
    node: NodeId,
    clock: Clock,
) -> Result<Option<ClockOffset>, TransportError> {
    let connection = network.dial_any(addresses, node, Purpose::Probe).await?;
    let (sender, mut receiver) = connection.split();
    let mut readings = Vec::new();
    let read = async {
        for _ in 0..READINGS {
            let sent = clock.now();
            sender.send(b"?".to_vec(), Vec::new())?;
            let answer = receiver.next().await?;
            let received = clock.now();
            if let Ok(read) = decode(&answer.header) {
                readings.push(ClockReading { sent, read, received });
            }
        }
        Ok(())
    };
    // What was read by then is good.
    timeout(READ_TIMEOUT, read).await.unwrap_or(Ok(()))?;
    Ok(ClockOffset::of(readings))
}

/// Bytes of answers queued at a time.
const MAX_BACKLOG: usize = 64 << 10;

/// Answers every frame of a probe with the time and no payload, until the task is aborted.
pub(crate) fn echo(connection: Connection, network: &Network, clock: Clock) -> AbortHandle {
    debug_assert_eq!(connection.peer().purpose, Purpose::Probe);
    let (sender, mut receiver) = connection.split();
    network.spawn(async move {
        while receiver.next().await.is_ok() {
            // Do not read from a peer that does not read its answers.
            let sent = sender.send(encode(&Ms(clock.now().0)), Vec::new());
            if sent.is_err() || sender.backlog_below(MAX_BACKLOG).await.is_err() {
                return;
            }
        }
    })
}
