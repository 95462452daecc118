//! What a device's steps were, and the waits between them.

use super::clock::ClockOffset;
use crate::coord::Moment;
use crate::graph::{Graph, TensorId};
use crate::plan::DeviceIx;
use crate::program::{Action, Encoding, Program, Run, Transfer};
use crate::units::{Bytes, Ms};
use crate::wire::StepTime;

/// The latest time that makes sense on any clock, thirty years.
const LATEST: f64 = 1e12;

/// Steps that follow each other are this far apart at most: that is no wait.
const NO_WAIT: Ms = Ms(0.01);

/// What a device was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Computing, or taking in the input and giving out the answer.
    Compute,
    /// Nothing, for this frame.
    Wait,
    /// Packing a strip and queueing it for another device.
    Send,
    /// Unpacking a strip that has arrived.
    Receive,
}

/// A stretch of time that a device spent on one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// What kind of thing.
    pub row: Row,
    /// Which one: layers, or a tensor and the device at the other end.
    pub name: String,
    /// When it began, by the leader's clock.
    pub begun: Moment,
    /// How long it took.
    pub took: Ms,
    /// Payload of a strip.
    pub bytes: Option<Bytes>,
}

/// Why a report is no trace of the program.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TraceError {
    /// More times than steps.
    #[error("{found} times for {steps} steps")]
    Count {
        /// How many were reported.
        found: usize,
        /// Steps of the program.
        steps: usize,
    },
    /// No such step.
    #[error("a time of step {0}, which the program does not have")]
    Step(u32),
    /// A step that ran twice.
    #[error("two times of step {0}")]
    Twice(u32),
    /// Not a time.
    #[error("step {0} began at {1:?} ms and took {2:?} ms")]
    Time(u32, f64, f64),
}

/// What a device's steps are.
#[derive(Debug, Clone, Copy)]
pub struct Steps<'a> {
    /// The model.
    pub graph: &'a Graph,
    /// How its inputs travel.
    pub encodings: &'a [Encoding],
    /// What the device runs.
    pub program: &'a Program,
    /// All transfers of its plan.
    pub transfers: &'a [Transfer],
    /// The names of the plan's devices, in its order.
    pub names: &'a [String],
}

/// The spans of one frame, in order: what was reported of its steps, and a wait wherever the frame
/// stood still between two of them. `clock` is the device's.
///
/// # Errors
/// When the report does not fit the program: it comes from another device.
pub fn spans(
    steps: Steps<'_>,
    times: &[StepTime],
    clock: &ClockOffset,
) -> Result<Vec<Span>, TraceError> {
    check(steps.program, times)?;
    let mut times = times.to_vec();
    times.sort_by(|a, b| a.begun.0.total_cmp(&b.begun.0));
    let mut spans = Vec::with_capacity(2 * times.len());
    let mut end: Option<Ms> = None;
    let span = |row, name, begun, took, bytes| Span {
        row,
        name,
        begun: clock.on_leader(begun),
        took,
        bytes,
    };
    for time in times {
        // `check` has seen that there is such a step.
        let action = &steps.program.steps[time.step as usize].action;
        let (row, name, bytes) = steps.describe(action);
        if let Some(end) = end.filter(|end| time.begun > *end + NO_WAIT) {
            let name = match action {
                Action::Receive { .. } => format!("for {name}"),
                _ => format!("before {name}"),
            };
            spans.push(span(Row::Wait, name, end, time.begun - end, None));
        }
        let ends = time.begun + time.took;
        end = Some(end.map_or(ends, |end| end.max(ends)));
        spans.push(span(row, name, time.begun, time.took, bytes));
    }
    Ok(spans)
}

/// At most one time of each step, and numbers that are times.
fn check(program: &Program, times: &[StepTime]) -> Result<(), TraceError> {
    let steps = program.steps.len();
    if times.len() > steps {
        return Err(TraceError::Count { found: times.len(), steps });
    }
    let mut seen = vec![false; steps];
    for StepTime { step, begun, took } in times {
        let Some(seen) = seen.get_mut(*step as usize) else { return Err(TraceError::Step(*step)) };
        if std::mem::replace(seen, true) {
            return Err(TraceError::Twice(*step));
        }
        if !(begun.0.abs() <= LATEST && (0.0..=LATEST).contains(&took.0)) {
            return Err(TraceError::Time(*step, begun.0, took.0));
        }
    }
    Ok(())
}

