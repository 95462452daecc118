//! `Resize` and `Upsample`, to the nearest element.

use super::loaded::{Loaded, one};
use crate::graph::{Op, Pick, Slice};
use crate::onnx::error::Problem;
use crate::onnx::import::Import;
use crate::onnx::node::Node;

/// `Resize` by whole numbers, up or down.
pub(crate) fn resize(import: &mut Import, node: &Node) -> Loaded {
    if node.opset < 11 {
        let scales = node.constant(1)?.to_floats()?;
        return scaled(import, node, |axis, _| scales.get(axis).copied(), ("asymmetric", "floor"));
    }
    let text = |name: &str, default: &'static str| match node.text(name) {
        Ok("") => Ok(default.to_owned()),
        other => other.map(str::to_owned),
    };
    let rules = (
        text("coordinate_transformation_mode", "half_pixel")?,
        text("nearest_mode", "round_prefer_floor")?,
    );
    let rules = (rules.0.as_str(), rules.1.as_str());
    if node.has("axes") || node.text("keep_aspect_ratio_policy")?.starts_with("not_") {
        return Err(Problem::Unsupported("axes or keep_aspect_ratio_policy".to_owned()));
    }
    // In older files an empty list means no scales.
    let scales = match node.optional(2)? {
        Some(scales) if scales.elements() > 0 => Some(scales.to_floats()?),
        _ => None,
    };
    let sizes = node.optional(3)?.map(|sizes| sizes.to_ints()).transpose()?;
    let scale = |axis: usize, len: u64| match (&scales, &sizes) {
        (Some(scales), _) => scales.get(axis).copied(),
        (None, Some(sizes)) => sizes.get(axis).map(|size| *size as f32 / len as f32),
        (None, None) => None,
    };
    scaled(import, node, scale, rules)
}

/// `Upsample`, the predecessor of `Resize`.
pub(crate) fn upsample(import: &mut Import, node: &Node) -> Loaded {
    let scales = match node.floats("scales")? {
        Some(scales) if node.opset < 9 => scales.to_vec(),
        _ => node.constant(1)?.to_floats()?,
    };
    scaled(import, node, |axis, _| scales.get(axis).copied(), ("asymmetric", "floor"))
}

/// Scales a map. `scale` is the factor for an axis of some length; `rules` say how the position of
/// an output on the input is computed and rounded.
fn scaled(
    import: &mut Import,
    node: &Node,
    scale: impl Fn(usize, u64) -> Option<f32>,
    rules: (&str, &str),
) -> Loaded {
    let mode = node.text("mode")?;
    if !matches!(mode, "" | "nearest") {
        return Err(Problem::Unsupported(format!("mode {mode}; only nearest is")));
    }
    let (view, shape) = import.map(&node.name, node.view(0)?)?;
    let axis = |axis: usize| {
        let len = view.dims[axis];
        let scale = scale(axis, len).ok_or(Problem::InputMissing(2))?;
        let unsupported = || {
            let what = format!("axis {axis} scaled by {scale} ({}, {})", rules.0, rules.1);
            Problem::Unsupported(what)
        };
        let outputs = (f64::from(scale) * len as f64).floor();
        if !(1.0..=f64::from(1 << 24)).contains(&outputs) {
            return Err(unsupported());
        }
        let sources: Option<Vec<u32>> =
            (0..outputs as u32).map(|out| nearest(out, scale, (len, outputs), rules)).collect();
        sources.and_then(|sources| Scaling::of(&sources, len as u32)).ok_or_else(unsupported)
    };
    let [batch, channels, rows, cols] = [axis(0)?, axis(1)?, axis(2)?, axis(3)?];
    if [batch, channels] != [Scaling::Up(1); 2] {
        return Err(Problem::Unsupported("scaled batches or channels".to_owned()));
    }
    let (up, down) = match (rows, cols) {
        (Scaling::Up(1), Scaling::Up(1)) => return one(view.clone()),
        (Scaling::Up(rows), Scaling::Up(cols)) => (Some((rows, cols)), None),
        (rows, cols) => {
            let pick = |scaling, len| match scaling {
                Scaling::Up(1) => Ok(Pick::all(len)),
                Scaling::Down(pick) => Ok(pick),
                Scaling::Up(_) => Err(Problem::Unsupported("one axis up, one down".to_owned())),
            };
            let (rows, cols) = (pick(rows, shape.rows)?, pick(cols, shape.width)?);
            (None, Some(Slice { rows, cols, ..Slice::all(shape) }))
        }
    };
    let op = match (up, down) {
        (_, Some(slice)) => Op::Slice(slice),
        (up, None) => {
            let (rows, cols) = up.unwrap_or((1, 1));
            Op::Upsample { rows, cols }
        }
    };
    one(import.layer(&node.name, op, &[&view])?)
}

