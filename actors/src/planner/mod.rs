//! Which plan should run? One actor per session, one thread that solves.
//!
//! The [`PlannerActor`] keeps what is known of the devices and answers requests for plans; after
//! every frame it asks itself whether another plan would be better by now. Solving is
//! `edgeld_runtime::solve`, called by `solver` on a thread of its own. Only `pipeline` talks to it.
//! It never talks to devices and never activates anything.

mod actor;
mod messages;
mod options;
mod solver;

pub(crate) use actor::PlannerActor;
pub(crate) use messages::{
    FrameAnswered, PlanActivated, Planned, RequestPlan, UpdateDevice, WeightsHeld,
};
pub(crate) use options::PlannerOptions;
pub(crate) use solver::Candidate;
