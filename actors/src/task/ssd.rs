//! The boxes of SSD's heads, after their priors were applied.

use super::bounds::{Bounds, Detection};
use crate::api::Output;

/// Which outputs are the boxes and the scores.
pub(super) fn order(outputs: &[&[u64]]) -> Option<(usize, usize)> {
    let [[1, n, a], [1, m, b]] = outputs else { return None };
    match (a, b) {
        _ if n != m || *n < 2 => None,
        (4, 2..) => Some((0, 1)),
        (2.., 4) => Some((1, 0)),
        _ => None,
    }
}

/// [`Head::Ssd`](super::Head::Ssd).
pub(super) fn detect(outputs: &[Output], input: [u32; 2], least: f32) -> Option<Vec<Detection>> {
    let dims: Vec<&[u64]> = outputs.iter().map(|output| output.dims.as_slice()).collect();
    let (boxes, scores) = order(&dims)?;
    let classes = usize::try_from(dims[scores][2]).ok()?;
    let (corners, _) = outputs[boxes].data.as_chunks::<4>();
    let scores = outputs[scores].data.chunks_exact(classes);
    if corners.len() != scores.len() {
        return None;
    }
    let [width, height] = input.map(|length| length as f32);
    let detections = corners.iter().zip(scores).flat_map(|([left, top, right, bottom], scores)| {
        let bounds = Bounds {
            left: left * width,
            top: top * height,
            right: right * width,
            bottom: bottom * height,
        };
        let named = scores.iter().copied().enumerate().skip(1);
        named.filter(move |(_, score)| *score >= least).map(move |(class, score)| Detection {
            class,
            score,
            bounds,
        })
    });
    Some(detections.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_is_no_object() {
        let output =
            |dims: &[u64], data: Vec<f32>| Output { name: "y".into(), dims: dims.to_vec(), data };
        let scores = output(&[1, 2, 3], vec![0.9, 0.05, 0.05, 0.2, 0.1, 0.7]);
        let boxes = output(&[1, 2, 4], vec![0.0, 0.0, 1.0, 1.0, 0.25, 0.5, 0.75, 1.0]);
        let found = detect(&[scores, boxes], [40, 20], 0.5).unwrap();
        let bounds = Bounds { left: 10.0, top: 10.0, right: 30.0, bottom: 20.0 };
        assert_eq!(found, [Detection { class: 2, score: 0.7, bounds }]);
    }
}
