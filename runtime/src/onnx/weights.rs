//! Supplies rows of weights straight from the model file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

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

    /// Path, size and modification time of every file involved.
    fn origin(&self) -> Option<String> {
        let stored = self.parameters.iter().filter_map(|(_, data)| match data {
            Data::Stored { storage, .. } => Some(storage.path()),
            Data::Held(_) | Data::Fill(_) => None,
        });
        let files: BTreeSet<PathBuf> =
            stored.map(Path::canonicalize).collect::<Result<_, _>>().ok()?;
        let describe = |path: &PathBuf| -> std::io::Result<String> {
            let metadata = path.metadata()?;
            let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok(format!("{} {} {}", path.display(), metadata.len(), changed.as_nanos()))
        };
        let files: Vec<String> = files.iter().map(describe).collect::<Result<_, _>>().ok()?;
        (!files.is_empty()).then(|| files.join("; "))
    }
}
