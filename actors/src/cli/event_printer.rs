//! Prints the events of a cluster as they happen.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use console::style;
use edgeld::{DeviceInfo, DeviceState, Event, PlanInfo, Reason};
use edgeld_runtime::units::Ms;
use edgeld_runtime::wire::NodeId;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};

use super::events;
use super::exit::Exit;
use super::report::Report;
use super::tables;
use super::trace_file::TraceFile;

/// How long a trace waits for reports after the last answer.
const TRACE_PATIENCE: Duration = Duration::from_secs(1);

/// Prints events about devices, plans and weights as text and JSON, each change once.
pub struct EventPrinter<'a> {
    report: &'a Report,
    explain: bool,
    devices: Vec<DeviceInfo>,
    plans: Vec<Arc<PlanInfo>>,
    computed: BTreeMap<NodeId, Ms>,
    trace: Option<TraceFile>,
}

impl<'a> EventPrinter<'a> {
    /// A printer that includes plans' explanations if `explain` is set.
    pub fn new(report: &'a Report, explain: bool) -> EventPrinter<'a> {
        EventPrinter {
            report,
            explain,
            devices: Vec::new(),
            plans: Vec::new(),
            computed: BTreeMap::new(),
            trace: None,
        }
    }

    /// Writes traces to this file, if any.
    #[must_use]
    pub fn with_trace(self, trace: Option<TraceFile>) -> EventPrinter<'a> {
        EventPrinter { trace, ..self }
    }

    /// The devices last printed.
    #[cfg(feature = "demo")]
    pub fn devices(&self) -> &[DeviceInfo] {
        &self.devices
    }

    /// How long each device has computed, over all frames reported so far.
    #[cfg(feature = "demo")]
    pub fn computed(&self) -> &BTreeMap<NodeId, Ms> {
        &self.computed
    }

    /// All plans printed, in order.
    pub fn plans(&self) -> &[Arc<PlanInfo>] {
        &self.plans
    }

