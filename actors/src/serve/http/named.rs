//! The model that a path names.

use serde::Deserialize;

/// The model in a path.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) model: String,
    pub(super) version: Option<String>,
}
