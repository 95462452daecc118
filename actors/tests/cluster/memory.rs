//! All devices in this process; their bytes go through a switchboard.

use edgeld::transport::Switchboard;
use edgeld::{ClusterError, DeviceState, LoadOptions, Reason, Worker, WorkerEvent, WorkerOptions};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::*;

/// A LAN in memory.
pub(super) struct Lan {
    pub(super) switchboard: Switchboard,
    home: TempDir,
}

impl Lan {
    pub(super) fn new() -> Lan {
        Lan { switchboard: Switchboard::default(), home: tempfile::tempdir().unwrap() }
    }

    pub(super) async fn worker(&self, name: &str) -> (Worker, UnboundedReceiver<WorkerEvent>) {
        let (sender, events) = unbounded_channel();
        (self.start_worker(name, "127.0.0.1:0", sender).await, events)
    }

    /// A worker at an address that a leader knows already.
    async fn worker_at(&self, name: &str, address: &str) -> Worker {
        self.start_worker(name, address, unbounded_channel().0).await
    }

    async fn start_worker(
        &self,
        name: &str,
        address: &str,
        events: UnboundedSender<WorkerEvent>,
    ) -> Worker {
        let options = WorkerOptions {
            name: Some(name.to_owned()),
            listen: Some(address.parse().unwrap()),
            threads: Some(1),
            cluster: "memory".to_owned(),
            mdns: false,
            home: Some(self.home.path().join(name)),
            transport: Some(Arc::new(self.switchboard.plug(name))),
            ..WorkerOptions::default()
        };
        Worker::start(options, events).await.unwrap()
    }

    pub(super) fn leader(&self) -> Builder {
        let transport = Arc::new(self.switchboard.plug("leader"));
        leader("memory", &self.home.path().join("leader")).transport(transport)
    }
}

#[tokio::test]
async fn alone_is_a_cluster_too() {
    let lan = Lan::new();
    let cluster = lan.leader().alone().discover().await.unwrap();
    assert_eq!(cluster.devices().len(), 1);
    let source = source();
    let model = cluster.load(source.clone()).await.unwrap();
    let first = model.infer(&inputs(&source, 0)).await.unwrap();
    let again = model.infer(&inputs(&source, 0)).await.unwrap();
    assert_eq!((first.frame, again.frame, again.retries), (0, 1, 0));
    same_bits(&first, &again);
    assert_eq!(model.plan().reason, Reason::Start);
    let wrong = model.infer(&[]).await.unwrap_err();
    assert!(wrong.to_string().contains("0 inputs"), "{wrong}");
    cluster.shutdown().await;
}

