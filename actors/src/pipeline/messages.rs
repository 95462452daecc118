//! Messages to a PipelineActor.

use actix::prelude::*;
use edgeld_runtime::exec::Input;
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::solve::Objective;
use edgeld_runtime::trace::ClockOffset;
use edgeld_runtime::wire::NodeId;
use tokio::sync::mpsc::UnboundedSender;

use crate::api::{Answer, Event, InferError};

/// Run one inference.
#[derive(Message)]
#[rtype(result = "Result<Answer, InferError>")]
pub(crate) struct Infer(pub Vec<Input>);

/// Send all events to a subscriber from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Subscribe(pub UnboundedSender<Event>);

/// Choose plans by another objective from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Pursue(pub Objective);

/// Close the session.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ManifestBuilt(pub(super) Result<Manifest, String>);

/// A device's clock was read, or could not be.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ClockRead {
    pub(super) node: NodeId,
    pub(super) clock: Option<ClockOffset>,
}

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct WeightsServed(pub(super) NodeId);
