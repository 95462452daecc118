//! The thread that runs a session's frames on a device.
//!
//! All its work arrives over one queue of [`Job`]s. It owns the frames, advances one that can go
//! on, sends strips to its peers and reports what is done. Queueing a strip takes a
//! permit, which throttles a peer that sends too many.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Builder;
use std::time::{Duration, Instant};

use edgeld_runtime::coord::worker::{Arrival, Gate};
use edgeld_runtime::exec::{Frame, Input, Progress, awaits, owes};
use edgeld_runtime::kernel::{Scratch, Threads};
use edgeld_runtime::plan::{DeviceIx, Generation, InFlight};
use edgeld_runtime::program::{Action, Program, StepIx, TransferId};
use edgeld_runtime::units::{Bytes, Ms};
use edgeld_runtime::wire::{NodeId, StageTime, StepTime, StripHeader, encode};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::claim::ClaimedPlan;
use super::compute::{Pool, panic_text};
use super::device::Device;
use crate::clock::{Clock, cpu_time};
use crate::profiler::{Quota, StallMonitor};
use crate::transport::Sender;

/// Strips queued at once.
const MAX_QUEUED_STRIPS: usize = 64;

/// Closed frames to remember per plan, so that a late strip does not reopen one: as many as there can
/// be in flight.
const MAX_CLOSED_FRAMES: usize = InFlight::MAX.frames() as usize;

/// Steps of a frame to report the times of: as many as fit in a message.
const MAX_STEP_TIMES: usize = 1 << 16;

/// How the executor reaches a device of a plan.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// The device.
    pub node: NodeId,
    /// The connection for strips; `None` if none are exchanged.
    pub strips: Option<Sender>,
}

/// What an executor is to do.
pub(super) enum Job {
    /// Add a plan that is ready to run.
    AddPlan {
        /// Program and kernels.
        prepared: ClaimedPlan,
        /// Its devices, in the plan's order.
        routes: Vec<Route>,
        /// How many frames it carries at once.
        in_flight: InFlight,
    },
    /// Start a frame, on the leader.
    StartFrame {
        /// The plan to run it under.
        generation: Generation,
        /// The frame's number.
        frame: u64,
        /// All inputs of the model.
        inputs: Vec<Input>,
    },
    /// Deliver a strip to its frame.
    DeliverStrip {
        /// Its header.
        header: StripHeader,
        /// Its data.
        payload: Vec<u8>,
        /// The connection it arrived on.
        from: Sender,
        /// Its place in the queue.
        permit: OwnedSemaphorePermit,
    },
    /// Abort frames.
    AbortFrames {
        /// Their plan.
        generation: Generation,
        /// Their numbers.
        frames: Vec<u64>,
    },
    /// Report what a frame has yet to receive and to send.
    Inspect {
        /// Its plan.
        generation: Generation,
        /// Its number.
        frame: u64,
    },
    /// Remove a plan.
    RetirePlan {
        /// The plan.
        generation: Generation,
    },
    /// Panic, as a defect would.
    #[cfg(test)]
    Panic,
}

/// What an executor reports.
#[derive(Debug)]
pub(super) enum Report {
    /// All outputs of a frame are complete, on the leader.
    Answered {
        /// Its plan.
        generation: Generation,
        /// Its number.
        frame: u64,
        /// The outputs, in the model's order.
        outputs: Vec<Vec<f32>>,
    },
    /// This device's part of a frame is done.
    Finished {
        /// Its plan.
        generation: Generation,
        /// Its number.
        frame: u64,
        /// The time of each stage.
        times: Vec<StageTime>,
        /// When each step ran, if the session is traced.
        steps: Vec<StepTime>,
    },
    /// What a frame has yet to receive and to send.
    Inspected {
        /// Its plan.
        generation: Generation,
        /// Its number.
        frame: u64,
        /// Strips that have not arrived.
        awaits: Vec<TransferId>,
        /// Strips that have not been sent.
        owes: Vec<TransferId>,
    },
    /// This device's part of a frame failed.
    Failed {
        /// Its plan.
        generation: Generation,
        /// Its number.
        frame: u64,
        /// What went wrong.
        error: String,
    },
}

