//! `edgeld plan`: plans for a LAN described in a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::FalseyValueParser;
use edgeld::Reason;
use edgeld::{PlanNames, describe};
use edgeld_runtime::cost::{ClusterProfile, DeviceProfile, LinkProfile};
use edgeld_runtime::graph::Graph;
use edgeld_runtime::models::Preset;
use edgeld_runtime::plan::Generation;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::{Problem, explain, solve_lanes, what_if};
use edgeld_runtime::units::{Bytes, Mbps, Ms};
use serde::Deserialize;

use super::args::{KernelArgs, Kernels, ModelArgs, PlanArgs, size};
use super::events;
use super::exit::Exit;
use super::report::Report;
use super::tables;
use super::workload;

const EXAMPLES: &str = r#"Examples:
  edgeld plan vgg16 --lan lan.toml
  edgeld plan vgg16 --lan lan.toml --explain
  edgeld plan vgg16 --lan lan.toml --objective throughput
                                                     a plan for each device: whole frames
  edgeld plan vgg16 --lan lan.toml --partition ocbp --exchange leader --leader-idle

Describe a LAN like this; the first device is the leader:
  [[device]]
  name = "a"
  gflops = 100.0            # convolution speed
  dense_gb_per_s = 10.0     # gigabytes of dense weights read per second
  link_mbps = 1000.0        # goodput of its network interface, full duplex
  latency_ms = 0.3          # per message
  memory_mb = 4096"#;

/// Plans for a LAN described in a file, without using the network
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlanLanArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Description of the LAN, in TOML.
    #[arg(long, env = "EDGELD_LAN", value_name = "FILE")]
    lan: PathBuf,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    kernels: KernelArgs,
    /// Memory that the leader may use, if less than described: 900M, 1.5G, 2GiB.
    #[arg(long, env = "EDGELD_MEMORY", value_name = "SIZE", value_parser = size)]
    memory: Option<Bytes>,
    /// Explain each device's share, what limits the time, the alternatives, and what another device
    /// or faster links would bring.
    #[arg(long, env = "EDGELD_EXPLAIN", value_parser = FalseyValueParser::new())]
    explain: bool,
}

/// A description of a LAN.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lan {
    device: Vec<LanDevice>,
}

/// One of its devices.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LanDevice {
    name: String,
    gflops: f64,
    dense_gb_per_s: f64,
    link_mbps: f64,
    latency_ms: f64,
    memory_mb: f64,
}

/// Runs the command.
///
/// # Errors
/// When the model or the description is invalid, or no plan fits the memory.
pub fn plan(args: PlanLanArgs, report: &Report) -> Result<(), Exit> {
    let policy = args.plan.policy(&args.kernels)?;
    let lan = read(&args.lan)?;
    let model = workload::open(&args.model)?;
    let graph = &model.graph;
    let encodings = encodings(graph);
    let mut profile = lan.profile();
    if let (Some(leader), Some(memory)) = (profile.devices.first_mut(), args.memory) {
        leader.memory = leader.memory.min(memory);
    }
    let problem =
        Problem { graph, encodings: &encodings, profile: &profile, policy, previous: None };
    let lanes = solve_lanes(&problem)
        .map_err(|error| Exit::failed(error, "describe more memory or more devices"))?;
    let names: Vec<String> = lan.device.iter().map(|device| device.name.clone()).collect();
    let plan_names =
        PlanNames { ids: &names, members: &[], exact: args.kernels.kernels == Kernels::Exact };
    let invalid =
        |error| Exit::failed(error, "please report this bug: the planner made an invalid plan");
    let mut outlook = match args.explain {
        true => what_if(&problem, &lanes, &names),
        false => Vec::new(),
    };
    for (lane, generation) in lanes.lanes.iter().zip((1..).map(Generation)) {
        let mut plan = describe(&problem, (lane, &lanes), plan_names, generation, Reason::Start)
            .map_err(invalid)?;
        if args.explain {
            plan.explanation = explain(&problem, &lane.solution, &names).map_err(invalid)?;
            plan.explanation.append(&mut outlook);
        }
        let explanation = args.explain.then_some(plan.explanation.as_slice());
        report.emit(&events::Plan { plan: &plan, explanation })?;
        match tables::whole_frames_on(&plan, &BTreeMap::new()) {
            Some(device) => report.result(format_args!("whole frames on {device}"))?,
            None => report.result_table(tables::plan(&plan, &BTreeMap::new()))?,
        }
        report.result(tables::prediction(&plan))?;
        for line in explanation.unwrap_or_default() {
            report.result(line)?;
        }
    }
    Ok(())
}

/// Pictures are sent as pixels, everything else as values.
fn encodings(graph: &Graph) -> Vec<Encoding> {
    let encoding = |port| match edgeld::input::takes_pictures(port, graph.shape(port.tensor)) {
        true => Preset::Unit.encoding(),
        false => Encoding::F32,
    };
    graph.inputs().iter().map(encoding).collect()
}

fn read(path: &Path) -> Result<Lan, Exit> {
    let invalid = |why: String| {
        Exit::refused(
            format_args!("{}: {why}", path.display()),
            "see the example at the end of `edgeld plan --help`",
        )
    };
    let text = std::fs::read_to_string(path).map_err(|error| invalid(error.to_string()))?;
    let lan: Lan = toml::from_str(&text).map_err(|error| invalid(error.to_string()))?;
    lan.check().map_err(invalid)?;
    Ok(lan)
}

impl Lan {
    fn check(&self) -> Result<(), String> {
        if self.device.is_empty() || self.device.len() > usize::from(u16::MAX) {
            return Err(format!("{} devices; expected 1 to 65535", self.device.len()));
        }
        for (index, device) in self.device.iter().enumerate() {
            let figures = [
                ("gflops", device.gflops),
                ("dense_gb_per_s", device.dense_gb_per_s),
                ("link_mbps", device.link_mbps),
                ("memory_mb", device.memory_mb),
            ];
            if let Some((key, value)) =
                figures.iter().find(|(_, value)| !(*value > 0.0 && *value < 1e9))
            {
                return Err(format!(
                    "device {:?}: {key} = {value}; it must be above 0 and below 1e9",
                    device.name
                ));
            }
            if !(0.0..1e9).contains(&device.latency_ms) {
                let latency = device.latency_ms;
                return Err(format!(
                    "device {:?}: latency_ms = {latency}; it must be at least 0 and below 1e9",
                    device.name
                ));
            }
            if self.device[..index].iter().any(|other| other.name == device.name) {
                return Err(format!("two devices are named {:?}", device.name));
            }
        }
        Ok(())
    }

    fn profile(&self) -> ClusterProfile {
        ClusterProfile::new(self.device.iter().map(|device| {
            let memory = Bytes((device.memory_mb * 1e6) as u64);
            let speed = DeviceProfile::described(device.gflops, device.dense_gb_per_s);
            let link = LinkProfile::described(Mbps(device.link_mbps), Ms(device.latency_ms));
            (speed.with_memory(memory), link)
        }))
    }
}
