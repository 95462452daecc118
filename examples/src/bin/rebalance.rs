//! A device joins, one slows down: the rows move, and frames never stop.
//!
//! Workers are processes of their own here (this program, started with other arguments), so that
//! one of them can be slowed from outside: it is stopped and continued by turns.

use std::error::Error;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use edgeld::{Cluster, Event, Input, LoadOptions, Model, PlanInfo, Reason, Source, Worker};
use edgeld_examples::{on_loopback, own_cluster, shares};
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::solve::Policy;
use tokio::sync::mpsc::UnboundedReceiver;

/// How long a change may take to show as a plan.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [name, cluster, homes] = arguments.as_slice() {
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        let options = on_loopback(name, cluster, Path::new(homes));
        let _worker = Worker::start(options, events).await?;
        return std::future::pending().await;
    }
    let homes = tempfile::tempdir()?;
    let _attic = Neighbour::start("attic", homes.path())?;
    let cluster = Cluster::builder()
        .name(own_cluster())
        .device_name("you")
        .home(homes.path().join("you"))
        .threads(1)
        .devices(2)
        .discover()
        .await?;
    let source = Source::from(models::open("vgg11?size=96&classes=10", &Options::default())?);
    let policy = Policy { spread: true, ..Policy::default() };
    let options = LoadOptions { policy, ..LoadOptions::default() };
    let model = cluster.load_with(source, options).await?;
    let mut frames = Frames { events: model.subscribe(), model, answered: 0 };
    println!("at first:     {}", shares(&frames.model.plan(), &cluster.devices()));

    let cellar = Neighbour::start("cellar", homes.path())?;
    let plan = frames.until(Reason::Joined).await?;
    println!("cellar joins: {}", shares(&plan, &cluster.devices()));

    let slowed = cellar.slowed();
    let plan = tokio::select! {
        plan = frames.until(Reason::Slower) => plan?,
        stopped = slowed => return Err(stopped.into()),
    };
    println!("and slows:    {}", shares(&plan, &cluster.devices()));
    println!("{} frames, all answered", frames.answered);
    drop(frames);
    cluster.shutdown().await;
    Ok(())
}

/// One inference after the other.
struct Frames {
    model: Model,
    events: UnboundedReceiver<Event>,
    answered: u32,
}

impl Frames {
    /// Until there is a plan for this reason.
    async fn until(&mut self, reason: Reason) -> Result<std::sync::Arc<PlanInfo>, Box<dyn Error>> {
        let input = [Input::from(vec![128u8; 3 * 96 * 96])];
        let frames = async {
            loop {
                self.model.infer(&input).await?;
                self.answered += 1;
                while let Ok(event) = self.events.try_recv() {
                    match event {
                        Event::Plan(plan) if plan.reason == reason => return Ok(plan),
                        _ => {}
                    }
                }
            }
        };
        let late = |_| format!("no plan for {reason:?} within {PATIENCE:?}");
        tokio::time::timeout(PATIENCE, frames).await.map_err(late)?
    }
}

/// A worker in a process of its own, killed when dropped.
struct Neighbour(Child);

impl Neighbour {
    fn start(name: &str, homes: &Path) -> Result<Neighbour, std::io::Error> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(name).arg(own_cluster()).arg(homes).stdout(Stdio::null());
        command.spawn().map(Neighbour)
    }

    /// Lets it run a fifth of the time for as long as this is polled; ends only with an error.
    #[cfg(unix)]
    async fn slowed(&self) -> std::io::Error {
        use rustix::process::{Pid, Signal, kill_process};
        let process = Pid::from_child(&self.0);
        loop {
            for (signal, millis) in [(Signal::STOP, 16), (Signal::CONT, 4)] {
                if let Err(error) = kill_process(process, signal) {
                    return error.into();
                }
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
        }
    }

    #[cfg(not(unix))]
    async fn slowed(&self) -> std::io::Error {
        std::io::Error::other("this system cannot stop and continue processes")
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // Where it has ended already there is nothing to kill and nothing to wait for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
