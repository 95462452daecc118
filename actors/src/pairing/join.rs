//! The new device.

use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::code::Code;
use super::error::PairError;
use super::exchange::{Gift, ask};
use super::lan;
use crate::transport::ClusterKey;

/// How long the other device may take.
const EACH: Duration = Duration::from_secs(10);

/// What the new device got.
#[derive(Debug)]
pub struct Joined {
    /// The cluster's name.
    pub cluster: String,
    /// Its key.
    pub key: ClusterKey,
}

/// Gets the key from the device that shows this code: the one at `peer`, or the first that mDNS finds.
///
/// # Errors
/// When none is found in time, or the code is another one.
pub async fn join(
    code: &Code,
    name: &str,
    peer: Option<&str>,
    patience: Duration,
) -> Result<Joined, PairError> {
    let stream = match peer {
        Some(peer) => TcpStream::connect(peer).await?,
        // Of several addresses of one device, any.
        None => TcpStream::connect(&lan::find(patience).await?[..]).await?,
    };
    let slow = |_| PairError::Nobody("the other device does not answer".to_owned());
    let Gift { cluster, key } = timeout(EACH, ask(stream, code, name)).await.map_err(slow)??;
    Ok(Joined { cluster, key })
}

#[cfg(test)]
mod tests {
    use super::super::host::Host;
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};

    const LONG: Duration = Duration::from_secs(60);

    async fn host() -> Host {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Host::open(ClusterKey::of([3; 32]), "home", loopback, false).await.unwrap()
    }

    fn another(code: &Code) -> Code {
        let first = if code.to_string().starts_with('1') { '2' } else { '1' };
        format!("{first}{}", &code.to_string()[1..]).parse().unwrap()
    }

    #[tokio::test]
    async fn two_devices_pair_after_a_slip() {
        let host = host().await;
        let (code, address) = (host.code().clone(), host.address().to_string());
        let wrong = another(&code);
        let typing = async {
            let slip = join(&wrong, "attic", Some(&address), LONG).await;
            assert!(matches!(slip, Err(PairError::WrongCode)), "{slip:?}");
            join(&code, "attic", Some(&address), LONG).await
        };
        let (paired, joined) = tokio::join!(host.pair(LONG), typing);
        assert_eq!(paired.unwrap().name, "attic");
        let joined = joined.unwrap();
        assert_eq!((&joined.cluster[..], joined.key.to_text()), ("home", "03".repeat(32)));
    }

    #[tokio::test]
    async fn three_wrong_codes_end_it() {
        let host = host().await;
        let (code, address) = (host.code().clone(), host.address().to_string());
        let wrong = another(&code);
        let guessing = async {
            for _ in 0..3 {
                assert!(join(&wrong, "thief", Some(&address), LONG).await.is_err());
            }
        };
        let (paired, ()) = tokio::join!(host.pair(LONG), guessing);
        assert!(matches!(paired, Err(PairError::Guesses)));
        assert!(join(&code, "attic", Some(&address), LONG).await.is_err());
    }

    #[tokio::test]
    async fn nobody_comes_for_ever() {
        let paired = host().await.pair(Duration::from_millis(1)).await;
        assert!(matches!(paired, Err(PairError::Nobody(_))));
    }
}
