//! The `edgeld` command: a file per subcommand, and what they share.
//!
//! `main.rs` calls [`main`]. A command reads its flags, uses the library's public API and reports
//! events. It never reaches past that API to an actor, a connection or a store.

mod answers;
mod args;
mod bench;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod devices;
mod doctor;
mod event_printer;
mod events;
mod exit;
mod inspect;
mod key;
mod man;
mod pair;
#[cfg(feature = "paper")]
mod paper;
mod plan;
#[cfg(feature = "demo")]
mod processes;
mod report;
mod run;
#[cfg(feature = "serve")]
mod serve;
mod signal;
mod stage_times;
mod tables;
mod task;
#[cfg(feature = "serve")]
mod top;
mod trace_events;
mod trace_file;
mod worker;
mod workload;

use std::ffi::OsStr;
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::Builder;

use clap::builder::{FalseyValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use edgeld::ACTOR_THREAD;
use exit::Exit;
use report::Report;
use tokio::sync::oneshot;

/// The exit code after a panic, as of any program in Rust.
const PANICKED: i32 = 101;

const EXAMPLES: &str = "\
Examples:
  edgeld demo                                        a whole cluster on this machine alone
  edgeld key new cluster.key                         then copy it to every device, or use a code:
  edgeld pair --key cluster.key                      see edgeld pair --help
  edgeld worker --key cluster.key                    on every device that should help
  edgeld devices --key cluster.key                   which devices there are, and how fast
  edgeld doctor --key cluster.key                    why does it not work, or is slow?
  edgeld run model.onnx cat.png --preset imagenet --labels labels.txt --key cluster.key
  edgeld run yolo.onnx street.jpg --task detect --draw boxes.png --key cluster.key
  edgeld run vgg16 random:1 --devices 4 --compare    is it faster than one device?
  edgeld serve --model eyes=yolo.onnx,preset=unit,task=detect --key cluster.key
                                                     for programs, cameras and browsers
  edgeld inspect model.onnx                          can it run, and how much of it is split?
  edgeld plan vgg16 --lan lan.toml --explain         what would such a LAN achieve?
  edgeld bench local vgg16 --threads 1               time each layer on this machine
  edgeld bench paper --out report                    the EdgeLD paper's figures, on this machine

Every flag has an environment variable: EDGELD_WAIT for --wait, and so on. RUST_LOG=debug shows
what happens inside. Exit codes: 0 success, 1 failure, 2 wrong usage, 3 unusable model or
input, 4 no cluster, 130 interrupted.";

/// Splits one CNN inference over the devices of a LAN, by rows
#[derive(Debug, Parser)]
#[command(name = "edgeld", version, after_help = EXAMPLES, max_term_width = 100)]
struct Cli {
    /// Print JSON lines on standard output instead of human-readable results.
    #[arg(long, global = true, env = "EDGELD_JSON", value_parser = FalseyValueParser::new())]
    json: bool,
    /// What the log on standard error looks like: text for people, or a JSON object a line.
    #[arg(
        long,
        global = true,
        env = "EDGELD_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

/// What a line of the log looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::RunArgs>),
    #[cfg(feature = "serve")]
    Serve(Box<serve::ServeArgs>),
    #[cfg(feature = "serve")]
    Top(top::TopArgs),
    Worker(worker::WorkerArgs),
    Devices(devices::DevicesArgs),
    Doctor(Box<doctor::DoctorArgs>),
    Inspect(inspect::InspectArgs),
    Plan(plan::PlanLanArgs),
    Bench(bench::BenchArgs),
    Key(key::KeyArgs),
    Pair(pair::PairArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
}

impl Command {
    /// Whether it ends in its own way when a signal comes.
    fn handles_signals(&self) -> bool {
        match self {
            Command::Worker(_) => true,
            #[cfg(feature = "serve")]
            Command::Serve(_) => true,
            _ => false,
        }
    }
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    log_to_stderr(cli.log_format);
    end_when_an_actor_panics();
    let report = Arc::new(Report::new(cli.json));
    let result = actix_rt::System::new().block_on(run_command(cli.command, &report));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => {
            report.fail(&exit);
            exit.exit_code()
        }
    }
}

/// A device without one of its actors would look alive and do nothing. Its process ends instead, and
/// who started it may start it again, as systemd does.
fn end_when_an_actor_panics() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        if std::thread::current().name() == Some(ACTOR_THREAD) {
            std::process::exit(PANICKED);
        }
    }));
}

