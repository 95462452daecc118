//! The loaders of ONNX operators: one function per operator, grouped by kind. They are listed in
//! [`crate::onnx::operators`].

mod activations;
mod constants;
mod conv_transpose;
mod dense;
mod elementwise;
pub(crate) mod general;
mod layout;
mod loaded;
mod order;
mod parts;
mod resize;
mod window;

pub(crate) use activations::{clip, hard_sigmoid, hard_swish, leaky_relu, relu, sigmoid};
pub(crate) use constants::{cast, constant, constant_of_shape, gather, shape};
pub(crate) use conv_transpose::conv_transpose;
pub(crate) use dense::{gemm, matmul, softmax, transposed};
pub(crate) use elementwise::{add, batch_normalization, div, lrn, mul, prelu, sub};
pub(crate) use layout::{concat, dropout, flatten, identity, reshape, squeeze, unsqueeze};
pub(crate) use loaded::Loaded;
pub(crate) use order::{depth_to_space, is_reshape, permutation, permuted, transpose};
pub(crate) use parts::{slice, split};
pub(crate) use resize::{resize, upsample};
pub(crate) use window::{
    average_pool, conv, global_average_pool, global_max_pool, max_pool, pad, reduce_mean,
};
