//! Byte pipes within a process, through a switchboard that can slow, delay, cut and sever them.
//!
//! Frames are serialised as for a socket. A cut link is like a pulled cable: data is held back and
//! neither end notices. A severed link is like a TCP reset: both ends notice at once.

mod cable;
mod port;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use edgeld_runtime::units::{Bytes, Mbps};
use tokio::sync::mpsc;

use self::cable::{CableReader, CableWriter, Wire, lay};
use self::port::{Port, lock};
use super::pipe::{Accept, BoxFuture, Pipe, Transport};

/// Pipes waiting to be accepted.
const BACKLOG: usize = 128;

/// Connects the [`Memory`] transports of several devices. Clones share the switchboard.
#[derive(Clone, Default)]
pub struct Switchboard {
    board: Arc<Mutex<Board>>,
}

#[derive(Default)]
struct Board {
    listeners: HashMap<String, ListenerEntry>,
    wires: HashMap<(String, String), Arc<Wire>>,
    ports: HashMap<String, Arc<Mutex<Port>>>,
    next_port: u16,
}

struct ListenerEntry {
    host: String,
    pipes: mpsc::Sender<Pipe>,
}

/// A device's transport over a [`Switchboard`].
#[derive(Clone)]
pub struct Memory {
    host: String,
    switchboard: Switchboard,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({})", self.host)
    }
}

impl Switchboard {
    /// The transport of device `host`, which listens at `host:port`.
    pub fn plug(&self, host: &str) -> Memory {
        Memory { host: host.to_owned(), switchboard: self.clone() }
    }

    /// Adds this one-way delay to all data between two devices from now on.
    pub fn delay(&self, a: &str, b: &str, delay: Duration) {
        self.wire(a, b).change(|wire| wire.delay = delay);
    }

    /// From now on a device's interface carries no more than this, in each direction. At a rate of
    /// zero or less nothing arrives for a day.
    pub fn limit(&self, device: &str, rate: Mbps) {
        lock(&self.port(device)).limit(rate);
    }

    /// Pulls the cable between two devices: no data arrives, and neither end notices.
    pub fn cut(&self, a: &str, b: &str) {
        self.wire(a, b).change(|wire| wire.cut = true);
    }

    /// Plugs the cable back in: data held back arrives.
    pub fn heal(&self, a: &str, b: &str) {
        self.wire(a, b).change(|wire| wire.cut = false);
    }

    /// Resets all connections between two devices.
    pub fn sever(&self, a: &str, b: &str) {
        self.wire(a, b).change(|wire| wire.resets += 1);
    }

    /// Bytes carried between two devices, both ways, handshakes included.
    pub fn carried(&self, a: &str, b: &str) -> Bytes {
        Bytes(self.wire(a, b).carried())
    }

    fn port(&self, device: &str) -> Arc<Mutex<Port>> {
        lock(&self.board).ports.entry(device.to_owned()).or_default().clone()
    }

    fn wire(&self, a: &str, b: &str) -> Arc<Wire> {
        let key = if a <= b { (a, b) } else { (b, a) };
        let mut board = lock(&self.board);
        board.wires.entry((key.0.to_owned(), key.1.to_owned())).or_default().clone()
    }
}

impl Transport for Memory {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Accept>>> {
        Box::pin(async move {
            let mut board = lock(&self.switchboard.board);
            let address = match address.strip_suffix(":0") {
                Some(host) => {
                    board.next_port += 1;
                    format!("{host}:{}", board.next_port)
                }
                None => address.to_owned(),
            };
            if board.listeners.get(&address).is_some_and(|other| !other.pipes.is_closed()) {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            let (pipes, incoming) = mpsc::channel(BACKLOG);
            board
                .listeners
                .insert(address.clone(), ListenerEntry { host: self.host.clone(), pipes });
            Ok(Box::new(MemoryAccept { address, incoming }) as Box<dyn Accept>)
        })
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Pipe>> {
        Box::pin(async move {
            let listener = {
                let board = lock(&self.switchboard.board);
                board.listeners.get(address).map(|other| (other.host.clone(), other.pipes.clone()))
            };
            let (host, pipes) = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
            let wire = self.switchboard.wire(&self.host, &host);
            let (here, there) = (self.switchboard.port(&self.host), self.switchboard.port(&host));
            let (to_there, from_here) = lay(&wire, [&here, &there]);
            let (to_here, from_there) = lay(&wire, [&there, &here]);
            let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
            pipes.send(pipe(from_here, to_here, &self.host)).await.map_err(refused)?;
            Ok(pipe(from_there, to_there, address))
        })
    }
}

struct MemoryAccept {
    address: String,
    incoming: mpsc::Receiver<Pipe>,
}

impl Accept for MemoryAccept {
    fn address(&self) -> &str {
        &self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Option<Pipe>>> {
        // The switchboard keeps the sender until another listener takes over the address.
        Box::pin(async { Ok(self.incoming.recv().await) })
    }
}

fn pipe(reader: CableReader, writer: CableWriter, remote: &str) -> Pipe {
    Pipe { reader: Box::new(reader), writer: Box::new(writer), remote: remote.to_owned() }
}
