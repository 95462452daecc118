//! What the server counts, in Prometheus' terms.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use edgeld_runtime::units::Ms;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::api::{Answer, DeviceInfo, DeviceState, PlanInfo};

/// The content type of the text format.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByModel {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    model: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    model: String,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByState {
    state: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDevice {
    model: String,
    device: String,
}

/// All counters of a server.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<ByOutcome, Counter>,
    duration: Family<ByModel, Histogram, fn() -> Histogram>,
    wait: Family<ByModel, Histogram, fn() -> Histogram>,
    frame: Family<ByModel, Histogram, fn() -> Histogram>,
    waiting: Family<ByModel, Gauge>,
    running: Family<ByModel, Gauge>,
    bytes: Family<ByModel, Counter>,
    retries: Family<ByModel, Counter>,
    error: Family<ByModel, Seconds>,
    predicted: Family<ByModel, Seconds>,
    generation: Family<ByModel, Gauge>,
    changes: Family<ByReason, Counter>,
    devices: Family<ByState, Gauge>,
    computed: Family<ByDevice, Counter<f64, AtomicU64>>,
}

/// From a millisecond to half a minute.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

impl Metrics {
    pub(super) fn new() -> Metrics {
        let by_model = || Family::new_with_constructor(seconds as fn() -> Histogram);
        let mut metrics = Metrics {
            registry: Registry::with_prefix("edgeld"),
            requests: Family::default(),
            duration: by_model(),
            wait: by_model(),
            frame: by_model(),
            waiting: Family::default(),
            running: Family::default(),
            bytes: Family::default(),
            retries: Family::default(),
            error: Family::default(),
            predicted: Family::default(),
            generation: Family::default(),
            changes: Family::default(),
            devices: Family::default(),
            computed: Family::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register(
            "requests",
            "Requests by what became of them; without a model where it is not known",
            self.requests.clone(),
        );
        to.register_with_unit(
            "request_duration",
            "From a request's arrival to its answer",
            Unit::Seconds,
            self.duration.clone(),
        );
        to.register_with_unit(
            "queue_wait",
            "From a request's arrival to its turn",
            Unit::Seconds,
            self.wait.clone(),
        );
        to.register_with_unit(
            "frame_duration",
            "From an input in memory to its outputs in memory",
            Unit::Seconds,
            self.frame.clone(),
        );
        to.register("queue_waiting", "Requests that wait for their turn", self.waiting.clone());
        to.register("queue_running", "Requests that the cluster works on", self.running.clone());
        to.register_with_unit("moved", "Payload between devices", Unit::Bytes, self.bytes.clone());
        to.register("retries", "Frames that were begun anew after a loss", self.retries.clone());
        to.register_with_unit(
            "prediction_error",
            "How far the last frame was from its plan's prediction",
            Unit::Ratios,
            self.error.clone(),
        );
        to.register_with_unit(
            "predicted_frame_duration",
            "What the active plan predicts",
            Unit::Seconds,
            self.predicted.clone(),
        );
        to.register("plan_generation", "The number of the active plan", self.generation.clone());
        to.register("plan_changes", "Plans that became active, by reason", self.changes.clone());
        to.register("devices", "Devices by state", self.devices.clone());
        to.register_with_unit(
            "device_compute",
            "Time that devices computed, pauses included",
            Unit::Seconds,
            self.computed.clone(),
        );
    }

    /// All of them as text, with what is new of each model's queue: how many wait, and how many run.
    ///
    /// # Errors
    /// Never, as text can always be written to memory.
    pub(super) fn text<'a>(
        &self,
        queues: impl Iterator<Item = (&'a str, (usize, usize))>,
    ) -> Result<String, std::fmt::Error> {
        for (model, (waiting, running)) in queues {
            let model = ByModel { model: model.to_owned() };
            self.waiting.get_or_create(&model).set(waiting as i64);
            self.running.get_or_create(&model).set(running as i64);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// A request was not answered.
    pub(super) fn refused(&self, model: &str, outcome: &'static str) {
        self.requests.get_or_create(&ByOutcome { model: model.to_owned(), outcome }).inc();
    }

    /// A request was answered, under a plan that predicted this time if that is known.
    pub(super) fn answered(
        &self,
        model: &str,
        answer: &Answer,
        predicted: Option<Ms>,
        [waited, took]: [Duration; 2],
    ) {
        let outcome = "answered";
        self.requests.get_or_create(&ByOutcome { model: model.to_owned(), outcome }).inc();
        let model = ByModel { model: model.to_owned() };
        self.duration.get_or_create(&model).observe(took.as_secs_f64());
        self.wait.get_or_create(&model).observe(waited.as_secs_f64());
        self.frame.get_or_create(&model).observe(answer.total.0 / 1e3);
        self.bytes.get_or_create(&model).inc_by(answer.bytes_moved.0);
        self.retries.get_or_create(&model).inc_by(u64::from(answer.retries));
        if let Some(predicted) = predicted {
            self.error.get_or_create(&model).set((answer.total / predicted - 1.0).abs());
        }
    }

    /// A plan became active.
    pub(super) fn plan(&self, model: &str, plan: &PlanInfo, is_new: bool) {
        let model = ByModel { model: model.to_owned() };
        self.generation.get_or_create(&model).set(i64::from(plan.generation.0));
        self.predicted.get_or_create(&model).set(plan.predicted.0 / 1e3);
        if is_new {
            let reason = format!("{:?}", plan.reason).to_lowercase();
            self.changes.get_or_create(&ByReason { model: model.model, reason }).inc();
        }
    }

    /// Devices changed.
    pub(super) fn devices(&self, devices: &[DeviceInfo]) {
        use DeviceState::{Active, Idle, Joining, Lost, Suspect};
        for state in [Joining, Active, Idle, Suspect, Lost] {
            let count = devices.iter().filter(|device| device.state == state).count();
            let state = format!("{state:?}").to_lowercase();
            self.devices.get_or_create(&ByState { state }).set(count as i64);
        }
    }

    /// A device finished its part of a frame.
    pub(super) fn computed(&self, model: &str, device: &str, time: Ms) {
        let of = ByDevice { model: model.to_owned(), device: device.to_owned() };
        self.computed.get_or_create(&of).inc_by(time.0 / 1e3);
    }
}
