//! Threads survive what should not happen, and memory is used again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::time::Duration;

use edgeld_runtime::exec::Input;
use edgeld_runtime::graph::{Activation, Builder, Graph, Op, ParameterId, Shape};
use edgeld_runtime::kernel::{Isa, KernelKind, Setup};
use edgeld_runtime::models::Vgg;
use edgeld_runtime::plan::{Generation, InFlight, Plan};
use edgeld_runtime::program::{Encoding, derive};
use edgeld_runtime::region::{ChannelRange, Region};
use edgeld_runtime::weights::{WeightError, WeightSource};
use edgeld_runtime::wire::{NodeId, Refusal, SessionId, Urgency};

use super::claim::{Claim, ClaimedPlan, PackedWeights};
use super::device::{Device, DeviceOptions};
use super::executor::{self, Job, Report, Route};
use super::preparation::Preparation;
use super::standby::{Standby, Step};
use crate::storage::SessionWeights;

const PATIENCE: Duration = Duration::from_secs(60);

/// A plan for one device, to be prepared with these weights, or with the model's own.
fn preparation(weights: Option<Arc<dyn WeightSource>>) -> Preparation {
    let model = Vgg::new(11).unwrap().size(32).classes(3).model().unwrap();
    let plan = Plan::alone(model.graph.layers().len() as u32);
    let derivation = derive(&model.graph, &plan).unwrap();
    let program = derivation.programs[0].clone();
    let (kind, isa) = (KernelKind::Exact, Isa::detect());
    Preparation {
        session: SessionId(1),
        generation: Generation(1),
        graph: model.graph.clone(),
        encodings: vec![Encoding::F32],
        setup: Setup { kind, isa, memory: None, reuse: false, weights: program.weights },
        program,
        transfers: derivation.transfers.into(),
        weights: SessionWeights::Local(weights.unwrap_or(model.weights)),
        suppliers: None,
        urgency: Urgency::Soon,
        cancelled: Arc::new(AtomicBool::new(false)),
        claim: Claim::new(|| ()),
    }
}

fn prepared() -> ClaimedPlan {
    preparation(None).run(&[], &|_| ()).map_err(|refusal| refusal.to_string()).unwrap()
}

#[test]
fn an_executor_runs_on_after_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let options = DeviceOptions {
        threads: Some(1),
        home: Some(folder.path().to_owned()),
        ..DeviceOptions::default()
    };
    let device = Device::open(&options).unwrap();
    let (sender, reports) = mpsc::channel();
    let report = move |report| drop(sender.send(report));
    let executor = executor::start(&device, false, report).unwrap();
    let prepared = prepared();
    let (generation, graph) = (prepared.generation, prepared.graph.clone());
    let routes = vec![Route { node: NodeId(1), strips: None }];
    executor.send(Job::AddPlan { prepared, routes, in_flight: InFlight::ONE });
    executor.send(Job::Panic);
    let elements = graph.shape(graph.inputs()[0].tensor).elements();
    let inputs = vec![Input::from(vec![0.5; elements as usize])];
    executor.send(Job::StartFrame { generation, frame: 7, inputs });
    let report = reports.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(report, Report::Answered { frame: 7, .. }), "{report:?}");
}

#[test]
fn a_preparation_that_panics_is_a_refusal() {
    struct Defect;
    impl WeightSource for Defect {
        fn read(
            &self,
            _: ParameterId,
            _: ChannelRange,
            _: &mut Vec<u8>,
        ) -> Result<(), WeightError> {
            panic!("a defect")
        }
    }
    let of_weights = preparation(Some(Arc::new(Defect)));
    // A program for another model asks for layers that this one does not have.
    let of_program = Preparation { graph: small(), ..preparation(None) };
    for preparation in [of_weights, of_program] {
        let refused = preparation.run(&[], &|_| ()).err();
        assert!(matches!(&refused, Some(Refusal::Weights(_))), "{refused:?}");
    }
}

/// A model with one layer.
fn small() -> Arc<Graph> {
    let mut builder = Builder::new("small");
    let x = builder.input("x", Shape::new(1, 4, 4), vec![1, 4, 4]).unwrap();
    let y = builder.layer("y", Op::Add, &[x, x], Activation::Linear).unwrap();
    builder.output("y", y, vec![1, 4, 4]).unwrap();
    Arc::new(builder.finish().unwrap())
}

/// Weights that count how often they are read.
struct Counted {
    weights: Arc<dyn WeightSource>,
    reads: AtomicUsize,
}

impl WeightSource for Counted {
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.weights.read(parameter, features, out)
    }
}

#[test]
fn a_plan_that_was_foreseen_reads_no_weights() {
    let weights = Vgg::new(11).unwrap().size(32).classes(3).model().unwrap().weights;
    let counted = Arc::new(Counted { weights, reads: AtomicUsize::new(0) });
    let preparation = preparation(Some(counted.clone()));
    let whole = preparation.program.regions(&preparation.graph);
    // Under another plan it would have half of the features of each layer.
    let half = whole.iter().map(|(layer, region)| {
        let half = region.channels.end.div_ceil(32) * 16;
        let features = ChannelRange::new(0, half.min(region.channels.end));
        (*layer, Region::new(features, region.rows))
    });
    let standby = Standby {
        graph: preparation.graph.clone(),
        setup: preparation.setup,
        plans: vec![half.collect(), whole.clone()],
        weights: preparation.weights.clone(),
        suppliers: None,
        earlier: Vec::new(),
        cancelled: Arc::new(AtomicBool::new(false)),
    };
    let (sender, steps) = mpsc::channel();
    standby.start(move |step| drop(sender.send(step)));
    let mut packed = Vec::new();
    while let Ok(Step::Packed(kernels)) = steps.recv_timeout(PATIENCE) {
        packed.push(PackedWeights::kept(kernels));
    }
    assert_eq!(packed.len(), 2);
    let reads = counted.reads.load(Ordering::Relaxed);
    assert!(reads > 0);
    assert!(preparation.run(&packed, &|_| ()).is_ok());
    assert_eq!(counted.reads.load(Ordering::Relaxed), reads);
}

#[test]
fn what_is_cancelled_packs_no_more() {
    let preparation = preparation(None);
    let standby = Standby {
        plans: vec![preparation.program.regions(&preparation.graph)],
        graph: preparation.graph,
        setup: preparation.setup,
        weights: preparation.weights,
        suppliers: None,
        earlier: Vec::new(),
        cancelled: Arc::new(AtomicBool::new(true)),
    };
    let (sender, steps) = mpsc::channel();
    standby.start(move |step| drop(sender.send(step)));
    assert!(
        steps.recv_timeout(PATIENCE).is_err_and(|error| error == RecvTimeoutError::Disconnected)
    );
}

#[test]
fn memory_is_released_when_the_last_user_of_a_plan_is_gone() {
    let (sender, released) = mpsc::channel();
    let claim = Claim::new(move || sender.send(()).unwrap());
    let plan = Preparation { claim, ..preparation(None) }.run(&[], &|_| ()).ok().unwrap();
    let copied_from = plan.weights();
    drop(plan);
    assert_eq!(released.try_recv(), Err(TryRecvError::Empty));
    drop(copied_from);
    assert_eq!(released.try_recv(), Ok(()));
    // One that cannot be prepared has no users.
    let (sender, released) = mpsc::channel();
    let claim = Claim::new(move || sender.send(()).unwrap());
    let refused = Preparation { claim, graph: small(), ..preparation(None) };
    assert!(refused.run(&[], &|_| ()).is_err());
    assert_eq!(released.try_recv(), Ok(()));
}
