//! Layers without a kernel of their own: constants, and functions of whole tensors.

use std::borrow::Cow;
use std::sync::Arc;

use super::rearrange::{planar, spread};
use crate::general::evaluate;
use crate::graph::{General, ParameterId, Shape};
use crate::kernel::call::job::Job;
use crate::kernel::conv::weights::Reader;
use crate::kernel::error::KernelError;
use crate::kernel::memory::map::Map;
use crate::region::ChannelRange;

/// Rows of a parameter as they are stored, for a layer that makes them a map.
#[derive(Debug)]
pub(crate) struct Rows {
    /// Which rows.
    pub(crate) features: ChannelRange,
    /// Row by row.
    pub(crate) elements: Vec<f32>,
}

impl Rows {
    /// Reads `features` of a constant, unless `earlier` ones have them.
    pub(crate) fn read<'a>(
        mut reader: Reader<'_>,
        value: ParameterId,
        features: ChannelRange,
        mut earlier: impl Iterator<Item = &'a Arc<Rows>>,
    ) -> Result<Arc<Rows>, KernelError> {
        if let Some(held) = earlier.find(|rows| rows.features.covers(features)) {
            return Ok(Arc::clone(held));
        }
        let mut elements = Vec::new();
        reader.read(value, features, &mut elements)?;
        Ok(Arc::new(Rows { features, elements }))
    }
}

/// A constant as a map of this shape.
pub(crate) fn constant(job: &Job<'_>, shape: Shape, rows: &Rows, output: &mut Map) {
    spread(job, shape, rows.features.start, &rows.elements, output);
}

/// A function of whole tensors, which the maps hold, with a result of shape `to`; false if the
/// function refuses them.
pub(crate) fn general(
    job: &Job<'_>,
    general: &General,
    shapes: &[Shape],
    inputs: &[&Map],
    to: Shape,
    output: &mut Map,
) -> bool {
    let inputs = inputs.iter().zip(shapes).map(|(input, shape)| {
        let count = shape.elements() as usize;
        if input.lanes() == 1 && input.as_slice().len() == count {
            return Cow::Borrowed(input.as_slice());
        }
        let mut elements = vec![0.0; count];
        planar(input, *shape, &mut elements);
        Cow::Owned(elements)
    });
    let Some(result) = evaluate(general, &inputs.collect::<Vec<_>>()) else { return false };
    spread(job, to, 0, &result, output);
    true
}
