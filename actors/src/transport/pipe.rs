//! Byte pipes, and the traits that open them.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncWrite};

/// A boxed future that can be sent between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens byte pipes to other devices.
pub trait Transport: Debug + Send + Sync + 'static {
    /// Starts accepting pipes at `address`, `host:port`; port 0 picks a free one.
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Accept>>>;

    /// The addresses of a name, `host:port`, each for [`dial`](Transport::dial). The address itself,
    /// where there are no names.
    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async { Ok(vec![address.to_owned()]) })
    }

    /// Opens a pipe to a listener at `address`. Looks no name up.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Pipe>>;
}

/// Accepts the pipes that others dial.
pub trait Accept: Send {
    /// The address it accepts at, with the actual port.
    fn address(&self) -> &str;

    /// The next pipe; `None` when no more can arrive. Must be cancel safe.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Option<Pipe>>>;
}

/// An ordered byte stream in each direction.
pub struct Pipe {
    /// Reads what the peer writes.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// Writes what the peer reads.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// The peer's address.
    pub remote: String,
}
