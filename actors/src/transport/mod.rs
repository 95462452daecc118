//! How devices talk: pipes of bytes, a greeting, then frames.
//!
//! A [`Transport`] only opens pipes of bytes: [`Tcp`] between machines, [`Memory`] within a
//! process. All else is the same code over either: the greeting that tells an EdgeLD device from
//! anything else, frames ([`frame`]), queues, signs of life, and what happens when a link breaks.
//! So a test over [`Memory`] runs what the LAN runs.
//!
//! A [`Network`] owns one thread on which all of a device's connections live. Actors and compute
//! threads only put frames into a queue ([`Sender::send`] never waits) and take frames from one
//! ([`Receiver`]); a busy actor delays neither heartbeats nor reads, so that it never looks dead.
//!
//! ```
//! # use std::sync::Arc;
//! # use edgeld::transport::{Network, Settings, Switchboard};
//! # use edgeld_runtime::kernel::Isa;
//! # use edgeld_runtime::wire::{Hello, NodeId, PROTOCOL, Purpose};
//! # fn hello(id: u128) -> Hello {
//! #     Hello { protocol: PROTOCOL, build: "0.1.0".into(), node: NodeId(id), name: "n".into(),
//! #         cluster: "home".into(), isa: Isa::Plain, threads: 1, memory: 0,
//! #         purpose: Purpose::Control }
//! # }
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! let switchboard = Switchboard::default();
//! let at = |host| Arc::new(switchboard.plug(host));
//! let worker = Network::start(at("worker"), hello(1), Settings::default())?;
//! let leader = Network::start(at("leader"), hello(2), Settings::default())?;
//!
//! let mut listener = worker.listen("worker:7070").await?;
//! let (to_worker, _) = leader.dial("worker:7070", Purpose::Probe).await?.split();
//! to_worker.send(b"header".to_vec(), vec![1, 2, 3])?;
//!
//! let (_, mut from_leader) = listener.accept().await?.split();
//! let frame = from_leader.next().await?;
//! assert_eq!((&frame.header[..], &frame.payload[..]), (&b"header"[..], &[1, 2, 3][..]));
//! # Ok::<(), edgeld::transport::TransportError>(())
//! # }).unwrap();
//! ```

mod connection;
mod error;
pub mod frame;
mod greeting;
mod link;
mod memory;
mod network;
mod tcp;

use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

pub use connection::{Connection, Frame, Receiver, Sender};
pub use error::TransportError;
pub use memory::{Memory, Switchboard};
pub use network::{Listener, Network, Settings};
pub use tcp::{Tcp, check_exposure};

/// A future that may move between threads.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens pipes of bytes to other devices.
pub trait Transport: Send + Sync + 'static {
    /// Starts to accept pipes at `address`, `host:port`; port 0 is any free one.
    fn listen<'a>(&'a self, address: &'a str) -> Pending<'a, io::Result<Box<dyn Accept>>>;

    /// Opens a pipe to a listener at `address`, `host:port`.
    fn dial<'a>(&'a self, address: &'a str) -> Pending<'a, io::Result<Pipe>>;
}

/// Accepts the pipes that others dial.
pub trait Accept: Send {
    /// The address it accepts at, with the port that was chosen.
    fn address(&self) -> &str;

    /// The next pipe; `None` when nobody can dial any more. May be dropped and asked again without
    /// losing one.
    fn accept(&mut self) -> Pending<'_, io::Result<Option<Pipe>>>;
}

/// Bytes, both ways, in order.
pub struct Pipe {
    /// What the other side writes.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What the other side reads.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// This side's address.
    pub local: String,
    /// The other side's address.
    pub remote: String,
}
