//! Peers that are greeted, in a cluster without a key, and then break the rules.

use std::io::Write;
use std::net::TcpStream;

use std::sync::Arc;

use edgeld_runtime::graph::{
    Activation, Builder, Graph, Op, Pool, Reduction, Shape, Sweep, Window,
};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::plan::{DeviceIx, Generation, InFlight, Plan, Split, Stage};
use edgeld_runtime::program::Encoding;
use edgeld_runtime::wire::{
    Incarnation, LeaderMessage, Member, NodeId, Prepare, Purpose, SessionId, Urgency, encode,
};

use super::wire::{greeted, lengths};
use super::worker::{Cluster, Worker, read_to_the_end, text};

/// Whether the worker ends the connection after `bytes`.
fn ends(mut stream: TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
    // Hangs if it does not.
    read_to_the_end(stream);
}

#[test]
fn frames_that_claim_to_be_long() {
    let mut worker = Worker::start(Cluster::Open);
    let purposes = [
        Purpose::Control,
        Purpose::Probe,
        Purpose::Strips(SessionId(1)),
        Purpose::Weights(SessionId(1)),
    ];
    for purpose in purposes {
        for (header, payload) in [(u32::MAX, 0), (1, u32::MAX), (u32::MAX, u32::MAX), (0, 1)] {
            ends(greeted(&worker, 7, purpose), &lengths(header, payload));
        }
    }
    worker.logs(&["violated the protocol", "the limit"]);
    worker.has_survived();
}

#[test]
fn frames_that_end_early_or_are_no_messages() {
    let mut worker = Worker::start(Cluster::Open);
    let purposes = [Purpose::Control, Purpose::Strips(SessionId(1)), Purpose::Probe];
    for purpose in purposes {
        for bytes in [&[1][..], &[1, 0, 0, 0, 0, 0, 0, 0], &[5, 0, 0, 0, 0, 0, 0, 0, 1, 2]] {
            let mut stream = greeted(&worker, 7, purpose);
            stream.write_all(bytes).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            read_to_the_end(stream);
        }
    }
    let garbage = [&lengths(4, 0)[..], &[0xc1; 4]].concat();
    ends(greeted(&worker, 7, Purpose::Control), &garbage);
    // What belongs to no session waits a while for one, and has nobody to answer to.
    greeted(&worker, 7, Purpose::Strips(SessionId(1))).write_all(&garbage).unwrap();
    worker.has_survived();
}

/// A peer that asks without end and reads no answer: it is read no further, and then disconnected.
#[test]
fn questions_whose_answers_nobody_reads() {
    let mut worker = Worker::start(Cluster::Open);
    let question = encode(&LeaderMessage::Measure { kernels: KernelKind::Exact });
    let question = [&lengths(question.len() as u32, 0)[..], &question].concat();
    let many = question.repeat(10_000);
    let mut stream = greeted(&worker, 7, Purpose::Control);
    // The answers are a hundred times as long. This ends when the worker gives up.
    let mut rounds = 0;
    while stream.write_all(&many).is_ok() {
        rounds += 1;
        assert!(rounds < 1_000, "it answers for ever");
    }
    worker.has_survived();
}

/// A leader that sends a worker what it likes.
struct Leader<'a> {
    worker: &'a Worker,
    stream: TcpStream,
}

