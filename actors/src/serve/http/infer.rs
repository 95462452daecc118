//! Inference over HTTP: tensors in JSON, or as bytes behind it.
//!
//! With the binary extension a body is JSON, then the bytes of those tensors that have a
//! `binary_data_size`, in their order; the header `Inference-Header-Content-Length` says where the
//! JSON ends.

use std::time::Duration;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde_json::Value;

use super::body;
use super::json::{
    BinarySize, InferRequest, InferResponse, Numbers, Parameters, RequestInput, RequestOutput,
    ResponseOutput,
};
use super::named::Named;
use crate::serve::about::VERSION;
use crate::serve::datatype::DataType;
use crate::serve::error::RequestError;
use crate::serve::model::{Given, Tensor, Wanted};
use crate::serve::site::Site;

/// Where the JSON of a body ends.
const JSON_LENGTH: &str = "Inference-Header-Content-Length";

pub(super) async fn infer(
    named: Path<Named>,
    site: Data<Site>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, RequestError> {
    let served = site.model(&named.model, named.version.as_deref())?;
    served.has_room()?;
    let body = body::read(&site, &request, payload).await?;
    let (json, bytes) = parts(&request, &body)?;
    let InferRequest { id, parameters, inputs, outputs } = serde_json::from_slice(json)
        .map_err(|error| RequestError::Malformed(format!("not an inference request: {error}")))?;
    let tensors = tensors(inputs, bytes)?;
    let outputs = outputs.unwrap_or_default();
    let wanted: Vec<Wanted> = outputs.iter().map(wanted).collect();
    let given = served.infer(tensors, &wanted, patience(parameters.as_ref())).await?;

    let all_binary = is_set(parameters.as_ref(), "binary_data_output").unwrap_or(false);
    let as_bytes = |name: &str| {
        let asked = outputs.iter().find(|output| output.name == name);
        let own = asked.and_then(|output| is_set(output.parameters.as_ref(), "binary_data"));
        own.unwrap_or(all_binary)
    };
    let mut tail = Vec::new();
    let outputs = given.into_iter().map(|one| {
        let is_binary = as_bytes(&one.name);
        response_output(one, is_binary.then_some(&mut tail))
    });
    let response = InferResponse {
        model_name: &served.name,
        model_version: VERSION,
        id: id.as_deref(),
        outputs: outputs.collect(),
    };
    if tail.is_empty() {
        return Ok(HttpResponse::Ok().json(response));
    }
    // Lists of names and numbers always become JSON.
    let mut all = serde_json::to_vec(&response)
        .map_err(|error| RequestError::Malformed(error.to_string()))?;
    let length = all.len().to_string();
    all.append(&mut tail);
    Ok(HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .insert_header((JSON_LENGTH, length))
        .body(all))
}

/// The JSON of a body, and the bytes behind it.
fn parts<'a>(request: &HttpRequest, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), RequestError> {
    let Some(length) = request.headers().get(JSON_LENGTH) else { return Ok((body, &[])) };
    let length = length.to_str().ok().and_then(|text| text.trim().parse::<usize>().ok());
    length.and_then(|length| body.split_at_checked(length)).ok_or_else(|| {
        let length = body.len();
        RequestError::Malformed(format!("{JSON_LENGTH} is not within the body's {length} bytes"))
    })
}

/// The tensors of a request: each from its JSON, or from the bytes behind it.
fn tensors(inputs: Vec<RequestInput>, mut bytes: &[u8]) -> Result<Vec<Tensor>, RequestError> {
    let mut tensors = Vec::with_capacity(inputs.len());
    for RequestInput { name, shape, datatype, parameters, data } in inputs {
        let malformed = |what: &str| RequestError::Malformed(format!("input {name:?}: {what}"));
        if parameters.as_ref().is_some_and(|all| all.contains_key("shared_memory_region")) {
            return Err(malformed("shared memory is not supported, send the data"));
        }
        let datatype: DataType = datatype.parse()?;
        let size = parameters.as_ref().and_then(|all| all.get("binary_data_size"));
        let data = match (size.map(Value::as_u64), data) {
            (None, Some(Numbers(numbers))) => numbers,
            (Some(Some(size)), None) => {
                let taken =
                    usize::try_from(size).ok().and_then(|size| bytes.split_at_checked(size));
                let (own, rest) = taken.ok_or_else(|| {
                    malformed(&format!(
                        "{size} bytes of it should follow the JSON, there are {}",
                        bytes.len()
                    ))
                })?;
                bytes = rest;
                datatype.read(own)?
            }
            (Some(None), _) => return Err(malformed("binary_data_size is not a number of bytes")),
            (Some(_), Some(_)) => return Err(malformed("it has data and a binary_data_size")),
            (None, None) => return Err(malformed("it has neither data nor a binary_data_size")),
        };
        tensors.push(Tensor { name, dims: shape, data });
    }
    match bytes.len() {
        0 => Ok(tensors),
        spare => Err(RequestError::Malformed(format!("{spare} bytes too many follow the JSON"))),
    }
}

fn wanted(output: &RequestOutput) -> Wanted {
    let count = output.parameters.as_ref().and_then(|all| all.get("classification"));
    let classes = count.and_then(Value::as_u64).unwrap_or_default();
    Wanted { name: output.name.clone(), classes: usize::try_from(classes).unwrap_or(usize::MAX) }
}

/// How long a request says that it may wait; in its own parameter, as microseconds.
fn patience(parameters: Option<&Parameters>) -> Option<Duration> {
    let micros = parameters?.get("timeout")?.as_u64()?;
    (micros > 0).then(|| Duration::from_micros(micros))
}

fn is_set(parameters: Option<&Parameters>, name: &str) -> Option<bool> {
    parameters?.get(name)?.as_bool()
}

/// An output in JSON, or with its bytes in `tail`.
fn response_output(given: Given, tail: Option<&mut Vec<u8>>) -> ResponseOutput {
    let Given { name, dims: shape, elements } = given;
    let datatype = elements.datatype();
    let (parameters, data) = match tail {
        None => (None, Some(elements)),
        Some(tail) => {
            let bytes = elements.bytes();
            tail.extend_from_slice(&bytes);
            (Some(BinarySize { binary_data_size: bytes.len() }), None)
        }
    };
    ResponseOutput { name, datatype, shape, parameters, data }
}
