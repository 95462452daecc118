//! `edgeld demo`: the whole thing on this machine alone, told as a story.
//!
//! It takes five weak devices, which is what EdgeLD is for: this process and four workers, all paced
//! so that they fit on one machine. A trained network answers on one of them, then split over all,
//! and the speed-up is measured. Then one worker is slowed down, one killed and one added. Each
//! change has to show as a new plan with its reason, and every answer has to be that of one device.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use console::style;
use edgeld::input::{Framing, decode_picture};
use edgeld::{
    Answer, Cluster, Event, Input, LoadOptions, Model, Pace, PlanInfo, Pool, Reason, Source,
};
use edgeld_runtime::models::{self, Options, Preset};
use edgeld_runtime::plan::Generation;
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::Policy;
use edgeld_runtime::units::Ms;
use edgeld_runtime::wire::NodeId;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::answers::{Tally, agree, frame_event, top};
use super::event_printer::EventPrinter;
use super::events::{self, Busy, Times};
use super::exit::Exit;
use super::processes::Workers;
use super::report::Report;
use super::tables;
use super::workload;

const NETWORK: &[u8] = include_bytes!("../../assets/efficientnet_lite0.onnx");
const LABELS: &str = include_str!("../../assets/imagenet_labels.txt");
const PICTURES: [(&str, &[u8]); 2] = [
    ("coffee.jpg", include_bytes!("../../assets/coffee.jpg")),
    ("chelsea.jpg", include_bytes!("../../assets/chelsea.jpg")),
];

/// The workers: one is slowed down, one killed.
const WORKERS: [&str; 4] = [SLOWED, KILLED, "attic", "cellar"];
const SLOWED: &str = "kitchen";
const KILLED: &str = "garage";
const NEWCOMER: &str = "balcony";

/// The number of workers on a machine with a single core.
const FEW: usize = 2;

/// The part of the time in which a device may compute. It makes a core about as fast as that of a
/// single-board computer, and five devices take a third of a core.
const PACE: f64 = 0.07;

/// Runs of each picture on one device.
const ALONE: usize = 6;

/// How long each change may take to show as a plan.
const PATIENCE: Duration = Duration::from_secs(30);

/// Frames that are run between changes, so that each plan is seen at work.
const CALM: u64 = 8;

/// How long frames run before the plan that counts is made: the benchmark, which all devices run at
/// once, is a rough measure, and frames correct it.
const LEARNING: Duration = Duration::from_secs(4);

/// A plan has settled when it has run for this long, or at the latest after the second time.
const SETTLED: (Duration, Duration) = (Duration::from_millis(2500), Duration::from_secs(10));

/// How long the settled plan is measured.
const MEASURED: Duration = Duration::from_secs(4);

/// The width of a full bar, in characters.
const BAR: usize = 30;

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
    let pace = Pace::new(PACE).unwrap_or_default();
    let mut workers = Workers::new(folder.path(), &random, pace);
    let shown = show(folder.path(), &random, pace, &mut workers, report).await;
    shown.map_err(|exit| match workers.last_words() {
        Some(words) => Exit { message: format!("{}; {words}", exit.message), ..exit },
        None => exit,
    })
}

