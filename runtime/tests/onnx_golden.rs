//! Loads every model in `tests/golden`, runs it as a whole, and compares the result with that of
//! onnxruntime. `deploy/conformance/golden.py` creates the files and says what is in them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use edgeld_runtime::graph::{Graph, Shape};
use edgeld_runtime::kernel::{Alone, KernelKind, Kernels, Map, Scratch};
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::models::{self, Model, Options, Preset};

/// Largest difference, relative to the largest element of the output.
const TOLERANCE: f32 = 1e-5;

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file)
}

fn floats(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    bytes.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

fn open(case: &str) -> Model {
    let path = golden(&format!("{case}.onnx"));
    models::open(path.to_str().unwrap(), &Options::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Where element `index` of a tensor in NCHW order is in a map.
fn place(map: &Map, shape: Shape, index: usize) -> usize {
    let (rows, width, lanes) = (shape.rows as usize, shape.width as usize, map.lanes() as usize);
    let (channel, row, x) = (index / (rows * width), index / width % rows, index % width);
    map.line(channel as u32, row as u32).start + x * lanes + channel % lanes
}

/// Computes all layers of a model, each whole, and returns its outputs in NCHW order.
fn run(model: &Model, input: &[f32], kind: KernelKind) -> Vec<Vec<f32>> {
    let graph: &Graph = &model.graph;
    let with_parameters =
        graph.layer_ids().filter(|id| graph.layer(*id).op.parameters().next().is_some());
    let regions: BTreeMap<_, _> =
        with_parameters.map(|id| (id, graph.output_shape(id).region())).collect();
    let kernels = Kernels::prepare(&model.graph, &regions, &*model.weights, kind, &[]).unwrap();
    let port = &graph.inputs()[0];
    let shape = graph.shape(port.tensor);
    let mut map = kernels.map(port.tensor, shape.region());
    assert_eq!(input.len() as u64, shape.elements(), "{}", port.name);
    for (index, value) in input.iter().enumerate() {
        let place = place(&map, shape, index);
        map.as_mut_slice()[place] = *value;
    }
    let mut maps = vec![map];
    let mut scratch = Scratch::new();
    for id in graph.layer_ids() {
        let shape = graph.output_shape(id);
        let mut output = kernels.map(graph.output_of(id), shape.region());
        let inputs: Vec<&Map> =
            graph.layer(id).inputs.iter().map(|tensor| &maps[tensor.index()]).collect();
        kernels.run(id, &inputs, &mut output, shape.region(), &mut scratch, &Alone).unwrap();
        maps.push(output);
    }
    let read = |port: &edgeld_runtime::graph::Port| {
        let (shape, map) = (graph.shape(port.tensor), &maps[port.tensor.index()]);
        (0..shape.elements() as usize).map(|i| map.as_slice()[place(map, shape, i)]).collect()
    };
    graph.outputs().iter().map(read).collect()
}

#[test]
fn every_case_agrees_with_onnxruntime() {
    let mut cases: Vec<String> = fs::read_dir(golden(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|file| Some(file.strip_suffix(".onnx")?.to_owned()))
        .collect();
    cases.sort_unstable();
    assert!(cases.len() > 30, "{} cases are too few: where are the files?", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let model = open(case);
        let input = floats(&golden(&format!("{case}.input.f32")));
        for (index, found) in run(&model, &input, KernelKind::Exact).iter().enumerate() {
            let wanted = floats(&golden(&format!("{case}.output{index}.f32")));
            assert_eq!(found.len(), wanted.len(), "{case} output {index}");
            let largest = wanted.iter().fold(f32::MIN_POSITIVE, |max, x| max.max(x.abs()));
            let difference =
                found.iter().zip(&wanted).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
            // No comparison holds for a NaN, so it is wrong too.
            let close = |(a, b): (&f32, &f32)| (a - b).abs() <= TOLERANCE * largest;
            if !found.iter().zip(&wanted).all(close) {
                wrong.push(format!("{case} output {index}: {difference} of {largest}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn normalisations_and_activations_become_part_of_the_layer_before() {
    let layers = |case: &str| -> Vec<String> {
        open(case).graph.layers().iter().map(|layer| layer.op.name().to_owned()).collect()
    };
    assert_eq!(layers("norm_folds"), ["conv", "conv"]);
    assert_eq!(layers("relu_shared"), ["conv", "identity", "add"]);
    assert_eq!(layers("global_average"), ["conv", "sum-width", "sum-rows", "conv", "conv"]);
    assert_eq!(layers("no_ops"), ["conv", "conv"]);
    assert_eq!(layers("activations"), ["conv", "conv", "conv", "identity", "identity"]);
    assert_eq!(layers("gates"), ["conv", "conv", "conv", "identity", "mul"]);
    assert_eq!(layers("slices")[..4], ["slice"; 4]);
    assert_eq!(layers("channel_shuffle"), ["shuffle", "conv"]);
}

#[test]
fn half_precision_weights_stay_half_precision() {
    let model = open("half");
    let manifest = Manifest::build(&model.graph, &*model.weights, &mut |_, _| ()).unwrap();
    let elements: u64 = 6 * 4 * 3 * 3 + 3 * 6;
    let normalisation = 6 + 6;
    assert_eq!(model.graph.weights_bytes(), 2 * elements + 4 * normalisation);
    let read: u64 = manifest.chunks().iter().map(|chunk| chunk.bytes.0).sum();
    assert_eq!(read, model.graph.weights_bytes());
}

#[test]
fn ports_have_the_names_and_dimensions_of_the_file() {
    let model = open("old_file");
    assert_eq!(model.preset, Some(Preset::Lite));
    assert_eq!(model.graph.name(), "old_file");
    let [input] = model.graph.inputs() else { panic!("initializers are no inputs") };
    assert_eq!((input.name.as_str(), &input.dims[..]), ("x", &[1, 4, 9, 7][..]));
    assert_eq!(model.graph.outputs()[0].dims, [1, 3]);
}
