//! `edgeld bench local`: times a model on this machine, as a whole and layer by layer.
//!
//! The layers add up to a little more than the whole, where a sum is computed together with its
//! convolution.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, Subcommand};
use edgeld::{Pool, panic_text};
use edgeld_runtime::cost::{LayerKind, Work, graph_flops};
use edgeld_runtime::exec::{Frame, Input, Prepared, Progress};
use edgeld_runtime::graph::{Graph, LayerId};
use edgeld_runtime::kernel::{Isa, Kernels, Scratch, Setup, Threads};
use edgeld_runtime::models::Model;
use edgeld_runtime::plan::{DeviceIx, Generation, Plan, Split, Stage};
use edgeld_runtime::program::{Encoding, derive};
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::SessionId;

use super::args::{KernelArgs, MachineArgs, ModelArgs, count};
use super::events::{Bench, BenchLayer, Times};
use super::exit::Exit;
use super::report::Report;
use super::tables;
use super::workload;

/// Warm-up runs before the measured ones.
const WARMUP: usize = 2;

const EXAMPLES: &str = "\
Examples:
  edgeld bench local vgg16
  edgeld bench local vgg16 --threads 1 --repeat 20
  edgeld bench local vgg16 --weights f16            with half the memory for weights
  edgeld bench local model.onnx --kernels burn      the reference kernels, for comparison";

/// Measures models on this machine
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    #[command(subcommand)]
    target: Target,
}

#[derive(Debug, Subcommand)]
enum Target {
    Local(LocalArgs),
}

/// Times a model on this machine alone, layer by layer
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct LocalArgs {
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

/// Runs the command.
///
/// # Errors
/// When the model cannot be used, does not fit in memory, or a layer fails.
pub fn bench(args: BenchArgs, report: &Report) -> Result<(), Exit> {
    let Target::Local(args) = args.target;
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
    let whole = prepare(&model, &args, &alone, None)?;
    let per_layer = Plan { weights, ..stage_per_layer(&model.graph) };
    let layers = prepare(&model, &args, &per_layer, Some(&whole.kernels))?;
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
    print(&layers, &args, threads, (&totals, &each), report)
}

/// A plan with one stage per layer, so that each layer can be timed.
fn stage_per_layer(graph: &Graph) -> Plan {
    let stage = |layer: LayerId| Stage {
        layers: layer.0..layer.0 + 1,
        split: Split::Whole(DeviceIx::LEADER),
    };
    Plan::new(1, graph.layer_ids().map(stage).collect())
}

/// Prepares a plan as a worker does; packed weights are shared with `previous`.
fn prepare(
    model: &Model,
    args: &LocalArgs,
    plan: &Plan,
    previous: Option<&Kernels>,
) -> Result<Arc<Prepared>, Exit> {
    let graph = &model.graph;
    let derivation = derive(graph, plan).map_err(bug)?;
    let program = derivation.programs.into_iter().next();
    let program = program.ok_or_else(|| bug("the plan has no program"))?;
    let setup = Setup {
        kind: args.kernels.kernels.into(),
        isa: args.machine.isa.unwrap_or_else(Isa::detect),
        memory: args.machine.memory,
        reuse: false,
        weights: program.weights,
    };
    let regions = program.regions(graph);
    let kernels = Kernels::prepare(graph, &regions, &*model.weights, setup, previous.as_slice());
    let kernels = kernels.map_err(bug)?;
    Ok(Arc::new(Prepared::new(
        (SessionId(0), Generation(0)),
        Arc::clone(graph),
        vec![Encoding::F32; graph.inputs().len()],
        program,
        derivation.transfers.into(),
        kernels,
    )))
}

/// Arbitrary inputs: speed does not depend on them, as long as they are ordinary numbers.
fn inputs(graph: &Graph) -> Vec<Input> {
    let value = |index: u64| (index % 251) as f32 / 125.0 - 1.0;
    graph
        .inputs()
        .iter()
        .map(|port| graph.shape(port.tensor).elements())
        .map(|count| Input::from((0..count).map(value).collect::<Vec<f32>>()))
        .collect()
}

fn bug(what: impl std::fmt::Display) -> Exit {
    Exit::failed(what, "please report this bug; --kernels burn may work")
}

/// The time of one frame, in total and by layer.
struct FrameTimes {
    total: Ms,
    layers: Vec<Ms>,
}

fn time_frame(
    prepared: &Arc<Prepared>,
    inputs: &[Input],
    scratch: &mut Scratch,
    threads: &dyn Threads,
) -> Result<FrameTimes, Exit> {
    let mut frame = Frame::new(Arc::clone(prepared), 0);
    let mut layers = vec![Ms::ZERO; prepared.graph.layers().len()];
    let began = Instant::now();
    frame.begin(inputs).map_err(bug)?;
    loop {
        let step = Instant::now();
        match frame.advance(scratch, threads).map_err(bug)? {
            Progress::Computed { stage } => layers[stage] += Ms::from_duration(step.elapsed()),
            Progress::Finished => break,
            Progress::Output { .. } | Progress::Strip(_) | Progress::Waiting => {}
        }
    }
    Ok(FrameTimes { total: Ms::from_duration(began.elapsed()), layers })
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
            let times: Vec<Ms> = each.iter().map(|frame| frame.layers[id.index()]).collect();
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
