//! The inputs of an inference, and what becomes one: vectors, ndarray's arrays, burn's tensors.

use std::sync::Arc;

use burn::tensor::{DType, DataError};
use ndarray::{ArrayBase, Data, Dimension};

pub use burn::tensor::TensorData;

/// One input of an inference.
///
/// It has no shape: whoever takes it checks that it has as many elements as the model's input. A
/// clone shares the elements.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// u8 pixels of the model's input size, planar (channel by channel). They travel as they are
    /// and are normalised on arrival, according to the [`Encoding`](crate::program::Encoding).
    Pixels(Arc<Vec<u8>>),
    /// float32 values, in the model's order (row-major).
    Values(Arc<Vec<f32>>),
}

impl Input {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Input::Pixels(pixels) => pixels.len(),
            Input::Values(values) => values.len(),
        }
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Pixels, without a copy.
impl From<Vec<u8>> for Input {
    fn from(pixels: Vec<u8>) -> Input {
        Input::Pixels(Arc::new(pixels))
    }
}

/// Values, without a copy.
impl From<Vec<f32>> for Input {
    fn from(values: Vec<f32>) -> Input {
        Input::Values(Arc::new(values))
    }
}

/// Pixels from an array, a view or a shared array of ndarray.
///
/// An array that owns its elements is moved if they lie in row-major order; all else is copied
/// into that order, once.
///
/// ```
/// use edgeld_runtime::exec::Input;
/// use ndarray::Array3;
///
/// // As pictures are decoded: rows, columns, channels. A model takes channels, rows, columns.
/// let picture = Array3::from_shape_fn((4, 5, 3), |(row, column, channel)| {
///     (100 * channel + 10 * row + column) as u8
/// });
/// let input = Input::from(picture.permuted_axes([2, 0, 1]));
/// assert!(matches!(input, Input::Pixels(pixels) if pixels[..6] == [0, 1, 2, 3, 4, 10]));
/// ```
impl<S: Data<Elem = u8>, D: Dimension> From<ArrayBase<S, D, u8>> for Input {
    fn from(array: ArrayBase<S, D, u8>) -> Input {
        Input::from(row_major(array))
    }
}

/// Values from an array, a view or a shared array of ndarray.
///
/// An array that owns its elements is moved if they lie in row-major order; all else is copied
/// into that order, once.
///
/// ```
/// use edgeld_runtime::exec::Input;
/// use ndarray::{Array4, s};
///
/// let batch = Array4::<f32>::zeros((2, 3, 8, 8));
/// let second = Input::from(batch.slice(s![1, .., .., ..])); // a view: copied
/// assert_eq!(second.len(), 3 * 8 * 8);
///
/// let elements = batch.as_ptr();
/// let Input::Values(values) = Input::from(batch) else { unreachable!("they are f32") };
/// assert_eq!(values.as_ptr(), elements); // moved
/// ```
impl<S: Data<Elem = f32>, D: Dimension> From<ArrayBase<S, D, f32>> for Input {
    fn from(array: ArrayBase<S, D, f32>) -> Input {
        Input::from(row_major(array))
    }
}

/// Pixels from a tensor of u8, values from one of floats.
///
/// burn's own vectors of u8 and f32 are moved. Other floats are converted to f32, f64 with
/// rounding. Integers, booleans and quantized elements are refused: whether they are meant as
/// pixels or as values is the caller's to say, by [`TensorData::try_cast`].
///
/// ```
/// use burn::tensor::TensorData;
/// use edgeld_runtime::exec::Input;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let values = Input::try_from(TensorData::zeros::<f32, _>([1, 3, 8, 8]))?;
/// assert!(matches!(values, Input::Values(values) if values.len() == 192));
///
/// let counts = TensorData::from([1i64, 2, 3]);
/// let error = Input::try_from(counts.clone()).unwrap_err();
/// assert!(error.to_string().contains("i64"));
/// let pixels = Input::try_from(counts.try_cast_as::<u8>()?)?;
/// assert_eq!(pixels, Input::from(vec![1u8, 2, 3]));
/// # Ok(())
/// # }
/// ```
impl TryFrom<TensorData> for Input {
    type Error = TensorError;

    fn try_from(tensor: TensorData) -> Result<Input, TensorError> {
        match tensor.dtype() {
            DType::U8 => Ok(Input::from(tensor.try_into_vec::<u8>()?)),
            found if found.is_float() => Ok(Input::from(tensor.try_into_vec_as::<f32>()?)),
            found => Err(TensorError::ElementType { found }),
        }
    }
}

/// Why a tensor is no input.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// Its elements are neither floats nor u8.
    #[error(
        "an input takes f32 values or u8 pixels, not a tensor of {}: cast it to one of them with \
         TensorData::try_cast",
        .found.name()
    )]
    ElementType {
        /// What they are.
        found: DType,
    },
    /// Its elements cannot be read.
    #[error("the tensor's elements cannot be read: {0}")]
    Unreadable(#[from] DataError),
}

