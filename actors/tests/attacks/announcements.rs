//! False announcements over multicast DNS: to leaders they are hints that lead nowhere.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};

use super::worker::{Cluster, Worker};

/// Announces devices of a cluster on loopback, until it is dropped.
struct Liar {
    daemon: ServiceDaemon,
    cluster: String,
}

impl Liar {
    /// `None`, with a message, where multicast does not work.
    fn new(worker: &Worker) -> Option<Liar> {
        let started = ServiceDaemon::new().and_then(|daemon| {
            daemon.disable_interface(IfKind::All)?;
            daemon.enable_interface(IfKind::LoopbackV4)?;
            Ok(daemon)
        });
        match started {
            Ok(daemon) => Some(Liar { daemon, cluster: worker.cluster_name() }),
            Err(error) => {
                println!("skipped: {error}");
                None
            }
        }
    }

    fn announce(&self, id: &str, name: &str, address: IpAddr, port: u16) {
        let fields = [
            ("id", id),
            ("name", name),
            ("proto", "1-99"),
            ("ver", "0.1.0"),
            ("cluster", &self.cluster),
            ("caps", "plain"),
        ];
        let host = format!("liar-{id}.local.");
        let service =
            ServiceInfo::new("_edgeld._tcp.local.", id, &host, address, port, &fields[..]);
        let mut service = service.unwrap();
        service.set_requires_probe(false);
        // The daemon's queue is short.
        while let Err(error) = self.daemon.register(service.clone()) {
            assert!(matches!(error, mdns_sd::Error::Again), "{error}");
            std::thread::yield_now();
        }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        let _ = self.daemon.shutdown();
    }
}

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[test]
fn of_devices_that_are_not_there() {
    let mut worker = Worker::start_with(Cluster::Keyed, &[]);
    let Some(liar) = Liar::new(&worker) else { return };
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // A port where connections are accepted and nothing is ever said.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    for number in 0..1000_u32 {
        let (address, port) = match number % 3 {
            0 => (LOCAL, nobody),
            1 => (LOCAL, silent_port),
            // Reserved for documentation: an address elsewhere.
            _ => (IpAddr::V4(Ipv4Addr::new(192, 0, 2, (number % 250) as u8)), 7070),
        };
        liar.announce(&format!("{number:032x}"), "liar", address, port);
    }
    worker.serves(&["--wait", "60"]);
    worker.has_survived();
}

/// Somebody announces the very device, elsewhere and under another name.
#[test]
fn of_the_device_itself() {
    let mut worker = Worker::start_with(Cluster::Keyed, &[]);
    let Some(liar) = Liar::new(&worker) else { return };
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    liar.announce(&worker.id, "liar", LOCAL, nobody);
    worker.serves(&["--wait", "60", "--peer", &worker.address]);
    worker.has_survived();
}
