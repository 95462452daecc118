//! Names shared by all devices.

/// The cluster a device joins by default.
pub const DEFAULT_CLUSTER: &str = "default";

/// Version of this build, e.g. `0.1.0`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
