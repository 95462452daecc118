//! What a server has told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;

/// Answers that are kept.
const ANSWERS: usize = 600;

/// Changes that are kept.
const CHANGES: usize = 100;

/// Over which answers a second are counted.
const WINDOW: Duration = Duration::from_secs(10);

/// What is known.
#[derive(Debug, Default)]
pub struct State {
    pub models: Vec<String>,
    pub devices: Vec<Device>,
    /// Those that are active side by side, by model and number.
    plans: BTreeMap<String, BTreeMap<u64, Plan>>,
    answers: VecDeque<(Instant, Answer)>,
    /// The newest first.
    pub changes: VecDeque<String>,
    pub waiting: u64,
    pub refused: u64,
    /// Why the server does not answer, if it does not.
    pub gone: Option<String>,
}

/// A device, as `cluster` events have it.
#[derive(Debug, Clone, Deserialize)]
pub struct Device {
    pub id: String,
    pub name: String,
    pub leader: bool,
    pub state: String,
    pub gflops: Option<f64>,
    pub goodput_mbps: Option<f64>,
    pub rtt_ms: Option<f64>,
    pub memory_bytes: f64,
}

/// A plan, as `plan` events have it.
#[derive(Debug, Deserialize)]
pub struct Plan {
    pub generation: u64,
    pub reason: String,
    pub predicted_ms: f64,
    pub alone_ms: Option<f64>,
    part_of_frames: f64,
    active: BTreeSet<u64>,
    stages: Vec<Stage>,
}

#[derive(Debug, Deserialize)]
struct Stage {
    shares: Vec<Share>,
}

#[derive(Debug, Deserialize)]
struct Share {
    device: String,
    from: f64,
    to: f64,
}

#[derive(Debug, Deserialize)]
struct Answer {
    model: String,
    request_ms: f64,
    waiting: u64,
}

#[derive(Deserialize)]
struct Model {
    name: String,
}

impl State {
    /// Takes in an event. What is not understood is left out: a newer server may tell more.
    pub fn happened(&mut self, event: &Value) {
        self.gone = None;
        let read = event["event"].as_str().unwrap_or_default();
        match read {
            "models" => {
                // A server tells this first to everyone who connects, then all changes again.
                self.changes.clear();
                let models = Vec::<Model>::deserialize(&event["models"]).unwrap_or_default();
                self.models = models.into_iter().map(|model| model.name).collect();
            }
            "cluster" => {
                self.devices = Vec::deserialize(&event["devices"]).unwrap_or_default();
            }
            "plan" => {
                let model = event["model"].as_str().unwrap_or_default().to_owned();
                let Ok(plan) = Plan::deserialize(event) else { return };
                let plans = self.plans.entry(model.clone()).or_default();
                // Plans that run side by side began together.
                let is_change = plans.keys().all(|generation| !plan.active.contains(generation));
                let change = format!("{model}: {}", plan.describe());
                plans.retain(|generation, _| plan.active.contains(generation));
                plans.insert(plan.generation, plan);
                if is_change {
                    self.change(change);
                }
            }
            "frame" => {
                let Ok(answer) = Answer::deserialize(event) else { return };
                self.waiting = answer.waiting;
                self.answers.truncate(ANSWERS - 1);
                self.answers.push_front((Instant::now(), answer));
            }
            "refused" => {
                self.refused += 1;
                self.waiting = event["waiting"].as_u64().unwrap_or_default();
            }
            "warning" => self.change(event["text"].as_str().unwrap_or_default().to_owned()),
            _ => {}
        }
    }

    /// The server does not answer.
    pub fn gone(&mut self, why: String) {
        self.gone = Some(why);
    }

    fn change(&mut self, text: String) {
        self.changes.truncate(CHANGES - 1);
        self.changes.push_front(text);
    }

    /// The active plan of a model; the first, if several run side by side.
    pub fn plan(&self, model: &str) -> Option<&Plan> {
        self.plans.get(model)?.values().next()
    }

    /// The part of a model's rows that a device computes, of all frames, from 0 to 1.
    pub fn part(&self, model: &str, device: &str) -> f64 {
        let plans = self.plans.get(model).into_iter().flat_map(BTreeMap::values);
        plans.map(|plan| plan.part_of_frames * plan.part(device)).sum()
    }

    /// Milliseconds that a model's answers took, the newest first.
    pub fn times(&self, model: &str) -> Vec<f64> {
        let own = self.answers.iter().filter(|(_, answer)| answer.model == model);
        own.map(|(_, answer)| answer.request_ms).collect()
    }

    /// A model's answers a second.
    pub fn rate(&self, model: &str) -> f64 {
        let fresh = self.answers.iter().take_while(|(at, _)| at.elapsed() < WINDOW);
        fresh.filter(|(_, answer)| answer.model == model).count() as f64 / WINDOW.as_secs_f64()
    }
}

impl Plan {
    fn describe(&self) -> String {
        let Plan { generation, reason, predicted_ms, .. } = self;
        match self.active.len() {
            0 | 1 => format!(
                "plan {generation} ({reason}), predicted {predicted_ms:.0} ms on {} devices",
                self.devices()
            ),
            many => format!("{many} plans side by side ({reason})"),
        }
    }

    /// How many devices have a share.
    fn devices(&self) -> usize {
        let shares = self.stages.iter().flat_map(|stage| &stage.shares);
        let names: BTreeSet<&str> = shares.map(|share| &share.device[..]).collect();
        names.len()
    }

    /// The part of all stages that a device has, from 0 to 1.
    fn part(&self, device: &str) -> f64 {
        let part = |stage: &Stage| {
            let all: f64 = stage.shares.iter().map(|share| share.to - share.from).sum();
            let own = stage.shares.iter().filter(|share| share.device == device);
            own.map(|share| share.to - share.from).sum::<f64>() / all.max(1.0)
        };
        self.stages.iter().map(part).sum::<f64>() / self.stages.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::example;
    use serde_json::json;

    #[test]
    fn what_was_told_is_known() {
        let mut state = example();
        assert_eq!((state.part("net", "attic"), state.part("net", "cellar")), (0.25, 0.75));
        assert_eq!((state.times("net"), state.waiting), (vec![42.0], 2));
        assert!((state.rate("net") - 0.1).abs() < 1e-9);
        assert!(state.changes[0].contains("plan 3 (joined)"), "{:?}", state.changes);
        state.gone("refused".into());
        assert!(state.gone.is_some());
        state.happened(&json!({"event": "refused", "waiting": 9}));
        assert_eq!((state.refused, state.waiting, state.gone), (1, 9, None));
    }
}
