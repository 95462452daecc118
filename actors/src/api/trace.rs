//! Pieces of a trace: what each device did when, for every frame.

use edgeld_runtime::coord::Moment;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::trace::Span;
use edgeld_runtime::units::Ms;
use edgeld_runtime::wire::NodeId;

/// A piece of a trace. Times are by the leader's clock, in milliseconds since it started.
#[derive(Debug, Clone, PartialEq)]
pub struct TracePiece {
    /// The device that it is about.
    pub device: NodeId,
    /// Its name.
    pub name: String,
    /// Whether that is the leader.
    pub leader: bool,
    /// The plan that the frame ran under.
    pub generation: Generation,
    /// The frame.
    pub frame: u64,
    /// What it says.
    pub content: TraceContent,
}

/// What a piece of a trace says.
#[derive(Debug, Clone, PartialEq)]
pub enum TraceContent {
    /// The frame was answered.
    Frame {
        /// When it was begun.
        begun: Moment,
        /// From then until its outputs were complete.
        took: Ms,
        /// How many devices have a part in it; each reports its steps in a piece of its own.
        devices: usize,
    },
    /// A run of the frame was given up, since a device was lost or another run was faster. Each device
    /// with a part in it gets a piece, the lost one too.
    GivenUp {
        /// When that run was begun.
        begun: Moment,
        /// From then until it was given up.
        took: Ms,
    },
    /// The device finished its part of the frame.
    Steps {
        /// What it did, in order; empty if its report makes no sense.
        spans: Vec<Span>,
        /// How far the times may be off, as the device's clock is not the leader's.
        clock_error: Ms,
    },
}
