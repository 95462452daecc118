//! Memory that a map shares with burn: what burn's ndarray backend keeps a tensor's elements in.
//!
//! This file and the backend extension in `kernel/backend.rs` are the only ones that name that
//! backend.

// Deprecated by its authors in favour of burn-flex; it is pinned.
#![allow(deprecated)]

use std::sync::LazyLock;

use burn::backend::NdArray;
use burn_ndarray::{NdArrayTensor, SharedArray};
use ndarray::{Array1, ArrayD, IxDyn, s};

pub(crate) use burn::tensor::Tensor;

/// The memory of a tensor.
pub(crate) type Storage = SharedArray<f32>;

/// A tensor of `axes`, all zeros.
pub(crate) fn zeros(axes: [usize; 4]) -> Storage {
    ArrayD::zeros(IxDyn(&axes)).into_shared()
}

/// A tensor of `axes` on memory for at least that many elements, which do not change.
pub(crate) fn storage_of(axes: [usize; 4], elements: Vec<f32>) -> Storage {
    let len: usize = axes.iter().product();
    let line = Array1::from_vec(elements).slice_move(s![..len]);
    match line.into_shape_with_order(IxDyn(&axes)) {
        Ok(array) => array.into_shared(),
        Err(error) => unreachable!("a line of as many elements: {error}"),
    }
}

/// The memory of a storage that nobody shares, including spare capacity.
pub(crate) fn into_elements(storage: Storage) -> Option<Vec<f32>> {
    Some(storage.try_into_owned_nocopy().ok()?.into_raw_vec_and_offset().0)
}

/// An empty storage; the same memory every time.
pub(crate) fn empty() -> Storage {
    static EMPTY: LazyLock<Storage> = LazyLock::new(|| zeros([0; 4]));
    EMPTY.clone()
}

/// The elements of a storage in standard order, which all maps have.
pub(crate) fn elements(storage: &Storage) -> &[f32] {
    storage.as_slice().unwrap_or(&[])
}

/// The elements of a storage; if it is shared, they are copied first.
pub(crate) fn elements_mut(storage: &mut Storage) -> &mut [f32] {
    storage.as_slice_mut().unwrap_or(&mut [])
}

/// A tensor on a storage, without a copy.
pub(crate) fn tensor<const D: usize>(storage: Storage) -> Tensor<D> {
    Tensor::from_primitive::<NdArray>(storage.into())
}

/// The storage of a tensor, without a copy.
pub(crate) fn storage<const D: usize>(tensor: Tensor<D>) -> Storage {
    match tensor.try_into_primitive::<NdArray>() {
        Ok(primitive) => shared(primitive),
        Err(error) => unreachable!("all tensors here are made by `tensor`: {error:?}"),
    }
}

/// A tensor of `axes` with these elements, without a copy.
pub(crate) fn tensor_of<const D: usize>(axes: [usize; D], elements: Vec<f32>) -> Tensor<D> {
    match ArrayD::from_shape_vec(IxDyn(&axes), elements) {
        Ok(array) => tensor(array.into_shared()),
        Err(error) => unreachable!("elements are made for the axes: {error}"),
    }
}

/// The elements of a tensor in standard order; copied if they are in another order.
pub(crate) fn in_order<const D: usize>(tensor: Tensor<D>) -> Storage {
    let storage = storage(tensor);
    match storage.is_standard_layout() {
        true => storage,
        false => storage.as_standard_layout().into_owned().into_shared(),
    }
}

/// The storage of one of the backend's tensors, without a copy.
pub(crate) fn shared(primitive: NdArrayTensor) -> Storage {
    match primitive {
        NdArrayTensor::F32(storage) => storage.into_shared(),
        _ => unreachable!("all tensors here are made by `tensor`, of float32"),
    }
}
