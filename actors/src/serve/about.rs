//! What the server says of itself, over whatever protocol.

/// The one version that every model has.
pub(super) const VERSION: &str = "1";

/// What of the protocol's extensions is there.
pub(super) const EXTENSIONS: &[&str] =
    &["binary_tensor_data", "classification", "model_repository"];

/// Where the models come from, in the protocol's words.
pub(super) const PLATFORM: &str = "onnx_edgeld";
