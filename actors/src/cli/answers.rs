//! Summarises a run's answers: top scores, differences, times.

use std::collections::BTreeMap;
use std::sync::Arc;

use edgeld::{Answer, Output, PlanInfo};
use edgeld_runtime::coord::Moment;
use edgeld_runtime::plan::{Generation, InFlight};
use edgeld_runtime::units::Ms;

use super::events::{self, Frame, Score, Summary, Times};

/// Outputs with more elements than this are not class scores.
const MAX_SCORES: usize = 100_000;

/// The five largest elements of an output, largest first.
pub fn top<'a>(output: &Output, labels: &'a [String]) -> Vec<Score<'a>> {
    if output.data.len() > MAX_SCORES {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..output.data.len()).collect();
    order.sort_by(|a, b| output.data[*b].total_cmp(&output.data[*a]).then(a.cmp(b)));
    order.truncate(5);
    let score = |index: usize| Score {
        index,
        label: labels.get(index).map(String::as_str),
        score: output.data[index],
    };
    order.into_iter().map(score).collect()
}

/// The event for an answer; `frame` counts the frames shown.
pub fn frame_event<'a>(
    frame: u64,
    input: &'a str,
    answer: &'a Answer,
    labels: &'a [String],
) -> Frame<'a> {
    let output = |output: &'a Output| events::Output {
        name: &output.name,
        shape: &output.dims,
        top: top(output, labels),
    };
    Frame {
        frame,
        input,
        generation: answer.generation,
        retries: answer.retries,
        total_ms: answer.total,
        bytes_moved: answer.bytes_moved,
        outputs: answer.outputs.iter().map(output).collect(),
        classes: None,
        detections: None,
    }
}

/// How far an output is from its reference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Difference {
    /// The largest absolute difference.
    pub largest: f64,
    /// The largest absolute value of the reference.
    pub scale: f64,
}

impl Difference {
    /// The worst difference between an answer's outputs and those of the one-device answer.
    /// `f64::MAX` if their shapes differ.
    pub fn of(answer: &Answer, reference: &Answer) -> Difference {
        let same_outputs = answer.outputs.len() == reference.outputs.len();
        answer
            .outputs
            .iter()
            .zip(&reference.outputs)
            .map(|(output, reference)| between(&output.data, &reference.data))
            .fold(
                Difference { largest: if same_outputs { 0.0 } else { f64::MAX }, scale: 0.0 },
                Difference::worse,
            )
    }

    /// The larger of two differences; if equal, the one with the larger scale.
    pub fn worse(self, other: Difference) -> Difference {
        let key = |difference: &Difference| (difference.largest, difference.scale);
        if key(&other) > key(&self) { other } else { self }
    }
}

/// Whether every output has the same top class and is within the kernels' tolerance, 1e-4 of its
/// largest value.
#[cfg(any(test, feature = "demo"))]
pub fn agree(answer: &Answer, reference: &Answer) -> bool {
    let first = |output| top(output, &[]).first().map(|score| score.index);
    answer.outputs.len() == reference.outputs.len()
        && answer.outputs.iter().zip(&reference.outputs).all(|(output, reference)| {
            let difference = between(&output.data, &reference.data);
            difference.largest <= 1e-4 * difference.scale && first(output) == first(reference)
        })
}

fn between(output: &[f32], reference: &[f32]) -> Difference {
    let scale = reference.iter().map(|value| f64::from(value.abs())).fold(0.0, f64::max);
    if output.len() != reference.len() {
        return Difference { largest: f64::MAX, scale };
    }
    let difference = |(a, b): (&f32, &f32)| match f64::from(*a) - f64::from(*b) {
        _ if a.to_bits() == b.to_bits() => 0.0,
        // JSON has neither NaN nor infinity.
        difference if difference.is_finite() => difference.abs(),
        _ => f64::MAX,
    };
    Difference { largest: output.iter().zip(reference).map(difference).fold(0.0, f64::max), scale }
}

/// The statistics of a run.
#[derive(Debug, Default)]
pub struct Tally {
    lost: u64,
    retried: u64,
    plans: BTreeMap<Generation, Record>,
    /// When the first frame began and the last answer was complete.
    span: Option<(Moment, Moment)>,
    alone: Vec<Ms>,
    difference: Option<Difference>,
}

/// What a plan promised, and what it kept.
#[derive(Debug, Default)]
struct Record {
    /// As it was last told: its prediction changes, plans side by side with it come and go.
    latest: Option<Arc<PlanInfo>>,
    /// Each prediction, with the times of the frames that followed it.
    kept: Vec<(Ms, Vec<Ms>)>,
    /// The sum of the promised intervals between answers.
    promised: Ms,
}

impl Record {
    fn answered(&mut self, time: Ms) {
        let (predicted, rate) = match &self.latest {
            Some(plan) => (plan.predicted, plan.frames_per_second),
            None => (Ms(f64::NAN), f64::NAN),
        };
        self.promised += Ms(1e3 / rate);
        match self.kept.last_mut() {
            Some((before, times)) if *before == predicted => times.push(time),
            _ => self.kept.push((predicted, vec![time])),
        }
    }

