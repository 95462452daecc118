//! Normalises pixels up front, for the rare cases that they are not sent as pixels.

use edgeld_runtime::program::Encoding;

use crate::api::Input;

/// Turns pixels into values: channel c becomes (pixel - mean\[c\]) / std\[c\]. Values are returned
/// unchanged, as is everything if the encoding is not `Pixels`.
///
/// Normally the devices that compute on pixels normalise them on arrival. This is for a run that
/// mixes pictures and arrays, since each input of a model has one encoding.
pub fn normalised(input: Input, encoding: Encoding) -> Input {
    match (input, encoding) {
        (Input::Pixels(pixels), Encoding::Pixels { mean, std }) => {
            let plane = (pixels.len() / 3).max(1);
            let scale = |(plane, (mean, std)): (&[u8], (f32, f32))| {
                let values = plane.iter().map(|pixel| (f32::from(*pixel) - mean) / std);
                values.collect::<Vec<f32>>()
            };
            let scales = mean.into_iter().zip(std);
            Input::from(pixels.chunks(plane).zip(scales).flat_map(scale).collect::<Vec<f32>>())
        }
        (input, _) => input,
    }
}

/// The values of a picture, or its pixels, with the three channels of each pixel side by side.
pub fn channels_last(input: Input) -> Input {
    fn side_by_side<T: Copy>(planes: &[T]) -> Vec<T> {
        let plane = planes.len() / 3;
        (0..plane).flat_map(|pixel| [0, 1, 2].map(|c| planes[c * plane + pixel])).collect()
    }
    match input {
        Input::Pixels(pixels) => Input::from(side_by_side(&pixels[..])),
        Input::Values(values) => Input::from(side_by_side(&values[..])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_side_by_side() {
        let planes = Input::from(vec![1u8, 2, 10, 20, 100, 200]);
        assert_eq!(channels_last(planes), Input::from(vec![1u8, 10, 100, 2, 20, 200]));
    }

    #[test]
    fn every_channel_has_its_own_scale() {
        let encoding = Encoding::Pixels { mean: [0.0, 10.0, 20.0], std: [1.0, 2.0, 4.0] };
        let pixels = Input::from(vec![1u8, 2, 10, 14, 20, 24]);
        let values = Input::from(vec![1.0f32, 2.0, 0.0, 2.0, 0.0, 1.0]);
        assert_eq!(normalised(pixels, encoding), values);
        assert_eq!(normalised(values.clone(), encoding), values);
    }
}
