//! `edgeld demo`: the whole thing on this machine alone, told as a story.
//!
//! Three workers start as processes and are found over mDNS, a trained network is split over all
//! of them, and while pictures are classified one worker is slowed down, one killed, one added.
//! Each change has to show as a new plan with its reason, and every answer has to be that of one
//! device.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use console::style;
use edgeld::input::{DEFAULT_CROP, decode_picture};
use edgeld::{Answer, Event, Input, Reason};
use edgeld::{Cluster, LoadOptions, Model, Source};
use edgeld_runtime::models::{self, Options, Preset};
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::Policy;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::answers::{Tally, agree, frame_event, top};
use super::event_printer::EventPrinter;
use super::events;
use super::exit::Exit;
use super::processes::Workers;
use super::report::Report;
use super::run::summary_text;
use super::tables;
use super::workload;

const NETWORK: &[u8] = include_bytes!("../../assets/efficientnet_lite0.onnx");
const LABELS: &str = include_str!("../../assets/imagenet_labels.txt");
const PICTURES: [(&str, &[u8]); 2] = [
    ("coffee.jpg", include_bytes!("../../assets/coffee.jpg")),
    ("chelsea.jpg", include_bytes!("../../assets/chelsea.jpg")),
];

const WORKERS: [&str; 3] = ["attic", "kitchen", "cellar"];
const NEWCOMER: &str = "balcony";

/// How long each change may take to show as a plan.
const PATIENCE: Duration = Duration::from_secs(30);

/// Frames that are run between changes, so that each plan is seen at work.
const CALM: u64 = 8;

/// How long the first plan runs before anything changes. All devices were measured at once on this
/// one machine, each for slower than it is: frames correct that first, with a new plan if need be,
/// and what changes then is the change.
const SETTLING: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  edgeld demo              the story on the terminal; half a minute or so
  edgeld demo --json       the same as JSON lines; the last has \"checked\": true

It stays on this machine: loopback only, temporary directories only, nothing to install.";

/// Shows all of it on this machine alone: workers are found, slowed, killed, added
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {}

/// Shows it.
///
/// # Errors
/// When an answer is not that of one device, or a change does not show in time.
pub async fn demo(report: &Report) -> Result<(), Exit> {
    let folder = tempfile::Builder::new().prefix("edgeld-demo-").tempdir().map_err(|error| {
        Exit::failed(
            format_args!("no temporary directory: {error}"),
            "set TMPDIR to one that can be written",
        )
    })?;
    let random = folder.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut workers = Workers::new(folder.path(), &random);
    let shown = show(folder.path(), &random, &mut workers, report).await;
    shown.map_err(|exit| match workers.last_words() {
        Some(words) => Exit { message: format!("{}; {words}", exit.message), ..exit },
        None => exit,
    })
}

