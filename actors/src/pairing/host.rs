//! The device that has the key and shows a code.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{Instant, timeout, timeout_at};

use super::code::Code;
use super::error::PairError;
use super::exchange::{Gift, Seen, answer};
use super::lan::Announcement;
use crate::transport::ClusterKey;

/// Wrong codes that end it.
const TRIES: u32 = 3;

/// How long one device may take.
const EACH: Duration = Duration::from_secs(10);

/// Shows a code until a device has typed it.
pub struct Host {
    listener: TcpListener,
    address: SocketAddr,
    code: Code,
    gift: Gift,
    _announcement: Option<Announcement>,
}

/// A device that has the key now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paired {
    /// Its name, as it says.
    pub name: String,
}

impl Host {
    /// Listens, and announces that over mDNS unless told not to.
    ///
    /// # Errors
    /// When it cannot listen there, or there are no random numbers.
    pub async fn open(
        key: ClusterKey,
        cluster: &str,
        listen: SocketAddr,
        mdns: bool,
    ) -> Result<Host, PairError> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let announcement = match mdns {
            true => Some(Announcement::of(address, cluster)?),
            false => None,
        };
        let gift = Gift { cluster: cluster.to_owned(), key };
        Ok(Host { listener, address, code: Code::generate()?, gift, _announcement: announcement })
    }

    /// What is to be typed on the other device.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for a device with the right code, and gives it the key.
    ///
    /// # Errors
    /// After three wrong codes, or if nobody comes in time.
    pub async fn pair(self, patience: Duration) -> Result<Paired, PairError> {
        let deadline = Instant::now() + patience;
        let mut wrong = 0;
        while wrong < TRIES {
            let nobody =
                |_| PairError::Nobody(format!("nobody typed the code in {} s", patience.as_secs()));
            let (stream, peer) =
                timeout_at(deadline, self.listener.accept()).await.map_err(nobody)??;
            // One after the other, so that guesses cannot be made side by side.
            match timeout(EACH, answer(stream, &self.code, &self.gift)).await {
                Ok(Ok(Seen::Right(name))) => return Ok(Paired { name }),
                Ok(Ok(Seen::Wrong)) => {
                    wrong += 1;
                    tracing::warn!("{peer} has another code ({wrong} of {TRIES})");
                }
                Ok(Err(error)) => tracing::info!("{peer}: {error}"),
                Err(_) => tracing::info!("{peer} takes too long"),
            }
        }
        Err(PairError::Guesses)
    }
}
