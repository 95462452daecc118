//! The boxes of YOLO's heads.

use super::bounds::{Bounds, Detection};
use crate::api::Output;

/// The strides of maps with one box for each cell, from fine to coarse.
const STRIDES: [u32; 4] = [8, 16, 32, 64];

/// Width and height of the anchors of YOLOv3, from fine to coarse, and of its tiny sister, as in
/// darknet's `yolov3.cfg` and `yolov3-tiny.cfg`.
const ANCHORS: [[[f32; 2]; 3]; 3] = [
    [[10.0, 13.0], [16.0, 30.0], [33.0, 23.0]],
    [[30.0, 61.0], [62.0, 45.0], [59.0, 119.0]],
    [[116.0, 90.0], [156.0, 198.0], [373.0, 326.0]],
];
const TINY_ANCHORS: [[[f32; 2]; 3]; 2] =
    [[[10.0, 14.0], [23.0, 27.0], [37.0, 58.0]], [[81.0, 82.0], [135.0, 169.0], [344.0, 319.0]]];

/// The number of all cells of maps of the first so many strides.
pub(super) fn cells(input: [u32; 2], scales: usize) -> u64 {
    grids(input, scales).map(|[_, cols, rows]| u64::from(cols) * u64::from(rows)).sum()
}

/// Stride, columns and rows of each map.
fn grids(input: [u32; 2], scales: usize) -> impl Iterator<Item = [u32; 3]> {
    STRIDES.into_iter().take(scales).map(move |stride| {
        let [cols, rows] = input.map(|length| length.div_ceil(stride));
        [stride, cols, rows]
    })
}

/// The largest of scores and its index.
fn best(scores: impl Iterator<Item = f32>) -> (usize, f32) {
    let largest = |best: (usize, f32), one: (usize, f32)| if one.1 > best.1 { one } else { best };
    scores.enumerate().fold((0, f32::NEG_INFINITY), largest)
}

/// Rows and columns of an output `[1, rows, cols]`.
fn matrix(outputs: &[Output]) -> Option<(&[f32], usize, usize)> {
    let output = outputs.first()?;
    let [1, rows, cols] = output.dims[..] else { return None };
    let (rows, cols) = (usize::try_from(rows).ok()?, usize::try_from(cols).ok()?);
    (rows.checked_mul(cols) == Some(output.data.len())).then_some((&output.data, rows, cols))
}

/// Centre, size and, times each other, the scores for an object and for its class.
fn object(row: &[f32], at: [f32; 2], size: [f32; 2], least: f32) -> Option<Detection> {
    let (class, score) = best(row[5..].iter().copied());
    let score = score * row[4];
    (score >= least).then(|| Detection { class, score, bounds: Bounds::around(at, size) })
}

/// [`Head::YoloV5`](super::Head::YoloV5).
pub(super) fn v5(outputs: &[Output], least: f32) -> Option<Vec<Detection>> {
    let (data, _, cols) = matrix(outputs).filter(|(_, _, cols)| *cols > 5)?;
    let rows = data.chunks_exact(cols);
    Some(rows.filter_map(|row| object(row, [row[0], row[1]], [row[2], row[3]], least)).collect())
}

/// [`Head::YoloX`](super::Head::YoloX).
pub(super) fn x(outputs: &[Output], input: [u32; 2], least: f32) -> Option<Vec<Detection>> {
    let (data, rows, cols) = matrix(outputs).filter(|(_, _, cols)| *cols > 5)?;
    let scales = (3..=STRIDES.len()).find(|scales| cells(input, *scales) == rows as u64)?;
    // Places within a cell are small numbers; those in the input spread over all of it.
    let sum: f64 = data.chunks_exact(cols).map(|row| f64::from(row[0])).sum();
    if sum / rows as f64 > f64::from(input[0]) / 4.0 {
        return v5(outputs, least);
    }
    let cell = |[stride, cols, rows]: [u32; 3]| {
        (0..rows).flat_map(move |row| (0..cols).map(move |col| [stride, col, row]))
    };
    let cells = grids(input, scales).flat_map(cell).map(|cell| cell.map(|number| number as f32));
    let detection = |(row, [stride, col, line]): (&[f32], [f32; 3])| {
        let at = [(row[0] + col) * stride, (row[1] + line) * stride];
        object(row, at, [row[2].exp() * stride, row[3].exp() * stride], least)
    };
    Some(data.chunks_exact(cols).zip(cells).filter_map(detection).collect())
}

