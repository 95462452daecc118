//! Workers as processes of the real binary, over TCP on loopback.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use edgeld::{DeviceState, Reason};
use tempfile::TempDir;

use super::*;

/// A worker process; killed when dropped.
struct Process {
    child: Child,
    address: String,
}

impl Process {
    /// Starts one and waits until it listens.
    fn start(folder: &TempDir, cluster: &str, name: &str) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_edgeld"))
            .args(["worker", "--listen", "127.0.0.1:0", "--no-mdns", "--json", "--threads", "1"])
            .args(["--cluster", cluster, "--name", name])
            .env("EDGELD_HOME", folder.path().join(name))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["event"], "listening");
        let address = event["address"].as_str().unwrap().to_owned();
        // Whoever stops reading stops the worker from telling; so somebody reads on.
        std::thread::spawn(move || lines.lines().map_while(Result::ok).for_each(drop));
        Process { child, address }
    }

    fn signal(&self, signal: i32) {
        // SAFETY: the child has not been waited for, so that its number is still its own.
        let sent = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(sent, 0);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A leader with workers that are processes.
struct Lan {
    _folder: TempDir,
    workers: Vec<Process>,
    cluster: Cluster,
}

impl Lan {
    async fn of(workers: usize) -> Lan {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let workers: Vec<Process> =
            (0..workers).map(|n| Process::start(&folder, &name, &format!("worker{n}"))).collect();
        let builder = leader(&name, &folder.path().join("leader")).wait(PATIENCE);
        let builder = builder.devices(workers.len() + 1);
        let builder = workers.iter().fold(builder, |builder, worker| builder.peer(&worker.address));
        let cluster = builder.discover().await.unwrap();
        Lan { _folder: folder, workers, cluster }
    }
}

#[tokio::test]
async fn processes_give_the_answer_of_one_device_and_fetch_weights_once() {
    let lan = Lan::of(2).await;
    let source = source();
    let mut fetched = Vec::new();
    for _ in 0..2 {
        let mut events = lan.cluster.subscribe();
        let model = lan.cluster.load_with(source.clone(), spread()).await.unwrap();
        assert_eq!(holders(&model.plan()).len(), 3);
        let mut missing = 0;
        while let Ok(event) = events.try_recv() {
            if let Event::Weights { have, need, .. } = event {
                missing += need.0 - have.0;
            }
        }
        fetched.push(missing);
    }
    assert!(fetched[0] > 0 && fetched[1] == 0, "fetched anew in the second session: {fetched:?}");
    let references = references(&lan.cluster, &source, 2).await;
    let model = lan.cluster.load_with(source.clone(), spread()).await.unwrap();
    for (frame, reference) in references.iter().enumerate() {
        let answer = model.infer(&inputs(&source, frame as u64)).await.unwrap();
        same_bits(&answer, reference);
    }
    lan.cluster.shutdown().await;
}

#[tokio::test]
async fn a_killed_worker_takes_no_frame_with_it() {
    let lan = Lan::of(2).await;
    let source = source();
    let references = references(&lan.cluster, &source, 2).await;
    let model = lan.cluster.load_with(source.clone(), spread()).await.unwrap();
    let mut events = model.subscribe();
    let frame = inputs(&source, 0);
    let kill = async { lan.workers[0].signal(libc::SIGKILL) };
    let (answer, ()) = tokio::join!(model.infer(&frame), kill);
    same_bits(&answer.unwrap(), &references[0]);
    let lost = run_until(&model, &source, &references, &mut events, Reason::Lost).await;
    assert_eq!(holders(&lost).len(), 2);
    lan.cluster.shutdown().await;
}

#[tokio::test]
async fn three_frames_in_flight_are_answered_in_order_whoever_dies() {
    let lan = Lan::of(2).await;
    let source = source();
    let references = references(&lan.cluster, &source, 9).await;
    let model = lan.cluster.load_with(source.clone(), three_in_flight()).await.unwrap();
    assert_eq!((holders(&model.plan()).len(), model.plan().in_flight.frames()), (3, 3));
    let answers = infer_at_once(&model, &source, &references).await;
    assert!(answers.iter().all(|answer| answer.retries == 0));
    let kill = async { lan.workers[1].signal(libc::SIGKILL) };
    tokio::join!(infer_at_once(&model, &source, &references), kill);
    infer_at_once(&model, &source, &references).await;
    lan.cluster.shutdown().await;
}

#[tokio::test]
async fn devices_that_compute_whole_frames_come_and_go() {
    let mut lan = Lan::of(2).await;
    let source = source();
    let references = references(&lan.cluster, &source, 12).await;
    let model = lan.cluster.load_with(source.clone(), throughput()).await.unwrap();
    let plans = model.plans();
    assert_eq!(plans.len(), 3);
    assert!(plans.iter().all(|plan| holders(plan).len() == 1 && plan.objective == "throughput"));
    assert_eq!(holders_of_any(plans.iter().map(|plan| &**plan)).len(), 3);
    let answers = infer_at_once(&model, &source, &references).await;
    let is_active = |generation| plans.iter().any(|plan| plan.generation == generation);
    assert!(answers.iter().all(|answer| is_active(answer.generation)));
    let mut events = model.subscribe();
    let kill = async { lan.workers[1].signal(libc::SIGKILL) };
    tokio::join!(infer_at_once(&model, &source, &references), kill);
    run_until(&model, &source, &references, &mut events, Reason::Lost).await;
    assert_eq!(model.plans().len(), 2);
    lan.workers.clear();
    infer_at_once(&model, &source, &references).await;
    lan.cluster.shutdown().await;
}

#[tokio::test]
async fn plans_follow_the_objective_while_frames_run() {
    let lan = Lan::of(2).await;
    let source = source();
    let references = references(&lan.cluster, &source, 6).await;
    let model = lan.cluster.load_with(source.clone(), spread()).await.unwrap();
    assert_eq!((model.plans().len(), holders(&model.plan()).len()), (1, 3));
    let mut events = model.subscribe();
    model.pursue(Objective::Throughput);
    let plan = run_until(&model, &source, &references, &mut events, Reason::Load).await;
    assert_eq!((&plan.objective[..], model.plans().len()), ("throughput", 3));
    infer_at_once(&model, &source, &references).await;
    model.pursue(Objective::Latency);
    infer_at_once(&model, &source, &references).await;
    lan.cluster.shutdown().await;
}

#[tokio::test]
async fn a_frozen_worker_is_lost_and_returns() {
    let lan = Lan::of(2).await;
    let source = source();
    let references = references(&lan.cluster, &source, 2).await;
    let model = lan.cluster.load_with(source.clone(), spread()).await.unwrap();
    let mut events = model.subscribe();
    lan.workers[1].signal(libc::SIGSTOP);
    let lost = run_until(&model, &source, &references, &mut events, Reason::Lost).await;
    assert_eq!(holders(&lost).len(), 2);
    lan.workers[1].signal(libc::SIGCONT);
    let joined = run_until(&model, &source, &references, &mut events, Reason::Joined).await;
    assert_eq!(holders(&joined).len(), 3);
    lan.cluster.shutdown().await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_finishes_its_frames_first() {
    let mut lan = Lan::of(2).await;
    let source = source();
    let references = references(&lan.cluster, &source, 2).await;
    let model = lan.cluster.load_with(source.clone(), three_in_flight()).await.unwrap();
    assert_eq!(holders(&model.plan()).len(), 3);
    let mut events = model.subscribe();
    // Frames follow each other without a gap until it has ended.
    let ended = async {
        lan.workers[1].signal(libc::SIGTERM);
        let child = &mut lan.workers[1].child;
        loop {
            let answers = infer_at_once(&model, &source, &references).await;
            assert!(answers.iter().all(|answer| answer.retries == 0), "a frame was lost");
            if let Some(status) = child.try_wait().unwrap() {
                return status;
            }
        }
    };
    let status = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(status.code(), Some(0));
    let left = run_until(&model, &source, &references, &mut events, Reason::Left).await;
    assert_eq!(holders(&left).len(), 2);
    lan.cluster.shutdown().await;
}

#[tokio::test]
async fn all_workers_killed_leaves_the_leader() {
    let mut lan = Lan::of(2).await;
    let source = source();
    let references = references(&lan.cluster, &source, 2).await;
    let model = lan.cluster.load_with(source.clone(), spread()).await.unwrap();
    lan.workers.clear();
    for (frame, reference) in references.iter().enumerate() {
        same_bits(&model.infer(&inputs(&source, frame as u64)).await.unwrap(), reference);
    }
    assert_eq!(holders(&model.plan()).len(), 1);
    let devices = lan.cluster.devices();
    let there = devices.iter().filter(|device| device.state != DeviceState::Lost);
    assert_eq!(there.count(), 1, "{devices:?}");
    lan.cluster.shutdown().await;
}
