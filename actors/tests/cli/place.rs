//! The command in a home of its own, and what it is given.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");
pub const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime/tests/golden");
pub const SMALL: &str = "vgg11?size=32&classes=10";

/// A place with a home and a cluster of its own.
pub struct Place {
    pub folder: TempDir,
}

/// What a command left behind.
pub struct Done {
    pub code: Option<i32>,
    pub lines: Vec<Value>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Place {
        Place { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.to_string_lossy().into_owned()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edgeld"));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("EDGELD_") {
                command.env_remove(variable);
            }
        }
        command
            .args(arguments)
            .env("EDGELD_HOME", self.path("home"))
            .env("EDGELD_CLUSTER", self.folder.path().file_name().unwrap())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    pub fn edgeld(&self, arguments: &[&str]) -> Done {
        let output = self.command(arguments).output().unwrap();
        let stdout = String::from_utf8(output.stdout).unwrap();
        let lines = match arguments.contains(&"--json") {
            true => stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect(),
            false => Vec::new(),
        };
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
        Done { code: output.status.code(), lines, stdout, stderr }
    }

    /// Runs with --json and expects an error event of this code that mentions all of `words`.
    pub fn fails(&self, code: i32, arguments: &[&str], words: &[&str]) -> Done {
        let done = self.edgeld(&[arguments, &["--json"]].concat());
        assert_eq!(done.code, Some(code), "{arguments:?}: {}", done.stderr);
        let error = done.lines.last().expect("an error event");
        assert_eq!(error["event"], "error");
        assert_eq!(error["code"], code);
        let hint = error["hint"].as_str().unwrap();
        assert!(!hint.is_empty());
        let said = format!("{} {hint}", error["message"].as_str().unwrap());
        for word in words {
            assert!(said.contains(word), "{arguments:?}: {word:?} is not in {said:?}");
            assert!(done.stderr.contains(word), "{arguments:?}: {:?}", done.stderr);
        }
        done
    }

    pub fn succeeds(&self, arguments: &[&str]) -> Done {
        let done = self.edgeld(arguments);
        assert_eq!(done.code, Some(0), "{arguments:?}: {}", done.stderr);
        done
    }
}

/// A worker process; killed when dropped.
pub struct WorkerProcess {
    pub child: Child,
    pub address: String,
}

impl WorkerProcess {
    /// Starts one and waits until it listens.
    pub fn start(place: &Place, name: &str) -> WorkerProcess {
        let arguments = ["worker", "--listen", "127.0.0.1:0", "--no-mdns", "--json", "--threads"];
        let mut command = place.command(&[&arguments[..], &["1", "--name", name]].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let listening: Value = serde_json::from_str(&line).unwrap();
        let address = listening["address"].as_str().unwrap().to_owned();
        // Its events must be read for it to go on.
        std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(drop));
        WorkerProcess { child, address }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Done {
    pub fn events(&self) -> Vec<&str> {
        self.lines.iter().map(|line| line["event"].as_str().unwrap()).collect()
    }

    pub fn event(&self, name: &str) -> &Value {
        let found = self.lines.iter().find(|line| line["event"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {}", self.stdout))
    }
}

pub fn has_fields(value: &Value, fields: &[&str]) {
    for field in fields {
        assert!(value.get(field).is_some(), "{field} is missing in {value}");
    }
}

pub fn coffee() -> String {
    format!("{ASSETS}/coffee.jpg")
}

pub fn network() -> Vec<u8> {
    fs::read(format!("{ASSETS}/efficientnet_lite0.onnx")).unwrap()
}

/// The network as if nobody had written down how it wants its pixels.
pub fn network_without_preset() -> Vec<u8> {
    let mut bytes = network();
    let key = b"edgeld.preset";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    bytes[at..at + key.len()].copy_from_slice(b"somebody.else");
    bytes
}

pub fn npy(shape: &[usize]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let array = ndarray::ArrayD::<f32>::zeros(shape);
    ndarray_npy::WriteNpyExt::write_npy(&array, &mut bytes).unwrap();
    bytes
}
