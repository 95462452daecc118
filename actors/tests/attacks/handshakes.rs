//! Peers that do not get as far as a frame.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use edgeld_runtime::wire::{Hello, Purpose};

use super::wire::{MAGIC, hello, lengths, opening};
use super::worker::{BOTH, Cluster, Worker, read_to_the_end, text};

/// Sends `bytes`, then nothing more; returns the answer.
fn say(worker: &Worker, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(&worker.address).unwrap();
    // The worker may have closed the connection before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    read_to_the_end(stream)
}

/// Bytes that look random and are the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn garbage() {
    for cluster in BOTH {
        let mut worker = Worker::start(cluster);
        let http = b"GET / HTTP/1.1\r\nHost: worker\r\n\r\n";
        assert!(say(&worker, http).is_empty());
        worker.logs(&["rejected", "GET"]);
        assert!(say(&worker, &[0x16, 3, 1, 2, 0, 1, 0, 1]).is_empty(), "a TLS client");
        for seed in 0..200 {
            say(&worker, &noise(seed, 1 + (seed as usize * 37) % 5000));
            say(&worker, &[&MAGIC[..], &noise(seed, 300)].concat());
            let message = noise(seed, 100);
            say(&worker, &[&MAGIC[..], &lengths(100, 0), &message].concat());
        }
        worker.has_survived();
    }
}

#[test]
fn openings_that_end_early_or_are_altered() {
    for cluster in BOTH {
        let mut worker = Worker::start(cluster);
        let whole = opening(&hello(&worker, 7, Purpose::Control));
        for length in 0..whole.len() {
            assert!(!text(&say(&worker, &whole[..length])).contains("Accepted"), "{length}");
        }
        for place in 0..whole.len() {
            let mut altered = whole.clone();
            altered[place] ^= 0x55;
            say(&worker, &altered);
        }
        worker.has_survived();
    }
}

#[test]
fn openings_that_claim_to_be_long() {
    for cluster in BOTH {
        let mut worker = Worker::start(cluster);
        for (header, payload) in [(4097, 0), (u32::MAX, 0), (0, u32::MAX), (10, 1)] {
            let answer = say(&worker, &[&MAGIC[..], &lengths(header, payload)].concat());
            assert!(text(&answer).contains("Refused"), "{header} {payload}: {}", text(&answer));
        }
        worker.logs(&["rejected", "the limit is 4096"]);
        worker.has_survived();
    }
}

#[test]
fn other_versions() {
    for cluster in BOTH {
        let mut worker = Worker::start(cluster);
        let new = Hello { protocol: (90, 91), ..hello(&worker, 7, Purpose::Control) };
        let answer = text(&say(&worker, &opening(&new)));
        assert!(answer.contains("Refused") && answer.contains("90..=91"), "{answer}");
        worker.logs(&["rejected", "90..=91", "install the same version"]);
        let answer = text(&say(&worker, b"EDGELD\0\x63"));
        assert!(!answer.contains("Accepted"), "{answer}");
        worker.logs(&["rejected", "revision 99"]);
        worker.has_survived();
    }
}

#[test]
fn names_that_paint_the_terminal() {
    let mut worker = Worker::start(Cluster::Open);
    let name = "\x1b[2J\x1b[31mgotcha\r\n".to_owned();
    let painted = Hello { name, protocol: (90, 91), ..hello(&worker, 7, Purpose::Control) };
    let answer = say(&worker, &opening(&painted));
    // The worker's id before it is random bytes.
    let why = answer.windows(3).rposition(|field| field == b"why").expect("it says why");
    assert!(!answer[why..].contains(&0x1b), "{}", text(&answer));
    worker.logs(&["rejected", "[31mgotcha\u{fffd}\u{fffd}"]);
    worker.has_survived();
}
