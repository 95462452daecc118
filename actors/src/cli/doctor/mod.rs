//! `edgeld doctor`: why something does not work, or would be slow.
//!
//! Each file looks at one thing and judges what it saw apart from looking, so that every complaint
//! is provoked in a test.

mod cluster;
mod finding;
mod machine;
mod network;

use std::path::Path;

use clap::Args;
use console::style;

use super::args::{ClusterArgs, KernelArgs, MachineArgs};
use super::devices::{leader, machine as machine_of};
use super::events;
use super::exit::Exit;
use super::report::Report;
use finding::{Finding, Severity};

const EXAMPLES: &str = "\
Examples:
  edgeld doctor --key cluster.key            this machine, the network, every device found
  edgeld doctor --devices 5 --key cluster.key
                                             complains if there are fewer than five
  edgeld doctor --json | jq 'select(.severity != \"ok\")'

Exit codes: 0 nothing to complain of, 1 there is.";

/// Says why something does not work or is slow, and what mends it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    kernels: KernelArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Looks at everything.
///
/// # Errors
/// When there is something to complain of.
pub async fn doctor(args: &DoctorArgs, report: &Report) -> Result<(), Exit> {
    let mut findings = Vec::new();
    let mut tell = |found: Vec<Finding>| {
        found.iter().try_for_each(|finding| print(finding, report)).map(|()| findings.extend(found))
    };
    tell(machine::findings(Path::new("/"), args.machine.memory))?;
    let membership = &args.cluster.membership;
    tell(network::findings(Path::new("/"), membership))?;
    let busy = report.busy("looking for devices, and measuring them");
    let builder = machine_of(leader(&args.cluster), &args.machine, &args.kernels);
    let found = cluster::findings(builder, &args.cluster).await;
    drop(busy);
    tell(found)?;
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => report.result("nothing to complain of"),
        (errors, warnings) => Err(Exit::failed(
            format_args!("{errors} errors, {warnings} warnings"),
            "each has the command that mends it beside it",
        )),
    }
}

fn print(finding: &Finding, report: &Report) -> Result<(), Exit> {
    report.emit(&events::Finding {
        check: finding.check,
        severity: finding.severity.name(),
        message: &finding.message,
        remedy: finding.remedy.as_deref(),
    })?;
    let mark = match finding.severity {
        Severity::Ok => style("ok     ").green(),
        Severity::Warning => style("warning").yellow().bold(),
        Severity::Error => style("error  ").red().bold(),
    };
    report.result(format_args!("{mark} {:10} {}", finding.check, finding.message))?;
    match &finding.remedy {
        Some(remedy) => report.result(format_args!("{:19}{}", "", style(remedy).cyan())),
        None => Ok(()),
    }
}
