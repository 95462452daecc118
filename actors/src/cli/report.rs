//! Where a command's words go: results to standard output, all else to standard error.
//!
//! With `--json` standard output holds JSON lines only; what is written for people goes to
//! standard error either way.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use comfy_table::Table;
use console::{Term, style};
use edgeld_runtime::units::{Bytes, Mbps, Ms};
use edgeld_runtime::wire::NodeId;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;

use super::events::{self, Event, Line};
use super::exit::Exit;

/// Both sides of a command's output.
pub struct Report {
    json: bool,
    progress: MultiProgress,
    fetches: Mutex<BTreeMap<NodeId, Fetch>>,
}

impl Report {
    /// With JSON lines, or results for people.
    pub fn new(json: bool) -> Report {
        Report { json, progress: MultiProgress::new(), fetches: Mutex::default() }
    }

    /// Writes an event as a JSON line, if JSON is wanted.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn emit<E: Event + Serialize>(&self, event: &E) -> Result<(), Exit> {
        if !self.json {
            return Ok(());
        }
        let line = serde_json::to_string(&Line::new(unix_ms(), event))
            .map_err(|error| Exit::output(error.into()))?;
        self.write(&line)
    }

    /// Writes a result for people, unless JSON is wanted.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn result(&self, text: impl Display) -> Result<(), Exit> {
        if self.json { Ok(()) } else { self.write(&text.to_string()) }
    }

    /// Writes a table as a result for people.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn result_table(&self, mut table: Table) -> Result<(), Exit> {
        fit(&mut table, &Term::stdout(), console::colors_enabled());
        self.result(table)
    }

    /// Shows people a table, on standard error.
    pub fn say_table(&self, mut table: Table) {
        fit(table.use_stderr(), &Term::stderr(), console::colors_enabled_stderr());
        self.say(table);
    }

    fn write(&self, line: &str) -> Result<(), Exit> {
        let write = || {
            let mut out = std::io::stdout().lock();
            writeln!(out, "{line}")?;
            out.flush()
        };
        self.progress.suspend(write).map_err(Exit::output)
    }

    /// Tells people something, on standard error. If nobody listens there is nobody to tell.
    pub fn say(&self, text: impl Display) {
        let _ = self.progress.suspend(|| writeln!(std::io::stderr().lock(), "{text}"));
    }

    /// Warns people.
    pub fn warn(&self, text: impl Display) {
        self.say(format_args!("{} {text}", style("warning:").for_stderr().yellow().bold()));
    }

    /// The last words of a command that failed.
    pub fn fail(&self, exit: &Exit) {
        self.say(format_args!("{} {}", style("error:").for_stderr().red().bold(), exit.message));
        if !exit.hint.is_empty() {
            self.say(format_args!("{} {}", style(" hint:").for_stderr().cyan(), exit.hint));
        }
        self.emit_error(exit);
    }

    /// The last JSON line of a command that failed.
    pub fn emit_error(&self, exit: &Exit) {
        let error =
            events::Error { code: exit.code as u8, message: &exit.message, hint: &exit.hint };
        // Where standard output is closed there is no other place to say so.
        let _ = self.emit(&error);
    }

    /// Shows that something goes on, until the result is dropped. Terminals only.
    pub fn busy(&self, what: impl Into<String>) -> Busy {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        let bar = ProgressBar::new_spinner().with_message(what.into());
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let bar = self.progress.add(bar);
        bar.enable_steady_tick(Duration::from_millis(120));
        Busy(bar)
    }

    /// Counts frames, until the result is dropped. Terminals only.
    pub fn frames(&self, frames: u64) -> Busy {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} frames {elapsed} {msg}");
        let bar = ProgressBar::new(frames);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Busy(self.progress.add(bar))
    }

    /// Shows how far a device is with its weights, and once when it has them all.
    pub fn weights(&self, device: NodeId, name: &str, have: Bytes, need: Bytes) {
        let Ok(mut fetches) = self.fetches.lock() else { return };
        if have >= need && !fetches.contains_key(&device) {
            return;
        }
        let fetch = fetches.entry(device).or_insert_with(|| {
            let template = "weights of {msg} {bar:24} {bytes}/{total_bytes} {bytes_per_sec}";
            let bar = ProgressBar::new(need.0).with_message(name.to_owned());
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            Fetch { bar: self.progress.add(bar), had: have, began: Instant::now() }
        });
        fetch.bar.set_length(need.0);
        fetch.bar.set_position(have.0);
        if have >= need {
            let came = have.saturating_sub(fetch.had);
            let rate = Mbps::of(came, Ms::from_duration(fetch.began.elapsed()));
            fetch.bar.finish_and_clear();
            fetches.remove(&device);
            self.say(format_args!(
                "weights: {name} has its {need}; {came} came at {:.0} Mbit/s",
                rate.0
            ));
        }
    }
}

/// Weights on their way to a device.
struct Fetch {
    bar: ProgressBar,
    had: Bytes,
    began: Instant,
}

/// Something on the terminal that goes away when it is over.
pub struct Busy(ProgressBar);

impl Busy {
    /// One more is done.
    pub fn step(&self) {
        self.0.inc(1);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// As wide as the terminal, if it is one, and coloured only where colours are wanted.
fn fit(table: &mut Table, terminal: &Term, colours: bool) {
    if let Some((_, width)) = terminal.size_checked() {
        table.set_width(width);
    }
    if !colours {
        table.force_no_tty();
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
