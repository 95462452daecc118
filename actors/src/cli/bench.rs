//! `edgeld bench local`: times a model on this machine, as a whole and layer by layer.
//!
//! The layers add up to a little more than the whole, where a sum is computed together with its
//! convolution.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use clap::{Args, Subcommand};
use edgeld::{Pool, panic_text};
use edgeld_runtime::cost::{LayerKind, Work, graph_flops};
use edgeld_runtime::exec::Prepared;
use edgeld_runtime::graph::{Graph, LayerId};
use edgeld_runtime::kernel::{Isa, KernelKind, Scratch, Setup};
use edgeld_runtime::plan::Plan;
use edgeld_runtime::units::{Bytes, Ms};

use super::args::{KernelArgs, MachineArgs, ModelArgs, count};
use super::events::{Bench, BenchLayer, Times};
use super::exit::Exit;
#[cfg(feature = "paper")]
use super::paper::PaperArgs;
use super::report::Report;
use super::stage_times::{FrameTimes, bug, inputs, prepare, stage_per_layer, time_frame};
use super::tables;
use super::workload;

/// Warm-up runs before the measured ones.
const WARMUP: usize = 2;

const EXAMPLES: &str = "\
Examples:
  edgeld bench local vgg16
  edgeld bench local vgg16 --threads 1 --repeat 20
  edgeld bench local vgg16 --weights f16            with half the memory for weights
  edgeld bench local model.onnx --kernels burn      the reference kernels, for comparison
  edgeld bench paper --out report                   the EdgeLD paper's figures, in ten minutes";

/// Measures models on this machine
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(subcommand)]
    pub target: Target,
}

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum Target {
    Local(LocalArgs),
    #[cfg(feature = "paper")]
    Paper(PaperArgs),
}

/// Times a model on this machine alone, layer by layer
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct LocalArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Number of measured runs, after two warm-up runs.
    #[arg(long, env = "EDGELD_REPEAT", value_name = "R", default_value = "10",
        value_parser = count)]
    repeat: usize,
    #[command(flatten)]
    kernels: KernelArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Times a model.
///
/// # Errors
/// When the model cannot be used, does not fit in memory, or a layer fails.
pub fn local(args: &LocalArgs, report: &Report) -> Result<(), Exit> {
    let weights = args.kernels.weights()?;
    let model = workload::open(&args.model)?;
    report.say(workload::describe(&model));
    let threads = args.machine.threads.unwrap_or_else(Pool::all_cores);
    let pool = Pool::new(threads).map_err(|error| {
        Exit::failed(
            format_args!("cannot start {threads} threads: {error}"),
            "use fewer with --threads",
        )
    })?;
    let pool = pool.paced(args.machine.pace);
    let busy = report.busy("preparing the kernels");
    let alone = Plan { weights, ..Plan::alone(model.graph.layers().len() as u32) };
    let setup = Setup {
        isa: args.machine.isa.unwrap_or_else(Isa::detect),
        memory: args.machine.memory,
        ..Setup::from(KernelKind::from(args.kernels.kernels))
    };
    let whole = prepare(&model, &alone, setup, None)?;
    let per_layer = Plan { weights, ..stage_per_layer(&model.graph) };
    let layers = prepare(&model, &per_layer, setup, Some(&whole.kernels))?;
    drop(busy);
    let bar = report.frames(2 * (WARMUP + args.repeat) as u64);
    let inputs = inputs(&model.graph);
    let mut scratch = Scratch::new();
    let mut time = |prepared: &Arc<Prepared>| -> Result<Vec<FrameTimes>, Exit> {
        let mut times = Vec::new();
        for round in 0..WARMUP + args.repeat {
            let frame = || time_frame(prepared, &inputs, &mut scratch, &pool);
            let timed = catch_unwind(AssertUnwindSafe(frame));
            let frame = timed.map_err(|panic| bug(panic_text(&*panic)))??;
            bar.step();
            if round >= WARMUP {
                times.push(frame);
            }
        }
        Ok(times)
    };
    let totals: Vec<Ms> = time(&whole)?.iter().map(|frame| frame.total).collect();
    let each = time(&layers)?;
    drop(bar);
    print(&layers, args, threads, (&totals, &each), report)
}

fn print(
    prepared: &Prepared,
    args: &LocalArgs,
    threads: usize,
    (totals, each): (&[Ms], &[FrameTimes]),
    report: &Report,
) -> Result<(), Exit> {
    let graph = &prepared.graph;
    let Some(total_ms) = Times::of(totals) else {
        return Err(Exit::usage("nothing was measured", "use --repeat 1 or more"));
    };
    let rate = |flops: f64, time: Ms| flops / (time.0 * 1e6);
    let layers = graph
        .layer_ids()
        .map(|id| {
            let layer = graph.layer(id);
            let times: Vec<Ms> = each.iter().map(|frame| frame.stages[id.index()]).collect();
            let ms = Times::of(&times).map_or(Ms::ZERO, |times| times.median);
            BenchLayer {
                name: &layer.name,
                op: op_name(graph, id),
                algorithm: prepared.kernels.algorithm(id),
                ms,
                gflops: rate(Work::of(graph, id, graph.output_shape(id).region()).flops, ms),
            }
        })
        .collect();
    let bench = Bench {
        model: graph.name(),
        threads,
        kernels: args.kernels.kernels.name(),
        weights: prepared.program.weights.to_string(),
        isa: args.machine.isa.unwrap_or_else(Isa::detect).to_string(),
        total_ms,
        gflops: rate(graph_flops(graph).0, total_ms.median),
        peak_rss_bytes: peak_rss(),
        layers,
    };
    report.emit(&bench)?;
    report.result_table(tables::layer_times(&bench.layers, total_ms.median))?;
    report.result(format_args!(
        "{} (median of {}; {} to {}), {:.1} GFLOP/s on {threads} threads, {} kernels, {} weights, {}; peak memory {}",
        total_ms.median,
        totals.len(),
        total_ms.min,
        total_ms.max,
        bench.gflops,
        bench.kernels,
        bench.weights,
        bench.isa,
        Bytes(bench.peak_rss_bytes),
    ))
}

/// The operator's name; for convolutions, their kind.
fn op_name(graph: &Graph, layer: LayerId) -> &'static str {
    match LayerKind::of(graph, layer) {
        LayerKind::Dense => "dense",
        LayerKind::Depthwise => "depthwise",
        _ => graph.layer(layer).op.name(),
    }
}

/// Peak resident memory of this process, in bytes; 0 if the system does not report it.
fn peak_rss() -> u64 {
    // getrusage would include the process image from before exec.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kilobytes.map_or_else(peak_by_usage, |kilobytes: u64| kilobytes * 1024)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn peak_by_usage() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: getrusage writes to the struct it is given; all zeros is a valid initial value.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit
}

#[cfg(not(all(unix, not(target_os = "linux"))))]
fn peak_by_usage() -> u64 {
    0
}
