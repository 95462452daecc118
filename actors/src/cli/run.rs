//! `edgeld run`: answers.

use std::path::{Path, PathBuf};
use std::pin::pin;

use clap::Args;
use clap::builder::FalseyValueParser;
use console::style;
use edgeld::input::{Origin, write_npy};
use edgeld::task::NamedClass;
use edgeld::{Answer, Input};
use edgeld::{Cluster, InferError, LoadOptions, Model, Source};
use edgeld_runtime::plan::InFlight;
use futures_util::stream::{self, StreamExt};

use super::answers::{Tally, frame_event};
use super::args::{ClusterArgs, KernelArgs, MachineArgs, ModelArgs, PictureArgs, PlanArgs, count};
use super::devices::{leader, machine};
use super::event_printer::EventPrinter;
use super::events::{Frame, Summary};
use super::exit::Exit;
use super::report::Report;
use super::task::{Reader, TaskArgs};
use super::trace_file::TraceFile;
use super::workload::{self, FrameInputs, Workload};

/// Frames that overlap are submitted this far ahead, so that none of them waits for this command.
const AHEAD: usize = 2 * InFlight::MAX.frames() as usize;

const EXAMPLES: &str = "\
Examples:
  edgeld run model.onnx cat.png --preset imagenet --labels labels.txt
  edgeld run yolo.onnx street.jpg --task detect --draw boxes.png
                                                     objects, and a picture with their boxes
  edgeld run vgg16 random:1                          a built-in network, made-up pixels
  edgeld run vgg16 random:1 --devices 4 --compare    with three others; faster than alone?
  edgeld run model.onnx a.npy b.npy --save out       writes out/frame0_output0.npy and so on
  edgeld run vgg16 random:1 --wire f16 --weights f16 --compare
                                                     what halves gain, and what they cost
  edgeld run vgg16 random:1 --spread --explain       every device gets a share, and says why
  edgeld run vgg16 random:1 --trace trace.json       what each device did when; open it in
                                                     ui.perfetto.dev or chrome://tracing
  edgeld run vgg16 random:1 --repeat 50 --in-flight 3
                                                     three frames at once: more a second
  edgeld run vgg16 random:1 --repeat 50 --objective throughput
                                                     whole frames on every device: most a second
  edgeld run vgg16 random:1 --partition ocbp --exchange leader --leader-idle
                                                     as the EdgeLD paper does it

Devices offer themselves with `edgeld worker`. Without --devices it takes what it finds within two
seconds and answers in any case, alone if need be.";

/// Runs a model on inputs, split over the devices that are there
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Pictures (png, jpeg), .npy arrays of the model's input shape, or random:SEED.
    #[arg(value_name = "INPUT", required = true)]
    inputs: Vec<Origin>,
    #[command(flatten)]
    work: WorkArgs,
    #[command(flatten)]
    pictures: PictureArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    kernels: KernelArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// How often, and what to do with the answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Work")]
struct WorkArgs {
    /// Run each input this many times.
    #[arg(long, env = "EDGELD_REPEAT", value_name = "R", default_value = "1",
        value_parser = count)]
    repeat: usize,
    /// Run each input this many times before all that, without showing it.
    #[arg(long, env = "EDGELD_WARMUP", value_name = "W", default_value_t = 0)]
    warmup: u16,
    /// First run the model whole on this machine, and compare. That run has weights of f32, so that
    /// what --wire f16 and --weights f16 cost in precision shows.
    #[arg(long, env = "EDGELD_COMPARE", value_parser = FalseyValueParser::new())]
    compare: bool,
    /// Write every output to this directory, as frame0_output0.npy and so on.
    #[arg(long, env = "EDGELD_SAVE", value_name = "DIR")]
    save: Option<PathBuf>,
    /// Say why each device got what it got, and what another device or faster links would bring.
    #[arg(long, env = "EDGELD_EXPLAIN", value_parser = FalseyValueParser::new())]
    explain: bool,
    /// Write what each device did when to this file, with aligned clocks, for ui.perfetto.dev and
    /// chrome://tracing. Warm-up frames are in it, the run of --compare is not.
    #[arg(long, env = "EDGELD_TRACE", value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// Answers.
