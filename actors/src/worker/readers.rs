//! Tasks on the network thread that read connections and pass on what arrives.
//!
//! Each waits until its last message has been accepted, so a busy actor or executor slows its peers
//! down instead of queueing without bound.

use actix::prelude::*;
use edgeld_runtime::wire::{SessionId, StripHeader, decode};

use super::executor::ExecutorHandle;
use super::messages::{Accepted, ControlEnded, LeaderSent, StripsEnded};
use crate::transport::{Connection, Listener, Network, Sender};

/// Bytes of answers queued for a leader whose next message is read.
const MAX_BACKLOG: usize = 1 << 20;

/// Passes accepted connections to the worker until either ends.
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

/// Reads a leader's control connection.
pub(super) fn read_control<W>(
    connection: Connection,
    control_id: u64,
    worker: Addr<W>,
    network: &Network,
) -> Sender
where
    W: Actor<Context = Context<W>> + Handler<LeaderSent> + Handler<ControlEnded>,
{
    let (sender, mut receiver) = connection.split();
    let aborter = sender.clone();
    network.spawn(async move {
        let why = loop {
            let frame = match receiver.next().await {
                Ok(frame) => frame,
                Err(error) => break error.to_string(),
            };
            // A leader that does not read its answers gets no more of them.
            if let Err(error) = aborter.backlog_below(MAX_BACKLOG).await {
                break error.to_string();
            }
            match decode(&frame.header) {
                Ok(message) => {
                    if worker.send(LeaderSent { control_id, message }).await.is_err() {
                        return;
                    }
                }
                Err(error) => aborter.abort(error),
            }
        };
        worker.do_send(ControlEnded { control_id, why });
    });
    sender
}

/// How to read a connection for strips.
pub(super) struct StripReader {
    /// The session.
    pub session: SessionId,
    /// The connection.
    pub connection_id: u64,
    /// Longest strip, in bytes.
    pub limit: usize,
    /// Receives the strips.
    pub executor: ExecutorHandle,
}

/// Reads the strips of a session.
pub(super) fn read_strips<W>(
    connection: Connection,
    reader: StripReader,
    worker: Addr<W>,
    network: &Network,
) -> Sender
where
    W: Actor<Context = Context<W>> + Handler<StripsEnded>,
{
    let StripReader { session, connection_id, limit, executor } = reader;
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
                Ok(_) => from.abort("the strip belongs to another session"),
                Err(error) => from.abort(error),
            }
        };
        worker.do_send(StripsEnded { session, connection_id, why });
    });
    sender
}
