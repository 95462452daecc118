//! A cluster in virtual time. What its devices and links are really like changes and fluctuates; what
//! is known of them is learned from frames, as in earnest, and so is the plan chosen.

use edgeld_runtime::coord::Moment;
use edgeld_runtime::coord::holdings::{Holdings, moving_time};
use edgeld_runtime::coord::replan::{Change, Hysteresis, Overhead};
use edgeld_runtime::cost::{
    ClusterProfile, DeviceProfile, LinkEstimate, LinkProfile, Prediction, makespan,
};
use edgeld_runtime::graph::{
    Activation, Builder, Conv, DType, Graph, Op, Parameter, Pool, Reduction, Shape, Sweep,
    TensorId, Window,
};
use edgeld_runtime::ids::NodeId;
use edgeld_runtime::plan::{DeviceIx, Plan};
use edgeld_runtime::program::{Derivation, derive};
use edgeld_runtime::solve::{Policy, Problem, solve};
use edgeld_runtime::units::{Mbps, Ms};

use crate::dice::Dice;

/// Speed in convolutions of every device at first, in 10^9 floating-point operations per second.
const SPEEDS: [f64; 4] = [1.0, 1.2, 0.8, 1.0];

/// Goodput of every link at first.
pub const FAST: Mbps = Mbps(1000.0);

/// What a device and its link are really like.
#[derive(Debug, Clone, Copy)]
pub struct Truth {
    pub gflops: f64,
    pub goodput: Mbps,
}

impl Truth {
    fn profile(self) -> (DeviceProfile, LinkProfile) {
        let mut device = DeviceProfile::described(self.gflops, self.gflops);
        // Frames do not tell what messages cost.
        device.messages = DeviceProfile::described(100.0, 100.0).messages;
        (device, LinkProfile::described(self.goodput, Ms(0.1)))
    }
}

pub struct World {
    graph: Graph,
    pub truth: Vec<Truth>,
    /// By what part all speeds and rates differ from the truth at most, another one in every frame.
    pub noise: f64,
    /// One device in so many frames takes five times as long for once.
    pub outliers: Option<u64>,
    dice: Dice,
    devices: Vec<DeviceProfile>,
    links: Vec<LinkEstimate>,
    holdings: Holdings,
    plan: Plan,
    derivation: Derivation,
    hysteresis: Hysteresis,
    overhead: Overhead,
    /// A plan whose weights are on their way, and when they will have arrived.
    coming: Option<(Moment, Plan)>,
    now: Moment,
    frames: u64,
    /// How many plans have replaced others.
    pub changes: usize,
}

impl World {
    /// Everything is as it is said to be, and the best plan for that runs.
    pub fn new(seed: u64) -> World {
        let truth = SPEEDS.map(|gflops| Truth { gflops, goodput: FAST }).to_vec();
        let (devices, links): (Vec<_>, Vec<_>) = truth.iter().map(|truth| truth.profile()).unzip();
        let graph = graph();
        let profile = ClusterProfile::new(truth.iter().map(|truth| truth.profile()));
        let plan = best(&graph, &profile, None).0;
        let mut world = World {
            derivation: derive(&graph, &plan).unwrap(),
            graph,
            truth,
            noise: 0.0,
            outliers: None,
            dice: Dice::new(seed),
            devices,
            links: links.into_iter().map(LinkEstimate::new).collect(),
            holdings: Holdings::new(true),
            plan: plan.clone(),
            hysteresis: Hysteresis::new(Moment(0.0)),
            overhead: Overhead::default(),
            coming: None,
            now: Moment(0.0),
            frames: 0,
            changes: 0,
        };
        world.activate(plan);
        world
    }

    /// How a frame runs this time.
    fn next_frame(&mut self) -> Prediction {
        let (noise, dice) = (self.noise, &mut self.dice);
        let mut members = Vec::new();
        for truth in &self.truth {
            let late = self.outliers.is_some_and(|odds| dice.one_in(odds));
            let mut differs = || dice.between(1.0 - noise, 1.0 + noise);
            let gflops = truth.gflops * differs() / if late { 5.0 } else { 1.0 };
            members.push(Truth { gflops, goodput: Mbps(truth.goodput.0 * differs()) }.profile());
        }
        for (link, (_, measured)) in self.links.iter_mut().zip(&members) {
            link.observe(*measured);
        }
        makespan(&self.graph, &[], &ClusterProfile::new(members), &self.derivation)
    }

    /// Runs a frame, learns from it, and changes plans if that is worth it. Returns what it took.
    pub fn frame(&mut self) -> Ms {
        let frame = self.next_frame();
        (self.now, self.frames) = (self.now + frame.total, self.frames + 1);
        for (index, program) in self.derivation.programs.iter().enumerate() {
            let stages = frame.stages.iter().map(|times| times[index]).enumerate();
            self.devices[index].observe(&self.graph, program, stages);
        }
        let simulated = self.simulated();
        self.overhead.observe(self.now, [frame.total], simulated);
        match self.coming.take_if(|(ready, _)| *ready <= self.now) {
            Some((_, plan)) => {
                self.changes += 1;
                self.activate(plan);
            }
            None if self.coming.is_none() => self.consider(),
            None => {}
        }
        frame.total
    }

