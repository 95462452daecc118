//! Workers announce themselves over multicast DNS; leaders browse.
//!
//! The instance name is the node id. It is unique, so probing for conflicts is skipped (it takes
//! most of a second): a worker is found a few round trips after it starts.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::thread;
use std::time::Duration;

use edgeld_runtime::wire::{Hello, NodeId, printable};
use if_addrs::IfAddr;
use mdns_sd::{
    DaemonEvent, IfKind, Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent,
    ServiceInfo,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc::UnboundedSender;

use super::sighting::{SightedDevice, Sighting};
use crate::api::Found;

/// The service type.
pub(super) const SERVICE: &str = "_edgeld._tcp.local.";

/// How long a device has to answer a [`verify`](Mdns::verify) query.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(2);

/// How long sending goodbyes may take.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

/// Devices to remember the announcements of.
const MAX_FOUND: usize = 1024;

/// Longest name in an announcement, in bytes; mDNS limits every field to 255.
const MAX_NAME: usize = 120;

/// The networks to announce and browse on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// This machine only.
    Loopback,
    /// All networks of this machine, and the machine itself.
    Lan,
    /// The network of one address.
    Address(IpAddr),
}

impl Scope {
    /// The scope of a device that listens at `address`.
    pub(crate) fn of(address: SocketAddr) -> Scope {
        match address.ip() {
            ip if ip.is_loopback() => Scope::Loopback,
            ip if ip.is_unspecified() => Scope::Lan,
            ip => Scope::Address(ip),
        }
    }

    fn includes(self, ip: IpAddr) -> bool {
        match self {
            Scope::Loopback => ip.is_loopback(),
            Scope::Lan => true,
            Scope::Address(own) => own == ip,
        }
    }
}

/// Why multicast DNS does not work. Devices can still be named with `--peer`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MdnsError {
    /// No usable interface.
    #[error(
        "no network interface supports multicast (scope: {0:?}); name the other devices with --peer HOST:PORT"
    )]
    NoInterface(Scope),
    /// Another program uses the port exclusively.
    #[error(
        "another program does not share UDP port 5353 ({0}); stop it, or name the other devices with --peer HOST:PORT"
    )]
    Port(String),
    /// The responder failed.
    #[error("multicast DNS: {0}; name the other devices with --peer HOST:PORT")]
    Daemon(String),
}

impl From<mdns_sd::Error> for MdnsError {
    fn from(error: mdns_sd::Error) -> MdnsError {
        MdnsError::Daemon(error.to_string())
    }
}

/// What a worker announces.
#[derive(Debug, Clone)]
pub(crate) struct Announcement {
    /// Its `Hello`, as in the handshake.
    pub hello: Hello,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A responder and browser. Says goodbye when shut down.
pub(crate) struct Mdns {
    daemon: ServiceDaemon,
}

impl Mdns {
    /// Starts the mDNS daemon.
    ///
    /// # Errors
    /// When no interface within `scope` is up, or the mDNS port cannot be shared. Callers can do
    /// without mDNS.
    pub(crate) fn start(scope: Scope) -> Result<Mdns, MdnsError> {
        check(scope)?;
        let daemon = ServiceDaemon::new()?;
        match scope {
            Scope::Lan => {}
            Scope::Loopback => {
                daemon.disable_interface(IfKind::All)?;
                daemon.enable_interface(IfKind::LoopbackV4)?;
            }
            Scope::Address(ip) => {
                daemon.disable_interface(IfKind::All)?;
                daemon.enable_interface(IfKind::Addr(ip))?;
            }
        }
        let events = daemon.monitor()?;
        spawn("edgeld-mdns-log", move || log(&events))?;
        Ok(Mdns { daemon })
    }

    /// Announces a worker until [`Mdns::shutdown`].
    ///
    /// # Errors
    /// When the responder rejects it, e.g. for a cluster name of more than 200 bytes.
    pub(crate) fn announce(&self, announcement: &Announcement) -> Result<(), MdnsError> {
        let Announcement { hello, address } = announcement;
        let id = hello.node.to_string();
        let fields = [
            ("id", id.clone()),
            ("name", truncated(&hello.name)),
            ("proto", format!("{}-{}", hello.protocol.0, hello.protocol.1)),
            ("ver", hello.build.clone()),
            ("cluster", hello.cluster.clone()),
            ("caps", hello.isa.to_string()),
        ];
        let own: &[IpAddr] = match Scope::of(*address) {
            Scope::Lan => &[],
            Scope::Loopback | Scope::Address(_) => &[address.ip()],
        };
        // One host name per node: several on a machine must not answer for each other.
        let host = format!("edgeld-{id}.local.");
        let service = ServiceInfo::new(SERVICE, &id, &host, own, address.port(), &fields[..])?;
        let mut service = if own.is_empty() { service.enable_addr_auto() } else { service };
        if address.is_ipv4() {
            service.set_interfaces(vec![IfKind::IPv4]);
        }
        service.set_requires_probe(false);
        Ok(self.daemon.register(service)?)
    }