    /// Waits for `work` and prints events meanwhile. On return, all events up to its completion have
    /// been printed.
    ///
    /// # Errors
    /// When standard output is closed.
    pub async fn during<T>(
        &mut self,
        events: &mut UnboundedReceiver<Event>,
        work: impl Future<Output = T>,
    ) -> Result<T, Exit> {
        let mut work = pin!(work);
        let result = loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => self.print(event)?,
                result = &mut work => break result,
            }
        };
        while let Ok(event) = events.try_recv() {
            self.print(event)?;
        }
        Ok(result)
    }

    /// Waits for what the trace lacks of answered frames, and completes its file. A device that is
    /// lost reports nothing, so it does not wait for long.
    ///
    /// # Errors
    /// When the file cannot be written, or standard output is closed.
    pub async fn finish_trace(
        &mut self,
        events: &mut UnboundedReceiver<Event>,
    ) -> Result<(), Exit> {
        let deadline = Instant::now() + TRACE_PATIENCE;
        while self.trace.as_ref().is_some_and(|trace| !trace.is_complete()) {
            match timeout_at(deadline, events.recv()).await {
                Ok(Some(event)) => self.print(event)?,
                Ok(None) | Err(_) => {
                    self.report
                        .warn("the trace lacks steps of devices that have not reported them");
                    break;
                }
            }
        }
        self.trace.take().map_or(Ok(()), TraceFile::finish)
    }

    /// Prints one event.
    ///
    /// # Errors
    /// When standard output is closed.
    fn print(&mut self, event: Event) -> Result<(), Exit> {
        match event {
            Event::Cluster(devices) => self.cluster(devices),
            Event::Plan(plan) => self.plan(plan),
            Event::Weights { device, name, have, need } => {
                self.report.weights(device, &name, have, need);
                Ok(())
            }
            Event::Finished { device, compute, .. } => {
                *self.computed.entry(device).or_insert(Ms::ZERO) += compute;
                Ok(())
            }
            Event::Trace(piece) => self.trace.as_mut().map_or(Ok(()), |trace| trace.write(&piece)),
            Event::Warning(text) => {
                self.report.warn(text);
                Ok(())
            }
        }
    }

    fn cluster(&mut self, devices: Vec<DeviceInfo>) -> Result<(), Exit> {
        if devices == self.devices {
            return Ok(());
        }
        self.report.emit(&events::Cluster { devices: &devices })?;
        match self.devices.is_empty() {
            true => self.report.say_table(tables::devices(&devices)),
            false => self.print_changes(&devices),
        }
        self.devices = devices;
        Ok(())
    }

    /// Prints which devices appeared, became ready or left. Shares are part of the plan.
    fn print_changes(&self, devices: &[DeviceInfo]) {
        let state_in = |devices: &[DeviceInfo], wanted: &DeviceInfo| {
            devices.iter().find(|device| device.id == wanted.id).map(|device| device.state)
        };
        let name = |device: &DeviceInfo| style(device.name.clone()).for_stderr().bold();
        for device in devices {
            let change = match (state_in(&self.devices, device), device.state) {
                (Some(before), now) if before == now => continue,
                (Some(DeviceState::Joining), DeviceState::Idle | DeviceState::Active) => {
                    "was measured".to_owned()
                }
                (Some(DeviceState::Suspect), DeviceState::Idle | DeviceState::Active) => {
                    "is back".to_owned()
                }
                (None, DeviceState::Joining) => {
                    format!("found at {} ({})", device.address, tables::word(&device.found))
                }
                (_, DeviceState::Suspect) => "has been silent for a while".to_owned(),
                (Some(_), DeviceState::Lost) => "was lost".to_owned(),
                _ => continue,
            };
            self.report.say(format_args!("{} {change}", name(device)));
        }
        for device in &self.devices {
            if device.state != DeviceState::Lost && state_in(devices, device).is_none() {
                self.report.say(format_args!("{} left", name(device)));
            }
        }
    }

    fn plan(&mut self, plan: Arc<PlanInfo>) -> Result<(), Exit> {
        let told = self.plans.iter().rev().find(|told| told.generation == plan.generation);
        if told.is_some_and(|told| *told == plan) {
            return Ok(());
        }
        let explanation = self.explain.then_some(plan.explanation.as_slice());
        self.report.emit(&events::Plan { plan: &plan, explanation })?;
        if told.is_some_and(|told| told.in_flight == plan.in_flight && told.plan == plan.plan) {
            let (generation, predicted) = (plan.generation.0, plan.predicted);
            self.report.say(format_args!("plan {generation}: now predicted to take {predicted}"));
            self.plans.push(plan);
            return Ok(());
        }
        let heading = format!("plan {}: {}", plan.generation.0, reason_text(plan.reason));
        let heading = style(heading).for_stderr().green().bold();
        match tables::whole_frames_on(&plan, &self.names()) {
            Some(device) => self.report.say(format_args!("{heading}; whole frames on {device}")),
            None => {
                self.report.say(heading);
                self.report.say_table(tables::plan(&plan, &self.names()));
            }
        }
        self.report.say(tables::prediction(&plan));
        for line in explanation.unwrap_or_default() {
            self.report.say(format_args!("  {line}"));
        }
        self.plans.push(plan);
        Ok(())
    }

    fn names(&self) -> BTreeMap<String, String> {
        self.devices.iter().map(|device| (device.id.to_string(), device.name.clone())).collect()
    }
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Start => "first plan",
        Reason::Joined => "a device joined",
        Reason::Left => "a device left",
        Reason::Lost => "a device was lost",
        Reason::Slower => "a device became slower",
        Reason::Faster => "a device became faster",
        Reason::Link => "a link changed",
        Reason::Weights => "weights arrived",
        Reason::Load => "requests came more or less often",
    }
}
