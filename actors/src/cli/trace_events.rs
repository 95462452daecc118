//! The events of a trace, in the format that chrome://tracing and ui.perfetto.dev read.
//!
//! A device is a process there, what it does are its threads. Spans of one thread may not overlap:
//! where frames overlap, their waits and the frames themselves get threads of their own.

use std::collections::BTreeMap;

use edgeld::{TraceContent, TracePiece};
use edgeld_runtime::trace::Row;
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::NodeId;
use serde::Serialize;

/// An event of the file. Times are microseconds by the leader's clock.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "ph")]
pub enum TraceEvent {
    /// A span.
    #[serde(rename = "X")]
    Complete {
        name: String,
        cat: &'static str,
        pid: usize,
        tid: usize,
        ts: f64,
        dur: f64,
        args: SpanArgs,
    },
    /// The name of a process or thread.
    #[serde(rename = "M")]
    Name { name: &'static str, pid: usize, tid: usize, args: NameArgs },
}

/// What else is known of a span.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpanArgs {
    frame: u64,
    generation: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<Bytes>,
    /// How far its time may be off.
    clock_error_us: f64,
}

/// A name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NameArgs {
    name: String,
}

/// What a thread of the file shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Track {
    Frame,
    Row(Row),
}

impl Track {
    const COUNT: usize = 5;

    fn name(self) -> &'static str {
        match self {
            Track::Frame => "frame",
            Track::Row(Row::Compute) => "compute",
            Track::Row(Row::Wait) => "wait",
            Track::Row(Row::Send) => "send",
            Track::Row(Row::Receive) => "receive",
        }
    }

    /// Number of its first thread.
    fn place(self) -> usize {
        match self {
            Track::Frame => 0,
            Track::Row(Row::Compute) => 1,
            Track::Row(Row::Wait) => 2,
            Track::Row(Row::Send) => 3,
            Track::Row(Row::Receive) => 4,
        }
    }
}

/// Gives devices and their activities places in the file.
#[derive(Debug, Default)]
pub struct Timeline {
    processes: BTreeMap<NodeId, usize>,
    /// By process and track: when each of its threads is free again, in microseconds.
    threads: BTreeMap<(usize, Track), Vec<f64>>,
}

/// A span that has no place yet.
struct Placed {
    name: String,
    bytes: Option<Bytes>,
    ts: f64,
    dur: f64,
}

impl Timeline {
    /// The events for a piece of a trace, after those that name what is new in it.
    pub fn events(&mut self, piece: &TracePiece) -> Vec<TraceEvent> {
        let mut events = Vec::new();
        let pid = self.process(piece, &mut events);
        let mut tracks: BTreeMap<Track, Vec<Placed>> = BTreeMap::new();
        let mut error = Ms::ZERO;
        match &piece.content {
            TraceContent::Frame { begun, took, .. } => {
                let (ts, dur) = (begun.0 * 1e3, took.0 * 1e3);
                let name = format!("frame {}", piece.frame);
                tracks.insert(Track::Frame, vec![Placed { name, bytes: None, ts, dur }]);
            }
            TraceContent::GivenUp { begun, took } => {
                let (ts, dur) = (begun.0 * 1e3, took.0 * 1e3);
                let name = format!("frame {} given up", piece.frame);
                tracks.insert(Track::Frame, vec![Placed { name, bytes: None, ts, dur }]);
            }
            TraceContent::Steps { spans, clock_error } => {
                error = *clock_error;
                for span in spans {
                    let (ts, dur) = (span.begun.0 * 1e3, span.took.0 * 1e3);
                    let placed = Placed { name: span.name.clone(), bytes: span.bytes, ts, dur };
                    tracks.entry(Track::Row(span.row)).or_default().push(placed);
                }
            }
        }
        for (track, spans) in tracks {
            let tid = self.thread(pid, track, &spans, &mut events);
            events.extend(spans.into_iter().map(|Placed { name, bytes, ts, dur }| {
                let args = SpanArgs {
                    frame: piece.frame,
                    generation: piece.generation.0,
                    bytes,
                    clock_error_us: error.0 * 1e3,
                };
                TraceEvent::Complete { name, cat: track.name(), pid, tid, ts, dur, args }
            }));
        }
        events
    }

    /// The leader is process 1, others follow as they come.
    fn process(&mut self, piece: &TracePiece, events: &mut Vec<TraceEvent>) -> usize {
        if let Some(pid) = self.processes.get(&piece.device) {
            return *pid;
        }
        let pid = if piece.leader { 1 } else { 2 + self.processes.len() };
        self.processes.insert(piece.device, pid);
        let args = NameArgs { name: piece.name.clone() };
        events.push(TraceEvent::Name { name: "process_name", pid, tid: 0, args });
        pid
    }

