//! Timeouts and limits of connections.

use std::time::Duration;

use edgeld_runtime::coord::liveness::HEARTBEAT;

/// Timeouts and limits of connections.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// How long a handshake may take.
    pub handshake: Duration,
    /// Interval between heartbeats on connections for control messages and for strips.
    pub heartbeat: Duration,
    /// How long a peer may accept no data at all.
    pub stall: Duration,
    /// Incoming handshakes at once; one more takes the place of one that is silent or slow.
    pub concurrent_handshakes: usize,
    /// Head start of each address over the next one in [`Network::dial_any`].
    pub head_start: Duration,
    /// How long [`Network::shutdown`] waits for queued frames to be written.
    pub shutdown_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            handshake: Duration::from_secs(3),
            heartbeat: Duration::from_secs_f64(HEARTBEAT.0 / 1e3),
            stall: Duration::from_secs(10),
            concurrent_handshakes: 128,
            head_start: Duration::from_millis(100),
            shutdown_timeout: Duration::from_secs(1),
        }
    }
}
