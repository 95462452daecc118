//! Values that are known while loading: weights, which stay in their file, and small values such as
//! shapes, axes and bounds, which are read.

use std::sync::Arc;

use half::f16;

use super::error::Problem;
use super::storage::Storage;
use crate::graph::DType;

/// The most elements of a constant; the same bound as in [`crate::graph`].
const MAX_ELEMENTS: u64 = 1 << 30;

/// The most dimensions of a value.
pub(crate) const MAX_RANK: usize = 16;

/// The most elements of a constant that is read as numbers, such as one number per feature.
const MAX_NUMBERS: u64 = 1 << 24;
const MAX_FILLED: u64 = 1 << 16;

/// Element types of constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    F64,
    I32,
    I64,
    Bool,
}

impl Element {
    /// ONNX's number for the type.
    pub(crate) fn from_onnx(number: i64) -> Option<Element> {
        match number {
            1 => Some(Element::F32),
            6 => Some(Element::I32),
            7 => Some(Element::I64),
            9 => Some(Element::Bool),
            10 => Some(Element::F16),
            11 => Some(Element::F64),
            _ => None,
        }
    }

    pub(crate) const fn size(self) -> u64 {
        match self {
            Element::F64 | Element::I64 => 8,
            Element::F32 | Element::I32 => 4,
            Element::F16 => 2,
            Element::Bool => 1,
        }
    }

    pub(crate) const fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F16 | Element::F64)
    }
}

/// Where a constant's little-endian elements are.
#[derive(Debug, Clone)]
pub(crate) enum Data {
    /// In a file, from `offset` on.
    Stored { storage: Arc<Storage>, offset: u64 },
    /// In memory.
    Held(Arc<[u8]>),
    /// Not stored: every element has these bytes.
    Fill(Arc<[u8]>),
}

impl Data {
    /// Appends `length` bytes from `start` on, both of whole elements.
    pub(super) fn read(&self, start: u64, length: u64, out: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Data::Stored { storage, offset } => {
                let offset = offset.checked_add(start).ok_or(std::io::ErrorKind::UnexpectedEof)?;
                storage.append(offset, length, out)
            }
            Data::Held(bytes) => {
                let part = usize::try_from(start)
                    .ok()
                    .zip(usize::try_from(length).ok())
                    .and_then(|(start, length)| bytes.get(start..)?.get(..length))
                    .ok_or(std::io::ErrorKind::UnexpectedEof)?;
                out.extend_from_slice(part);
                Ok(())
            }
            Data::Fill(element) => {
                let bytes = element.iter().copied().cycle();
                out.extend(bytes.take(usize::try_from(length).unwrap_or(usize::MAX)));
                Ok(())
            }
        }
    }
}

/// A tensor that is known while loading.
#[derive(Debug, Clone)]
pub(crate) struct Constant {
    pub(crate) name: String,
    pub(crate) dims: Vec<u64>,
    pub(crate) element: Element,
    pub(crate) data: Data,
}

impl Constant {
    /// A short list of integers, or a single one.
    pub(crate) fn ints(name: &str, dims: Vec<u64>, values: &[i64]) -> Constant {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let data = Data::Held(bytes);
        Constant { name: name.to_owned(), dims, element: Element::I64, data }
    }

    /// A short list of floats, or a single one.
    pub(crate) fn floats(name: &str, dims: Vec<u64>, values: &[f32]) -> Constant {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let data = Data::Held(bytes);
        Constant { name: name.to_owned(), dims, element: Element::F32, data }
    }

    /// Number of elements. The dimensions were checked when the constant was made.
    pub(crate) fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// The same elements with other dimensions.
    pub(crate) fn reshaped(&self, dims: Vec<u64>) -> Result<Constant, Problem> {
        if product(&dims) != Some(self.elements()) {
            let wanted = format!("there are {} elements", self.elements());
            return Err(Problem::Dims { dims, wanted });
        }
        Ok(Constant { dims, ..self.clone() })
    }

    /// Its type as a layer's parameter.
    pub(crate) fn dtype(&self) -> Result<DType, Problem> {
        match self.element {
            Element::F32 => Ok(DType::F32),
            Element::F16 => Ok(DType::F16),
            _ => Err(self.problem("weights must be of type float or float16")),
        }
    }

    /// All of its bytes.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        let length = self.elements() * self.element.size();
        self.data.read(0, length, &mut bytes).map_err(|source| match &self.data {
            Data::Stored { storage, .. } => Problem::Io { path: storage.path().to_owned(), source },
            Data::Held(_) | Data::Fill(_) => self.problem("fewer elements than its dimensions say"),
        })?;
        Ok(bytes)
    }

    /// Its elements as float32.
    pub(crate) fn to_floats(&self) -> Result<Vec<f32>, Problem> {
        let bytes = self.numbers()?;
        Ok(match self.element {
            Element::F32 => elements(&bytes, f32::from_le_bytes),
            Element::F16 => elements(&bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Element::F64 => elements(&bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            Element::I32 => elements(&bytes, |bytes| i32::from_le_bytes(bytes) as f32),
            Element::I64 => elements(&bytes, |bytes| i64::from_le_bytes(bytes) as f32),
            Element::Bool => elements(&bytes, |[byte]: [u8; 1]| f32::from(u8::from(byte != 0))),
        })
    }

    /// Its elements as integers; floats are truncated, as `Cast` does.
    pub(crate) fn to_ints(&self) -> Result<Vec<i64>, Problem> {
        let bytes = self.numbers()?;
        Ok(match self.element {
            Element::I64 => elements(&bytes, i64::from_le_bytes),
            Element::I32 => elements(&bytes, |bytes| i64::from(i32::from_le_bytes(bytes))),
            Element::Bool => elements(&bytes, |[byte]: [u8; 1]| i64::from(byte != 0)),
            Element::F32 => elements(&bytes, |bytes| f32::from_le_bytes(bytes) as i64),
            Element::F64 => elements(&bytes, |bytes| f64::from_le_bytes(bytes) as i64),
            Element::F16 => elements(&bytes, |bytes| f16::from_le_bytes(bytes).to_f32() as i64),
        })
    }

    fn numbers(&self) -> Result<Vec<u8>, Problem> {
        // Elements that are in no file are only claimed: a stricter bound.
        let most = if matches!(self.data, Data::Fill(_)) { MAX_FILLED } else { MAX_NUMBERS };
        if self.elements() > most {
            return Err(self.problem("more elements than this operator takes"));
        }
        self.bytes()
    }

    pub(crate) fn problem(&self, what: &str) -> Problem {
        Problem::Tensor { name: self.name.clone(), what: what.to_owned() }
    }
}

/// The number of elements, if that and the number of dimensions are within bounds.
pub(crate) fn product(dims: &[u64]) -> Option<u64> {
    if dims.len() > MAX_RANK {
        return None;
    }
    dims.iter()
        .try_fold(1u64, |product, dim| product.checked_mul(*dim))
        .filter(|product| *product <= MAX_ELEMENTS)
}

fn elements<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().map(|element| read(*element)).collect()
}
