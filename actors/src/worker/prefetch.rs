//! Fetches the whole model in the background.
//!
//! A device starts with the weights of its own share. When another device is lost its share grows, and
//! what it lacks would have to travel before the best plan can run. So once a plan has run for a while,
//! it fetches the rest, with patience: if n devices do, each rests 4 n - 1 times as long as a chunk
//! took, so that together they take at most a quarter of the leader's link. With five devices at
//! 1000 Mbit/s, VGG16 (528 MiB) is everywhere after little more than a minute.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use edgeld_runtime::units::Bytes;

use crate::storage::ChunkFetcher;

/// How long a plan runs before, unless everything is there: those who want a few answers are spared.
pub(super) const DELAY: Duration = Duration::from_secs(10);

/// How often to go through what is missing; a chunk may be unavailable for a while.
const ROUNDS: usize = 3;

/// The part of the leader's link for all devices together: one over this.
const LINK_PARTS: u32 = 4;

/// Starts a thread that, after `delay`, fetches what `devices` of a session, this one among them, fetch
/// side by side. Calls `done` once all is on disk: at once, if it is already. The thread ends with the
/// session.
pub(super) fn start(
    fetcher: Arc<ChunkFetcher>,
    devices: usize,
    delay: Duration,
    done: impl FnOnce() + Send + 'static,
) {
    let run = move || {
        if fetch(&fetcher, devices as u32, delay) {
            done();
        }
    };
    if let Err(error) = thread::Builder::new().name("edgeld-prefetch".to_owned()).spawn(run) {
        tracing::warn!("cannot fetch the model in the background: {error}");
    }
}

/// Returns whether everything is on disk.
fn fetch(fetcher: &ChunkFetcher, devices: u32, delay: Duration) -> bool {
    let chunks = fetcher.manifest().chunks();
    let all: Vec<u32> = (0..chunks.len() as u32).collect();
    if fetcher.missing(&all).is_empty() {
        return true;
    }
    let total: Bytes = chunks.iter().map(|chunk| chunk.bytes).sum();
    if !fetcher.store().may_hold(total) {
        tracing::debug!("the store is too small for the whole model of {total}");
        return false;
    }
    let rest = LINK_PARTS * devices.max(1) - 1;
    let mut open = fetcher.pause(delay);
    for _ in 0..ROUNDS {
        for chunk in fetcher.missing(&all) {
            if !open {
                return false;
            }
            let begun = Instant::now();
            let fetched = fetcher.fetch(&[chunk], &Vec::new, &AtomicBool::new(false), &|_, _| ());
            if let Err(error) = fetched {
                tracing::debug!("chunk {chunk} of the model in the background: {error}");
            }
            open = fetcher.pause(begun.elapsed() * rest);
        }
    }
    fetcher.missing(&all).is_empty()
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;
    use crate::storage::testing::Lan;

    #[tokio::test]
    async fn the_whole_model_is_fetched_and_once_it_is_here_that_is_said_at_once() {
        let mut lan = Lan::new().await;
        let (connection, leader, _network) = lan.connect("leader", 2).await;
        lan.fetcher.connect(connection);
        tokio::spawn(lan.model().serve(leader));
        for _ in 0..2 {
            let (sender, done) = oneshot::channel();
            start(lan.fetcher.clone(), 1, Duration::ZERO, move || sender.send(()).unwrap());
            timeout(Duration::from_secs(60), done).await.unwrap().unwrap();
            assert!(lan.fetcher.missing(&lan.chunks()).is_empty());
        }
    }

    #[tokio::test]
    async fn nothing_is_fetched_for_a_session_that_has_ended() {
        let lan = Lan::new().await;
        let (sender, done) = oneshot::channel();
        let an_hour = Duration::from_secs(3600);
        start(lan.fetcher.clone(), 1, an_hour, move || sender.send(()).unwrap());
        lan.fetcher.close();
        // The thread drops the sender when it ends, without having called back.
        assert!(done.await.is_err());
    }
}
