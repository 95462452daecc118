//! The lines of `--json`, field by field: the contract with other programs.
//!
//! Fields may be added; none is renamed or removed without a new major version.

use std::net::SocketAddr;
use std::path::Path;

use edgeld::task::{NamedClass, NamedObject};
use edgeld::{DeviceInfo, PlanInfo};
use edgeld_runtime::graph::Split;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::units::{Bytes, Ms};
use serde::Serialize;

/// What may stand on a line.
pub trait Event: Serialize {
    /// Its name.
    const NAME: &'static str;
}

/// Makes structs events.
macro_rules! events {
    ($($name:literal $event:ident $(<$life:lifetime>)?),* $(,)?) => {
        $(impl $(<$life>)? Event for $event $(<$life>)? { const NAME: &'static str = $name; })*
    };
}

events! {
    "model" Model<'a>,
    "inspect" Inspect<'a>,
    "cluster" Cluster<'a>,
    "plan" Plan<'a>,
    "frame" Frame<'a>,
    "summary" Summary,
    "demo" Demo<'a>,
    "bench" Bench<'a>,
    "paper_run" PaperRun,
    "paper_report" PaperReport<'a>,
    "key" Key<'a>,
    "serving" Serving<'a>,
    "finding" Finding<'a>,
    "pairing" Pairing<'a>,
    "paired" Paired<'a>,
    "listening" Listening<'a>,
    "session" Session<'a>,
    "program" Program,
    "session_closed" SessionClosed<'a>,
    "error" Error<'a>,
}

/// A line: the event's name, the time, its fields.
#[derive(Serialize)]
pub struct Line<'a, E: Event> {
    event: &'static str,
    /// Unix time in milliseconds.
    t: u64,
    #[serde(flatten)]
    body: &'a E,
}

impl<'a, E: Event> Line<'a, E> {
    /// `event`, as it happens at Unix time `t` in milliseconds.
    pub fn new(t: u64, event: &'a E) -> Line<'a, E> {
        Line { event: E::NAME, t, body: event }
    }
}

/// What was loaded.
#[derive(Debug, Serialize)]
pub struct Model<'a> {
    pub name: &'a str,
    pub source: &'a str,
    pub inputs: Vec<Port<'a>>,
    pub outputs: Vec<Port<'a>>,
    pub layers: usize,
    pub gflop: f64,
    pub weights_bytes: u64,
}

/// An input or output of a model.
#[derive(Debug, Serialize)]
pub struct Port<'a> {
    pub name: &'a str,
    pub shape: &'a [u64],
}

/// What a model holds, and what of it is not supported.
#[derive(Debug, Serialize)]
pub struct Inspect<'a> {
    pub source: &'a str,
    pub inputs: Vec<Port<'a>>,
    pub outputs: Vec<InspectedOutput<'a>>,
    pub operators: Vec<InspectedOperator<'a>>,
    pub unsupported: Vec<Unsupported<'a>>,
    #[serde(flatten)]
    pub effort: Effort,
}

/// An output; its shape is not known if something before it is not supported.
#[derive(Debug, Serialize)]
pub struct InspectedOutput<'a> {
    pub name: &'a str,
    pub shape: Option<&'a [u64]>,
}

/// An operator of a model.
#[derive(Debug, Serialize)]
pub struct InspectedOperator<'a> {
    pub name: &'a str,
    pub count: usize,
    pub split: Split,
}

/// A node that is not supported.
#[derive(Debug, Serialize)]
pub struct Unsupported<'a> {
    pub node: &'a str,
    pub operator: &'a str,
    pub reason: String,
}

/// What a model takes on one device; all null if something of it is not supported.
#[derive(Debug, Default, Serialize)]
pub struct Effort {
    pub layers: Option<usize>,
    pub gflop: Option<f64>,
    /// How much of that is in layers that are divided by rows, by features, and not at all.
    pub gflop_by_split: Option<BySplit>,
    pub weights_bytes: Option<u64>,
    /// All memory of a device that computes the model alone.
    pub memory_bytes: Option<Bytes>,
}

/// GFLOP by how layers may be divided.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct BySplit {
    pub rows: f64,
    pub features: f64,
    pub whole: f64,
}

/// All devices.
#[derive(Debug, Serialize)]
pub struct Cluster<'a> {
    pub devices: &'a [DeviceInfo],
}

/// A plan, before its first frame.
#[derive(Debug, Serialize)]
pub struct Plan<'a> {
    #[serde(flatten)]
    pub plan: &'a PlanInfo,
    /// With `--explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<&'a [String]>,
}

/// An answer.
#[derive(Debug, Serialize)]
pub struct Frame<'a> {
    pub frame: u64,
    pub input: &'a str,
    pub generation: Generation,
    pub retries: u32,
    pub total_ms: Ms,
    pub bytes_moved: Bytes,
    pub outputs: Vec<Output<'a>>,
    /// With `--task classify`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<NamedClass<'a>>>,
    /// With `--task detect`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detections: Option<Vec<NamedObject<'a>>>,
}

/// One output of an answer.
#[derive(Debug, Serialize)]
pub struct Output<'a> {
    pub name: &'a str,
    pub shape: &'a [u64],
    pub top: Vec<Score<'a>>,
}

/// One of the largest elements of an output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score<'a> {
    pub index: usize,
    pub label: Option<&'a str>,
    pub score: f32,
}