/// An array's elements in row-major order, without a copy if it owns them and they lie so.
fn row_major<A: Copy, S: Data<Elem = A>, D: Dimension>(array: ArrayBase<S, D, A>) -> Vec<A> {
    if !array.is_standard_layout() {
        return array.iter().copied().collect();
    }
    let len = array.len();
    let (mut elements, start) = array.into_owned().into_raw_vec_and_offset();
    // A slice of an array owns what was cut off, too.
    elements.drain(..start.unwrap_or(0));
    elements.truncate(len);
    elements
}

#[cfg(test)]
mod tests {
    use ndarray::{Array, Array2, ShapeBuilder, arr2, s};

    use super::*;

    fn values(input: &Input) -> &[f32] {
        match input {
            Input::Values(values) => values,
            Input::Pixels(_) => panic!("values were expected: {input:?}"),
        }
    }

    fn pixels(input: &Input) -> &[u8] {
        match input {
            Input::Pixels(pixels) => pixels,
            Input::Values(_) => panic!("pixels were expected: {input:?}"),
        }
    }

    #[test]
    fn vectors_arrays_and_tensors_are_moved() {
        let vector = vec![1.0f32, 2.0, 3.0, 4.0];
        let at = vector.as_ptr();
        let input = Input::from(vector);
        assert_eq!(values(&input).as_ptr(), at);
        assert_eq!(values(&input.clone()).as_ptr(), at);

        let array = Array2::from_elem((2, 3), 0.5f32);
        let at = array.as_ptr();
        assert_eq!(values(&Input::from(array)).as_ptr(), at);
        let shared = Array2::from_elem((2, 3), 7u8).into_shared();
        let at = shared.as_ptr();
        assert_eq!(pixels(&Input::from(shared)).as_ptr(), at);

        let vector = vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let at = vector.as_ptr();
        let tensor = TensorData::new(vector, [1, 2, 3]);
        assert_eq!(values(&Input::try_from(tensor).unwrap()).as_ptr(), at);
        let vector = vec![1u8, 2, 3];
        let at = vector.as_ptr();
        let tensor = TensorData::new(vector, [3]);
        assert_eq!(pixels(&Input::try_from(tensor).unwrap()).as_ptr(), at);
    }

    #[test]
    fn whatever_the_layout_elements_come_in_row_major_order() {
        let wanted = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0];
        let rows = arr2(&[[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]);
        assert_eq!(values(&Input::from(rows.view())), wanted);
        let columns = Array::from_shape_vec((2, 3).f(), vec![1.0f32, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(values(&Input::from(columns.unwrap())), wanted);
        assert_eq!(values(&Input::from(rows.t())), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        let reversed = rows.slice_move(s![..;-1, ..;-1]);
        assert_eq!(values(&Input::from(reversed)), [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]);
    }

    #[test]
    fn a_slice_is_no_more_than_it_shows() {
        let whole = Array::from_iter(0..12u8).into_shape_with_order((4, 3)).unwrap();
        let middle = whole.clone().slice_move(s![1..3, ..]);
        assert_eq!(pixels(&Input::from(middle)), [3, 4, 5, 6, 7, 8]);
        let first = whole.clone().slice_move(s![..1, ..]);
        assert_eq!(pixels(&Input::from(first)), [0, 1, 2]);
        assert_eq!(pixels(&Input::from(whole.slice(s![.., 1]))), [1, 4, 7, 10]);
        assert!(Input::from(whole.slice_move(s![4.., ..])).is_empty());
    }

    #[test]
    fn other_floats_are_converted() {
        let wanted = Input::from(vec![0.5f32, -2.0]);
        let tensor = TensorData::from([0.5f32, -2.0]);
        for dtype in [DType::F64, DType::F16, DType::BF16] {
            let other = tensor.clone().try_cast(dtype).unwrap();
            assert_eq!(other.dtype(), dtype);
            assert_eq!(Input::try_from(other).unwrap(), wanted, "{dtype:?}");
        }
        let flexible = TensorData::from_bytes(tensor.into_bytes(), [2], DType::Flex32);
        assert_eq!(Input::try_from(flexible).unwrap(), wanted);
    }

    #[test]
    fn other_elements_are_refused_by_name() {
        for (tensor, name) in [
            (TensorData::from([1i64, 2]), "i64"),
            (TensorData::from([1i8, 2]), "i8"),
            (TensorData::from([1u32, 2]), "u32"),
            (TensorData::from([true, false]), "bool"),
        ] {
            let error = Input::try_from(tensor).unwrap_err().to_string();
            assert!(error.contains(&format!("not a tensor of {name}")), "{error}");
            assert!(error.contains("f32") && error.contains("u8"), "{error}");
        }
    }
}
