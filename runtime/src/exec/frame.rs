//! One frame on one device.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::ExecError;
use super::fused::Call;
use super::input::Input;
use super::prepared::Prepared;
use super::strip::{load_input, pack, pack_pixels, to_planar, unpack, unpack_pixels};
use crate::kernel::{Map, Scratch, Threads};
use crate::plan::DeviceIx;
use crate::program::{Action, BufferId, Encoding, Program, Run, StepIx, TransferId};
use crate::region::Region;
use crate::wire::StripHeader;

/// A strip to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// To whom.
    pub to: DeviceIx,
    /// Its header.
    pub header: StripHeader,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// What [`Frame::advance`] did.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// A step of this stage was computed.
    Computed {
        /// Index of the stage.
        stage: usize,
    },
    /// A strip is to be sent.
    Strip(Outgoing),
    /// An output of the graph is complete (on the leader).
    Output {
        /// Which output.
        output: usize,
        /// Its elements, in the model's order.
        values: Vec<f32>,
    },
    /// Nothing is ready: strips or the input have yet to arrive.
    Waiting,
    /// Every step is done.
    Finished,
}

/// One frame on its way through a program.
pub struct Frame {
    prepared: Arc<Prepared>,
    number: u64,
    buffers: Vec<Option<Map>>,
    /// Pixels of inputs, kept beside the normalised maps because they are sent as they are.
    pixels: Vec<(BufferId, Arc<Vec<u8>>)>,
    uses_left: Vec<u32>,
    waits_for: Vec<u32>,
    followers: Vec<Vec<StepIx>>,
    done: Vec<bool>,
    ready: BTreeSet<StepIx>,
    steps_left: usize,
}

impl Frame {
    /// A frame that nothing has arrived for yet.
    pub fn new(prepared: Arc<Prepared>, number: u64) -> Frame {
        let steps = &prepared.program.steps;
        let mut followers = vec![Vec::new(); steps.len()];
        let mut ready = BTreeSet::new();
        for (index, step) in steps.iter().enumerate() {
            let index = StepIx(index as u32);
            for before in &step.after {
                followers[before.index()].push(index);
            }
            if step.after.is_empty() && !arrives(&step.action) {
                ready.insert(index);
            }
        }
        Frame {
            number,
            buffers: prepared.program.buffers.iter().map(|_| None).collect(),
            pixels: Vec::new(),
            uses_left: prepared.uses().to_vec(),
            waits_for: steps.iter().map(|step| step.after.len() as u32).collect(),
            followers,
            done: vec![false; steps.len()],
            ready,
            steps_left: steps.len(),
            prepared,
        }
    }

    /// Supplies the inputs; only the leader's program has steps for them.
    ///
    /// # Errors
    /// When the number, size or kind of the inputs does not match the model.
    pub fn begin(&mut self, inputs: &[Input]) -> Result<(), ExecError> {
        let prepared = Arc::clone(&self.prepared);
        check_inputs(&prepared, inputs)?;
        for (index, step) in prepared.program.steps.iter().enumerate() {
            let Action::Input { input, buffer } = step.action else { continue };
            let tensor = prepared.graph.inputs()[input].tensor;
            let shape = prepared.graph.shape(tensor);
            load_input(&inputs[input], prepared.encoding(tensor), shape, self.map(buffer));
            if let Input::Pixels(pixels) = &inputs[input] {
                self.pixels.push((buffer, Arc::clone(pixels)));
            }
            self.finish(StepIx(index as u32));
        }
        Ok(())
    }

    /// Takes in a strip that arrived.
    ///
    /// # Errors
    /// When the plan does not send it here, or it arrived before. The frame is then unchanged.
    pub fn deliver(&mut self, header: &StripHeader, payload: &[u8]) -> Result<(), ExecError> {
        let prepared = Arc::clone(&self.prepared);
        prepared.check_strip(header, payload.len())?;
        let step = prepared.receive_step(header.transfer)?;
        if self.done[step.index()] {
            return Err(ExecError::Twice(header.transfer));
        }
        let encoding = prepared.encoding(header.tensor);
        let wire = prepared.transfers[header.transfer.0 as usize].wire;
        for buffer in prepared.program.steps[step.index()].action.buffers() {
            let (region, map) = (header.region, self.map(buffer));
            match encoding {
                Encoding::F32 => unpack(payload, wire, region, u32::from(header.lanes), map),
                Encoding::Pixels { mean, std } => unpack_pixels(payload, region, mean, std, map),
            }
        }
        self.finish(step);
        Ok(())
    }

