//! What happens, as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, ContentEncoding};
use actix_web::web::{Bytes, Data};
use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::sleep;

use crate::serve::site::Site;

/// After so long without an event there is a comment: both sides notice if the other is gone.
const QUIET: Duration = Duration::from_secs(5);

pub(super) async fn events(site: Data<Site>) -> HttpResponse {
    let stopping = site.stopping.clone();
    let (now, later) = site.feed.listen();
    let listener = Listener { site, told: now.into(), later, stopping };
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        // Compressed, events would wait until a block is full.
        .insert_header(ContentEncoding::Identity)
        .streaming(listener.events())
}

/// Somebody who listens.
struct Listener {
    site: Data<Site>,
    /// What is to be told before anything else.
    told: VecDeque<Arc<str>>,
    later: broadcast::Receiver<Arc<str>>,
    stopping: watch::Receiver<bool>,
}

impl Listener {
    /// Events as they happen, until the server ends.
    fn events(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut listener| async move {
            let text = listener.next().await?;
            Some((Ok(Bytes::from(text)), listener))
        })
    }

    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(text) = self.told.pop_front() {
                return Some(format!("data: {text}\n\n"));
            }
            tokio::select! {
                event = self.later.recv() => match event {
                    Ok(text) => return Some(format!("data: {text}\n\n")),
                    // Who cannot follow misses what happened, and is told how things stand.
                    Err(RecvError::Lagged(_)) => {
                        let (now, later) = self.site.feed.listen();
                        (self.told, self.later) = (now.into(), later);
                    }
                    Err(RecvError::Closed) => return None,
                },
                // The sender lives as long as the server.
                _ = self.stopping.wait_for(|stopping| *stopping) => return None,
                () = sleep(QUIET) => return Some(": nothing\n\n".to_owned()),
            }
        }
    }
}
