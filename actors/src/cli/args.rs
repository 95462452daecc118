//! Groups of flags that several commands share, and how their values are read.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{Args, ValueEnum};
use edgeld::Pace;
use edgeld::input::{Colours, DEFAULT_CROP, Fit, Framing};
use edgeld_runtime::graph::DType;
use edgeld_runtime::kernel::{Isa, KernelKind};
use edgeld_runtime::models::Options;
use edgeld_runtime::onnx::InputShapes;
use edgeld_runtime::plan::{Exchange, InFlight};
use edgeld_runtime::program::Encoding;
use edgeld_runtime::solve::{Fusion, Objective, Partition, Policy};
use edgeld_runtime::units::Bytes;

use super::exit::Exit;

/// Who takes part.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// Wait for this many devices in all, this one included. Without it: take what is found
    /// within two seconds, and answer in any case.
    #[arg(long, env = "EDGELD_DEVICES", value_name = "N", value_parser = count)]
    pub devices: Option<usize>,
    /// How long to wait for them, in seconds [default: 30; without --devices 2].
    #[arg(long, env = "EDGELD_WAIT", value_name = "SECONDS", value_parser = seconds)]
    pub wait: Option<Duration>,
    /// A device that multicast does not reach; may be given several times.
    #[arg(long, env = "EDGELD_PEER", value_name = "HOST:PORT", value_delimiter = ',',
        value_parser = host_and_port)]
    pub peer: Vec<String>,
    /// Do not look for other devices; run everything here.
    #[arg(long, env = "EDGELD_ALONE", conflicts_with_all = ["devices", "peer"],
        value_parser = FalseyValueParser::new())]
    pub alone: bool,
    #[command(flatten)]
    pub membership: MembershipArgs,
}

/// What makes devices one cluster.
#[derive(Debug, Clone, Args)]
pub struct MembershipArgs {
    /// Name of the cluster; only devices of one name work together.
    #[arg(long, env = "EDGELD_CLUSTER", value_name = "NAME", default_value = edgeld::DEFAULT_CLUSTER,
        value_parser = name)]
    pub cluster: String,
    /// The cluster's key: only devices with the same key work together, on any machine, and all they
    /// say is encrypted. `edgeld key new FILE` makes one; only its owner may read the file.
    #[arg(long, env = "EDGELD_KEY", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Without a key: work with devices beyond this machine although nothing is encrypted and
    /// devices are not authenticated.
    #[arg(long, env = "EDGELD_INSECURE", value_parser = FalseyValueParser::new())]
    pub insecure: bool,
    /// Neither announce nor look for anything over multicast DNS.
    #[arg(long, env = "EDGELD_NO_MDNS", value_parser = FalseyValueParser::new())]
    pub no_mdns: bool,
}

/// What this machine gives.
#[derive(Debug, Clone, Args)]
pub struct MachineArgs {
    /// Threads to compute on [default: all cores].
    #[arg(long, env = "EDGELD_THREADS", value_name = "N", value_parser = count)]
    pub threads: Option<usize>,
    /// The part of the time in which they compute: at 0.25 they rest three quarters of the time,
    /// and leave the machine to others.
    #[arg(long, env = "EDGELD_PACE", value_name = "PART", default_value_t = Pace::FULL)]
    pub pace: Pace,
    /// Memory it may use: 900M, 1.5G, 2GiB [default: 80 % of what is free].
    #[arg(long, env = "EDGELD_MEMORY", value_name = "SIZE", value_parser = size)]
    pub memory: Option<Bytes>,
    /// Instructions it may use at most: plain, avx2, avx512, neon [default: all it has].
    #[arg(long, env = "EDGELD_ISA", value_name = "SET", value_parser = isa)]
    pub isa: Option<Isa>,
}

