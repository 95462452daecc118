//! Passes on what a cluster and its models report: to listeners, and into the counters.

use std::collections::BTreeSet;
use std::sync::Arc;

use edgeld_runtime::plan::Generation;
use edgeld_runtime::wire::NodeId;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use super::feed::{Feed, Happened};
use super::metrics::Metrics;
use crate::api::{DeviceInfo, Event, PlanInfo};

/// Observes a model until it ends.
pub(super) struct Observer {
    pub(super) model: String,
    pub(super) feed: Arc<Feed>,
    pub(super) metrics: Arc<Metrics>,
    /// The plans that are active.
    pub(super) plans: watch::Receiver<Vec<Arc<PlanInfo>>>,
    /// Whether it tells of devices too: of several models one does.
    pub(super) tells_devices: bool,
}

impl Observer {
    /// Passes on events until there are no more.
    pub(super) async fn run(self, mut events: UnboundedReceiver<Event>) {
        let mut devices: Vec<DeviceInfo> = Vec::new();
        let mut told = BTreeSet::new();
        while let Some(event) = events.recv().await {
            match event {
                Event::Cluster(now) => {
                    if self.tells_devices {
                        self.metrics.devices(&now);
                        self.feed.tell(&Happened::Cluster { devices: &now });
                    }
                    devices = now;
                }
                Event::Plan(plan) => {
                    let active: BTreeSet<Generation> =
                        self.plans.borrow().iter().map(|plan| plan.generation).collect();
                    // Plans that run side by side came with one change.
                    let is_change = told.is_disjoint(&active);
                    told.insert(plan.generation);
                    told.retain(|generation| active.contains(generation));
                    self.metrics.plan(&self.model, &plan, is_change);
                    let active = active.iter().map(|generation| generation.0).collect();
                    let model = &self.model;
                    self.feed.tell(&Happened::Plan { model, plan: &plan, active });
                }
                Event::Finished { device, compute, .. } => {
                    self.metrics.computed(&self.model, &name_of(&devices, device), compute);
                }
                Event::Warning(text) => self.feed.tell(&Happened::Warning { text: &text }),
                Event::Weights { .. } | Event::Trace(_) => {}
            }
        }
    }
}

fn name_of(devices: &[DeviceInfo], id: NodeId) -> String {
    let device = devices.iter().find(|device| device.id == id);
    device.map_or_else(|| id.to_string(), |device| device.name.clone())
}
