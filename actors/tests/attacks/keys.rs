//! Wrong keys, and somebody between two devices that have the right one.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::worker::{Cluster, Worker, edgeld, text};

/// A run with other arguments for the key, which must fail with exit code 4 and say all of `words`.
fn refused(worker: &Worker, arguments: &[&str], words: &[&str]) {
    let output = edgeld(&worker.folder, "stranger")
        .args(["run", "vgg11?size=32&classes=10", "random:1", "--no-mdns", "--json"])
        .args(["--peer", &worker.address])
        .args(arguments)
        .output()
        .unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
}

#[test]
fn another_key_or_none() {
    let mut worker = Worker::start(Cluster::Keyed);
    let other = worker.folder.path().join("other.key").to_string_lossy().into_owned();
    let made = edgeld(&worker.folder, "stranger").args(["key", "new", &other]).status();
    assert!(made.unwrap().success());
    refused(&worker, &["--key", &other], &["different cluster keys", "--key"]);
    worker.logs(&["rejected", "different cluster keys"]);
    refused(&worker, &["--insecure"], &["has no cluster key", "--key"]);
    worker.logs(&["rejected", "has no cluster key"]);
    worker.has_survived();

    let mut open = Worker::start(Cluster::Open);
    refused(&open, &["--key", &other], &["target has no cluster key", "--key"]);
    open.has_survived();
}

/// What a proxy does to what the leader says.
#[derive(Clone, Copy)]
enum Meddling {
    /// One byte is another.
    Alter,
    /// A piece comes twice.
    Repeat,
    /// A piece is left out.
    Skip,
    /// The connection ends.
    Cut,
}

/// A proxy before a worker that meddles with the first connections, after this many bytes.
fn proxy(worker: &str, meddling: Meddling, connections: usize, after: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (worker, accepted) = (worker.to_owned(), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for leader in listener.incoming().map_while(Result::ok) {
            let Ok(target) = TcpStream::connect(&worker) else { return };
            let is_victim = accepted.fetch_add(1, Ordering::Relaxed) < connections;
            let (mut answers, mut answered) =
                (target.try_clone().unwrap(), leader.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut answers, &mut answered);
                let _ = answered.shutdown(Shutdown::Both);
            });
            let meddling = is_victim.then_some((meddling, after));
            thread::spawn(move || {
                pass_on(leader, &target, meddling);
                let _ = target.shutdown(Shutdown::Both);
            });
        }
    });
    address
}

fn pass_on(mut from: TcpStream, mut to: &TcpStream, mut meddling: Option<(Meddling, usize)>) {
    let mut bytes = vec![0; 4096];
    let mut passed = 0;
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let piece = &mut bytes[..count];
        passed += count;
        let now = meddling.take_if(|(_, after)| passed > *after).map(|(meddling, _)| meddling);
        let written = match now {
            None => to.write_all(piece),
            Some(Meddling::Alter) => {
                piece[count / 2] ^= 4;
                to.write_all(piece)
            }
            Some(Meddling::Repeat) => to.write_all(&piece.repeat(2)),
            Some(Meddling::Skip) => Ok(()),
            Some(Meddling::Cut) => return,
        };
        if written.is_err() {
            return;
        }
    }
}

/// Whatever somebody in between does, answers are right; where the worker could be deceived, it
/// notices.
#[test]
fn somebody_in_between() {
    let mut worker = Worker::start(Cluster::Keyed);
    for meddling in [Meddling::Alter, Meddling::Repeat, Meddling::Skip, Meddling::Cut] {
        // Connections for control, probes, weights and strips, at different places.
        for after in [0, 300, 1_000, 20_000] {
            let proxy = proxy(&worker.address, meddling, 3, after);
            worker.serves(&["--no-mdns", "--peer", &proxy]);
        }
        if !matches!(meddling, Meddling::Cut) {
            worker.logs(&["altered, replayed, reordered or left out"]);
        }
    }
    worker.has_survived();
}

/// Runs a command that must end with this code; returns all that it says.
fn edgeld_says(folder: &TempDir, code: i32, arguments: &[&str]) -> String {
    let output = edgeld(folder, "home").args(arguments).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

#[test]
fn a_key_is_made_once_and_for_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.key");
    let file = path.to_string_lossy().into_owned();
    let said = edgeld_says(&folder, 0, &["key", "new", &file, "--json"]);
    assert!(said.contains("\"event\":\"key\""), "{said}");
    let key = fs::read_to_string(&path).unwrap();
    assert_eq!((key.trim().len(), fs::metadata(&path).unwrap().mode() & 0o777), (64, 0o600));
    assert!(!said.contains(key.trim()), "it shows a key that it has written to a file");
    let said = edgeld_says(&folder, 1, &["key", "new", &file]);
    assert!(said.contains("cluster.key") && said.contains("exists"), "{said}");
    assert_eq!(fs::read_to_string(&path).unwrap(), key);

    let printed = edgeld_says(&folder, 0, &["key", "new"]);
    assert!(printed.trim().len() == 64 && printed != key, "{printed}");
    let printed = edgeld_says(&folder, 0, &["key", "new", "--json"]);
    let event: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(event["key"].as_str().unwrap().len(), 64);
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.key");
    let file = path.to_string_lossy().into_owned();
    edgeld_says(&folder, 0, &["key", "new", &file]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let leader = ["run", "vgg11?size=32", "random:1", "--no-mdns", "--key", &file];
    let worker = ["worker", "--listen", "127.0.0.1:0", "--no-mdns", "--key", &file];
    for arguments in [&leader[..], &worker[..]] {
        let said = edgeld_says(&folder, 4, arguments);
        assert!(said.contains("cluster.key") && said.contains("chmod 600"), "{said}");
    }
    let missing = folder.path().join("nowhere.key").to_string_lossy().into_owned();
    let said = edgeld_says(&folder, 4, &["devices", "--key", &missing]);
    assert!(said.contains("nowhere.key") && said.contains("edgeld key new"), "{said}");
}
