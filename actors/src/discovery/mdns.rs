//! Workers announce themselves over multicast DNS; leaders listen.
//!
//! The instance name is the node id, unique by itself, so that it needs no probing for conflicts
//! (which takes most of a second): a worker is found a few round trips after it starts.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::thread;
use std::time::Duration;

use edgeld_runtime::wire::{Hello, NodeId};
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

/// How long a device has to answer when it is asked after.
const VERIFY: Duration = Duration::from_secs(2);

/// How long a goodbye may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// Bytes of a name in an announcement, whose every field is limited to 255.
const MAX_NAME: usize = 120;

/// How far announcements and searches go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// This machine only.
    Loopback,
    /// All its networks, this machine included.
    Lan,
    /// The network of one of its addresses.
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

/// Why there is no multicast DNS. Devices can still be named with `--peer`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MdnsError {
    /// No interface to speak on.
    #[error(
        "no network interface of this machine takes part in multicast ({0:?}): name the other devices with --peer HOST:PORT"
    )]
    NoInterface(Scope),
    /// The port is held by somebody who does not share it.
    #[error(
        "UDP port 5353 cannot be shared with what holds it ({0}): stop that program, or name the other devices with --peer HOST:PORT"
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

/// What a worker says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Announcement {
    /// Who it is: the same that it greets with.
    pub hello: Hello,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A responder and browser. Says goodbye when it is shut down.
pub(crate) struct Mdns {
    daemon: ServiceDaemon,
}

impl Mdns {
    /// Starts to take part.
    ///
    /// # Errors
    /// When the machine has no interface within `scope` that multicast works on, or its port is
    /// taken. The caller goes on without.
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
    /// When the responder will not take it, for a cluster name of more than 200 bytes, say.
    pub(crate) fn announce(&self, announcement: &Announcement) -> Result<(), MdnsError> {
        let Announcement { hello, address } = announcement;
        let id = hello.node.to_string();
        let fields = [
            ("id", id.clone()),
            ("name", shortened(&hello.name)),
            ("proto", format!("{}-{}", hello.protocol.0, hello.protocol.1)),
            ("ver", hello.build.clone()),
            ("cluster", hello.cluster.clone()),
            ("caps", hello.isa.to_string()),
        ];
        let own: &[IpAddr] = match Scope::of(*address) {
            Scope::Lan => &[],
            Scope::Loopback | Scope::Address(_) => &[address.ip()],
        };
        // One host name for each node: several on a machine must not answer for each other.
        let host = format!("edgeld-{id}.local.");
        let service = ServiceInfo::new(SERVICE, &id, &host, own, address.port(), &fields[..])?;
        let mut service = if own.is_empty() { service.enable_addr_auto() } else { service };
        if address.is_ipv4() {
            service.set_interfaces(vec![IfKind::IPv4]);
        }
        service.set_requires_probe(false);
        Ok(self.daemon.register(service)?)
    }

    /// Tells of the workers of `cluster` on `sightings`, until that is closed or this is shut down.
    ///
    /// # Errors
    /// When the browser cannot be started.
    pub(crate) fn browse(
        &self,
        cluster: &str,
        sightings: UnboundedSender<Sighting>,
    ) -> Result<(), MdnsError> {
        let events = self.daemon.browse(SERVICE)?;
        let browser = Browser { cluster: cluster.to_owned(), known: HashMap::new(), sightings };
        // The responder drops a browser that lets its events pile up: this thread only takes them.
        spawn("edgeld-mdns", move || browser.run(&events))
    }

    /// Asks after a device that was missed; if it does not answer, it is told as gone.
    pub(crate) fn verify(&self, node: NodeId) {
        let asked = self.daemon.verify(format!("{node}.{SERVICE}"), VERIFY);
        if let Err(error) = asked {
            tracing::debug!("mDNS: cannot ask after {node}: {error}");
        }
    }

    /// Says goodbye and waits until that is sent.
    pub(crate) async fn shutdown(self) {
        match self.daemon.shutdown() {
            Ok(done) => drop(tokio::time::timeout(FAREWELL, done.recv_async()).await),
            Err(error) => tracing::debug!("mDNS has ended before: {error}"),
        }
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        // Its thread would outlive us; after `shutdown` there is nothing left to end.
        let _ = self.daemon.shutdown();
    }
}

struct Browser {
    cluster: String,
    known: HashMap<NodeId, SightedDevice>,
    sightings: UnboundedSender<Sighting>,
}

