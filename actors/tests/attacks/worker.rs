//! The worker under attack.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;
use tempfile::TempDir;

/// What a worker may take beyond what it took before the attack, in bytes.
const MEMORY_TAKEN: u64 = 64 << 20;

/// How many threads it may have beyond those that it had before: one for each of the few plans that
/// are prepared at once, and for a session.
const THREADS_TAKEN: usize = 10;

/// How many files it may hold open.
const FILES: usize = 600;

/// Whether a cluster has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cluster {
    Open,
    Keyed,
}

pub const BOTH: [Cluster; 2] = [Cluster::Open, Cluster::Keyed];

/// A worker process in a cluster of its own; killed when dropped.
pub struct Worker {
    pub folder: TempDir,
    pub address: String,
    pub id: String,
    cluster: Cluster,
    child: Child,
    log: Receiver<String>,
    before: Taken,
}

/// What a process takes of its machine.
#[derive(Debug)]
struct Taken {
    memory: u64,
    threads: usize,
    files: usize,
}

impl Worker {
    /// Starts one without mDNS and lets it serve once, so that what it takes for that is known.
    pub fn start(cluster: Cluster) -> Worker {
        Worker::start_with(cluster, &["--no-mdns"])
    }

    /// Starts one with more options.
    pub fn start_with(cluster: Cluster, options: &[&str]) -> Worker {
        let folder = tempfile::tempdir().unwrap();
        if cluster == Cluster::Keyed {
            let made = edgeld(&folder, "leader")
                .args(["key", "new"])
                .arg(folder.path().join("cluster.key"))
                .stderr(Stdio::null())
                .status();
            assert!(made.unwrap().success());
        }
        let mut child = edgeld(&folder, "worker")
            .args(["worker", "--listen", "127.0.0.1:0", "--json", "--threads", "1"])
            .args(["--name", "target"])
            .args(options)
            .args(key_arguments(cluster, &folder))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut events = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        events.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let address = listening["address"].as_str().unwrap().to_owned();
        let id = listening["id"].as_str().unwrap().to_owned();
        // Whoever stops reading stops the worker from telling.
        std::thread::spawn(move || events.lines().map_while(Result::ok).for_each(drop));
        let (tell, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| drop(tell.send(line)));
        });
        let before = Taken { memory: 0, threads: 0, files: 0 };
        let mut worker = Worker { folder, address, id, cluster, child, log, before };
        worker.serves(&["--no-mdns", "--peer", &worker.address]);
        // At the peak: whether the session has ended by now is left to chance.
        worker.before = worker.taken("VmHWM");
        worker
    }

    /// The cluster's name.
    pub fn cluster_name(&self) -> String {
        self.folder.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    /// Runs a model on this device and the worker, and checks the answers.
    pub fn serves(&self, options: &[&str]) {
        let output = edgeld(&self.folder, "leader")
            .args(["run", "vgg11?size=32&classes=10", "random:1", "--json", "--threads", "1"])
            .args(["--devices", "2", "--spread", "--compare", "--kernels", "exact"])
            .args(options)
            .args(key_arguments(self.cluster, &self.folder))
            .output()
            .unwrap();
        let (answers, log) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{answers}{log}");
        let mut lines = answers.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let summary = lines.next_back().unwrap();
        assert_eq!(summary["event"], "summary", "{answers}");
        assert_eq!((&summary["lost"], &summary["max_abs_diff"]), (&0.into(), &0.0.into()));
        assert!(answers.contains("\"target\""), "{answers}");
    }

    /// The worker still serves, and takes no more of its machine than it may.
    pub fn has_survived(&mut self) {
        self.is_bounded();
        self.serves(&["--no-mdns", "--peer", &self.address]);
        assert_eq!(self.child.try_wait().unwrap(), None, "it has ended");
        self.is_bounded();
    }

    /// The worker takes no more of its machine than it may.
    pub fn is_bounded(&self) {
        let (before, now) = (&self.before, self.taken("VmRSS"));
        assert!(now.memory <= before.memory + MEMORY_TAKEN, "{before:?} {now:?}");
        assert!(now.threads <= before.threads + THREADS_TAKEN, "{before:?} {now:?}");
        assert!(now.files <= FILES, "{now:?}");
    }

    /// Waits until a line of its log holds all of `words`.
    pub fn logs(&self, words: &[&str]) {
        let mut seen = Vec::new();
        while let Ok(line) = self.log.recv_timeout(std::time::Duration::from_secs(60)) {
            if words.iter().all(|word| line.contains(word)) {
                return;
            }
            seen.push(line);
        }
        panic!("no line of its log holds {words:?}: {seen:#?}");
    }

    fn taken(&self, memory: &str) -> Taken {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let status = fs::read_to_string(process.join("status")).unwrap();
        let field = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
        };
        let files = fs::read_dir(process.join("fd")).unwrap().count();
        Taken { memory: field(memory) * 1024, threads: field("Threads") as usize, files }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command with a home and a cluster of its own.
pub fn edgeld(folder: &TempDir, home: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgeld"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("EDGELD_") {
            command.env_remove(variable);
        }
    }
    command
        .env("EDGELD_HOME", folder.path().join(home))
        .env("EDGELD_CLUSTER", folder.path().file_name().unwrap())
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1")
        .stdin(Stdio::null());
    command
}

fn key_arguments(cluster: Cluster, folder: &TempDir) -> Vec<String> {
    match cluster {
        Cluster::Open => Vec::new(),
        Cluster::Keyed => {
            let file = folder.path().join("cluster.key");
            vec!["--key".to_owned(), file.to_string_lossy().into_owned()]
        }
    }
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What arrives until the other side closes or resets the connection.
pub fn read_to_the_end(mut from: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end, too.
    let _ = from.read_to_end(&mut bytes);
    bytes
}