    /// Reports the workers of `cluster` to `sightings` until either end is closed.
    ///
    /// # Errors
    /// When the browser cannot be started.
    pub(crate) fn browse(
        &self,
        cluster: &str,
        sightings: UnboundedSender<Sighting>,
    ) -> Result<(), MdnsError> {
        let events = self.daemon.browse(SERVICE)?;
        let browser = Browser { cluster: cluster.to_owned(), found: HashMap::new(), sightings };
        // The responder drops a browser that falls behind, so this thread does nothing else.
        spawn("edgeld-mdns", move || browser.run(&events))
    }

    /// Checks on a device that was lost; if it does not answer, it is reported as gone.
    pub(crate) fn verify(&self, node: NodeId) {
        let queried = self.daemon.verify(format!("{node}.{SERVICE}"), VERIFY_TIMEOUT);
        if let Err(error) = queried {
            tracing::debug!("mDNS: cannot verify {node}: {error}");
        }
    }

    /// Says goodbye and waits until it is sent.
    pub(crate) async fn shutdown(self) {
        match self.daemon.shutdown() {
            Ok(done) => drop(tokio::time::timeout(GOODBYE_TIMEOUT, done.recv_async()).await),
            Err(error) => tracing::debug!("mDNS already ended: {error}"),
        }
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        // Otherwise the daemon's thread would outlive us. A no-op after `shutdown`.
        let _ = self.daemon.shutdown();
    }
}

struct Browser {
    cluster: String,
    found: HashMap<NodeId, SightedDevice>,
    sightings: UnboundedSender<Sighting>,
}

impl Browser {
    fn run(mut self, events: &Receiver<ServiceEvent>) {
        while let Ok(event) = events.recv() {
            let sighting = match event {
                ServiceEvent::ServiceResolved(service) => self.resolved(&service),
                ServiceEvent::ServiceRemoved(_, fullname) => self.removed(&fullname),
                _ => None,
            };
            if sighting.is_some_and(|sighting| self.sightings.send(sighting).is_err()) {
                return;
            }
        }
    }

    fn resolved(&mut self, service: &ResolvedService) -> Option<Sighting> {
        if service.get_property_val_str("cluster")? != self.cluster {
            return None;
        }
        let device = describe(service, &networks())?;
        if self.found.get(&device.node) == Some(&device) {
            return None;
        }
        if self.found.len() >= MAX_FOUND
            && let Some(other) = self.found.keys().next().copied()
        {
            self.found.remove(&other);
        }
        self.found.insert(device.node, device.clone());
        Some(Sighting::Found(device))
    }

    fn removed(&mut self, fullname: &str) -> Option<Sighting> {
        let node = fullname.split('.').next()?.parse().ok()?;
        self.found.remove(&node)?;
        Some(Sighting::Gone { node, found: Found::Mdns })
    }
}

/// The device behind a service; `None` if it is not one of ours, or nowhere on our networks.
fn describe(service: &ResolvedService, networks: &[IfAddr]) -> Option<SightedDevice> {
    let field = |key| service.get_property_val_str(key);
    let node = field("id")?.parse().ok()?;
    let (oldest, newest) = field("proto")?.split_once('-')?;
    let on_link = |address: &&ScopedIp| is_on_link(address.to_ip_addr(), networks);
    let mut addresses: Vec<&ScopedIp> = service.get_addresses().iter().filter(on_link).collect();
    if addresses.is_empty() {
        tracing::debug!("mDNS: {node} is announced without an address on our networks");
        return None;
    }
    addresses.sort_by_key(|address| (dial_rank(address.to_ip_addr()), address.to_ip_addr()));
    Some(SightedDevice {
        node,
        name: printable(field("name")?),
        addresses: addresses.into_iter().map(|ip| dial_address(ip, service.get_port())).collect(),
        found: Found::Mdns,
        protocol: (oldest.parse().ok()?, newest.parse().ok()?),
        build: printable(field("ver")?),
    })
}

/// The networks of this machine.
fn networks() -> Vec<IfAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces.into_iter().map(|interface| interface.addr).collect()
}