/// Sends to an executor, which ends when its last handle is dropped.
#[derive(Clone)]
pub(super) struct ExecutorHandle {
    jobs: UnboundedSender<Job>,
    permits: Arc<Semaphore>,
}

impl ExecutorHandle {
    /// Queues a job.
    pub(super) fn send(&self, job: Job) {
        // Cannot fail: the executor outlives its handles.
        let _ = self.jobs.send(job);
    }

    /// Queues a strip, waiting while too many are queued. Returns false if the executor is gone.
    pub(super) async fn send_strip(
        &self,
        header: StripHeader,
        payload: Vec<u8>,
        from: Sender,
    ) -> bool {
        let Ok(permit) = self.permits.clone().acquire_owned().await else { return false };
        self.jobs.send(Job::DeliverStrip { header, payload, from, permit }).is_ok()
    }
}

/// Starts an executor on a device; `traced`, if it is to report when each step ran.
///
/// # Errors
/// When the thread cannot be spawned.
pub(super) fn start(
    device: &Device,
    traced: bool,
    report: impl Fn(Report) + Send + 'static,
) -> std::io::Result<ExecutorHandle> {
    let (sender, jobs) = mpsc::unbounded_channel();
    let executor = Executor {
        pool: device.pool.clone(),
        stalls: device.stalls.clone(),
        quota: Quota::of_this_process(),
        clock: traced.then_some(device.clock),
        scratch: Scratch::default(),
        gate: Gate::default(),
        plans: BTreeMap::new(),
        last_advanced: None,
        early_strips: Vec::new(),
        report: Box::new(report),
    };
    Builder::new().name("edgeld-executor".to_owned()).spawn(move || executor.run(jobs))?;
    Ok(ExecutorHandle { jobs: sender, permits: Arc::new(Semaphore::new(MAX_QUEUED_STRIPS)) })
}

struct Executor {
    pool: Arc<Pool>,
    stalls: Arc<StallMonitor>,
    quota: Quota,
    /// If the session is traced.
    clock: Option<Clock>,
    scratch: Scratch,
    gate: Gate,
    plans: BTreeMap<Generation, Plan>,
    last_advanced: Option<(Generation, u64)>,
    /// Strips of plans that are not known yet.
    early_strips: Vec<(StripHeader, Vec<u8>, Sender)>,
    report: Box<dyn Fn(Report) + Send>,
}

struct Plan {
    prepared: ClaimedPlan,
    routes: Vec<Route>,
    in_flight: InFlight,
    /// Whether this device only passes strips on.
    is_relay: bool,
    frames: BTreeMap<u64, OpenFrame>,
    closed: BTreeSet<u64>,
}

/// A frame in progress.
struct OpenFrame {
    frame: Frame,
    /// Whether it may be able to advance.
    runnable: bool,
    stages: BTreeMap<u32, StageSpans>,
    /// When each step ran, if the session is traced.
    steps: Vec<StepTime>,
    outputs: Vec<Option<Vec<f32>>>,
    answered: bool,
}

/// The time that a stage took.
#[derive(Default)]
struct StageSpans {
    /// When it was computed.
    spans: Vec<(Instant, Instant)>,
    /// Its work and the rest that this calls for, if the pool is paced or the process has a quota. The
    /// rest may have been taken during another stage, or be over before the quota was.
    sustained: Option<Ms>,
}

impl Plan {
    /// The frame, opened if new; `None` if it is closed or too many are open. A frame may be opened
    /// before the one that it follows is closed here: all strips of that one may have been sent. So
    /// twice as many may be open as are in flight.
    fn open_frame(&mut self, number: u64) -> Option<&mut OpenFrame> {
        if self.closed.contains(&number) {
            return None;
        }
        if !self.frames.contains_key(&number)
            && self.frames.len() >= 2 * self.in_flight.frames() as usize
        {
            return None;
        }
        let outputs = self.prepared.graph.outputs().len();
        let prepared = &self.prepared;
        Some(self.frames.entry(number).or_insert_with(|| OpenFrame {
            frame: Frame::new(Arc::clone(prepared), number),
            runnable: true,
            stages: BTreeMap::new(),
            steps: Vec::new(),
            outputs: vec![None; outputs],
            answered: false,
        }))
    }

