//! An ONNX file on one, two, three and five devices in one thread, against each other.
//!
//!     onnx_together [MODEL.onnx INPUT[,INPUT...] FOLDER DEVICES...]
//!
//! INPUT is a picture, an .npy array or random:SEED; arrays in the order of the model's inputs, or
//! as NAME=FILE.npy, which also fixes dimensions that the file leaves open. The outputs are left in FOLDER as
//! devices3_output0.npy: deploy/conformance compares them with onnxruntime's.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use edgeld::Output;
use edgeld::input::{Framing, Origin, array_shape, write_npy};
use edgeld_runtime::cost::{ClusterProfile, DeviceProfile, LinkProfile};
use edgeld_runtime::exec::{Input, local::LocalCluster};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::{Policy, Problem, solve};
use edgeld_runtime::units::{Bytes, Mbps, Ms};

/// Of every device: any model fits.
const MEMORY: Bytes = Bytes(64 << 30);

const ASSETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../actors/assets");

fn main() -> ExitCode {
    match together() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn together() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or(format!("{ASSETS}/efficientnet_lite0.onnx"));
    let origins = arguments.next().unwrap_or(format!("{ASSETS}/coffee.jpg"));
    let mut options = Options::default();
    let mut given = Vec::new();
    for text in origins.split(',') {
        let (name, origin) = text.rsplit_once('=').map_or((None, text), |(a, b)| (Some(a), b));
        let origin: Origin = origin.parse()?;
        if let (Some(name), Origin::Array(path)) = (name, &origin) {
            options.input_shapes.named.insert(name.to_owned(), array_shape(path)?);
        }
        given.push((name, origin));
    }
    let folder = arguments.next();
    let counts = arguments.map(|count| count.parse()).collect::<Result<Vec<usize>, _>>()?;
    let counts = if counts.is_empty() { vec![1, 2, 3, 5] } else { counts };

    let model = models::open(&file, &options)?;
    let mut inputs = Vec::new();
    let mut encodings = Vec::new();
    for (index, port) in model.graph.inputs().iter().enumerate() {
        let named = given.iter().find(|(name, _)| *name == Some(port.name.as_str()));
        let (_, origin) = named.or(given.get(index)).ok_or("an input for every port is needed")?;
        let shape = model.graph.shape(port.tensor);
        let (input, _) = origin.read(port, shape, Framing::default())?;
        encodings.push(match (&input, model.preset) {
            (Input::Pixels(_), Some(preset)) => preset.encoding(),
            (Input::Pixels(_), None) => return Err("the file does not say edgeld.preset".into()),
            (Input::Values(_), _) => Encoding::F32,
        });
        inputs.push(input);
    }
    for count in counts {
        // Devices of different speed, so that no two shares are the same.
        let profile = ClusterProfile::new((0..count).map(|device| {
            let speed = 10.0 * (device + 2) as f64;
            let link = LinkProfile::described(Mbps(1000.0), Ms(0.1));
            (DeviceProfile::described(speed, speed / 10.0).with_memory(MEMORY), link)
        }));
        let solution = solve(&Problem {
            graph: &model.graph,
            encodings: &encodings,
            profile: &profile,
            policy: Policy { spread: true, ..Policy::default() },
            previous: None,
        })?;
        let (graph, plan, weights) = (&model.graph, &solution.plan, &*model.weights);
        let mut devices = LocalCluster::new(graph, &encodings, plan, weights, KernelKind::Fast)?;
        let outcome = devices.infer(&inputs)?;
        let (class, score) = largest(&outcome.outputs[0]);
        println!("{count} devices: class {class}, {score:.4}, {} moved", outcome.bytes_moved);
        for (index, (port, data)) in graph.outputs().iter().zip(outcome.outputs).enumerate() {
            let Some(folder) = &folder else { continue };
            let path = Path::new(folder).join(format!("devices{count}_output{index}.npy"));
            let (name, dims) = (port.name.clone(), port.dims.clone());
            write_npy(&path, &Output { name, dims, data })?;
        }
    }
    Ok(())
}

fn largest(values: &[f32]) -> (usize, f32) {
    let start = (0, f32::NEG_INFINITY);
    values
        .iter()
        .copied()
        .enumerate()
        .fold(start, |best, one| if one.1 > best.1 { one } else { best })
}
