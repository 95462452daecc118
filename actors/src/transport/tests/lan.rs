//! Two devices over either transport.

use std::io;
use std::sync::Arc;

use edgeld_runtime::kernel::Isa;
use edgeld_runtime::wire::{Hello, Incarnation, NodeId, PROTOCOL, Purpose, SessionId, encode};
use serde::Serialize;
use serde_bytes::ByteBuf;

use crate::transport::connection::Connection;
use crate::transport::frame::{Lengths, MAGIC, REVISION};
use crate::transport::handshake;
use crate::transport::key::ClusterKey;
use crate::transport::memory::Switchboard;
use crate::transport::network::{Listener, Network};
use crate::transport::pipe::{Accept, BoxFuture, Pipe, Transport};
use crate::transport::security::Security;
use crate::transport::settings::Settings;
use crate::transport::tcp::Tcp;

/// A worker and a leader that can reach each other.
pub(super) struct Lan {
    pub(super) worker: Arc<dyn Transport>,
    pub(super) leader: Arc<dyn Transport>,
    /// Where the worker listens.
    pub(super) at: &'static str,
    /// Of both.
    pub(super) security: Security,
}

pub(super) fn tcp() -> Lan {
    let transport = Arc::new(Tcp::default());
    let security = Security::Local;
    Lan { worker: transport.clone(), leader: transport, at: "127.0.0.1:0", security }
}

pub(super) fn memory() -> Lan {
    let board = Switchboard::default();
    let (worker, leader) = (Arc::new(board.plug("w")), Arc::new(board.plug("l")));
    Lan { worker, leader, at: "w:0", security: Security::Local }
}

/// The same devices with a key.
pub(super) fn keyed(lan: Lan) -> Lan {
    Lan { security: Security::Keyed(ClusterKey::generate().unwrap()), ..lan }
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

impl Lan {
    /// Starts a device with a transport of this LAN.
    pub(super) fn start(
        &self,
        transport: &Arc<dyn Transport>,
        me: Hello,
        settings: Settings,
    ) -> Network {
        Network::start(transport.clone(), me, self.security.clone(), settings).unwrap()
    }

    pub(super) async fn worker(&self) -> (Network, Listener) {
        let network = self.start(&self.worker, hello(1), Settings::default());
        let listener = network.listen(self.at).await.unwrap();
        (network, listener)
    }

    pub(super) fn leader(&self) -> Network {
        self.start(&self.leader, hello(2), Settings::default())
    }

    /// Opens a connection by hand, handshake included: what is written to it arrives as it is.
    pub(super) async fn greet(&self, me: &Hello, address: &str) -> Pipe {
        let pipe = self.leader.dial(address).await.unwrap();
        handshake::initiate(pipe, me, self.security.key()).await.unwrap().0
    }
}

pub(super) async fn join(leader: &Network, listener: &mut Listener) -> (Connection, Connection) {
    let address = listener.address().to_owned();
    let (dialled, accepted) = tokio::join!(leader.dial(&address, WEIGHTS), listener.accept());
    (expecting(dialled.unwrap()), expecting(accepted.unwrap()))
}

/// Has a connection for strips or weights expect some.
pub(super) fn expecting(connection: Connection) -> Connection {
    let (sender, receiver) = connection.split();
    receiver.limit_payload(4 << 20);
    Connection::join(sender, receiver)
}

/// What an initiator without a key says first.
#[derive(Serialize)]
struct Opening {
    hello: ByteBuf,
    noise: Option<ByteBuf>,
}

/// The bytes that an initiator without a key sends first.
pub(super) fn opening(me: &Hello) -> Vec<u8> {
    let body = encode(&Opening { hello: ByteBuf::from(encode(me)), noise: None });
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
