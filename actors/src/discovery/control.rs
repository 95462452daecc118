//! Reads the control connection to a worker.

use actix::prelude::*;
use edgeld_runtime::wire::{NodeId, decode};

use super::messages::{ControlEvent, ControlReceived};
use crate::transport::{Connection, Network, Sender};

/// Reads a worker's messages on the network thread. Each waits until the one before has been handled,
/// also by the sessions, so that a worker that says too much is slowed down instead of queued.
pub(super) fn read_control<D>(
    connection: Connection,
    (node, connection_id): (NodeId, u64),
    discovery: Addr<D>,
    network: &Network,
) -> Sender
where
    D: Actor<Context = Context<D>> + Handler<ControlReceived>,
{
    let (sender, mut receiver) = connection.split();
    let aborter = sender.clone();
    network.spawn(async move {
        loop {
            let event = match receiver.next().await {
                Ok(frame) => match decode(&frame.header) {
                    Ok(message) => ControlEvent::Message(message),
                    Err(error) => {
                        aborter.abort(error);
                        continue;
                    }
                },
                Err(error) => ControlEvent::Closed(error),
            };
            let last = matches!(event, ControlEvent::Closed(_));
            let received = ControlReceived { node, connection_id, event };
            if discovery.send(received).await.is_err() || last {
                return;
            }
        }
    });
    sender
}
