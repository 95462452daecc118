//! Stopgap plans: what to run until the devices of the best plan are ready for it.
//!
//! After a loss the best plan may give a survivor features whose weights it
//! [never held](super::holdings), or bring in a device that has not packed any. A frame that waits is
//! answered sooner if each stage for which a device lacks weights runs whole on the leader, which has
//! them all, or if those go on alone that have been at work.
//!
//! The best plan for the others moves the shares of all. If the two nearest devices take over what the
//! lost one had, nobody else needs other weights than before, and they need little: with five equal
//! devices each packs a tenth of the features of a layer for each neighbour that may be lost.
//!
//! After a join a new device helps soonest where weights are few. The first seven convolutions of VGG16
//! have 7 MB of its 553, and take two thirds of the time: with these stages as in the best plan for all
//! and the others as before, frames are faster long before all devices have packed other parts of the
//! dense layers.

use crate::graph::{Graph, LayerId};
use crate::ids::NodeId;
use crate::plan::{Cuts, DeviceIx, Plan, Split, feature_step};
use crate::units::Ms;

/// `plan` with these stages whole on the leader.
pub fn on_leader(plan: &Plan, stages: &[usize]) -> Plan {
    let mut plan = plan.clone();
    for stage in stages {
        plan.stages[*stage].split = Split::Whole(DeviceIx::LEADER);
    }
    plan
}

/// `plan` without shares for these devices, none of which is the leader: in each stage the two nearest
/// devices that have one divide it and theirs, so that both have more work by the same factor. What
/// the devices had whole goes to the leader.
pub fn absorbed(graph: &Graph, plan: &Plan, lost: &[DeviceIx]) -> Plan {
    let mut plan = plan.clone();
    for stage in &mut plan.stages {
        let step = feature_step(graph, LayerId(stage.layers.start)).unwrap_or(1);
        match &mut stage.split {
            Split::Rows(cuts) => *cuts = absorb(cuts, lost, 1),
            Split::Features(cuts) => *cuts = absorb(cuts, lost, step),
            Split::Whole(owner) if lost.contains(owner) => *owner = DeviceIx::LEADER,
            Split::Whole(_) => {}
        }
    }
    plan
}

/// Divides the shares of these devices between others; boundaries stay multiples of `step`. In which
/// proportion two others divide a share depends on their own shares alone, not on what else they take
/// over: where two devices are lost at once that are not neighbours, others need what they would need for
/// the loss of either.
fn absorb(cuts: &Cuts, lost: &[DeviceIx], step: u32) -> Cuts {
    let shares: Vec<u32> = cuts.boundaries().windows(2).map(|ends| ends[1] - ends[0]).collect();
    let mut lengths = shares.clone();
    let stays = |at: &usize| shares[*at] > 0 && !lost.iter().any(|lost| lost.index() == *at);
    for lost in lost.iter().map(|lost| lost.index()) {
        let share = std::mem::take(&mut lengths[lost]);
        let mut before = (0..lost).rev().filter(stays);
        let mut after = (lost + 1..lengths.len()).filter(stays);
        // The two between which the share lies, or the two next to it if it is at an end.
        let pair = match (before.next(), after.next()) {
            (Some(left), Some(right)) => [Some(left), Some(right)],
            (Some(last), None) => [before.next(), Some(last)],
            (None, first) => [first, after.next()],
        };
        match pair {
            [Some(left), Some(right)] => {
                let both = u64::from(shares[left]) + u64::from(shares[right]);
                let part = u64::from(share) * u64::from(shares[left]) / both;
                let all = lengths[left] + lengths[right] + share;
                // The left one begins at a boundary, so whole steps keep the next one valid.
                let start: u32 = lengths[..left].iter().sum();
                let end = (start + lengths[left] + part as u32 + step / 2) / step * step;
                lengths[left] = end.clamp(start, start + all) - start;
                lengths[right] = all - lengths[left];
            }
            [left, right] => lengths[left.or(right).unwrap_or(0)] += share,
        }
    }
    Cuts::from_lengths(lengths)
}