async fn show(
    folder: &Path,
    cluster: &str,
    pace: Pace,
    workers: &mut Workers,
    report: &Report,
) -> Result<(), Exit> {
    let names = if Pool::all_cores() < 2 { &WORKERS[..FEW] } else { &WORKERS[..] };
    let devices = 1 + names.len();
    heading(report, &format!("{devices} weak devices: this process, and {} others", names.len()));
    if names.len() < WORKERS.len() {
        report.say("  (This machine has a single core: too little for five.)");
    }
    report.say(format_args!(
        "  Each has one thread that computes {:.0} % of the time (--pace {pace}), so that all of \
         them fit\n  on this machine. They are found over mDNS, on loopback.",
        100.0 * pace.part()
    ));
    names.iter().try_for_each(|name| workers.start(name))?;

    let stage = Stage::set()?;
    report.emit(&workload::model_event(&stage.model))?;
    report.say(workload::describe(&stage.model));

    let busy = report.busy("looking for devices");
    let cluster = Cluster::builder()
        .name(cluster)
        .device_name("you")
        .devices(devices)
        .wait(PATIENCE)
        .threads(1)
        .pace(pace)
        .home(folder.join("leader"))
        .discover()
        .await?;
    drop(busy);
    let mut watch = EventPrinter::new(report, false);
    let mut events = cluster.subscribe();

    heading(report, "Two photographs, answered by one such device alone");
    let mut tally = Tally::default();
    let options = LoadOptions { alone: true, ..LoadOptions::default() };
    let alone = watch.during(&mut events, cluster.load_with(stage.source(), options)).await??;
    let (mut references, mut times) = (Vec::new(), Vec::new());
    for (name, pixels) in &stage.pictures {
        // The first run of a network touches its memory for the first time.
        let mut answer = alone.infer(std::slice::from_ref(pixels)).await?;
        for _ in 0..ALONE {
            answer = alone.infer(std::slice::from_ref(pixels)).await?;
            tally.alone(answer.total);
            times.push(answer.total);
        }
        let (label, score) = stage.verdict(&answer)?;
        report.say(format_args!("  {name}: {label} ({score:.2})"));
        references.push(answer);
    }
    let alone_ms = median(&times)?;
    report.say(format_args!("  {alone_ms} a picture (median)"));
    drop(alone);

    heading(report, &format!("The same by all {devices}: each computes some rows of every layer"));
    let policy = Policy { spread: true, ..Policy::default() };
    let options = LoadOptions { policy, ..LoadOptions::default() };
    let learning = learn(&cluster, &stage, &references, options.clone());
    watch.during(&mut events, learning).await??;
    let model = watch.during(&mut events, cluster.load_with(stage.source(), options)).await??;
    let events = model.subscribe();
    let mut play = Play { stage, model, references, events, watch, tally, report, shown: 0 };
    play.settle().await?;
    let first = play.measure().await?;
    if play.workers_with_a_share() < FEW {
        return Err(wrong("the rows are not split over several workers"));
    }
    let speedup = alone_ms / first.total;
    play.print(&first, alone_ms);

    heading(report, &format!("{SLOWED} gets slow: from now on it may run a fortieth of the time"));
    let known = play.newest();
    workers.slow_down(SLOWED)?;
    play.until(known, Reason::Slower, workers).await?;

    heading(report, &format!("{KILLED} is killed in the middle of a picture"));
    let known = play.newest();
    play.frame_while(async { workers.kill(KILLED) }).await?;
    play.until(known, Reason::Lost, workers).await?;

    heading(
        report,
        &format!("{NEWCOMER} joins: it is measured and gets its weights while pictures go on"),
    );
    let known = play.newest();
    workers.start(NEWCOMER)?;
    play.until(known, Reason::Joined, workers).await?;

    let summary = play.tally.summary();
    report.emit(&summary)?;
    let (label, score) = play.stage.verdict(&play.references[0])?;
    let found = play.workers_with_a_share();
    let demo = events::Demo {
        workers: found,
        label,
        score,
        frames: summary.frames,
        lost: summary.lost,
        checked: true,
        speedup,
        alone_ms,
        total_ms: first.total,
        prediction_error: first.prediction_error(),
        pace: pace.part(),
        busy: first.busy.iter().map(|(device, part)| Busy { device, part: *part }).collect(),
    };
    report.emit(&demo)?;
    report.result(format_args!(
        "\n{speedup:.1} times as fast as one device. {} pictures answered, {} lost, through a slow \
         device, a dead\none and a new one, and every answer is that of one device: coffee.jpg \
         shows {label} ({score:.2}).",
        summary.frames, summary.lost
    ))?;
    let Play { model, .. } = play;
    drop(model);
    cluster.shutdown().await;
    Ok(())
}

/// Runs frames to correct what is known of the devices, before the plan that counts.
async fn learn(
    cluster: &Cluster,
    stage: &Stage,
    references: &[Answer],
    options: LoadOptions,
) -> Result<(), Exit> {
    let model = cluster.load_with(stage.source(), options).await?;
    let start = Instant::now();
    while start.elapsed() < LEARNING {
        for ((name, pixels), reference) in stage.pictures.iter().zip(references) {
            let answering = model.infer(std::slice::from_ref(pixels));
            let answer = tokio::time::timeout(PATIENCE, answering).await.map_err(|_| late())??;
            if !agree(&answer, reference) {
                return Err(wrong(format_args!("{name}: not the answer of one device")));
            }
        }
    }
    Ok(())
}

fn median(times: &[Ms]) -> Result<Ms, Exit> {
    let times = Times::of(times).ok_or_else(|| wrong("nothing was measured"))?;
    Ok(times.median)
}