/// How the work is shared out.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Plan")]
pub struct PlanArgs {
    /// How rows are shared out. minmax: the slowest share is as fast as possible. ocbp: as the
    /// EdgeLD paper does it. bodp: in proportion to speed, as MoDNN does.
    #[arg(long, env = "EDGELD_PARTITION", value_name = "POLICY", default_value = "minmax")]
    pub partition: Partition,
    /// Which layers run without exchange between them. auto: as measurements suggest. layerwise:
    /// every layer is a stage. block: those between two changes of height.
    #[arg(long, env = "EDGELD_FUSION", value_name = "POLICY", default_value = "auto")]
    pub fusion: Fusion,
    /// peer: devices send each other just what is needed. leader: all goes through this device
    /// after every stage.
    #[arg(long, env = "EDGELD_EXCHANGE", value_name = "MODE", default_value = "peer")]
    pub exchange: Exchange,
    /// What devices send each other: f32, or f16 for half the bytes and answers within 2e-3 of the
    /// largest logit. Pictures travel as pixels in any case.
    #[arg(long, env = "EDGELD_WIRE", value_name = "TYPE", default_value = "f32")]
    pub wire: DType,
    /// This device computes no rows of split stages, as in the EdgeLD paper.
    #[arg(long, env = "EDGELD_LEADER_IDLE", value_parser = FalseyValueParser::new())]
    pub leader_idle: bool,
    /// Every device gets a share, or whole frames with --objective throughput, even where that
    /// costs time. Without it a device that does not help gets none.
    #[arg(long, env = "EDGELD_SPREAD", value_parser = FalseyValueParser::new())]
    pub spread: bool,
    /// latency: the shortest time from input to answer. throughput: the most frames a second; every
    /// device with memory for the whole model computes whole frames, as many as its speed allows,
    /// unless splitting them promises more.
    #[arg(long, env = "EDGELD_OBJECTIVE", value_name = "GOAL", default_value = "latency")]
    pub objective: Objective,
    /// How many frames are in the cluster at once, 1 to 64, so that devices need not wait for each
    /// other: more frames a second, each of which takes longer. Devices reserve memory for that
    /// many [default: 1; with --objective throughput two for each device that computes whole
    /// frames, or three where frames are split].
    #[arg(long, env = "EDGELD_IN_FLIGHT", value_name = "K")]
    pub in_flight: Option<InFlight>,
}

impl PlanArgs {
    /// Which plans may be chosen from.
    ///
    /// # Errors
    /// When the kernels cannot use such weights.
    pub fn policy(&self, kernels: &KernelArgs) -> Result<Policy, Exit> {
        Ok(Policy {
            partition: self.partition,
            fusion: self.fusion,
            exchange: self.exchange,
            wire: self.wire,
            weights: kernels.weights()?,
            leader_idle: self.leader_idle,
            spread: self.spread,
            objective: self.objective,
            in_flight: self.in_flight,
        })
    }
}

/// Which kernels compute.
#[derive(Debug, Clone, Args)]
pub struct KernelArgs {
    /// burn: burn-ndarray's own operators, the reference. exact: the same bits however the work is
    /// split. fast: the fastest, within 1e-4 of the largest logit.
    #[arg(long, env = "EDGELD_KERNELS", value_name = "KIND", default_value = "fast")]
    pub kernels: Kernels,
    /// What weights are kept in memory as: f32, or f16 for half of it and answers within 2e-3 of the
    /// largest logit, often sooner. Not with --kernels burn.
    #[arg(long, env = "EDGELD_WEIGHTS", value_name = "TYPE", default_value = "f32")]
    weights: DType,
}

impl KernelArgs {
    /// What weights are kept as.
    ///
    /// # Errors
    /// When the kernels cannot use such weights.
    pub fn weights(&self) -> Result<DType, Exit> {
        match (self.kernels, self.weights) {
            (Kernels::Burn, DType::F16) => Err(Exit::usage(
                "--kernels burn takes weights of float32 only, --weights f16 asks for halves",
                "use --kernels fast or exact, or --weights f32",
            )),
            (_, weights) => Ok(weights),
        }
    }
}

/// [`KernelKind`], on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kernels {
    Burn,
    Exact,
    Fast,
}

impl Kernels {
    /// As it is typed.
    pub fn name(self) -> &'static str {
        match self {
            Kernels::Burn => "burn",
            Kernels::Exact => "exact",
            Kernels::Fast => "fast",
        }
    }
}

impl From<Kernels> for KernelKind {
    fn from(kernels: Kernels) -> KernelKind {
        match kernels {
            Kernels::Burn => KernelKind::Burn,
            Kernels::Exact => KernelKind::Exact,
            Kernels::Fast => KernelKind::Fast,
        }
    }
}

