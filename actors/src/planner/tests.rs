//! What the planner answers, and with what it starts after a loss.

use std::sync::mpsc::channel;
use std::time::Duration;

use edgeld_runtime::coord::Reason;
use edgeld_runtime::coord::emergency::with_idle;
use edgeld_runtime::coord::holdings::Holdings;
use edgeld_runtime::cost::{ClusterProfile, DeviceProfile, LinkProfile};
use edgeld_runtime::models::{self, Options};
use edgeld_runtime::plan::{DeviceIx, Plan, Split, Stage};
use edgeld_runtime::program::{Encoding, Program, derive};
use edgeld_runtime::solve::Policy;
use edgeld_runtime::units::{Mbps, Ms};
use edgeld_runtime::wire::NodeId;

use super::solver::{Candidate, PreviousLane, Question, SolveRequest, start};

/// A request for a plan over two devices, of which this many have names.
fn request(number: u32, named: usize) -> SolveRequest {
    let model = models::open("vgg11?size=96&classes=3", &Options::default()).unwrap();
    let device = DeviceProfile::described(10.0, 2.0);
    let link = LinkProfile::described(Mbps(1000.0), Ms(0.1));
    SolveRequest {
        question: Question::Plan(number),
        reason: Reason::Start,
        graph: model.graph,
        encodings: vec![Encoding::F32],
        policy: Policy { spread: true, ..Policy::default() },
        explain: false,
        members: (0..named as u128).map(NodeId).collect(),
        apart: Vec::new(),
        names: vec![String::new(); named],
        profile: ClusterProfile::new([(device.clone(), link), (device, link)]),
        previous: Vec::new(),
        holdings: Holdings::new(true),
        stopgaps: Vec::new(),
        exact: true,
        expected_frames: None,
    }
}

#[test]
fn a_panic_is_an_answer_and_the_next_request_has_one_too() {
    let (sender, answers) = channel();
    let solver = start(move |outcome| drop(sender.send(outcome))).unwrap();
    solver.send(request(1, 1)).unwrap();
    solver.send(request(2, 2)).unwrap();
    let next = || answers.recv_timeout(Duration::from_secs(60)).unwrap();
    let failed = next();
    assert_eq!(failed.question, Question::Plan(1));
    let error = failed.result.unwrap().err().unwrap();
    assert!(error.contains("panicked"), "{error}");
    let solved = next();
    assert_eq!(solved.question, Question::Plan(2));
    assert!(solved.result.unwrap().is_ok());
}

/// What is proposed after a loss to three devices that have all weights on disk; `prepared` have
/// them packed, too, as for a plan without the others, and all stand by for a plan if there is one. Says
/// whether it is a stopgap, and which devices have shares.
fn after_a_loss(prepared: &[u128], contingency: Option<Plan>) -> (bool, Vec<bool>) {
    let members: Vec<NodeId> = (0..3).map(NodeId).collect();
    let device =
        (DeviceProfile::described(10.0, 2.0), LinkProfile::described(Mbps(10_000.0), Ms(0.01)));
    let mut request = SolveRequest {
        reason: Reason::Lost,
        profile: ClusterProfile::new(members.iter().map(|_| device.clone())),
        names: vec![String::new(); members.len()],
        members,
        ..request(1, 2)
    };
    let whole = Plan::alone(request.graph.layers().len() as u32);
    let program = derive(&request.graph, &whole).unwrap().programs.remove(0);
    for node in &request.members {
        request.holdings.add_all(*node, &request.graph);
    }
    for node in prepared {
        request.holdings.prepared(NodeId(*node), &request.graph, &program);
    }
    if let Some(plan) = &contingency {
        let programs = derive(&request.graph, plan).unwrap().programs;
        for (node, program) in request.members.iter().zip(&programs) {
            request.holdings.stands_by(*node, &request.graph, [program]);
        }
    }
    request.stopgaps = contingency.into_iter().collect();
    let candidate = request.candidate(None).unwrap();
    let members = &candidate.proposal.lanes[0].members;
    let has_share = request.members.iter().map(|node| members.contains(node));
    (candidate.proposal.provisional, has_share.collect())
}

/// What is proposed when a third device joins two that run a plan, all with all weights on disk; and
/// that plan, for all three. They have packed the weights of these programs, too.
fn after_a_join(packed: &[Program]) -> (Candidate, Plan) {
    let link = LinkProfile::described(Mbps(10_000.0), Ms(0.01));
    let mut request = request(1, 2);
    let before = request.candidate(None).unwrap().proposal.lanes.remove(0);
    let programs = derive(&request.graph, &before.plan).unwrap().programs;
    for (node, program) in before.members.iter().zip(&programs) {
        request.holdings.prepared(*node, &request.graph, program);
    }
    request.reason = Reason::Joined;
    request.members.push(NodeId(2));
    request.names.push(String::new());
    let device = (DeviceProfile::described(10.0, 2.0), link);
    request.profile = ClusterProfile::new(request.members.iter().map(|_| device.clone()));
    for node in &request.members {
        request.holdings.add_all(*node, &request.graph);
        request.holdings.stands_by(*node, &request.graph, packed);
    }
    let plan = with_idle(&before.plan, &before.members, &request.members).unwrap();
    let (interval, in_flight) = (before.interval, before.in_flight);
    request.previous = vec![PreviousLane { plan: plan.clone(), interval, in_flight }];
    (request.candidate(request.current().as_ref()).unwrap(), plan)
}

/// The stages of wide dense layers, which have most of the weights.
fn dense(plan: &Plan) -> Vec<&Stage> {
    let is_wide = |stage: &&Stage| match &stage.split {
        Split::Features(cuts) => cuts.total() == 4096,
        _ => false,
    };
    let stages: Vec<&Stage> = plan.stages.iter().filter(is_wide).collect();
    assert_eq!(stages.len(), 2);
    stages
}

#[test]
fn a_newcomer_helps_first_where_weights_are_few() {
    let (candidate, before) = after_a_join(&[]);
    let lane = &candidate.proposal.lanes[0];
    assert!(candidate.proposal.provisional);
    assert_eq!(lane.members.len(), 3);
    let first = &lane.plan.stages[0].split;
    assert!(matches!(first, Split::Rows(cuts) if !cuts.range::<()>(DeviceIx(2)).is_empty()));
    assert_eq!(dense(&lane.plan), dense(&before));
}

#[test]
fn a_newcomer_that_is_ready_helps_everywhere() {
    let graph = request(1, 2).graph;
    let whole = derive(&graph, &Plan::alone(graph.layers().len() as u32)).unwrap().programs;
    let (candidate, before) = after_a_join(&whole);
    let lane = &candidate.proposal.lanes[0];
    assert_eq!(lane.members.len(), 3);
    assert_ne!(dense(&lane.plan), dense(&before));
}

#[test]
fn who_has_packed_nothing_yet_joins_later() {
    assert_eq!(after_a_loss(&[0, 1, 2], None), (false, vec![true; 3]));
    assert_eq!(after_a_loss(&[0, 1], None), (true, vec![true, true, false]));
    assert_eq!(after_a_loss(&[0], None), (true, vec![true, false, false]));
}

#[test]
fn the_plan_that_devices_stand_by_for_comes_first() {
    let lane = request(1, 2).candidate(None).unwrap().proposal.lanes.remove(0);
    let members: Vec<NodeId> = (0..3).map(NodeId).collect();
    let plan = with_idle(&lane.plan, &lane.members, &members);
    assert!(plan.is_some());
    assert_eq!(after_a_loss(&[0], plan), (true, vec![true, true, false]));
}