    fn times(&self) -> impl Iterator<Item = Ms> {
        self.kept.iter().flat_map(|(_, times)| times).copied()
    }
}

impl Tally {
    /// Records the predictions of plans, in the order in which they were told.
    pub fn promised(&mut self, plans: &[Arc<PlanInfo>]) {
        for plan in plans {
            self.plans.entry(plan.generation).or_default().latest = Some(plan.clone());
        }
    }

    /// Records a time of the whole model on this device.
    pub fn alone(&mut self, time: Ms) {
        self.alone.push(time);
    }

    /// Records an answer, and compares it with a reference if there is one.
    pub fn answered(&mut self, answer: &Answer, reference: Option<&Answer>) {
        self.retried += u64::from(answer.retries > 0);
        self.plans.entry(answer.generation).or_default().answered(answer.total);
        let (begun, completed) = (Moment(answer.completed.0 - answer.total.0), answer.completed);
        let (first, last) = self.span.unwrap_or((begun, completed));
        self.span = Some((Moment(first.0.min(begun.0)), Moment(last.0.max(completed.0))));
        if let Some(reference) = reference {
            let difference = Difference::of(answer, reference);
            self.difference = Some(match self.difference {
                Some(worst) => worst.worse(difference),
                None => difference,
            });
        }
    }

    /// Records a frame that failed.
    pub fn lost(&mut self) {
        self.lost += 1;
    }

    /// The summary of the run.
    pub fn summary(&self) -> Summary {
        let all: Vec<Ms> = self.plans.values().flat_map(Record::times).collect();
        let (total, alone) = (Times::of(&all), Times::of(&self.alone));
        let frames = all.len() as u64;
        let per_frame = self.wall().map(|wall| wall * (frames as f64).recip());
        let compared = match self.has_overlap() {
            true => per_frame,
            false => total.map(|total| total.median),
        };
        Summary {
            frames,
            lost: self.lost,
            retried: self.retried,
            total_ms: total,
            frames_per_second: per_frame.map(|time| 1e3 / time.0),
            alone_ms: alone,
            speedup: alone.zip(compared).map(|(alone, time)| alone.median / time),
            max_abs_diff: self.difference.map(|difference| difference.largest),
            max_abs: self.difference.map(|difference| difference.scale),
            prediction_error: self.prediction_error(),
        }
    }

    /// From the first frame's beginning to the last answer.
    fn wall(&self) -> Option<Ms> {
        let (first, last) = self.span?;
        Some(last.since(first)).filter(|wall| wall.0 > 0.0)
    }

    /// Whether several frames may have been in flight at once.
    fn has_overlap(&self) -> bool {
        let mut promises = self.plans.values().filter_map(|record| record.latest.as_ref());
        promises.any(|plan| plan.in_flight > InFlight::ONE || plan.part_of_frames < 1.0)
    }

    /// Of frames that follow each other, |median / predicted - 1|, averaged over all predictions,
    /// weighted by the frames that followed each. Frames that overlap wait for each other, so what is compared is the time that all
    /// of them took together, with the sum of the intervals at which their plans promised answers.
    fn prediction_error(&self) -> Option<f64> {
        if self.has_overlap() {
            let promised: Ms = self.plans.values().map(|record| record.promised).sum();
            return Some((self.wall()? / promised - 1.0).abs()).filter(|error| error.is_finite());
        }
        let kept = self.plans.values().flat_map(|record| &record.kept);
        let errors = kept.filter_map(|(predicted, times)| {
            let error = (Times::of(times)?.median / *predicted - 1.0).abs();
            error.is_finite().then_some((times.len() as f64, error))
        });
        let (frames, sum) =
            errors.fold((0.0, 0.0), |(frames, sum), (n, error)| (frames + n, sum + n * error));
        (frames > 0.0).then(|| sum / frames)
    }
}