    /// The step that [`Frame::advance`] runs next; `None` if nothing is ready.
    pub fn next_step(&self) -> Option<StepIx> {
        self.ready.first().copied()
    }

    /// The strips that have not arrived.
    pub fn awaits(&self) -> Vec<TransferId> {
        awaits(&self.prepared.program, |step| self.done[step])
    }

    /// The strips that have not been handed out.
    pub fn owes(&self) -> Vec<TransferId> {
        owes(&self.prepared.program, |step| self.done[step])
    }

    /// Runs the first step in program order that is ready.
    ///
    /// # Errors
    /// When a kernel fails; the frame cannot continue after that.
    pub fn advance(
        &mut self,
        scratch: &mut Scratch,
        threads: &dyn Threads,
    ) -> Result<Progress, ExecError> {
        let Some(step) = self.ready.pop_first() else {
            return Ok(match self.steps_left {
                0 => Progress::Finished,
                _ => Progress::Waiting,
            });
        };
        let prepared = Arc::clone(&self.prepared);
        let missing = ExecError::Missing(step.index());
        let progress = match &prepared.program.steps[step.index()].action {
            Action::Compute { stage, runs } => {
                for call in prepared.calls(step) {
                    match *call {
                        Call::Run(run) => self.run(&runs[run], None, step, scratch, threads)?,
                        Call::Sum { conv, sum, other } => {
                            let sum = Some((&runs[sum], other));
                            self.run(&runs[conv], sum, step, scratch, threads)?;
                        }
                    }
                }
                Progress::Computed { stage: *stage }
            }
            Action::Send { transfer, to, buffer, region } => {
                Progress::Strip(self.strip(*transfer, *to, *buffer, *region).ok_or(missing)?)
            }
            Action::Output { output, buffer } => {
                let map = self.buffers[buffer.index()].as_ref().ok_or(missing)?;
                Progress::Output { output: *output, values: to_planar(map) }
            }
            // These are completed by an arrival and never become ready.
            Action::Input { .. } | Action::Receive { .. } => return Err(missing),
        };
        self.finish(step);
        Ok(progress)
    }

    /// Computes a run, together with the sum that follows it if there is one: its run, and which of
    /// its inputs is the other summand.
    fn run(
        &mut self,
        run: &Run,
        sum: Option<(&Run, usize)>,
        step: StepIx,
        scratch: &mut Scratch,
        threads: &dyn Threads,
    ) -> Result<(), ExecError> {
        let result = sum.map_or(run.output, |(sum, _)| sum.output);
        let other = sum.map(|(sum, other)| sum.inputs[other]);
        for buffer in run.inputs.iter().chain(&other).chain([&result]) {
            self.map(*buffer);
        }
        let missing = || ExecError::Missing(step.index());
        let mut output = self.buffers[result.index()].take().ok_or_else(missing)?;
        let map = |buffer: &BufferId| self.buffers[buffer.index()].as_ref().ok_or_else(missing);
        let (one, several);
        let inputs: &[&Map] = match &run.inputs[..] {
            // Most layers have one input and need no list.
            [input] => {
                one = [map(input)?];
                &one
            }
            inputs => {
                several = inputs.iter().map(map).collect::<Result<Vec<_>, _>>()?;
                &several
            }
        };
        let kernels = &self.prepared.kernels;
        match (sum, other) {
            (Some((sum, _)), Some(other)) => {
                let other = map(&other)?;
                let (layers, region) = ((run.layer, sum.layer), run.region);
                let output = &mut output;
                kernels.run_into_sum(layers, inputs, other, output, region, scratch, threads)?;
            }
            _ => kernels.run(run.layer, inputs, &mut output, run.region, scratch, threads)?,
        }
        self.buffers[result.index()] = Some(output);
        // A step may have many layers: free what no later one reads before the step is done.
        for run in [Some(run), sum.map(|(sum, _)| sum)].into_iter().flatten() {
            run.inputs.iter().chain([&run.output]).for_each(|buffer| self.release(*buffer));
        }
        Ok(())
    }

