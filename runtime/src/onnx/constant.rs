//! Values that are known while loading: weights, which stay in their file, and small values such as
//! shapes, axes and bounds, which are read.

use std::sync::Arc;

use half::{bf16, f16};

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
    Bf16,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    Bool,
}

impl Element {
    /// ONNX's number for the type.
    pub(crate) fn from_onnx(number: i64) -> Option<Element> {
        match number {
            1 => Some(Element::F32),
            2 => Some(Element::U8),
            3 => Some(Element::I8),
            4 => Some(Element::U16),
            5 => Some(Element::I16),
            6 => Some(Element::I32),
            7 => Some(Element::I64),
            9 => Some(Element::Bool),
            10 => Some(Element::F16),
            11 => Some(Element::F64),
            12 => Some(Element::U32),
            13 => Some(Element::U64),
            16 => Some(Element::Bf16),
            _ => None,
        }
    }

    pub(crate) const fn size(self) -> u64 {
        match self {
            Element::F64 | Element::I64 | Element::U64 => 8,
            Element::F32 | Element::I32 | Element::U32 => 4,
            Element::F16 | Element::Bf16 | Element::I16 | Element::U16 => 2,
            Element::I8 | Element::U8 | Element::Bool => 1,
        }
    }

    pub(crate) const fn is_float(self) -> bool {
        matches!(self, Element::F32 | Element::F16 | Element::Bf16 | Element::F64)
    }

    /// The least and largest integer of the type; `None` for floats, and for integers of which
    /// float32 cannot tell the largest ones apart.
    pub(crate) const fn bounds(self) -> Option<(f32, f32)> {
        match self {
            Element::I8 => Some((-128.0, 127.0)),
            Element::U8 => Some((0.0, 255.0)),
            Element::I16 => Some((-32768.0, 32767.0)),
            Element::U16 => Some((0.0, 65535.0)),
            Element::Bool => Some((0.0, 1.0)),
            _ => None,
        }
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

    /// Numbers of a type; larger ones than of 16 bits are of float32 or int64 in memory.
    pub(crate) fn numbers_of(
        name: &str,
        dims: Vec<u64>,
        element: Element,
        values: &[f32],
    ) -> Constant {
        // Types that bound what is computed with them are kept.
        let data = match element {
            _ if element.is_float() => return Constant::floats(name, dims, values),
            Element::I8 => values.iter().map(|value| (*value as i8) as u8).collect(),
            Element::U8 => values.iter().map(|value| *value as u8).collect(),
            Element::Bool => values.iter().map(|value| u8::from(*value != 0.0)).collect(),
            Element::I16 => values.iter().flat_map(|x| (*x as i16).to_le_bytes()).collect(),
            Element::U16 => values.iter().flat_map(|x| (*x as u16).to_le_bytes()).collect(),
            _ => {
                let ints: Vec<i64> = values.iter().map(|value| *value as i64).collect();
                return Constant::ints(name, dims, &ints);
            }
        };
        Constant { name: name.to_owned(), dims, element, data: Data::Held(data) }
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

    /// The same as float32, however many there are; they have to be in the file.
    pub(crate) fn converted(&self) -> Result<Constant, Problem> {
        let bytes =
            if matches!(self.data, Data::Fill(_)) { self.numbers()? } else { self.bytes()? };
        Ok(Constant::floats(&self.name, self.dims.clone(), &self.as_floats(&bytes)))
    }

    /// Its elements as float32.
    pub(crate) fn to_floats(&self) -> Result<Vec<f32>, Problem> {
        Ok(self.as_floats(&self.numbers()?))
    }

    fn as_floats(&self, bytes: &[u8]) -> Vec<f32> {
        match self.element {
            Element::F32 => elements(bytes, f32::from_le_bytes),
            Element::F16 => elements(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Element::F64 => elements(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
            Element::I32 => elements(bytes, |bytes| i32::from_le_bytes(bytes) as f32),
            Element::I64 => elements(bytes, |bytes| i64::from_le_bytes(bytes) as f32),
            Element::Bf16 => elements(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Element::I8 => elements(bytes, |bytes| f32::from(i8::from_le_bytes(bytes))),
            Element::I16 => elements(bytes, |bytes| f32::from(i16::from_le_bytes(bytes))),
            Element::U8 => elements(bytes, |bytes| f32::from(u8::from_le_bytes(bytes))),
            Element::U16 => elements(bytes, |bytes| f32::from(u16::from_le_bytes(bytes))),
            Element::U32 => elements(bytes, |bytes| u32::from_le_bytes(bytes) as f32),
            Element::U64 => elements(bytes, |bytes| u64::from_le_bytes(bytes) as f32),
            Element::Bool => elements(bytes, |[byte]: [u8; 1]| f32::from(u8::from(byte != 0))),
        }
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
            Element::Bf16 => elements(&bytes, |bytes| bf16::from_le_bytes(bytes).to_f32() as i64),
            Element::I8 => elements(&bytes, |bytes| i64::from(i8::from_le_bytes(bytes))),
            Element::I16 => elements(&bytes, |bytes| i64::from(i16::from_le_bytes(bytes))),
            Element::U8 => elements(&bytes, |bytes| i64::from(u8::from_le_bytes(bytes))),
            Element::U16 => elements(&bytes, |bytes| i64::from(u16::from_le_bytes(bytes))),
            Element::U32 => elements(&bytes, |bytes| i64::from(u32::from_le_bytes(bytes))),
            Element::U64 => elements(&bytes, |bytes| {
                i64::try_from(u64::from_le_bytes(bytes)).unwrap_or(i64::MAX)
            }),
        })
    }

    /// Whether it has few enough elements to be read as numbers. Those of a fill are in no file,
    /// only claimed: a stricter bound.
    pub(crate) fn is_readable(&self) -> bool {
        let most = if matches!(self.data, Data::Fill(_)) { MAX_FILLED } else { MAX_NUMBERS };
        self.elements() <= most
    }

    fn numbers(&self) -> Result<Vec<u8>, Problem> {
        if !self.is_readable() {
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
    if dims.len() > MAX_RANK || dims.iter().any(|dim| *dim > MAX_ELEMENTS) {
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
