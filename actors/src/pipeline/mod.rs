//! Leads a session: frames in, answers out, one plan after the other.
//!
//! The [`PipelineActor`] turns what happens into events of `coord::leader` and performs the commands
//! that come back: `plans` makes plans ready on the devices, `frames` sends inputs and hands out
//! answers. Inputs are kept here until their answers are out. `cluster` starts one per loaded
//! model. It never chooses a plan and never computes.

mod actor;
mod frames;
mod messages;
mod plans;

pub(crate) use actor::{PipelineActor, Session};
pub(crate) use messages::{Close, Infer, Subscribe};
