//! `edgeld worker`: offers this machine.

use std::net::SocketAddr;

use clap::Args;
use console::style;
use edgeld::{Worker, WorkerEvent, WorkerOptions};
use tokio::sync::mpsc;

use super::args::{MachineArgs, MembershipArgs};
use super::events;
use super::exit::Exit;
use super::report::Report;
use super::signal::{self, Signal};

const EXAMPLES: &str = "\
Examples:
  edgeld worker                              on this machine only: for trying things out
  edgeld worker --key cluster.key            for leaders on the LAN that have the key
  edgeld worker --listen 192.168.1.20:7070 --key cluster.key --name kitchen
  edgeld worker --insecure                   for every leader on the LAN; nothing is encrypted
  edgeld worker --threads 2 --memory 1G      leaves the rest of the machine alone
  edgeld worker --pace 0.3                   computes 30 % of the time

Leaders find it over multicast DNS (_edgeld._tcp), or by `--peer HOST:PORT` where multicast does
not pass. It needs no model: what it has to compute is sent to it, and kept for the next time.";

/// Offers this machine to the leaders of its cluster
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WorkerArgs {
    /// Name for people [default: the host's].
    #[arg(long, env = "EDGELD_NAME", value_name = "NAME")]
    name: Option<String>,
    /// Where to listen; port 0 is any free one [default: port 7070 or the next free one, on
    /// loopback, or with --key or --insecure on all interfaces].
    #[arg(long, env = "EDGELD_LISTEN", value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    membership: MembershipArgs,
}

/// Serves until a signal comes.
///
/// # Errors
/// When it cannot start, or it was interrupted.
pub async fn worker(args: WorkerArgs, report: &Report) -> Result<(), Exit> {
    let open = args.membership.insecure || args.membership.key.is_some();
    let options = WorkerOptions {
        name: args.name,
        listen: args.listen,
        threads: args.machine.threads,
        pace: args.machine.pace,
        memory: args.machine.memory,
        isa: args.machine.isa,
        cluster: args.membership.cluster,
        key_file: args.membership.key,
        insecure: args.membership.insecure,
        mdns: !args.membership.no_mdns,
        ..WorkerOptions::default()
    };
    let (sender, mut events) = mpsc::unbounded_channel();
    let serving = async {
        let worker = Worker::start(options, sender).await?;
        let stopped_by = signal::wait().await;
        report.say("leaving once the frames in flight are done; another signal ends it at once");
        tokio::select! {
            () = worker.stop() => {}
            _ = signal::wait() => {}
        }
        Ok(stopped_by)
    };
    let telling = async {
        while let Some(event) = events.recv().await {
            tell(&event, open, report)?;
        }
        Ok(())
    };
    // Whoever reads its events and goes away does not stop a worker.
    let (served, _told): (Result<Signal, Exit>, Result<(), Exit>) = tokio::join!(serving, telling);
    match served? {
        Signal::Interrupt => Err(Exit::interrupted()),
        Signal::Terminate => Ok(()),
    }
}

fn tell(event: &WorkerEvent, open: bool, report: &Report) -> Result<(), Exit> {
    match event {
        WorkerEvent::Listening { id, name, address, version } => {
            let name_shown = style(name).for_stderr().bold();
            report.say(format_args!("{name_shown} listens on {address} (edgeld {version})"));
            if !open && address.ip().is_loopback() {
                report.say(
                    "only this machine reaches it: offering it to a network takes --key, or \
                     --insecure where anyone may use it",
                );
            }
            let id = id.to_string();
            report.emit(&events::Listening { id, name, address: *address, version })
        }
        WorkerEvent::Session { leader } => {
            report.say(format_args!("{leader} leads a session"));
            report.emit(&events::Session { leader })
        }
        WorkerEvent::Program { generation, stages } => {
            report.say(format_args!("plan {}: a share of {stages} stages", generation.0));
            report.emit(&events::Program { generation: *generation, stages: *stages })
        }
        WorkerEvent::SessionClosed { leader, reason } => {
            report.say(format_args!("the session of {leader} ended: {reason}"));
            report.emit(&events::SessionClosed { leader, reason })
        }
    }
}
