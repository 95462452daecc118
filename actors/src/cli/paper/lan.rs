//! The paper's cluster, within this process.
//!
//! Devices are workers of their own that compute a part of the time; strips are serialised as for a
//! network, and pass interfaces that carry no more than they should.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use edgeld::transport::Switchboard;
use edgeld::{Cluster, LoadOptions, Pace, Source, Worker, WorkerOptions};
use edgeld_runtime::exec::Input;
use edgeld_runtime::models::Vgg;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::units::Mbps;
use tokio::sync::mpsc::unbounded_channel;

use super::super::exit::Exit;
use super::experiment::{Experiment, Links, System};
use super::failure::failed;
use super::record::Record;

/// Where followers listen, each at an address of its own within the process.
const PORT: u16 = 7070;

/// Devices that are at work.
pub struct Lan {
    cluster: Cluster,
    workers: Vec<Worker>,
    /// Whether this is it, too, for another run.
    is_for: (u32, Links, bool),
}

impl Lan {
    /// Starts the devices of a run, `scale` times as fast as the paper's, followers at this pace. What
    /// they know is kept in `homes` for the next start.
    ///
    /// # Errors
    /// When they cannot be started.
    pub async fn start(
        run: &Experiment,
        scale: f64,
        pace: Pace,
        homes: &Path,
    ) -> Result<Lan, Exit> {
        let switchboard = Switchboard::default();
        let limit = |host: &str, rate: Mbps| switchboard.limit(host, Mbps(rate.0 * scale));
        limit(LEADER, run.links.leader());
        let (mut workers, mut addresses) = (Vec::new(), Vec::new());
        for (number, rate) in (1..=run.followers as u8).zip(run.links.followers()) {
            let name = format!("follower{number}");
            limit(&name, rate);
            let options = WorkerOptions {
                listen: Some(SocketAddr::from((Ipv4Addr::new(127, 0, 0, number + 1), PORT))),
                threads: Some(1),
                pace,
                mdns: false,
                home: Some(homes.join(&name)),
                transport: Some(Arc::new(switchboard.plug(&name))),
                name: Some(name),
                ..WorkerOptions::default()
            };
            let (events, _) = unbounded_channel();
            let worker = Worker::start(options, events).await.map_err(failed)?;
            addresses.push(worker.address().to_owned());
            workers.push(worker);
        }
        // The paper's leader has little to compute, which must not take longer than there.
        let idle = run.system.leader_is_idle();
        let builder = Cluster::builder()
            .device_name(LEADER)
            .threads(1)
            .pace(if idle { Pace::FULL } else { pace })
            .mdns(false)
            .devices(1 + run.followers as usize)
            .home(homes.join(LEADER))
            .transport(Arc::new(switchboard.plug(LEADER)));
        let builder = addresses.into_iter().fold(builder, |builder, at| builder.peer(at));
        let cluster = builder.discover().await.map_err(failed)?;
        Ok(Lan { cluster, workers, is_for: (run.followers, run.links, idle) })
    }

    /// Whether `run` has the same devices.
    pub fn suits(&self, run: &Experiment) -> bool {
        self.is_for == (run.followers, run.links, run.system.leader_is_idle())
    }

    /// Runs it: a frame to warm up, then so many that are timed, one after the other.
    ///
    /// # Errors
    /// When the network cannot be loaded, or a frame fails.
    pub async fn measure(&self, run: Experiment, frames: u32) -> Result<Record, Exit> {
        let network = network(run.depth, run.size)?;
        let mut source = Source::from(network.model().map_err(failed)?);
        // The paper's leader sends floating-point numbers.
        if run.system != System::Default {
            source.encodings.fill(Encoding::F32);
        }
        let elements = 3 * (run.size * run.size) as usize;
        let input = match source.encodings[..] {
            [Encoding::Pixels { .. }] => Input::Pixels(Arc::new(vec![128; elements])),
            _ => Input::from(vec![0.5; elements]),
        };
        let options = LoadOptions { policy: run.system.policy(), ..LoadOptions::default() };
        let model = self.cluster.load_with(source, options).await.map_err(failed)?;
        let (mut times, mut bytes) = (Vec::new(), 0);
        model.infer(std::slice::from_ref(&input)).await.map_err(failed)?;
        let predicted = model.plan().predicted;
        for _ in 0..frames {
            let answer = model.infer(std::slice::from_ref(&input)).await.map_err(failed)?;
            times.push(answer.total);
            bytes = answer.bytes_moved.0;
        }
        Ok(Record { experiment: run, frames: times, predicted, bytes })
    }

    /// Ends all devices.
    pub async fn stop(self) {
        self.cluster.shutdown().await;
        for worker in self.workers {
            worker.stop().await;
        }
    }
}

const LEADER: &str = "leader";

/// VGG13 or VGG16 for pictures of this side. Its dense layers are left out: in the paper they run on
/// the leader, whatever the partition.
///
/// # Errors
/// When there is no such network.
pub fn network(depth: u32, size: u32) -> Result<Vgg, Exit> {
    let network = Vgg::new(depth).ok_or_else(|| failed(format_args!("there is no VGG{depth}")))?;
    Ok(network.size(size).without_dense())
}