/// [`Head::YoloV8`](super::Head::YoloV8).
pub(super) fn v8(outputs: &[Output], least: f32) -> Option<Vec<Detection>> {
    let (data, rows, cols) = matrix(outputs).filter(|(_, rows, _)| *rows > 4)?;
    let detection = |index: usize| {
        let number = |row: usize| data[row * cols + index];
        let (class, score) = best((4..rows).map(number));
        let bounds = || Bounds::around([number(0), number(1)], [number(2), number(3)]);
        (score >= least).then(|| Detection { class, score, bounds: bounds() })
    };
    Some((0..cols).filter_map(detection).collect())
}

/// [`Head::YoloV10`](super::Head::YoloV10).
pub(super) fn v10(outputs: &[Output]) -> Option<Vec<Detection>> {
    let (data, _, _) = matrix(outputs).filter(|(_, _, cols)| *cols == 6)?;
    let detection = |row: &[f32; 6]| {
        let [left, top, right, bottom, score, class] = *row;
        Detection { class: class as usize, score, bounds: Bounds { left, top, right, bottom } }
    };
    Some(data.as_chunks::<6>().0.iter().map(detection).collect())
}

/// The scales of [`Head::YoloV3`](super::Head::YoloV3), as indices of outputs, from fine to coarse.
pub(super) fn scales(outputs: &[&[u64]]) -> Option<Vec<usize>> {
    let is_scale =
        |dims: &&[u64]| matches!(**dims, [1, channels, _, _] if channels % 3 == 0 && channels > 15);
    if !(2..=3).contains(&outputs.len()) || !outputs.iter().all(is_scale) {
        return None;
    }
    let mut order: Vec<usize> = (0..outputs.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(outputs[*index][2]));
    Some(order)
}

/// [`Head::YoloV3`](super::Head::YoloV3).
pub(super) fn v3(outputs: &[Output], input: [u32; 2], least: f32) -> Option<Vec<Detection>> {
    let dims: Vec<&[u64]> = outputs.iter().map(|output| output.dims.as_slice()).collect();
    let order = scales(&dims)?;
    let anchors: &[_] = if order.len() == 2 { &TINY_ANCHORS } else { &ANCHORS };
    let mut found = Vec::new();
    for (output, anchors) in order.into_iter().map(|index| &outputs[index]).zip(anchors) {
        scale(output, input, anchors, least, &mut found)?;
    }
    Some(found)
}

