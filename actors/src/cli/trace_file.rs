//! Writes a trace while it is being made: no more of it is kept in memory than one frame.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Error, Write};
use std::path::{Path, PathBuf};

use edgeld::{TraceContent, TracePiece};
use edgeld_runtime::plan::Generation;

use super::exit::Exit;
use super::trace_events::Timeline;

/// A trace file: a JSON array of events. Viewers open it even if its end is missing, as after an
/// interrupted run.
pub struct TraceFile {
    path: PathBuf,
    out: BufWriter<File>,
    timeline: Timeline,
    /// Whether an event was written.
    begun: bool,
    /// Reports of devices that an answered frame still lacks; negative if they came before the
    /// answer.
    lacking: BTreeMap<(Generation, u64), i64>,
}

impl TraceFile {
    /// Creates the file, or empties it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn create(path: &Path) -> Result<TraceFile, Exit> {
        let open = || {
            let mut out = BufWriter::new(File::create(path)?);
            out.write_all(b"[").map(|()| out)
        };
        Ok(TraceFile {
            path: path.to_owned(),
            out: open().map_err(|error| unwritable(path, &error))?,
            timeline: Timeline::default(),
            begun: false,
            lacking: BTreeMap::new(),
        })
    }

    /// Adds a piece.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, piece: &TracePiece) -> Result<(), Exit> {
        let place = (piece.generation, piece.frame);
        let lacking = self.lacking.entry(place).or_insert(0);
        *lacking += match piece.content {
            TraceContent::Frame { devices, .. } => devices as i64,
            TraceContent::GivenUp { .. } => 0,
            TraceContent::Steps { .. } => -1,
        };
        if *lacking == 0 {
            self.lacking.remove(&place);
        }
        self.write_events(piece).map_err(|error| unwritable(&self.path, &error))
    }

    fn write_events(&mut self, piece: &TracePiece) -> Result<(), Error> {
        for event in self.timeline.events(piece) {
            let separator = if std::mem::replace(&mut self.begun, true) { ",\n" } else { "\n" };
            self.out.write_all(separator.as_bytes())?;
            serde_json::to_writer(&mut self.out, &event)?;
        }
        Ok(())
    }

    /// Whether all devices have reported of all frames that were answered.
    pub fn is_complete(&self) -> bool {
        self.lacking.values().all(|lacking| *lacking <= 0)
    }

    /// Completes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<(), Exit> {
        let finished = self.out.write_all(b"\n]\n").and_then(|()| self.out.flush());
        finished.map_err(|error| unwritable(&self.path, &error))
    }
}

fn unwritable(path: &Path, error: &Error) -> Exit {
    Exit::failed(
        format_args!("{}: {error}", path.display()),
        "choose a file that can be written with --trace",
    )
}
