//! Measures this device's speed with a fixed set of small layers, before any model is known.
//!
//! A profile is fitted to convolutions of each class, pooling and dense layers on strips of 2, 14
//! and 56 rows, the dense one larger than any cache. The benchmark takes at most half a second of
//! CPU time, and its result is cached. Each layer runs once to touch its memory; of the runs after
//! that, the median CPU time (with several threads, the shortest time) is its sample. A run is
//! shorter than the time slices of a busy machine or the periods of a CPU quota, so samples are
//! scaled: a device with a sixth of a CPU comes out six times slower, and so does one whose pace is a
//! sixth. A quota or a pace says by itself by how much. Wall time and CPU time over all runs tell it
//! otherwise, but not exactly: a few periods are over in the middle of a run, or before the quota is,
//! and a rest may come after the last run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeld_runtime::cost::{LayerKind, MessageCost, Work};
use edgeld_runtime::graph::{
    Activation, Builder, Conv, DType, Graph, GraphError, LayerId, Op, Parameter, ParameterId, Pool,
    Reduction, Shape, Sweep, Window,
};
use edgeld_runtime::kernel::{KernelError, KernelKind, Kernels, Scratch, Setup, Threads};
use edgeld_runtime::region::{ChannelRange, Region, RowRange};
use edgeld_runtime::units::Ms;
use edgeld_runtime::weights::{WeightError, WeightSource};
use edgeld_runtime::wire::{BenchmarkResult, LayerSample};

use super::message_cost;
use crate::clock::cpu_time;

/// Heights of the strips.
const ROWS: [u32; 3] = [2, 14, 56];

/// Total CPU time, shared evenly by the layers.
const BUDGET: Duration = Duration::from_millis(300);

/// The sample by which a result of another time is checked: of the first case.
const CHECKED: usize = ROWS.len() - 1;

/// How long a result of another time is checked: several periods of a quota.
const CHECK: Duration = Duration::from_millis(100);

/// A device that has become slower or faster by less is as it was: on a shared machine the processor
/// time of the same work varies by half, and frames teach the rest.
const NOTABLE: f64 = 1.75;

/// A device that is slower than its quota explains by less has nothing else to do.
const UNEXPLAINED: f64 = 2.0;

/// Incremented when the cases or kernels change, which invalidates cached results.
pub(crate) const VERSION: u32 = 7;