impl Leader<'_> {
    fn new(worker: &Worker) -> Leader<'_> {
        Leader { worker, stream: greeted(worker, 7, Purpose::Control) }
    }

    fn send(&mut self, message: &LeaderMessage) {
        let message = encode(message);
        let bytes = [&lengths(message.len() as u32, 0)[..], &message].concat();
        self.stream.write_all(&bytes).unwrap();
    }

    fn open(&mut self, manifest: &Manifest) {
        self.send(&LeaderMessage::Open {
            session: SessionId(1),
            leader: "attacker".to_owned(),
            manifest: manifest.encode(),
            encodings: vec![Encoding::F32],
            kernels: KernelKind::Exact,
            traced: false,
        });
    }

    /// Has the worker prepare a plan as its first device.
    fn prepare(&mut self, generation: u32, plan: Plan) {
        let member = |device: DeviceIx| Member {
            device,
            node: match device {
                DeviceIx::LEADER => self.worker.id.parse().unwrap(),
                device => NodeId(1000 + u128::from(device.0)),
            },
            incarnation: Incarnation::default(),
            name: "member".to_owned(),
            addresses: Vec::new(),
        };
        let prepare = Prepare {
            generation: Generation(generation),
            device: DeviceIx::LEADER,
            members: plan.device_ids().map(member).collect(),
            plan,
            in_flight: InFlight::ONE,
            urgency: Urgency::Soon,
        };
        self.send(&LeaderMessage::Prepare { session: SessionId(1), prepare });
    }

    /// Waits until the worker says all of `words`.
    fn hears(&mut self, words: &[&str]) {
        let (mut said, mut piece) = (String::new(), [0; 4096]);
        while !words.iter().all(|word| said.contains(word)) {
            let count = std::io::Read::read(&mut self.stream, &mut piece).unwrap();
            assert!(count > 0, "it ended after {said:?}");
            said.push_str(&text(&piece[..count]));
        }
    }
}

/// A chain of so many layers.
fn chain(layers: u32) -> Graph {
    let three = Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() };
    let blur = Op::Pool(Pool { reduction: Reduction::Max, window: Window::square(three) });
    let mut builder = Builder::new("chain");
    let mut tensor = builder.input("x", Shape::new(1, 8, 8), vec![1, 1, 8, 8]).unwrap();
    for layer in 0..layers {
        let name = layer.to_string();
        tensor = builder.layer(&name, blur.clone(), &[tensor], Activation::Linear).unwrap();
    }
    builder.output("y", tensor, vec![1, 1, 8, 8]).unwrap();
    builder.finish().unwrap()
}

/// A valid plan of which every device would derive its part for hours.
#[test]
fn plans_that_take_for_ever_to_derive() {
    let mut worker = Worker::start(Cluster::Open);
    let (layers, devices) = (10_000, 256);
    let source = models::open("vgg11?size=32&classes=10", &Options::default()).unwrap().weights;
    let manifest = Manifest::build(&Arc::new(chain(layers)), &*source, &mut |_, _| ()).unwrap();
    let stage = |layer: u32| Stage {
        layers: layer..layer + 1,
        split: Split::Whole(DeviceIx((layer % devices) as u16)),
    };
    let plan = Plan::new(devices as u16, (0..layers).map(stage).collect());
    let mut leader = Leader::new(&worker);
    leader.open(&manifest);
    leader.prepare(1, plan);
    leader.hears(&["steps to derive"]);
    drop(leader);
    worker.has_survived();
}

/// Plans that are retired before they are prepared, again and again; each waits for weights.
#[test]
fn plans_that_are_retired_at_once() {
    let mut worker = Worker::start(Cluster::Open);
    // Other weights than those that the worker has by now.
    let model = models::open("vgg11?size=32&classes=10&seed=99", &Options::default()).unwrap();
    let layers = model.graph.layers().len() as u32;
    let manifest = Manifest::build(&model.graph, &*model.weights, &mut |_, _| ()).unwrap();
    let mut leader = Leader::new(&worker);
    leader.open(&manifest);
    for generation in 1..=300 {
        leader.prepare(generation, Plan::alone(layers));
        leader.send(&LeaderMessage::Retire {
            session: SessionId(1),
            generation: Generation(generation),
        });
    }
    // Answered after all of that, at once.
    leader.prepare(301, Plan::alone(layers + 1));
    leader.hears(&["Refused"]);
    worker.is_bounded();
    drop(leader);
    worker.has_survived();
}

/// Strips for a session that nobody has opened, as long and as many as will be read.
#[test]
fn strips_for_nobody() {
    let mut worker = Worker::start(Cluster::Open);
    let strip = [&lengths(10, 4 << 20)[..], &[0; 10], &vec![7; 4 << 20]].concat();
    for number in 0..64 {
        let mut stream = greeted(&worker, 100 + number, Purpose::Strips(SessionId(77)));
        let sent = (0..16).take_while(|_| stream.write_all(&strip).is_ok()).count();
        assert!(sent < 16, "it reads strips that belong nowhere");
    }
    worker.is_bounded();
    worker.has_survived();
}
