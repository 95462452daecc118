//! Moves a session's frames: inputs to this device's executor, outputs back to the caller.

use std::collections::BTreeMap;

use actix::prelude::*;
use edgeld_runtime::coord::leader::Event as LeaderEvent;
use edgeld_runtime::plan::{Generation, InFlight};
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::NodeId;
use tokio::sync::oneshot;

use super::actor::{PendingFrame, PipelineActor};
use super::messages::Infer;
use crate::api::{Answer, InferError, Output};
use crate::planner::FrameAnswered;
use crate::profiler::SuspectLink;
use crate::worker::{FrameOutputs, StartFrame};

/// How many times as long as predicted a frame takes if a link has become slower.
const SUSPICIOUS: f64 = 1.5;

/// How many times as long as predicted something takes at most while weights are packed beside it.
const BESIDE_PACKING: f64 = 2.0;

impl PipelineActor {
    pub(super) fn start_frame(&mut self, frame: u64, generation: Generation) {
        let now = self.device.clock.now();
        let Some(pending) = self.frames.get_mut(&frame) else { return };
        pending.begun.get_or_insert(now);
        pending.runs.insert(generation, now);
        tracing::debug!(frame, generation = generation.0, "begun");
        let (session, inputs) = (self.id, pending.inputs.clone());
        self.worker.do_send(StartFrame { session, generation, frame, inputs });
    }

    /// Keeps the outputs of a frame that is done.
    pub(super) fn complete(&mut self, frame: u64, generation: Generation, retries: u32) {
        let now = self.device.clock.now();
        let outputs = self.outputs.remove(&frame).unwrap_or_default();
        let Some(pending) = self.frames.get_mut(&frame) else { return };
        pending.inputs.clear();
        let ports = self.source.graph.outputs().iter();
        let named = ports.zip(outputs).map(|(port, data)| Output {
            name: port.name.clone(),
            dims: port.dims.clone(),
            data,
        });
        let begun = pending.begun.unwrap_or(now);
        let total = now.since(begun);
        tracing::debug!(frame, generation = generation.0, retries, %total, "answered");
        pending.done = Some(Answer {
            frame,
            generation,
            retries,
            total,
            completed: now,
            bytes_moved: self.plans.get(&generation).map_or(Bytes::ZERO, |plan| plan.bytes_moved),
            outputs: named.collect(),
        });
        self.trace_frame(frame, generation, begun, total);
        // One that was begun again says nothing of its plan.
        let Some(plan) = self.plans.get(&generation).filter(|_| retries == 0) else { return };
        if self.is_beside_packing(&plan.lane.members, total, plan.info.predicted) {
            return;
        }
        self.suspect_links(generation, total);
        if let Some(planner) = &self.planner {
            planner.do_send(FrameAnswered { generation, total });
        }
    }

    /// Whether weights that one of these devices packs explain how long something took: no more than
    /// twice as long as predicted. What became slower for another reason shows beside packing, too.
    pub(super) fn is_beside_packing(&self, nodes: &[NodeId], took: Ms, predicted: Ms) -> bool {
        took <= predicted * BESIDE_PACKING && nodes.iter().any(|node| self.is_packing(*node))
    }

    /// Has the links of a plan probed if a frame took much longer than predicted.
    fn suspect_links(&self, generation: Generation, total: Ms) {
        let Some(plan) = self.plans.get(&generation) else { return };
        let follows = plan.lane.in_flight == InFlight::ONE;
        if follows && total > plan.info.predicted * SUSPICIOUS {
            for peer in plan.lane.members.iter().filter_map(|node| self.peers.get(node)) {
                peer.profiler.do_send(SuspectLink);
            }
        }
    }

    /// Hands a frame's answer to its caller.
    pub(super) fn answer(&mut self, frame: u64) {
        let Some(pending) = self.frames.remove(&frame) else { return };
        if let Some(answer) = pending.done {
            // The caller may be gone.
            let _ = pending.caller.send(Ok(answer));
        }
    }
}

impl Handler<FrameOutputs> for PipelineActor {
    type Result = ();

    fn handle(&mut self, complete: FrameOutputs, context: &mut Self::Context) {
        let FrameOutputs { generation, frame, outputs } = complete;
        self.outputs.insert(frame, outputs);
        self.handle_event(LeaderEvent::Answered { frame, generation }, context);
        self.outputs.remove(&frame);
    }
}

impl Handler<Infer> for PipelineActor {
    type Result = ResponseFuture<Result<Answer, InferError>>;

    fn handle(&mut self, Infer(inputs): Infer, context: &mut Self::Context) -> Self::Result {
        let (caller, answered) = oneshot::channel();
        let frame = self.next_frame;
        self.next_frame += 1;
        let pending =
            PendingFrame { inputs, begun: None, runs: BTreeMap::new(), done: None, caller };
        self.frames.insert(frame, pending);
        self.handle_event(LeaderEvent::Submitted { frame }, context);
        Box::pin(async move { answered.await.unwrap_or(Err(InferError::Closed)) })
    }
}
