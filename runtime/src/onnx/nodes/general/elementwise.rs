//! Functions of every element, alone or together with those of other tensors.

use super::steps::{Steps, attribute, loaded};
use crate::graph::{Binary, Curve, Function};
use crate::onnx::constant::Element;
use crate::onnx::error::Problem;
use crate::onnx::import::{Import, Value};
use crate::onnx::node::Node;
use crate::onnx::nodes::loaded::Loaded;

/// Two or more values, combined one after another.
fn chain(import: &mut Import, node: &Node, by: Binary) -> Result<Value, Problem> {
    if node.opset < 7 && node.has("axis") {
        let what = "the alignment at an axis of old files; convert it to operator set 7";
        return Err(Problem::Unsupported(what.to_owned()));
    }
    let mut steps = Steps::new(import, node);
    let mut result = node.value(0)?.clone();
    for index in 1..node.inputs().len() {
        result = steps.binary(by, &result, node.value(index)?)?;
    }
    Ok(result)
}

/// `Add` and `Sum`.
pub(crate) fn add_any(import: &mut Import, node: &Node) -> Loaded {
    loaded(chain(import, node, Binary::Add))
}

/// `Sub`.
pub(crate) fn sub_any(import: &mut Import, node: &Node) -> Loaded {
    loaded(chain(import, node, Binary::Sub))
}

/// `Mul`.
pub(crate) fn mul_any(import: &mut Import, node: &Node) -> Loaded {
    loaded(chain(import, node, Binary::Mul))
}

/// `Div`; of integers, the whole part.
pub(crate) fn div_any(import: &mut Import, node: &Node) -> Loaded {
    let whole = !node.value(0)?.element().is_float();
    loaded(chain(import, node, if whole { Binary::Quotient } else { Binary::Div }))
}

/// `Min`.
pub(crate) fn min(import: &mut Import, node: &Node) -> Loaded {
    loaded(chain(import, node, Binary::Min))
}

/// `Max`.
pub(crate) fn max(import: &mut Import, node: &Node) -> Loaded {
    loaded(chain(import, node, Binary::Max))
}

/// `Mean` of several values.
pub(crate) fn mean_of(import: &mut Import, node: &Node) -> Loaded {
    let sum = chain(import, node, Binary::Add)?;
    let count = node.inputs().len() as f32;
    loaded(Steps::new(import, node).scalar(Binary::Div, &sum, count))
}

/// `Pow`.
pub(crate) fn pow(import: &mut Import, node: &Node) -> Loaded {
    let power = chain(import, node, Binary::Pow)?;
    match node.value(0)?.element().is_float() {
        true => Ok(vec![power]),
        false => loaded(Steps::new(import, node).curve(Curve::Trunc, &power)),
    }
}

/// `Mod`.
pub(crate) fn modulo(import: &mut Import, node: &Node) -> Loaded {
    loaded(chain(import, node, if node.flag("fmod")? { Binary::Rem } else { Binary::Mod }))
}

/// `PRelu`, whose slopes are aligned at the last dimension like any operand.
pub(crate) fn prelu_any(import: &mut Import, node: &Node) -> Loaded {
    loaded(chain(import, node, Binary::PRelu))
}

fn compared(import: &mut Import, node: &Node, by: Binary, swap: bool) -> Loaded {
    let (a, b) = (node.value(0)?, node.value(1)?);
    let inputs = if swap { [b, a] } else { [a, b] };
    loaded(Steps::new(import, node).apply(Function::Binary(by), &inputs, Element::Bool))
}

/// `Equal`.
pub(crate) fn equal(import: &mut Import, node: &Node) -> Loaded {
    compared(import, node, Binary::Equal, false)
}

/// `Less`.
pub(crate) fn less(import: &mut Import, node: &Node) -> Loaded {
    compared(import, node, Binary::Less, false)
}

