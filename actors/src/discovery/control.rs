//! Reads the control connection to a worker.

use edgeld_runtime::wire::{WorkerMessage, decode};
use tokio::sync::mpsc::UnboundedSender;

use crate::transport::{Connection, Network, Sender, TransportError};

/// What a worker's control connection brings.
#[derive(Debug)]
pub(super) enum ControlEvent {
    /// A message.
    Message(WorkerMessage),
    /// Its end, and why.
    Closed(TransportError),
}

/// Reads a worker's messages for its leader.
pub(super) fn read_control(
    connection: Connection,
    network: &Network,
    events: UnboundedSender<ControlEvent>,
) -> Sender {
    let (sender, mut receiver) = connection.split();
    let cutter = sender.clone();
    network.spawn(async move {
        loop {
            let next = match receiver.next().await {
                Ok(frame) => match decode(&frame.header) {
                    Ok(message) => ControlEvent::Message(message),
                    Err(error) => {
                        cutter.abort(error);
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