    fn close_frame(&mut self, number: u64) {
        self.frames.remove(&number);
        self.closed.insert(number);
        if self.closed.len() > MAX_CLOSED_FRAMES {
            self.closed.pop_first();
        }
    }
}

impl OpenFrame {
    /// Remembers that a step ran from `begun` until now, if there is a clock to tell it by.
    fn trace(&mut self, clock: Option<Clock>, step: Option<StepIx>, begun: Instant) {
        let (Some(clock), Some(StepIx(step))) = (clock, step) else { return };
        if self.steps.len() < MAX_STEP_TIMES {
            let took = Ms::from_duration(begun.elapsed());
            self.steps.push(StepTime { step, begun: Ms(clock.at(begun).0), took });
        }
    }
}

/// The result of advancing a frame.
enum Step {
    Progressed,
    Blocked,
    Finished,
    Failed(String),
}

impl Executor {
    fn run(mut self, mut jobs: UnboundedReceiver<Job>) {
        loop {
            let job = match jobs.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => None,
            };
            let is_idle = match job {
                Some(job) => {
                    self.survive(|executor| executor.handle(job));
                    false
                }
                None => self.survive(Executor::advance) == Some(false),
            };
            if is_idle {
                match jobs.blocking_recv() {
                    Some(job) => drop(self.survive(|executor| executor.handle(job))),
                    None => return,
                }
            }
        }
    }

    /// Runs `work`; if it panics, all frames here fail, and the thread goes on with the next.
    fn survive<T>(&mut self, work: impl FnOnce(&mut Executor) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| work(self))) {
            Ok(result) => Some(result),
            Err(panic) => {
                let open = self.plans.iter().flat_map(|(generation, plan)| {
                    plan.frames.keys().map(|frame| (*generation, *frame))
                });
                for (generation, frame) in open.collect::<Vec<_>>() {
                    self.fail(generation, frame, panic_text(&*panic));
                }
                None
            }
        }
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::AddPlan { prepared, routes, in_flight } => {
                let generation = prepared.generation;
                let (frames, closed) = (BTreeMap::new(), BTreeSet::new());
                let is_relay = !computes(&prepared.program);
                let plan = Plan { prepared, routes, in_flight, is_relay, frames, closed };
                self.plans.insert(generation, plan);
                self.gate.open(generation);
                let early = std::mem::take(&mut self.early_strips).into_iter();
                let (ours, others): (Vec<_>, Vec<_>) =
                    early.partition(|(header, ..)| header.generation == generation);
                self.early_strips = others;
                for (header, payload, from) in ours {
                    self.deliver(&header, &payload, &from);
                }
            }
            Job::StartFrame { generation, frame, inputs } => {
                let Some(plan) = self.plans.get_mut(&generation) else { return };
                let input = self.clock.and_then(|_| input_step(&plan.prepared.program));
                let Some(open) = plan.open_frame(frame) else { return };
                open.runnable = true;
                let begun = Instant::now();
                match catch(|| open.frame.begin(&inputs)) {
                    Ok(()) => open.trace(self.clock, input, begun),
                    Err(error) => self.fail(generation, frame, error),
                }
            }
            Job::DeliverStrip { header, payload, from, permit } => {
                drop(permit);
                let bytes = Bytes(payload.len() as u64);
                match self.gate.arrive(header.generation, bytes) {
                    Arrival::Deliver => self.deliver(&header, &payload, &from),
                    Arrival::Hold => self.early_strips.push((header, payload, from)),
                    Arrival::Drop => {}
                    Arrival::Close => from.abort("too many strips of unknown plans"),
                }
            }
            Job::AbortFrames { generation, frames } => {
                if let Some(plan) = self.plans.get_mut(&generation) {
                    frames.into_iter().for_each(|frame| plan.close_frame(frame));
                }
            }
            Job::Inspect { generation, frame } => self.inspect(generation, frame),
            #[cfg(test)]
            Job::Panic => panic!("a defect"),
            Job::RetirePlan { generation } => {
                self.gate.close(generation);
                self.plans.remove(&generation);
                self.early_strips.retain(|(header, ..)| header.generation > generation);
            }
        }
    }

    /// Delivers a strip to its frame. A strip that does not fit the plan ends its sender's
    /// connection and affects no one else.
    fn deliver(&mut self, header: &StripHeader, payload: &[u8], from: &Sender) {
        let Some(plan) = self.plans.get_mut(&header.generation) else { return };
        match catch(|| plan.prepared.check_strip(header, payload.len())) {
            Ok(sender) => {
                let route = plan.routes.get(sender.index());
                if route.is_none_or(|route| route.node != from.peer().node) {
                    return from.abort("the strip should come from another device");
                }
            }
            Err(error) => return from.abort(error),
        }
        let received = plan.prepared.receive_step(header.transfer).ok();
        let Some(open) = plan.open_frame(header.frame) else { return };
        open.runnable = true;
        let begun = Instant::now();
        match catch(|| open.frame.deliver(header, payload)) {
            Ok(()) => open.trace(self.clock, received, begun),
            Err(error) => {
                plan.close_frame(header.frame);
                from.abort(error);
            }
        }
    }

    /// Advances a frame by one step; returns whether one is runnable. Frames that other devices
    /// compute come first, as these wait for what takes no time here. Then the frame that was
    /// advanced last, as its data and the weights of its layer are in the cache; then the oldest.
    fn advance(&mut self) -> bool {
        let runnable = self.plans.iter().flat_map(|(generation, plan)| {
            let frames = plan.frames.iter().filter(|(_, open)| open.runnable);
            frames.map(|(number, _)| {
                let place = (*generation, *number);
                (!plan.is_relay, Some(place) != self.last_advanced, place)
            })
        });
        let Some((.., (generation, number))) = runnable.min() else { return false };
        self.last_advanced = Some((generation, number));
        // Both were found just now.
        let Some(plan) = self.plans.get_mut(&generation) else { return false };
        let Some(open) = plan.frames.get_mut(&number) else { return false };
        self.stalls.touch();
        let _span =
            tracing::trace_span!("step", generation = generation.0, frame = number).entered();
        let (next, begun) = (open.frame.next_step(), Instant::now());
        let work = Work::begin(&self.pool, &mut self.quota);
        let step = step(open, &plan.routes, &mut self.scratch, &work);
        open.trace(self.clock, next, begun);
        if !open.answered && open.outputs.iter().all(Option::is_some) {
            open.answered = true;
            let outputs = std::mem::take(&mut open.outputs).into_iter().flatten().collect();
            (self.report)(Report::Answered { generation, frame: number, outputs });
        }
        match step {
            Step::Progressed => {}
            Step::Blocked => open.runnable = false,
            Step::Finished => {
                let times = stage_times(&open.stages, &self.stalls);
                let steps = std::mem::take(&mut open.steps);
                plan.close_frame(number);
                (self.report)(Report::Finished { generation, frame: number, times, steps });
            }
            Step::Failed(error) => self.fail(generation, number, error),
        }
        true
    }

    /// Reports what a frame has yet to receive and to send: nothing, if it is over here.
    fn inspect(&self, generation: Generation, frame: u64) {
        let Some(plan) = self.plans.get(&generation) else { return };
        let program = &plan.prepared.program;
        let (awaits, owes) = match plan.frames.get(&frame) {
            Some(open) => (open.frame.awaits(), open.frame.owes()),
            None if plan.closed.contains(&frame) => (Vec::new(), Vec::new()),
            None => (awaits(program, |_| false), owes(program, |_| false)),
        };
        (self.report)(Report::Inspected { generation, frame, awaits, owes });
    }

    fn fail(&mut self, generation: Generation, frame: u64, error: String) {
        if let Some(plan) = self.plans.get_mut(&generation) {
            plan.close_frame(frame);
        }
        // A kernel that panicked may have left its scratch in an inconsistent state.
        self.scratch = Scratch::default();
        (self.report)(Report::Failed { generation, frame, error });
    }
}

