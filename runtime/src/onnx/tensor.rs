//! Turns a tensor of the file into a [`Constant`], however ONNX stores its data.

use std::collections::HashMap;
use std::path::{Component, Path};
use std::sync::Arc;

use super::constant::{Constant, Data, Element, product};
use super::error::Problem;
use super::proto::TensorProto;
use super::storage::Storage;

/// `data_location` of a tensor whose data is in a file of its own.
const EXTERNAL: i32 = 1;

/// The model file and the files beside it that hold tensors.
pub(super) struct Files {
    model: Arc<Storage>,
    external: HashMap<String, Arc<Storage>>,
}

impl Files {
    pub(super) fn new(model: Arc<Storage>) -> Files {
        Files { model, external: HashMap::new() }
    }

    /// Bytes of all files opened so far.
    pub(super) fn bytes(&self) -> u64 {
        self.model.len() + self.external.values().map(|storage| storage.len()).sum::<u64>()
    }

    /// The contents of a tensor of the file.
    pub(super) fn constant(&mut self, tensor: &TensorProto) -> Result<Constant, Problem> {
        let problem =
            |what: &str| Problem::Tensor { name: tensor.name.clone(), what: what.to_owned() };
        let dims: Option<Vec<u64>> =
            tensor.dims.iter().map(|dim| u64::try_from(*dim).ok()).collect();
        let dims = dims.ok_or_else(|| problem("a dimension is negative"))?;
        let elements =
            product(&dims).ok_or_else(|| problem("over 2^30 elements or 16 dimensions"))?;
        let element = Element::from_onnx(i64::from(tensor.data_type)).ok_or_else(|| {
            problem(&format!("element type {} is not supported", tensor.data_type))
        })?;
        let length = elements * element.size();
        let (data, found) = if tensor.data_location == EXTERNAL {
            self.external(tensor, length)?
        } else {
            self.inline(tensor, element)?
        };
        if found != length {
            return Err(problem(&format!(
                "dimensions {dims:?} take {length} bytes, {found} are there"
            )));
        }
        Ok(Constant { name: tensor.name.clone(), dims, element, data })
    }

    /// Where the tensor's data is within the model file, and how many bytes there are.
    fn inline(&self, tensor: &TensorProto, element: Element) -> Result<(Data, u64), Problem> {
        if let (Some(offset), Some(length)) = (tensor.payload_offset, tensor.payload_length) {
            let storage = Arc::clone(&self.model);
            return Ok((Data::Stored { storage, offset }, length));
        }
        let half = |bits: &i32| (*bits as u16).to_le_bytes();
        let bytes: Vec<u8> = match element {
            _ if !tensor.raw_data.is_empty() => tensor.raw_data.clone(),
            Element::F32 => {
                tensor.float_data.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            Element::F16 | Element::Bf16 | Element::I16 | Element::U16 => {
                tensor.int32_data.iter().flat_map(half).collect()
            }
            Element::I32 => {
                tensor.int32_data.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            Element::I8 | Element::U8 => {
                tensor.int32_data.iter().map(|value| *value as u8).collect()
            }
            Element::Bool => tensor.int32_data.iter().map(|value| u8::from(*value != 0)).collect(),
            Element::I64 => {
                tensor.int64_data.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            Element::F64 => {
                tensor.double_data.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            Element::U32 => {
                let narrow = |value: &u64| (*value as u32).to_le_bytes();
                tensor.uint64_data.iter().flat_map(narrow).collect()
            }
            Element::U64 => {
                tensor.uint64_data.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
        };
        let length = bytes.len() as u64;
        Ok((Data::Held(bytes.into()), length))
    }

    /// Where the tensor's data is in a file beside the model.
    fn external(&mut self, tensor: &TensorProto, wanted: u64) -> Result<(Data, u64), Problem> {
        let problem = |what: String| Problem::Tensor { name: tensor.name.clone(), what };
        let entry = |key: &str| {
            tensor.external_data.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
        };
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(problem(format!("external {key} {text:?} is not a number"))),
            },
        };
        let location =
            entry("location").ok_or_else(|| problem("external data without a location".into()))?;
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(wanted);
        let storage = self.beside(location).map_err(problem)?;
        if offset.checked_add(length).is_none_or(|end| end > storage.len()) {
            return Err(problem(format!(
                "{} ends at byte {}, data is expected at {offset} to {offset} + {length}",
                storage.path().display(),
                storage.len()
            )));
        }
        Ok((Data::Stored { storage, offset }, length))
    }

    /// Opens a file in the model's folder or below it, and nowhere else.
    fn beside(&mut self, location: &str) -> Result<Arc<Storage>, String> {
        if let Some(storage) = self.external.get(location) {
            return Ok(Arc::clone(storage));
        }
        let Some(folder) = self.model.folder() else {
            return Err("a model in memory cannot have external data".to_owned());
        };
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let plain = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        let outside = || format!("external data in {location:?}, outside the model's folder");
        if location.is_empty() || !Path::new(location).components().all(plain) {
            return Err(outside());
        }
        let path = folder.join(location);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        // A symbolic link may lead outside, too.
        let real = path.canonicalize().map_err(failed)?;
        if !real.starts_with(folder.canonicalize().map_err(failed)?) {
            return Err(outside());
        }
        let storage = Arc::new(Storage::open(&path).map_err(failed)?);
        self.external.insert(location.to_owned(), Arc::clone(&storage));
        Ok(storage)
    }
}
