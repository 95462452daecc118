//! `edgeld serve`: answers programs and browsers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use console::style;
use edgeld::input::read_labels;
use edgeld::serve::{Options, Server, Specification, StartError};
use edgeld::task::{Head, Task, TaskOptions};
use edgeld_runtime::models::{self, Preset};
use edgeld_runtime::solve::Objective;

use super::args::{ClusterArgs, KernelArgs, MachineArgs, PlanArgs, count};
use super::devices::{leader, machine};
use super::event_printer::EventPrinter;
use super::events;
use super::exit::Exit;
use super::report::Report;
use super::signal::{self, Signal};

const EXAMPLES: &str = "\
Examples:
  edgeld serve --model eyes=yolov8n.onnx,preset=unit,task=detect --key cluster.key
  curl --data-binary @street.jpg http://127.0.0.1:8000/v2/models/eyes/detect
  edgeld serve --model net=resnet50.onnx,preset=imagenet,labels=labels.txt,task=classify
  curl -F image=@cat.png http://127.0.0.1:8000/v2/models/net/classify
  edgeld serve --model a=a.onnx --model b=b.onnx --listen 0.0.0.0:8000 --token-file token

Programs use any client of the Open Inference Protocol (KServe, Triton) over HTTP or gRPC; people
open http://127.0.0.1:8000/, Prometheus reads /metrics, Frigate's deepstack detector
/v1/vision/detection. SIGTERM ends it when all accepted requests are answered.";

/// Answers programs and browsers: Open Inference Protocol, pictures over HTTP, a page
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// A model and what requests call it; may be given several times. PATH is as for `edgeld run`;
    /// preset says how pixels are normalised (imagenet, lite, unit, none), task what is made of
    /// answers (classify, detect, raw), head the form of a detector's outputs, shape fixes
    /// dimensions that the file leaves open, as in shape=1x3x640x640.
    #[arg(
        long,
        env = "EDGELD_MODEL",
        required = true,
        value_delimiter = ';',
        value_name = "NAME=PATH[,preset=P][,labels=FILE][,task=T][,head=H][,shape=S]"
    )]
    model: Vec<Served>,
    /// Where to listen for HTTP; port 0 is any free one.
    #[arg(long, env = "EDGELD_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Where to listen for gRPC.
    #[arg(long, env = "EDGELD_GRPC", value_name = "ADDR:PORT", default_value = "127.0.0.1:8001")]
    grpc: SocketAddr,
    /// How many requests may wait for each model; more are refused at once.
    #[arg(long, env = "EDGELD_QUEUE", value_name = "N", default_value = "32", value_parser = count)]
    queue: usize,
    /// How long a request may wait for its turn, in milliseconds. What would wait longer is refused
    /// at once.
    #[arg(long, env = "EDGELD_DEADLINE", value_name = "MS", default_value = "10000",
        value_parser = count)]
    deadline: usize,
    /// A file with a token that requests have to carry: `Authorization: Bearer TOKEN`. It takes one,
    /// or --insecure, to listen beyond this machine.
    #[arg(long, env = "EDGELD_TOKEN_FILE", value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    kernels: KernelArgs,
    #[command(flatten)]
    machine: MachineArgs,
}

/// A model on the command line.
#[derive(Debug, Clone, PartialEq)]
struct Served {
    name: String,
    path: String,
    preset: Option<Preset>,
    labels: Option<PathBuf>,
    task: Option<Task>,
    head: Option<Head>,
    shape: Option<Vec<u64>>,
}

impl FromStr for Served {
    type Err = String;

    fn from_str(text: &str) -> Result<Served, String> {
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default().split_once('=');
        let (name, path) = first
            .filter(|(name, path)| !name.is_empty() && !path.is_empty())
            .ok_or("NAME=PATH is needed, as in eyes=yolo.onnx")?;
        let (name, path) = (name.to_owned(), path.to_owned());
        let mut served =
            Served { name, path, preset: None, labels: None, task: None, head: None, shape: None };
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key {
                "preset" => served.preset = Some(value.parse().map_err(text_of)?),
                "labels" => served.labels = Some(value.into()),
                "task" => served.task = Some(value.parse()?),
                "head" => served.head = Some(value.parse().map_err(text_of)?),
                "shape" => served.shape = Some(shape(value)?),
                _ => return Err(format!("{key:?} is not preset, labels, task, head or shape")),
            }
        }
        Ok(served)
    }
}

fn shape(text: &str) -> Result<Vec<u64>, String> {
    let dims: Result<Vec<u64>, _> = text.split('x').map(str::parse).collect();
    let dims = dims.ok().filter(|dims| !dims.contains(&0));
    dims.ok_or_else(|| format!("shape={text}: whole numbers are needed, as in 1x3x640x640"))
}

fn text_of(error: impl ToString) -> String {
    error.to_string()
}

