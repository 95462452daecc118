//! Outputs as tensors of burn and arrays of ndarray. How these become inputs is beside [`Input`].
//!
//! An output's elements lie in row-major order, as both expect them: they are moved, never copied.
//!
//! [`Input`]: super::Input

use edgeld_runtime::exec::TensorData;
use ndarray::{ArrayD, ArrayView, ArrayViewD};

use super::answer::Output;
use super::error::OutputShapeError;

impl Output {
    /// The elements in the output's own shape, borrowed.
    ///
    /// ```
    /// # let output = edgeld::Output { name: "y".into(), dims: vec![1, 3], data: vec![0.2, 0.7, 0.1] };
    /// let scores = output.view()?;
    /// assert_eq!(scores.shape(), [1, 3]);
    /// assert_eq!(scores[[0, 1]], 0.7);
    /// # Ok::<(), edgeld::OutputShapeError>(())
    /// ```
    ///
    /// # Errors
    /// When the elements do not fill the dimensions; in an answer they do.
    pub fn view(&self) -> Result<ArrayViewD<'_, f32>, OutputShapeError> {
        let Output { name, dims, data } = self;
        let view = axes(dims, data.len()).and_then(|axes| ArrayView::from_shape(axes, data).ok());
        view.ok_or_else(|| OutputShapeError {
            name: name.clone(),
            dims: dims.clone(),
            found: data.len(),
        })
    }
}

/// An array of ndarray, without a copy. It fails only if the elements do not fill the dimensions.
///
/// ```
/// use ndarray::{ArrayD, Axis};
///
/// # let output = edgeld::Output { name: "y".into(), dims: vec![1, 3], data: vec![0.2, 0.7, 0.1] };
/// let scores = ArrayD::try_from(output)?;
/// let classes = scores.index_axis_move(Axis(0), 0);
/// assert_eq!(classes.shape(), [3]);
/// # Ok::<(), edgeld::OutputShapeError>(())
/// ```
impl TryFrom<Output> for ArrayD<f32> {
    type Error = OutputShapeError;

    fn try_from(Output { name, dims, data }: Output) -> Result<ArrayD<f32>, OutputShapeError> {
        let found = data.len();
        let array = axes(&dims, found).and_then(|axes| ArrayD::from_shape_vec(axes, data).ok());
        array.ok_or(OutputShapeError { name, dims, found })
    }
}

/// A tensor of burn, without a copy. It fails only if the elements do not fill the dimensions.
///
/// ```
/// use burn::tensor::{Device, Tensor, TensorData, activation};
///
/// # let output = edgeld::Output { name: "y".into(), dims: vec![1, 2], data: vec![4.0, 4.0] };
/// let logits = TensorData::try_from(output)?;
/// let logits = Tensor::<2>::from_data(logits, &Device::ndarray());
/// let scores = activation::softmax(logits, 1).into_data();
/// assert_eq!(scores.as_slice::<f32>().unwrap(), [0.5, 0.5]);
/// # Ok::<(), edgeld::OutputShapeError>(())
/// ```
impl TryFrom<Output> for TensorData {
    type Error = OutputShapeError;

    fn try_from(Output { name, dims, data }: Output) -> Result<TensorData, OutputShapeError> {
        let found = data.len();
        let tensor = axes(&dims, found).map(|axes| TensorData::new(data, axes));
        tensor.ok_or(OutputShapeError { name, dims, found })
    }
}

/// The dimensions as both libraries count, if exactly `elements` fill them.
fn axes(dims: &[u64], elements: usize) -> Option<Vec<usize>> {
    let axes: Vec<usize> =
        dims.iter().map(|dim| usize::try_from(*dim).ok()).collect::<Option<_>>()?;
    let wanted = axes.iter().try_fold(1usize, |product, axis| product.checked_mul(*axis))?;
    (wanted == elements).then_some(axes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Input;

    fn output(dims: &[u64], elements: u8) -> Output {
        let data = (0..elements).map(f32::from).collect();
        Output { name: "scores".into(), dims: dims.to_vec(), data }
    }

    #[test]
    fn shape_and_memory_stay() {
        let output = output(&[1, 2, 3], 6);
        let at = output.data.as_ptr();
        let view = output.view().unwrap();
        assert_eq!((view.shape(), view.as_ptr()), (&[1, 2, 3][..], at));
        assert_eq!(view[[0, 1, 0]], 3.0);

        let array = ArrayD::try_from(output.clone()).unwrap();
        assert_eq!(array, view);
        let tensor = TensorData::try_from(output).unwrap();
        assert_eq!(tensor.shape().as_slice(), [1, 2, 3]);
        assert_eq!(tensor.as_slice::<f32>().unwrap().as_ptr(), at);
        let Input::Values(values) = Input::try_from(tensor).unwrap() else { panic!("not f32") };
        assert_eq!(values.as_ptr(), at);
    }

    #[test]
    fn arrays_take_over_the_memory() {
        let output = output(&[4], 4);
        let at = output.data.as_ptr();
        assert_eq!(ArrayD::try_from(output).unwrap().as_ptr(), at);
    }

    #[test]
    fn a_scalar_is_one_element() {
        assert_eq!(output(&[], 1).view().unwrap().ndim(), 0);
        assert_eq!(TensorData::try_from(output(&[], 1)).unwrap().rank(), 0);
    }

    #[test]
    fn elements_that_do_not_fill_the_dimensions_are_refused() {
        for dims in [&[2, 2][..], &[], &[6], &[u64::MAX, 2], &[u64::MAX, u64::MAX, 0]] {
            let output = output(dims, 5);
            let error = output.view().unwrap_err();
            assert_eq!(error.found, 5);
            assert!(error.to_string().contains("scores has 5 elements"), "{error}");
            assert_eq!(ArrayD::try_from(output.clone()).unwrap_err(), error);
            assert_eq!(TensorData::try_from(output).unwrap_err(), error);
        }
        // ndarray counts without the zeros, and finds too many.
        let nothing = output(&[u64::MAX / 2, 4, 0], 0);
        assert!(nothing.view().is_err() && ArrayD::try_from(nothing).is_err());
    }
}