/// Whether a program computes anything.
pub(super) fn computes(program: &Program) -> bool {
    program.steps.iter().any(|step| matches!(step.action, Action::Compute { .. }))
}

/// The step that takes in the inputs: they all come at once, and the first stands for them.
fn input_step(program: &Program) -> Option<StepIx> {
    let at = program.steps.iter().position(|step| matches!(step.action, Action::Input { .. }));
    at.map(|index| StepIx(index as u32))
}

/// What each stage costs this device on average. A device whose frame took longer than its pace or
/// quota explains was stopped or had to share its cores; that hits stages at random, so all of them
/// count as that much slower.
fn stage_times(stages: &BTreeMap<u32, StageSpans>, stalls: &StallMonitor) -> Vec<StageTime> {
    let sustained: Ms = stages.values().filter_map(|stage| stage.sustained).sum();
    let spans = stages.values().flat_map(|stage| &stage.spans);
    let elapsed: Ms = spans.map(|(from, to)| Ms::from_duration(*to - *from)).sum();
    let slowdown = (elapsed / sustained).max(1.0);
    let time = |(stage, took): (&u32, &StageSpans)| StageTime {
        stage: *stage,
        compute: match took.sustained {
            Some(sustained) => sustained * slowdown,
            None => stalls.cost(&took.spans),
        },
    };
    stages.iter().map(time).collect()
}