fn late() -> Exit {
    wrong(format_args!("no answer within {} s", PATIENCE.as_secs()))
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
                let framing = Framing::default();
                let (pixels, _) = decode_picture(Path::new(name), bytes, shape, framing)?;
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

/// How the settled plan performed.
struct Measured {
    plan: Arc<PlanInfo>,
    frames: usize,
    /// The median.
    total: Ms,
    /// Devices, and the part of the time in which each computed.
    busy: Vec<(String, f64)>,
}

impl Measured {
    fn prediction_error(&self) -> f64 {
        (self.total / self.plan.predicted - 1.0).abs()
    }
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
    /// Classifies the next picture and checks the answer; how long it took.
    async fn frame(&mut self) -> Result<Ms, Exit> {
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
        Ok(answer.total)
    }

    /// Classifies [`CALM`] pictures while nothing changes.
    async fn calm(&mut self) -> Result<(), Exit> {
        let (start, before) = (Instant::now(), self.shown);
        while self.shown - before < CALM {
            self.frame_before(start + PATIENCE).await?;
        }
        let frames = self.shown - before;
        self.report.say(format_args!("  {frames} pictures, {frames} right answers"));
        Ok(())
    }

    /// Classifies pictures until the plan has not changed for a while.
    async fn settle(&mut self) -> Result<(), Exit> {
        let (least, most) = SETTLED;
        let start = Instant::now();
        let (mut since, mut newest) = (start, self.newest());
        while since.elapsed() < least && start.elapsed() < most {
            self.frame_before(Instant::now() + PATIENCE).await?;
            if self.newest() != newest {
                (since, newest) = (Instant::now(), self.newest());
            }
        }
        Ok(())
    }

    /// Measures the current plan, as predicted now, starting over if it is replaced meanwhile.
    async fn measure(&mut self) -> Result<Measured, Exit> {
        let deadline = Instant::now() + PATIENCE;
        let (mut start, mut plan) = (Instant::now(), self.plan()?);
        let (mut times, mut before) = (Vec::new(), self.watch.computed().clone());
        while start.elapsed() < MEASURED {
            if Instant::now() > deadline {
                return Err(wrong("the plan does not settle"));
            }
            let time = self.frame_before(Instant::now() + PATIENCE).await?;
            if self.newest() == Some(plan.generation) {
                times.push(time);
            } else {
                (start, plan) = (Instant::now(), self.plan()?);
                (times, before) = (Vec::new(), self.watch.computed().clone());
            }
        }
        let all: Ms = times.iter().copied().sum();
        let computed = |id: NodeId| {
            let of = |computed: &BTreeMap<NodeId, Ms>| computed.get(&id).map_or(0.0, |ms| ms.0);
            of(self.watch.computed()) - of(&before)
        };
        let devices = self.watch.devices().iter();
        let busy = devices
            .map(|device| (device.name.clone(), (computed(device.id) / all.0).min(1.0)))
            .collect();
        Ok(Measured { plan, frames: times.len(), total: median(&times)?, busy })
    }

    /// Prints how the plan performed.
    fn print(&self, measured: &Measured, alone: Ms) {
        let Measured { plan, frames, total, busy } = measured;
        self.report.say(format_args!(
            "  {total} a picture (median of {frames}): {} times as fast as alone; {} were \
             predicted",
            style(format!("{:.1}", alone / *total)).for_stderr().bold(),
            plan.predicted
        ));
        self.report.say("  How busy each device is with its part of a picture:");
        let longest = busy.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, part) in busy {
            let full = (part * BAR as f64).round() as usize;
            let bar = format!("{}{}", "█".repeat(full), "░".repeat(BAR - full));
            self.report.say(format_args!("    {name:longest$}  {bar} {:3.0} %", 100.0 * part));
        }
    }

    async fn frame_before(&mut self, deadline: Instant) -> Result<Ms, Exit> {
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

    /// Classifies pictures until a plan with this reason comes after the `known` ones, and some more
    /// under it.
    async fn until(
        &mut self,
        known: Option<Generation>,
        reason: Reason,
        workers: &mut Workers,
    ) -> Result<(), Exit> {
        let deadline = Instant::now() + PATIENCE;
        let before = self.shown;
        let is_new = |plan: &Arc<PlanInfo>| Some(plan.generation) > known && plan.reason == reason;
        while !self.watch.plans().iter().any(is_new) {
            if workers.last_words().is_some() {
                return Err(wrong("a worker has ended by itself"));
            }
            match tokio::time::timeout_at(deadline, self.frame()).await {
                Ok(answered) => drop(answered?),
                Err(_) => {
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
        self.calm().await
    }

    /// The current plan, with its latest prediction.
    fn plan(&self) -> Result<Arc<PlanInfo>, Exit> {
        self.watch.plans().last().cloned().ok_or_else(|| wrong("there is no plan"))
    }

    /// The number of the newest plan.
    fn newest(&self) -> Option<Generation> {
        self.watch.plans().iter().map(|plan| plan.generation).max()
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
