//! Functions of whole tensors, for operators and cases that maps do not cover.
//!
//! [`Import::general`] is what most loaders in `nodes/general/` end in: if all inputs are known, it
//! computes the result while loading, else it adds a layer. A constant that a layer reads becomes
//! a layer of its own, without inputs, so it is stored, fetched and held like any weights.
//!
//! ```text
//! Add(boxes [1, 8400, 2], grid [1, 8400, 2])    constant grid; binary Add    run time
//! Range(0, 80, 1) -> Mul(., 8)                  a constant of 80 integers    while loading
//! ```

use super::constant::{Constant, Element};
use super::error::Problem;
use super::import::{Import, Value, View, shape_of};
use crate::general::evaluate;
use crate::graph::{self, Curve, Function, General, Op};

/// The most elements of a result that is computed while loading.
const MAX_FOLDED: u64 = 1 << 24;

impl Import {
    /// A function of `inputs`, whose result is of type `element`.
    pub(crate) fn general(
        &mut self,
        name: &str,
        function: Function,
        inputs: &[Value],
        element: Element,
    ) -> Result<Value, Problem> {
        let narrow = |dims: &[u64]| dims.iter().map(|dim| u32::try_from(*dim).ok()).collect();
        let dims: Option<Vec<Vec<u32>>> = inputs.iter().map(|value| narrow(value.dims())).collect();
        let misfit = |op: &'static str, dims: Vec<Vec<u32>>| {
            Problem::Geometry(graph::GeometryError::Dims { op, dims })
        };
        let general = match dims {
            Some(dims) => General { function, dims },
            None => return Err(misfit(function.name(), Vec::new())),
        };
        let output = general.output();
        let output = output.ok_or_else(|| misfit(general.function.name(), general.dims.clone()))?;
        let dims: Vec<u64> = output.iter().map(|dim| u64::from(*dim)).collect();
        let known: Option<Vec<&Constant>> = inputs.iter().map(readable).collect();
        let is_small = dims.iter().product::<u64>() <= MAX_FOLDED;
        if let Some(known) = known.filter(|_| is_small && self.may_fold(general.flops())) {
            let elements: Result<Vec<Vec<f32>>, Problem> =
                known.into_iter().map(Constant::to_floats).collect();
            let found = evaluate(&general, &elements?);
            let found =
                found.ok_or_else(|| misfit(general.function.name(), general.dims.clone()))?;
            return Ok(Value::Constant(Constant::numbers_of(name, dims, element, &found)));
        }
        let views: Result<Vec<View>, Problem> =
            inputs.iter().map(|value| self.view(value)).collect();
        let views = views?;
        let name = self.unique_name(name);
        let layer = self.layer(&name, Op::General(general), &views.iter().collect::<Vec<_>>())?;
        Ok(Value::View(View { element, ..layer }.reshaped(dims)?))
    }

    /// A function of every element of a value.
    pub(crate) fn curve(
        &mut self,
        name: &str,
        curve: Curve,
        value: &Value,
        element: Element,
    ) -> Result<Value, Problem> {
        match value {
            Value::View(view) => {
                let name = self.unique_name(name);
                let view = self.activate(&name, view, graph::Activation::Curve(curve))?;
                Ok(Value::View(View { element, ..view }))
            }
            Value::Constant(constant) => {
                let results = constant.to_floats()?.into_iter().map(|x| curve.of(x));
                let results: Vec<f32> = results.collect();
                let dims = constant.dims.clone();
                Ok(Value::Constant(Constant::numbers_of(name, dims, element, &results)))
            }
        }
    }

    /// A value as a view; a constant becomes a layer.
    pub(crate) fn view(&mut self, value: &Value) -> Result<View, Problem> {
        match value {
            Value::View(view) => Ok(view.clone()),
            Value::Constant(constant) => self.materialised(constant),
        }
    }

    /// A layer that makes a constant.
    pub(super) fn materialised(&mut self, constant: &Constant) -> Result<View, Problem> {
        let shape = shape_of(&constant.dims)?;
        let name = self.unique_name(&constant.name);
        let value = self.parameter(&name, shape.channels, constant)?;
        let layer = self.layer(&name, Op::Constant(graph::Constant { value, shape }), &[])?;
        View { element: constant.element, ..layer }.reshaped(constant.dims.clone())
    }
}

/// A constant whose elements may be read while loading.
fn readable(value: &Value) -> Option<&Constant> {
    match value {
        Value::Constant(constant) if constant.is_readable() => Some(constant),
        _ => None,
    }
}
