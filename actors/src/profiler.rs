//! The actor that knows how fast one device is: it asks for the speed suite and probes the link
//! when the device appears, then learns from what every frame took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::prelude::*;
use edgeld_runtime::cost::{DeviceProfile, LinkProfile};
use edgeld_runtime::graph::Graph;
use edgeld_runtime::kernel::KernelKind;
use edgeld_runtime::program::Program;
use edgeld_runtime::units::{Bytes, Mbps, Ms};
use edgeld_runtime::wire::{Hello, LeaderMessage, NodeId, Purpose, StageTime, SuiteResult, encode};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::discovery::news::Profiled;
use crate::suite::cost_samples;
use crate::transport::{Network, Receiver, Sender, TransportError};

/// Payload of a probe.
const PROBE: usize = 256 << 10;

/// Round trips of nothing, then of payloads.
const ROUNDS: (usize, usize) = (5, 3);

/// A device that has not answered after this time is taken for an average one.
const PATIENCE: Duration = Duration::from_secs(5);

/// The actor; one for each device.
pub struct ProfilerActor {
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
    pub results: Recipient<Profiled>,
    /// What is known of its speed.
    pub profile: Option<DeviceProfile>,
    /// What is known of its link.
    pub link: Option<LinkProfile>,
}

/// The device has run the suite.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Suite(pub SuiteResult);

/// The device has done its part of a frame.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Observed {
    /// The model.
    pub graph: Arc<Graph>,
    /// What the device did.
    pub program: Arc<Program>,
    /// What it took.
    pub times: Vec<StageTime>,
}

#[derive(Message)]
#[rtype(result = "()")]
struct Probed(LinkProfile);

impl ProfilerActor {
    fn described(&self, profile: DeviceProfile) -> DeviceProfile {
        let (memory, threads) = (Bytes(self.hello.memory), u32::from(self.hello.threads));
        profile.with_memory(memory).with_threads(threads)
    }

    fn tell(&self) {
        if let (Some(profile), Some(link)) = (self.profile.clone(), self.link) {
            let (node, number) = (self.hello.node, self.number);
            self.results.do_send(Profiled { node, number, profile, link });
        }
    }

    fn probe(&self, context: &mut Context<Self>) {
        let (network, addresses) = (self.network.clone(), self.addresses.clone());
        let (node, probing, address) = (self.hello.node, self.probing.clone(), context.address());
        self.network.spawn(async move {
            let turn = probing.lock().await;
            let probed = timeout(PATIENCE, measure_link(&network, &addresses, node)).await;
            drop(turn);
            let link = match probed {
                Ok(Ok(link)) => link,
                Ok(Err(error)) => {
                    tracing::warn!("the link to {node} was not measured: {error}");
                    LinkProfile::unmeasured()
                }
                Err(_) => LinkProfile::unmeasured(),
            };
            address.do_send(Probed(link));
        });
    }
}

/// Sends nothing, then something, there and back: the shortest times count.
async fn measure_link(
    network: &Network,
    addresses: &[String],
    node: NodeId,
) -> Result<LinkProfile, TransportError> {
    let connection = network.dial_any(addresses, node, Purpose::Probe).await?;
    let (sender, mut receiver) = connection.split();
    let rtt = fastest(&sender, &mut receiver, 0, ROUNDS.0).await?;
    let loaded = fastest(&sender, &mut receiver, PROBE, ROUNDS.1).await?;
    // A clock is no finer than a microsecond; loopback is that fast.
    let transfer = Ms((loaded - rtt).0.max(1e-3));
    Ok(LinkProfile::described(Mbps::of(Bytes(PROBE as u64), transfer), rtt * 0.5))
}

async fn fastest(
    sender: &Sender,
    receiver: &mut Receiver,
    bytes: usize,
    rounds: usize,
) -> Result<Ms, TransportError> {
    let mut shortest = Ms(f64::INFINITY);
    for _ in 0..rounds {
        let start = Instant::now();
        sender.send(b"?".to_vec(), vec![0; bytes])?;
        receiver.next().await?;
        shortest = shortest.min(Ms::from_duration(start.elapsed()));
    }
    Ok(shortest)
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
                profiler.tell();
            }
        });
    }
}

impl Handler<Suite> for ProfilerActor {
    type Result = ();

    fn handle(&mut self, Suite(result): Suite, _: &mut Self::Context) {
        self.profile = Some(self.described(DeviceProfile::measured(&cost_samples(&result))));
        self.tell();
    }
}

impl Handler<Probed> for ProfilerActor {
    type Result = ();

    fn handle(&mut self, Probed(link): Probed, _: &mut Self::Context) {
        self.link = Some(link);
        self.tell();
    }
}

impl Handler<Observed> for ProfilerActor {
    type Result = ();

    fn handle(&mut self, observed: Observed, _: &mut Self::Context) {
        let Observed { graph, program, times } = observed;
        let Some(profile) = &mut self.profile else { return };
        for StageTime { stage, compute } in times {
            profile.observe(&graph, &program, stage as usize, compute);
        }
        self.tell();
    }
}
