//! The outputs of detectors: which form they have, and the boxes in them.

use std::str::FromStr;

use super::bounds::{Bounds, Detection, Limits, without_overlaps};
use super::{ssd, yolo};
use crate::api::Output;
use crate::input::{Colours, Fit, Framing, Placement};

/// The form of a detector's outputs. Numbers of boxes are `n`, of classes `c`; places are pixels of
/// the model's input unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Head {
    /// A map `[1, 3 (5 + c), rows, cols]` for each of two or three scales: what darknet's layers
    /// `yolo` get, with the anchors that YOLOv3 and its tiny sister have for COCO.
    YoloV3,
    /// `[1, n, 5 + c]`: centre, size, how sure it is of an object, and of each class.
    YoloV5,
    /// `[1, 4 + c, n]`: centre, size, and how sure it is of each class. YOLOv8, v9, 11 and 12.
    YoloV8,
    /// `[1, n, 6]`: corners, how sure it is, class; nothing overlaps. YOLOv10 and 26.
    YoloV10,
    /// As YOLOv5, one box for every cell of maps whose strides are 8, 16 and 32; centres and sizes
    /// count from the cell, in strides, unless the model does that sum itself.
    YoloX,
    /// `[1, n, 4]` and `[1, n, c]`: corners as parts of the input, and scores; class 0 is background.
    Ssd,
}

/// Outputs that have no form of a detector's, or not the one that was named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// They have none that is known.
    #[error(
        "outputs of {0:?} are not those of a known detector (yolov3, yolov5, yolov8, yolov10, yolox \
         or ssd)"
    )]
    Unknown(Vec<Vec<u64>>),
    /// They have another one.
    #[error("outputs of {found:?} are not those of {head}")]
    Other {
        /// What was named.
        head: &'static str,
        /// Their dimensions.
        found: Vec<Vec<u64>>,
    },
    /// There is none of this name.
    #[error("there is no head {0:?}; there are yolov3, yolov5, yolov8, yolov10, yolox and ssd")]
    Name(String),
}

impl Head {
    const ALL: [Head; 6] =
        [Head::YoloV3, Head::YoloV5, Head::YoloV8, Head::YoloV10, Head::YoloX, Head::Ssd];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Head::YoloV3 => "yolov3",
            Head::YoloV5 => "yolov5",
            Head::YoloV8 => "yolov8",
            Head::YoloV10 => "yolov10",
            Head::YoloX => "yolox",
            Head::Ssd => "ssd",
        }
    }

    /// How pictures become the input of such a detector.
    pub const fn framing(self) -> Framing {
        match self {
            Head::YoloX => Framing { fit: Fit::Corner, colours: Colours::Bgr },
            Head::Ssd => Framing { fit: Fit::Stretch, colours: Colours::Rgb },
            _ => Framing { fit: Fit::Letterbox, colours: Colours::Rgb },
        }
    }

    /// The form that outputs of these dimensions have, for an input of this width and height.
    ///
    /// # Errors
    /// When they have none that is known.
    pub fn of(outputs: &[&[u64]], input: [u32; 2]) -> Result<Head, HeadError> {
        let unknown = || HeadError::Unknown(outputs.iter().map(|dims| dims.to_vec()).collect());
        if ssd::order(outputs).is_some() {
            return Ok(Head::Ssd);
        }
        if yolo::scales(outputs).is_some() {
            return Ok(Head::YoloV3);
        }
        let [[1, rows, cols]] = outputs else { return Err(unknown()) };
        // Those of larger inputs have a fourth scale.
        let [fine, all] = [3, 4].map(|scales| yolo::cells(input, scales));
        match (*rows, *cols) {
            (n, 6..) if n == fine || n == all => Ok(Head::YoloX),
            (n, 6..) if n == 3 * fine || n == 3 * all => Ok(Head::YoloV5),
            (5.., n) if n == fine || n == all => Ok(Head::YoloV8),
            (..=1000, 6) => Ok(Head::YoloV10),
            _ => Err(unknown()),
        }
    }

    /// The objects that outputs of this form tell of, in a picture that was placed in an input of
    /// this width and height; the surest one first.
    ///
    /// # Errors
    /// When the outputs have another form.
    pub fn detect(
        self,
        outputs: &[Output],
        input: [u32; 2],
        placement: &Placement,
        limits: Limits,
    ) -> Result<Vec<Detection>, HeadError> {
        let found = match self {
            Head::YoloV3 => yolo::v3(outputs, input, limits.score),
            Head::YoloV5 => yolo::v5(outputs, limits.score),
            Head::YoloV8 => yolo::v8(outputs, limits.score),
            Head::YoloV10 => yolo::v10(outputs),
            Head::YoloX => yolo::x(outputs, input, limits.score),
            Head::Ssd => ssd::detect(outputs, input, limits.score),
        };
        let other = || HeadError::Other {
            head: self.name(),
            found: outputs.iter().map(|output| output.dims.clone()).collect(),
        };
        // The last form has no boxes that overlap without being two objects.
        let limits = if self == Head::YoloV10 { Limits { overlap: 1.0, ..limits } } else { limits };
        let kept = without_overlaps(found.ok_or_else(other)?, limits);
        let in_picture = |one: Detection| {
            let place = |x: f32, y: f32| placement.to_picture([f64::from(x), f64::from(y)]);
            let [left, top] = place(one.bounds.left, one.bounds.top);
            let [right, bottom] = place(one.bounds.right, one.bounds.bottom);
            let [left, top, right, bottom] = [left, top, right, bottom].map(|at| at as f32);
            Detection { bounds: Bounds { left, top, right, bottom }, ..one }
        };
        Ok(kept.into_iter().map(in_picture).filter(|one| one.bounds.area() > 0.0).collect())
    }
}

