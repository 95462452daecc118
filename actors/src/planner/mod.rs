//! Chooses plans: one actor and one solver thread per session.
//!
//! The [`PlannerActor`] keeps the profiles of the devices and answers requests for plans. After
//! frames it also checks whether another plan has become better, and whether the present one takes as
//! long as predicted. `solver` runs `edgeld_runtime::solve` on its thread; `interim` finds what to run
//! until the devices of the best plan are ready, `standby` what devices should be ready for. Only `pipeline` uses this room. It never talks to devices
//! and never activates a plan.

mod actor;
mod interim;
mod messages;
mod options;
mod solver;
mod standby;
#[cfg(test)]
mod tests;

pub(crate) use actor::PlannerActor;
pub(crate) use messages::{
    FrameAnswered, Held, PlanActivated, Planned, PredictionChanged, Pursue, RequestPlan, StandBy,
    UpdateDevice, WeightsHeld,
};
pub(crate) use options::PlannerOptions;
pub(crate) use solver::{Candidate, PlannedLane};
