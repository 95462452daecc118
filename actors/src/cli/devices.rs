//! `edgeld devices`: lists and measures the devices on the LAN.

use clap::Args;
use edgeld::{Builder, Cluster};

use super::args::{ClusterArgs, KernelArgs, MachineArgs};
use super::events;
use super::exit::Exit;
use super::report::Report;
use super::tables;

const EXAMPLES: &str = "\
Examples:
  edgeld devices                              workers on this machine
  edgeld devices --key cluster.key            workers on the LAN that have the key
  edgeld devices --devices 5 --wait 10        exit 4 if there are fewer than 5
  edgeld devices --peer 192.168.1.20:7070 --key cluster.key";

/// Lists and measures the devices on the LAN
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DevicesArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the command.
///
/// # Errors
/// When there are fewer devices than asked for.
pub async fn devices(args: DevicesArgs, report: &Report) -> Result<(), Exit> {
    let busy = report.busy("looking for devices");
    let cluster = leader(&args.cluster).discover().await?;
    drop(busy);
    let devices = cluster.devices();
    report.emit(&events::Cluster { devices: &devices })?;
    report.result_table(tables::devices(&devices))?;
    cluster.shutdown().await;
    Ok(())
}

/// A builder with the flags about membership applied.
pub fn leader(args: &ClusterArgs) -> Builder {
    let mut builder = Cluster::builder()
        .name(&args.membership.cluster)
        .mdns(!args.membership.no_mdns)
        .insecure(args.membership.insecure);
    if let Some(devices) = args.devices {
        builder = builder.devices(devices);
    }
    if let Some(wait) = args.wait {
        builder = builder.wait(wait);
    }
    if let Some(file) = &args.membership.key {
        builder = builder.key_file(file);
    }
    if args.alone {
        builder = builder.alone();
    }
    args.peer.iter().fold(builder, Builder::peer)
}

/// Applies the flags about this machine.
pub fn machine(builder: Builder, machine: &MachineArgs, kernels: &KernelArgs) -> Builder {
    let mut builder = builder.kernels(kernels.kernels.into()).pace(machine.pace);
    if let Some(threads) = machine.threads {
        builder = builder.threads(threads);
    }
    if let Some(isa) = machine.isa {
        builder = builder.isa(isa);
    }
    if let Some(memory) = machine.memory {
        builder = builder.memory(memory);
    }
    builder
}
