//! The actor that knows how fast one device is: it requests the benchmark and probes the link when
//! the device appears, then learns from the times of every frame.

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::units::{Bytes, Mbps, Ms};
use edgeld_runtime::wire::{Hello, LeaderMessage, StageTime, encode};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::benchmark::cost_samples;
use super::link_probe;
use super::messages::{BenchmarkDone, LinkProbed, ProfileUpdated, StagesTimed};
use crate::transport::{Network, Sender};

/// A device that has not answered by then gets an average profile.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(5);

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
    /// Its speed, once measured.
    pub profile: Option<DeviceProfile>,
    /// Its link, once measured.
    pub link: Option<LinkProfile>,
}

impl ProfilerActor {
    fn with_hardware(&self, profile: DeviceProfile) -> DeviceProfile {
        let (memory, threads) = (Bytes(self.hello.memory), u32::from(self.hello.threads));
        profile.with_memory(memory).with_threads(threads)
    }

    fn publish(&self) {
        if let (Some(profile), Some(link)) = (self.profile.clone(), self.link) {
            let (node, connection_id) = (self.hello.node, self.connection_id);
            self.results.do_send(ProfileUpdated { node, connection_id, profile, link });
        }
    }

    fn probe(&self, context: &mut Context<Self>) {
        let (network, addresses) = (self.network.clone(), self.addresses.clone());
        let (node, address) = (self.hello.node, context.address());
        let probe_lock = self.probe_lock.clone();
        self.network.spawn(async move {
            let guard = probe_lock.lock().await;
            let probe = link_probe::measure(&network, &addresses, node);
            let probed = timeout(MEASURE_TIMEOUT, probe).await;
            drop(guard);
            let link = match probed {
                Ok(Ok(link)) => link,
                Ok(Err(error)) => {
                    tracing::warn!(
                        "cannot measure the link to {node}: {error}; assuming an average one"
                    );
                    LinkProfile::unmeasured()
                }
                Err(_) => LinkProfile::unmeasured(),
            };
            address.do_send(LinkProbed(link));
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
            self.link = Some(LinkProfile::described(Mbps(10_000.0), Ms::ZERO));
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
        self.profile = Some(self.with_hardware(profile));
        self.publish();
    }
}

impl Handler<LinkProbed> for ProfilerActor {
    type Result = ();

    fn handle(&mut self, LinkProbed(link): LinkProbed, _: &mut Self::Context) {
        self.link = Some(link);
        self.publish();
    }
}

impl Handler<StagesTimed> for ProfilerActor {
    type Result = ();

    fn handle(&mut self, timed: StagesTimed, _: &mut Self::Context) {
        let StagesTimed { graph, program, times } = timed;
        let Some(profile) = &mut self.profile else { return };
        let stages =
            times.into_iter().map(|StageTime { stage, compute }| (stage as usize, compute));
        profile.observe(&graph, &program, stages);
        self.publish();
    }
}