/// The model.
#[derive(Debug, Clone, Args)]
pub struct ModelArgs {
    /// An .onnx file, or vgg11, vgg13, vgg16, vgg19 with weights made of a seed, as in
    /// 'vgg16?size=448&seed=7&classes=10'.
    #[arg(value_name = "MODEL")]
    pub model: String,
    /// Fixes the dimensions that the file leaves open. Of a model with several inputs for one of
    /// them, with its name before it: mask=1,1,64,64; may be given several times.
    #[arg(long, env = "EDGELD_INPUT_SHAPE", value_name = "[NAME=]1,3,224,224",
        value_delimiter = ';', value_parser = input_shape)]
    input_shape: Vec<InputShape>,
}

impl ModelArgs {
    /// How the model is opened.
    pub fn options(&self) -> Options {
        let mut shapes = InputShapes::default();
        for InputShape { name, dims } in self.input_shape.iter().cloned() {
            match name {
                Some(name) => drop(shapes.named.insert(name, dims)),
                None => shapes.any = Some(dims),
            }
        }
        Options { input_shapes: shapes }
    }
}

/// How pictures are prepared, and how classes are called.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Pictures")]
pub struct PictureArgs {
    /// How the network wants its pixels: imagenet, lite, unit (0 to 1) or none (0 to 255)
    /// [default: what the model says].
    #[arg(long, env = "EDGELD_PRESET", value_name = "NAME", conflicts_with_all = ["mean", "std"],
        value_parser = ["imagenet", "lite", "unit", "none"])]
    pub preset: Option<String>,
    /// Subtracted from the pixels, in the 0-255 scale and the order in which the model takes them.
    #[arg(long, env = "EDGELD_MEAN", value_name = "R,G,B", requires = "std", value_parser = channels,
        allow_hyphen_values = true)]
    pub mean: Option<[f32; 3]>,
    /// Divides them after that.
    #[arg(long, env = "EDGELD_STD", value_name = "R,G,B", requires = "mean",
        value_parser = divisors)]
    pub std: Option<[f32; 3]>,
    /// How a picture is brought to the input's size. crop: the square in its centre. letterbox: all
    /// of it, gray around it. corner: the same, in the top left corner. stretch: all of it,
    /// stretched [default: crop; for detectors as they were trained].
    #[arg(long, env = "EDGELD_FIT", value_name = "HOW")]
    pub fit: Option<PictureFit>,
    /// Blue first, then green and red, as OpenCV has colours.
    #[arg(long, env = "EDGELD_BGR", value_parser = FalseyValueParser::new())]
    pub bgr: bool,
    /// With --fit crop, the part of a picture's shorter side that is kept.
    #[arg(long, env = "EDGELD_CROP", value_name = "PART", default_value_t = DEFAULT_CROP,
        value_parser = part)]
    pub crop: f64,
    /// Names of the classes, one a line.
    #[arg(long, env = "EDGELD_LABELS", value_name = "FILE")]
    pub labels: Option<PathBuf>,
}

impl PictureArgs {
    /// What --mean and --std say.
    pub fn explicit(&self) -> Option<Encoding> {
        let (mean, std) = (self.mean?, self.std?);
        Some(Encoding::Pixels { mean, std })
    }

    /// How pictures become inputs, where `otherwise` is what the model takes.
    pub fn framing(&self, otherwise: Framing) -> Framing {
        let fit = self.fit.map(|fit| match fit {
            PictureFit::Crop => Fit::Crop(self.crop),
            PictureFit::Letterbox => Fit::Letterbox,
            PictureFit::Corner => Fit::Corner,
            PictureFit::Stretch => Fit::Stretch,
        });
        let colours = if self.bgr { Colours::Bgr } else { otherwise.colours };
        Framing { fit: fit.unwrap_or(otherwise.fit), colours }
    }
}

/// [`Fit`], on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PictureFit {
    Crop,
    Letterbox,
    Corner,
    Stretch,
}

/// Dimensions of an input, which may be named.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InputShape {
    name: Option<String>,
    dims: Vec<u64>,
}

fn input_shape(text: &str) -> Result<InputShape, String> {
    let (name, dims) = match text.rsplit_once('=') {
        Some((name, dims)) => (Some(name.to_owned()), dims),
        None => (None, text),
    };
    let dims: Result<Vec<u64>, _> = dims.split(',').map(|dim| dim.trim().parse()).collect();
    match dims {
        Ok(dims) if !dims.contains(&0) => Ok(InputShape { name, dims }),
        _ => Err("whole numbers of at least 1 are needed, as in 1,3,224,224".to_owned()),
    }
}

