//! The actor that knows how fast one device is: it requests the benchmark and probes the link when
//! the device appears, then learns from the times of every frame.
//!
//! The link is probed again so seldom that probes take a hundredth of its time, and sooner if frames
//! take much longer than predicted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use edgeld_runtime::cost::{DeviceProfile, LinkEstimate, LinkProfile};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::units::{Bytes, Mbps, Ms};
use edgeld_runtime::wire::{Hello, LeaderMessage, StageTime, encode};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::benchmark::cost_samples;
use super::learned::Learned;
use super::link_probe;
use super::messages::{BenchmarkDone, LinkProbed, ProfileUpdated, StagesTimed, SuspectLink};
use crate::transport::{Network, Sender};

/// A device that has not answered by then gets an average profile.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between probes of a link, as a multiple of the time that one takes, and at least.
const PAUSE: (u32, Duration) = (100, Duration::from_secs(10));

/// The same if there is reason to believe that it has become slower.
const SUSPICIOUS_PAUSE: (u32, Duration) = (10, Duration::from_millis(200));

/// The actor; one per device.
pub(crate) struct ProfilerActor {
    /// The control connection it belongs to.
    pub connection_id: u64,
    /// The device's `Hello`.
    pub hello: Hello,
    /// The control connection to the device.
    pub control: Sender,
    /// The network that reaches it.
    pub network: Network,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// Whether it is the leader itself, which has no link to probe.
    pub is_self: bool,
    /// The kernels it will compute with.
    pub kernels: KernelKind,
    /// Held while probing: links are probed one at a time.
    pub probe_lock: Arc<Mutex<()>>,
    /// Receives the results.
    pub results: Recipient<ProfileUpdated>,
    /// What frames of earlier runs have taught about it.
    pub learned: Learned,
    /// Its speed, once measured.
    pub profile: Option<DeviceProfile>,
    /// Its link, once measured.
    pub link: Option<LinkEstimate>,
    /// The last probe of the link: when it ended, how long it took, and what leads to the next one.
    /// None while a probe is under way.
    pub last_probe: Option<(Instant, Duration, SpawnHandle)>,
}

impl ProfilerActor {
    fn with_hardware(&self, profile: DeviceProfile) -> DeviceProfile {
        let (memory, threads) = (Bytes(self.hello.memory), u32::from(self.hello.threads));
        profile.with_memory(memory).with_threads(threads)
    }

    fn publish(&self) {
        if let (Some(profile), Some(estimate)) = (self.profile.clone(), self.link) {
            let (node, connection_id, link) =
                (self.hello.node, self.connection_id, estimate.profile());
            self.results.do_send(ProfileUpdated { node, connection_id, profile, link });
        }
    }

    fn probe(&mut self, context: &mut Context<Self>) {
        if let Some((.., next)) = self.last_probe.take() {
            context.cancel_future(next);
        }
        let (network, addresses) = (self.network.clone(), self.addresses.clone());
        let (node, address) = (self.hello.node, context.address());
        let probe_lock = self.probe_lock.clone();
        self.network.spawn(async move {
            let guard = probe_lock.lock().await;
            let begun = Instant::now();
            let probe = link_probe::measure(&network, &addresses, node);
            let probed = timeout(MEASURE_TIMEOUT, probe).await;
            drop(guard);
            let link = match probed {
                Ok(Ok(link)) => Some(link),
                Ok(Err(error)) => {
                    tracing::info!("cannot measure the link to {node}: {error}");
                    None
                }
                Err(_) => None,
            };
            address.do_send(LinkProbed { link, took: begun.elapsed() });
        });
    }
}

impl Actor for ProfilerActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let message = LeaderMessage::Measure { kernels: self.kernels };
        // If the connection has ended, its reader notices.
        let _ = self.control.send(encode(&message), Vec::new());
        if self.is_self {
            let link = LinkProfile::described(Mbps(10_000.0), Ms::ZERO);
            self.link = Some(LinkEstimate::new(link));
        } else {
            self.probe(context);
        }
        context.run_later(MEASURE_TIMEOUT, |profiler, _| {
            if profiler.profile.is_none() {
                tracing::warn!(
                    "{} has not reported its speed; assuming an average device",
                    profiler.hello.name
                );
                profiler.profile = Some(profiler.with_hardware(DeviceProfile::unmeasured()));
                profiler.publish();
            }
        });
    }
}

impl Handler<BenchmarkDone> for ProfilerActor {
    type Result = ();

    fn handle(&mut self, BenchmarkDone(result): BenchmarkDone, _: &mut Self::Context) {
        let profile = DeviceProfile::measured(&cost_samples(&result), result.messages);
        let profile = profile.with_tiles(result.kernels == KernelKind::Fast);
        let measured = profile.gflops();
        let profile = self.learned.recall(profile);
        tracing::debug!(
            "{}: {measured:.1} GFLOP/s measured, {:.1} with what frames have taught: {:.2?}",
            self.hello.name,
            profile.gflops(),
            profile.corrections(),
        );
        self.profile = Some(self.with_hardware(profile));
        self.publish();
    }
}

impl Handler<LinkProbed> for ProfilerActor {
    type Result = ();

    fn handle(&mut self, LinkProbed { link, took }: LinkProbed, context: &mut Self::Context) {
        let is_doubtful = match (&mut self.link, link) {
            (Some(estimate), Some(link)) => estimate.observe(link),
            (Some(_), None) => false,
            (None, _) => {
                let name = &self.hello.name;
                let link = link.unwrap_or_else(|| {
                    tracing::warn!(
                        "the link to {name} cannot be measured; assuming an average one"
                    );
                    LinkProfile::unmeasured()
                });
                self.link = Some(LinkEstimate::new(link));
                false
            }
        };
        self.publish();
        let pause = pause(if is_doubtful { SUSPICIOUS_PAUSE } else { PAUSE }, took);
        let next = context.run_later(pause, |profiler, context| profiler.probe(context));
        self.last_probe = Some((Instant::now(), took, next));
    }
}

impl Handler<SuspectLink> for ProfilerActor {
    type Result = ();

    fn handle(&mut self, _: SuspectLink, context: &mut Self::Context) {
        if let Some((ended, took, _)) = self.last_probe
            && ended.elapsed() >= pause(SUSPICIOUS_PAUSE, took)
        {
            self.probe(context);
        }
    }
}

/// The pause after a probe that took so long.
fn pause((factor, least): (u32, Duration), took: Duration) -> Duration {
    took.saturating_mul(factor).max(least)
}

impl Handler<StagesTimed> for ProfilerActor {
    type Result = ();

    fn handle(&mut self, timed: StagesTimed, _: &mut Self::Context) {
        let StagesTimed { graph, program, times } = timed;
        let Some(profile) = &mut self.profile else { return };
        let stages =
            times.into_iter().map(|StageTime { stage, compute }| (stage as usize, compute));
        profile.observe(&graph, &program, stages);
        tracing::debug!("{}: corrections {:.2?}", self.hello.name, profile.corrections());
        self.learned.frame(profile, &self.network);
        self.publish();
    }
}
