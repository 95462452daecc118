//! Reads the control connection to a worker.

use edgeld_runtime::wire::{WorkerMessage, decode};
use tokio::sync::mpsc::UnboundedSender;

use crate::transport::{Connection, Network, Sender, TransportError};

/// What arrives on a worker's control connection.
#[derive(Debug)]
pub(super) enum ControlEvent {
    /// A message.
    Message(WorkerMessage),
    /// The connection ended, and why.
    Closed(TransportError),
}

/// Reads a worker's messages on the network thread.
pub(super) fn read_control(
    connection: Connection,
    network: &Network,
    events: UnboundedSender<ControlEvent>,
) -> Sender {
    let (sender, mut receiver) = connection.split();
    let aborter = sender.clone();
    network.spawn(async move {
        loop {
            let next = match receiver.next().await {
                Ok(frame) => match decode(&frame.header) {
                    Ok(message) => ControlEvent::Message(message),
                    Err(error) => {
                        aborter.abort(error);
                        continue;
                    }
                },
                Err(error) => ControlEvent::Closed(error),
            };
            let last = matches!(next, ControlEvent::Closed(_));
            if events.send(next).is_err() || last {
                return;
            }
        }
    });
    sender
}
