//! `edgeld man`: manual pages.

use std::fs;
use std::path::PathBuf;

use clap::{Args, Command};

use super::exit::Exit;
use super::report::Report;

const EXAMPLES: &str = "\
Examples:
  edgeld man --out /usr/local/share/man/man1
  edgeld man --out pages && man ./pages/edgeld-worker.1";

/// Writes manual pages, one for each command
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ManArgs {
    /// Their folder.
    #[arg(long, env = "EDGELD_OUT", value_name = "DIR")]
    out: PathBuf,
}

/// Writes those of this command line.
///
/// # Errors
/// When the folder cannot be written.
pub fn man(args: &ManArgs, command: Command, report: &Report) -> Result<(), Exit> {
    let written =
        fs::create_dir_all(&args.out).and_then(|()| clap_mangen::generate_to(command, &args.out));
    written.map_err(|error| {
        let folder = args.out.display();
        Exit::failed(format_args!("{folder}: {error}"), "give --out a folder that can be written")
    })?;
    report.result(format_args!("the pages are in {}", args.out.display()))
}
