//! Which files are refused, and that no file makes the loader panic.

use proptest::prelude::*;
use prost::Message;

use super::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};
use super::*;
use crate::manifest::Manifest;

fn port(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |dim: &i64| DimensionProto { value: (*dim > 0).then_some(*dim), name: None };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = Some(TensorTypeProto { element: 1, shape });
    ValueInfoProto { name: name.into(), kind: Some(TypeProto { tensor }) }
}

fn node(op: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|name| (*name).to_owned()).collect(),
        output: vec![output.to_owned()],
        name: format!("{output}_node"),
        op_type: op.to_owned(),
        attribute,
        domain: String::new(),
    }
}

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto { name: name.into(), ints: ints.to_vec(), kind: 7, ..Default::default() }
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(i), kind: 2, ..Default::default() }
}

fn tensor(name: &str, dims: &[i64]) -> TensorProto {
    let elements = dims.iter().product::<i64>() as usize;
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: 1,
        raw_data: 0.5f32.to_le_bytes().repeat(elements),
        ..Default::default()
    }
}

/// Conv, BatchNormalization, Relu, MaxPool, a mean, a reshape by constants, Gemm, Softmax.
fn sample() -> ModelProto {
    let shape =
        TensorProto { data_type: 7, int64_data: vec![1, -1], dims: vec![2], ..Default::default() };
    let shape =
        AttributeProto { name: "value".into(), t: Some(shape), kind: 4, ..Default::default() };
    let packed = TensorProto {
        raw_data: Vec::new(),
        float_data: vec![0.25; 10 * 40],
        ..tensor("dense", &[40, 10])
    };
    let graph = GraphProto {
        node: vec![
            node("Conv", &["x", "w", "b"], "a", vec![ints("pads", &[1, 1, 1, 1]), int("group", 1)]),
            node("BatchNormalization", &["a", "b", "b", "b", "b"], "n", vec![]),
            node("Relu", &["n"], "r", vec![]),
            node("MaxPool", &["r"], "p", vec![ints("kernel_shape", &[2, 2]), int("ceil_mode", 1)]),
            node("Concat", &["p", "p"], "c", vec![int("axis", 1)]),
            node("ReduceMean", &["c"], "m", vec![ints("axes", &[2, 3])]),
            node("Constant", &[], "s", vec![shape]),
            node("Reshape", &["m", "s"], "f", vec![]),
            node("Gemm", &["f", "dense"], "g", vec![]),
            node("Softmax", &["g"], "y", vec![]),
        ],
        initializer: vec![tensor("w", &[20, 4, 3, 3]), tensor("b", &[20]), packed],
        input: vec![port("x", &[0, 4, 6, 5])],
        output: vec![port("g", &[1, 10]), port("y", &[1, 10])],
    };
    let preset = StringStringEntryProto { key: "edgeld.preset".into(), value: "unit".into() };
    ModelProto {
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 13 }],
        metadata_props: vec![preset],
        functions: Vec::new(),
    }
}

fn load_bytes(bytes: Vec<u8>) -> Result<OnnxModel, OnnxError> {
    load(Storage::memory("test.onnx", bytes.leak()), &InputShapes::default())
}

/// The error of loading the sample after `change`.
fn refusal(change: impl FnOnce(&mut GraphProto)) -> String {
    let mut model = sample();
    change(model.graph.as_mut().unwrap());
    load_bytes(model.encode_to_vec()).map(|model| model.file).unwrap_err().to_string()
}

/// Loads bytes and, if that works, reads all weights.
fn exercise(bytes: Vec<u8>) {
    if let Ok(model) = load_bytes(bytes)
        && model.graph.weights_bytes() < 1 << 20
    {
        let _ = Manifest::build(&model.graph, &*model.weights, &mut |_, _| ());
    }
}

#[test]
fn transposes_that_undo_each_other_leave_no_layer() {
    let mut model = sample();
    let graph = model.graph.as_mut().unwrap();
    graph.node = vec![
        node("Conv", &["x", "w", "b"], "a", vec![ints("pads", &[1, 1, 1, 1])]),
        node("Transpose", &["a"], "t", vec![ints("perm", &[0, 2, 3, 1])]),
        node("Relu", &["t"], "r", vec![]),
        node("Mul", &["r", "b"], "m", vec![]),
        node("Concat", &["m", "m"], "c", vec![int("axis", 3)]),
        node("Transpose", &["c"], "u", vec![ints("perm", &[0, 3, 1, 2])]),
        node("MaxPool", &["u"], "y", vec![ints("kernel_shape", &[2, 2])]),
    ];
    graph.output = vec![port("y", &[1, 40, 5, 4])];
    let layers = |model: &ModelProto| {
        let loaded = load_bytes(model.encode_to_vec()).unwrap();
        loaded.graph.layers().iter().map(|layer| layer.op.name()).collect::<Vec<_>>()
    };
    assert_eq!(layers(&model), ["conv", "conv", "concat", "max-pool"]);
    // Whoever reads what the file sees gets it.
    let graph = model.graph.as_mut().unwrap();
    graph.output.push(port("c", &[1, 6, 5, 40]));
    assert_eq!(layers(&model), ["conv", "conv", "concat", "max-pool", "reorder"]);
}

#[test]
fn the_sample_loads() {
    let model = load_bytes(sample().encode_to_vec()).unwrap();
    let names: Vec<&str> = model.graph.layers().iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(
        names,
        ["a_node", "p_node", "c_node", "m_node/rows", "m_node/sum", "g_node", "y_node"]
    );
    assert_eq!(model.metadata["edgeld.preset"], "unit");
    Manifest::build(&model.graph, &*model.weights, &mut |_, _| ()).unwrap();
}