/// The spread of some times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    pub min: Ms,
    pub median: Ms,
    pub max: Ms,
}

/// What a run came to.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    pub frames: u64,
    pub lost: u64,
    pub retried: u64,
    pub total_ms: Option<Times>,
    /// Answers over the time from the first frame's beginning to the last answer.
    pub frames_per_second: Option<f64>,
    pub alone_ms: Option<Times>,
    /// How many times as fast as alone: by the median frame, or by frames a second if several are in
    /// flight at once.
    pub speedup: Option<f64>,
    pub max_abs_diff: Option<f64>,
    pub max_abs: Option<f64>,
    /// How far off the plans' predictions were, as a fraction: of the median frame's time, or of the
    /// time that all frames took together if several are in flight at once.
    pub prediction_error: Option<f64>,
}

/// The end of the demo.
#[cfg_attr(not(feature = "demo"), expect(dead_code))]
#[derive(Debug, Serialize)]
pub struct Demo<'a> {
    pub workers: usize,
    pub label: &'a str,
    pub score: f32,
    pub frames: u64,
    pub lost: u64,
    pub checked: bool,
    /// How many times as fast the first settled plan answers as one device.
    pub speedup: f64,
    pub alone_ms: Ms,
    pub total_ms: Ms,
    pub prediction_error: f64,
    /// The part of the time in which every device may compute.
    pub pace: f64,
    pub busy: Vec<Busy<'a>>,
}

/// How busy a device is.
#[derive(Debug, Serialize)]
pub struct Busy<'a> {
    pub device: &'a str,
    /// The part of a frame's time in which it computes.
    pub part: f64,
}

/// A model timed on one machine.
#[derive(Debug, Serialize)]
pub struct Bench<'a> {
    pub model: &'a str,
    pub threads: usize,
    pub kernels: &'a str,
    pub weights: String,
    pub isa: String,
    pub total_ms: Times,
    pub gflops: f64,
    pub peak_rss_bytes: u64,
    pub layers: Vec<BenchLayer<'a>>,
}

/// One layer of it.
#[derive(Debug, Serialize)]
pub struct BenchLayer<'a> {
    pub name: &'a str,
    pub op: &'a str,
    pub algorithm: &'a str,
    pub ms: Ms,
    pub gflops: f64,
}

/// A run of the paper's was done.
#[derive(Debug, Serialize)]
#[cfg_attr(not(feature = "paper"), expect(dead_code))]
pub struct PaperRun {
    pub model: String,
    pub size: u32,
    pub followers: u32,
    pub links: String,
    pub system: String,
    /// The median time of a frame on the paper's devices.
    pub seconds: f64,
}

/// The report on the paper is written.
#[derive(Debug, Serialize)]
#[cfg_attr(not(feature = "paper"), expect(dead_code))]
pub struct PaperReport<'a> {
    pub file: &'a Path,
}

/// A key was made.
#[derive(Debug, Serialize)]
pub struct Key<'a> {
    /// Where it was written.
    pub file: Option<&'a Path>,
    /// The key, if it was not written to a file.
    pub key: Option<&'a str>,
}

/// A code is shown.
#[derive(Debug, Serialize)]
pub struct Pairing<'a> {
    pub code: &'a str,
    pub address: SocketAddr,
}

/// A device has the key now: the other one, or this one in a file.
#[derive(Debug, Serialize)]
pub struct Paired<'a> {
    pub device: Option<&'a str>,
    pub cluster: &'a str,
    pub key: Option<&'a Path>,
}

/// What `edgeld doctor` found.
#[derive(Debug, Serialize)]
pub struct Finding<'a> {
    /// What was looked at.
    pub check: &'a str,
    /// `ok`, `warning` or `error`.
    pub severity: &'a str,
    pub message: &'a str,
    /// The command that mends it.
    pub remedy: Option<&'a str>,
}

/// A server can be asked.
#[cfg_attr(not(feature = "serve"), expect(dead_code))]
#[derive(Debug, Serialize)]
pub struct Serving<'a> {
    pub http: SocketAddr,
    pub grpc: Option<SocketAddr>,
    pub models: &'a [String],
}

/// A worker can be reached.
#[derive(Debug, Serialize)]
pub struct Listening<'a> {
    pub id: String,
    pub name: &'a str,
    pub address: SocketAddr,
    pub version: &'a str,
}

/// A leader began a session.
#[derive(Debug, Serialize)]
pub struct Session<'a> {
    pub leader: &'a str,
}

/// A plan is ready to run on a worker.
#[derive(Debug, Serialize)]
pub struct Program {
    pub generation: Generation,
    pub stages: usize,
}

/// A session ended.
#[derive(Debug, Serialize)]
pub struct SessionClosed<'a> {
    pub leader: &'a str,
    pub reason: &'a str,
}

/// The command failed.
#[derive(Debug, Serialize)]
pub struct Error<'a> {
    pub code: u8,
    pub message: &'a str,
    pub hint: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_the_name_the_time_and_the_fields() {
        let error = Error { code: 3, message: "m", hint: "h" };
        let line = serde_json::to_string(&Line::new(7, &error)).unwrap();
        assert_eq!(line, r#"{"event":"error","t":7,"code":3,"message":"m","hint":"h"}"#);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let score = Score { index: 1, label: None, score: 0.5 };
        assert_eq!(
            serde_json::to_string(&score).unwrap(),
            r#"{"index":1,"label":null,"score":0.5}"#
        );
    }
}
