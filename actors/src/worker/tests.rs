//! Threads survive what should not happen.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

use edgeld_runtime::exec::{Input, Prepared};
use edgeld_runtime::graph::{Activation, Builder, Graph, Op, ParameterId, Shape};
use edgeld_runtime::kernel::{Isa, KernelKind, Setup};
use edgeld_runtime::models::Vgg;
use edgeld_runtime::plan::{Generation, InFlight, Plan};
use edgeld_runtime::program::{Encoding, derive};
use edgeld_runtime::region::ChannelRange;
use edgeld_runtime::weights::{WeightError, WeightSource};
use edgeld_runtime::wire::{NodeId, Refusal, SessionId};

use super::device::{Device, DeviceOptions};
use super::executor::{self, Job, Report, Route};
use super::preparation::Preparation;
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
        setup: Setup { kind, isa, memory: None, weights: program.weights },
        program,
        transfers: derivation.transfers.into(),
        weights: SessionWeights::Local(weights.unwrap_or(model.weights)),
        suppliers: None,
        previous: None,
        cancelled: Arc::new(AtomicBool::new(false)),
    }
}

fn prepared() -> Prepared {
    preparation(None).run(&|_| ()).unwrap()
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
    let prepared = Arc::new(prepared());
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
        let refused = preparation.run(&|_| ()).err();
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