async fn show(
    folder: &Path,
    cluster: &str,
    workers: &mut Workers,
    report: &Report,
) -> Result<(), Exit> {
    heading(report, "Three workers start, each a process of its own, on loopback");
    for name in WORKERS {
        workers.start(name)?;
        report.say(format_args!("  {name}"));
    }

    let stage = Stage::set()?;
    report.emit(&workload::model_event(&stage.model))?;
    report.say(workload::describe(&stage.model));

    heading(report, "They announce themselves over mDNS; this process leads, and measures them");
    let busy = report.busy("looking for devices");
    let cluster = Cluster::builder()
        .name(cluster)
        .device_name("you")
        .devices(1 + WORKERS.len())
        .wait(PATIENCE)
        .threads(1)
        .home(folder.join("leader"))
        .discover()
        .await?;
    drop(busy);
    let mut watch = EventPrinter::new(report, false);
    let mut events = cluster.subscribe();

    heading(report, "First the answer of one device, to compare with");
    let mut tally = Tally::default();
    let options = LoadOptions { alone: true, ..LoadOptions::default() };
    let alone = watch.during(&mut events, cluster.load_with(stage.source(), options)).await??;
    let mut references = Vec::new();
    for (name, pixels) in &stage.pictures {
        // The first run of a network touches its memory for the first time.
        alone.infer(std::slice::from_ref(pixels)).await?;
        let answer = alone.infer(std::slice::from_ref(pixels)).await?;
        tally.alone(answer.total);
        let (label, score) = stage.verdict(&answer)?;
        report.say(format_args!("  {name}: {label}, {score:.2}, in {}", answer.total));
        references.push(answer);
    }
    drop(alone);

    heading(report, "Now the rows are shared out over all of them");
    let policy = Policy { spread: true, ..Policy::default() };
    let options = LoadOptions { policy, ..LoadOptions::default() };
    let model = watch.during(&mut events, cluster.load_with(stage.source(), options)).await??;
    let events = model.subscribe();
    let mut play = Play { stage, model, references, events, watch, tally, report, shown: 0 };
    play.calm(SETTLING).await?;
    if play.workers_with_a_share() < WORKERS.len() {
        return Err(wrong("a worker got no share"));
    }

    heading(report, "kitchen gets slow: from now on it may run a fifth of the time");
    let plans = play.plans();
    workers.slow_down("kitchen")?;
    play.until(plans, Reason::Slower, workers).await?;

    heading(report, "cellar is killed in the middle of a frame");
    let plans = play.plans();
    play.frame_while(async { workers.kill("cellar") }).await?;
    play.until(plans, Reason::Lost, workers).await?;

    heading(report, "balcony joins: frames go on while it is measured and gets its weights");
    let plans = play.plans();
    workers.start(NEWCOMER)?;
    play.until(plans, Reason::Joined, workers).await?;

    let summary = play.tally.summary();
    report.emit(&summary)?;
    report.result(summary_text(&summary))?;
    let (label, score) = play.stage.verdict(&play.references[0])?;
    let found = play.workers_with_a_share();
    let demo = events::Demo {
        workers: found,
        label,
        score,
        frames: summary.frames,
        lost: summary.lost,
        checked: true,
    };
    report.emit(&demo)?;
    report.result(format_args!(
        "coffee.jpg shows: {label} ({score:.2}). {} answers of {found} workers and you, all \
         checked, all right.",
        summary.frames
    ))?;
    let Play { model, .. } = play;
    drop(model);
    cluster.shutdown().await;
    Ok(())
}

fn heading(report: &Report, text: &str) {
    report.say(format_args!("\n{}", style(text).for_stderr().cyan().bold()));
}

/// What is played with: the network, pictures, labels.
struct Stage {
    model: models::Model,
    encoding: Encoding,
    pictures: Vec<(&'static str, Input)>,
    labels: Vec<String>,
}

impl Stage {
    fn set() -> Result<Stage, Exit> {
        let model = models::from_bytes("efficientnet_lite0.onnx", NETWORK, &Options::default())?;
        let shape = model.graph.shape(model.graph.inputs()[0].tensor);
        let pictures = PICTURES
            .into_iter()
            .map(|(name, bytes)| {
                let pixels = decode_picture(Path::new(name), bytes, shape, DEFAULT_CROP)?;
                Ok((name, Input::from(pixels)))
            })
            .collect::<Result<_, Exit>>()?;
        let encoding = model.preset.unwrap_or(Preset::Lite).encoding();
        let labels = LABELS.lines().map(str::to_owned).collect();
        Ok(Stage { model, encoding, pictures, labels })
    }

    fn source(&self) -> Source {
        Source {
            graph: Arc::clone(&self.model.graph),
            weights: Arc::clone(&self.model.weights),
            encodings: vec![self.encoding],
        }
    }

    /// The class of an answer, and how probable the network thinks it.
    fn verdict(&self, answer: &Answer) -> Result<(&str, f32), Exit> {
        let outputs = &answer.outputs;
        let probabilities = outputs.iter().find(|output| output.name == "probabilities");
        let best = probabilities.or(outputs.first()).and_then(|output| {
            top(output, &self.labels).first().map(|best| (best.label.unwrap_or("?"), best.score))
        });
        best.ok_or_else(|| wrong("the network gave no scores"))
    }
}

fn wrong(what: impl std::fmt::Display) -> Exit {
    Exit::failed(what, "run it again with RUST_LOG=debug, and tell the authors")
}

/// The network at work, every answer checked.
struct Play<'a> {
    stage: Stage,
    model: Model,
    references: Vec<Answer>,
    events: UnboundedReceiver<Event>,
    watch: EventPrinter<'a>,
    tally: Tally,
    report: &'a Report,
    shown: u64,
}

