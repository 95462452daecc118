//! How a worker handles a leader that sends invalid requests.

use std::sync::Arc;
use std::time::Duration;

use edgeld_runtime::graph::{Activation, Builder as GraphBuilder, Op, Shape};
use edgeld_runtime::kernel::{Isa, KernelKind};
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::plan::{DeviceIx, Generation, InFlight, Plan};
use edgeld_runtime::program::Encoding;
use edgeld_runtime::wire::{
    Hello, Incarnation, LeaderMessage, Member, NodeId, PROTOCOL, Prepare, Purpose, Refusal,
    SessionId, Urgency, WorkerMessage, decode, encode,
};

use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;
use tokio::time::timeout;

use super::worker::{Worker, WorkerOptions};
use crate::transport::{Network, Receiver, Security, Sender, Settings, Switchboard};

/// Time limit for anything a test waits for, generous enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sessions that a worker keeps open at once.
const SESSIONS: u128 = 32;

/// A leader that sends whatever a test wants.
struct Leader {
    worker: NodeId,
    sender: Sender,
    receiver: Receiver,
    _network: Network,
}

impl Leader {
    async fn connect(switchboard: &Switchboard, address: &str) -> Leader {
        let me = Hello {
            protocol: PROTOCOL,
            build: "test".to_owned(),
            node: NodeId(7),
            incarnation: Incarnation::default(),
            name: "tester".to_owned(),
            cluster: "memory".to_owned(),
            isa: Isa::detect(),
            threads: 1,
            memory: 1 << 30,
            purpose: Purpose::Control,
        };
        let transport = Arc::new(switchboard.plug("tester"));
        let network = Network::start(transport, me, Security::Local, Settings::default()).unwrap();
        let control = network.dial(address, Purpose::Control).await.unwrap();
        let worker = control.peer().node;
        let (sender, receiver) = control.split();
        Leader { worker, sender, receiver, _network: network }
    }

    fn send(&self, message: &LeaderMessage) {
        self.sender.send(encode(message), Vec::new()).unwrap();
    }

    fn open(&self, session: u128, manifest: Vec<u8>) {
        self.send(&LeaderMessage::Open {
            session: SessionId(session),
            leader: "tester".to_owned(),
            manifest,
            encodings: vec![Encoding::F32],
            traced: false,
            kernels: KernelKind::Exact,
        });
    }

    /// Asks the worker to run the whole model, as modified by `change`. Returns the answer and its
    /// session.
    async fn prepare(
        &mut self,
        session: u128,
        change: impl FnOnce(&mut Prepare),
    ) -> (SessionId, Result<(), Refusal>) {
        let (device, node, name) = (DeviceIx::LEADER, self.worker, "worker".to_owned());
        let members = vec![Member {
            device,
            node,
            incarnation: Incarnation::default(),
            name,
            addresses: Vec::new(),
        }];
        let (generation, plan) = (Generation(1), Plan::alone(1));
        let in_flight = InFlight::ONE;
        let urgency = Urgency::Soon;
        let mut prepare = Prepare { generation, plan, device, members, in_flight, urgency };
        change(&mut prepare);
        self.send(&LeaderMessage::Prepare { session: SessionId(session), prepare });
        let answer = async {
            loop {
                let frame = self.receiver.next().await.unwrap();
                match decode(&frame.header).unwrap() {
                    WorkerMessage::Ready { session, .. } => return (session, Ok(())),
                    WorkerMessage::Refused { session, why, .. } => return (session, Err(why)),
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, answer).await.expect("an answer to Prepare")
    }
}

async fn worker(switchboard: &Switchboard, home: &TempDir) -> Worker {
    let options = WorkerOptions {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        threads: Some(1),
        cluster: "memory".to_owned(),
        mdns: false,
        home: Some(home.path().to_owned()),
        transport: Some(Arc::new(switchboard.plug("one"))),
        ..WorkerOptions::default()
    };
    Worker::start(options, unbounded_channel().0).await.unwrap()
}

/// A model without weights.
fn manifest() -> Vec<u8> {
    let mut builder = GraphBuilder::new("sum");
    let x = builder.input("x", Shape::new(4, 8, 8), vec![4, 8, 8]).unwrap();
    let y = builder.layer("sum", Op::SumWidth, &[x], Activation::Linear).unwrap();
    builder.output("y", y, vec![4, 8]).unwrap();
    let graph = Arc::new(builder.finish().unwrap());
    let vgg = models::open("vgg11?size=32&classes=10", &Options::default()).unwrap();
    Manifest::build(&graph, &*vgg.weights, &mut |_, _| ()).unwrap().encode()
}

fn refused(answer: (SessionId, Result<(), Refusal>), session: u128, why: &str) {
    let (answered, result) = answer;
    let text = result.expect_err(why).to_string();
    assert!(answered == SessionId(session) && text.contains(why), "{answered:?}: {text}");
}

#[tokio::test]
async fn a_bad_session_affects_no_other() {
    let switchboard = Switchboard::default();
    let home = tempfile::tempdir().unwrap();
    let worker = worker(&switchboard, &home).await;
    let mut leader = Leader::connect(&switchboard, worker.address()).await;
    leader.open(0, b"no manifest".to_vec());
    refused(leader.prepare(0, |_| ()).await, 0, "manifest");
    refused(leader.prepare(99, |_| ()).await, 99, "not open");
    for session in 1..=SESSIONS + 1 {
        leader.open(session, manifest());
    }
    refused(leader.prepare(SESSIONS + 1, |_| ()).await, SESSIONS + 1, "32 sessions");
    let too_many = |prepare: &mut Prepare| prepare.plan.devices = 60_000;
    refused(leader.prepare(1, too_many).await, 1, "60000 devices");
    for session in [1, SESSIONS] {
        assert_eq!(leader.prepare(session, |_| ()).await, (SessionId(session), Ok(())));
    }
    // When a session ends, another may be opened.
    let reason = "done".to_owned();
    leader.send(&LeaderMessage::Close { session: SessionId(1), reason });
    leader.open(SESSIONS + 1, manifest());
    let late = leader.prepare(SESSIONS + 1, |_| ()).await;
    assert_eq!(late, (SessionId(SESSIONS + 1), Ok(())));
    worker.stop().await;
}
