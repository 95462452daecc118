//! How fast are devices and links? Measured here, and nowhere else.
//!
//! A [`ProfilerActor`] per known device asks for the [`benchmark`] and probes the link
//! ([`link_probe`]) when the device appears, then corrects both from every frame. The benchmark
//! itself runs on the device that is measured, which also watches for how much of the time it may
//! run at all ([`StallMonitor`]). Called by `discovery` (which owns the actors), by `pipeline`
//! (which reports what frames took) and by `worker` (which runs the benchmark). It never decides
//! what follows from a measurement: that is the planner's.

mod actor;
pub(crate) mod benchmark;
pub(crate) mod link_probe;
mod messages;
mod stalls;

pub(crate) use actor::ProfilerActor;
pub(crate) use messages::{BenchmarkDone, ProfileUpdated, StagesTimed};
pub(crate) use stalls::StallMonitor;
