//! What would bring more: another device, or faster links? Each answer is from solving the changed
//! problem, so it costs as much as planning.

use super::lanes::{Lanes, solve_lanes};
use super::problem::Problem;
use crate::cost::ClusterProfile;
use crate::plan::{Cuts, DeviceIx, Plan, Split};

/// How much faster the links are in the answer about them.
const FASTER_LINKS: f64 = 2.0;

/// A change by less than this part is none: predictions are not that good.
const NOTABLE: f64 = 0.005;

/// Says in words what one more device would bring, a copy of the fastest follower or else of the
/// leader, and what links of twice the goodput would. `lanes` is the solution of `problem`, `names`
/// are the devices' names, in cluster order.
pub fn what_if(problem: &Problem, lanes: &Lanes, names: &[String]) -> Vec<String> {
    let only = match &lanes.lanes[..] {
        [only] => Some(&only.solution.plan),
        _ => None,
    };
    let model = fastest(problem.profile);
    let name = names.get(model.index()).cloned();
    let device = format!(
        "with one more device like {} ({:.0} GFLOP/s, {:.0} Mbit/s)",
        name.unwrap_or_else(|| format!("device {}", model.0)),
        problem.profile.device(model).gflops(),
        problem.profile.link(model).goodput.0,
    );
    let (larger, wider) = (with_another(problem.profile, model), only.map(with_idle_device));
    let larger = Problem { profile: &larger, previous: wider.as_ref(), ..*problem };
    let faster = with_faster_links(problem.profile);
    let faster = Problem { profile: &faster, previous: only, ..*problem };
    [(device, larger), ("with links twice as fast".to_owned(), faster)]
        .map(|(change, changed)| format!("{change}: {}", outcome(&changed, lanes)))
        .into()
}

/// What the best plans for the changed problem achieve, compared with `now`.
fn outcome(changed: &Problem, now: &Lanes) -> String {
    let then = match solve_lanes(changed) {
        Ok(lanes) => lanes,
        Err(error) => return error.to_string(),
    };
    let (gain, figures) = match changed.policy.overlaps() {
        false => {
            let (now, then) = (now.cost(&changed.policy), then.cost(&changed.policy));
            (now / then - 1.0, format!("{then} instead of {now}"))
        }
        true => {
            let (now, then) = (now.frames_per_second(), then.frames_per_second());
            (then / now - 1.0, format!("{then:.2} frames a second instead of {now:.2}"))
        }
    };
    match gain {
        gain if gain > NOTABLE => figures,
        gain if gain < -NOTABLE => format!("{figures}: this policy finds no better plan for it"),
        _ => "no gain".to_owned(),
    }
}

/// The follower that is fastest at convolutions; the leader if there is none.
fn fastest(profile: &ClusterProfile) -> DeviceIx {
    let speed = |device: &DeviceIx| profile.device(*device).gflops();
    let followers = profile.ids().skip(1);
    followers.max_by(|a, b| speed(a).total_cmp(&speed(b))).unwrap_or(DeviceIx::LEADER)
}

fn with_another(profile: &ClusterProfile, model: DeviceIx) -> ClusterProfile {
    let mut larger = profile.clone();
    larger.devices.push(profile.device(model).clone());
    larger.links.push(*profile.link(model));
    larger
}

fn with_faster_links(profile: &ClusterProfile) -> ClusterProfile {
    let mut faster = profile.clone();
    for link in &mut faster.links {
        link.goodput.0 *= FASTER_LINKS;
    }
    faster
}

/// The same plan for one more device, which gets nothing to do.
fn with_idle_device(plan: &Plan) -> Plan {
    let mut wider = plan.clone();
    wider.devices += 1;
    let widen = |cuts: &Cuts| {
        let lengths = plan.device_ids().map(|device| cuts.range::<()>(device).len());
        Cuts::from_lengths(lengths.chain([0]))
    };
    for stage in &mut wider.stages {
        stage.split = match &stage.split {
            Split::Rows(cuts) => Split::Rows(widen(cuts)),
            Split::Features(cuts) => Split::Features(widen(cuts)),
            Split::Whole(owner) => Split::Whole(*owner),
        };
    }
    wider
}

#[cfg(test)]
mod tests {
    use super::super::testing::residual;
    use super::*;
    use crate::cost::{DeviceProfile, LinkProfile};
    use crate::solve::{Objective, Partition, Policy};
    use crate::units::{Mbps, Ms};

    /// Devices that are slow at a small network, on links of that goodput.
    fn devices(speeds: &[f64], link: f64) -> ClusterProfile {
        ClusterProfile::new(speeds.iter().map(|gflops| {
            let mut device = DeviceProfile::described(*gflops, 10.0);
            device.messages = DeviceProfile::described(10.0, 10.0).messages;
            (device, LinkProfile::described(Mbps(link), Ms(0.1)))
        }))
    }

    fn words(profile: &ClusterProfile, policy: Policy) -> Vec<String> {
        let graph = residual();
        let problem = Problem { graph: &graph, encodings: &[], profile, policy, previous: None };
        let lanes = solve_lanes(&problem).unwrap();
        what_if(&problem, &lanes, &["a", "b", "c"].map(str::to_owned))
    }

    #[test]
    fn both_changes_are_told_of() {
        let words = words(&devices(&[0.02, 0.005, 0.02], 20.0), Policy::default());
        let [device, links] = &words[..] else { panic!("{words:?}") };
        assert!(device.starts_with("with one more device like c (0 GFLOP/s, 20 Mbit/s): "));
        assert!(device.contains(" instead of "), "{device}");
        assert!(links.starts_with("with links twice as fast: "), "{links}");
    }

    #[test]
    fn alone_another_device_is_like_the_leader_and_links_bring_nothing() {
        let words = words(&devices(&[0.02], 1000.0), Policy::default());
        assert!(words[0].starts_with("with one more device like a "), "{words:?}");
        assert!(words[0].contains(" instead of "), "{words:?}");
        assert_eq!(words[1], "with links twice as fast: no gain");
    }

    #[test]
    fn nothing_makes_it_slower_unless_the_policy_does() {
        let graph = residual();
        for (speeds, link) in [(&[0.02, 0.01][..], 1.0), (&[0.02; 3], 20.0), (&[0.01, 1.0], 5.0)] {
            let profile = devices(speeds, link);
            for partition in [Partition::Bodp, Partition::Ocbp, Partition::Minmax] {
                let policy = Policy { partition, ..Policy::default() };
                let problem = Problem {
                    graph: &graph,
                    encodings: &[],
                    profile: &profile,
                    policy,
                    previous: None,
                };
                let lanes = solve_lanes(&problem).unwrap();
                let words = what_if(&problem, &lanes, &[]);
                assert!(words.iter().all(|line| !line.contains("no better plan")), "{words:?}");
            }
        }
        // Halos of a single row for everybody cost more than they bring.
        let policy = Policy { spread: true, ..Policy::default() };
        let words = words(&devices(&[1000.0; 3], 1.0), policy);
        assert!(words[0].ends_with("no better plan for it"), "{words:?}");
    }

    #[test]
    fn the_same_in_frames_a_second() {
        let policy = Policy { objective: Objective::Throughput, ..Policy::default() };
        let words = words(&devices(&[0.02; 2], 1000.0), policy);
        assert!(words[0].contains("frames a second instead of"), "{words:?}");
    }
}
