//! Tells subscribers what devices did when, in sessions that are traced.
//!
//! A report waits until the clock of its device is known, which is read when the device joins and
//! from then on now and again.

use actix::prelude::*;
use edgeld_runtime::coord::Moment;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::trace::{ClockOffset, Span, Steps, spans};
use edgeld_runtime::units::Ms;
use edgeld_runtime::wire::NodeId;

use super::actor::PipelineActor;
use super::clocks::FrameReport;
use super::messages::ClockRead;
use crate::api::{Event, TraceContent, TracePiece};
use crate::profiler::link_probe;

impl PipelineActor {
    /// Reads the clocks of devices where that is due.
    pub(super) fn read_clocks(&mut self, context: &mut Context<Self>) {
        let (me, clock) = (self.me(), self.device.clock);
        let Some(clocks) = &mut self.clocks else { return };
        let now = clock.now();
        for (node, peer) in self.peers.iter().filter(|(node, _)| **node != me) {
            let node = *node;
            if !clocks.is_due(node, now) {
                continue;
            }
            let (network, addresses) = (peer.network.clone(), peer.addresses.clone());
            let address = context.address();
            peer.network.spawn(async move {
                let read = link_probe::read_clock(&network, &addresses, node, clock).await;
                drop(network);
                let read = read.inspect_err(|error| {
                    tracing::warn!("cannot read the clock of {node} for the trace: {error}");
                });
                address.do_send(ClockRead { node, clock: read.ok().flatten() });
            });
        }
    }

    /// Publishes a device's report, once its clock is known.
    pub(super) fn trace_steps(&mut self, report: FrameReport) {
        let me = self.me();
        let Some(clocks) = &mut self.clocks else { return };
        let clock =
            if report.node == me { Some(ClockOffset::SAME) } else { clocks.of(report.node) };
        let Some(clock) = clock else {
            if let Some(report) = clocks.wait(report) {
                self.publish_steps(&report, Vec::new(), Ms::ZERO);
            }
            return;
        };
        let spans = self.spans(&report, &clock).unwrap_or_else(|why| {
            tracing::warn!("{} sent a trace that is none: {why}", self.name(report.node));
            Vec::new()
        });
        self.publish_steps(&report, spans, clock.error(self.device.clock.now()));
    }

    fn spans(&self, report: &FrameReport, clock: &ClockOffset) -> Result<Vec<Span>, String> {
        let retired = self.clocks.as_ref().and_then(|clocks| clocks.retired(report.generation));
        let plan = self.plans.get(&report.generation).or(retired);
        let plan = plan.ok_or("its plan is over")?;
        let members = &plan.lane.members;
        let at = members.iter().position(|member| *member == report.node);
        let program =
            at.and_then(|at| plan.programs.get(at)).ok_or("it has no part in the plan")?;
        let names: Vec<String> = members.iter().map(|member| self.name(*member)).collect();
        let steps = Steps {
            graph: &self.source.graph,
            encodings: &self.source.encodings,
            program,
            transfers: &plan.transfers,
            names: &names,
        };
        spans(steps, &report.steps, clock).map_err(|error| error.to_string())
    }

    fn publish_steps(&mut self, report: &FrameReport, spans: Vec<Span>, clock_error: Ms) {
        let content = TraceContent::Steps { spans, clock_error };
        self.publish_piece(report.node, (report.generation, report.frame), content);
    }

    /// Publishes that a frame was answered.
    pub(super) fn trace_frame(
        &mut self,
        frame: u64,
        generation: Generation,
        begun: Moment,
        took: Ms,
    ) {
        if self.clocks.is_none() {
            return;
        }
        let programs = self.plans.get(&generation).map(|plan| &plan.programs);
        let programs = programs.into_iter().flatten();
        let devices = programs.filter(|program| !program.steps.is_empty()).count();
        let content = TraceContent::Frame { begun, took, devices };
        self.publish_piece(self.me(), (generation, frame), content);
    }

    /// Publishes that a run of a frame was given up.
    pub(super) fn trace_given_up(&mut self, frame: u64, generation: Generation) {
        if self.clocks.is_none() {
            return;
        }
        let pending = self.frames.get_mut(&frame);
        let begun = pending.and_then(|pending| pending.runs.remove(&generation));
        let (Some(begun), Some(plan)) = (begun, self.plans.get(&generation)) else { return };
        let took = self.device.clock.now().since(begun);
        let parts = plan.lane.members.iter().zip(&plan.programs);
        let with_part = parts.filter(|(_, program)| !program.steps.is_empty());
        let devices: Vec<NodeId> = with_part.map(|(node, _)| *node).collect();
        for device in devices {
            let content = TraceContent::GivenUp { begun, took };
            self.publish_piece(device, (generation, frame), content);
        }
    }

    fn publish_piece(
        &mut self,
        device: NodeId,
        (generation, frame): (Generation, u64),
        content: TraceContent,
    ) {
        let (name, leader) = (self.name(device), device == self.me());
        let piece = TracePiece { device, name, leader, generation, frame, content };
        self.publish(&Event::Trace(piece.into()));
    }
}

impl Handler<ClockRead> for PipelineActor {
    type Result = ();

    fn handle(&mut self, ClockRead { node, clock }: ClockRead, _: &mut Self::Context) {
        let now = self.device.clock.now();
        let Some(clocks) = &mut self.clocks else { return };
        let waiting = clocks.was_read(node, clock, now);
        let is_known = clocks.of(node).is_some();
        for report in waiting {
            match is_known {
                true => self.trace_steps(report),
                false => self.publish_steps(&report, Vec::new(), Ms::ZERO),
            }
        }
    }
}
