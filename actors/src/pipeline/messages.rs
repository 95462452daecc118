//! What a PipelineActor is published.

use actix::prelude::*;
use edgeld_runtime::exec::Input;
use edgeld_runtime::manifest::Manifest;
use edgeld_runtime::wire::NodeId;
use tokio::sync::mpsc::UnboundedSender;

use crate::api::{Answer, Event, InferError};

/// One inference.
#[derive(Message)]
#[rtype(result = "Result<Answer, InferError>")]
pub(crate) struct Infer(pub Vec<Input>);

/// Tell a subscriber everything from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Subscribe(pub UnboundedSender<Event>);

/// Nobody wants answers any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct ManifestBuilt(pub(super) Result<Manifest, String>);

#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct WeightsServed(pub(super) NodeId);