/// A whole number of at least 1.
pub fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if (1..=usize::from(u16::MAX)).contains(&count) => Ok(count),
        _ => Err(format!("a whole number from 1 to {} is needed", u16::MAX)),
    }
}

/// A time in seconds.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: Result<f64, _> = text.parse();
    seconds
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|wait| *wait <= Duration::from_secs(86_400))
        .ok_or_else(|| "seconds are needed, at most a day of them, as in 10 or 0.5".to_owned())
}

/// A name of a cluster.
pub fn name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=63 => Ok(text.to_owned()),
        _ => Err("a name of 1 to 63 bytes is needed".to_owned()),
    }
}

/// An address with a port.
pub fn host_and_port(text: &str) -> Result<String, String> {
    let address = text
        .rsplit_once(':')
        .filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0));
    match address {
        Some(_) => Ok(text.to_owned()),
        None => Err("HOST:PORT is needed, as in 192.168.1.20:7070 or pi4.local:7070".to_owned()),
    }
}

/// A number above 0 and up to 1.
pub fn part(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(part) if part > 0.0 && part <= 1.0 => Ok(part),
        _ => Err("a number above 0 and up to 1 is needed".to_owned()),
    }
}

fn channels(text: &str) -> Result<[f32; 3], String> {
    let numbers: Result<Vec<f32>, _> =
        text.split(',').map(|number| number.trim().parse()).collect();
    numbers
        .ok()
        .and_then(|numbers| <[f32; 3]>::try_from(numbers).ok())
        .filter(|numbers| numbers.iter().all(|number| number.is_finite()))
        .ok_or_else(|| "three numbers are needed, as in 123.7,116.3,103.5".to_owned())
}

fn divisors(text: &str) -> Result<[f32; 3], String> {
    match channels(text)? {
        numbers if numbers.iter().all(|number| *number > 0.0) => Ok(numbers),
        _ => Err("numbers above 0 are needed".to_owned()),
    }
}

/// An instruction set of this machine.
fn isa(text: &str) -> Result<Isa, String> {
    let has = || Isa::ALL.into_iter().filter(|isa| isa.is_available());
    has().find(|isa| isa.to_string() == text).ok_or_else(|| {
        let names: Vec<String> = has().map(|isa| isa.to_string()).collect();
        format!("this machine has {}", names.join(", "))
    })
}

/// A number of bytes, with or without a unit.
pub fn size(text: &str) -> Result<Bytes, String> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "ki" | "kib" => 1024.0,
        "mi" | "mib" => 1024.0 * 1024.0,
        "gi" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => 0.0,
    };
    match number.parse::<f64>().map(|number| number * unit) {
        Ok(bytes) if (1.0..1e18).contains(&bytes) => Ok(Bytes(bytes as u64)),
        _ => Err("a size is needed, as in 900M, 1.5G or 2GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("900M"), Ok(Bytes(900_000_000)));
        assert_eq!(size("1.5G"), Ok(Bytes(1_500_000_000)));
        assert_eq!(size("2GiB"), Ok(Bytes(2 << 30)));
        assert_eq!(size("4096"), Ok(Bytes(4096)));
        for wrong in ["", "M", "-1M", "1X", "0", "1e30G", "nan"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert!(count("0").is_err() && count("99999").is_err());
        assert!(part("0").is_err() && part("1.01").is_err() && part("nan").is_err());
        assert!(channels("1,2").is_err() && channels("1,2,inf").is_err());
        assert!(divisors("1,0,1").is_err());
        assert!(["1,0,3", "1,x", "", "x="].iter().all(|text| input_shape(text).is_err()));
        assert!(seconds("-1").is_err() && seconds("1e9").is_err());
    }

    #[test]
    fn shapes_may_name_their_input() {
        let shape = |name: Option<&str>| {
            Ok(InputShape { name: name.map(str::to_owned), dims: vec![1, 64] })
        };
        assert_eq!(input_shape("1,64"), shape(None));
        assert_eq!(input_shape("state=1,64"), shape(Some("state")));
        assert_eq!(input_shape("a=b=1, 64"), shape(Some("a=b")));
    }

    #[test]
    fn peers_have_a_port() {
        assert!(host_and_port("pi4.local:7070").is_ok());
        assert!(host_and_port("[fe80::1]:7070").is_ok());
        for wrong in ["pi4.local", ":7070", "pi4:0", "pi4:70700"] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
    }
}