/// The boxes of one scale: centres are sigmoids within their cell, sizes exponentials of anchors.
fn scale(
    output: &Output,
    input: [u32; 2],
    anchors: &[[f32; 2]; 3],
    least: f32,
    found: &mut Vec<Detection>,
) -> Option<()> {
    let size = |axis: usize| usize::try_from(output.dims[axis]).ok();
    let (channels, rows, cols) = (size(1)?, size(2)?, size(3)?);
    let cells = rows.checked_mul(cols)?;
    if channels.checked_mul(cells)? != output.data.len() {
        return None;
    }
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
    let stride = [input[0] as f32 / cols as f32, input[1] as f32 / rows as f32];
    let each = channels / 3;
    for (anchor, planes) in anchors.iter().zip(output.data.chunks_exact(each * cells)) {
        for cell in 0..cells {
            let number = |channel: usize| planes[channel * cells + cell];
            let (class, score) = best((5..each).map(number));
            let score = sigmoid(score) * sigmoid(number(4));
            if score < least {
                continue;
            }
            let place = [(cell % cols) as f32, (cell / cols) as f32];
            let at = [0, 1].map(|axis| (sigmoid(number(axis)) + place[axis]) * stride[axis]);
            let size = [0, 1].map(|axis| number(2 + axis).exp() * anchor[axis]);
            found.push(Detection { class, score, bounds: Bounds::around(at, size) });
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(dims: &[u64], data: Vec<f32>) -> Vec<Output> {
        vec![Output { name: "y".into(), dims: dims.to_vec(), data }]
    }

    const BOX: Bounds = Bounds { left: 6.0, top: 4.0, right: 14.0, bottom: 8.0 };

    #[test]
    fn v5_multiplies_the_two_scores() {
        let data = vec![10.0, 6.0, 8.0, 4.0, 0.5, 0.1, 0.8];
        let found = v5(&output(&[1, 1, 7], data.clone()), 0.3).unwrap();
        assert_eq!(found, [Detection { class: 1, score: 0.4, bounds: BOX }]);
        assert!(v5(&output(&[1, 1, 7], data), 0.5).unwrap().is_empty());
        assert!(v5(&output(&[1, 1, 5], vec![0.0; 5]), 0.5).is_none());
        assert!(v5(&output(&[1, 2, 7], vec![0.0; 7]), 0.5).is_none());
    }

    #[test]
    fn v8_has_a_column_for_each_box() {
        let data = [[10.0, 0.0], [6.0, 0.0], [8.0, 0.0], [4.0, 0.0], [0.2, 0.0], [0.7, 0.1]];
        let found = v8(&output(&[1, 6, 2], data.concat()), 0.3).unwrap();
        assert_eq!(found, [Detection { class: 1, score: 0.7, bounds: BOX }]);
    }

    #[test]
    fn v10_has_corners() {
        let data = vec![6.0, 4.0, 14.0, 8.0, 0.9, 3.0];
        let found = v10(&output(&[1, 1, 6], data)).unwrap();
        assert_eq!(found, [Detection { class: 3, score: 0.9, bounds: BOX }]);
    }

    #[test]
    fn x_counts_from_the_cell_in_strides() {
        // An input of 32 x 32: 16 + 4 + 1 cells; the sixth is at column 1, row 1 of stride 8.
        let mut data = vec![0.0; 21 * 6];
        data[5 * 6..][..6].copy_from_slice(&[0.25, -0.25, 0.0, -(2f32.ln()), 1.0, 0.6]);
        let found = x(&output(&[1, 21, 6], data.clone()), [32, 32], 0.5).unwrap();
        assert_eq!(found, [Detection { class: 0, score: 0.6, bounds: BOX }]);
        // The same box where the model did the sum.
        data.chunks_exact_mut(6).for_each(|row| row[0] = 16.0);
        data[5 * 6..][..6].copy_from_slice(&[10.0, 6.0, 8.0, 4.0, 1.0, 0.6]);
        let found = x(&output(&[1, 21, 6], data), [32, 32], 0.5).unwrap();
        assert_eq!(found, [Detection { class: 0, score: 0.6, bounds: BOX }]);
    }

    #[test]
    fn v3_scales_anchors() {
        // Two scales of one class; the only box is the second anchor of the coarse one.
        let mut coarse = vec![-20.0; 18];
        coarse[6..12].copy_from_slice(&[0.0, 0.0, 0.0, 0.0, 20.0, 20.0]);
        let fine = output(&[1, 18, 2, 2], vec![-20.0; 72]).remove(0);
        let coarse = output(&[1, 18, 1, 1], coarse).remove(0);
        let found = v3(&[coarse, fine], [32, 32], 0.5).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].bounds, Bounds::around([16.0, 16.0], [135.0, 169.0]));
    }
}
