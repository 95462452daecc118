//! A server with its workers, and a client of a few lines that shows all of an answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// The model that is served as `net`.
pub struct Network {
    pub path: &'static str,
    pub input: &'static str,
}

pub const NETWORK: Network = Network { path: "vgg11?size=32&classes=10", input: "input" };

/// Longer than anything takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server and its workers; killed when dropped.
pub struct Site {
    _folder: TempDir,
    workers: Vec<Child>,
    server: Child,
    pub http: String,
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

fn started(folder: &TempDir, home: &str, arguments: &[&str], event: &str) -> (Child, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_edgeld"))
        .args(arguments)
        .args(["--json", "--no-mdns", "--cluster", &folder.path().to_string_lossy()[1..]])
        .env("EDGELD_HOME", folder.path().join(home))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let line: Value = serde_json::from_str(&line).unwrap();
        (line["event"] == event).then_some(line)
    });
    // Whoever stops reading stops it from telling; so somebody reads on.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    (child, found.unwrap_or_else(|| panic!("{home} ended without {event}")))
}

impl Site {
    pub fn start(flags: &[&str], workers: usize) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let mut children = Vec::new();
        let mut arguments: Vec<String> =
            ["serve", "--listen", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--model"]
                .map(str::to_owned)
                .to_vec();
        arguments.push(format!("net={}", NETWORK.path));
        arguments.extend(["--devices".to_owned(), (workers + 1).to_string()]);
        for index in 0..workers {
            let name = format!("worker{index}");
            let worker = ["worker", "--listen", "127.0.0.1:0", "--threads", "1", "--name", &name];
            let (child, listening) = started(&folder, &name, &worker, "listening");
            children.push(child);
            let address = listening["address"].as_str().unwrap().to_owned();
            arguments.extend(["--peer".to_owned(), address]);
        }
        let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        arguments.extend(flags);
        let (server, serving) = started(&folder, "server", &arguments, "serving");
        let http = serving["http"].as_str().unwrap().to_owned();
        Site { _folder: folder, workers: children, server, http }
    }

    pub fn kill_worker(&mut self, index: usize) {
        self.workers[index].kill().unwrap();
        self.workers[index].wait().unwrap();
    }

    pub fn terminate(&self) {
        // SAFETY: the child has not been waited for, so that its number is still its own.
        let sent = unsafe { libc::kill(self.server.id() as i32, libc::SIGTERM) };
        assert_eq!(sent, 0);
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.server.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::yield_now();
        }
    }

    pub fn get(&self, path: &str) -> Answer {
        ask(&self.http, &format!("GET {path} HTTP/1.1\r\n"), &[])
    }

    pub fn post(&self, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        ask(&self.http, &format!("POST {path} HTTP/1.1\r\n{headers}"), body)
    }

    pub fn infer(&self, body: &[u8]) -> Answer {
        infer_at(&self.http, body)
    }

    /// What it answers to these bytes, before they end.
    pub fn raw(&self, bytes: &str) -> String {
        let mut stream = connect(&self.http);
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line
    }

    pub fn waiting(&self) -> u64 {
        self.number("edgeld_queue_waiting")
    }

    pub fn running(&self) -> u64 {
        self.number("edgeld_queue_running")
    }

    pub fn answered(&self) -> u64 {
        self.number("edgeld_frame_duration_seconds_count")
    }

    fn number(&self, name: &str) -> u64 {
        let text = self.get("/metrics").text();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }

    /// Events until one that holds this text.
    pub fn events_until(&self, wanted: &str) -> String {
        let mut stream = connect(&self.http);
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut all = String::new();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            all.push_str(&line);
            if line.contains(wanted) {
                break;
            }
        }
        all
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for child in self.workers.iter_mut().chain([&mut self.server]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn connect(server: &str) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends a request, and reads until the connection is closed.
fn ask(server: &str, start: &str, body: &[u8]) -> Answer {
    let mut stream = connect(server);
    let length = body.len();
    let head = format!("{start}Host: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses early does not read all of it.
    let _ = stream.write_all(body);
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = all[end + 4..].to_vec();
    let body = match head.to_lowercase().contains("transfer-encoding: chunked") {
        true => unchunked(&body),
        false => body,
    };
    Answer { status, head, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&rest[end + 2..][..size]);
        rest = &rest[end + 2 + size + 2..];
    }
    whole
}

pub fn infer_at(server: &str, body: &[u8]) -> Answer {
    ask(server, "POST /v2/models/net/infer HTTP/1.1\r\n", body)
}

/// Elements of an input from 0 to 1, from a seed.
pub fn values(seed: u32) -> Vec<f32> {
    let number = |index: u32| (seed + 1).wrapping_mul(index.wrapping_mul(2_654_435_761)) >> 8;
    (1..=3 * 32 * 32).map(|index| number(index) as f32 / (1 << 24) as f32).collect()
}

/// A request with these elements.
pub fn tensor(seed: u32) -> Vec<u8> {
    let input = json!({"name": NETWORK.input, "shape": [1, 3, 32, 32], "datatype": "FP32",
        "data": values(seed)});
    json!({"inputs": [input]}).to_string().into_bytes()
}

/// Two answers are the same, within the kernels' tolerance.
pub fn same(answer: &Value, wanted: &Value) {
    let data = |answer: &Value| -> Vec<f64> {
        let data = answer["outputs"][0]["data"].as_array().unwrap();
        data.iter().map(|value| value.as_f64().unwrap()).collect()
    };
    let (answer, wanted) = (data(answer), data(wanted));
    let largest = wanted.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    assert_eq!(answer.len(), wanted.len());
    for (a, b) in answer.iter().zip(&wanted) {
        assert!((a - b).abs() <= 1e-4 * largest, "{a} and {b}");
    }
}