///
/// # Errors
/// When the model or an input is refused, the cluster is not there, or a frame has no answer.
pub async fn run(args: RunArgs, report: &Report) -> Result<(), Exit> {
    let policy = args.plan.policy(&args.kernels)?;
    let model = workload::open_for(&args.model, &args.inputs)?;
    let frames = args.inputs.len() / model.graph.inputs().len().max(1);
    let (reader, framing) = args.task.reader(&model, &args.pictures, frames)?;
    let workload = Workload::read(&model, &args.inputs, &args.pictures, framing)?;
    if let Some(folder) = &args.work.save {
        std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    }
    let trace = args.work.trace.as_deref().map(TraceFile::create).transpose()?;
    report.emit(&workload::model_event(&model))?;
    report.say(workload::describe(&model));

    let busy = report.busy("looking for devices");
    let builder = machine(leader(&args.cluster), &args.machine, &args.kernels);
    let cluster = builder.discover().await?;
    drop(busy);
    let mut watch = EventPrinter::new(report, args.work.explain).with_trace(trace);
    let mut events = cluster.subscribe();

    let source = workload.source(&model);
    let mut tally = Tally::default();
    let references = match args.work.compare {
        false => Vec::new(),
        true => {
            let alone = run_alone(&cluster, &source, &workload, &args.work, &mut tally, report);
            watch.during(&mut events, alone).await??
        }
    };

    let (warmup, repeat) = (usize::from(args.work.warmup), args.work.repeat);
    let total = ((warmup + repeat) * workload.frames.len()) as u64;
    let options = LoadOptions {
        frames: Some(total),
        policy,
        explain: args.work.explain,
        trace: args.work.trace.is_some(),
        ..LoadOptions::default()
    };
    let busy = report.busy("planning, and bringing weights to where they are needed");
    let loaded = watch.during(&mut events, cluster.load_with(source, options)).await??;
    drop((busy, events));
    let mut run = Run { args: &args.work, reader, report, watch, tally, shown: 0 };
    let mut events = loaded.subscribe();
    let bar = report.frames(total);
    let ahead = if policy.overlaps() { AHEAD } else { 1 };
    for (rounds, is_warmup) in [(warmup, true), (repeat, false)] {
        let indexed = workload.frames.iter().enumerate();
        let frames = indexed.flat_map(|frame| std::iter::repeat_n(frame, rounds));
        let answers = stream::iter(frames)
            .map(async |(index, frame)| (index, frame, loaded.infer(&frame.inputs).await));
        let mut answers = pin!(answers.buffered(ahead));
        while let Some((index, frame, answered)) =
            run.watch.during(&mut events, answers.next()).await?
        {
            bar.step();
            match is_warmup {
                true => drop(answered?),
                false => run.answered(frame, answered, references.get(index))?,
            }
        }
    }
    run.watch.finish_trace(&mut events).await?;
    drop(bar);
    let summary = run.tally.summary();
    report.emit(&summary)?;
    report.result(summary_text(&summary))?;
    drop(loaded);
    cluster.shutdown().await;
    match summary.lost {
        0 => Ok(()),
        lost => Err(Exit::failed(
            format_args!("{lost} of {} frames have no answer", lost + summary.frames),
            "see the log with RUST_LOG=debug, or try --alone",
        )),
    }
}

/// The one-device answer to every frame: the model whole on this device, with weights of float32, as
/// often as later split.
async fn run_alone(
    cluster: &Cluster,
    source: &Source,
    workload: &Workload,
    args: &WorkArgs,
    tally: &mut Tally,
    report: &Report,
) -> Result<Vec<Answer>, Exit> {
    let _busy = report.busy("the model whole on this device, to compare with");
    let options = LoadOptions { alone: true, ..LoadOptions::default() };
    let model = cluster.load_with(source.clone(), options).await?;
    let mut references = Vec::new();
    for FrameInputs { inputs, .. } in &workload.frames {
        for _ in 0..args.warmup {
            model.infer(inputs).await?;
        }
        let mut last = one_device(&model, inputs, tally).await?;
        for _ in 1..args.repeat {
            last = one_device(&model, inputs, tally).await?;
        }
        references.push(last);
    }
    Ok(references)
}

async fn one_device(model: &Model, inputs: &[Input], tally: &mut Tally) -> Result<Answer, Exit> {
    let answer = model.infer(inputs).await?;
    tally.alone(answer.total);
    Ok(answer)
}