    /// A thread of the track for these spans of one frame. A device does one thing at a time, and
    /// one thread is enough for that; but frames wait while others are computed.
    fn thread(
        &mut self,
        pid: usize,
        track: Track,
        spans: &[Placed],
        events: &mut Vec<TraceEvent>,
    ) -> usize {
        let begin = spans.iter().map(|span| span.ts).fold(f64::INFINITY, f64::min);
        let end = spans.iter().map(|span| span.ts + span.dur).fold(f64::NEG_INFINITY, f64::max);
        let threads = self.threads.entry((pid, track)).or_default();
        let free = match track {
            Track::Frame | Track::Row(Row::Wait) => threads.iter().position(|free| *free <= begin),
            Track::Row(_) => (!threads.is_empty()).then_some(0),
        };
        let at = free.unwrap_or(threads.len());
        let tid = track.place() + at * Track::COUNT;
        match threads.get_mut(at) {
            Some(free) => *free = free.max(end),
            None => {
                threads.push(end);
                let name = match at {
                    0 => track.name().to_owned(),
                    _ => format!("{} {}", track.name(), at + 1),
                };
                let args = NameArgs { name };
                events.push(TraceEvent::Name { name: "thread_name", pid, tid, args });
            }
        }
        tid
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeld_runtime::coord::Moment;
    use edgeld_runtime::plan::Generation;
    use edgeld_runtime::trace::Span;
    use serde_json::json;

    fn piece(device: u128, frame: u64, content: TraceContent) -> TracePiece {
        TracePiece {
            device: NodeId(device),
            name: format!("device {device}"),
            leader: device == 0,
            generation: Generation(1),
            frame,
            content,
        }
    }

    fn frame(begun: f64, took: f64) -> TraceContent {
        TraceContent::Frame { begun: Moment(begun), took: Ms(took), devices: 2 }
    }

    fn steps(spans: &[(Row, f64, f64)]) -> TraceContent {
        let span = |(row, begun, took): &(Row, f64, f64)| Span {
            row: *row,
            name: "x".to_owned(),
            begun: Moment(*begun),
            took: Ms(*took),
            bytes: (*row == Row::Send).then_some(Bytes(7)),
        };
        TraceContent::Steps { spans: spans.iter().map(span).collect(), clock_error: Ms(0.25) }
    }

    /// The threads of the spans, by name.
    fn threads(events: &[TraceEvent]) -> Vec<(usize, usize)> {
        let place = |event: &TraceEvent| match event {
            TraceEvent::Complete { pid, tid, .. } => Some((*pid, *tid)),
            TraceEvent::Name { .. } => None,
        };
        events.iter().filter_map(place).collect()
    }

    #[test]
    fn the_file_says_what_the_viewers_read() {
        let mut timeline = Timeline::default();
        let events = timeline.events(&piece(5, 3, steps(&[(Row::Send, 2.0, 0.5)])));
        let written = serde_json::to_value(&events).unwrap();
        let args = json!({"frame": 3, "generation": 1, "bytes": 7, "clock_error_us": 250.0});
        let expected = json!([
            {"ph": "M", "name": "process_name", "pid": 2, "tid": 0, "args": {"name": "device 5"}},
            {"ph": "M", "name": "thread_name", "pid": 2, "tid": 3, "args": {"name": "send"}},
            {"ph": "X", "name": "x", "cat": "send", "pid": 2, "tid": 3, "ts": 2000.0, "dur": 500.0,
                "args": args},
        ]);
        assert_eq!(written, expected);
    }

    #[test]
    fn names_are_given_once_and_the_leader_is_first() {
        let mut timeline = Timeline::default();
        let compute = steps(&[(Row::Compute, 1.0, 1.0)]);
        assert_eq!(timeline.events(&piece(9, 0, compute.clone())).len(), 3);
        assert_eq!(timeline.events(&piece(9, 1, compute.clone())).len(), 1);
        assert_eq!(threads(&timeline.events(&piece(0, 0, compute))), [(1, 1)]);
        assert_eq!(threads(&timeline.events(&piece(0, 0, frame(0.0, 3.0)))), [(1, 0)]);
    }

    #[test]
    fn a_run_that_was_given_up_is_beside_the_one_that_was_not() {
        let mut timeline = Timeline::default();
        let given_up = TraceContent::GivenUp { begun: Moment(1.0), took: Ms(2.0) };
        let lost = timeline.events(&piece(5, 0, given_up.clone()));
        assert!(matches!(
            lost.last(),
            Some(TraceEvent::Complete { name, ts: 1000.0, dur: 2000.0, .. })
                if name == "frame 0 given up"
        ));
        assert_eq!(threads(&timeline.events(&piece(0, 0, given_up))), [(1, 0)]);
        assert_eq!(threads(&timeline.events(&piece(0, 0, frame(1.0, 9.0)))), [(1, Track::COUNT)]);
    }

    #[test]
    fn frames_that_overlap_lie_side_by_side() {
        let mut timeline = Timeline::default();
        let mut place = |content| threads(&timeline.events(&piece(0, 0, content)))[0].1;
        assert_eq!(place(frame(0.0, 10.0)), 0);
        assert_eq!(place(frame(5.0, 10.0)), Track::COUNT);
        assert_eq!(place(frame(10.0, 10.0)), 0);
        let waits = [(Row::Wait, 0.0, 1.0), (Row::Wait, 8.0, 1.0)];
        assert_eq!(place(steps(&waits)), 2);
        assert_eq!(place(steps(&[(Row::Wait, 5.0, 9.0)])), 2 + Track::COUNT);
        assert_eq!(place(steps(&[(Row::Compute, 9.0, 1.0)])), 1);
        assert_eq!(place(steps(&[(Row::Compute, 8.0, 1.0)])), 1);
    }
}
