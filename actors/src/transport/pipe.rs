//! Pipes of bytes, and what opens them.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

/// A future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens pipes of bytes to other devices.
pub trait Transport: Debug + Send + Sync + 'static {
    /// Starts to accept pipes at `address`, `host:port`; port 0 is any free one.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Accept>>>;

    /// Opens a pipe to a listener at `address`, `host:port`.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Pipe>>;
}

/// Accepts the pipes that others dial.
pub trait Accept: Send {
    /// The address it accepts at, with the port that was chosen.
    fn address(&self) -> &str;

    /// The next pipe; `None` when nobody can dial any more. May be dropped and asked again without
    /// losing one.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Option<Pipe>>>;
}

/// Bytes, both ways, in order.
pub struct Pipe {
    /// What the other side writes.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What the other side reads.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// The other side's address.
    pub remote: String,
}
