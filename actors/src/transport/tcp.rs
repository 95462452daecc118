//! Byte pipes between machines.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::timeout;

use super::error::TransportError;
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

/// Checks that a worker may listen at `address`: beyond this machine only with `insecure`, since
/// anyone who reaches the port can use the device.
///
/// # Errors
/// [`TransportError::Exposed`].
pub(crate) fn check_exposure(address: SocketAddr, insecure: bool) -> Result<(), TransportError> {
    let local = match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.to_canonical().is_loopback(),
    };
    if local || insecure {
        return Ok(());
    }
    Err(TransportError::Exposed { address: address.to_string() })
}

impl Transport for Tcp {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Accept>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?.to_string();
            Ok(Box::new(TcpAccept { listener, address }) as Box<dyn Accept>)
        })
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Pipe>> {
        Box::pin(async move {
            let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            for resolved in lookup_host(address).await? {
                match timeout(self.connect, TcpStream::connect(resolved)).await {
                    Ok(Ok(stream)) => return pipe(stream),
                    Ok(Err(error)) => failed = error,
                    Err(_) => failed = no_answer(self.connect),
                }
            }
            Err(failed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_this_machine_only_when_asked_for() {
        let address = |text: &str| text.parse().expect("a literal address");
        for local in ["127.0.0.1:7070", "127.9.9.9:0", "[::1]:7070", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(check_exposure(address(local), false), Ok(()));
        }
        for exposed in ["0.0.0.0:7070", "192.168.1.4:7070", "[::]:7070", "[fe80::1]:7070"] {
            let error = check_exposure(address(exposed), false).expect_err(exposed).to_string();
            assert!(error.contains("--insecure") && error.contains(exposed), "{error}");
            assert_eq!(check_exposure(address(exposed), true), Ok(()));
        }
    }
}