impl Play<'_> {
    /// Classifies the next picture and checks the answer.
    async fn frame(&mut self) -> Result<(), Exit> {
        let which = self.shown as usize % self.stage.pictures.len();
        let (name, pixels) = &self.stage.pictures[which];
        let answering = self.model.infer(std::slice::from_ref(pixels));
        let answer = self.watch.during(&mut self.events, answering).await?;
        self.tally.promised(self.watch.plans());
        let (answer, reference) = (answer?, &self.references[which]);
        let event = frame_event(self.shown, name, &answer, &self.stage.labels);
        self.report.emit(&event)?;
        if !agree(&answer, reference) {
            return Err(wrong(format_args!("frame {}: not the answer of one device", self.shown)));
        }
        if answer.retries > 0 {
            let took = answer.total;
            self.report.say(format_args!("  that frame, {name}, was begun anew, and took {took}"));
        }
        self.tally.answered(&answer, Some(reference));
        self.shown += 1;
        Ok(())
    }

    /// Classifies [`CALM`] pictures, and more for at least this long, while nothing changes.
    async fn calm(&mut self, least: Duration) -> Result<(), Exit> {
        let (start, before) = (Instant::now(), self.shown);
        while self.shown - before < CALM || start.elapsed() < least {
            self.frame_before(start + PATIENCE).await?;
        }
        let frames = self.shown - before;
        self.report.say(format_args!("  {frames} pictures, {frames} right answers"));
        Ok(())
    }

    async fn frame_before(&mut self, deadline: Instant) -> Result<(), Exit> {
        let late = || wrong(format_args!("no answer within {} s", PATIENCE.as_secs()));
        tokio::time::timeout_at(deadline, self.frame()).await.map_err(|_| late())?
    }

    /// Classifies a picture; when about half the time is over that this takes, `change` happens.
    async fn frame_while(
        &mut self,
        change: impl Future<Output = Result<(), Exit>>,
    ) -> Result<(), Exit> {
        let half = self.tally.summary().total_ms.map_or(0.0, |times| times.median.0 / 2.0);
        let later = async {
            tokio::time::sleep(Duration::from_secs_f64(half / 1e3)).await;
            change.await
        };
        let (answered, changed) = tokio::join!(self.frame_before(Instant::now() + PATIENCE), later);
        answered.and(changed)
    }

    /// Classifies pictures until a plan with this reason comes after the first `known` ones, and
    /// some more under it.
    async fn until(
        &mut self,
        known: usize,
        reason: Reason,
        workers: &mut Workers,
    ) -> Result<(), Exit> {
        let deadline = Instant::now() + PATIENCE;
        let before = self.shown;
        while !self.watch.plans()[known..].iter().any(|plan| plan.reason == reason) {
            let alive = workers.last_words().is_none();
            match tokio::time::timeout_at(deadline, self.frame()).await {
                Ok(answered) if alive => answered?,
                _ => {
                    let (word, seconds) = (tables::word(&reason), PATIENCE.as_secs());
                    let frames = self.shown - before;
                    return Err(wrong(format_args!(
                        "no plan with the reason {word} came within {seconds} s, with {frames} \
                         pictures answered meanwhile"
                    )));
                }
            }
        }
        let frames = self.shown - before;
        self.report.say(format_args!("  {frames} pictures until then, all answers right"));
        self.calm(Duration::ZERO).await
    }

    /// How many plans there were.
    fn plans(&self) -> usize {
        self.watch.plans().len()
    }

    /// How many workers had a share in any plan.
    fn workers_with_a_share(&self) -> usize {
        let leader = self.watch.devices().iter().find(|device| device.leader);
        let leader = leader.map(|device| device.id.to_string());
        let stages = self.watch.plans().iter().flat_map(|plan| &plan.stages);
        let holders: BTreeSet<&str> =
            stages.flat_map(|stage| &stage.shares).map(|share| share.device.as_str()).collect();
        holders.iter().filter(|id| Some(**id) != leader.as_deref()).count()
    }
}