/// Whether an address is on one of the `networks` of this machine. Multicast DNS does not leave the link, so
/// another address is a mistake, or sends us to somebody who has nothing to do with this.
fn is_on_link(ip: IpAddr, networks: &[IfAddr]) -> bool {
    let within = |network: &IfAddr| match (ip, network) {
        (IpAddr::V4(ip), IfAddr::V4(own)) => {
            let mask = u32::from(own.netmask);
            u32::from(ip) & mask == u32::from(own.ip) & mask
        }
        (IpAddr::V6(ip), IfAddr::V6(own)) => {
            let mask = u128::from(own.netmask);
            u128::from(ip) & mask == u128::from(own.ip) & mask
        }
        _ => false,
    };
    let is_link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    ip.is_loopback() || is_link_local || networks.iter().any(within)
}

/// Order in which to try addresses. Loopback comes first: it is announced on loopback only.
fn dial_rank(ip: IpAddr) -> u8 {
    match ip {
        ip if ip.is_loopback() => 0,
        IpAddr::V4(ip) if ip.is_link_local() => 3,
        // Default bridge network of container engines.
        IpAddr::V4(ip) if ip.octets()[..2] == [172, 17] => 4,
        IpAddr::V4(_) => 1,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 5,
        IpAddr::V6(_) => 2,
    }
}

/// Formats an address for dialling. A link-local one carries the index of the interface it was
/// heard on, so it is only valid on this machine.
fn dial_address(address: &ScopedIp, port: u16) -> String {
    match address {
        ScopedIp::V6(ip) if ip.addr().is_unicast_link_local() => {
            SocketAddrV6::new(*ip.addr(), port, 0, ip.scope_id().index).to_string()
        }
        other => SocketAddr::new(other.to_ip_addr(), port).to_string(),
    }
}

/// Truncates a name to [`MAX_NAME`] bytes.
fn truncated(name: &str) -> String {
    let end = (0..=MAX_NAME.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name[..end.unwrap_or(0)].to_owned()
}

/// Checks that multicast can work at all, since the daemon does not report it.
fn check(scope: Scope) -> Result<(), MdnsError> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let usable =
        interfaces.iter().any(|interface| interface.is_oper_up() && scope.includes(interface.ip()));
    if !usable {
        return Err(MdnsError::NoInterface(scope));
    }
    share_port().map_err(|error| MdnsError::Port(error.to_string()))
}

fn share_port() -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, mdns_sd::MDNS_PORT)).into())?;
    drop(UdpSocket::from(socket));
    Ok(())
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), MdnsError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(drop).map_err(|error| MdnsError::Daemon(error.to_string()))
}

fn log(events: &Receiver<DaemonEvent>) {
    while let Ok(event) = events.recv() {
        match event {
            DaemonEvent::Error(error) => tracing::warn!("mDNS: {error}"),
            other => tracing::trace!("mDNS: {other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_truncated_between_characters() {
        assert_eq!(truncated("pi"), "pi");
        let long = "ä".repeat(100);
        assert_eq!(truncated(&long), "ä".repeat(60));
        assert_eq!(truncated(&format!("x{long}")).len(), 119);
    }

    #[test]
    fn container_and_link_local_addresses_come_last() {
        let mut ips: Vec<IpAddr> =
            ["fe80::1", "172.17.0.1", "169.254.0.9", "2001:db8::1", "192.168.1.4", "127.0.0.1"]
                .map(|ip| ip.parse().expect("a literal address"))
                .to_vec();
        ips.sort_by_key(|ip| dial_rank(*ip));
        let sorted: Vec<_> = ips.iter().map(IpAddr::to_string).collect();
        let expected =
            ["127.0.0.1", "192.168.1.4", "2001:db8::1", "169.254.0.9", "172.17.0.1", "fe80::1"];
        assert_eq!(sorted, expected);
    }

    #[test]
    fn addresses_elsewhere_are_no_hints() {
        let own = networks();
        assert!(own.iter().all(|network| is_on_link(network.ip(), &own)));
        for near in ["127.0.0.1", "::1", "169.254.7.7", "fe80::7"] {
            assert!(is_on_link(near.parse().unwrap(), &[]), "{near}");
        }
        let home = [IfAddr::V4(if_addrs::Ifv4Addr {
            ip: Ipv4Addr::new(192, 168, 1, 4),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            prefixlen: 24,
            broadcast: None,
        })];
        assert!(is_on_link("192.168.1.200".parse().unwrap(), &home));
        for elsewhere in ["192.168.2.4", "8.8.8.8", "2001:db8::1"] {
            assert!(!is_on_link(elsewhere.parse().unwrap(), &home), "{elsewhere}");
        }
    }

    #[test]
    fn a_foreign_address_has_no_interface() {
        // 192.0.2.0/24 is reserved for documentation.
        let scope = Scope::of(SocketAddr::from(([192, 0, 2, 1], 7070)));
        let error = Mdns::start(scope).err();
        assert_eq!(error, Some(MdnsError::NoInterface(scope)));
    }
}