#[tokio::test]
async fn three_devices_give_the_answer_of_one() {
    let lan = Lan::new();
    let (one, mut worker_events) = lan.worker("one").await;
    let (two, _) = lan.worker("two").await;
    let cluster =
        lan.leader().peer(one.address()).peer(two.address()).devices(3).discover().await.unwrap();
    let source = source();
    let references = references(&cluster, &source, 3).await;
    let model = cluster.load_with(source.clone(), spread()).await.unwrap();
    assert_eq!(holders(&model.plan()).len(), 3);
    assert!(model.plan().exact);
    for (frame, reference) in references.iter().enumerate() {
        let answer = model.infer(&inputs(&source, frame as u64)).await.unwrap();
        same_bits(&answer, reference);
        assert!(answer.bytes_moved.0 > 0);
    }
    let mut events = model.subscribe();
    let Some(Event::Cluster(devices)) = events.recv().await else { panic!("no devices") };
    assert!(devices.iter().all(|device| device.state == DeviceState::Active), "{devices:?}");
    drop(model);

    let mut halves = spread();
    (halves.policy.wire, halves.policy.weights) = (DType::F16, DType::F16);
    let model = cluster.load_with(source.clone(), halves).await.unwrap();
    let plan = model.plan();
    assert_eq!((plan.wire.as_str(), plan.weights.as_str(), plan.exact), ("f16", "f16", false));
    for (frame, reference) in references.iter().enumerate() {
        let answer = model.infer(&inputs(&source, frame as u64)).await.unwrap();
        within(2e-3, &answer, reference);
    }
    drop(model);
    cluster.shutdown().await;
    let told = async {
        let mut told = Vec::new();
        while let Some(event) = worker_events.recv().await {
            let closed = matches!(event, WorkerEvent::SessionClosed { .. });
            told.push(event);
            if closed {
                break;
            }
        }
        told
    };
    let told = timeout(PATIENCE, told).await.unwrap();
    assert!(matches!(told[0], WorkerEvent::Listening { .. }));
    assert!(told.iter().any(|event| matches!(event, WorkerEvent::Program { .. })), "{told:?}");
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_device_joins_and_leaves_while_frames_run() {
    let lan = Lan::new();
    let (one, _) = lan.worker("one").await;
    // Reserved before it is there, as an address given with --peer may be.
    let (two, _) = lan.worker("two").await;
    let two_address = two.address().to_owned();
    two.stop().await;
    let cluster = lan.leader().peer(one.address()).peer(&two_address).devices(2).discover().await;
    let cluster = cluster.unwrap();
    let source = source();
    let references = references(&cluster, &source, 2).await;
    let model = cluster.load_with(source.clone(), spread()).await.unwrap();
    let mut events = model.subscribe();

    let two = lan.worker_at("two", &two_address).await;
    let joined = run_until(&model, &source, &references, &mut events, Reason::Joined).await;
    assert_eq!(holders(&joined).len(), 3);
    two.stop().await;
    let left = run_until(&model, &source, &references, &mut events, Reason::Left).await;
    assert_eq!(holders(&left).len(), 2);
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_device_that_joins_gets_whole_frames() {
    let lan = Lan::new();
    let (one, _) = lan.worker("one").await;
    let one_address = one.address().to_owned();
    one.stop().await;
    let cluster = lan.leader().peer(&one_address).devices(1).discover().await.unwrap();
    let source = source();
    let references = references(&cluster, &source, 8).await;
    let model = cluster.load_with(source.clone(), throughput()).await.unwrap();
    assert_eq!(model.plans().len(), 1);
    let mut events = model.subscribe();
    let one = lan.worker_at("one", &one_address).await;
    run_until(&model, &source, &references, &mut events, Reason::Joined).await;
    assert_eq!(model.plans().len(), 2);
    infer_at_once(&model, &source, &references).await;
    one.stop().await;
    infer_at_once(&model, &source, &references).await;
    cluster.shutdown().await;
}

#[tokio::test]
async fn a_severed_device_is_lost_and_no_frame_with_it() {
    let lan = Lan::new();
    let (one, _) = lan.worker("one").await;
    let (two, _) = lan.worker("two").await;
    let peers = [one.address(), two.address()];
    let cluster = peers.iter().fold(lan.leader(), |leader, peer| leader.peer(*peer));
    let cluster = cluster.devices(3).discover().await.unwrap();
    let source = source();
    let references = references(&cluster, &source, 2).await;
    let model = cluster.load_with(source.clone(), spread()).await.unwrap();
    let mut events = model.subscribe();
    lan.switchboard.cut("leader", "one");
    lan.switchboard.cut("two", "one");
    let lost = run_until(&model, &source, &references, &mut events, Reason::Lost).await;
    assert_eq!(holders(&lost).len(), 2);
    cluster.shutdown().await;
}

#[tokio::test]
async fn too_few_devices_is_an_error_that_counts() {
    let lan = Lan::new();
    let leader = lan.leader().peer("nobody:1").devices(2).wait(Duration::from_millis(700));
    match leader.discover().await.map(|_| ()) {
        Err(ClusterError::TooFew { found: 1, wanted: 2, notes, .. }) => {
            assert!(notes[0].contains("nobody:1"), "{notes:?}");
        }
        other => panic!("{other:?}"),
    }
    let named = lan.leader().peer("nobody:1").wait(Duration::from_millis(700)).discover().await;
    assert!(matches!(named.map(|_| ()), Err(ClusterError::Unreachable { .. })));
}

#[tokio::test]
async fn few_frames_are_done_before_the_weights_have_moved() {
    let lan = Lan::new();
    let (one, _) = lan.worker("one").await;
    let cluster = lan.leader().peer(one.address()).discover().await.unwrap();
    let source = source();
    let options = LoadOptions { frames: Some(1), ..LoadOptions::default() };
    let model = cluster.load_with(source.clone(), options).await.unwrap();
    model.infer(&inputs(&source, 0)).await.unwrap();
    cluster.shutdown().await;
}

#[tokio::test]
async fn two_leaders_share_a_worker() {
    let lan = Lan::new();
    let (one, _) = lan.worker("one").await;
    let source = source();
    let mut leaders = Vec::new();
    for name in ["first", "second"] {
        let transport = Arc::new(lan.switchboard.plug(name));
        let leader = leader("memory", &lan.home.path().join(name)).transport(transport);
        let cluster = leader.peer(one.address()).devices(2).discover().await.unwrap();
        let model = cluster.load_with(source.clone(), spread()).await.unwrap();
        assert_eq!(holders(&model.plan()).len(), 2);
        leaders.push((cluster, model));
    }
    let frame = inputs(&source, 5);
    let (first, second) = tokio::join!(leaders[0].1.infer(&frame), leaders[1].1.infer(&frame));
    same_bits(&first.unwrap(), &second.unwrap());
    let (cluster, model) = leaders.remove(0);
    drop(model);
    cluster.shutdown().await;
    leaders[0].1.infer(&frame).await.unwrap();
}

#[tokio::test]
async fn nobody_with_memory_for_it_is_an_error_in_numbers() {
    let lan = Lan::new();
    let leader = lan.leader().memory(edgeld_runtime::units::Bytes(80_000_000)).alone();
    let cluster = leader.discover().await.unwrap();
    let error = cluster.load(source()).await.err().expect("a model that does not fit").to_string();
    assert!(error.contains("are short"), "{error}");
    let unknown = cluster.load("no-such-model.onnx").await.err().expect("no such file");
    assert!(unknown.to_string().contains("no-such-model.onnx"), "{unknown}");
}