impl Times {
    /// Minimum, median and maximum; `None` without times.
    pub fn of(times: &[Ms]) -> Option<Times> {
        let mut sorted = times.to_vec();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = match sorted.len() % 2 {
            1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) * 0.5,
        };
        Some(Times { min, median, max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeld_runtime::units::Bytes;

    fn answer(generation: u32, total: f64, data: &[f32]) -> Answer {
        Answer {
            frame: 0,
            generation: Generation(generation),
            retries: 0,
            total: Ms(total),
            completed: Moment(total),
            bytes_moved: Bytes(10),
            outputs: vec![Output {
                name: "y".into(),
                dims: vec![1, data.len() as u64],
                data: data.to_vec(),
            }],
        }
    }

    fn plan(generation: u32, predicted: f64) -> Arc<PlanInfo> {
        Arc::new(PlanInfo {
            generation: Generation(generation),
            reason: edgeld::Reason::Start,
            objective: "latency".into(),
            partition: "minmax".into(),
            fusion: "block".into(),
            exchange: "peer".into(),
            wire: "f32".into(),
            weights: "f32".into(),
            exact: false,
            predicted: Ms(predicted),
            in_flight: InFlight::ONE,
            part_of_frames: 1.0,
            frames_per_second: 1e3 / predicted,
            alone: None,
            stages: Vec::new(),
            explanation: Vec::new(),
            plan: edgeld_runtime::plan::Plan::alone(1),
            members: Vec::new(),
        })
    }

    #[test]
    fn top_is_the_five_largest_in_order() {
        let output = answer(1, 1.0, &[0.1, 0.5, -1.0, 0.5, 0.9, 0.0, 0.2]).outputs.remove(0);
        let labels = ["a".to_owned(), "b".to_owned()];
        let top = top(&output, &labels);
        assert_eq!(top.iter().map(|score| score.index).collect::<Vec<_>>(), [4, 1, 3, 6, 0]);
        assert_eq!([top[0].label, top[1].label, top[4].label], [None, Some("b"), Some("a")]);
    }

    #[test]
    fn large_outputs_have_no_top() {
        let output = answer(1, 1.0, &vec![0.0; MAX_SCORES + 1]).outputs.remove(0);
        assert!(top(&output, &[]).is_empty());
    }

    #[test]
    fn differences_are_the_worst_over_outputs() {
        let difference = Difference::of(&answer(1, 1.0, &[1.0, 2.5]), &answer(0, 1.0, &[1.0, 2.0]));
        assert_eq!(difference, Difference { largest: 0.5, scale: 2.0 });
        assert!(!agree(&answer(1, 1.0, &[1.0, 2.5]), &answer(0, 1.0, &[1.0, 2.0])));
        assert!(agree(&answer(1, 1.0, &[1.0, 2.0001]), &answer(0, 1.0, &[1.0, 2.0])));
        let nan = Difference::of(&answer(1, 1.0, &[f32::NAN]), &answer(0, 1.0, &[1.0]));
        assert_eq!(nan.largest, f64::MAX);
        let same = Difference::of(&answer(1, 1.0, &[f32::NAN]), &answer(0, 1.0, &[f32::NAN]));
        assert_eq!(same.largest, 0.0);
        let other = Difference::of(&answer(1, 1.0, &[1.0]), &answer(0, 1.0, &[1.0, 2.0]));
        assert_eq!(other.largest, f64::MAX);
    }

    #[test]
    fn prediction_error_is_weighted_by_frames() {
        let mut tally = Tally::default();
        tally.promised(&[plan(1, 10.0), plan(2, 20.0)]);
        for total in [11.0, 12.0, 13.0] {
            tally.answered(&answer(1, total, &[1.0]), None);
        }
        tally.answered(&answer(2, 10.0, &[1.0]), None);
        // A prediction that was announced anew counts from then on.
        tally.promised(&[plan(1, 10.0), plan(2, 20.0), plan(2, 10.0)]);
        tally.answered(&answer(2, 11.0, &[1.0]), None);
        let summary = tally.summary();
        assert_eq!(summary.frames, 5);
        assert!((summary.prediction_error.unwrap() - (3.0 * 0.2 + 0.5 + 0.1) / 5.0).abs() < 1e-12);
        assert_eq!(summary.total_ms.unwrap().median, Ms(11.0));
        assert_eq!(summary.speedup, None);
    }

    #[test]
    fn speedup_compares_medians() {
        let mut tally = Tally::default();
        tally.alone(Ms(30.0));
        let one = answer(1, 10.0, &[2.0]);
        tally.answered(&one, Some(&one));
        let summary = tally.summary();
        assert_eq!((summary.speedup, summary.max_abs_diff), (Some(3.0), Some(0.0)));
        assert_eq!(summary.max_abs, Some(2.0));
    }

    #[test]
    fn frames_that_overlap_are_compared_by_rate() {
        let mut tally = Tally::default();
        let overlapping = |generation, predicted| {
            let plan =
                PlanInfo { in_flight: InFlight::of(3), ..(*plan(generation, predicted)).clone() };
            Arc::new(PlanInfo { frames_per_second: 2e3 / predicted, ..plan })
        };
        tally.promised(&[overlapping(1, 20.0), overlapping(2, 40.0)]);
        tally.alone(Ms(30.0));
        // Each takes 30 ms, but the last of four is there after 66 ms, where 60 were promised.
        for (generation, completed) in [(1, 30.0), (1, 42.0), (2, 54.0), (2, 66.0)] {
            let completed = Moment(completed);
            tally.answered(&Answer { completed, ..answer(generation, 30.0, &[1.0]) }, None);
        }
        let summary = tally.summary();
        assert_eq!(summary.total_ms.unwrap().median, Ms(30.0));
        assert!((summary.frames_per_second.unwrap() - 4e3 / 66.0).abs() < 1e-9);
        assert!((summary.speedup.unwrap() - 30.0 * 4.0 / 66.0).abs() < 1e-9);
        assert!((summary.prediction_error.unwrap() - 0.1).abs() < 1e-9);
    }

    #[test]
    fn a_run_without_answers_has_no_times() {
        let mut tally = Tally::default();
        tally.lost();
        let summary = tally.summary();
        assert_eq!((summary.frames, summary.lost, summary.total_ms), (0, 1, None));
    }
}
