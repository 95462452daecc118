//! Interpolation: `Resize` in all modes, `GridSample`, `RoiAlign`.

use super::steps::{Steps, attribute, loaded};
use crate::graph::{
    Coordinates, Function, Interpolation, Nearest, PadMode, Resize, RoiAlign, Sample,
};
use crate::onnx::error::Problem;
use crate::onnx::import::Import;
use crate::onnx::node::{Node, axis};
use crate::onnx::nodes::loaded::Loaded;

/// `Resize` along any axes, one after another.
pub(crate) fn resize_any(import: &mut Import, node: &Node) -> Loaded {
    let old = node.opset < 11;
    let rank = node.value(0)?.dims().len();
    let axes: Vec<usize> = match node.ints("axes")? {
        Some(axes) => axes.iter().map(|index| axis(*index, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    let list = |index: usize| match node.optional(index)? {
        Some(list) if list.elements() > 0 => Ok(Some(list.to_floats()?)),
        _ => Ok::<_, Problem>(None),
    };
    let (scales, sizes) = if old { (list(1)?, None) } else { (list(2)?, list(3)?) };
    resized(import, node, &axes, scales, sizes)
}

/// `Upsample` in all modes.
pub(crate) fn upsample_any(import: &mut Import, node: &Node) -> Loaded {
    let scales = match node.floats("scales")? {
        Some(scales) if node.opset < 9 => scales.to_vec(),
        _ => node.constant(1)?.to_floats()?,
    };
    let axes: Vec<usize> = (0..node.value(0)?.dims().len()).collect();
    resized(import, node, &axes, Some(scales), None)
}

fn resized(
    import: &mut Import,
    node: &Node,
    axes: &[usize],
    scales: Option<Vec<f32>>,
    sizes: Option<Vec<f32>>,
) -> Loaded {
    let mut value = node.value(0)?.clone();
    let by = match node.text("mode")? {
        "" | "nearest" => Interpolation::Nearest(match node.text("nearest_mode")? {
            _ if node.opset < 11 => Nearest::Floor,
            "" | "round_prefer_floor" => Nearest::PreferFloor,
            "round_prefer_ceil" => Nearest::PreferCeil,
            "floor" => Nearest::Floor,
            "ceil" => Nearest::Ceil,
            _ => return Err(attribute("nearest_mode", "a way of rounding")),
        }),
        "linear" | "bilinear" => Interpolation::Linear,
        "cubic" => Interpolation::Cubic {
            a: node.float("cubic_coeff_a", -0.75)?,
            exclude_outside: node.flag("exclude_outside")?,
        },
        _ => return Err(attribute("mode", "nearest, linear or cubic")),
    };
    let places = node.text("coordinate_transformation_mode")?;
    let region = match node.optional(1)? {
        Some(region) if places == "tf_crop_and_resize" => region.to_floats()?,
        _ => Vec::new(),
    };
    let outside = node.float("extrapolation_value", 0.0)?;
    let coordinates = |index: usize| {
        Ok(match places {
            _ if node.opset < 11 => Coordinates::Asymmetric,
            "" | "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_crop_and_resize" => {
                let side = |at: usize| region.get(at).copied().ok_or(Problem::InputMissing(1));
                let (start, end) = (side(index)?, side(index + axes.len())?);
                Coordinates::Crop { start, end, outside }
            }
            _ => return Err(attribute("coordinate_transformation_mode", "one that ONNX has")),
        })
    };
    let lens: Vec<f64> = axes.iter().map(|axis| value.dims()[*axis] as f64).collect();
    // By axis: the factor, and how many elements there will be.
    let targets: Vec<(f64, f64)> = match (scales, sizes) {
        (Some(scales), _) if scales.len() == axes.len() => {
            let pairs = scales.iter().zip(&lens);
            pairs
                .map(|(scale, len)| (f64::from(*scale), (f64::from(*scale) * len).floor()))
                .collect()
        }
        (_, Some(sizes)) if sizes.len() == axes.len() => {
            let factors = sizes.iter().zip(&lens).map(|(size, len)| f64::from(*size) / len);
            let common = match node.text("keep_aspect_ratio_policy")? {
                "not_larger" => Some(factors.clone().fold(f64::INFINITY, f64::min)),
                "not_smaller" => Some(factors.clone().fold(0.0, f64::max)),
                _ => None,
            };
            let target = |(factor, (size, len)): (f64, (&f32, &f64))| match common {
                Some(common) => (common, (common * len).round()),
                None => (factor, f64::from(*size)),
            };
            factors.zip(sizes.iter().zip(&lens)).map(target).collect()
        }
        _ => return Err(Problem::Invalid("a scale or a size for every axis is needed".to_owned())),
    };
    let antialias = node.flag("antialias")?;
    for (index, (scale, to)) in targets.into_iter().enumerate() {
        let crops = places == "tf_crop_and_resize";
        if scale == 1.0 && to == lens[index] && !crops {
            continue;
        }
        if !(1.0..=f64::from(1 << 24)).contains(&to) {
            return Err(Problem::Invalid(format!("an axis of {to} elements")));
        }
        let resize = Resize {
            axis: axes[index] as u32,
            to: to as u32,
            scale,
            by,
            coordinates: coordinates(index)?,
            antialias: antialias && scale < 1.0,
        };
        value = Steps::new(import, node).map(Function::Resize(resize), &value)?;
    }
    Ok(vec![value])
}

/// `GridSample`.
pub(crate) fn grid_sample(import: &mut Import, node: &Node) -> Loaded {
    let by = match node.text("mode")? {
        "" | "bilinear" | "linear" => Sample::Linear,
        "nearest" => Sample::Nearest,
        "bicubic" | "cubic" => Sample::Cubic,
        _ => return Err(attribute("mode", "linear, nearest or cubic")),
    };
    let outside = match node.text("padding_mode")? {
        "" | "zeros" => PadMode::Constant(0.0),
        "border" => PadMode::Edge,
        "reflection" => PadMode::Reflect,
        _ => return Err(attribute("padding_mode", "zeros, border or reflection")),
    };
    let function = Function::GridSample { by, outside, align_corners: node.flag("align_corners")? };
    let (x, grid) = (node.value(0)?, node.value(1)?);
    loaded(Steps::new(import, node).apply(function, &[x, grid], x.element()))
}

/// `RoiAlign`.
pub(crate) fn roi_align(import: &mut Import, node: &Node) -> Loaded {
    let positive = |name: &str, default: i64| {
        let found = u32::try_from(node.int(name, default)?).ok();
        found.ok_or_else(|| attribute(name, "not negative"))
    };
    let size = (positive("output_height", 1)?, positive("output_width", 1)?);
    let largest = match node.text("mode")? {
        "" | "avg" => false,
        "max" => true,
        _ => return Err(attribute("mode", "avg or max")),
    };
    let half_pixel = match node.text("coordinate_transformation_mode")? {
        "" => node.opset >= 16,
        "half_pixel" => true,
        "output_half_pixel" => false,
        _ => {
            let name = "coordinate_transformation_mode";
            return Err(attribute(name, "half_pixel or output_half_pixel"));
        }
    };
    let roi = RoiAlign {
        size,
        scale: node.float("spatial_scale", 1.0)?,
        samples: positive("sampling_ratio", 0)?,
        largest,
        half_pixel,
    };
    let [x, boxes, batches] = [node.value(0)?, node.value(1)?, node.value(2)?];
    loaded(Steps::new(import, node).apply(
        Function::RoiAlign(roi),
        &[x, boxes, batches],
        x.element(),
    ))
}
