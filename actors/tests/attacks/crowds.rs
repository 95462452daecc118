//! A thousand connections at once.

use std::io::Write;
use std::net::TcpStream;

use edgeld_runtime::wire::{Purpose, SessionId};

use super::wire::{MAGIC, hello, opening};
use super::worker::{BOTH, Cluster, Worker};

const CROWD: u32 = 1000;

/// Lets this process hold a crowd's sockets.
fn allow_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid pointer to a limit.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(65_536);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
}

/// Opens a thousand connections that each say `bytes` and nothing more, and leaves them open.
fn crowd(worker: &Worker, bytes: impl Fn(u32) -> Vec<u8>) -> Vec<TcpStream> {
    allow_files();
    (0..CROWD)
        .map(|number| {
            let mut stream = TcpStream::connect(&worker.address).unwrap();
            // The worker may have ended it already.
            let _ = stream.write_all(&bytes(number));
            stream
        })
        .collect()
}

#[test]
fn that_say_nothing_or_next_to_nothing() {
    for cluster in BOTH {
        let mut worker = Worker::start(cluster);
        let silent = crowd(&worker, |_| Vec::new());
        worker.has_survived();
        worker.logs(&["slow to say who it is"]);
        let slow = crowd(&worker, |_| MAGIC[..3].to_vec());
        let slower = crowd(&worker, |_| [&MAGIC[..], &[200, 0, 0, 0, 0, 0, 0, 0]].concat());
        worker.has_survived();
        drop((silent, slow, slower));
        worker.has_survived();
    }
}

#[test]
fn that_are_greeted() {
    let mut worker = Worker::start(Cluster::Open);
    let session = SessionId(1);
    let purposes =
        [Purpose::Probe, Purpose::Control, Purpose::Strips(session), Purpose::Weights(session)];
    let mut crowds = Vec::new();
    for purpose in purposes {
        // Of one device, and of a thousand.
        for nodes in [1, CROWD] {
            let say = |number| opening(&hello(&worker, 100 + u128::from(number % nodes), purpose));
            crowds.push(crowd(&worker, say));
            worker.is_bounded();
        }
    }
    worker.has_survived();
    drop(crowds);
    worker.has_survived();
}

#[test]
fn that_have_no_key() {
    let mut worker = Worker::start(Cluster::Keyed);
    let say = |number| opening(&hello(&worker, 100 + u128::from(number), Purpose::Control));
    let crowd = crowd(&worker, say);
    worker.has_survived();
    worker.logs(&["rejected", "attacker has no cluster key"]);
    drop(crowd);
}
