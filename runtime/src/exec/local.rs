//! All devices of a plan in one thread.
//!
//! Every strip is encoded to bytes and decoded again, header and payload, so that only the sockets
//! are missing compared with a real cluster.

use std::sync::Arc;

use super::error::ExecError;
use super::frame::{Frame, Progress};
use super::input::Input;
use super::prepared::Prepared;
use crate::graph::Graph;
use crate::kernel::{Alone, KernelKind, Kernels, Scratch, Setup};
use crate::plan::{DeviceIx, Generation, Plan};
use crate::program::{Encoding, derive};
use crate::units::Bytes;
use crate::weights::WeightSource;
use crate::wire::{SessionId, StripHeader, decode, encode};

/// A cluster in one thread.
pub struct LocalCluster {
    devices: Vec<Arc<Prepared>>,
    scratch: Scratch,
    frames: u64,
}

/// The result of one inference.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Every output of the model, in the model's order.
    pub outputs: Vec<Vec<f32>>,
    /// Payload sent between devices.
    pub bytes_moved: Bytes,
}

impl LocalCluster {
    /// Prepares every device of `plan`.
    ///
    /// # Errors
    /// When the plan does not fit the graph or weights cannot be read.
    pub fn new(
        graph: &Arc<Graph>,
        encodings: &[Encoding],
        plan: &Plan,
        source: &dyn WeightSource,
        kind: KernelKind,
    ) -> Result<LocalCluster, ExecError> {
        let derivation = derive(graph, plan)?;
        let transfers: Arc<[_]> = derivation.transfers.into();
        let mut devices: Vec<Arc<Prepared>> = Vec::new();
        for program in derivation.programs {
            let regions = program.regions(graph);
            let earlier: Vec<&Kernels> = devices.iter().map(|device| &device.kernels).collect();
            let setup = Setup { weights: program.weights, ..kind.into() };
            let kernels = Kernels::prepare(graph, &regions, source, setup, &earlier)?;
            devices.push(Arc::new(Prepared::new(
                (SessionId(0), Generation(0)),
                Arc::clone(graph),
                encodings.to_vec(),
                program,
                Arc::clone(&transfers),
                kernels,
            )));
        }
        Ok(LocalCluster { devices, scratch: Scratch::default(), frames: 0 })
    }

    /// Runs one inference.
    ///
    /// # Errors
    /// When the inputs do not match the model or a kernel fails.
    pub fn infer(&mut self, inputs: &[Input]) -> Result<Outcome, ExecError> {
        let number = self.frames;
        self.frames += 1;
        let mut frames: Vec<Frame> =
            self.devices.iter().map(|prepared| Frame::new(Arc::clone(prepared), number)).collect();
        frames[0].begin(inputs)?;
        let mut outputs = vec![Vec::new(); self.devices[0].graph.outputs().len()];
        let mut bytes_moved = Bytes::ZERO;
        loop {
            let mut unfinished = false;
            let mut in_transit: Vec<(DeviceIx, Vec<u8>, Vec<u8>)> = Vec::new();
            for frame in &mut frames {
                loop {
                    match frame.advance(&mut self.scratch, &Alone)? {
                        Progress::Computed { .. } => {}
                        Progress::Output { output, values } => outputs[output] = values,
                        Progress::Strip(strip) => {
                            bytes_moved += Bytes(strip.payload.len() as u64);
                            in_transit.push((strip.to, encode(&strip.header), strip.payload));
                        }
                        Progress::Waiting => {
                            unfinished = true;
                            break;
                        }
                        Progress::Finished => break,
                    }
                }
            }
            if !unfinished {
                return Ok(Outcome { outputs, bytes_moved });
            }
            if in_transit.is_empty() {
                return Err(ExecError::Stuck);
            }
            for (to, header, payload) in in_transit {
                let header: StripHeader = decode(&header)?;
                frames[to.index()].deliver(&header, &payload)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Activation, Builder, Op, ParameterId, Shape};
    use crate::region::ChannelRange;
    use crate::weights::WeightError;

    struct NoWeights;

    impl WeightSource for NoWeights {
        fn read(
            &self,
            _: ParameterId,
            _: ChannelRange,
            _: &mut Vec<u8>,
        ) -> Result<(), WeightError> {
            Ok(())
        }
    }

    #[test]
    fn a_frame_computes_in_the_memory_of_the_one_before() {
        let shape = Shape::new(20, 8, 8);
        let mut builder = Builder::new("sums");
        let mut tensor = builder.input("x", shape, vec![1, 20, 8, 8]).unwrap();
        for index in 0..6 {
            let inputs = [tensor, tensor];
            let name = format!("sum {index}");
            tensor = builder.layer(&name, Op::Add, &inputs, Activation::Linear).unwrap();
        }
        builder.output("y", tensor, vec![1, 20, 8, 8]).unwrap();
        let graph = Arc::new(builder.finish().unwrap());
        let plan = Plan::alone(6);
        let mut cluster =
            LocalCluster::new(&graph, &[Encoding::F32], &plan, &NoWeights, KernelKind::Exact)
                .unwrap();
        for value in [1.0, 2.0, 3.0] {
            let input = Input::Values(vec![value; shape.elements() as usize].into());
            let outcome = cluster.infer(&[input]).unwrap();
            assert!(outcome.outputs[0].iter().all(|found| *found == 64.0 * value));
            // One map that a layer reads, and one that it writes.
            assert_eq!(cluster.devices[0].arena.allocations(), 2);
        }
    }
}
