//! A plan: for every stage, who computes which rows or features.
//!
//! Everything else is derived from it (see [`crate::program`]): which input rows a share needs,
//! what its device already owns, what must be sent from whom to whom. Published systems are points
//! in this space of plans, not separate code paths.
//!
//! Worked example: three devices share the 224 rows of a stage, 100, 100 and 24.
//!
//! ```
//! use edgeld_runtime::plan::{Cuts, DeviceIx};
//! use edgeld_runtime::region::RowRange;
//! let cuts = Cuts::from_lengths([100, 100, 24]);
//! assert_eq!(cuts.range(DeviceIx(1)), RowRange::new(100, 200));
//! // A tensor of the same stage with 112 rows is divided by the same cuts, scaled.
//! assert_eq!(cuts.scaled_range(DeviceIx(1), 112), RowRange::new(50, 100));
//! ```

mod check;
mod in_flight;
mod ownership;
mod stage;

pub use check::{PlanError, feature_step};
pub use in_flight::{InFlight, NotInFlight};
pub(crate) use ownership::Ownership;
pub use stage::{Cuts, DeviceIx, Exchange, Generation, Plan, Split, Stage};
