//! Explains a plan in words.

use super::problem::{Candidate, Problem, Solution};
use crate::cost::{Resource, Work};
use crate::plan::{DeviceIx, PlanError};
use crate::program::{Action, derive};
use crate::units::Ms;

/// Explains why each device got its share, what limits the makespan, and what the runners-up would
/// cost. `names` are the devices' names, in cluster order.
///
/// # Errors
/// When the solution does not belong to the problem.
pub fn explain(
    problem: &Problem,
    solution: &Solution,
    names: &[String],
) -> Result<Vec<String>, PlanError> {
    let words = Words { problem, solution, names };
    let mut lines = vec![words.headline()];
    let flops = words.flops()?;
    lines.extend(problem.profile.ids().map(|device| words.device(device, &flops)));
    lines.push(words.limit());
    let cost = problem.policy.cost(&solution.prediction);
    for (candidate, time) in &solution.runners_up {
        let more = (*time / cost - 1.0) * 100.0;
        lines.push(format!("{} would take {time} ({more:+.0} %)", words.candidate(candidate)));
    }
    Ok(lines)
}

struct Words<'a> {
    problem: &'a Problem<'a>,
    solution: &'a Solution,
    names: &'a [String],
}

impl Words<'_> {
    fn name(&self, device: DeviceIx) -> String {
        match self.names.get(device.index()) {
            Some(name) => name.clone(),
            None => format!("device {}", device.0),
        }
    }

    fn candidate(&self, candidate: &Candidate) -> String {
        match candidate {
            Candidate::Over(devices) => {
                let names: Vec<String> = devices.iter().map(|device| self.name(*device)).collect();
                format!("split over {}", names.join(", "))
            }
            Candidate::Only(DeviceIx::LEADER) => {
                format!("{} alone", self.name(DeviceIx::LEADER))
            }
            Candidate::Only(device) => format!("all of it on {}", self.name(*device)),
            Candidate::Previous => "the plan as it was".to_owned(),
        }
    }

    fn headline(&self) -> String {
        let chosen = self.candidate(&self.solution.chosen);
        let predicted = self.solution.predicted;
        let leader = self.name(DeviceIx::LEADER);
        match self.solution.alone {
            Some(alone) => format!(
                "{chosen}: {predicted} predicted, {:.2} times as fast as {leader} alone ({alone})",
                alone / predicted
            ),
            None => {
                format!("{chosen}: {predicted} predicted; {leader} cannot hold the model alone")
            }
        }
    }

    /// Operations of each device in one inference.
    fn flops(&self) -> Result<Vec<f64>, PlanError> {
        let graph = self.problem.graph;
        let derivation = derive(graph, &self.solution.plan)?;
        let flops = derivation.programs.iter().map(|program| {
            let runs = program.steps.iter().filter_map(|step| match &step.action {
                Action::Compute { runs, .. } => Some(runs),
                _ => None,
            });
            runs.flatten().map(|run| Work::of(graph, run.layer, run.region).flops).sum()
        });
        Ok(flops.collect())
    }

    fn device(&self, device: DeviceIx, flops: &[f64]) -> String {
        let Problem { profile, policy, .. } = self.problem;
        let name = self.name(device);
        let speed = profile.device(device).gflops();
        let link = profile.link(device);
        let mine = flops.get(device.index()).copied().unwrap_or(0.0);
        if !self.solution.plan.is_active(device) {
            let why = match self.fastest_with(device) {
                _ if policy.leader_idle && device == DeviceIx::LEADER => {
                    "it is to stay idle, but for what is not shared".to_owned()
                }
                Some(time) => format!("with a part of it the answer would take {time}"),
                None => "no plan with it fits the memory or is as fast".to_owned(),
            };
            return format!(
                "{name} gets no share: {why} ({speed:.0} GFLOP/s, {:.0} Mbit/s)",
                link.goodput.0
            );
        }
        let all: f64 = flops.iter().sum();
        let together: f64 = profile
            .ids()
            .filter(|other| self.solution.plan.is_active(*other))
            .map(|other| profile.device(other).gflops())
            .sum();
        let time = &self.solution.prediction.devices[device.index()];
        let reason = self.reason(device);
        format!(
            "{name} gets {:.0} % of the work with {:.0} % of the active devices' speed \
             ({speed:.0} GFLOP/s, {:.0} Mbit/s): {} computing, {} on strips, {} waiting{reason}",
            100.0 * mine / all.max(1.0),
            100.0 * speed / together.max(f64::MIN_POSITIVE),
            link.goodput.0,
            time.compute,
            time.strips,
            time.wait,
        )
    }

    /// What holds a device back, if anything does.
    fn reason(&self, device: DeviceIx) -> &'static str {
        let time = &self.solution.prediction.devices[device.index()];
        let interface = time.uplink.max(time.downlink);
        if interface.0 > time.compute.0 {
            "; its link is busier than its processor"
        } else if time.wait.0 > time.compute.0 {
            "; it mostly waits for others"
        } else {
            ""
        }
    }

    /// The fastest runner-up that uses a device.
    fn fastest_with(&self, device: DeviceIx) -> Option<Ms> {
        let uses = |candidate: &Candidate| match candidate {
            Candidate::Over(devices) => devices.contains(&device),
            Candidate::Only(only) => *only == device,
            Candidate::Previous => false,
        };
        let found = self.solution.runners_up.iter().find(|(candidate, _)| uses(candidate));
        found.map(|(_, time)| *time)
    }

    fn limit(&self) -> String {
        let (resource, busy) = self.solution.prediction.bottleneck();
        let total = self.solution.predicted;
        let what = match resource {
            Resource::Processor(device) => format!("the processor of {}", self.name(device)),
            Resource::Uplink(device) => format!("the link of {}, sending,", self.name(device)),
            Resource::Downlink(device) => format!("the link of {}, receiving,", self.name(device)),
        };
        let part = 100.0 * (busy / total).clamp(0.0, 1.0);
        format!("{what} limits the time: it is busy for {busy} of {total} ({part:.0} %)")
    }
}
