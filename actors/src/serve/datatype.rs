//! The protocol's types of elements. Models here take and give float32; what clients send as another
//! type is converted.

use std::str::FromStr;

use half::{bf16, f16};

use super::error::RequestError;

/// A type of elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataType {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
}

/// What models give.
pub(super) const FLOAT32: &str = "FP32";

/// What classes are given as.
pub(super) const TEXT: &str = "BYTES";

impl FromStr for DataType {
    type Err = RequestError;

    fn from_str(name: &str) -> Result<DataType, RequestError> {
        Ok(match name {
            "BOOL" => DataType::Bool,
            "UINT8" => DataType::Uint8,
            "UINT16" => DataType::Uint16,
            "UINT32" => DataType::Uint32,
            "UINT64" => DataType::Uint64,
            "INT8" => DataType::Int8,
            "INT16" => DataType::Int16,
            "INT32" => DataType::Int32,
            "INT64" => DataType::Int64,
            "FP16" => DataType::Fp16,
            "BF16" => DataType::Bf16,
            "FP32" => DataType::Fp32,
            "FP64" => DataType::Fp64,
            _ => {
                return Err(RequestError::Malformed(format!(
                    "datatype {name:?} is not one of numbers; send FP32"
                )));
            }
        })
    }
}

impl DataType {
    /// Bytes of an element.
    fn size(self) -> usize {
        match self {
            DataType::Bool | DataType::Uint8 | DataType::Int8 => 1,
            DataType::Uint16 | DataType::Int16 | DataType::Fp16 | DataType::Bf16 => 2,
            DataType::Uint32 | DataType::Int32 | DataType::Fp32 => 4,
            DataType::Uint64 | DataType::Int64 | DataType::Fp64 => 8,
        }
    }

    /// Elements from their little-endian bytes.
    ///
    /// # Errors
    /// When these end within an element.
    pub(super) fn read(self, bytes: &[u8]) -> Result<Vec<f32>, RequestError> {
        if !bytes.len().is_multiple_of(self.size()) {
            return Err(RequestError::Malformed(format!(
                "{} bytes are no whole number of {self:?} elements",
                bytes.len()
            )));
        }
        Ok(match self {
            DataType::Bool => bytes.iter().map(|byte| f32::from(u8::from(*byte != 0))).collect(),
            DataType::Uint8 => bytes.iter().map(|byte| f32::from(*byte)).collect(),
            DataType::Int8 => bytes.iter().map(|byte| f32::from(*byte as i8)).collect(),
            DataType::Uint16 => each(bytes, |b| f32::from(u16::from_le_bytes(b))),
            DataType::Int16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
            DataType::Fp16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            DataType::Bf16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            DataType::Uint32 => each(bytes, |b| u32::from_le_bytes(b) as f32),
            DataType::Int32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            DataType::Fp32 => each(bytes, f32::from_le_bytes),
            DataType::Uint64 => each(bytes, |b| u64::from_le_bytes(b) as f32),
            DataType::Int64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            DataType::Fp64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
        })
    }
}

fn each<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (elements, _) = bytes.as_chunks::<N>();
    elements.iter().map(|element| number(*element)).collect()
}

/// The little-endian bytes of float32.
pub(super) fn float_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Texts as the protocol's binary form has them: each behind its length.
pub(super) fn text_bytes(texts: &[String]) -> Vec<u8> {
    let one = |text: &String| {
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
        length.into_iter().chain(text.bytes()).collect::<Vec<u8>>()
    };
    texts.iter().flat_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_type_become_float32() {
        let read = |name: &str, bytes: &[u8]| name.parse::<DataType>().unwrap().read(bytes);
        assert_eq!(read("BOOL", &[0, 1, 7]).unwrap(), [0.0, 1.0, 1.0]);
        assert_eq!(read("INT8", &[0xff]).unwrap(), [-1.0]);
        assert_eq!(read("UINT16", &[0xff, 0xff]).unwrap(), [65535.0]);
        assert_eq!(read("FP16", &f16::from_f32(1.5).to_le_bytes()).unwrap(), [1.5]);
        assert_eq!(read("BF16", &bf16::from_f32(-2.0).to_le_bytes()).unwrap(), [-2.0]);
        assert_eq!(read("INT64", &(-3i64).to_le_bytes()).unwrap(), [-3.0]);
        assert_eq!(read("FP64", &0.5f64.to_le_bytes()).unwrap(), [0.5]);
        let floats = [1.0, f32::MIN_POSITIVE, -0.0];
        assert_eq!(read("FP32", &float_bytes(&floats)).unwrap(), floats);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert!("BYTES".parse::<DataType>().unwrap_err().to_string().contains("FP32"));
        assert!(DataType::Fp32.read(&[0; 6]).unwrap_err().to_string().contains("6 bytes"));
    }

    #[test]
    fn texts_stand_behind_their_lengths() {
        let texts = ["ab".to_owned(), String::new()];
        assert_eq!(text_bytes(&texts), [2, 0, 0, 0, b'a', b'b', 0, 0, 0, 0]);
    }
}
