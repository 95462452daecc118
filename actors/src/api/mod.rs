//! The plain data of the library's face: what users hand in and what they are given.
//!
//! Devices, plans, answers, events, errors, the source of a model. Every room may use it; it never
//! uses another, starts nothing and decides nothing. The handles that act on these, `Cluster`, `Model`
//! and `Worker`, are in `cluster/`.

mod answer;
mod constants;
mod describe;
mod device;
mod error;
mod event;
mod plan;
mod source;
mod tensor;
mod trace;

pub use answer::{Answer, Output};
pub use constants::{DEFAULT_CLUSTER, VERSION};
pub use describe::{PlanNames, describe};
pub use device::{DeviceInfo, DeviceState, Found};
pub use edgeld_runtime::coord::Reason;
pub use edgeld_runtime::exec::{Input, TensorData, TensorError};
pub use error::{ClusterError, InferError, LoadError, OutputShapeError, ServeError};
pub use event::{Event, WorkerEvent};
pub use plan::{PlanInfo, ShareInfo, StageInfo};
pub use source::{IntoSource, LoadOptions, Source};
pub use trace::{TraceContent, TracePiece};