/// `LessOrEqual`.
pub(crate) fn less_or_equal(import: &mut Import, node: &Node) -> Loaded {
    compared(import, node, Binary::LessOrEqual, false)
}

/// `Greater`.
pub(crate) fn greater(import: &mut Import, node: &Node) -> Loaded {
    compared(import, node, Binary::Less, true)
}

/// `GreaterOrEqual`.
pub(crate) fn greater_or_equal(import: &mut Import, node: &Node) -> Loaded {
    compared(import, node, Binary::LessOrEqual, true)
}

/// `And`.
pub(crate) fn and(import: &mut Import, node: &Node) -> Loaded {
    compared(import, node, Binary::And, false)
}

/// `Or`.
pub(crate) fn or(import: &mut Import, node: &Node) -> Loaded {
    compared(import, node, Binary::Or, false)
}

/// `Xor`.
pub(crate) fn xor(import: &mut Import, node: &Node) -> Loaded {
    compared(import, node, Binary::Xor, false)
}

/// `Where`.
pub(crate) fn select(import: &mut Import, node: &Node) -> Loaded {
    let [condition, a, b] = [node.value(0)?, node.value(1)?, node.value(2)?];
    loaded(Steps::new(import, node).apply(Function::Where, &[condition, a, b], a.element()))
}

/// `Clip` with bounds that are computed, of integers too.
pub(crate) fn clip_any(import: &mut Import, node: &Node) -> Loaded {
    let mut steps = Steps::new(import, node);
    let mut result = node.value(0)?.clone();
    for (index, name, by) in [(1, "min", Binary::Max), (2, "max", Binary::Min)] {
        if node.opset < 11 {
            if node.has(name) {
                result = steps.scalar(by, &result, node.float(name, 0.0)?)?;
            }
        } else if let Some(Some(bound)) = node.inputs().get(index) {
            result = steps.binary(by, &result, bound)?;
        }
    }
    Ok(vec![result])
}

/// `Cast` and `CastLike`: numbers are float32 in any case, but integers have nothing behind the
/// point and truths are 0 or 1.
pub(crate) fn cast_any(import: &mut Import, node: &Node) -> Loaded {
    let to = match node.inputs().get(1) {
        Some(Some(like)) => like.element(),
        _ => {
            let number = node.int("to", 0)?;
            let unknown = || Problem::Unsupported(format!("a cast to element type {number}"));
            Element::from_onnx(number).ok_or_else(unknown)?
        }
    };
    let value = node.value(0)?;
    let from = value.element();
    let curve = match to {
        Element::Bool if from != Element::Bool => Curve::Truth,
        _ if from.is_float() && !to.is_float() => Curve::Trunc,
        Element::Bf16 if from != Element::Bf16 => Curve::Bf16,
        _ => {
            return Ok(vec![match value {
                Value::View(view) => {
                    Value::View(crate::onnx::import::View { element: to, ..view.clone() })
                }
                Value::Constant(_) if from == to => value.clone(),
                Value::Constant(constant) => {
                    let numbers = constant.to_floats()?;
                    let dims = constant.dims.clone();
                    Value::Constant(crate::onnx::constant::Constant::numbers_of(
                        &constant.name,
                        dims,
                        to,
                        &numbers,
                    ))
                }
            }]);
        }
    };
    loaded(import.curve(&node.name, curve, value, to))
}

/// A function of one value, without attributes.
fn curve(import: &mut Import, node: &Node, curve: Curve) -> Loaded {
    loaded(Steps::new(import, node).curve(curve, node.value(0)?))
}

