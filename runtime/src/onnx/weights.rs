//! Supplies rows of weights straight from the model file.

use std::collections::BTreeSet;

use super::constant::Data;
use crate::graph::{Parameter, ParameterId};
use crate::region::ChannelRange;
use crate::weights::{WeightError, WeightSource};

/// The weights of a model file: positions in the file, or in memory if they had to be transposed.
#[derive(Debug)]
pub(super) struct FileWeights {
    parameters: Vec<(Parameter, Data)>,
}

impl FileWeights {
    pub(super) fn new(parameters: Vec<(Parameter, Data)>) -> FileWeights {
        FileWeights { parameters }
    }
}

impl WeightSource for FileWeights {
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        let found = self.parameters.get(parameter.index());
        let Some((shape, data)) = found.filter(|(shape, _)| features.end <= shape.features) else {
            let id = parameter.0;
            return Err(WeightError::Missing(format!("parameter {id} has no rows {features}")));
        };
        let row = shape.row_bytes();
        let (start, length) = (u64::from(features.start) * row, u64::from(features.len()) * row);
        data.read(start, length, out).map_err(|source| {
            let path = match data {
                Data::Stored { storage, .. } => storage.path().display().to_string(),
                Data::Held(_) | Data::Fill(_) => shape.name.clone(),
            };
            WeightError::Io { path, source }
        })
    }

    /// Path, size and modification time of every file involved, as they were opened.
    fn origin(&self) -> Option<String> {
        let stored = self.parameters.iter().filter_map(|(_, data)| match data {
            Data::Stored { storage, .. } => Some(storage.origin()),
            Data::Held(_) | Data::Fill(_) => None,
        });
        let files: BTreeSet<String> = stored.collect::<Option<_>>()?;
        (!files.is_empty()).then(|| files.into_iter().collect::<Vec<_>>().join("; "))
    }
}
