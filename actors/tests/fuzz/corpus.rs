//! What the targets begin with: real messages and files, and inputs that once did harm.

use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use edgeld_runtime::graph::Graph;
use edgeld_runtime::models::{Model, Vgg};

/// The inputs in `corpus/` that once did harm to a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target), "")
}

/// The content of a folder's files with this ending, by name.
fn files(folder: &Path, ending: &str) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it is there").path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(ending));
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).expect("it is readable")).collect()
}

fn model() -> Model {
    let vgg = Vgg::new(11).expect("there is a VGG11");
    vgg.size(32).classes(3).model().expect("and one as small as this")
}

/// The model that plans are for.
pub fn graph() -> Arc<Graph> {
    thread_local! {
        static GRAPH: Arc<Graph> = model().graph;
    }
    GRAPH.with(Arc::clone)
}

/// Real inputs of each target.
pub mod seeds {
    use std::io::Cursor;
    use std::path::Path;

    use edgeld::transport::ClusterKey;
    use edgeld_runtime::graph::{DType, TensorId};
    use edgeld_runtime::ids::{Incarnation, NodeId, SessionId};
    use edgeld_runtime::kernel::{Isa, KernelKind};
    use edgeld_runtime::manifest::Manifest;
    use edgeld_runtime::plan::{Cuts, DeviceIx, Generation, InFlight, Plan, Split, Stage};
    use edgeld_runtime::program::{Encoding, Program, TransferId, derive};
    use edgeld_runtime::region::{ChannelRange, Region, RowRange};
    use edgeld_runtime::units::{Bytes, Ms};
    use edgeld_runtime::wire::{
        Hello, LeaderMessage, Member, PROTOCOL, Prepare, Purpose, Refusal, StageTime, StripHeader,
        Urgency, WeightsMessage, WorkerMessage, encode,
    };
    use image::{DynamicImage, ImageFormat};

    use super::{files, graph, model};

    const SESSION: SessionId = SessionId(7);
    const GENERATION: Generation = Generation(3);

    fn plan() -> Plan {
        let graph = graph();
        let layers = graph.layers().len() as u32;
        let rows = |layer: usize| {
            let output = graph.output_shape(graph.layer_ids().nth(layer).expect("it has layers"));
            let rows = output.rows;
            Split::Rows(Cuts::from_lengths([rows / 2, rows - rows / 2]))
        };
        let stages = vec![
            Stage { layers: 0..1, split: rows(0) },
            Stage { layers: 1..2, split: rows(1) },
            Stage { layers: 2..layers - 1, split: Split::Whole(DeviceIx(1)) },
            Stage { layers: layers - 1..layers, split: Split::Whole(DeviceIx::LEADER) },
        ];
        let plan = Plan::new(2, stages);
        derive(&graph, &plan).expect("it is a plan for this model");
        plan
    }

    fn programs() -> Vec<Program> {
        derive(&graph(), &plan()).expect("it is a plan for this graph").programs
    }

    pub fn plans() -> Vec<Vec<u8>> {
        let layers = graph().layers().len() as u32;
        vec![encode(&plan()), encode(&Plan::alone(layers))]
    }

    pub fn manifests() -> Vec<Vec<u8>> {
        let model = model();
        let manifest = Manifest::build(&model.graph, &*model.weights, &mut |_, _| ());
        vec![manifest.expect("its weights can be read").encode()]
    }

    pub fn leader_messages() -> Vec<Vec<u8>> {
        let member = |device: u16| Member {
            device: DeviceIx(device),
            node: NodeId(u128::from(device) + 1),
            incarnation: Incarnation(5),
            name: "attic".to_owned(),
            addresses: vec!["192.168.1.4:7700".to_owned()],
        };
        let prepare = Prepare {
            generation: GENERATION,
            plan: plan(),
            device: DeviceIx(1),
            members: vec![member(0), member(1)],
            in_flight: InFlight::ONE,
            urgency: Urgency::Patient,
        };
        let messages = [
            LeaderMessage::Measure { kernels: KernelKind::Fast },
            LeaderMessage::Open {
                session: SESSION,
                leader: "you".to_owned(),
                manifest: manifests().remove(0),
                encodings: vec![Encoding::F32],
                kernels: KernelKind::Exact,
                traced: false,
            },
            LeaderMessage::Prepare { session: SESSION, prepare },
            LeaderMessage::Abort { session: SESSION, generation: GENERATION, frames: vec![1, 2] },
            LeaderMessage::Retire { session: SESSION, generation: GENERATION },
            LeaderMessage::Inspect { session: SESSION, generation: GENERATION, frame: 9 },
            LeaderMessage::Standby {
                session: SESSION,
                set: 1,
                weights: DType::F32,
                plans: programs().iter().map(|program| program.regions(&graph())).collect(),
            },
            LeaderMessage::Close { session: SESSION, reason: "the end".to_owned() },
        ];
        messages.iter().map(encode).collect()
    }

