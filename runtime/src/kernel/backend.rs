//! This project's kernels as operations of burn's ndarray backend: a *backend extension*.
//!
//! Convolutions, dense layers and pools are operations that this crate adds to that backend. Each
//! takes the input map and the output map as tensors, computes a region of the output in place,
//! and returns it; both tensors wrap the maps' memory (see [`storage`](super::memory::storage)).

// Deprecated by its authors in favour of burn-flex; see `memory/storage.rs`.
#![allow(deprecated)]

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, NdArray, backend_extension};
use burn_ndarray::NdArrayTensor;

use super::call::job::Job;
use super::conv::algorithm::Algorithm;
use super::conv::weights::{Panels, Weights};
use super::conv::{dense, depthwise, direct, winograd};
use super::memory::storage::{Tensor, elements, elements_mut, shared};
use super::ops::pool;
use super::simd::element::Element;
use crate::graph::{Conv, Pool};

/// Layers that are computed on a region, in place.
#[backend_extension(NdArray)]
pub(crate) trait RegionOps: Backend {
    /// Computes a convolution, by the algorithm that its weights are packed for.
    fn conv_region(
        input: FloatTensor<Self>,
        output: FloatTensor<Self>,
        job: &Job<'_>,
        conv: &Conv,
        weights: &Weights,
    ) -> FloatTensor<Self>;

    /// Computes a pool.
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
        in_place(input, output, |input, output| match weights {
            Weights::Floats(panels) => convolve(job, conv, panels, input, output),
            Weights::Halves(panels) => convolve(job, conv, panels, input, output),
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

fn convolve<W: Element>(
    job: &Job<'_>,
    conv: &Conv,
    panels: &Panels<W>,
    input: &[f32],
    output: &mut [f32],
) {
    match panels.algorithm {
        Algorithm::Dense => dense::compute(job, panels, input, output),
        Algorithm::Depthwise => depthwise::compute(job, conv, panels, input, output),
        Algorithm::Direct => direct::compute(job, conv, panels, input, output),
        Algorithm::Winograd(tile) => {
            winograd::compute::compute(job, tile, conv, panels, input, output);
        }
    }
}

/// Calls [`RegionOps::conv_region`] of the tensors' backend.
pub(crate) fn conv_region(
    input: Tensor<4>,
    output: Tensor<4>,
    job: &Job<'_>,
    conv: &Conv,
    weights: &Weights,
) -> Tensor<4> {
    let (input, output) = (input.into_dispatch(), output.into_dispatch());
    Tensor::from_dispatch(Dispatch::conv_region(input, output, job, conv, weights))
}

/// Calls [`RegionOps::pool_region`] of the tensors' backend.
pub(crate) fn pool_region(
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
