//! The one place that names the burn backend below everything: its ndarray backend.
//!
//! Convolutions, dense layers and pools are operations that this crate adds to that backend: a
//! *backend extension*. Each takes the input and the output map as tensors, computes a region
//! of the output in place, and gives it back; both tensors wrap the maps' memory.

// Its authors have marked it deprecated in favour of burn-flex; it is pinned and named only here.
#![allow(deprecated)]

use std::sync::LazyLock;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, NdArray, backend_extension};
use burn_ndarray::{NdArrayTensor, SharedArray};
use ndarray::{Array1, ArrayD, IxDyn, s};

use super::algorithm::Algorithm;
use super::job::Job;
use super::weights::Weights;
use super::{conv, dense, depthwise, pool, winograd};
use crate::graph::{Conv, Pool};

pub(super) use burn::tensor::Tensor;

/// What the backend keeps a tensor's elements in.
pub(super) type Storage = SharedArray<f32>;

/// Layers computed on a region, in place.
#[backend_extension(NdArray)]
pub(super) trait RegionOps: Backend {
    /// A convolution's outputs, by the algorithm that fits the layer.
    fn conv_region(
        input: FloatTensor<Self>,
        output: FloatTensor<Self>,
        job: &Job<'_>,
        conv: &Conv,
        weights: &Weights,
    ) -> FloatTensor<Self>;

    /// A pool's outputs.
    fn pool_region(
        input: FloatTensor<Self>,
        output: FloatTensor<Self>,
        job: &Job<'_>,
        pool: &Pool,
    ) -> FloatTensor<Self>;
}

impl RegionOps for NdArray {
    fn conv_region(
        input: NdArrayTensor,
        output: NdArrayTensor,
        job: &Job<'_>,
        conv: &Conv,
        weights: &Weights,
    ) -> NdArrayTensor {
        in_place(input, output, |input, output| match weights.algorithm {
            Algorithm::Dense => dense::compute(job, weights, input, output),
            Algorithm::Depthwise => depthwise::compute(job, conv, weights, input, output),
            Algorithm::Direct => conv::compute(job, conv, weights, input, output),
            Algorithm::Winograd(tile) => {
                winograd::compute(job, tile, conv, weights, input, output);
            }
        })
    }

    fn pool_region(
        input: NdArrayTensor,
        output: NdArrayTensor,
        job: &Job<'_>,
        pool: &Pool,
    ) -> NdArrayTensor {
        in_place(input, output, |input, output| pool::compute(job, pool, input, output))
    }
}

/// Runs [`RegionOps::conv_region`] on whatever backend the tensors are of.
pub(super) fn conv_region(
    input: Tensor<4>,
    output: Tensor<4>,
    job: &Job<'_>,
    conv: &Conv,
    weights: &Weights,
) -> Tensor<4> {
    let (input, output) = (input.into_dispatch(), output.into_dispatch());
    Tensor::from_dispatch(Dispatch::conv_region(input, output, job, conv, weights))
}

/// Runs [`RegionOps::pool_region`] on whatever backend the tensors are of.
pub(super) fn pool_region(
    input: Tensor<4>,
    output: Tensor<4>,
    job: &Job<'_>,
    pool: &Pool,
) -> Tensor<4> {
    let (input, output) = (input.into_dispatch(), output.into_dispatch());
    Tensor::from_dispatch(Dispatch::pool_region(input, output, job, pool))
}

fn in_place(
    input: NdArrayTensor,
    output: NdArrayTensor,
    work: impl FnOnce(&[f32], &mut [f32]),
) -> NdArrayTensor {
    let (input, mut output) = (shared(input), shared(output));
    work(elements(&input), elements_mut(&mut output));
    output.into()
}

/// A tensor of `axes`, all zeros.
pub(super) fn zeros(axes: [usize; 4]) -> Storage {
    ArrayD::zeros(IxDyn(&axes)).into_shared()
}

/// A tensor of `axes` on memory for at least as many elements, which stay as they are.
pub(super) fn storage_of(axes: [usize; 4], elements: Vec<f32>) -> Storage {
    let len: usize = axes.iter().product();
    let line = Array1::from_vec(elements).slice_move(s![..len]);
    match line.into_shape_with_order(IxDyn(&axes)) {
        Ok(array) => array.into_shared(),
        Err(error) => unreachable!("a line of as many elements: {error}"),
    }
}

/// The memory of a storage that nobody shares, all of what [`storage_of`] was given.
pub(super) fn into_elements(storage: Storage) -> Option<Vec<f32>> {
    Some(storage.try_into_owned_nocopy().ok()?.into_raw_vec_and_offset().0)
}

/// No elements; the same memory every time.
pub(super) fn nothing() -> Storage {
    static NOTHING: LazyLock<Storage> = LazyLock::new(|| zeros([0; 4]));
    NOTHING.clone()
}

/// The elements of a storage in standard order, which all storages of maps have.
pub(super) fn elements(storage: &Storage) -> &[f32] {
    storage.as_slice().unwrap_or(&[])
}

/// The elements of a storage, which is copied first if it is shared.
pub(super) fn elements_mut(storage: &mut Storage) -> &mut [f32] {
    storage.as_slice_mut().unwrap_or(&mut [])
}

/// A tensor on a storage, without a copy.
pub(super) fn tensor<const D: usize>(storage: Storage) -> Tensor<D> {
    Tensor::from_primitive::<NdArray>(storage.into())
}

/// The storage of a tensor, without a copy.
pub(super) fn storage<const D: usize>(tensor: Tensor<D>) -> Storage {
    match tensor.try_into_primitive::<NdArray>() {
        Ok(primitive) => shared(primitive),
        Err(error) => unreachable!("all tensors here are made by `tensor`: {error:?}"),
    }
}

/// A tensor of `axes` with these elements, without a copy.
pub(super) fn tensor_of<const D: usize>(axes: [usize; D], elements: Vec<f32>) -> Tensor<D> {
    match ArrayD::from_shape_vec(IxDyn(&axes), elements) {
        Ok(array) => tensor(array.into_shared()),
        Err(error) => unreachable!("elements are made for the axes: {error}"),
    }
}

/// The elements of a tensor, copied into standard order where they are not in it.
pub(super) fn in_order<const D: usize>(tensor: Tensor<D>) -> Storage {
    let storage = storage(tensor);
    match storage.is_standard_layout() {
        true => storage,
        false => storage.as_standard_layout().into_owned().into_shared(),
    }
}

fn shared(primitive: NdArrayTensor) -> Storage {
    match primitive {
        NdArrayTensor::F32(storage) => storage.into_shared(),
        _ => unreachable!("all tensors here are made by `tensor`, of float32"),
    }
}