    fn consider(&mut self) {
        let profile = self.known();
        let (plan, other) = best(&self.graph, &profile, Some(&self.plan));
        let programs = derive(&self.graph, &plan).unwrap().programs;
        let lacks = |(index, program)| self.holdings.missing(&self.graph, program, node(index));
        let missing: Vec<_> = programs.iter().enumerate().map(lacks).collect();
        let moving = moving_time(&profile, &missing);
        let change = Change { present: self.predicted(), other, moving };
        if self.hysteresis.consider(self.now, self.frames, change) && plan != self.plan {
            self.coming = Some((self.now + moving, plan));
        }
    }

    fn activate(&mut self, plan: Plan) {
        self.derivation = derive(&self.graph, &plan).unwrap();
        for (index, program) in self.derivation.programs.iter().enumerate() {
            self.holdings.add(node(index), &program.features(&self.graph));
        }
        self.hysteresis = Hysteresis::new(self.now);
        self.overhead.change_plan(self.now);
        self.plan = plan;
    }

    /// What is known of the cluster.
    fn known(&self) -> ClusterProfile {
        let links = self.links.iter().map(LinkEstimate::profile);
        ClusterProfile::new(self.devices.iter().cloned().zip(links))
            .with_overhead(self.overhead.factor(self.now))
    }

    /// The time of a frame under the present plan if devices and links are like this.
    fn simulate(&self, profile: &ClusterProfile) -> Ms {
        makespan(&self.graph, &[], profile, &self.derivation).total
    }

    /// What a frame is predicted to take by what is known.
    pub fn predicted(&self) -> Ms {
        self.simulate(&self.known())
    }

    /// The same without what frames take beyond it.
    pub fn simulated(&self) -> Ms {
        self.simulate(&self.known().with_overhead(1.0))
    }

    /// How many times as long as it really does a device is believed to take.
    pub fn error(&self, device: usize) -> f64 {
        self.truth[device].gflops / self.devices[device].gflops()
    }

    /// How many times as long as under the best plan frames really take, without noise.
    pub fn regret(&self) -> f64 {
        let truth = ClusterProfile::new(self.truth.iter().map(|truth| truth.profile()));
        self.simulate(&truth) / best(&self.graph, &truth, None).1
    }

    /// Whether a device has a share.
    pub fn takes_part(&self, device: usize) -> bool {
        self.plan.is_active(DeviceIx(device as u16))
    }
}

fn node(index: usize) -> NodeId {
    NodeId(index as u128 + 1)
}

/// The best plan, and what a frame is predicted to take under it.
fn best(graph: &Graph, profile: &ClusterProfile, previous: Option<&Plan>) -> (Plan, Ms) {
    let policy = Policy::default();
    let solution = solve(&Problem { graph, encodings: &[], profile, policy, previous }).unwrap();
    (solution.plan, solution.predicted)
}

/// Convolutions in two sizes, a pool, and a dense layer of 17 MB.
fn graph() -> Graph {
    let mut builder = Builder::new("model");
    let mut x = builder.input("x", Shape::new(32, 32, 32), vec![1, 32, 32, 32]).unwrap();
    let three = Window::square(Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() });
    for (index, features) in [64, 64, 64, 64].into_iter().enumerate() {
        x = conv(&mut builder, &format!("large{index}"), x, features, three);
    }
    let window = Window::square(Sweep { kernel: 2, stride: 2, ..Sweep::point() });
    let pool = Op::Pool(Pool { reduction: Reduction::Max, window });
    x = builder.layer("pool", pool, &[x], Activation::Linear).unwrap();
    for (index, features) in [128, 128].into_iter().enumerate() {
        x = conv(&mut builder, &format!("small{index}"), x, features, three);
    }
    let y = conv(&mut builder, "dense", x, 128, Window::whole(16, 16));
    builder.output("y", y, vec![1, 128]).unwrap();
    builder.finish().unwrap()
}

fn conv(
    builder: &mut Builder,
    name: &str,
    input: TensorId,
    features: u32,
    window: Window,
) -> TensorId {
    let row = builder.shape(input).channels * window.cells() as u32;
    let parameter = Parameter { name: name.to_owned(), features, row, dtype: DType::F32 };
    let weight = builder.parameter(parameter).unwrap();
    let conv = Conv { features, groups: 1, window, weight, scale: None, bias: None };
    builder.layer(name, Op::Conv(conv), &[input], Activation::Relu).unwrap()
}
