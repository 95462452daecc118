//! `edgeld pair`: a device joins a cluster by a code.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use console::style;
use edgeld::pairing::{Code, Host, PairError, join};
use edgeld::transport::ClusterKey;

use super::args::{host_and_port, name, seconds};
use super::events;
use super::exit::Exit;
use super::report::Report;

/// How long a code is shown, or a device that shows one is looked for.
const PATIENCE: Duration = Duration::from_secs(300);

const EXAMPLES: &str = "\
Examples:
  edgeld pair --key cluster.key              on a device of the cluster: shows a code; makes the
                                             key if the file does not exist
  edgeld pair 481-920 --key cluster.key      on the new device: writes the key to that file
  edgeld pair 481-920 --peer 192.168.1.20:40123 --key cluster.key
                                             where multicast does not pass

Three wrong codes end it. Who listens learns nothing of the key.";

/// Joins a device to a cluster by a code, shown on one and typed on the other
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PairArgs {
    /// The code that the other device shows; without it this device shows one.
    #[arg(value_name = "CODE")]
    code: Option<Code>,
    /// The cluster's key: read to show a code, written by the device that types it.
    #[arg(long, env = "EDGELD_KEY", value_name = "FILE", default_value = "cluster.key")]
    key: PathBuf,
    /// Name of the cluster, for the other device.
    #[arg(long, env = "EDGELD_CLUSTER", value_name = "NAME", default_value = edgeld::DEFAULT_CLUSTER,
        value_parser = name)]
    cluster: String,
    /// Where to listen while a code is shown.
    #[arg(long, env = "EDGELD_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:0")]
    listen: SocketAddr,
    /// The device that shows the code, where multicast does not reach it.
    #[arg(long, env = "EDGELD_PEER", value_name = "HOST:PORT", value_parser = host_and_port)]
    peer: Option<String>,
    /// How long to wait for the other device, in seconds [default: 300].
    #[arg(long, env = "EDGELD_WAIT", value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
    /// Neither announce nor look for anything over multicast DNS.
    #[arg(long, env = "EDGELD_NO_MDNS", value_parser = clap::builder::FalseyValueParser::new())]
    no_mdns: bool,
}

/// Shows a code, or takes one.
///
/// # Errors
/// When the code is wrong, nobody comes, or the key cannot be read or written.
pub async fn pair(args: &PairArgs, report: &Report) -> Result<(), Exit> {
    let patience = args.wait.unwrap_or(PATIENCE);
    match &args.code {
        None => show(args, patience, report).await,
        Some(code) => take(args, code, patience, report).await,
    }
}

async fn show(args: &PairArgs, patience: Duration, report: &Report) -> Result<(), Exit> {
    let key = key(&args.key, report)?;
    let host = Host::open(key, &args.cluster, args.listen, !args.no_mdns).await?;
    let (code, address) = (host.code().to_string(), host.address());
    report.say(format_args!(
        "on the other device: {}",
        style(format_args!("edgeld pair {code}")).for_stderr().bold()
    ));
    report.emit(&events::Pairing { code: &code, address })?;
    let busy = report.busy("waiting for the other device");
    let paired = host.pair(patience).await?;
    drop(busy);
    report.emit(&events::Paired {
        device: Some(&paired.name),
        cluster: &args.cluster,
        key: None,
    })?;
    report.result(format_args!("{} has the key now", paired.name))
}

/// The key in a file, or a new one.
fn key(file: &Path, report: &Report) -> Result<ClusterKey, Exit> {
    if !file.exists() {
        let key = ClusterKey::generate().map_err(|error| Exit::key(&error))?;
        key.write(file).map_err(|error| Exit::key(&error))?;
        report.say(format_args!("made a new key in {}", file.display()));
    }
    ClusterKey::read(file).map_err(|error| Exit::key(&error))
}

async fn take(
    args: &PairArgs,
    code: &Code,
    patience: Duration,
    report: &Report,
) -> Result<(), Exit> {
    if args.key.exists() {
        let there =
            format!("{} exists already, and keys are never overwritten", args.key.display());
        return Err(Exit::usage(there, "move it away, or choose another file with --key"));
    }
    if args.no_mdns && args.peer.is_none() {
        let what = "without multicast DNS the other device cannot be found";
        return Err(Exit::usage(what, "say where it is with --peer HOST:PORT"));
    }
    let busy = report.busy("looking for the device that shows the code");
    let name = gethostname::gethostname().to_string_lossy().into_owned();
    let joined = join(code, &name, args.peer.as_deref(), patience).await?;
    drop(busy);
    joined.key.write(&args.key).map_err(|error| Exit::key(&error))?;
    report.emit(&events::Paired {
        device: None,
        cluster: &joined.cluster,
        key: Some(&args.key),
    })?;
    let file = args.key.display();
    let named = match joined.cluster == edgeld::DEFAULT_CLUSTER {
        true => String::new(),
        false => format!(" --cluster {}", joined.cluster),
    };
    report.result(format_args!("{file} has the key; start: edgeld worker --key {file}{named}"))
}

impl From<PairError> for Exit {
    fn from(error: PairError) -> Exit {
        match error {
            PairError::Code(_) => Exit::usage(error, "type it as the other device shows it"),
            PairError::WrongCode => {
                Exit::cluster(error, "type it as the other device shows it; it allows three tries")
            }
            PairError::Guesses => Exit::cluster(error, "start it again, with a new code"),
            PairError::Nobody(_) => Exit::cluster(
                error,
                "run `edgeld pair` on the other device, and --peer HOST:PORT where multicast does not pass",
            ),
            PairError::Other(_) | PairError::Network(_) => Exit::cluster(
                error,
                "is it `edgeld pair` of the same version, and no firewall between?",
            ),
            PairError::Failed(_) => Exit::failed(error, "rerun with RUST_LOG=debug to see the log"),
        }
    }
}
