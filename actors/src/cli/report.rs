//! A command's output: results to standard output, everything else to standard error.
//!
//! With `--json`, JSON lines replace the results on standard output.

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

/// Writes a command's output.
pub struct Report {
    json: bool,
    progress: MultiProgress,
    fetches: Mutex<BTreeMap<NodeId, Fetch>>,
}

impl Report {
    /// A report with JSON lines, or with human-readable results.
    pub fn new(json: bool) -> Report {
        Report { json, progress: MultiProgress::new(), fetches: Mutex::default() }
    }

    /// Writes an event as a JSON line, with `--json` only.
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

    /// Whether results are JSON lines.
    #[cfg(feature = "serve")]
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Writes a line that is JSON already.
    ///
    /// # Errors
    /// When standard output is closed.
    #[cfg(feature = "serve")]
    pub fn line(&self, json: &str) -> Result<(), Exit> {
        self.write(json)
    }

    /// Writes a human-readable result, without `--json` only.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn result(&self, text: impl Display) -> Result<(), Exit> {
        if self.json { Ok(()) } else { self.write(&text.to_string()) }
    }

    /// Writes a table as a human-readable result.
    ///
    /// # Errors
    /// When standard output is closed.
    pub fn result_table(&self, mut table: Table) -> Result<(), Exit> {
        fit(&mut table, &Term::stdout(), console::colors_enabled());
        self.result(table)
    }

    /// Prints a table to standard error.
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

    /// Prints text to standard error, ignoring failures.
    pub fn say(&self, text: impl Display) {
        let _ = self.progress.suspend(|| writeln!(std::io::stderr().lock(), "{text}"));
    }

    /// Prints a warning to standard error.
    pub fn warn(&self, text: impl Display) {
        self.say(format_args!("{} {text}", style("warning:").for_stderr().yellow().bold()));
    }

    /// Reports the failure of a command, as text and JSON.
    pub fn fail(&self, exit: &Exit) {
        self.say(format_args!("{} {}", style("error:").for_stderr().red().bold(), exit.message));
        if !exit.hint.is_empty() {
            self.say(format_args!("{} {}", style(" hint:").for_stderr().cyan(), exit.hint));
        }
        self.emit_error(exit);
    }

    /// Reports the failure of a command as JSON only.
    pub fn emit_error(&self, exit: &Exit) {
        let error =
            events::Error { code: exit.code as u8, message: &exit.message, hint: &exit.hint };
        // If standard output is closed, there is nowhere else to report it.
        let _ = self.emit(&error);
    }

    /// Shows a spinner until the result is dropped. Terminals only.
    pub fn busy(&self, what: impl Into<String>) -> ProgressGuard {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        let bar = ProgressBar::new_spinner().with_message(what.into());
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let bar = self.progress.add(bar);
        bar.enable_steady_tick(Duration::from_millis(120));
        ProgressGuard(bar)
    }

    /// Shows a bar that counts frames until the result is dropped. Terminals only.
    pub fn frames(&self, frames: u64) -> ProgressGuard {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} frames {elapsed} {msg}");
        let bar = ProgressBar::new(frames);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        ProgressGuard(self.progress.add(bar))
    }

    /// Shows a bar for work that is expected to take so many units of time, of whatever length, until
    /// the result is dropped. Terminals only.
    #[cfg(feature = "paper")]
    pub fn timed(&self, units: u64) -> ProgressGuard {
        let style = ProgressStyle::with_template("{bar:24} {elapsed}, about {eta} left: {msg}");
        let bar = ProgressBar::new(units);
        if let Ok(style) = style {
            bar.set_style(style);
        }
        let bar = self.progress.add(bar);
        bar.enable_steady_tick(Duration::from_secs(1));
        ProgressGuard(bar)
    }

    /// Shows a device's progress in fetching weights, and prints a line when it has them all.
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
            Fetch { bar: self.progress.add(bar), initial: have, start: Instant::now() }
        });
        fetch.bar.set_length(need.0);
        fetch.bar.set_position(have.0);
        if have >= need {
            let fetched = have.saturating_sub(fetch.initial);
            let rate = Mbps::of(fetched, Ms::from_duration(fetch.start.elapsed()));
            fetch.bar.finish_and_clear();
            fetches.remove(&device);
            self.say(format_args!(
                "weights: {name} has all {need}; fetched {fetched} at {:.0} Mbit/s",
                rate.0
            ));
        }
    }
}

/// A device fetching weights.
struct Fetch {
    bar: ProgressBar,
    initial: Bytes,
    start: Instant,
}

/// A spinner or bar on the terminal, cleared on drop.
pub struct ProgressGuard(ProgressBar);

impl ProgressGuard {
    /// Advances the bar by one.
    pub fn step(&self) {
        self.advance(1);
    }

    /// Advances the bar by so much.
    pub fn advance(&self, units: u64) {
        self.0.inc(units);
    }

    /// Says what is done now.
    #[cfg(feature = "paper")]
    pub fn say(&self, what: String) {
        self.0.set_message(what);
    }
}

impl Drop for ProgressGuard {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Fits a table to the width of the terminal, if it is one, and removes colours if unwanted.
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
