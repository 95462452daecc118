//! What was measured, in a file, so that an interrupted report goes on where it was.

use std::fs;
use std::path::{Path, PathBuf};

use edgeld_runtime::units::Ms;
use serde::{Deserialize, Serialize};

use super::super::events::Times;
use super::super::exit::Exit;
use super::experiment::{Experiment, Links, System};

/// The emulated devices of a report: all its runs have the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The build that began it.
    pub version: String,
    /// How many times as fast as the paper's everything is.
    pub scale: f64,
    /// Frames that are timed in each run.
    pub frames: u32,
    /// The part of the time in which a follower computes.
    pub pace: f64,
    /// The machine that emulates them.
    pub machine: String,
    /// When it was begun, `2026-11-28`.
    pub date: String,
    /// What one thread of the machine, at full pace, takes for each convolution.
    pub convolutions: Vec<Convolution>,
}

/// A convolution that was timed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Convolution {
    /// Its floating-point operations, as the paper counts them.
    pub flops: f64,
    /// How long it took.
    pub time: Ms,
}

/// A run that was done.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// What was run.
    pub experiment: Experiment,
    /// The times of its frames, as they were taken.
    pub frames: Vec<Ms>,
    /// What the plan promised for them.
    pub predicted: Ms,
    /// Payload between all devices, per frame, in bytes.
    pub bytes: u64,
}

impl Record {
    /// Seconds per frame on devices like the paper's, if these are `scale` times as fast.
    pub fn seconds(&self, scale: f64) -> f64 {
        self.median().0 * scale / 1e3
    }

    /// The median of the frames' times.
    pub fn median(&self) -> Ms {
        Times::of(&self.frames).map_or(Ms(f64::NAN), |times| times.median)
    }
}

/// A line of the file. Times of frames are separated by spaces, and all times are as measured.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    followers: u32,
    links: Links,
    system: System,
    depth: u32,
    size: u32,
    median_ms: f64,
    predicted_ms: f64,
    bytes: u64,
    frames_ms: String,
}

impl From<&Record> for Line {
    fn from(record: &Record) -> Line {
        let Experiment { followers, links, system, depth, size } = record.experiment;
        let frames: Vec<String> = record.frames.iter().map(|ms| format!("{:.3}", ms.0)).collect();
        Line {
            followers,
            links,
            system,
            depth,
            size,
            median_ms: record.median().0,
            predicted_ms: record.predicted.0,
            bytes: record.bytes,
            frames_ms: frames.join(" "),
        }
    }
}

impl TryFrom<Line> for Record {
    type Error = String;

    fn try_from(line: Line) -> Result<Record, String> {
        let Line { followers, links, system, depth, size, predicted_ms, bytes, .. } = line;
        let time = |ms: &str| ms.parse().ok().filter(|ms| *ms > 0.0).map(Ms);
        let frames: Option<Vec<Ms>> = line.frames_ms.split_whitespace().map(time).collect();
        let frames = frames.filter(|frames| !frames.is_empty());
        Ok(Record {
            experiment: Experiment { followers, links, system, depth, size },
            frames: frames.ok_or_else(|| format!("{:?} are no times", line.frames_ms))?,
            predicted: Ms(predicted_ms),
            bytes,
        })
    }
}

/// A report's folder, with what it has already.
pub struct Folder {
    path: PathBuf,
    /// What is measured already, in the order in which it was.
    pub records: Vec<Record>,
}

impl Folder {
    /// Opens or makes the folder.
    ///
    /// # Errors
    /// When it cannot be made, or holds something that is not a report's.
    pub fn open(path: &Path) -> Result<Folder, Exit> {
        fs::create_dir_all(path).map_err(|error| unusable(path, &error))?;
        let mut folder = Folder { path: path.to_owned(), records: Vec::new() };
        let runs = folder.file(RUNS);
        if runs.exists() {
            let lines = csv::Reader::from_path(&runs).map_err(|error| unusable(&runs, &error))?;
            for line in lines.into_deserialize::<Line>() {
                let line = line.map_err(|error| unusable(&runs, &error))?;
                let record = Record::try_from(line).map_err(|error| unusable(&runs, &error))?;
                folder.records.push(record);
            }
        }
        Ok(folder)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The settings that it was begun with, if it was.
    ///
    /// # Errors
    /// When the file with them cannot be read.
    pub fn settings(&self) -> Result<Option<Settings>, Exit> {
        let path = self.file(SETTINGS);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| unusable(&path, &e)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// Begins a report with these settings.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn begin(&self, settings: &Settings) -> Result<(), Exit> {
        let text = serde_json::to_string_pretty(settings).unwrap_or_default();
        self.write(SETTINGS, &(text + "\n"))
    }

    /// Keeps a run. All runs are written to a new file that takes the old one's place, so that there is
    /// no half of a line after a crash.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&mut self, record: Record) -> Result<(), Exit> {
        self.records.push(record);
        let mut lines = csv::Writer::from_writer(Vec::new());
        let path = self.file(RUNS);
        for record in &self.records {
            lines.serialize(Line::from(record)).map_err(|error| unusable(&path, &error))?;
        }
        let text = lines.into_inner().map_err(|error| unusable(&path, &error))?;
        self.write(RUNS, &String::from_utf8_lossy(&text))
    }

    /// Writes a file of the report.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, text: &str) -> Result<(), Exit> {
        let (path, new) = (self.file(name), self.file(&format!("{name}.new")));
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| unusable(&path, &error))
    }
}

const RUNS: &str = "runs.csv";
/// The file with the settings.
pub const SETTINGS: &str = "settings.json";

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Exit {
    Exit::failed(
        format_args!("{}: {error}", path.display()),
        "give --out a folder that can be written, a new one or that of an earlier report",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(experiment: Experiment, frames: &[f64]) -> Record {
        let frames = frames.iter().copied().map(Ms).collect();
        Record { experiment, frames, predicted: Ms(90.5), bytes: 12 }
    }

    #[test]
    fn what_was_kept_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report");
        let all = Experiment::all();
        let mut first = Folder::open(&path).unwrap();
        assert_eq!(first.settings().unwrap(), None);
        let settings = Settings {
            version: "1".to_owned(),
            scale: 8.0,
            frames: 3,
            pace: 0.125,
            machine: "a machine".to_owned(),
            date: "2020-12-14".to_owned(),
            convolutions: vec![Convolution { flops: 1e9, time: Ms(10.0) }],
        };
        first.begin(&settings).unwrap();
        first.keep(record(all[0], &[100.0, 90.0, 101.5])).unwrap();
        first.keep(record(all[5], &[1.0])).unwrap();
        let again = Folder::open(&path).unwrap();
        assert_eq!(again.records, first.records);
        assert_eq!(again.settings().unwrap(), Some(settings));
        assert_eq!(again.records[0].median(), Ms(100.0));
    }

    #[test]
    fn a_file_that_is_something_else_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RUNS), "a,b\n1,2\n").unwrap();
        let error = Folder::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains(RUNS), "{error}");
        let header = "followers,links,system,depth,size,median_ms,predicted_ms,bytes,frames_ms";
        let line = format!("{header}\n1,100,ocbp,16,224,1,1,1,1 x\n");
        fs::write(folder.path().join(RUNS), line).unwrap();
        let error = Folder::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("1 x"), "{error}");
        fs::write(folder.path().join(RUNS), "").unwrap();
        fs::write(folder.path().join(SETTINGS), "{").unwrap();
        let error = Folder::open(folder.path()).unwrap().settings().unwrap_err().to_string();
        assert!(error.contains(SETTINGS), "{error}");
    }
}