/// Why the benchmark failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchmarkError {
    /// A layer could not be built.
    #[error("benchmark: {0}")]
    Graph(#[from] GraphError),
    /// A kernel failed.
    #[error("benchmark: {0}")]
    Kernel(#[from] KernelError),
    /// There is no loopback interface.
    #[error("benchmark: cannot exchange messages over loopback: {0}")]
    Loopback(#[from] std::io::Error),
}

/// A layer to time.
struct Case {
    input: Shape,
    features: u32,
    groups: u32,
    /// Kernel size; `None` for a dense layer.
    window: Option<u32>,
    pool: bool,
    heights: &'static [u32],
}

const CASES: [Case; 7] = [
    conv(Shape::new(64, 56, 56), 64, 1, 3),
    conv(Shape::new(256, 56, 14), 128, 1, 3),
    conv(Shape::new(96, 56, 56), 64, 1, 1),
    conv(Shape::new(3, 56, 112), 32, 1, 7),
    conv(Shape::new(96, 56, 56), 96, 96, 3),
    Case { pool: true, ..conv(Shape::new(64, 112, 56), 64, 1, 2) },
    Case {
        input: Shape::new(4096, 1, 1),
        features: 3072,
        groups: 1,
        window: None,
        pool: false,
        heights: &[1],
    },
];

const fn conv(input: Shape, features: u32, groups: u32, kernel: u32) -> Case {
    Case { input, features, groups, window: Some(kernel), pool: false, heights: &ROWS }
}

/// Runs the benchmark on `threads`, which work this part of the time (`pace`, 0 to 1). By a quota or
/// that pace, whichever is less, they have so many `cores`, if there is either. Messages are not paced:
/// only what else slows the device slows them.
///
/// # Errors
/// When a kernel fails, or there is no loopback interface.
pub(crate) fn measure(
    setup: Setup,
    threads: &dyn Threads,
    pace: f64,
    cores: Option<f64>,
) -> Result<BenchmarkResult, BenchmarkError> {
    let timings: usize = CASES.iter().map(|case| case.heights.len()).sum();
    let budget = BUDGET / (timings * threads.count().max(1)) as u32;
    let mut samples = Vec::new();
    let (mut wall, mut cpu) = (Duration::ZERO, Duration::ZERO);
    for case in &CASES {
        for rows in case.heights {
            let timing = case.time(*rows, setup, threads, budget)?;
            wall += timing.wall;
            cpu += timing.cpu;
            samples.push(sample(&timing.work, timing.typical));
        }
    }
    // A quota or a busy machine slows all samples alike.
    let factor = slowed(wall, cpu, threads, cores);
    for sample in &mut samples {
        sample.time = sample.time * factor;
    }
    let messages = message_cost::measure()?;
    let slowed = (factor * pace).max(1.0);
    let messages = MessageCost {
        per_message: messages.per_message * slowed,
        per_byte: messages.per_byte * slowed,
    };
    Ok(BenchmarkResult { kernels: setup.kind, samples, messages })
}

/// What was measured at another time, after a short look at one of its samples: a device that is much
/// slower or faster by now is so in all of them.
///
/// ```text
/// measured once            64 x 56 x 56 by 3x3: 4.0 ms, ...
/// now under a quota        64 x 56 x 56 by 3x3: 24 ms, so all times are 6 x as long
/// ```
///
/// # Errors
/// When a kernel fails.
pub(crate) fn check(
    mut known: BenchmarkResult,
    setup: Setup,
    threads: &dyn Threads,
    cores: Option<f64>,
) -> Result<BenchmarkResult, BenchmarkError> {
    // A high strip, for which threads hardly wait for each other.
    let timing = CASES[0].time(ROWS[CHECKED], setup, threads, CHECK)?;
    let factor = slowed(timing.wall, timing.cpu, threads, cores);
    let now = sample(&timing.work, timing.typical).time * factor;
    let Some(before) = known.samples.get(CHECKED).map(|sample| sample.time) else {
        return Ok(known);
    };
    let ratio = now / before;
    if !(1.0 / NOTABLE..NOTABLE).contains(&ratio) {
        tracing::info!("layers take {ratio:.2} times as long as when they were measured");
        known.samples.iter_mut().for_each(|sample| sample.time = sample.time * ratio);
        let MessageCost { per_message, per_byte } = known.messages;
        known.messages =
            MessageCost { per_message: per_message * ratio, per_byte: per_byte * ratio };
    }
    Ok(known)
}

/// By how much a quota of so many `cores` or a busy machine slows down what took this processor time.
/// Several threads use up a quota sooner than one, and only the time that they take shows when.
fn slowed(wall: Duration, cpu: Duration, threads: &dyn Threads, cores: Option<f64>) -> f64 {
    let measured = (wall.as_secs_f64() / cpu.as_secs_f64().max(1e-9)).max(1.0);
    let promised = cores.filter(|_| threads.count() <= 1).map_or(1.0, |cores| cores.recip());
    if promised > 1.0 && measured < promised * UNEXPLAINED { promised } else { measured }
}

/// How long a case takes.
struct Timing {
    work: Work,
    /// Processor time of the median run; with several threads, the time of the shortest.
    typical: Duration,
    /// Time and processor time of all runs but the first.
    wall: Duration,
    cpu: Duration,
}

fn sample(work: &Work, time: Duration) -> LayerSample {
    LayerSample {
        kind: work.kind.number(),
        flops: work.flops,
        activation_bytes: work.activation_bytes,
        weight_bytes: work.weight_bytes,
        time: Ms::from_duration(time),
    }
}

/// The samples in the cost model's form; layer kinds unknown to this build are dropped.
pub(crate) fn cost_samples(result: &BenchmarkResult) -> Vec<edgeld_runtime::cost::Sample> {
    let samples = result.samples.iter().filter_map(|sample| {
        let kind = LayerKind::from_number(sample.kind)?;
        let LayerSample { flops, activation_bytes, weight_bytes, time, .. } = *sample;
        let work = Work { kind, flops, activation_bytes, weight_bytes };
        Some(edgeld_runtime::cost::Sample { work, time })
    });
    samples.collect()
}

impl Case {
    /// Runs the layer on a strip of so many rows until the budget is spent.
    fn time(
        &self,
        rows: u32,
        setup: Setup,
        threads: &dyn Threads,
        budget: Duration,
    ) -> Result<Timing, BenchmarkError> {
        let graph = Arc::new(self.graph()?);
        let layer = LayerId(0);
        let shape = graph.output_shape(layer);
        let weights = PatternWeights(Arc::clone(&graph));
        let region = Region::new(ChannelRange::all(shape.channels), RowRange::all(rows));
        let share = BTreeMap::from([(layer, region)]);
        let prepared = Kernels::prepare(&graph, &share, &weights, setup, &[])?;
        let mut input = prepared.map(graph.layer(layer).inputs[0], self.input.region());
        for (index, cell) in input.as_mut_slice().iter_mut().enumerate() {
            *cell = pattern(index);
        }
        let mut output = prepared.map(graph.output_of(layer), region);
        let mut scratch = Scratch::default();
        let begun = Instant::now();
        // Several threads: this one may sleep while others work, and the shortest run is one that
        // nothing interrupted.
        let is_alone = threads.count() <= 1;
        let clock = || if is_alone { cpu_time() } else { begun.elapsed() };
        let mut run = || -> Result<Duration, KernelError> {
            let start = clock();
            prepared.run(layer, &[&input], &mut output, region, &mut scratch, threads)?;
            Ok(clock().saturating_sub(start).max(Duration::from_nanos(1)))
        };
        run()?;
        let start = (Instant::now(), cpu_time());
        let mut runs = vec![run()?];
        while start.0.elapsed() < budget {
            runs.push(run()?);
        }
        let (wall, cpu) = (start.0.elapsed(), cpu_time().saturating_sub(start.1));
        runs.sort();
        let (shortest, median) = (runs[0], runs[runs.len() / 2]);
        let (typical, cpu) = match is_alone {
            true => (median, cpu),
            false => (shortest, shortest * runs.len() as u32),
        };
        let work = match setup.kind {
            KernelKind::Fast => Work::tiled(&graph, layer, region, rows, setup.weights),
            KernelKind::Exact | KernelKind::Burn => {
                Work::of(&graph, layer, region).with_weights(setup.weights)
            }
        };
        Ok(Timing { work, typical, wall, cpu })
    }

    fn graph(&self) -> Result<Graph, GraphError> {
        let mut builder = Builder::new("benchmark");
        let Shape { channels, rows, width } = self.input;
        let dims = [1, channels, rows, width].map(u64::from).to_vec();
        let input = builder.input("x", self.input, dims)?;
        let window = match self.window {
            Some(kernel) => Window::square(Sweep {
                kernel,
                stride: if self.pool { kernel } else { 1 },
                pad_before: if self.pool { 0 } else { kernel / 2 },
                pad_after: if self.pool { 0 } else { kernel / 2 },
                ..Sweep::point()
            }),
            None => Window::whole(rows, width),
        };
        let op = if self.pool {
            Op::Pool(Pool { reduction: Reduction::Max, window })
        } else {
            let row = u64::from(channels / self.groups) * window.cells();
            let weight = builder.parameter(Parameter {
                name: "w".to_owned(),
                features: self.features,
                row: row as u32,
                dtype: DType::F32,
            })?;
            let (features, groups) = (self.features, self.groups);
            Op::Conv(Conv { features, groups, window, weight, scale: None, bias: None })
        };
        let output = builder.layer("layer", op, &[input], Activation::Relu)?;
        let shape = builder.shape(output);
        let dims = [1, shape.channels, shape.rows, shape.width].map(u64::from).to_vec();
        builder.output("y", output, dims)?;
        builder.finish()
    }
}

/// The pattern's period.
const PERIOD: usize = 13;

/// Small numbers that are neither zero nor all equal.
fn pattern(index: usize) -> f32 {
    (index % PERIOD) as f32 * 0.01 - 0.05
}

struct PatternWeights(Arc<Graph>);

impl WeightSource for PatternWeights {
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        let row = self.0.parameter(parameter).row as usize;
        let end = out.len() + features.len() as usize * row * size_of::<f32>();
        // Many periods at once: a slow device should not spend its time here.
        let periods: Vec<u8> =
            (0..PERIOD * 1024).flat_map(|index| pattern(index).to_le_bytes()).collect();
        while out.len() < end {
            out.extend_from_slice(&periods[..periods.len().min(end - out.len())]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeld_runtime::kernel::Alone;
    use edgeld_runtime::kernel::KernelKind;

    #[test]
    fn what_was_measured_is_checked() {
        let setup: Setup = KernelKind::Exact.into();
        let result = measure(setup, &Alone, 1.0, None).unwrap();
        let mut better_days = result.clone();
        better_days.samples.iter_mut().for_each(|sample| sample.time = sample.time * 1e-3);
        let checked = check(better_days.clone(), setup, &Alone, None).unwrap();
        // The machine may be busy, but not a thousand times as busy at one time as at another.
        let ratio = checked.samples[0].time / better_days.samples[0].time;
        assert!(ratio > 10.0, "{ratio}");
        for (now, before) in checked.samples.iter().zip(&better_days.samples) {
            assert!((now.time / before.time / ratio - 1.0).abs() < 1e-9);
        }
    }

    /// A caller that sleeps while another thread does all the work, as on a busy machine.
    struct Sleeping;

    impl Threads for Sleeping {
        fn count(&self) -> usize {
            2
        }

        fn each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
            std::thread::scope(|scope| drop(scope.spawn(|| (0..tasks).for_each(task))));
        }
    }

    #[test]
    fn what_others_do_while_the_caller_sleeps_is_counted() {
        let speed = |threads: &dyn Threads| {
            let timing = CASES[0].time(56, KernelKind::Fast.into(), threads, CHECK).unwrap();
            timing.work.flops / timing.typical.as_secs_f64()
        };
        let (alone, sleeping) = (speed(&Alone), speed(&Sleeping));
        assert!(sleeping < 10.0 * alone, "{sleeping} and {alone} operations a second");
    }

    #[test]
    fn a_quota_is_believed_unless_the_device_is_much_slower() {
        let slowed = |wall, cores| {
            let (wall, cpu) = (Duration::from_millis(wall), Duration::from_millis(10));
            slowed(wall, cpu, &Alone, cores)
        };
        assert_eq!(slowed(10, None), 1.0);
        assert_eq!(slowed(30, None), 3.0);
        assert_eq!(slowed(30, Some(4.0)), 3.0);
        assert_eq!([25, 50, 90].map(|wall| slowed(wall, Some(0.2))), [5.0; 3]);
        assert_eq!(slowed(200, Some(0.2)), 20.0);
    }

    #[test]
    fn every_kind_of_layer_but_elementwise_is_measured() {
        let result = measure(KernelKind::Exact.into(), &Alone, 1.0, None).unwrap();
        let kinds: Vec<LayerKind> =
            cost_samples(&result).iter().map(|sample| sample.work.kind).collect();
        for kind in LayerKind::ALL.into_iter().filter(|kind| *kind != LayerKind::Elementwise) {
            assert!(kinds.contains(&kind), "{kind:?}");
        }
        assert!(result.samples.iter().all(|sample| sample.time.0 > 0.0));
    }
}