/// A run in progress.
struct Run<'a> {
    args: &'a WorkArgs,
    reader: Reader,
    report: &'a Report,
    watch: EventPrinter<'a>,
    tally: Tally,
    /// Frames that were shown.
    shown: u64,
}

impl Run<'_> {
    /// Shows, saves and counts what became of a frame. One that is lost is counted, and the next
    /// is tried; anything else that goes wrong ends the run.
    fn answered(
        &mut self,
        frame: &FrameInputs,
        answered: Result<Answer, InferError>,
        reference: Option<&Answer>,
    ) -> Result<(), Exit> {
        self.tally.promised(self.watch.plans());
        let answer = match answered {
            Ok(answer) => answer,
            Err(error @ InferError::Failed { .. }) => {
                self.report.warn(error);
                self.tally.lost();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let mut event = frame_event(self.shown, &frame.name, &answer, self.reader.labels());
        let meaning = self.reader.meaning(self.shown, frame, &answer)?;
        self.reader.tell(&meaning, &mut event);
        self.report.emit(&event)?;
        self.report.result(frame_text(&event))?;
        if let Some(folder) = &self.args.save {
            for (index, output) in answer.outputs.iter().enumerate() {
                let path = folder.join(format!("frame{}_output{index}.npy", self.shown));
                write_npy(&path, output).map_err(|error| unwritable(&path, &error))?;
            }
        }
        self.tally.answered(&answer, reference);
        self.shown += 1;
        Ok(())
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Exit {
    Exit::failed(
        format_args!("{}: {error}", path.display()),
        "choose a directory that can be written with --save",
    )
}

/// An answer for people: a line, and one more for classes, for every object, or for every output
/// with scores.
pub fn frame_text(frame: &Frame<'_>) -> String {
    let mut text = format!(
        "{}  {}  (plan {}, {} moved)",
        style(frame.input).bold(),
        frame.total_ms,
        frame.generation.0,
        frame.bytes_moved,
    );
    if let Some(classes) = &frame.classes {
        let name = |class: &NamedClass<'_>| match class.label {
            Some(label) => format!("{label} {:.1} %", class.probability * 100.0),
            None => format!("#{} {:.1} %", class.index, class.probability * 100.0),
        };
        let classes: Vec<String> = classes.iter().map(name).collect();
        text.push_str(&format!("\n  {}", classes.join(", ")));
        return text;
    }
    if let Some(detections) = &frame.detections {
        if detections.is_empty() {
            text.push_str("\n  nothing found");
        }
        for one in detections {
            let label = one.label.map_or_else(|| format!("#{}", one.class), str::to_owned);
            let [left, top, right, bottom] = one.bounds.map(f32::round);
            let (score, bounds) = (one.score * 100.0, format!("{left},{top} to {right},{bottom}"));
            text.push_str(&format!("\n  {label} {score:.1} % at {bounds}"));
        }
        return text;
    }
    for output in &frame.outputs {
        let scores: Vec<String> = output
            .top
            .iter()
            .map(|score| match score.label {
                Some(label) => format!("{label} {:.4}", score.score),
                None => format!("#{} {:.4}", score.index, score.score),
            })
            .collect();
        let scores =
            if scores.is_empty() { format!("{:?}", output.shape) } else { scores.join(", ") };
        text.push_str(&format!("\n  {}: {scores}", output.name));
    }
    text
}

/// A summary for people.
pub fn summary_text(summary: &Summary) -> String {
    let mut text = format!("{} frames, {} lost", summary.frames, summary.lost);
    if summary.retried > 0 {
        text.push_str(&format!(", {} begun anew after a loss", summary.retried));
    }
    if let Some(total) = summary.total_ms {
        text.push_str(&format!("; {} (median; {} to {})", total.median, total.min, total.max));
    }
    if let Some(rate) = summary.frames_per_second {
        text.push_str(&format!("; {rate:.2} frames a second"));
    }
    if let Some(error) = summary.prediction_error {
        text.push_str(&format!(", {:.0} % off the prediction", error * 100.0));
    }
    if let (Some(alone), Some(speedup)) = (summary.alone_ms, summary.speedup) {
        text.push_str(&format!("\nalone {}: {speedup:.2} times as fast", alone.median));
    }
    if let (Some(difference), Some(scale)) = (summary.max_abs_diff, summary.max_abs) {
        text.push_str(&format!(
            "\nlargest difference from the one-device answer: {difference:.3e} of {scale:.3e}"
        ));
    }
    text
}
