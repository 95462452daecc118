//! Leads a session: frames in, answers out, through one plan after another.
//!
//! The [`PipelineActor`] feeds events to `coord::leader` and performs the commands that come back:
//! `plans` prepares plans on the devices, `frames` sends inputs and returns answers,
//! `trace` tells what devices did when. Inputs are kept until their frame is answered, for retries.
//! `cluster` starts one actor per loaded model. It never chooses a plan and never computes.

mod actor;
mod clocks;
mod frames;
mod messages;
mod plans;
mod trace;

pub(crate) use actor::{PipelineActor, Session};
pub(crate) use messages::{Close, Infer, Pursue, Subscribe};
