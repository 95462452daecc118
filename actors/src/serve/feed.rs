//! What happens in the cluster and to requests, as JSON for whoever listens.
//!
//! Who begins to listen is first told how things stand, then every change. Events have the form that
//! `edgeld run --json` prints, with the model's name beside.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use edgeld_runtime::units::Ms;
use serde::Serialize;
use tokio::sync::broadcast;

use crate::api::{DeviceInfo, PlanInfo};

/// Events that a slow listener may be behind before it misses some.
const BEHIND: usize = 256;

/// Changes of plans and warnings that are told to newcomers.
const HISTORY: usize = 40;

/// Who listens, and what newcomers are told.
pub(super) struct Feed {
    events: broadcast::Sender<Arc<str>>,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    models: Option<Arc<str>>,
    devices: Option<Arc<str>>,
    /// Plans that are active, by model and number.
    plans: BTreeMap<String, BTreeMap<u32, Arc<str>>>,
    /// Plans that no longer are, and warnings.
    history: VecDeque<Arc<str>>,
}

/// An event.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub(super) enum Happened<'a> {
    Models {
        models: Vec<ModelEntry<'a>>,
    },
    Cluster {
        devices: &'a [DeviceInfo],
    },
    /// A plan became active, or is predicted to take another time.
    Plan {
        model: &'a str,
        #[serde(flatten)]
        plan: &'a PlanInfo,
        /// Numbers of all plans that are active side by side.
        active: Vec<u32>,
    },
    Frame {
        model: &'a str,
        generation: u32,
        retries: u32,
        /// From the request's arrival to its answer, in milliseconds.
        request_ms: f64,
        total_ms: Ms,
        waiting: usize,
    },
    Refused {
        model: &'a str,
        outcome: &'static str,
        waiting: usize,
    },
    Warning {
        text: &'a str,
    },
}

/// A model as listeners are told of it.
#[derive(Serialize)]
pub(super) struct ModelEntry<'a> {
    pub(super) name: &'a str,
    pub(super) task: &'static str,
    pub(super) takes_pictures: bool,
    pub(super) gflop: f64,
    pub(super) weights_bytes: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    t: u64,
    #[serde(flatten)]
    happened: &'a Happened<'a>,
}

impl Feed {
    pub(super) fn new() -> Feed {
        Feed { events: broadcast::Sender::new(BEHIND), now: Mutex::default() }
    }

    /// Tells all listeners.
    pub(super) fn tell(&self, happened: &Happened<'_>) {
        let t = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let line = Line { t: u64::try_from(t).unwrap_or(u64::MAX), happened };
        // Maps with names as keys and numbers always become JSON.
        let Ok(text) = serde_json::to_string(&line) else { return };
        let text: Arc<str> = text.into();
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        match happened {
            Happened::Models { .. } => now.models = Some(text.clone()),
            Happened::Cluster { .. } => now.devices = Some(text.clone()),
            Happened::Plan { model, plan, active } => {
                let plans = now.plans.entry((*model).to_owned()).or_default();
                plans.insert(plan.generation.0, text.clone());
                let over = plans.extract_if(.., |generation, _| !active.contains(generation));
                let over: Vec<Arc<str>> = over.map(|(_, text)| text).collect();
                now.remember(over);
            }
            Happened::Warning { .. } => now.remember([text.clone()]),
            Happened::Frame { .. } | Happened::Refused { .. } => {}
        }
        // While the lock is held, so that a newcomer sees it exactly once. There may be no listener.
        let _ = self.events.send(text);
    }

    /// How things stand, and all that happens from now on.
    pub(super) fn listen(&self) -> (Vec<Arc<str>>, broadcast::Receiver<Arc<str>>) {
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let first = [&now.models, &now.devices].into_iter().flatten();
        let plans = now.plans.values().flat_map(BTreeMap::values);
        let told = first.chain(&now.history).chain(plans).cloned();
        (told.collect(), self.events.subscribe())
    }
}

impl Now {
    fn remember(&mut self, texts: impl IntoIterator<Item = Arc<str>>) {
        self.history.extend(texts);
        let spare = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..spare);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newcomers_are_told_how_things_stand() {
        let feed = Feed::new();
        for devices in [&[][..], &[]] {
            feed.tell(&Happened::Cluster { devices });
        }
        for _ in 0..HISTORY + 3 {
            feed.tell(&Happened::Warning { text: "w" });
        }
        let (now, mut later) = feed.listen();
        assert_eq!(now.len(), 1 + HISTORY);
        assert!(now[0].contains(r#""event":"cluster""#), "{}", now[0]);
        feed.tell(&Happened::Refused { model: "m", outcome: "exhausted", waiting: 3 });
        let text = later.try_recv().unwrap();
        assert!(text.contains(r#""event":"refused","model":"m""#), "{text}");
        assert!(later.try_recv().is_err());
    }
}