/// Work that the pool does from now on.
struct Work<'a> {
    pool: &'a Pool,
    start: Instant,
    /// All that was paced before.
    paced: Option<Ms>,
    /// CPU time of this thread before.
    cpu: Duration,
    /// The cores whose time may be used, if that is limited.
    cores: Option<f64>,
}

impl Work<'_> {
    fn begin<'a>(pool: &'a Pool, quota: &mut Quota) -> Work<'a> {
        let (paced, cores) = (pool.paced_total(), quota.cores());
        Work { pool, start: Instant::now(), paced, cpu: cpu_time(), cores }
    }

    /// The work so far and the rest that pace or quota call for; `None` without either.
    fn sustained(&self) -> Option<Ms> {
        if let (Some(before), Some(after)) = (self.paced, self.pool.paced_total()) {
            return Some(after - before);
        }
        // The other threads work as long as this one.
        let threads = self.pool.count() as f64;
        let cores = self.cores.filter(|cores| *cores < threads)?;
        let cpu = Ms::from_duration(cpu_time().saturating_sub(self.cpu));
        Some(cpu * (threads / cores))
    }
}

fn step(open: &mut OpenFrame, routes: &[Route], scratch: &mut Scratch, work: &Work<'_>) -> Step {
    match catch(|| open.frame.advance(scratch, work.pool)) {
        Err(error) => Step::Failed(error),
        Ok(Progress::Computed { stage }) => {
            tracing::trace!(stage, "computed");
            let took = open.stages.entry(stage as u32).or_default();
            took.spans.push((work.start, Instant::now()));
            if let Some(sustained) = work.sustained() {
                took.sustained = Some(took.sustained.unwrap_or_default() + sustained);
            }
            Step::Progressed
        }
        Ok(Progress::Strip(strip)) => {
            let route = routes.get(strip.to.index());
            tracing::trace!(peer = ?route.map(|route| route.node), "strip");
            match route.and_then(|route| route.strips.as_ref()) {
                // If the connection has ended, its reader reports it.
                Some(strips) => drop(strips.send(encode(&strip.header), strip.payload)),
                None => return Step::Failed(no_route(strip.to)),
            }
            Step::Progressed
        }
        Ok(Progress::Output { output, values }) => {
            open.outputs[output] = Some(values);
            Step::Progressed
        }
        Ok(Progress::Waiting) => Step::Blocked,
        Ok(Progress::Finished) => Step::Finished,
    }
}

/// Runs `work` and turns an error or a panic into text: a panic must not end the thread that runs
/// all frames. After an error, the caller drops the frame, whose state is then undefined.
fn catch<T, E: ToString>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(panic_text(&*panic)),
    }
}

fn no_route(to: DeviceIx) -> String {
    format!("no connection to device {} of the plan", to.0)
}
