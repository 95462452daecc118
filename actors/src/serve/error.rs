//! Why a request is not answered, apart from how each protocol says so.

use std::time::Duration;

use crate::api::InferError;
use crate::input::InputError;
use crate::task::HeadError;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// It names no model that is served.
    #[error("there is no model {name:?}; there are {known}")]
    NoModel {
        /// What it names.
        name: String,
        /// What there is.
        known: String,
    },
    /// It names a version of a model that is not served.
    #[error("there is no version {version:?} of {name}, only \"1\"")]
    NoVersion {
        /// The model.
        name: String,
        /// What it names.
        version: String,
    },
    /// It cannot be understood.
    #[error("{0}")]
    Malformed(String),
    /// A picture cannot be used.
    #[error(transparent)]
    Picture(#[from] InputError),
    /// The model is not of the kind that is asked for.
    #[error(transparent)]
    Task(#[from] HeadError),
    /// Its body is too large.
    #[error("the body is larger than {limit} bytes, the most that any model here can need")]
    TooLarge {
        /// The largest body that is read.
        limit: usize,
    },
    /// Its body did not come in time.
    #[error("the body did not come within {} s", .0.as_secs())]
    SlowBody(Duration),
    /// It does not carry the token.
    #[error("a token is needed: send it as `Authorization: Bearer TOKEN`")]
    NoToken,
    /// Too many are waiting already.
    #[error("{waiting} requests for {model} wait already; try again in {:.1} s", after.as_secs_f64())]
    Full {
        /// The model.
        model: String,
        /// How many wait.
        waiting: usize,
        /// When there may be room.
        after: Duration,
    },
    /// It waited for its turn until its deadline.
    #[error("{model} had no time for it within {} ms", waited.as_millis())]
    Late {
        /// The model.
        model: String,
        /// How long it waited.
        waited: Duration,
    },
    /// The server is about to end.
    #[error("the server is shutting down")]
    Stopping,
    /// The cluster could not answer.
    #[error(transparent)]
    Failed(InferError),
}

/// What protocols tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    NotFound,
    Invalid,
    TooLarge,
    SlowBody,
    Unauthenticated,
    Exhausted,
    Late,
    Unavailable,
    Internal,
}

impl RequestError {
    pub(super) fn kind(&self) -> Kind {
        match self {
            RequestError::NoModel { .. } | RequestError::NoVersion { .. } => Kind::NotFound,
            RequestError::Malformed(_) | RequestError::Picture(_) | RequestError::Task(_) => {
                Kind::Invalid
            }
            RequestError::TooLarge { .. } => Kind::TooLarge,
            RequestError::SlowBody(_) => Kind::SlowBody,
            RequestError::NoToken => Kind::Unauthenticated,
            RequestError::Full { .. } => Kind::Exhausted,
            RequestError::Late { .. } => Kind::Late,
            RequestError::Stopping | RequestError::Failed(InferError::Closed) => Kind::Unavailable,
            RequestError::Failed(InferError::Failed { .. }) => Kind::Internal,
            RequestError::Failed(_) => Kind::Invalid,
        }
    }

    /// The model that was asked, where the error knows it.
    pub(super) fn model(&self) -> Option<&str> {
        match self {
            RequestError::Full { model, .. } | RequestError::Late { model, .. } => Some(model),
            _ => None,
        }
    }

    /// After how long the same request may be accepted, where that is known.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            RequestError::Full { after, .. } => Some(*after),
            _ => None,
        }
    }
}

impl Kind {
    /// As it stands in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::NotFound => "not_found",
            Kind::Invalid => "invalid",
            Kind::TooLarge => "too_large",
            Kind::SlowBody => "slow_body",
            Kind::Unauthenticated => "unauthenticated",
            Kind::Exhausted => "exhausted",
            Kind::Late => "late",
            Kind::Unavailable => "unavailable",
            Kind::Internal => "internal",
        }
    }
}