async fn run_command(command: Command, report: &Arc<Report>) -> Result<(), Exit> {
    let handles_signals = command.handles_signals();
    let work = async {
        match command {
            Command::Run(args) => run::run(*args, report).await,
            #[cfg(feature = "serve")]
            Command::Serve(args) => serve::serve(*args, report).await,
            #[cfg(feature = "serve")]
            Command::Top(args) => on_thread(report, move |report| top::top(&args, report)).await,
            Command::Worker(args) => worker::worker(args, report).await,
            Command::Devices(args) => devices::devices(args, report).await,
            Command::Doctor(args) => doctor::doctor(&args, report).await,
            Command::Inspect(args) => {
                on_thread(report, move |report| inspect::inspect(&args, report)).await
            }
            Command::Plan(args) => on_thread(report, |report| plan::plan(args, report)).await,
            Command::Bench(bench::BenchArgs { target }) => match target {
                bench::Target::Local(args) => {
                    on_thread(report, move |report| bench::local(&args, report)).await
                }
                #[cfg(feature = "paper")]
                bench::Target::Paper(args) => paper::paper(&args, report).await,
            },
            Command::Key(args) => key::key(&args, report),
            Command::Pair(args) => pair::pair(&args, report).await,
            Command::Completions(args) => completions::completions(&args, Cli::command()),
            Command::Man(args) => man::man(&args, Cli::command(), report),
            #[cfg(feature = "demo")]
            Command::Demo(demo::DemoArgs {}) => demo::demo(report).await,
        }
    };
    // What serves others shuts down in order when interrupted; other commands are just dropped.
    if handles_signals {
        return work.await;
    }
    tokio::select! {
        // Signals first: they are handled before there is anything to interrupt.
        biased;
        _ = signal::wait() => {
            #[cfg(feature = "serve")]
            top::leave();
            Err(Exit::interrupted())
        }
        done = work => done,
    }
}

/// Runs blocking work on a thread of its own, so that signals are still handled. If the command is
/// interrupted, the thread ends with the process.
async fn on_thread(
    report: &Arc<Report>,
    work: impl FnOnce(&Report) -> Result<(), Exit> + Send + 'static,
) -> Result<(), Exit> {
    let (done, outcome) = oneshot::channel();
    let report = Arc::clone(report);
    let run = move || {
        // The receiver is gone if the command was interrupted.
        let _ = done.send(work(&report));
    };
    let failed = |error: &dyn Display| Exit::failed(error, "please report this bug");
    Builder::new().name("edgeld-command".to_owned()).spawn(run).map_err(|error| failed(&error))?;
    outcome.await.unwrap_or_else(|_| Err(failed(&"the command panicked")))
}

/// Reports a wrong command line, or prints what --help and --version ask for.
fn usage_error(error: &clap::Error) -> ExitCode {
    // There is nowhere else to report a failure to print.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let wants_json = std::env::args_os().any(|arg| arg == "--json")
        || std::env::var_os("EDGELD_JSON").is_some_and(|value| is_set(&value));
    let text = error.render().to_string();
    let message = match error.kind() {
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => "a command is missing".to_owned(),
        _ => {
            let text = text.split("\nUsage:").next().unwrap_or_default();
            let text = text.strip_prefix("error: ").unwrap_or(text);
            text.split_whitespace().collect::<Vec<_>>().join(" ")
        }
    };
    let exit = Exit::usage(message, "see `edgeld --help` and `edgeld COMMAND --help`");
    if wants_json {
        Report::new(true).emit_error(&exit);
    }
    exit.exit_code()
}

/// Whether a variable's value sets its flag, by the rule for all flags.
fn is_set(value: &OsStr) -> bool {
    let parser = FalseyValueParser::new();
    parser.parse_ref(&Cli::command(), None, value).unwrap_or(false)
}

/// Logs to standard error: warnings, or what RUST_LOG selects.
fn log_to_stderr(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(console::colors_enabled_stderr()).init(),
        LogFormat::Json => log.json().init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_variable() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments().filter(|a| !a.is_positional()) {
                let Some(flag) = argument.get_long().filter(|f| !["help", "version"].contains(f))
                else {
                    continue;
                };
                let wanted = format!("EDGELD_{}", flag.to_uppercase().replace('-', "_"));
                let found = argument.get_env().and_then(OsStr::to_str);
                assert_eq!(found, Some(wanted.as_str()), "{} --{flag}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn every_command_has_examples() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains("edgeld ") && help.contains("Examples"),
                "{}",
                command.get_name()
            );
        }
    }
}