impl FromStr for Head {
    type Err = HeadError;

    fn from_str(name: &str) -> Result<Head, HeadError> {
        let found = Head::ALL.into_iter().find(|head| head.name() == name);
        found.ok_or_else(|| HeadError::Name(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart_by_dimensions() {
        let of = |dims: &[&[u64]], side| Head::of(dims, [side, side]).ok();
        assert_eq!(of(&[&[1, 84, 8400]], 640), Some(Head::YoloV8));
        assert_eq!(of(&[&[1, 22, 2100]], 320), Some(Head::YoloV8));
        assert_eq!(of(&[&[1, 25200, 85]], 640), Some(Head::YoloV5));
        assert_eq!(of(&[&[1, 3549, 6]], 416), Some(Head::YoloX));
        assert_eq!(of(&[&[1, 8400, 85]], 640), Some(Head::YoloX));
        assert_eq!(of(&[&[1, 300, 6]], 640), Some(Head::YoloV10));
        assert_eq!(of(&[&[1, 525, 6]], 160), Some(Head::YoloX));
        assert_eq!(of(&[&[1, 102_000, 85]], 1280), Some(Head::YoloV5));
        // A transformer's queries, and a segmenter's masks.
        assert_eq!(of(&[&[1, 300, 84]], 640), None);
        assert_eq!(of(&[&[1, 116, 8400], &[1, 32, 160, 160]], 640), None);
        assert_eq!(of(&[&[1, 255, 13, 13], &[1, 255, 26, 26]], 416), Some(Head::YoloV3));
        assert_eq!(of(&[&[1, 4420, 2], &[1, 4420, 4]], 320), Some(Head::Ssd));
        assert_eq!(of(&[&[1, 1000]], 224), None);
        assert_eq!(of(&[], 224), None);
    }

    #[test]
    fn every_form_has_its_name() {
        for head in Head::ALL {
            assert_eq!(head.name().parse(), Ok(head));
        }
        assert!("yolo".parse::<Head>().unwrap_err().to_string().contains("yolov8"));
    }
}
