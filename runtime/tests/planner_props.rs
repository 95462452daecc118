//! Properties of every plan that the planner makes, for random models, devices and policies.

mod random_graph;

use std::sync::Arc;

use edgeld_runtime::cost::{
    ClusterProfile, DeviceProfile, LinkProfile, MemoryNeed, makespan, memory,
};
use edgeld_runtime::graph::{DType, Graph, LayerId};
use edgeld_runtime::models;
use edgeld_runtime::plan::{DeviceIx, Exchange, InFlight, Split};
use edgeld_runtime::program::{Derivation, derive};
use edgeld_runtime::region::CHANNEL_BLOCK;
use edgeld_runtime::solve::{
    Candidate, Fusion, Lane, Lanes, Objective, Partition, Policy, Problem, Solution, SolveError,
    explain, solve, solve_lanes,
};
use edgeld_runtime::units::{Bytes, Mbps, Ms};
use proptest::prelude::*;
use random_graph::plan::random_dice;
use random_graph::random_graph;

fn device() -> impl Strategy<Value = (DeviceProfile, LinkProfile)> {
    // Small speeds: random models are small, and splitting them must sometimes pay.
    (0.0005..0.5f64, 0.001..1.0f64, 1.0..2000.0f64, 0.0..2.0f64).prop_map(
        |(gflops, dense, mbps, latency)| {
            (
                DeviceProfile::described(gflops, dense),
                LinkProfile::described(Mbps(mbps), Ms(latency)),
            )
        },
    )
}

fn cluster() -> impl Strategy<Value = ClusterProfile> {
    prop::collection::vec(device(), 1..=8).prop_map(ClusterProfile::new)
}

fn policy() -> impl Strategy<Value = Policy> {
    let partition = prop_oneof![
        1 => Just(Partition::Bodp),
        1 => Just(Partition::Ocbp),
        2 => Just(Partition::Minmax),
    ];
    let fusion = prop_oneof![Just(Fusion::Layerwise), Just(Fusion::Block), Just(Fusion::Auto)];
    let exchange = prop_oneof![Just(Exchange::Leader), Just(Exchange::Peer)];
    let dtype = || prop_oneof![Just(DType::F32), Just(DType::F16)];
    let rarely = || prop::bool::weighted(0.2);
    (partition, fusion, exchange, dtype(), dtype(), rarely(), rarely()).prop_map(
        |(partition, fusion, exchange, wire, weights, leader_idle, spread)| Policy {
            partition,
            fusion,
            exchange,
            wire,
            weights,
            leader_idle,
            spread,
            ..Policy::default()
        },
    )
}

fn problem<'a>(graph: &'a Graph, profile: &'a ClusterProfile, policy: Policy) -> Problem<'a> {
    Problem { graph, encodings: &[], profile, policy, previous: None }
}

