//! Byte pipes between machines.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::timeout;

use super::pipe::{Accept, BoxFuture, Pipe, Transport};

/// Idle time after which the system probes a silent peer.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// TCP with `TCP_NODELAY`.
#[derive(Debug, Clone)]
pub struct Tcp {
    /// How long to wait for each address to answer.
    pub connect: Duration,
}

impl Default for Tcp {
    fn default() -> Tcp {
        Tcp { connect: Duration::from_secs(2) }
    }
}

impl Transport for Tcp {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Accept>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?.to_string();
            Ok(Box::new(TcpAccept { listener, address }) as Box<dyn Accept>)
        })
    }

    fn resolve<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async move {
            Ok(lookup_host(address).await?.map(|resolved| resolved.to_string()).collect())
        })
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Pipe>> {
        Box::pin(async move {
            let address: SocketAddr = address
                .parse()
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not an IP address"))?;
            match timeout(self.connect, TcpStream::connect(address)).await {
                Ok(connected) => pipe(connected?),
                Err(_) => Err(no_answer(self.connect)),
            }
        })
    }
}

struct TcpAccept {
    listener: TcpListener,
    address: String,
}

impl Accept for TcpAccept {
    fn address(&self) -> &str {
        &self.address
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Option<Pipe>>> {
        Box::pin(async {
            loop {
                let (stream, from) = self.listener.accept().await?;
                match pipe(stream) {
                    Ok(pipe) => return Ok(Some(pipe)),
                    Err(error) => tracing::debug!("{from} disconnected at once: {error}"),
                }
            }
        })
    }
}

fn pipe(stream: TcpStream) -> io::Result<Pipe> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    let remote = stream.peer_addr()?.to_string();
    let (reader, writer) = stream.into_split();
    Ok(Pipe { reader: Box::new(reader), writer: Box::new(writer), remote })
}

fn no_answer(after: Duration) -> io::Error {
    let text = format!("no answer within {} ms", after.as_millis());
    io::Error::new(io::ErrorKind::TimedOut, text)
}
