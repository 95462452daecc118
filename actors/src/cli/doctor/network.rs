//! The network as this machine sees it: interfaces, multicast, the port, the key.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use edgeld::transport::{ClusterKey, KeyError};
use socket2::{Domain, Protocol, Socket, Type};

use super::super::args::MembershipArgs;
use super::finding::Finding;

/// mDNS' group and port. What is sent there is no DNS, and whoever else listens drops it.
const GROUP: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);

/// What is sent.
const CALL: &[u8] = b"edgeld doctor";

/// How long a packet to oneself may take.
const SOON: Duration = Duration::from_millis(500);

/// The port that workers take if it is free.
const PORT: u16 = 7070;

/// Flags of interfaces, as Linux has them.
const UP: u32 = 0x1;
const MULTICAST: u32 = 0x1000;

/// An interface with an address of version 4.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Interface {
    name: String,
    address: Ipv4Addr,
    /// As Linux has them, where it says and it is no tunnel.
    flags: Option<u32>,
    /// Mbit/s, where it is wired.
    speed: Option<u64>,
    is_wireless: bool,
}

/// Looks at the network of the machine whose files are below `root`.
pub fn findings(root: &Path, membership: &MembershipArgs) -> Vec<Finding> {
    let mut found = vec![key(membership)];
    let interfaces = interfaces(root);
    found.extend(judge(&interfaces));
    if !membership.no_mdns {
        for interface in &interfaces {
            found.push(multicast(&interface.name, hears_itself(interface.address)));
        }
    }
    found.push(port(TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).map(drop)));
    found
}

fn key(membership: &MembershipArgs) -> Finding {
    match &membership.key {
        Some(file) => match ClusterKey::read(file) {
            Ok(_) => Finding::ok("key", format!("{} can be used", file.display())),
            Err(error) => {
                let name = file.display();
                let remedy = match error {
                    KeyError::Exposed { .. } => format!("chmod 600 {name}"),
                    _ => format!("edgeld key new {name}, copied to every device"),
                };
                Finding::error("key", error.to_string(), remedy)
            }
        },
        None if membership.insecure => Finding::warning(
            "key",
            "anyone on the network can use the devices and read what they send",
            "edgeld key new cluster.key, copied to every device, then --key cluster.key",
        ),
        None => Finding::warning(
            "key",
            "without a key only processes of this machine work together",
            "edgeld key new cluster.key, copied to every device, then --key cluster.key",
        ),
    }
}

fn interfaces(root: &Path) -> Vec<Interface> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        let IpAddr::V4(address) = interface.ip() else { continue };
        if interface.is_loopback() {
            continue;
        }
        let name = interface.name.clone();
        found.entry(name.clone()).or_insert_with(|| about(root, name, address));
    }
    found.into_values().collect()
}

fn about(root: &Path, name: String, address: Ipv4Addr) -> Interface {
    let folder = root.join("sys/class/net").join(&name);
    let text = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let flags = text("flags")
        .and_then(|text| u32::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok());
    // Tunnels have made-up speeds, and devices are not looked for behind them.
    let is_tunnel =
        text("tun_flags").is_some() || text("type").is_some_and(|kind| kind.trim() != "1");
    let flags = flags.filter(|_| !is_tunnel);
    // Unknown speeds are -1.
    let speed = text("speed").and_then(|text| text.trim().parse().ok()).filter(|_| !is_tunnel);
    let is_wireless = folder.join("wireless").exists();
    Interface { name, address, flags, speed, is_wireless }
}

fn judge(interfaces: &[Interface]) -> Vec<Finding> {
    if interfaces.is_empty() {
        return vec![Finding::error(
            "interface",
            "no interface has an address: other devices cannot be reached",
            "ip -4 address; then plug in a cable or join the Wi-Fi",
        )];
    }
    let judge = |one: &Interface| {
        let Interface { name, address, .. } = one;
        match one {
            Interface { flags: Some(flags), .. } if flags & UP == 0 => Finding::warning(
                "interface",
                format!("{name} ({address}) is down"),
                format!("sudo ip link set {name} up"),
            ),
            Interface { flags: Some(flags), .. } if flags & MULTICAST == 0 => Finding::warning(
                "interface",
                format!("{name} ({address}) carries no multicast: devices there are not found"),
                format!("sudo ip link set {name} multicast on, or name devices with --peer"),
            ),
            Interface { speed: Some(speed), .. } if *speed < 1000 => Finding::warning(
                "interface",
                format!("{name} ({address}) runs at {speed} Mbit/s"),
                "use a cable with four pairs, and a switch for 1000 Mbit/s",
            ),
            Interface { is_wireless: true, .. } if interfaces.len() == 1 => Finding::warning(
                "interface",
                format!("{name} ({address}) is wireless: devices share its medium"),
                "use a cable where there is one",
            ),
            _ => Finding::ok("interface", format!("{name} ({address}) is up")),
        }
    };
    interfaces.iter().map(judge).collect()
}