/// How an axis is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scaling {
    /// Every index is repeated this often.
    Up(u32),
    /// Some indices are picked.
    Down(Pick),
}

impl Scaling {
    /// The scaling in which `sources` are the inputs of the outputs, on an axis of `len`.
    fn of(sources: &[u32], len: u32) -> Option<Scaling> {
        let times = sources.len() as u32 / len;
        if times > 0 && (sources.iter().zip(0u32..)).all(|(source, out)| *source == out / times) {
            return Some(Scaling::Up(times));
        }
        let start = *sources.first()?;
        let step = sources.get(1).map_or(1, |second| second.saturating_sub(start));
        let pick = Pick { start, step, count: sources.len() as u32 };
        let evenly =
            pick.fits(len) && (0..pick.count).all(|i| sources[i as usize] == pick.index(i));
        evenly.then_some(Scaling::Down(pick))
    }
}

/// The input that is nearest to an output according to ONNX's rules. The axis has `len` inputs and
/// `outputs` outputs.
fn nearest(out: u32, scale: f32, (len, outputs): (u64, f64), rules: (&str, &str)) -> Option<u32> {
    let (out, scale, len) = (f64::from(out), f64::from(scale), len as f64);
    let place = match rules.0 {
        "asymmetric" => out / scale,
        "half_pixel" => (out + 0.5) / scale - 0.5,
        "pytorch_half_pixel" if outputs > 1.0 => (out + 0.5) / scale - 0.5,
        "pytorch_half_pixel" => 0.0,
        "align_corners" if outputs > 1.0 => out * (len - 1.0) / (outputs - 1.0),
        "align_corners" => 0.0,
        _ => return None,
    };
    let nearest = match rules.1 {
        "floor" => place.floor(),
        "ceil" => place.ceil(),
        "round_prefer_floor" => (place - 0.5).ceil(),
        "round_prefer_ceil" => (place + 0.5).floor(),
        _ => return None,
    };
    Some(nearest.clamp(0.0, len - 1.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaling(len: u32, scale: f32, rules: (&str, &str)) -> Option<Scaling> {
        let outputs = (f64::from(len) * f64::from(scale)).floor();
        let nearest = |out| nearest(out, scale, (len.into(), outputs), rules);
        Scaling::of(&(0..outputs as u32).map(nearest).collect::<Option<Vec<u32>>>()?, len)
    }

    #[test]
    fn whole_numbers_are_found() {
        assert_eq!(scaling(13, 2.0, ("asymmetric", "floor")), Some(Scaling::Up(2)));
        assert_eq!(scaling(5, 3.0, ("half_pixel", "round_prefer_floor")), Some(Scaling::Up(3)));
        assert_eq!(scaling(5, 3.0, ("half_pixel", "floor")), None);
        assert_eq!(scaling(5, 2.5, ("asymmetric", "floor")), None);
        let every_second = Pick { start: 0, step: 2, count: 4 };
        assert_eq!(scaling(8, 0.5, ("asymmetric", "floor")), Some(Scaling::Down(every_second)));
        assert_eq!(scaling(8, 2.0, ("tf_crop_and_resize", "floor")), None);
    }
}
