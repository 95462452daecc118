//! Between the protocol's messages and the server's own types.

use std::collections::HashMap;
use std::time::Duration;

use super::protocol::infer_parameter::ParameterChoice;
use super::protocol::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::protocol::model_infer_response::InferOutputTensor;
use super::protocol::{InferParameter, InferTensorContents, ModelInferRequest, ModelInferResponse};
use crate::serve::about::VERSION;
use crate::serve::datatype::DataType;
use crate::serve::error::RequestError;
use crate::serve::model::{Given, Tensor, Wanted};

/// What a request asks.
pub(super) struct Asked {
    pub(super) tensors: Vec<Tensor>,
    pub(super) wanted: Vec<Wanted>,
    pub(super) patience: Option<Duration>,
}

/// Reads a request: elements stand in its tensors, or all of them as bytes beside.
pub(super) fn asked(request: ModelInferRequest) -> Result<Asked, RequestError> {
    let ModelInferRequest { inputs, outputs, raw_input_contents: raw, parameters, .. } = request;
    if !raw.is_empty() && raw.len() != inputs.len() {
        let (found, inputs) = (raw.len(), inputs.len());
        return Err(RequestError::Malformed(format!(
            "raw_input_contents has {found} entries for {inputs} inputs"
        )));
    }
    let tensors = inputs.into_iter().enumerate().map(|(index, input)| {
        let bytes = raw.get(index).map(|bytes| &bytes[..]);
        tensor(input, bytes)
    });
    let micros = parameter(&parameters, "timeout").filter(|micros| *micros > 0);
    Ok(Asked {
        tensors: tensors.collect::<Result<_, _>>()?,
        wanted: outputs.iter().map(wanted).collect(),
        patience: micros.map(Duration::from_micros),
    })
}

fn tensor(input: InferInputTensor, raw: Option<&[u8]>) -> Result<Tensor, RequestError> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = input;
    let malformed = |what: &str| RequestError::Malformed(format!("input {name:?}: {what}"));
    if parameters.contains_key("shared_memory_region") {
        return Err(malformed("shared memory is not supported, send the data"));
    }
    let datatype: DataType = datatype.parse()?;
    let dims = shape.iter().map(|dim| u64::try_from(*dim)).collect::<Result<Vec<u64>, _>>();
    let dims = dims.map_err(|_| malformed(&format!("the shape {shape:?} is negative")))?;
    let data = match (raw, contents) {
        // Some clients send contents without any.
        (Some(bytes), contents) if contents.as_ref().is_none_or(|all| *all == <_>::default()) => {
            datatype.read(bytes)?
        }
        (Some(_), _) => {
            return Err(malformed("it has contents, and raw_input_contents has more"));
        }
        (None, Some(contents)) => numbers(datatype, contents),
        (None, None) => return Err(malformed("it has no contents")),
    };
    Ok(Tensor { name, dims, data })
}

/// The elements in the field that the protocol has for their type.
fn numbers(datatype: DataType, contents: InferTensorContents) -> Vec<f32> {
    fn all<T: Copy>(list: &[T], number: impl Fn(T) -> f32) -> Vec<f32> {
        list.iter().map(|element| number(*element)).collect()
    }
    match datatype {
        DataType::Bool => all(&contents.bool_contents, |b| f32::from(u8::from(b))),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => {
            all(&contents.int_contents, |n| n as f32)
        }
        DataType::Int64 => all(&contents.int64_contents, |n| n as f32),
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 => {
            all(&contents.uint_contents, |n| n as f32)
        }
        DataType::Uint64 => all(&contents.uint64_contents, |n| n as f32),
        DataType::Fp64 => all(&contents.fp64_contents, |n| n as f32),
        DataType::Fp16 | DataType::Bf16 | DataType::Fp32 => contents.fp32_contents,
    }
}

fn wanted(output: &InferRequestedOutputTensor) -> Wanted {
    let classes = parameter(&output.parameters, "classification").unwrap_or_default();
    Wanted { name: output.name.clone(), classes: usize::try_from(classes).unwrap_or(usize::MAX) }
}

/// A parameter that is a whole number of at least 0.
fn parameter(parameters: &HashMap<String, InferParameter>, name: &str) -> Option<u64> {
    match parameters.get(name)?.parameter_choice.as_ref()? {
        ParameterChoice::Int64Param(number) => u64::try_from(*number).ok(),
        ParameterChoice::Uint64Param(number) => Some(*number),
        _ => None,
    }
}

/// A response, its elements as bytes.
pub(super) fn response(model: &str, id: String, given: Vec<Given>) -> ModelInferResponse {
    let (mut outputs, mut raw) = (Vec::new(), Vec::new());
    for Given { name, dims, elements } in given {
        outputs.push(InferOutputTensor {
            name,
            datatype: elements.datatype().to_owned(),
            shape: dims.iter().map(|dim| *dim as i64).collect(),
            ..InferOutputTensor::default()
        });
        raw.push(elements.bytes());
    }
    ModelInferResponse {
        model_name: model.to_owned(),
        model_version: VERSION.to_owned(),
        id,
        parameters: HashMap::new(),
        outputs,
        raw_output_contents: raw,
    }
}
