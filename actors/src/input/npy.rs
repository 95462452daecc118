//! Reads and writes numpy's `.npy` format.
//!
//! The header is checked against the model's input before memory for the data is allocated, so a
//! bad header cannot cause a large allocation.

use std::io::Read;
use std::path::Path;

use ndarray::ArrayD;
use ndarray_npy::npy::header::Header;
use ndarray_npy::{ReadNpyError, ReadNpyExt, ReadableElement, write_npy};

use super::error::InputError;
use crate::api::Output;

/// Longest header accepted; numpy itself writes 118 bytes.
const MAX_HEADER: u64 = 1024;

/// Reads an array of numbers whose shape is `dims`; all become float32.
///
/// # Errors
/// When the file cannot be read, is not an `.npy` file, or has another type or shape.
pub(super) fn read(path: &Path, dims: &[u64]) -> Result<Vec<f32>, InputError> {
    let bytes = std::fs::read(path)
        .map_err(|source| InputError::Unreadable { path: path.to_owned(), source })?;
    parse(path, &bytes, dims)
}

/// The shape of an array.
///
/// # Errors
/// When the file cannot be read or is not an `.npy` file.
pub fn shape(path: &Path) -> Result<Vec<u64>, InputError> {
    let unreadable = |source| InputError::Unreadable { path: path.to_owned(), source };
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(2 * MAX_HEADER).read_to_end(&mut start).map_err(unreadable)?;
    header(path, &start).map(|header| shape_of(&header))
}

fn header(path: &Path, bytes: &[u8]) -> Result<Header, InputError> {
    let malformed = |why: String| InputError::Malformed { path: path.to_owned(), why };
    if header_bytes(bytes).is_some_and(|length| length > MAX_HEADER) {
        return Err(malformed(format!("the header is longer than {MAX_HEADER} bytes")));
    }
    Header::from_reader(&mut &bytes[..]).map_err(|error| malformed(error.to_string()))
}

fn shape_of(header: &Header) -> Vec<u64> {
    header.shape.iter().map(|axis| *axis as u64).collect()
}

fn parse(path: &Path, bytes: &[u8], dims: &[u64]) -> Result<Vec<f32>, InputError> {
    let malformed = |why: String| InputError::Malformed { path: path.to_owned(), why };
    let header = header(path, bytes)?;
    let found = shape_of(&header);
    if found != dims {
        return Err(InputError::Shape { path: path.to_owned(), found, wanted: dims.to_vec() });
    }
    match header.type_descriptor.as_string().map(String::as_str) {
        Some("<f4" | ">f4") => elements::<f32>(bytes),
        Some("<f8" | ">f8") => floats::<f64>(bytes, |x| x as f32),
        Some("|b1") => elements::<bool>(bytes)
            .map(|truths| truths.into_iter().map(|truth| f32::from(u8::from(truth))).collect()),
        Some("|i1") => floats::<i8>(bytes, f32::from),
        Some("|u1") => floats::<u8>(bytes, f32::from),
        Some("<i2" | ">i2") => floats::<i16>(bytes, f32::from),
        Some("<u2" | ">u2") => floats::<u16>(bytes, f32::from),
        Some("<i4" | ">i4") => floats::<i32>(bytes, |x| x as f32),
        Some("<u4" | ">u4") => floats::<u32>(bytes, |x| x as f32),
        Some("<i8" | ">i8") => floats::<i64>(bytes, |x| x as f32),
        Some("<u8" | ">u8") => floats::<u64>(bytes, |x| x as f32),
        other => {
            let found = other.unwrap_or("a record").to_owned();
            return Err(InputError::ElementType { path: path.to_owned(), found });
        }
    }
    .map_err(|error| malformed(error.to_string()))
}

/// The elements in row-major order, whatever the order in the file.
fn elements<T: ReadableElement + Copy>(bytes: &[u8]) -> Result<Vec<T>, ReadNpyError> {
    let array = ArrayD::<T>::read_npy(bytes)?;
    Ok(array.iter().copied().collect())
}

fn floats<T: ReadableElement + Copy>(
    bytes: &[u8],
    float: impl Fn(T) -> f32,
) -> Result<Vec<f32>, ReadNpyError> {
    Ok(elements::<T>(bytes)?.into_iter().map(float).collect())
}

/// The header length that the file claims: a u16 in version 1, a u32 later.
fn header_bytes(bytes: &[u8]) -> Option<u64> {
    match bytes.get(6)? {
        1 => Some(u64::from(u16::from_le_bytes(bytes.get(8..10)?.try_into().ok()?))),
        _ => Some(u64::from(u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?))),
    }
}

/// Writes an output of a model as float32, in the model's own shape.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, output: &Output) -> Result<(), std::io::Error> {
    let array = output.view().map_err(std::io::Error::other)?;
    write_npy(path, &array).map_err(|error| std::io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array, Ix3, ShapeBuilder};
    use ndarray_npy::{WritableElement, WriteNpyExt};

    fn file<T: WritableElement>(array: &Array<T, Ix3>) -> Vec<u8> {
        let mut bytes = Vec::new();
        array.write_npy(&mut bytes).unwrap();
        bytes
    }

    fn parse(bytes: &[u8], dims: &[u64]) -> Result<Vec<f32>, InputError> {
        super::parse(Path::new("x.npy"), bytes, dims)
    }

    #[test]
    fn values_are_read_in_row_major_order() {
        let standard = Array::from_shape_vec((1, 2, 2), vec![1f32, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!(parse(&file(&standard), &[1, 2, 2]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
        let fortran = Array::from_shape_vec((1, 2, 2).f(), vec![1f64, 3.0, 2.0, 4.0]).unwrap();
        assert_eq!(parse(&file(&fortran), &[1, 2, 2]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    }

    #[test]
    fn integers_and_truths_become_floats() {
        let integers = Array::from_elem((1, 2, 2), -7i64);
        assert_eq!(parse(&file(&integers), &[1, 2, 2]).unwrap(), [-7.0; 4]);
        let truths = Array::from_elem((1, 2, 2), true);
        assert_eq!(parse(&file(&truths), &[1, 2, 2]).unwrap(), [1.0; 4]);
    }

    #[test]
    fn another_shape_or_type_is_rejected() {
        let array = Array::from_elem((1, 2, 2), 0f32);
        assert!(matches!(parse(&file(&array), &[1, 4]), Err(InputError::Shape { .. })));
        let header = b"\x93NUMPY\x01\x00\x46\x00{'descr': '<c8', 'fortran_order': False, 'shape': (1, 2, 2), }";
        let complex = [header.as_slice(), &[b' '; 2], &[0; 32]].concat();
        let found = parse(&complex, &[1, 2, 2]);
        assert!(found.is_err(), "complex numbers");
    }

    #[test]
    fn truncated_files_and_huge_headers_are_rejected() {
        let whole = file(&Array::from_elem((1, 2, 2), 0f32));
        for length in 0..whole.len() {
            assert!(parse(&whole[..length], &[1, 2, 2]).is_err(), "{length}");
        }
        let claims = [b"\x93NUMPY\x02\x00".as_slice(), &u32::MAX.to_le_bytes()].concat();
        assert!(parse(&claims, &[1]).unwrap_err().to_string().contains("header"));
    }

    #[test]
    fn outputs_survive_a_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frame0_output0.npy");
        let output =
            Output { name: "y".into(), dims: vec![1, 3], data: vec![0.5, -1.0, f32::INFINITY] };
        write(&path, &output).unwrap();
        assert_eq!(read(&path, &[1, 3]).unwrap(), output.data);
    }
}