    pub fn worker_messages() -> Vec<Vec<u8>> {
        let (session, generation, frame) = (SESSION, GENERATION, 4);
        let times = vec![StageTime { stage: 1, compute: Ms(2.5) }];
        let why = Refusal::Memory { needed: Bytes(9), available: Bytes(8) };
        let (have, need, packed) = (Bytes(1), Bytes(2), Bytes(0));
        let transfers = vec![TransferId(1), TransferId(3)];
        let messages = [
            WorkerMessage::Fetching { session, generation, have, need, packed },
            WorkerMessage::Ready { session, generation },
            WorkerMessage::Refused { session, generation, why },
            WorkerMessage::Finished { session, generation, frame, times, steps: Vec::new() },
            WorkerMessage::Failed { session, generation, frame, error: "no".to_owned() },
            WorkerMessage::Stored { session },
            WorkerMessage::StandsBy { session, set: 1, plans: 2, done: true },
            WorkerMessage::LinkDown { session, generation, peer: NodeId(2), error: "cut".into() },
            WorkerMessage::Inspected {
                session,
                generation,
                frame,
                awaits: transfers.clone(),
                owes: transfers,
            },
            WorkerMessage::Leaving,
        ];
        messages.iter().map(encode).collect()
    }

    pub fn weights_messages() -> Vec<Vec<u8>> {
        let messages = [
            WeightsMessage::Fetch { chunks: vec![0, 1, 500] },
            WeightsMessage::Chunk { chunk: 3 },
            WeightsMessage::Unavailable { chunk: 4, error: "not here".to_owned() },
        ];
        messages.iter().map(encode).collect()
    }

    pub fn strips() -> Vec<Vec<u8>> {
        let region = Region { channels: ChannelRange::new(0, 64), rows: RowRange::new(3, 9) };
        vec![encode(&StripHeader {
            session: SESSION,
            generation: GENERATION,
            frame: 12,
            transfer: TransferId(2),
            tensor: TensorId(1),
            region,
            lanes: 8,
        })]
    }

    pub fn hellos() -> Vec<Vec<u8>> {
        let hello = |purpose| Hello {
            protocol: PROTOCOL,
            build: "0.1.0".to_owned(),
            node: NodeId(1 << 100),
            incarnation: Incarnation(5),
            name: "attic".to_owned(),
            cluster: "home".to_owned(),
            isa: Isa::Plain,
            threads: 4,
            memory: 1 << 32,
            purpose,
        };
        let purposes = [Purpose::Control, Purpose::Strips(SESSION), Purpose::Weights(SESSION)];
        purposes.map(|purpose| encode(&hello(purpose))).to_vec()
    }

    pub fn models() -> Vec<Vec<u8>> {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime/tests/golden");
        files(&golden, ".onnx")
    }

    pub fn pictures() -> Vec<Vec<u8>> {
        let picture = DynamicImage::new_rgb8(24, 18);
        let formats = [ImageFormat::Png, ImageFormat::Jpeg];
        let encoded = formats.map(|format| {
            let mut bytes = Cursor::new(Vec::new());
            picture.write_to(&mut bytes, format).expect("it can be encoded");
            bytes.into_inner()
        });
        encoded.to_vec()
    }

    pub fn arrays() -> Vec<Vec<u8>> {
        let header = |kind: &str, dims: &str| {
            let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {dims}, }}");
            let length = (text.len() as u16 + 1).to_le_bytes();
            let mut bytes = [&b"\x93NUMPY\x01\x00"[..], &length, text.as_bytes(), b"\n"].concat();
            bytes.extend([0; 192]);
            bytes
        };
        vec![header("<f4", "(1, 3, 4, 4)"), header("|u1", "(3, 4, 4)"), header("<f8", "(48,)")]
    }

    pub fn labels() -> Vec<Vec<u8>> {
        vec![b"tabby cat\nespresso\n".to_vec(), "Käse\r\n".as_bytes().to_vec()]
    }

    pub fn keys() -> Vec<Vec<u8>> {
        let key = ClusterKey::generate().expect("there is randomness");
        vec![format!("{}\n", key.to_text()).into_bytes()]
    }
}
