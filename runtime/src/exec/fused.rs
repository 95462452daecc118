//! Finds the sums that are computed together with a convolution.
//!
//! A residual network adds a convolution's result to an earlier map. Writing the result and reading
//! it back for that costs a light network more than the arithmetic. If the map is added while
//! results are in registers, only that map has to be read. The bits are the same either way.
//!
//! ```text
//! run 4  conv  a -> b           run 4  conv  a, + c -> d
//! run 5  add   b, c -> d
//! ```

use crate::kernel::Kernels;
use crate::program::{Action, Program, Run};

/// One call of the kernels, for one or two runs of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// A single run.
    Run(usize),
    /// A convolution and the sum that adds it to another map.
    Sum {
        /// The convolution's run.
        conv: usize,
        /// The sum's run.
        sum: usize,
        /// Which of the sum's inputs is the other map.
        other: usize,
    },
}

/// The calls of every compute step, in order; none for other steps. `uses` counts how often the
/// steps use each buffer.
pub(super) fn calls(program: &Program, kernels: &Kernels, uses: &[u32]) -> Vec<Vec<Call>> {
    let of_step = |action: &Action| match action {
        Action::Compute { runs, .. } => {
            let mut calls = Vec::new();
            let mut summed = vec![false; runs.len()];
            for conv in 0..runs.len() {
                if summed[conv] {
                    continue;
                }
                let found = (uses[runs[conv].output.index()] == 2)
                    .then(|| sum_of(runs, conv, kernels))
                    .flatten();
                calls.push(match found {
                    Some((sum, other)) => {
                        summed[sum] = true;
                        Call::Sum { conv, sum, other }
                    }
                    None => Call::Run(conv),
                });
            }
            calls
        }
        _ => Vec::new(),
    };
    program.steps.iter().map(|step| of_step(&step.action)).collect()
}

/// The run that adds the result of run `conv`, which nobody else reads, to a map that exists by
/// then, and which of its inputs that map is.
fn sum_of(runs: &[Run], conv: usize, kernels: &Kernels) -> Option<(usize, usize)> {
    let made = &runs[conv];
    let mut later = runs.iter().enumerate().skip(conv + 1);
    let (sum, reader) = later.find(|(_, run)| run.inputs.contains(&made.output))?;
    let other = match reader.inputs[..] {
        [a, b] if a == made.output && b != made.output => 1,
        [a, b] if b == made.output && a != made.output => 0,
        _ => return None,
    };
    let late = |run: &Run| {
        run.output == reader.inputs[other]
            || run.output == reader.output
            || run.inputs.contains(&reader.output)
    };
    let fits = made.region == reader.region
        && !runs[conv..sum].iter().any(late)
        && kernels.can_sum(made.layer, reader.layer);
    fits.then_some((sum, other))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::exec::Input;
    use crate::exec::local::LocalCluster;
    use crate::graph::{
        Activation, Builder, Conv, DType, Graph, Op, Parameter, ParameterId, Shape, Sweep, Window,
    };
    use crate::kernel::KernelKind;
    use crate::plan::{DeviceIx, Plan, Split, Stage};
    use crate::program::{Encoding, derive};
    use crate::region::ChannelRange;
    use crate::weights::{WeightError, WeightSource};

    const SHAPE: Shape = Shape::new(20, 9, 7);

    /// relu(conv(x) + x), twice, the second time with the summands swapped.
    fn residual() -> Arc<Graph> {
        let mut builder = Builder::new("residual");
        let mut x = builder.input("x", SHAPE, vec![1, 20, 9, 7]).unwrap();
        for turn in [false, true] {
            let weight =
                Parameter { name: "weight".into(), features: 20, row: 9 * 20, dtype: DType::F32 };
            let weight = builder.parameter(weight).unwrap();
            let window =
                Window::square(Sweep { kernel: 3, pad_before: 1, pad_after: 1, ..Sweep::point() });
            let conv = Conv { features: 20, groups: 1, window, weight, scale: None, bias: None };
            let made = builder
                .layer(&format!("conv {turn}"), Op::Conv(conv), &[x], Activation::Linear)
                .unwrap();
            let summands = if turn { [x, made] } else { [made, x] };
            x = builder
                .layer(&format!("sum {turn}"), Op::Add, &summands, Activation::Relu)
                .unwrap();
        }
        builder.output("y", x, vec![1, 20, 9, 7]).unwrap();
        Arc::new(builder.finish().unwrap())
    }

    struct Ripple(Arc<Graph>);

    impl WeightSource for Ripple {
        fn read(
            &self,
            id: ParameterId,
            features: ChannelRange,
            out: &mut Vec<u8>,
        ) -> Result<(), WeightError> {
            let count = features.indices().len() * self.0.parameter(id).row as usize;
            out.extend((0..count).flat_map(|i| ((i % 13) as f32 * 0.01 - 0.06).to_le_bytes()));
            Ok(())
        }
    }

    fn answer(graph: &Arc<Graph>, plan: &Plan) -> Vec<f32> {
        let source = Ripple(Arc::clone(graph));
        let kind = KernelKind::Exact;
        let mut cluster = LocalCluster::new(graph, &[Encoding::F32], plan, &source, kind).unwrap();
        let values = (0..SHAPE.elements()).map(|i| (i % 17) as f32 * 0.1 - 0.8);
        let input = Input::from(values.collect::<Vec<f32>>());
        cluster.infer(&[input]).unwrap().outputs.remove(0)
    }

    #[test]
    fn a_sum_along_with_its_convolution_has_the_same_bits() {
        let graph = residual();
        let layer =
            |index| Stage { layers: index..index + 1, split: Split::Whole(DeviceIx::LEADER) };
        let stages = (0..4).map(layer).collect();
        let apart = Plan::new(1, stages);
        assert_eq!(answer(&graph, &Plan::alone(4)), answer(&graph, &apart));
    }

    #[test]
    fn only_what_nobody_else_reads_is_summed_at_once() {
        let graph = residual();
        let program = derive(&graph, &Plan::alone(4)).unwrap().programs.remove(0);
        let source = Ripple(Arc::clone(&graph));
        let regions = program.regions(&graph);
        let kernels = Kernels::prepare(&graph, &regions, &source, KernelKind::Exact, &[]).unwrap();
        let step = |calls: Vec<Vec<Call>>| calls.into_iter().find(|calls| !calls.is_empty());
        let mut uses = vec![2; program.buffers.len()];
        let sums =
            vec![Call::Sum { conv: 0, sum: 1, other: 1 }, Call::Sum { conv: 2, sum: 3, other: 0 }];
        assert_eq!(step(calls(&program, &kernels, &uses)), Some(sums));
        uses.fill(3);
        let runs = (0..4).map(Call::Run).collect();
        assert_eq!(step(calls(&program, &kernels, &uses)), Some(runs));
    }
}
