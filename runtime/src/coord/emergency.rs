//! Stopgap plans: what to run until the devices of the best plan are ready for it.
//!
//! After a loss the best plan may give a survivor features whose weights it
//! [never held](super::holdings), or bring in a device that has not packed any. A frame that waits is
//! answered sooner if each stage for which a device lacks weights runs whole on the leader, which has
//! them all, or if those go on alone that have been at work.

use crate::ids::NodeId;
use crate::plan::{Cuts, DeviceIx, Plan, Split};
use crate::units::Ms;

/// `plan` with these stages whole on the leader.
pub fn on_leader(plan: &Plan, stages: &[usize]) -> Plan {
    let mut plan = plan.clone();
    for stage in stages {
        plan.stages[*stage].split = Split::Whole(DeviceIx::LEADER);
    }
    plan
}

/// Drops the devices without a share, so that nobody prepares or waits for them; the leader stays.
/// Returns the plan of the others and their former places.
pub fn without_idle(plan: &Plan) -> (Plan, Vec<DeviceIx>) {
    let kept: Vec<DeviceIx> = plan
        .device_ids()
        .filter(|device| *device == DeviceIx::LEADER || plan.is_active(*device))
        .collect();
    let cut =
        |cuts: &Cuts| Cuts::from_lengths(kept.iter().map(|device| cuts.range::<()>(*device).len()));
    let mut compact = plan.clone();
    compact.devices = kept.len() as u16;
    for stage in &mut compact.stages {
        stage.split = match &stage.split {
            Split::Rows(cuts) => Split::Rows(cut(cuts)),
            Split::Features(cuts) => Split::Features(cut(cuts)),
            // An owner has a share, so it is among those kept.
            Split::Whole(owner) => Split::Whole(DeviceIx(
                kept.iter().position(|device| device == owner).unwrap_or(0) as u16,
            )),
        };
    }
    (compact, kept)
}

/// The inverse of [`without_idle`]: turns a plan for `members` into one for `all`, in which the
/// others have nothing to do. `None` if a member is not in `all` or is out of order.
pub fn with_idle(plan: &Plan, members: &[NodeId], all: &[NodeId]) -> Option<Plan> {
    let places: Vec<usize> = members
        .iter()
        .map(|member| all.iter().position(|node| node == member))
        .collect::<Option<_>>()?;
    if !places.is_sorted() || places.first() != Some(&0) {
        return None;
    }
    let places: Vec<DeviceIx> = places.into_iter().map(|at| DeviceIx(at as u16)).collect();
    Some(plan.spread_over(&places, all.len() as u16))
}

/// Whether to start alone: whether the leader would answer all frames before the others have their
/// weights.
pub fn alone_is_sooner(frames: u64, alone: Ms, weights: Ms) -> bool {
    alone * frames as f64 <= weights
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Stage;

    const LEADER: NodeId = NodeId(1);
    const A: NodeId = NodeId(2);
    const B: NodeId = NodeId(3);

    fn plan() -> Plan {
        let rows = Split::Rows(Cuts::from_lengths([4, 0, 4]));
        let features = Split::Features(Cuts::from_lengths([16, 0, 0]));
        let stages = vec![
            Stage { layers: 0..1, split: rows },
            Stage { layers: 1..2, split: features },
            Stage { layers: 2..3, split: Split::Whole(DeviceIx(2)) },
        ];
        Plan::new(3, stages)
    }

    #[test]
    fn idle_devices_are_left_out_and_put_back() {
        let (compact, kept) = without_idle(&plan());
        assert_eq!(kept, [DeviceIx(0), DeviceIx(2)]);
        assert_eq!(compact.devices, 2);
        assert_eq!(compact.stages[2].split, Split::Whole(DeviceIx(1)));
        assert_eq!(with_idle(&compact, &[LEADER, B], &[LEADER, A, B]), Some(plan()));
        assert_eq!(with_idle(&compact, &[LEADER, B], &[LEADER, A]), None);
    }

    #[test]
    fn what_is_lacking_goes_to_the_leader() {
        let emergency = on_leader(&plan(), &[2]);
        assert_eq!(emergency.stages[2].split, Split::Whole(DeviceIx::LEADER));
        assert_eq!(emergency.stages[..2], plan().stages[..2]);
        assert!(alone_is_sooner(3, Ms(100.0), Ms(300.0)));
        assert!(!alone_is_sooner(4, Ms(100.0), Ms(300.0)));
    }
}