    fn strip(
        &self,
        transfer: TransferId,
        to: DeviceIx,
        buffer: BufferId,
        region: Region,
    ) -> Option<Outgoing> {
        let prepared = &self.prepared;
        let tensor = prepared.program.buffers[buffer.index()].tensor;
        let map = self.buffers[buffer.index()].as_ref()?;
        let (payload, lanes) = match self.pixels.iter().find(|(held, _)| *held == buffer) {
            Some((_, pixels)) => (pack_pixels(pixels, prepared.graph.shape(tensor), region), 1),
            None => {
                let wire = prepared.transfers[transfer.0 as usize].wire;
                (pack(map, region, wire), map.lanes() as u16)
            }
        };
        let header = StripHeader {
            session: prepared.session,
            generation: prepared.generation,
            frame: self.number,
            transfer,
            tensor,
            region,
            lanes,
        };
        Some(Outgoing { to, header, payload })
    }

    /// A buffer's map, allocated on first use.
    fn map(&mut self, buffer: BufferId) -> &mut Map {
        let prepared = &self.prepared;
        self.buffers[buffer.index()].get_or_insert_with(|| {
            let spec = prepared.program.buffers[buffer.index()];
            prepared.kernels.map_from(&prepared.arena, spec.tensor, spec.region)
        })
    }

    /// Returns a buffer's memory if no later run or step uses it.
    fn release(&mut self, buffer: BufferId) {
        self.uses_left[buffer.index()] -= 1;
        if self.uses_left[buffer.index()] == 0 {
            if let Some(map) = self.buffers[buffer.index()].take() {
                self.prepared.arena.give_back(map);
            }
            self.pixels.retain(|(held, _)| *held != buffer);
        }
    }

    /// Marks a step as done and the steps that it unblocks as ready.
    fn finish(&mut self, step: StepIx) {
        let prepared = Arc::clone(&self.prepared);
        let steps = &prepared.program.steps;
        self.done[step.index()] = true;
        self.steps_left -= 1;
        let action = &steps[step.index()].action;
        // The buffers of a compute step were released run by run.
        if !matches!(action, Action::Compute { .. }) {
            action.buffers().into_iter().for_each(|buffer| self.release(buffer));
        }
        for follower in &self.followers[step.index()] {
            self.waits_for[follower.index()] -= 1;
            let ready = self.waits_for[follower.index()] == 0;
            if ready && !arrives(&steps[follower.index()].action) {
                self.ready.insert(*follower);
            }
        }
    }
}

impl Drop for Frame {
    /// Returns the memory of an aborted frame, too.
    fn drop(&mut self) {
        for map in self.buffers.drain(..).flatten() {
            self.prepared.arena.give_back(map);
        }
    }
}

/// The strips that a program receives in steps that are not done.
pub fn awaits(program: &Program, done: impl Fn(usize) -> bool) -> Vec<TransferId> {
    let steps = program.steps.iter().enumerate().filter(|(step, _)| !done(*step));
    let received = steps.filter_map(|(_, step)| match step.action {
        Action::Receive { transfer, .. } => Some(transfer),
        _ => None,
    });
    received.collect()
}

/// The strips that a program sends in steps that are not done.
pub fn owes(program: &Program, done: impl Fn(usize) -> bool) -> Vec<TransferId> {
    let steps = program.steps.iter().enumerate().filter(|(step, _)| !done(*step));
    let sent = steps.filter_map(|(_, step)| match step.action {
        Action::Send { transfer, .. } => Some(transfer),
        _ => None,
    });
    sent.collect()
}

/// Whether a step is completed by an arrival rather than by running it.
fn arrives(action: &Action) -> bool {
    matches!(action, Action::Input { .. } | Action::Receive { .. })
}

fn check_inputs(prepared: &Prepared, inputs: &[Input]) -> Result<(), ExecError> {
    let ports = prepared.graph.inputs();
    if inputs.len() != ports.len() {
        return Err(ExecError::InputCount { found: inputs.len(), expected: ports.len() });
    }
    for (port, input) in ports.iter().zip(inputs) {
        let (name, expected) = (port.name.clone(), prepared.graph.shape(port.tensor).elements());
        if input.len() as u64 != expected {
            return Err(ExecError::InputSize { name, found: input.len(), expected });
        }
        let (pixels, values) = ("u8 pixels", "float32 values");
        match (prepared.encoding(port.tensor), input) {
            (Encoding::Pixels { .. }, Input::Pixels(_)) | (Encoding::F32, Input::Values(_)) => {}
            (Encoding::Pixels { .. }, Input::Values(_)) => {
                return Err(ExecError::InputKind { name, found: values, expected: pixels });
            }
            (Encoding::F32, Input::Pixels(_)) => {
                return Err(ExecError::InputKind { name, found: pixels, expected: values });
            }
        }
    }
    Ok(())
}
