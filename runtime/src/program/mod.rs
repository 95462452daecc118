//! A plan, compiled: what one device receives, computes and sends.
//!
//! Every device derives its own program from the same plan and graph, so that only the plan
//! travels. From then on frames are driven by data alone: a step runs as soon as the steps it comes
//! `after` are done, and nobody asks the leader what to do next.
//!
//! For two fused 3x3 convolutions over 8 rows on two devices, the program of device 1 is (it has
//! rows 4..8 of the result, which read rows 2..8 of the input):
//!
//! ```text
//! receive  transfer 0 from device 0: input rows 2..8
//! compute  conv 1 rows 3..8, conv 2 rows 4..8       after: receive
//! send     transfer 1 to device 0: conv 2 rows 4..8 after: compute
//! ```

mod derive;
mod effort;
mod step;

pub use derive::{Derivation, derive};
pub use effort::derivation_effort;
pub use step::{
    Action, Buffer, BufferId, Encoding, Program, Purpose, Run, Step, StepIx, Transfer, TransferId,
};
