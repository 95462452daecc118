//! `edgeld bench paper`: the tables and figures of the EdgeLD paper, from this machine alone.
//!
//! The paper's cluster is a leader and up to four followers with a core of 800 MHz each. Here they are
//! workers in one process that compute a part of the time, over a network in memory that carries no
//! more than it should. A frame of 24 seconds would make a report of hours, so devices and links are
//! `--scale` times as fast as the paper's, and times are multiplied by that afterwards: what part
//! of a frame is computing and what part is sending stays the same.
//!
//! ```text
//! --scale 8: 1000 Mbit/s become 8000, and the convolutions of VGG16 take one follower 23 / 8 = 2.9 s.
//! A frame of 820 ms with four followers stands for 6.6 s; the paper has 6.5.
//! ```
//!
//! Each run is kept as soon as it is done, so an interrupted report goes on where it was.

mod calibration;
mod chart;
mod document;
mod experiment;
mod failure;
mod lan;
mod published;
mod record;

use std::path::PathBuf;
use std::thread::Builder;

use clap::Args;
use edgeld::{Pace, VERSION};
use tokio::sync::oneshot;

use super::events::{PaperReport, PaperRun};
use super::exit::Exit;
use super::report::Report;
use calibration::calibrate;
use experiment::Experiment;
use failure::failed;
use lan::Lan;
use record::{Folder, SETTINGS, Settings};

const EXAMPLES: &str = "\
Examples:
  edgeld bench paper --out report                     then open report/report.md
  edgeld bench paper --out report                     again: goes on where it was interrupted
  edgeld bench paper --out quick --frames 1 --scale 12";

/// Reproduces the tables and figures of the EdgeLD paper on this machine alone
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PaperArgs {
    /// The report's folder: Markdown, SVG charts, CSV.
    #[arg(long, env = "EDGELD_OUT", value_name = "DIR")]
    out: PathBuf,
    /// How many times as fast as the paper's the emulated devices and links are.
    #[arg(long, env = "EDGELD_SCALE", value_name = "S", default_value = "8",
        value_parser = scale)]
    scale: f64,
    /// Frames that are timed in each run, after one to warm up.
    #[arg(long, env = "EDGELD_FRAMES", value_name = "N", default_value = "3",
        value_parser = clap::value_parser!(u32).range(1..=100))]
    frames: u32,
}

fn scale(text: &str) -> Result<f64, String> {
    let scale: Option<f64> = text.parse().ok().filter(|scale| (1.0..=100.0).contains(scale));
    scale.ok_or_else(|| "a number from 1 to 100 is needed".to_owned())
}

/// Measures what is missing, and writes the report.
///
/// # Errors
/// When the folder cannot be used, the machine is too slow, or a run fails.
pub async fn paper(args: &PaperArgs, report: &Report) -> Result<(), Exit> {
    let mut folder = Folder::open(&args.out)?;
    let settings = settings(args, &folder, report).await?;
    let is_missing = |run: &Experiment| !folder.records.iter().any(|done| done.experiment == *run);
    let missing: Vec<Experiment> = Experiment::all().into_iter().filter(is_missing).collect();
    if !folder.records.is_empty() {
        report.say(format_args!(
            "{} runs are there already, {} are missing",
            folder.records.len(),
            missing.len()
        ));
    }
    measure(&missing, &settings, &mut folder, report).await?;
    let (text, charts) = document::write(&settings, &folder.records)?;
    for (name, svg) in charts {
        folder.write(&name, &svg)?;
    }
    folder.write(document::NAME, &text)?;
    let file = folder.file(document::NAME);
    report.emit(&PaperReport { file: &file })?;
    report.result(format_args!("the report is in {}", file.display()))
}

/// Those of the report that was begun, or new ones.
async fn settings(args: &PaperArgs, folder: &Folder, report: &Report) -> Result<Settings, Exit> {
    match folder.settings()? {
        Some(before) if before.version != VERSION => Err(Exit::usage(
            format_args!(
                "{} was begun by edgeld {}, and this is {VERSION}",
                args.out.display(),
                before.version
            ),
            "give another folder: one report is of one build",
        )),
        Some(before) if (before.scale, before.frames) == (args.scale, args.frames) => Ok(before),
        Some(before) => Err(Exit::usage(
            format_args!(
                "{} was begun with --scale {} and --frames {}",
                args.out.display(),
                before.scale,
                before.frames
            ),
            "give the same ones, or another folder",
        )),
        None if !folder.records.is_empty() => Err(Exit::usage(
            format_args!("{} has runs, but {SETTINGS} is missing", args.out.display()),
            "give another folder",
        )),
        None => {
            let busy = report.busy("measuring how fast this machine is");
            let (scale, frames) = (args.scale, args.frames);
            let (done, calibrated) = oneshot::channel();
            // A thread of its own, so that signals are still handled.
            let run = move || drop(done.send(calibrate(scale, frames)));
            Builder::new().name("edgeld-calibrate".to_owned()).spawn(run).map_err(failed)?;
            let settings = calibrated.await.map_err(failed)??;
            drop(busy);
            folder.begin(&settings)?;
            Ok(settings)
        }
    }
}

async fn measure(
    missing: &[Experiment],
    settings: &Settings,
    folder: &mut Folder,
    report: &Report,
) -> Result<(), Exit> {
    let pace = Pace::new(settings.pace).ok_or_else(|| {
        let message = format!("{SETTINGS}: {} is no pace from 0.001 to 1", settings.pace);
        Exit::failed(message, "begin another report, in a new folder")
    })?;
    let homes = folder.file(".edgeld-devices");
    let expected = |run: &Experiment| (run.expected() * 1e3) as u64;
    let bar = report.timed(missing.iter().map(expected).sum());
    let mut running: Option<Lan> = None;
    for run in missing {
        bar.say(run.to_string());
        let lan = match running.take() {
            Some(lan) if lan.suits(run) => lan,
            other => {
                if let Some(other) = other {
                    other.stop().await;
                }
                Lan::start(run, settings.scale, pace, &homes).await?
            }
        };
        let record = lan.measure(*run, run.frames(settings.frames)).await?;
        running = Some(lan);
        report.emit(&PaperRun {
            model: format!("vgg{}", run.depth),
            size: run.size,
            followers: run.followers,
            links: run.links.to_string(),
            system: run.system.to_string(),
            seconds: record.seconds(settings.scale),
        })?;
        folder.keep(record)?;
        bar.advance(expected(run));
    }
    if let Some(lan) = running {
        lan.stop().await;
    }
    // Weights, and nothing that is of use later; another run makes them again.
    let _ = std::fs::remove_dir_all(homes);
    Ok(())
}
