//! Finding each other over mDNS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use mdns_sd::{IfKind, ServiceDaemon, ServiceEvent, ServiceInfo};
use tokio::time::timeout;

use super::error::PairError;

/// The service; never announced unless a code is shown.
const SERVICE: &str = "_edgeld-pair._tcp.local.";

/// Announces a device that shows a code, until it is dropped.
pub(super) struct Announcement {
    daemon: ServiceDaemon,
}

impl Announcement {
    /// Announces `address`, under a name that nobody else has.
    pub(super) fn of(address: SocketAddr, cluster: &str) -> Result<Announcement, PairError> {
        let daemon = ServiceDaemon::new().map_err(|error| failed(&error))?;
        let id = getrandom::u64().map_err(|error| PairError::Failed(error.to_string()))?;
        let (id, host) = (format!("{id:016x}"), format!("edgeld-pair-{id:016x}.local."));
        let fields = [("cluster", cluster)];
        let own: &[IpAddr] = if address.ip().is_unspecified() { &[] } else { &[address.ip()] };
        let service = ServiceInfo::new(SERVICE, &id, &host, own, address.port(), &fields[..]);
        let service = service.map_err(|error| failed(&error))?;
        let mut service = if own.is_empty() { service.enable_addr_auto() } else { service };
        service.set_interfaces(vec![IfKind::IPv4]);
        daemon.register(service).map_err(|error| failed(&error))?;
        Ok(Announcement { daemon })
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // Its thread says goodbye and ends; nobody waits for that.
        let _ = self.daemon.shutdown();
    }
}

/// The addresses of the devices that show a code, of the first that answers within `patience`.
pub(super) async fn find(patience: Duration) -> Result<Vec<SocketAddr>, PairError> {
    let daemon = ServiceDaemon::new().map_err(|error| failed(&error))?;
    let events = daemon.browse(SERVICE).map_err(|error| failed(&error))?;
    let first = async {
        while let Ok(event) = events.recv_async().await {
            if let ServiceEvent::ServiceResolved(service) = event {
                let port = service.get_port();
                let ips = service.get_addresses_v4().into_iter().map(IpAddr::V4);
                let addresses: Vec<SocketAddr> = ips.map(|ip| SocketAddr::new(ip, port)).collect();
                if !addresses.is_empty() {
                    return addresses;
                }
            }
        }
        Vec::new()
    };
    let found = timeout(patience, first).await.unwrap_or_default();
    // Its thread ends; nobody waits for that.
    let _ = daemon.shutdown();
    match found.is_empty() {
        false => Ok(found),
        true => Err(PairError::Nobody(format!(
            "no device that shows a code was found within {} s",
            patience.as_secs()
        ))),
    }
}

fn failed(error: &mdns_sd::Error) -> PairError {
    PairError::Failed(format!("mDNS: {error}"))
}
