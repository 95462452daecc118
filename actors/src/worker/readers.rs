//! Tasks of the network thread that read a connection and hand on what comes.
//!
//! Each waits until what it handed over has been taken, so that a flooded actor or executor slows
//! its peers down instead of growing.

use actix::prelude::*;
use edgeld_runtime::wire::{SessionId, StripHeader, decode};

use super::executor::ExecutorHandle;
use super::messages::{Accepted, ControlEnded, LeaderSent, StripsEnded};
use crate::transport::{Connection, Listener, Network, Sender};

/// Hands the connections that peers open to the worker, until either has ended.
pub(crate) fn accept<W>(mut listener: Listener, worker: Addr<W>, network: &Network)
where
    W: Actor<Context = Context<W>> + Handler<Accepted>,
{
    network.spawn(async move {
        while let Ok(connection) = listener.accept().await {
            if worker.send(Accepted(connection)).await.is_err() {
                return;
            }
        }
    });
}

/// Reads a leader's messages.
pub(super) fn read_control<W>(
    connection: Connection,
    control: u64,
    worker: Addr<W>,
    network: &Network,
) -> Sender
where
    W: Actor<Context = Context<W>> + Handler<LeaderSent> + Handler<ControlEnded>,
{
    let (sender, mut receiver) = connection.split();
    let cutter = sender.clone();
    network.spawn(async move {
        let why = loop {
            let frame = match receiver.next().await {
                Ok(frame) => frame,
                Err(error) => break error.to_string(),
            };
            match decode(&frame.header) {
                Ok(message) => {
                    if worker.send(LeaderSent { control, message }).await.is_err() {
                        return;
                    }
                }
                Err(error) => cutter.abort(error),
            }
        };
        worker.do_send(ControlEnded { control, why });
    });
    sender
}

/// Where the strips of a connection go.
pub(super) struct StripReader {
    /// Their session.
    pub session: SessionId,
    /// The connection's number.
    pub number: u64,
    /// Bytes of the longest.
    pub limit: usize,
    /// Who takes them.
    pub executor: ExecutorHandle,
}

/// Reads strips of a session.
pub(super) fn read_strips<W>(
    connection: Connection,
    reader: StripReader,
    worker: Addr<W>,
    network: &Network,
) -> Sender
where
    W: Actor<Context = Context<W>> + Handler<StripsEnded>,
{
    let StripReader { session, number, limit, executor } = reader;
    let node = connection.peer().node;
    let (sender, mut receiver) = connection.split();
    receiver.limit_payload(limit);
    let from = sender.clone();
    network.spawn(async move {
        let why = loop {
            let frame = match receiver.next().await {
                Ok(frame) => frame,
                Err(error) => break error.to_string(),
            };
            match decode::<StripHeader>(&frame.header) {
                Ok(header) if header.session == session => {
                    if !executor.send_strip(header, frame.payload, from.clone()).await {
                        return;
                    }
                }
                Ok(_) => from.abort("a strip of another session"),
                Err(error) => from.abort(error),
            }
        };
        worker.do_send(StripsEnded { session, number, node, why });
    });
    sender
}
