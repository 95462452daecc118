//! Tasks of the network thread that read a connection and hand on what comes.
//!
//! Each waits until what it handed over has been taken, so that a flooded actor or executor slows
//! its peers down instead of growing.

use actix::Addr;
use edgeld_runtime::wire::{Purpose, SessionId, StripHeader, WorkerMessage, decode};
use tokio::sync::mpsc::UnboundedSender;

use crate::executor::Handle;
use crate::transport::{Connection, Network, Sender, TransportError};
use crate::worker::{ControlEnded, StripsEnded, Told, WorkerActor};

/// Reads a leader's messages.
pub fn control(
    connection: Connection,
    control: u64,
    worker: Addr<WorkerActor>,
    network: &Network,
) -> Sender {
    let (sender, mut receiver) = connection.split();
    let cutter = sender.clone();
    network.spawn(async move {
        let why = loop {
            let frame = match receiver.next().await {
                Ok(frame) => frame,
                Err(error) => break told(&error),
            };
            match decode(&frame.header) {
                Ok(message) => {
                    if worker.send(Told { control, message }).await.is_err() {
                        return;
                    }
                }
                Err(error) => cutter.cut(error),
            }
        };
        worker.do_send(ControlEnded { control, why });
    });
    sender
}

/// Where the strips of a connection go.
pub struct Feed {
    /// Their session.
    pub session: SessionId,
    /// The connection's number.
    pub number: u64,
    /// Bytes of the longest.
    pub limit: usize,
    /// Who takes them.
    pub executor: Handle,
}

/// Reads strips of a session.
pub fn strips(
    connection: Connection,
    feed: Feed,
    worker: Addr<WorkerActor>,
    network: &Network,
) -> Sender {
    let Feed { session, number, limit, executor } = feed;
    let node = connection.peer().node;
    let (sender, mut receiver) = connection.split();
    receiver.limit_payload(limit);
    let from = sender.clone();
    network.spawn(async move {
        let why = loop {
            let frame = match receiver.next().await {
                Ok(frame) => frame,
                Err(error) => break told(&error),
            };
            match decode::<StripHeader>(&frame.header) {
                Ok(header) if header.session == session => {
                    if !executor.strip(header, frame.payload, from.clone()).await {
                        return;
                    }
                }
                Ok(_) => from.cut("a strip of another session"),
                Err(error) => from.cut(error),
            }
        };
        worker.do_send(StripsEnded { session, number, node, why });
    });
    sender
}

/// Bytes of echoes that may wait to be sent.
const ECHOES: usize = 64 << 10;

/// Answers every payload of a probe with an empty one.
pub fn echo(connection: Connection, network: &Network) {
    debug_assert_eq!(connection.peer().purpose, Purpose::Probe);
    let (sender, mut receiver) = connection.split();
    network.spawn(async move {
        while let Ok(frame) = receiver.next().await {
            // A peer that does not read its answers is not heard either.
            let sent = sender.send(frame.header, Vec::new());
            if sent.is_err() || sender.drained(ECHOES).await.is_err() {
                return;
            }
        }
    });
}

/// What a worker's control connection brings.
#[derive(Debug)]
pub enum Heard {
    /// A message.
    Message(WorkerMessage),
    /// Its end, and why.
    Ended(TransportError),
}

/// Reads a worker's messages for its leader.
pub fn worker_messages(
    connection: Connection,
    network: &Network,
    heard: UnboundedSender<Heard>,
) -> Sender {
    let (sender, mut receiver) = connection.split();
    let cutter = sender.clone();
    network.spawn(async move {
        loop {
            let next = match receiver.next().await {
                Ok(frame) => match decode(&frame.header) {
                    Ok(message) => Heard::Message(message),
                    Err(error) => {
                        cutter.cut(error);
                        continue;
                    }
                },
                Err(error) => Heard::Ended(error),
            };
            let last = matches!(next, Heard::Ended(_));
            if heard.send(next).is_err() || last {
                return;
            }
        }
    });
    sender
}

fn told(error: &TransportError) -> String {
    error.to_string()
}