impl Browser {
    fn run(mut self, events: &Receiver<ServiceEvent>) {
        while let Ok(event) = events.recv() {
            let sighting = match event {
                ServiceEvent::ServiceResolved(service) => self.found(&service),
                ServiceEvent::ServiceRemoved(_, fullname) => self.gone(&fullname),
                _ => None,
            };
            if sighting.is_some_and(|sighting| self.sightings.send(sighting).is_err()) {
                return;
            }
        }
    }

    fn found(&mut self, service: &ResolvedService) -> Option<Sighting> {
        if service.get_property_val_str("cluster")? != self.cluster {
            return None;
        }
        let device = describe(service)?;
        if self.known.get(&device.node) == Some(&device) {
            return None;
        }
        self.known.insert(device.node, device.clone());
        Some(Sighting::Found(device))
    }

    fn gone(&mut self, fullname: &str) -> Option<Sighting> {
        let node = fullname.split('.').next()?.parse().ok()?;
        self.known.remove(&node)?;
        Some(Sighting::Gone { node, found: Found::Mdns })
    }
}

/// What a service says of its device; `None` where it is none of ours.
fn describe(service: &ResolvedService) -> Option<SightedDevice> {
    let field = |key| service.get_property_val_str(key);
    let node = field("id")?.parse().ok()?;
    let (oldest, newest) = field("proto")?.split_once('-')?;
    let mut addresses: Vec<&ScopedIp> = service.get_addresses().iter().collect();
    addresses.sort_by_key(|address| (promise(address.to_ip_addr()), address.to_ip_addr()));
    Some(SightedDevice {
        node,
        name: field("name")?.to_owned(),
        addresses: addresses.into_iter().map(|ip| dialled(ip, service.get_port())).collect(),
        found: Found::Mdns,
        protocol: (oldest.parse().ok()?, newest.parse().ok()?),
        build: field("ver")?.to_owned(),
    })
}

/// How late an address is to be tried. Loopback comes first: it is announced on loopback only.
fn promise(ip: IpAddr) -> u8 {
    match ip {
        ip if ip.is_loopback() => 0,
        IpAddr::V4(ip) if ip.is_link_local() => 3,
        // Where container engines put their bridges.
        IpAddr::V4(ip) if ip.octets()[..2] == [172, 17] => 4,
        IpAddr::V4(_) => 1,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 5,
        IpAddr::V6(_) => 2,
    }
}

/// An address to dial. A link-local one carries the index of the interface that it was heard on,
/// and so means nothing on another machine.
fn dialled(address: &ScopedIp, port: u16) -> String {
    match address {
        ScopedIp::V6(ip) if ip.addr().is_unicast_link_local() => {
            SocketAddrV6::new(*ip.addr(), port, 0, ip.scope_id().index).to_string()
        }
        other => SocketAddr::new(other.to_ip_addr(), port).to_string(),
    }
}

/// Cut to what an announcement holds.
fn shortened(name: &str) -> String {
    let end = (0..=MAX_NAME.min(name.len())).rev().find(|end| name.is_char_boundary(*end));
    name[..end.unwrap_or(0)].to_owned()
}

/// Whether multicast can work at all: the responder itself would keep silent about it.
fn check(scope: Scope) -> Result<(), MdnsError> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let here =
        interfaces.iter().any(|interface| interface.is_oper_up() && scope.includes(interface.ip()));
    if !here {
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
    fn names_are_cut_between_characters() {
        assert_eq!(shortened("pi"), "pi");
        let long = "ä".repeat(100);
        assert_eq!(shortened(&long), "ä".repeat(60));
        assert_eq!(shortened(&format!("x{long}")).len(), 119);
    }

    #[test]
    fn addresses_of_containers_and_of_one_link_come_late() {
        let mut ips: Vec<IpAddr> =
            ["fe80::1", "172.17.0.1", "169.254.0.9", "2001:db8::1", "192.168.1.4", "127.0.0.1"]
                .map(|ip| ip.parse().expect("a literal address"))
                .to_vec();
        ips.sort_by_key(|ip| promise(*ip));
        let sorted: Vec<_> = ips.iter().map(IpAddr::to_string).collect();
        let expected =
            ["127.0.0.1", "192.168.1.4", "2001:db8::1", "169.254.0.9", "172.17.0.1", "fe80::1"];
        assert_eq!(sorted, expected);
    }

    #[test]
    fn an_address_that_is_not_here_has_no_interface() {
        // 192.0.2.0/24 is for documentation: no machine has it.
        let scope = Scope::of(SocketAddr::from(([192, 0, 2, 1], 7070)));
        let error = Mdns::start(scope).err();
        assert_eq!(error, Some(MdnsError::NoInterface(scope)));
    }
}
