//! Two devices over either transport.

use std::io;
use std::sync::Arc;

use edgeld_runtime::kernel::Isa;
use edgeld_runtime::wire::{Hello, Incarnation, NodeId, PROTOCOL, Purpose, SessionId, encode};

use crate::transport::connection::Connection;
use crate::transport::frame::{Lengths, MAGIC, REVISION};
use crate::transport::memory::Switchboard;
use crate::transport::network::{Listener, Network};
use crate::transport::pipe::{Accept, BoxFuture, Pipe, Transport};
use crate::transport::settings::Settings;
use crate::transport::tcp::Tcp;

/// A worker and a leader that can reach each other.
pub(super) struct Lan {
    pub(super) worker: Arc<dyn Transport>,
    pub(super) leader: Arc<dyn Transport>,
    /// Where the worker listens.
    pub(super) at: &'static str,
}

pub(super) fn tcp() -> Lan {
    let transport = Arc::new(Tcp::default());
    Lan { worker: transport.clone(), leader: transport, at: "127.0.0.1:0" }
}

pub(super) fn memory() -> Lan {
    let board = Switchboard::default();
    Lan { worker: Arc::new(board.plug("w")), leader: Arc::new(board.plug("l")), at: "w:0" }
}

pub(super) const STRIPS: Purpose = Purpose::Strips(SessionId(7));

/// A connection that carries nothing but what a test sends: no heartbeats.
pub(super) const WEIGHTS: Purpose = Purpose::Weights(SessionId(7));

pub(super) fn hello(node: u128) -> Hello {
    Hello {
        protocol: PROTOCOL,
        build: "0.1.0".to_owned(),
        node: NodeId(node),
        incarnation: Incarnation::default(),
        name: format!("device-{node}"),
        cluster: "home".to_owned(),
        isa: Isa::Plain,
        threads: 1,
        memory: 0,
        purpose: Purpose::Control,
    }
}

pub(super) fn start(transport: &Arc<dyn Transport>, me: Hello, settings: Settings) -> Network {
    Network::start(transport.clone(), me, settings).unwrap()
}

impl Lan {
    pub(super) async fn worker(&self) -> (Network, Listener) {
        let network = start(&self.worker, hello(1), Settings::default());
        let listener = network.listen(self.at).await.unwrap();
        (network, listener)
    }

    pub(super) fn leader(&self) -> Network {
        start(&self.leader, hello(2), Settings::default())
    }
}

pub(super) async fn join(leader: &Network, listener: &mut Listener) -> (Connection, Connection) {
    let address = listener.address().to_owned();
    let (dialled, accepted) = tokio::join!(leader.dial(&address, WEIGHTS), listener.accept());
    (dialled.unwrap(), accepted.unwrap())
}

/// The bytes that an initiator sends first.
pub(super) fn handshake(me: &Hello) -> Vec<u8> {
    let body = encode(me);
    let lengths = Lengths { header: body.len(), payload: 0 };
    [&MAGIC[..], &[REVISION], &lengths.prefix(), &body].concat()
}

/// A transport whose listeners fail twice before each pipe.
#[derive(Debug)]
pub(super) struct ShortOfFiles(pub(super) Arc<dyn Transport>);

struct Reluctant {
    accept: Box<dyn Accept>,
    failures: usize,
}

impl Transport for ShortOfFiles {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Accept>>> {
        Box::pin(async move {
            let accept = self.0.listen(address).await?;
            Ok(Box::new(Reluctant { accept, failures: 0 }) as Box<dyn Accept>)
        })
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Pipe>> {
        self.0.dial(address)
    }
}

impl Accept for Reluctant {
    fn address(&self) -> &str {
        self.accept.address()
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Option<Pipe>>> {
        self.failures = (self.failures + 1) % 3;
        match self.failures {
            0 => self.accept.accept(),
            _ => Box::pin(async { Err(io::Error::other("too many open files")) }),
        }
    }
}
