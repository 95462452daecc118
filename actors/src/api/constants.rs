//! Names that devices agree on.

/// The cluster that a device belongs to unless it is told otherwise.
pub const DEFAULT_CLUSTER: &str = "default";

/// This build, as `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