impl Served {
    fn open(&self) -> Result<Specification, Exit> {
        let mut options = models::Options::default();
        options.input_shapes.any.clone_from(&self.shape);
        let model = models::open(&self.path, &options)?;
        let labels = self.labels.as_deref().map(read_labels).transpose()?;
        let (task, head) = (self.task, self.head);
        Ok(Specification {
            name: self.name.clone(),
            model,
            pixels: self.preset.map(Preset::encoding),
            task: TaskOptions { task, head, labels, ..TaskOptions::default() },
        })
    }
}

/// Serves until a signal comes.
///
/// # Errors
/// When a model is refused, it cannot listen, or it was interrupted.
pub async fn serve(args: ServeArgs, report: &Report) -> Result<(), Exit> {
    let policy = args.plan.policy(&args.kernels)?;
    let token = args.token_file.as_deref().map(read_token).transpose()?;
    let is_open = token.is_none() && !args.cluster.membership.insecure;
    for address in [args.listen, args.grpc] {
        if is_open && !address.ip().is_loopback() {
            return Err(Exit::usage(
                format_args!("{address}: anyone who reaches this address could use the models"),
                "give a token with --token-file, say --insecure, or listen on 127.0.0.1",
            ));
        }
    }
    let models = args.model.iter().map(Served::open).collect::<Result<Vec<_>, Exit>>()?;

    let busy = report.busy("looking for devices");
    let builder = machine(leader(&args.cluster), &args.machine, &args.kernels);
    let cluster = builder.discover().await?;
    drop(busy);
    let mut watch = EventPrinter::new(report, false);
    let mut events = cluster.subscribe();
    let options = Options {
        http: args.listen,
        grpc: Some(args.grpc),
        token,
        queue: args.queue,
        deadline: Duration::from_millis(args.deadline as u64),
        policy,
        // Unless it was said what is wanted.
        follows_load: policy.in_flight.is_none() && policy.objective == Objective::Latency,
        ..Options::default()
    };
    let names: Vec<String> = models.iter().map(|model| model.name.clone()).collect();
    let busy = report.busy("planning, and bringing weights to where they are needed");
    let server = watch.during(&mut events, Server::start(&cluster, models, options)).await??;
    drop(busy);
    // From here on the models report devices, those with a share included.
    drop(events);
    let mut events = server.subscribe();
    let http = server.http();
    report.say(format_args!(
        "serving {} on {}; stop with Ctrl-C",
        names.join(", "),
        style(format_args!("http://{http}/")).for_stderr().bold()
    ));
    report.emit(&events::Serving { http, grpc: server.grpc(), models: &names })?;
    let stopped_by = watch.during(&mut events, signal::wait()).await?;
    report.say("ending once accepted requests are answered; another signal ends it at once");
    tokio::select! {
        () = server.stop() => {}
        _ = signal::wait() => {}
    }
    cluster.shutdown().await;
    match stopped_by {
        Signal::Interrupt => Err(Exit::interrupted()),
        Signal::Terminate => Ok(()),
    }
}

/// The token in a file: its first line.
///
/// # Errors
/// When the file cannot be read or holds none.
pub fn read_token(path: &Path) -> Result<String, Exit> {
    let refused = |why: &dyn std::fmt::Display| {
        let hint = "write one with `openssl rand -hex 32 > FILE`";
        Exit::usage(format_args!("{}: {why}", path.display()), hint)
    };
    let text = std::fs::read_to_string(path).map_err(|error| refused(&error))?;
    match text.lines().next().map(str::trim) {
        Some(token) if !token.is_empty() => Ok(token.to_owned()),
        _ => Err(refused(&"it holds no token")),
    }
}

impl From<StartError> for Exit {
    fn from(error: StartError) -> Exit {
        match error {
            StartError::Load { error, .. } => (*error).into(),
            StartError::NoModels | StartError::Name(_) => {
                Exit::usage(error, "give each model a name of its own: --model NAME=PATH")
            }
            StartError::Task { .. } => {
                Exit::refused(error, "say which one it is with head=, or use task=raw")
            }
            StartError::Listen { .. } => {
                Exit::failed(error, "choose another address with --listen and --grpc")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_described_in_one_word() {
        let served: Served = "eyes=a/b.onnx,preset=unit,labels=l.txt,task=detect".parse().unwrap();
        assert_eq!((&served.name[..], &served.path[..]), ("eyes", "a/b.onnx"));
        assert_eq!((served.preset, served.task), (Some(Preset::Unit), Some(Task::Detect)));
        assert_eq!(served.labels, Some("l.txt".into()));
        let built_in: Served = "net=vgg16?size=64&seed=3".parse().unwrap();
        assert_eq!((&built_in.path[..], built_in.head), ("vgg16?size=64&seed=3", None));
        for odd in
            ["", "vgg16", "=a", "a=", "a=b,task=sing", "a=b,x=y", "a=b,preset", "a=b,shape=1x0"]
        {
            assert!(odd.parse::<Served>().is_err(), "{odd}");
        }
    }
}
