//! Times and bounds of connections.

use std::time::Duration;

use edgeld_runtime::coord::liveness::HEARTBEAT;

/// Times and bounds of connections.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How long the other side may take to greet.
    pub handshake: Duration,
    /// How often a control connection gives a sign of life.
    pub heartbeat: Duration,
    /// How long a peer may take not a single byte of what is written to it.
    pub stall: Duration,
    /// Dialled connections that may be greeting at once; others wait in the system's queue.
    pub concurrent_handshakes: usize,
    /// Head start of a more promising address over the next one, in [`Network::dial_any`].
    pub head_start: Duration,
    /// How long [`Network::shutdown`] waits for what is still to be written.
    pub shutdown_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            handshake: Duration::from_secs(5),
            heartbeat: Duration::from_secs_f64(HEARTBEAT.0 / 1e3),
            stall: Duration::from_secs(10),
            concurrent_handshakes: 64,
            head_start: Duration::from_millis(100),
            shutdown_timeout: Duration::from_secs(1),
        }
    }
}
