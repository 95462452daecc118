//! Products of many rows of features with a constant matrix, which transformers are full of.
//!
//! Every row is a pixel and its features are channels: the product is a 1x1 convolution, with its
//! kernels and its split. Maps have channels first, such files have features last; so there is a
//! transpose on both sides, which [waits](super::transposed), and between two products with
//! functions of single elements nothing moves.
//!
//! ```text
//! MatMul a [1, 196, 384] -> Add -> Gelu -> MatMul     as in the file
//! Conv over 384 x 14 x 14 (bias, Gelu) -> Conv        as it is loaded
//! ```

use super::constant::Constant;
use super::error::Problem;
use super::import::{Import, MAX_CHANNELS, View};
use super::nodes::transposed;
use crate::graph::{Conv, Op, Window};

/// The most rows of the map that rows of features make; enough for the devices there are.
const MOST_ROWS: u64 = 16;

/// Pixels side by side that keep a kernel busy.
const LEAST_WIDTH: u64 = 8;

/// Rows of features as `[1, features, rows]`, times a matrix of features x results.
pub(super) fn product(
    import: &mut Import,
    name: &str,
    rows: &View,
    matrix: &Constant,
) -> Result<View, Problem> {
    let weight = transposed(matrix)?;
    let ([1, features, count], [results, own]) = (&rows.dims[..], &weight.dims[..]) else {
        return Err(matrix.problem("a matrix is needed"));
    };
    if own != features || *results > u64::from(MAX_CHANNELS) {
        let wanted = format!("there are {features} features, and may be {MAX_CHANNELS} results");
        return Err(Problem::Dims { dims: matrix.dims.clone(), wanted });
    }
    let high = (1..=MOST_ROWS)
        .rev()
        .find(|high| count.is_multiple_of(*high) && (*high == 1 || count / high >= LEAST_WIDTH));
    let high = high.unwrap_or(1);
    let map = rows.reshaped(vec![1, *features, high, count / high])?;
    let (map, _) = import.map(name, &map)?;
    // Bounded by 2^30 elements, as all constants are.
    let features = *results as u32;
    let weight = import.parameter(&format!("{name}/weight"), features, &weight)?;
    let (window, groups) = (Window::point(), 1);
    let conv = Conv { features, groups, window, weight, scale: None, bias: None };
    import.layer(name, Op::Conv(conv), &[&map])?.reshaped(vec![1, *results, *count])
}
