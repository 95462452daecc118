//! The actor that knows how fast one device is: it asks for the speed suite and probes the link
//! when the device appears, then learns from what every frame took.

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

/// A device that has not answered after this time is taken for an average one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The actor; one for each device.
pub(crate) struct ProfilerActor {
    /// Number of the control connection that it belongs to.
    pub number: u64,
    /// How the device greeted.
    pub hello: Hello,
    /// The way to it.
    pub control: Sender,
    /// By which network it is reached.
    pub network: Network,
    /// Where.
    pub addresses: Vec<String>,
    /// Whether it is the leader itself, which has no link to probe.
    pub is_self: bool,
    /// Which kernels it will compute with.
    pub kernels: KernelKind,
    /// Held while a link is probed.
    pub probing: Arc<Mutex<()>>,
    /// Who is told what is found.
    pub results: Recipient<ProfileUpdated>,
    /// What is known of its speed.
    pub profile: Option<DeviceProfile>,
    /// What is known of its link.
    pub link: Option<LinkProfile>,
}

impl ProfilerActor {
    fn described(&self, profile: DeviceProfile) -> DeviceProfile {
        let (memory, threads) = (Bytes(self.hello.memory), u32::from(self.hello.threads));
        profile.with_memory(memory).with_threads(threads)
    }

    fn publish(&self) {
        if let (Some(profile), Some(link)) = (self.profile.clone(), self.link) {
            let (node, number) = (self.hello.node, self.number);
            self.results.do_send(ProfileUpdated { node, number, profile, link });
        }
    }

    fn probe(&self, context: &mut Context<Self>) {
        let (network, addresses) = (self.network.clone(), self.addresses.clone());
        let (node, probing, address) = (self.hello.node, self.probing.clone(), context.address());
        self.network.spawn(async move {
            let turn = probing.lock().await;
            let probed = timeout(PATIENCE, link_probe::measure(&network, &addresses, node)).await;
            drop(turn);
            let link = match probed {
                Ok(Ok(link)) => link,
                Ok(Err(error)) => {
                    tracing::warn!("the link to {node} was not measured: {error}");
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
        // That the connection has ended is noticed by whoever reads from it.
        let _ = self.control.send(encode(&message), Vec::new());
        if self.is_self {
            self.link = Some(LinkProfile::described(Mbps(10_000.0), Ms::ZERO));
        } else {
            self.probe(context);
        }
        context.run_later(PATIENCE, |profiler, _| {
            if profiler.profile.is_none() {
                tracing::warn!("{} does not say how fast it is", profiler.hello.name);
                profiler.profile = Some(profiler.described(DeviceProfile::unmeasured()));
                profiler.publish();
            }
        });
    }
}

impl Handler<BenchmarkDone> for ProfilerActor {
    type Result = ();

    fn handle(&mut self, BenchmarkDone(result): BenchmarkDone, _: &mut Self::Context) {
        self.profile = Some(self.described(DeviceProfile::measured(&cost_samples(&result))));
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

    fn handle(&mut self, observed: StagesTimed, _: &mut Self::Context) {
        let StagesTimed { graph, program, times } = observed;
        let Some(profile) = &mut self.profile else { return };
        for StageTime { stage, compute } in times {
            profile.observe(&graph, &program, stage as usize, compute);
        }
        self.publish();
    }
}