fn derived(graph: &Graph, solution: &Solution) -> Derivation {
    derive(graph, &solution.plan).expect("a valid plan")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn plans_are_valid_and_cost_what_is_said(
        graph in random_graph(), profile in cluster(), policy in policy(),
    ) {
        let problem = problem(&graph, &profile, policy);
        let solution = solve(&problem).unwrap();
        prop_assert_eq!(solution.plan.check(&graph), Ok(()));
        prop_assert_eq!(usize::from(solution.plan.devices), profile.len());
        prop_assert_eq!(solution.plan.exchange, policy.exchange);
        prop_assert_eq!(solution.plan.wire, policy.wire);
        prop_assert_eq!(solution.plan.weights, policy.weights);
        let derivation = derived(&graph, &solution);
        let prediction = makespan(&graph, &[], &profile, &derivation);
        prop_assert_eq!(&prediction, &solution.prediction);
        prop_assert_eq!(prediction.total, solution.predicted);
        prop_assert!(explain(&problem, &solution, &[]).is_ok());
    }

    #[test]
    fn never_slower_than_alone(
        graph in random_graph(), profile in cluster(), policy in policy(),
    ) {
        let policy = Policy { spread: false, leader_idle: false, ..policy };
        let solution = solve(&problem(&graph, &profile, policy)).unwrap();
        prop_assert!(solution.predicted.0 <= solution.alone.unwrap().0);
        prop_assert!(solution.runners_up.iter().all(|(_, time)| time.0 >= solution.predicted.0));
    }

    #[test]
    fn solving_again_changes_nothing(
        graph in random_graph(), profile in cluster(), policy in policy(),
    ) {
        let first = problem(&graph, &profile, policy);
        let solution = solve(&first).unwrap();
        prop_assert_eq!(&solve(&first).unwrap(), &solution);
        let again = solve(&Problem { previous: Some(&solution.plan), ..first }).unwrap();
        prop_assert_eq!(again.plan, solution.plan);
        prop_assert_eq!(again.predicted, solution.predicted);
    }

    #[test]
    fn an_idle_leader_has_no_part_in_split_stages(
        graph in random_graph(), profile in cluster(), policy in policy(),
    ) {
        let policy = Policy { leader_idle: true, ..policy };
        let solution = solve(&problem(&graph, &profile, policy)).unwrap();
        for stage in &solution.plan.stages {
            if let Split::Rows(cuts) | Split::Features(cuts) = &stage.split {
                prop_assert!(
                    profile.len() == 1 || cuts.range::<()>(DeviceIx::LEADER).is_empty(),
                    "{:?}", stage
                );
            }
        }
    }

    #[test]
    fn spread_gives_everybody_a_part_of_what_can_be_split(
        graph in random_graph(), profile in cluster(), policy in policy(),
    ) {
        let policy = Policy { spread: true, ..policy };
        let solution = solve(&problem(&graph, &profile, policy)).unwrap();
        let part = |device: &DeviceIx| {
            !(policy.leader_idle && *device == DeviceIx::LEADER) || profile.len() == 1
        };
        let members: Vec<DeviceIx> = profile.ids().filter(part).collect();
        for stage in &solution.plan.stages {
            let (cuts, units, least) = match &stage.split {
                Split::Rows(cuts) => (cuts, cuts.total(), 1),
                Split::Features(cuts) => (cuts, cuts.total() / CHANNEL_BLOCK, CHANNEL_BLOCK),
                Split::Whole(_) => continue,
            };
            if units as usize >= 2 * members.len() {
                for device in &members {
                    let share = cuts.range::<()>(*device);
                    prop_assert!(share.len() >= least, "{} of {:?}", device.0, stage);
                }
            }
        }
        let can_split = solution.plan.stages.iter().any(|stage| {
            let rows = graph.output_shape(stage.last_layer()).rows as usize;
            !matches!(stage.split, Split::Whole(_)) && rows >= 2 * members.len()
        });
        if can_split {
            prop_assert!(members.iter().all(|device| solution.plan.is_active(*device)));
        }
    }

    #[test]
    fn figures_that_cannot_be_do_no_harm(
        graph in random_graph(), policy in policy(),
        figures in prop::collection::vec(
            prop::sample::select(vec![0.0, -1.0, 1.0, 1e300, f64::INFINITY, f64::NAN]), 12),
    ) {
        let profile = ClusterProfile::new(figures.chunks(4).map(|figure| {
            let device = DeviceProfile::described(figure[0], figure[1]);
            (device, LinkProfile::described(Mbps(figure[2]), Ms(figure[3])))
        }));
        if let Ok(solution) = solve(&problem(&graph, &profile, policy)) {
            prop_assert_eq!(solution.plan.check(&graph), Ok(()));
        }
    }

    #[test]
    fn a_makespan_covers_what_every_device_does(
        graph in random_graph(), dice in random_dice(32),
        devices in prop::collection::vec(device(), 8),
    ) {
        let profile = ClusterProfile::new(devices);
        let derivation = derive(&graph, &dice.plan(&graph)).unwrap();
        let prediction = makespan(&graph, &[], &profile, &derivation);
        let (_, busy) = prediction.bottleneck();
        prop_assert!(prediction.total.0 >= busy.0 * (1.0 - 1e-9));
        for (index, time) in prediction.devices.iter().enumerate() {
            let by_stage: f64 = prediction.stages.iter().map(|stage| stage[index].0).sum();
            prop_assert!((by_stage - time.compute.0).abs() <= 1e-9 * by_stage.max(1.0));
            prop_assert!(time.wait.0 >= -1e-9 * prediction.total.0);
        }
    }

    #[test]
    fn memory_limits_hold(
        graph in random_graph(), profile in cluster(), policy in policy(),
        limits in prop::collection::vec(64_000_000u64..64_200_000, 8),
        in_flight in (1..=3usize).prop_map(InFlight::of),
    ) {
        let mut profile = profile;
        for (device, limit) in profile.devices.iter_mut().zip(limits) {
            device.memory = Bytes(limit);
        }
        let policy = Policy { in_flight: Some(in_flight), ..policy };
        match solve(&problem(&graph, &profile, policy)) {
            Ok(solution) => for program in &derived(&graph, &solution).programs {
                let need = memory(&graph, program, in_flight).total();
                prop_assert!(need <= profile.device(program.device).memory);
            },
            Err(SolveError::Memory { device, needed, available }) => {
                prop_assert!(needed > available);
                prop_assert_eq!(available, profile.device(device).memory);
            }
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn plans_side_by_side_are_valid_and_fit_together(
        graph in random_graph(), profile in cluster(), policy in policy(),
        limits in prop::collection::vec(64_000_000u64..64_200_000, 8),
        told in prop::option::of((1..=6usize).prop_map(InFlight::of)),
    ) {
        let mut profile = profile;
        for (device, limit) in profile.devices.iter_mut().zip(limits) {
            device.memory = Bytes(limit);
        }
        let policy = Policy { objective: Objective::Throughput, in_flight: told, ..policy };
        let problem = problem(&graph, &profile, policy);
        let Ok(lanes) = solve_lanes(&problem) else { return Ok(()) };
        prop_assert_eq!(&solve_lanes(&problem).unwrap(), &lanes);
        prop_assert!(told.is_none_or(|told| lanes.in_flight == told));
        prop_assert!(lanes.lanes.len() <= lanes.in_flight.frames() as usize);
        let mut needs = vec![MemoryNeed::default(); profile.len()];
        for lane in &lanes.lanes {
            prop_assert_eq!(lane.solution.plan.check(&graph), Ok(()));
            for (need, program) in needs.iter_mut().zip(&derived(&graph, &lane.solution).programs) {
                *need = *need + memory(&graph, program, lane.in_flight);
            }
        }
        for (need, device) in needs.iter().zip(&profile.devices) {
            prop_assert!(need.total() <= device.memory);
        }
    }

    #[test]
    fn several_frames_at_once_are_at_least_as_many_a_second(
        graph in random_graph(), profile in cluster(),
    ) {
        let policy = Policy { objective: Objective::Throughput, ..Policy::default() };
        let lanes = solve_lanes(&problem(&graph, &profile, policy)).unwrap();
        let alone = solve(&problem(&graph, &profile, Policy::default())).unwrap().alone.unwrap();
        prop_assert!(lanes.frames_per_second() >= 1e3 / alone.0 * (1.0 - 1e-9));
    }
}

fn vgg16() -> Arc<Graph> {
    models::open("vgg16", &models::Options::default()).expect("a built-in model").graph
}

fn devices(speeds: &[f64], mbps: f64) -> ClusterProfile {
    ClusterProfile::new(speeds.iter().map(|gflops| {
        let device = DeviceProfile::described(*gflops, gflops / 10.0);
        (device.with_memory(Bytes(4_000_000_000)), LinkProfile::described(Mbps(mbps), Ms(0.3)))
    }))
}

/// The rows of every device in the stage that moves the most arithmetic.
fn largest_stage(graph: &Graph, solution: &Solution) -> Vec<u32> {
    let flops = |layers: std::ops::Range<u32>| -> f64 {
        layers
            .map(LayerId)
            .map(|layer| {
                let region = graph.output_shape(layer).region();
                edgeld_runtime::cost::Work::of(graph, layer, region).flops
            })
            .sum()
    };
    let stage = solution
        .plan
        .stages
        .iter()
        .max_by(|a, b| flops(a.layers.clone()).total_cmp(&flops(b.layers.clone())))
        .unwrap();
    let Split::Rows(cuts) = &stage.split else { panic!("{stage:?} is not split by rows") };
    solution.plan.device_ids().map(|device| cuts.range::<()>(device).len()).collect()
}

#[test]
fn equal_devices_get_equal_parts_and_answer_sooner() {
    let graph = vgg16();
    let profile = devices(&[20.0; 4], 1000.0);
    let solution = solve(&problem(&graph, &profile, Policy::default())).unwrap();
    assert!(solution.predicted.0 < 0.4 * solution.alone.unwrap().0, "{:?}", solution.predicted);
    assert!(matches!(solution.chosen, Candidate::Over(_)));
    let rows = largest_stage(&graph, &solution);
    // The leader has its rows of the input already, and so may take a few more.
    let mean = rows.iter().sum::<u32>() / rows.len() as u32;
    assert!(rows.iter().all(|rows| rows.abs_diff(mean) <= 1 + mean / 10), "{rows:?}");
}

#[test]
fn a_device_at_a_sixth_gets_at_most_a_third_of_an_equal_share() {
    let graph = vgg16();
    let profile = devices(&[20.0, 20.0, 20.0, 20.0, 20.0 / 6.0], 1000.0);
    for partition in [Partition::Ocbp, Partition::Minmax] {
        for fusion in [Fusion::Layerwise, Fusion::Block, Fusion::Auto] {
            for exchange in [Exchange::Leader, Exchange::Peer] {
                let policy =
                    Policy { partition, fusion, exchange, spread: true, ..Policy::default() };
                let solution = solve(&problem(&graph, &profile, policy)).unwrap();
                let rows = largest_stage(&graph, &solution);
                let equal = rows.iter().sum::<u32>() as f64 / rows.len() as f64;
                assert!(rows[4] >= 1, "{policy:?}: {rows:?}");
                assert!(f64::from(rows[4]) <= equal / 3.0, "{policy:?}: {rows:?}");
            }
        }
    }
}

#[test]
fn edgeld_itself_keeps_pools_and_dense_layers_on_the_leader() {
    let graph = vgg16();
    let profile = devices(&[20.0; 5], 1000.0);
    let policy = Policy {
        partition: Partition::Ocbp,
        fusion: Fusion::Block,
        exchange: Exchange::Leader,
        leader_idle: true,
        ..Policy::default()
    };
    let solution = solve(&problem(&graph, &profile, policy)).unwrap();
    for stage in &solution.plan.stages {
        let name = &graph.layer(stage.last_layer()).name;
        let whole = stage.split == Split::Whole(DeviceIx::LEADER);
        assert_eq!(whole, !name.starts_with("conv"), "{name}: {:?}", stage.split);
    }
    assert_eq!(solution.plan.stages.len(), 5 + 5 + 3);
}

#[test]
fn a_model_too_large_for_everybody_is_split_or_refused_with_numbers() {
    let graph = vgg16();
    let mut profile = devices(&[20.0; 4], 1000.0);
    for device in &mut profile.devices {
        device.memory = Bytes(400_000_000);
    }
    let solution = solve(&problem(&graph, &profile, Policy::default())).unwrap();
    assert_eq!(solution.alone, None);
    for device in &mut profile.devices {
        device.memory = Bytes(100_000_000);
    }
    let error = solve(&problem(&graph, &profile, Policy::default())).unwrap_err();
    let SolveError::Memory { needed, available, .. } = error else { panic!("{error}") };
    assert!(needed > available && available == Bytes(100_000_000));
}

#[test]
fn a_slow_link_keeps_the_leader_alone() {
    let graph = vgg16();
    let solution = solve(&problem(&graph, &devices(&[50.0; 3], 1.0), Policy::default())).unwrap();
    assert_eq!(solution.chosen, Candidate::Only(DeviceIx::LEADER));
    assert_eq!(Some(solution.predicted), solution.alone);
}

fn throughput(profile: &ClusterProfile) -> Lanes {
    let policy = Policy { objective: Objective::Throughput, ..Policy::default() };
    solve_lanes(&problem(&vgg16(), profile, policy)).unwrap()
}

#[test]
fn equal_devices_compute_whole_frames() {
    let lanes = throughput(&devices(&[20.0; 5], 1000.0));
    let alone = lanes.lanes[0].solution.alone.unwrap();
    let times = lanes.frames_per_second() * alone.0 / 1e3;
    assert!(lanes.lanes.len() == 5 && times > 4.5 && times <= 5.0, "{times}");
    assert_eq!(lanes.in_flight, InFlight::of(10));
    // The leader serves the others besides.
    assert!(lanes.lanes[1..].iter().all(|lane| lane.interval < lanes.lanes[0].interval));
}

#[test]
fn a_slow_device_gets_few_frames_and_one_that_is_too_small_none() {
    let mut profile = devices(&[20.0, 20.0, 5.0, 1.0], 1000.0);
    profile.devices[3].memory = Bytes(400_000_000);
    let lanes = throughput(&profile);
    let on = |lane: &Lane| lane.solution.chosen.clone();
    let chosen: Vec<Candidate> = lanes.lanes.iter().map(on).collect();
    assert_eq!(chosen, [0, 1, 2].map(|device| Candidate::Only(DeviceIx(device))));
    let slower = lanes.lanes[2].interval / lanes.lanes[1].interval;
    assert!((3.9..4.1).contains(&slower), "{slower}");
}

#[test]
fn frames_are_split_where_only_the_leader_can_hold_the_model() {
    let mut profile = devices(&[20.0; 4], 1000.0);
    for device in &mut profile.devices[1..] {
        device.memory = Bytes(400_000_000);
    }
    let lanes = throughput(&profile);
    assert_eq!((lanes.lanes.len(), lanes.in_flight), (1, InFlight::of(3)));
    let alone = lanes.lanes[0].solution.alone.unwrap();
    assert!(lanes.frames_per_second() * alone.0 / 1e3 > 2.0);
}

#[test]
fn everybody_computes_whole_frames_if_asked_for() {
    let policy = Policy { objective: Objective::Throughput, spread: true, ..Policy::default() };
    let profile = devices(&[20.0, 20.0, 0.5], 20.0);
    let lanes = solve_lanes(&problem(&vgg16(), &profile, policy)).unwrap();
    assert_eq!(lanes.lanes.len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// VGG16 has 528 MiB of weights. Each device has the convolutions' 56, and the shares of the dense
    /// layers have to be balanced to some MiB.
    #[test]
    fn vgg16_fits_on_four_devices_of_256_mib(
        speeds in prop::array::uniform4((15.0..40.0f64, 0.05..0.2f64, 100.0..1500.0f64)),
    ) {
        let graph = vgg16();
        let memory_of_each = Bytes(256 << 20);
        let profile = ClusterProfile::new(speeds.map(|(gflops, dense, mbps)| {
            let device = DeviceProfile::described(gflops, gflops * dense);
            (device.with_memory(memory_of_each), LinkProfile::described(Mbps(mbps), Ms(0.3)))
        }));
        let solution = solve(&problem(&graph, &profile, Policy::default())).unwrap();
        for program in derived(&graph, &solution).programs {
            prop_assert!(memory(&graph, &program, InFlight::ONE).total() <= memory_of_each);
        }
    }
}