impl Steps<'_> {
    /// A step's row, name and payload.
    fn describe(&self, action: &Action) -> (Row, String, Option<Bytes>) {
        match action {
            Action::Compute { runs, .. } => (Row::Compute, self.layers(runs), None),
            Action::Input { input, .. } => {
                let name = self.graph.inputs().get(*input).map(|port| port.name.as_str());
                (Row::Compute, format!("input {}", name.unwrap_or_default()), None)
            }
            Action::Output { output, .. } => {
                let name = self.graph.outputs().get(*output).map(|port| port.name.as_str());
                (Row::Compute, format!("output {}", name.unwrap_or_default()), None)
            }
            Action::Send { transfer, to, .. } => {
                let transfer = self.transfers.get(transfer.0 as usize);
                (Row::Send, self.strip(transfer, "to", *to), self.bytes(transfer))
            }
            Action::Receive { transfer, from, .. } => {
                let transfer = self.transfers.get(transfer.0 as usize);
                (Row::Receive, self.strip(transfer, "from", *from), self.bytes(transfer))
            }
        }
    }

    /// The layers of a step: the first and the last, if there are several.
    fn layers(&self, runs: &[Run]) -> String {
        let name = |run: &Run| self.graph.layer(run.layer).name.clone();
        match runs {
            [] => String::new(),
            [only] => name(only),
            [first, .., last] if first.layer == last.layer => name(first),
            [first, .., last] => format!("{} to {}", name(first), name(last)),
        }
    }

    fn strip(&self, transfer: Option<&Transfer>, way: &str, other: DeviceIx) -> String {
        let tensor = transfer.map_or("strip", |transfer| self.tensor(transfer.tensor));
        match self.names.get(other.index()) {
            Some(name) => format!("{tensor} {way} {name}"),
            None => format!("{tensor} {way} device {}", other.0),
        }
    }

    /// A tensor is called like the layer that computes it.
    fn tensor(&self, tensor: TensorId) -> &str {
        match self.graph.producer(tensor) {
            Some(layer) => &self.graph.layer(layer).name,
            None => self.graph.inputs().get(tensor.index()).map_or("input", |port| &port.name),
        }
    }

    fn bytes(&self, transfer: Option<&Transfer>) -> Option<Bytes> {
        transfer.map(|transfer| transfer.bytes(self.graph, self.encodings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{self, Options};
    use crate::plan::{Cuts, Plan, Split, Stage};
    use crate::program::derive;

    const CLOCK: ClockOffset = ClockOffset::SAME;

    /// The follower's view of a small network whose first stage is split by rows.
    fn with_follower<T>(test: impl FnOnce(Steps<'_>) -> T) -> T {
        let model = models::open("vgg11?size=32&classes=10", &Options::default()).unwrap();
        let layers = model.graph.layers().len() as u32;
        let first = Stage { layers: 0..1, split: Split::Rows(Cuts::from_lengths([16, 16])) };
        let rest = Stage { layers: 1..layers, split: Split::Whole(DeviceIx::LEADER) };
        let derivation = derive(&model.graph, &Plan::new(2, vec![first, rest])).unwrap();
        let names = ["a", "b"].map(str::to_owned);
        test(Steps {
            graph: &model.graph,
            encodings: &[],
            program: &derivation.programs[1],
            transfers: &derivation.transfers,
            names: &names,
        })
    }

    /// Every step in order, each a millisecond long and two after the one before it began.
    fn times(steps: Steps<'_>) -> Vec<StepTime> {
        let all = 0..steps.program.steps.len() as u32;
        all.map(|step| StepTime { step, begun: Ms(f64::from(step) * 2.0), took: Ms(1.0) }).collect()
    }

    #[test]
    fn steps_have_names_and_waits_fill_the_gaps() {
        with_follower(|steps| {
            let layer = &steps.graph.layers()[0].name;
            let input = &steps.graph.inputs()[0].name;
            let spans = spans(steps, &times(steps), &CLOCK).unwrap();
            let said: Vec<(Row, &str)> =
                spans.iter().map(|span| (span.row, span.name.as_str())).collect();
            assert_eq!(said[0], (Row::Receive, format!("{input} from a").as_str()));
            let sent = format!("{layer} to a");
            assert_eq!(said.last(), Some(&(Row::Send, sent.as_str())));
            assert!(said.contains(&(Row::Compute, layer.as_str())), "{said:?}");
            assert!(said.contains(&(Row::Wait, format!("before {sent}").as_str())), "{said:?}");
            assert!(spans.windows(2).all(|pair| pair[0].begun + pair[0].took == pair[1].begun));
            // 17 rows of 32 pixels in 3 channels: half of the rows and one of the halo.
            assert_eq!(spans[0].bytes, Some(Bytes(17 * 32 * 3 * 4)));
        });
    }

    #[test]
    fn what_overlaps_has_no_wait_between() {
        with_follower(|steps| {
            let mut times = times(steps);
            times.iter_mut().for_each(|time| time.took = Ms(5.0));
            times.reverse();
            let spans = spans(steps, &times, &CLOCK).unwrap();
            assert!(spans.iter().all(|span| span.row != Row::Wait));
            assert!(spans.is_sorted_by(|a, b| a.begun <= b.begun));
        });
    }

    #[test]
    fn reports_that_do_not_fit_are_refused() {
        with_follower(|steps| {
            let good = times(steps);
            let with = |change: fn(&mut StepTime)| {
                let mut times = good.clone();
                change(&mut times[1]);
                spans(steps, &times, &CLOCK)
            };
            assert_eq!(with(|time| time.step = 99), Err(TraceError::Step(99)));
            assert_eq!(with(|time| time.step = 0), Err(TraceError::Twice(0)));
            for begun in [f64::NAN, f64::INFINITY, 1e300] {
                let mut times = good.clone();
                times[0].begun = Ms(begun);
                assert!(matches!(spans(steps, &times, &CLOCK), Err(TraceError::Time(0, ..))));
            }
            assert!(matches!(with(|time| time.took = Ms(-1.0)), Err(TraceError::Time(1, ..))));
            assert!(matches!(with(|time| time.took = Ms(f64::NAN)), Err(TraceError::Time(1, ..))));
            let twice = [good.clone(), good.clone()].concat();
            assert!(matches!(spans(steps, &twice, &CLOCK), Err(TraceError::Count { .. })));
            assert_eq!(spans(steps, &[], &CLOCK), Ok(Vec::new()));
        });
    }
}
