//! Sends chunks of a model to devices that ask for them.

use std::sync::Arc;

use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::weights::WeightSource;
use edgeld_runtime::wire::{WeightsMessage, decode, encode};

use super::chunks::ChunkStore;
use crate::transport::Connection;

/// Bytes of chunks queued for one device at a time.
const MAX_BACKLOG: usize = 4 << 20;

/// Chunks of a model that can be sent.
#[derive(Clone)]
pub(crate) enum Supply {
    /// All of them, read from the model: on the leader.
    Model(Arc<Manifest>, Arc<dyn WeightSource>),
    /// Those that are on disk: on any other device.
    Store(Arc<Manifest>, Arc<ChunkStore>),
}

impl Supply {
    /// A chunk's bytes, or why it cannot be sent.
    fn read(&self, chunk: u32) -> Result<Vec<u8>, String> {
        match self {
            Supply::Model(manifest, weights) => {
                manifest.read(chunk, &**weights).map_err(|error| error.to_string())
            }
            Supply::Store(manifest, store) => {
                let known = manifest.chunks().get(chunk as usize);
                let bytes = known.and_then(|chunk| store.read(&chunk.hash));
                bytes.ok_or_else(|| "it is not on this device".to_owned())
            }
        }
    }

    /// Answers requests over a connection until it ends.
    pub(crate) async fn serve(self, connection: Connection) {
        let (sender, mut receiver) = connection.split();
        while let Ok(frame) = receiver.next().await {
            let Ok(WeightsMessage::Fetch { chunks }) = decode(&frame.header) else {
                return sender.abort("expected a request for chunks");
            };
            for chunk in chunks {
                let supply = self.clone();
                let read = tokio::task::spawn_blocking(move || supply.read(chunk)).await;
                let read = read.unwrap_or_else(|error| Err(error.to_string()));
                let (message, payload) = match read {
                    Ok(bytes) => (WeightsMessage::Chunk { chunk }, bytes),
                    Err(error) => (WeightsMessage::Unavailable { chunk, error }, Vec::new()),
                };
                let sent = sender.send(encode(&message), payload);
                if sent.is_err() || sender.backlog_below(MAX_BACKLOG).await.is_err() {
                    return;
                }
            }
        }
    }
}
