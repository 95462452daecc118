//! How fast is this device? A fixed suite of small layers, timed before any model is known.
//!
//! Convolutions of each class, pooling and dense layers on strips of 2, 14 and 56 rows: what a
//! profile is fitted from. It takes half a second of processor time at most, and its result is
//! kept. Each layer is run once to touch its memory; of the runs after that the one with the least
//! processor time tells what the layer costs. A run is shorter than the slices in which a busy
//! machine or a processor quota hands out its time, so how much more time passed in all runs
//! together than processor time is a factor on every sample: a device with a sixth of a processor
//! is six times slower.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeld_runtime::cost::{LayerKind, Work};
use edgeld_runtime::graph::{
    Activation, Builder, Conv, DType, Graph, GraphError, LayerId, Op, Parameter, ParameterId, Pool,
    Reduction, Shape, Sweep, Window,
};
use edgeld_runtime::kernel::{KernelError, Kernels, Scratch, Setup, Threads};
use edgeld_runtime::region::{ChannelRange, Region, RowRange};
use edgeld_runtime::units::Ms;
use edgeld_runtime::weights::{WeightError, WeightSource};
use edgeld_runtime::wire::{LayerSample, SuiteResult};

/// Heights of the strips.
const ROWS: [u32; 3] = [2, 14, 56];

/// Processor time for all of it; the layers share it evenly.
const BUDGET: Duration = Duration::from_millis(300);

/// Counts changes of the cases and of the kernels: figures of earlier ones do not count any more.
pub(crate) const EDITION: u32 = 3;

/// Why a device could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchmarkError {
    /// A layer of the suite cannot be.
    #[error("the speed suite: {0}")]
    Graph(#[from] GraphError),
    /// A kernel failed.
    #[error("the speed suite: {0}")]
    Kernel(#[from] KernelError),
}

/// A layer to time.
struct Case {
    input: Shape,
    features: u32,
    groups: u32,
    /// `None` is a dense layer.
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
        input: Shape::new(2048, 1, 1),
        features: 1024,
        groups: 1,
        window: None,
        pool: false,
        heights: &[1],
    },
];

const fn conv(input: Shape, features: u32, groups: u32, kernel: u32) -> Case {
    Case { input, features, groups, window: Some(kernel), pool: false, heights: &ROWS }
}

/// Times the suite on `threads`.
///
/// # Errors
/// When a kernel fails.
pub(crate) fn measure(setup: Setup, threads: &dyn Threads) -> Result<SuiteResult, BenchmarkError> {
    let timings: usize = CASES.iter().map(|case| case.heights.len()).sum();
    let budget = BUDGET / (timings * threads.count().max(1)) as u32;
    let mut samples = Vec::new();
    let (mut passed, mut worked) = (Duration::ZERO, Duration::ZERO);
    let mut scratch = Scratch::default();
    for case in &CASES {
        let graph = Arc::new(case.graph()?);
        let layer = LayerId(0);
        let shape = graph.output_shape(layer);
        let weights = Ripple(Arc::clone(&graph));
        for rows in case.heights {
            let region = Region::new(ChannelRange::all(shape.channels), RowRange::all(*rows));
            let share = BTreeMap::from([(layer, region)]);
            let prepared = Kernels::prepare(&graph, &share, &weights, setup, None)?;
            let mut input = prepared.map(graph.layer(layer).inputs[0], case.input.region());
            for (index, cell) in input.as_mut_slice().iter_mut().enumerate() {
                *cell = ripple(index);
            }
            let mut output = prepared.map(graph.output_of(layer), region);
            let mut run = || -> Result<Duration, KernelError> {
                let start = processor_time();
                prepared.run(layer, &[&input], &mut output, region, &mut scratch, threads)?;
                Ok(processor_time().saturating_sub(start).max(Duration::from_nanos(1)))
            };
            run()?;
            let start = (Instant::now(), processor_time());
            let mut fastest = run()?;
            while start.0.elapsed() < budget {
                fastest = fastest.min(run()?);
            }
            passed += start.0.elapsed();
            worked += processor_time().saturating_sub(start.1);
            samples.push(sample(&Work::of(&graph, layer, region), fastest));
        }
    }
    // A quota or a busy machine takes its part of all of them alike.
    let factor = (passed.as_secs_f64() / worked.as_secs_f64().max(1e-9)).max(1.0);
    for sample in &mut samples {
        sample.time = sample.time * factor;
    }
    Ok(SuiteResult { kernels: setup.kind, samples })
}

/// What this thread has had of a processor. It waits for its helpers awake, so that this is what
/// a layer takes where nobody else wants the processors.
#[cfg(unix)]
fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime fills in the struct it is given, and leaves it where it fails.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// What has passed: this system does not say what a thread has had of it.
#[cfg(not(unix))]
fn processor_time() -> Duration {
    static BEGIN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    BEGIN.elapsed()
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

/// The samples as the cost model takes them; kinds of another build are left out.
pub(crate) fn cost_samples(result: &SuiteResult) -> Vec<edgeld_runtime::cost::Sample> {
    let known = result.samples.iter().filter_map(|sample| {
        let kind = LayerKind::from_number(sample.kind)?;
        let LayerSample { flops, activation_bytes, weight_bytes, time, .. } = *sample;
        let work = Work { kind, flops, activation_bytes, weight_bytes };
        Some(edgeld_runtime::cost::Sample { work, time })
    });
    known.collect()
}

impl Case {
    fn graph(&self) -> Result<Graph, GraphError> {
        let mut builder = Builder::new("speed suite");
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

/// Small numbers that are neither zero nor all the same.
fn ripple(index: usize) -> f32 {
    (index % 13) as f32 * 0.01 - 0.05
}

struct Ripple(Arc<Graph>);

impl WeightSource for Ripple {
    fn read(
        &self,
        parameter: ParameterId,
        features: ChannelRange,
        out: &mut Vec<u8>,
    ) -> Result<(), WeightError> {
        let row = self.0.parameter(parameter).row as usize;
        let elements = features.len() as usize * row;
        out.extend((0..elements).flat_map(|index| ripple(index).to_le_bytes()));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeld_runtime::kernel::Alone;
    use edgeld_runtime::kernel::KernelKind;

    #[test]
    fn every_kind_of_layer_of_a_convolutional_network_is_measured() {
        let result = measure(KernelKind::Exact.into(), &Alone).unwrap();
        let kinds: Vec<LayerKind> =
            cost_samples(&result).iter().map(|sample| sample.work.kind).collect();
        for kind in LayerKind::ALL.into_iter().filter(|kind| *kind != LayerKind::Elementwise) {
            assert!(kinds.contains(&kind), "{kind:?}");
        }
        assert!(result.samples.iter().all(|sample| sample.time.0 > 0.0));
    }
}