#[test]
fn refusals_name_file_node_operator_and_reason() {
    let unknown = refusal(|graph| graph.node[2].op_type = "Loop".into());
    assert_eq!(unknown, "test.onnx: node r_node (Loop): this operator is not supported");
    let stride = refusal(|graph| graph.node[3].attribute.push(ints("strides", &[0, 1])));
    assert_eq!(
        stride,
        "test.onnx: node p_node (MaxPool): attribute strides must be a number from 1 to \
         65536 for each axis"
    );
    let undefined = refusal(|graph| graph.node[2].input[0] = "nowhere".into());
    assert!(undefined.contains(r#"node r_node (Relu): it reads "nowhere""#), "{undefined}");
    let computed = refusal(|graph| graph.node[3].input[0] = "x".into());
    assert!(!computed.is_empty());
    let groups = refusal(|graph| graph.node[0].attribute[1] = int("group", 3));
    assert!(groups.contains("a_node (Conv): dimensions [20, 4, 3, 3], but 3 groups"), "{groups}");
    let short = refusal(|graph| graph.initializer[1].raw_data.truncate(7));
    assert!(short.contains(r#"tensor "b": dimensions [20] take 80 bytes, 7 are there"#), "{short}");
    let twice = refusal(|graph| {
        graph.node[4].output[0] = "p".into();
        graph.node[5].input[0] = "p".into();
    });
    assert!(twice.contains(r#"c_node (Concat): it makes "p", which exists already"#), "{twice}");
}

#[test]
fn dimensions_left_open_need_the_flag() {
    let open = refusal(|graph| graph.input[0] = port("x", &[0, 4, 0, 5]));
    assert_eq!(
        open,
        "test.onnx: input x: dimensions ? x 4 x ? x 5 are not fixed; \
         give them, as --input-shape 1,4,224,5"
    );
    let batch = refusal(|graph| graph.input[0] = port("x", &[2, 4, 6, 5]));
    // Two pictures are twice as many numbers as the dense layer takes.
    assert!(batch.contains("node g_node (Gemm)"), "{batch}");

    let mut model = sample();
    model.graph.as_mut().unwrap().input[0] = port("x", &[0, 4, 0, 5]);
    let bytes: &'static [u8] = model.encode_to_vec().leak();
    let given = |dims: &[u64]| from_bytes("test.onnx", bytes, &InputShapes::of(dims));
    assert_eq!(given(&[1, 4, 9, 5]).unwrap().graph.inputs()[0].dims, [1, 4, 9, 5]);
    assert!(given(&[1, 3, 9, 5]).unwrap_err().to_string().contains("the model has ? x 4 x ? x 5"));
}

#[test]
fn external_data_stays_beside_the_model() {
    for location in ["../secret", "/etc/passwd", "a/../../b", ""] {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("edgeld-{}-external.onnx", std::process::id()));
        let mut model = sample();
        let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
        tensor.raw_data.clear();
        tensor.data_location = 1;
        let entry = StringStringEntryProto { key: "location".into(), value: location.into() };
        tensor.external_data = vec![entry];
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        let error = open(&path, &InputShapes::default()).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("outside the model's folder"), "{location}: {error}");
    }
}

#[test]
fn files_that_are_no_models_are_refused() {
    for bytes in [&b""[..], b"hello, world", &[0xff; 64], &[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let error = load_bytes(bytes.to_vec()).unwrap_err();
        assert!(matches!(error, OnnxError::Malformed { .. }), "{error}");
    }
    let missing = open(Path::new("nowhere.onnx"), &InputShapes::default()).unwrap_err().to_string();
    assert!(missing.contains("nowhere.onnx") && missing.contains("vgg16"), "{missing}");
    assert!(open(Path::new("."), &InputShapes::default()).is_err());
}

#[test]
fn every_truncation_is_an_error_or_loads() {
    let bytes = sample().encode_to_vec();
    for length in 0..bytes.len() {
        exercise(bytes[..length].to_vec());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn mutated_files_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = sample().encode_to_vec();
        for (at, byte) in changes {
            // Most of the file is weights, which cannot be invalid.
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        exercise(bytes);
    }

    /// Whatever numbers and names a well-formed file contains.
    #[test]
    fn strange_attributes_never_panic(
        index in any::<prop::sample::Index>(),
        number in prop_oneof![-3i64..20, any::<i64>(), Just(i64::MAX), Just(i64::MIN)],
        op in prop::sample::select(operators::OPERATORS),
        name in prop::sample::select(&[
            "pads", "strides", "dilations", "kernel_shape", "group", "axis", "axes", "ceil_mode",
            "to", "start", "end", "keepdims", "transA", "transB", "perm", "value_int",
        ][..]),
        count in 0usize..6,
        dims in prop::collection::vec(prop_oneof![-1i64..40, any::<i64>()], 0..6),
    ) {
        let mut model = sample();
        let graph = model.graph.as_mut().unwrap();
        let nodes = graph.node.len();
        let node = &mut graph.node[index.index(nodes)];
        node.attribute.push(if count == 5 { int(name, number) } else { ints(name, &vec![number; count]) });
        node.op_type = op.onnx.to_owned();
        let tensors = graph.initializer.len();
        if count == 0 {
            graph.initializer[index.index(tensors)].dims = dims;
        }
        exercise(model.encode_to_vec());
    }
}