/// The layers at which stages of both plans begin, in order.
pub fn seams(one: &Plan, other: &Plan) -> Vec<u32> {
    let starts = |plan: &Plan| -> Vec<u32> {
        plan.stages.iter().skip(1).map(|stage| stage.layers.start).collect()
    };
    let others = starts(other);
    starts(one).into_iter().filter(|start| others.contains(start)).collect()
}

/// The stages of `early` up to a layer at which stages of both plans begin, and from there those of
/// `late`. Both are for the same devices.
pub fn spliced(early: &Plan, late: &Plan, seam: u32) -> Plan {
    let before = early.stages.iter().filter(|stage| stage.layers.start < seam);
    let after = late.stages.iter().filter(|stage| stage.layers.start >= seam);
    Plan { stages: before.chain(after).cloned().collect(), ..early.clone() }
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
    use crate::coord::testing::one_convolution_and_a_pool;
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

    #[test]
    fn the_nearest_two_take_over_what_a_device_had() {
        let after = |lengths: [u32; 4], lost| {
            let cuts = absorb(&Cuts::from_lengths(lengths), &[DeviceIx(lost)], 16);
            cuts.boundaries().to_vec()
        };
        assert_eq!(after([64, 64, 64, 64], 1), [0, 96, 96, 192, 256]);
        assert_eq!(after([64, 64, 64, 64], 3), [0, 64, 160, 256, 256]);
        assert_eq!(after([0, 32, 48, 80], 1), [0, 0, 0, 64, 160]);
        // In proportion to what they had, in steps; the last one has a rest.
        assert_eq!(after([96, 64, 32, 8], 1), [0, 144, 144, 192, 200]);
        assert_eq!(after([0, 16, 0, 8], 3), [0, 0, 24, 24, 24]);
        assert_eq!(after([0, 24, 0, 0], 1), [0, 24, 24, 24, 24]);
    }

    #[test]
    fn two_that_are_lost_at_once_are_absorbed_as_each_is_alone() {
        let after = |lost: &[u16]| {
            let lost: Vec<DeviceIx> = lost.iter().copied().map(DeviceIx).collect();
            absorb(&Cuts::from_lengths([64; 5]), &lost, 16).boundaries().to_vec()
        };
        assert_eq!(after(&[1]), [0, 96, 96, 192, 256, 320]);
        assert_eq!(after(&[3]), [0, 64, 128, 224, 224, 320]);
        // The third device has what it has for either loss.
        assert_eq!(after(&[1, 3]), [0, 96, 96, 224, 224, 320]);
        assert_eq!(after(&[3, 1]), after(&[1, 3]));
        // Neighbours, in the middle and at the end; all.
        assert_eq!(after(&[1, 2]), [0, 128, 128, 128, 256, 320]);
        assert_eq!(after(&[3, 4]), [0, 64, 192, 320, 320, 320]);
        assert_eq!(after(&[1, 2, 3, 4]), [0, 320, 320, 320, 320, 320]);
    }

    #[test]
    fn features_are_absorbed_in_steps_of_the_layer_that_is_split() {
        let graph = one_convolution_and_a_pool();
        let layers = graph.layers().len() as u32;
        let step = feature_step(&graph, LayerId(0)).unwrap();
        let features = Split::Features(Cuts::from_lengths([step, step, step, step]));
        let plan = Plan::new(4, vec![Stage { layers: 0..layers, split: features }]);
        assert_eq!(plan.check(&graph), Ok(()));
        assert_eq!(absorbed(&graph, &plan, &[DeviceIx(1)]).check(&graph), Ok(()));
    }

    #[test]
    fn plans_are_spliced_where_stages_of_both_begin() {
        let late = Plan::new(
            3,
            vec![
                Stage { layers: 0..2, split: Split::Whole(DeviceIx(1)) },
                Stage { layers: 2..3, split: Split::Whole(DeviceIx(1)) },
            ],
        );
        assert_eq!(seams(&plan(), &late), [2]);
        let spliced = spliced(&plan(), &late, 2);
        assert_eq!(spliced.stages[..2], plan().stages[..2]);
        assert_eq!(spliced.stages[2..], late.stages[1..]);
    }
}
