//! How a picture is brought to the size of a model's input, and where it is then.
//!
//! A classifier sees the centre of a picture, a detector all of it. What a detector finds is at
//! places of the model's input; a [`Placement`] maps them back:
//!
//! ```
//! use edgeld::input::Fit;
//! // A picture of 200 x 100 in an input of 416 x 416: 416 x 208 pixels, 104 rows of gray above.
//! let placement = Fit::Letterbox.place([200, 100], [416, 416]);
//! assert_eq!(placement.to_picture([208.0, 208.0]), [100.0, 50.0]);
//! ```

use std::fmt;

/// Default fraction of a picture's shorter side that is kept.
pub const DEFAULT_CROP: f64 = 0.875;

/// How a picture is brought to the size of a model's input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fit {
    /// The centre square of this fraction of the shorter side. What is beside it is lost.
    Crop(f64),
    /// All of it, in its proportions, in the middle; gray above and below, or left and right.
    Letterbox,
    /// All of it, in its proportions, in the top left corner; gray below or on the right.
    Corner,
    /// All of it, stretched.
    Stretch,
}

impl Fit {
    /// Where a picture of this width and height lies in an input of this width and height.
    pub fn place(self, picture: [u32; 2], input: [u32; 2]) -> Placement {
        let [picture, input] = [picture, input].map(|size| size.map(f64::from));
        let (area, kept) = match self {
            Fit::Crop(part) => {
                let side = picture[0].min(picture[1]) * part;
                let kept = picture.map(|length| ((length - side) / 2.0, side));
                (input.map(|length| (0.0, length)), kept)
            }
            Fit::Stretch => {
                (input.map(|length| (0.0, length)), picture.map(|length| (0.0, length)))
            }
            Fit::Letterbox | Fit::Corner => {
                let scale = (input[0] / picture[0]).min(input[1] / picture[1]);
                let lengths = picture.map(|length| (length * scale).round().max(1.0));
                let start = |axis: usize| match self {
                    Fit::Corner => 0.0,
                    _ => ((input[axis] - lengths[axis]) / 2.0).floor(),
                };
                let area = [(start(0), lengths[0]), (start(1), lengths[1])];
                (area, picture.map(|length| (0.0, length)))
            }
        };
        Placement { picture, kept, area }
    }
}

/// What of a picture lies where in a model's input. Axes are columns, then rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    picture: [f64; 2],
    /// Start and length of what is kept of the picture.
    pub(super) kept: [(f64, f64); 2],
    /// Start and length of where that lies in the input.
    pub(super) area: [(f64, f64); 2],
}

impl Placement {
    /// The place in the picture, column and row, of a place in the input; the nearest one within
    /// the picture.
    pub fn to_picture(&self, place: [f64; 2]) -> [f64; 2] {
        std::array::from_fn(|axis| {
            let ((kept, of), (area, length)) = (self.kept[axis], self.area[axis]);
            ((place[axis] - area) / length * of + kept).clamp(0.0, self.picture[axis])
        })
    }
}

/// The order of colours in a model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colours {
    /// Red first.
    #[default]
    Rgb,
    /// Blue first, as OpenCV has them.
    Bgr,
}

/// How pictures become inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Framing {
    /// How they are brought to the input's size.
    pub fit: Fit,
    /// The order of colours.
    pub colours: Colours,
}

impl Default for Framing {
    /// The centre, red first: what classifiers take.
    fn default() -> Framing {
        Framing { fit: Fit::Crop(DEFAULT_CROP), colours: Colours::Rgb }
    }
}

impl fmt::Display for Colours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Colours::Rgb => "rgb",
            Colours::Bgr => "bgr",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_of_the_input_are_corners_of_the_picture() {
        let picture = [640, 480];
        for (fit, first, last) in [
            (Fit::Stretch, [0.0, 0.0], [640.0, 480.0]),
            (Fit::Crop(1.0), [80.0, 0.0], [560.0, 480.0]),
            (Fit::Crop(0.5), [200.0, 120.0], [440.0, 360.0]),
            // Gray is nearest to the picture's edge.
            (Fit::Letterbox, [0.0, 0.0], [640.0, 480.0]),
            (Fit::Corner, [0.0, 0.0], [640.0, 480.0]),
        ] {
            let placement = fit.place(picture, [320, 320]);
            assert_eq!(placement.to_picture([0.0, 0.0]), first, "{fit:?}");
            assert_eq!(placement.to_picture([320.0, 320.0]), last, "{fit:?}");
        }
    }

    #[test]
    fn a_letterbox_keeps_proportions() {
        let placement = Fit::Letterbox.place([640, 480], [320, 320]);
        assert_eq!(placement.to_picture([0.0, 40.0]), [0.0, 0.0]);
        assert_eq!(placement.to_picture([160.0, 160.0]), [320.0, 240.0]);
        let placement = Fit::Corner.place([480, 640], [320, 320]);
        assert_eq!(placement.to_picture([240.0, 320.0]), [480.0, 640.0]);
    }
}