/// Loaders of functions without attributes.
macro_rules! curves {
    ($($(#[$doc:meta])* $name:ident = $curve:expr;)*) => {
        $($(#[$doc])* pub(crate) fn $name(import: &mut Import, node: &Node) -> Loaded {
            curve(import, node, $curve)
        })*
    };
}

curves! {
    /// `Abs`.
    abs = Curve::Abs;
    /// `Neg`.
    neg = Curve::Neg;
    /// `Exp`.
    exp = Curve::Exp;
    /// `Log`.
    log = Curve::Log;
    /// `Sqrt`.
    sqrt = Curve::Sqrt;
    /// `Reciprocal`.
    reciprocal = Curve::Reciprocal;
    /// `Erf`.
    erf = Curve::Erf;
    /// `Sin`.
    sin = Curve::Sin;
    /// `Cos`.
    cos = Curve::Cos;
    /// `Tan`.
    tan = Curve::Tan;
    /// `Asin`.
    asin = Curve::Asin;
    /// `Acos`.
    acos = Curve::Acos;
    /// `Atan`.
    atan = Curve::Atan;
    /// `Sinh`.
    sinh = Curve::Sinh;
    /// `Cosh`.
    cosh = Curve::Cosh;
    /// `Tanh`.
    tanh = Curve::Tanh;
    /// `Asinh`.
    asinh = Curve::Asinh;
    /// `Acosh`.
    acosh = Curve::Acosh;
    /// `Atanh`.
    atanh = Curve::Atanh;
    /// `Floor`.
    floor = Curve::Floor;
    /// `Ceil`.
    ceil = Curve::Ceil;
    /// `Round`.
    round = Curve::Round;
    /// `Sign`.
    sign = Curve::Sign;
    /// `Softplus`.
    softplus = Curve::Softplus;
    /// `Softsign`.
    softsign = Curve::Softsign;
    /// `Mish`.
    mish = Curve::Mish;
}

/// `Not`.
pub(crate) fn not(import: &mut Import, node: &Node) -> Loaded {
    loaded(import.curve(&node.name, Curve::Not, node.value(0)?, Element::Bool))
}

/// `IsNaN`.
pub(crate) fn is_nan(import: &mut Import, node: &Node) -> Loaded {
    loaded(import.curve(&node.name, Curve::IsNan, node.value(0)?, Element::Bool))
}

/// `IsInf`.
pub(crate) fn is_inf(import: &mut Import, node: &Node) -> Loaded {
    let side = |name: &str| Ok::<bool, Problem>(node.int(name, 1)? != 0);
    let (negative, positive) = (side("detect_negative")?, side("detect_positive")?);
    let curve = Curve::IsInf { negative, positive };
    loaded(import.curve(&node.name, curve, node.value(0)?, Element::Bool))
}

/// `Gelu`.
pub(crate) fn gelu(import: &mut Import, node: &Node) -> Loaded {
    let tanh = match node.text("approximate")? {
        "" | "none" => false,
        "tanh" => true,
        _ => return Err(attribute("approximate", "none or tanh")),
    };
    curve(import, node, Curve::Gelu { tanh })
}

/// `Elu`.
pub(crate) fn elu(import: &mut Import, node: &Node) -> Loaded {
    curve(import, node, Curve::Elu { alpha: node.float("alpha", 1.0)?, gamma: 1.0 })
}

/// `Selu`.
pub(crate) fn selu(import: &mut Import, node: &Node) -> Loaded {
    let (alpha, gamma) = (node.float("alpha", 1.673_263_2)?, node.float("gamma", 1.050_701)?);
    curve(import, node, Curve::Elu { alpha, gamma })
}

/// `Celu`.
pub(crate) fn celu(import: &mut Import, node: &Node) -> Loaded {
    curve(import, node, Curve::Celu { alpha: node.float("alpha", 1.0)? })
}

/// `ThresholdedRelu`.
pub(crate) fn thresholded_relu(import: &mut Import, node: &Node) -> Loaded {
    curve(import, node, Curve::Thresholded { alpha: node.float("alpha", 1.0)? })
}

/// `Shrink`.
pub(crate) fn shrink(import: &mut Import, node: &Node) -> Loaded {
    let (bias, lambda) = (node.float("bias", 0.0)?, node.float("lambd", 0.5)?);
    curve(import, node, Curve::Shrink { bias, lambda })
}
