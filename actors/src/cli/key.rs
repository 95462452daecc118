//! `edgeld key new`: makes the key of a cluster.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use edgeld::transport::ClusterKey;

use super::events;
use super::exit::Exit;
use super::report::Report;

const EXAMPLES: &str = "\
Examples:
  edgeld key new cluster.key                       a file that only its owner can read
  scp -p cluster.key pi@192.168.1.20:              the same key for every device
  edgeld worker --key cluster.key                  on every device
  edgeld run vgg16 random:1 --key cluster.key
  edgeld key new | ssh pi@192.168.1.20 'umask 077; cat > cluster.key'";

/// Makes the key that a cluster's devices share
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct KeyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(NewArgs),
}

/// Makes a new key
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct NewArgs {
    /// A file to create, for its owner alone; without it the key goes to standard output.
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn key(args: &KeyArgs, report: &Report) -> Result<(), Exit> {
    let Command::New(args) = &args.command;
    let key = ClusterKey::generate().map_err(|error| Exit::key(&error))?;
    let Some(file) = &args.file else {
        let key = key.to_text();
        report.emit(&events::Key { file: None, key: Some(&key) })?;
        return report.result(key);
    };
    key.write(file).map_err(|error| Exit::key(&error))?;
    report.say(format_args!(
        "{} has the cluster's key: copy it to every device, and let nobody else read it",
        file.display()
    ));
    report.emit(&events::Key { file: Some(file), key: None })
}
