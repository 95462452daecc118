//! What reads bytes from outside, each as far as it goes without a network.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use edgeld::Input;
use edgeld::input::{Framing, Origin, decode_picture, read_labels};
use edgeld::transport::ClusterKey;
use edgeld_runtime::cost::graph_flops;
use edgeld_runtime::exec::local::LocalCluster;
use edgeld_runtime::graph::{LayerId, Port, Shape, TensorId};
use edgeld_runtime::kernel::{KernelKind, Setup};
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::models::{self, Model, Options};
use edgeld_runtime::plan::Plan;
use edgeld_runtime::program::{Encoding, derivation_effort, derive};
use edgeld_runtime::region::Region;
use edgeld_runtime::wire::{
    Hello, LeaderMessage, StripHeader, WeightsMessage, WorkerMessage, decode, encode,
};

use crate::corpus;

/// As a worker bounds the work of deriving a plan.
const MAX_EFFORT: u64 = 64 << 20;

/// Decoded, and understood the same again after it was encoded.
macro_rules! message {
    ($name:ident, $message:ty) => {
        pub fn $name(bytes: &[u8]) {
            if let Ok(message) = decode::<$message>(bytes) {
                let again = decode::<$message>(&encode(&message));
                // Compared as text: NaN is not equal to itself.
                assert_eq!(format!("{:?}", again.unwrap()), format!("{message:?}"));
            }
        }
    };
}

message!(worker_messages, WorkerMessage);
message!(weights_messages, WeightsMessage);
message!(hellos, Hello);

pub fn strips(bytes: &[u8]) {
    if let Ok(header) = decode::<StripHeader>(bytes) {
        drop(encode(&header));
    }
}

/// A message, and what a worker does with the model or the plan in it.
pub fn leader_messages(bytes: &[u8]) {
    match decode::<LeaderMessage>(bytes) {
        Ok(LeaderMessage::Open { manifest, .. }) => manifests(&manifest),
        Ok(LeaderMessage::Prepare { prepare, .. }) => check(&prepare.plan),
        Ok(LeaderMessage::Standby { plans, .. }) => plans.iter().for_each(stand_by),
        Ok(message) => drop(encode(&message)),
        Err(_) => {}
    }
}

/// What a worker does with the regions of a plan that it should be ready for.
fn stand_by(regions: &BTreeMap<LayerId, Region>) {
    let graph = corpus::graph();
    if let Ok(blocks) = Setup::from(KernelKind::Fast).blocks(&graph, regions, |_| false) {
        assert!(blocks.len() <= 256 * graph.layers().len(), "a layer has at most 4096 features");
    }
}

pub fn plans(bytes: &[u8]) {
    if let Ok(plan) = decode::<Plan>(bytes) {
        check(&plan);
    }
}

fn check(plan: &Plan) {
    let graph = corpus::graph();
    if derivation_effort(&graph, plan) <= MAX_EFFORT
        && let Ok(derivation) = derive(&graph, plan)
    {
        assert_eq!(derivation.programs.len(), usize::from(plan.devices));
    }
}

pub fn manifests(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::decode(bytes) {
        let graph = manifest.graph();
        let alone = Plan::alone(graph.layers().len() as u32);
        if let Ok(derivation) = derive(graph, &alone) {
            drop(manifest.chunks_for(&derivation.programs[0].features(graph)));
        }
    }
}

pub fn models(bytes: &[u8]) {
    let path = file("onnx", bytes);
    if let Ok(model) = models::open(&path.to_string_lossy(), &Options::default()) {
        assert!(!model.graph.outputs().is_empty());
        answer(&model);
    }
}

/// Whoever loads a model runs it; if that is not too much.
fn answer(model: &Model) {
    let graph = &model.graph;
    let made = graph.layer_ids().map(|id| graph.output_shape(id));
    let given = graph.inputs().iter().map(|port| graph.shape(port.tensor));
    let elements: u64 = made.chain(given).map(|shape| shape.elements()).sum();
    if elements > 1 << 18 || graph.weights_bytes() > 1 << 20 || graph_flops(graph).giga() > 0.01 {
        return;
    }
    let plan = Plan::alone(graph.layers().len() as u32);
    let encodings = vec![Encoding::F32; graph.inputs().len()];
    let (weights, kind) = (&*model.weights, KernelKind::Exact);
    let Ok(mut device) = LocalCluster::new(graph, &encodings, &plan, weights, kind) else { return };
    let input = |port: &Port| Input::from(vec![0.5; graph.shape(port.tensor).elements() as usize]);
    drop(device.infer(&graph.inputs().iter().map(input).collect::<Vec<_>>()));
}

pub fn pictures(bytes: &[u8]) {
    let shape = Shape::new(3, 16, 16);
    let framing = Framing::default();
    if let Ok((pixels, _)) = decode_picture(Path::new("picture"), bytes, shape, framing) {
        assert_eq!(pixels.len() as u64, shape.elements());
    }
}

pub fn arrays(bytes: &[u8]) {
    let path = file("npy", bytes);
    let port = Port { name: "x".into(), tensor: TensorId(0), dims: vec![1, 3, 4, 4] };
    let origin: Origin = path.to_string_lossy().parse().expect("a path is an origin");
    drop(origin.read(&port, Shape::new(3, 4, 4), Framing::default()));
}

pub fn labels(bytes: &[u8]) {
    drop(read_labels(&file("txt", bytes)));
}

pub fn keys(bytes: &[u8]) {
    drop(ClusterKey::read(&file("key", bytes)));
}

/// A file with this content, the same for every input of a test.
fn file(ending: &str, bytes: &[u8]) -> PathBuf {
    thread_local! {
        static FOLDER: RefCell<tempfile::TempDir> =
            RefCell::new(tempfile::tempdir().expect("there is room for a file"));
    }
    let path = FOLDER.with_borrow(|folder| folder.path().join(format!("input.{ending}")));
    fs::write(&path, bytes).expect("there is room for a file");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(&path, private).expect("it is this test's own");
    }
    path
}
