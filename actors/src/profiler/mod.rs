//! Measures how fast devices and links are.
//!
//! Each connected device has a [`ProfilerActor`], which requests a [`benchmark`] and probes the
//! link ([`link_probe`]) when the device appears, then refines its profile from every frame, keeps
//! what these taught ([`Learned`]) and probes the link now and then. The benchmark runs on the measured
//! device, which also watches how often its process is stalled ([`StallMonitor`]) and how much of the
//! processor it may use ([`Quota`]). Called by `discovery` (owns the actors), `pipeline` (reports
//! frame times) and `worker` (runs the benchmark). It never acts on a measurement: that is the
//! planner's job.

mod actor;
pub(crate) mod benchmark;
mod learned;
pub(crate) mod link_probe;
mod message_cost;
mod messages;
mod quota;
mod stalls;

pub(crate) use actor::ProfilerActor;
pub(crate) use learned::Learned;
pub(crate) use messages::{BenchmarkDone, ProfileUpdated, StagesTimed, SuspectLink};
pub(crate) use quota::Quota;
pub(crate) use stalls::StallMonitor;
