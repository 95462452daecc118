//! What all protocols serve: the models, and who may use them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::about::VERSION;
use super::error::RequestError;
use super::feed::{Feed, Happened};
use super::metrics::Metrics;
use super::model::Served;
use crate::task::Task;

/// Bytes of a body beside its tensors: pictures, names, JSON around the numbers.
const SPARE: usize = 32 << 20;

/// Bytes of a number in JSON, with what separates it from the next.
const NUMBER: usize = 24;

/// What all protocols serve.
pub(super) struct Site {
    pub(super) models: Vec<Arc<Served>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) feed: Arc<Feed>,
    /// The hash of the token that requests have to carry.
    pub(super) token: Option<blake3::Hash>,
    /// How long a body may take.
    pub(super) body_patience: Duration,
    /// Becomes true when the server is about to end.
    pub(super) stopping: watch::Receiver<bool>,
}

impl Site {
    /// A model by its name and its version, if that is given.
    pub(super) fn model(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<&Arc<Served>, RequestError> {
        let served = self.models.iter().find(|served| served.name == name);
        let served = served.ok_or_else(|| {
            let names: Vec<&str> = self.models.iter().map(|served| &served.name[..]).collect();
            RequestError::NoModel { name: name.to_owned(), known: names.join(", ") }
        })?;
        match version {
            None | Some("" | VERSION) => Ok(served),
            Some(version) => {
                Err(RequestError::NoVersion { name: name.to_owned(), version: version.to_owned() })
            }
        }
    }

    /// The model that finds objects; the first if there are several.
    pub(super) fn detector(&self) -> Result<&Arc<Served>, RequestError> {
        let found = self.models.iter().find(|served| served.task() == Task::Detect);
        found.ok_or_else(|| {
            let known = "only models of other tasks: serve one with task=detect".to_owned();
            RequestError::NoModel { name: "for detection".to_owned(), known }
        })
    }

    /// Counts a request that is not answered, and tells listeners of it.
    pub(super) fn refused(&self, error: &RequestError) {
        let (model, outcome) = (error.model().unwrap_or_default(), error.kind().name());
        self.metrics.refused(model, outcome);
        let served = self.models.iter().find(|served| served.name == model);
        let waiting = served.map_or(0, |served| served.queue.lengths().0);
        self.feed.tell(&Happened::Refused { model, outcome, waiting });
    }

    /// Resolves when the server is about to end.
    pub(super) fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stopping = self.stopping.clone();
        // The sender lives as long as the server.
        async move { drop(stopping.wait_for(|stopping| *stopping).await) }
    }

    /// Whether requests are answered.
    pub(super) fn is_ready(&self) -> bool {
        !*self.stopping.borrow()
    }

    /// The largest body that any request here needs.
    pub(super) fn body_limit(&self) -> usize {
        let elements = |served: &Arc<Served>| {
            let dims = served.inputs().iter().map(|port| port.dims.iter().product::<u64>());
            usize::try_from(dims.sum::<u64>()).unwrap_or(usize::MAX)
        };
        let most = self.models.iter().map(elements).max().unwrap_or_default();
        most.saturating_mul(NUMBER).saturating_add(SPARE)
    }

    /// Checks what stands in a request's `Authorization`.
    pub(super) fn admit(&self, authorization: Option<&str>) -> Result<(), RequestError> {
        let Some(token) = self.token else { return Ok(()) };
        let given = authorization.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        // Hashes are compared in constant time.
        match given {
            Some(given) if blake3::hash(given.as_bytes()) == token => Ok(()),
            _ => Err(RequestError::NoToken),
        }
    }
}