/// Sends a packet to a group over an interface, and receives it there.
fn hears_itself(interface: Ipv4Addr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // Other programs listen there, too.
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, GROUP.1)).into())?;
    socket.set_multicast_if_v4(&interface)?;
    socket.set_multicast_loop_v4(true)?;
    // It stays on the link, as mDNS does.
    socket.set_multicast_ttl_v4(1)?;
    socket.join_multicast_v4(&GROUP.0, &interface)?;
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(SOON))?;
    socket.send_to(CALL, GROUP)?;
    let (deadline, mut packet) = (Instant::now() + SOON, [0; 2048]);
    while Instant::now() < deadline {
        let length = socket.recv(&mut packet)?;
        if &packet[..length] == CALL {
            return Ok(());
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

fn multicast(name: &str, heard: io::Result<()>) -> Finding {
    match heard {
        Ok(()) => Finding::ok("multicast", format!("{name} sends and receives it")),
        Err(error) => Finding::warning(
            "multicast",
            format!("{name} does not pass it: {error}; devices there are not found"),
            "allow UDP port 5353 (sudo ufw allow mdns), or name devices with --peer HOST:PORT",
        ),
    }
}

fn port(bound: io::Result<()>) -> Finding {
    match bound {
        Ok(()) => Finding::ok("port", format!("TCP port {PORT} is free for a worker")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Finding::ok(
            "port",
            format!(
                "TCP port {PORT} is in use, by a worker or another program: a worker takes the next"
            ),
        ),
        Err(error) => Finding::warning(
            "port",
            format!("TCP port {PORT} cannot be listened on: {error}"),
            "edgeld worker --listen ADDR:PORT",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    fn interface(name: &str) -> Interface {
        let flags = Some(UP | MULTICAST);
        let address = Ipv4Addr::new(192, 168, 1, 20);
        Interface { name: name.to_owned(), address, flags, speed: Some(1000), is_wireless: false }
    }

    #[test]
    fn interfaces_that_do_not_serve_are_noticed() {
        assert_eq!(judge(&[])[0].severity, Severity::Error);
        let says = |one: Interface| judge(&[one]).remove(0);
        assert_eq!(says(interface("eth0")).severity, Severity::Ok);
        for (odd, words) in [
            (Interface { flags: Some(MULTICAST), ..interface("eth0") }, "is down"),
            (Interface { flags: Some(UP), ..interface("tun0") }, "no multicast"),
            (Interface { speed: Some(100), ..interface("eth0") }, "100 Mbit/s"),
            (Interface { is_wireless: true, speed: None, ..interface("wlan0") }, "wireless"),
        ] {
            let finding = says(odd);
            assert_eq!(finding.severity, Severity::Warning, "{finding:?}");
            assert!(finding.message.contains(words) && finding.remedy.is_some(), "{finding:?}");
        }
    }

    #[test]
    fn silence_and_closed_ports_are_noticed() {
        let silence = io::Error::from(io::ErrorKind::TimedOut);
        assert_eq!(multicast("eth0", Err(silence)).severity, Severity::Warning);
        assert_eq!(multicast("eth0", Ok(())).severity, Severity::Ok);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(port(Err(denied)).severity, Severity::Warning);
    }

    #[test]
    fn keys_that_others_can_read_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cluster.key");
        let membership =
            |key| MembershipArgs { cluster: "x".to_owned(), key, insecure: false, no_mdns: true };
        assert_eq!(key(&membership(None)).severity, Severity::Warning);
        assert_eq!(key(&membership(Some(file.clone()))).severity, Severity::Error);
        ClusterKey::generate().unwrap().write(&file).unwrap();
        assert_eq!(key(&membership(Some(file.clone()))).severity, Severity::Ok);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            assert_eq!(key(&membership(Some(file))).severity, Severity::Error);
        }
    }
}
