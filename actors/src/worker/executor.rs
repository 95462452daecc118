//! The thread that runs a session's frames on a device.
//!
//! Everything comes to it over one queue: plans, strips, inputs, orders to forget. It owns the
//! frames, advances the oldest that has something to do, hands strips to the connections of its
//! peers and reports what is done. Strips need a permit in the queue, so that a peer that sends too many waits.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::Builder;
use std::time::Instant;

use edgeld_runtime::coord::worker::{Arrival, Gate};
use edgeld_runtime::exec::{Frame, Input, Prepared, Progress};
use edgeld_runtime::kernel::Scratch;
use edgeld_runtime::plan::{DeviceIx, Generation};
use edgeld_runtime::units::Bytes;
use edgeld_runtime::wire::{NodeId, StageTime, StripHeader, encode};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::compute::{Pool, panic_text};
use super::device::Device;
use crate::profiler::StallMonitor;
use crate::transport::Sender;

/// Strips that may wait.
const QUEUE: usize = 64;

/// Frames of one plan that may be open: more than any leader has in flight.
const OPEN_FRAMES: usize = 8;

/// Closed frames that are remembered, so that a late strip does not open them again.
const CLOSED_FRAMES: usize = 64;

/// A device of a plan, as the executor reaches it.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// Who it is.
    pub node: NodeId,
    /// The connection for strips; `None` where none are exchanged.
    pub strips: Option<Sender>,
}

/// What an executor is told.
pub(super) enum Job {
    /// A plan is ready to run; `routes` in the order of its devices.
    Plan {
        /// Program and kernels.
        prepared: Arc<Prepared>,
        /// Its devices.
        routes: Vec<Route>,
    },
    /// The inputs of a frame, on the leader.
    StartFrame {
        /// Under which plan.
        generation: Generation,
        /// Which frame.
        frame: u64,
        /// All inputs of the model.
        inputs: Vec<Input>,
    },
    /// A strip came.
    Strip {
        /// What it is.
        header: StripHeader,
        /// Its bytes.
        payload: Vec<u8>,
        /// The connection that it came by.
        from: Sender,
        /// Its permit in the queue.
        permit: OwnedSemaphorePermit,
    },
    /// Forget frames.
    Abort {
        /// Under which plan.
        generation: Generation,
        /// Which.
        frames: Vec<u64>,
    },
    /// Forget a plan.
    Retire {
        /// Which.
        generation: Generation,
    },
}

/// What an executor tells.
#[derive(Debug)]
pub(super) enum Report {
    /// All outputs of a frame are complete, on the leader.
    Answered {
        /// Under which plan.
        generation: Generation,
        /// Which frame.
        frame: u64,
        /// In the model's order.
        outputs: Vec<Vec<f32>>,
    },
    /// This device's part of a frame is done.
    Finished {
        /// Under which plan.
        generation: Generation,
        /// Which frame.
        frame: u64,
        /// What each stage took.
        times: Vec<StageTime>,
    },
    /// This device's part of a frame went wrong.
    Failed {
        /// Under which plan.
        generation: Generation,
        /// Which frame.
        frame: u64,
        /// What went wrong.
        error: String,
    },
}

/// The way to an executor, which ends when the last of its handles is dropped.
#[derive(Clone)]
pub(super) struct ExecutorHandle {
    jobs: UnboundedSender<Job>,
    permits: Arc<Semaphore>,
}

impl ExecutorHandle {
    /// Orders something; it is done in order.
    pub(super) fn send(&self, job: Job) {
        // The executor ends with its last handle, so that it is there.
        let _ = self.jobs.send(job);
    }

    /// Hands over a strip; waits while too many others wait. Whether there is an executor.
    pub(super) async fn send_strip(
        &self,
        header: StripHeader,
        payload: Vec<u8>,
        from: Sender,
    ) -> bool {
        let Ok(permit) = self.permits.clone().acquire_owned().await else { return false };
        self.jobs.send(Job::Strip { header, payload, from, permit }).is_ok()
    }
}

/// Starts an executor on a device.
///
/// # Errors
/// When the system gives no thread.
pub(super) fn start(
    device: &Device,
    report: impl Fn(Report) + Send + 'static,
) -> std::io::Result<ExecutorHandle> {
    let (sender, jobs) = mpsc::unbounded_channel();
    let executor = Executor {
        pool: device.pool.clone(),
        stalls: device.stalls.clone(),
        scratch: Scratch::default(),
        gate: Gate::default(),
        plans: BTreeMap::new(),
        early: Vec::new(),
        report: Box::new(report),
    };
    Builder::new().name("edgeld-executor".to_owned()).spawn(move || executor.run(jobs))?;
    Ok(ExecutorHandle { jobs: sender, permits: Arc::new(Semaphore::new(QUEUE)) })
}

struct Executor {
    pool: Arc<Pool>,
    stalls: Arc<StallMonitor>,
    scratch: Scratch,
    gate: Gate,
    plans: BTreeMap<Generation, Plan>,
    /// Strips of plans that are not known yet.
    early: Vec<(StripHeader, Vec<u8>, Sender)>,
    report: Box<dyn Fn(Report) + Send>,
}

struct Plan {
    prepared: Arc<Prepared>,
    routes: Vec<Route>,
    frames: BTreeMap<u64, OpenFrame>,
    closed: BTreeSet<u64>,
}

/// A frame under way.
struct OpenFrame {
    frame: Frame,
    /// Something came since it last had nothing to do.
    runnable: bool,
    /// When it was computed, by stage.
    spans: BTreeMap<u32, Vec<(Instant, Instant)>>,
    outputs: Vec<Option<Vec<f32>>>,
    answered: bool,
}

impl Plan {
    /// The frame, opened if it is new; `None` if it is closed or too many are open.
    fn open(&mut self, number: u64) -> Option<&mut OpenFrame> {
        if self.closed.contains(&number) {
            return None;
        }
        if !self.frames.contains_key(&number) && self.frames.len() >= OPEN_FRAMES {
            return None;
        }
        let outputs = self.prepared.graph.outputs().len();
        let prepared = &self.prepared;
        Some(self.frames.entry(number).or_insert_with(|| OpenFrame {
            frame: Frame::new(Arc::clone(prepared), number),
            runnable: true,
            spans: BTreeMap::new(),
            outputs: vec![None; outputs],
            answered: false,
        }))
    }

    fn close(&mut self, number: u64) {
        self.frames.remove(&number);
        self.closed.insert(number);
        if self.closed.len() > CLOSED_FRAMES {
            self.closed.pop_first();
        }
    }
}

/// What came of advancing a frame.
enum Step {
    Progressed,
    Blocked,
    Finished,
    Failed(String),
}

impl Executor {
    fn run(mut self, mut jobs: UnboundedReceiver<Job>) {
        loop {
            match jobs.try_recv() {
                Ok(job) => self.handle(job),
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    if !self.advance() {
                        match jobs.blocking_recv() {
                            Some(job) => self.handle(job),
                            None => return,
                        }
                    }
                }
            }
        }
    }

    fn handle(&mut self, job: Job) {
        match job {
            Job::Plan { prepared, routes } => {
                let generation = prepared.generation;
                let (frames, closed) = (BTreeMap::new(), BTreeSet::new());
                self.plans.insert(generation, Plan { prepared, routes, frames, closed });
                self.gate.open(generation);
                let early = std::mem::take(&mut self.early).into_iter();
                let (ours, others): (Vec<_>, Vec<_>) =
                    early.partition(|(header, ..)| header.generation == generation);
                self.early = others;
                for (header, payload, from) in ours {
                    self.deliver(&header, &payload, &from);
                }
            }
            Job::StartFrame { generation, frame, inputs } => {
                let Some(plan) = self.plans.get_mut(&generation) else { return };
                let Some(open) = plan.open(frame) else { return };
                open.runnable = true;
                if let Err(error) = catch(|| open.frame.begin(&inputs)) {
                    self.fail(generation, frame, error);
                }
            }
            Job::Strip { header, payload, from, permit } => {
                drop(permit);
                let bytes = Bytes(payload.len() as u64);
                match self.gate.arrive(header.generation, bytes) {
                    Arrival::Deliver => self.deliver(&header, &payload, &from),
                    Arrival::Hold => self.early.push((header, payload, from)),
                    Arrival::Drop => {}
                    Arrival::Close => from.abort("too many strips of plans that nobody knows"),
                }
            }
            Job::Abort { generation, frames } => {
                if let Some(plan) = self.plans.get_mut(&generation) {
                    frames.into_iter().for_each(|frame| plan.close(frame));
                }
            }
            Job::Retire { generation } => {
                self.gate.close(generation);
                self.plans.remove(&generation);
                self.early.retain(|(header, ..)| header.generation > generation);
            }
        }
    }

    /// A strip that is not what the plan says costs its sender the connection, nobody else
    /// anything.
    fn deliver(&mut self, header: &StripHeader, payload: &[u8], from: &Sender) {
        let Some(plan) = self.plans.get_mut(&header.generation) else { return };
        match catch(|| plan.prepared.check_strip(header, payload.len())) {
            Ok(sender) => {
                let route = plan.routes.get(sender.index());
                if route.is_none_or(|route| route.node != from.peer().node) {
                    return from.abort("a strip that another device was to send");
                }
            }
            Err(error) => return from.abort(error),
        }
        let Some(open) = plan.open(header.frame) else { return };
        open.runnable = true;
        if let Err(error) = catch(|| open.frame.deliver(header, payload)) {
            plan.close(header.frame);
            from.abort(error);
        }
    }

    /// Advances the oldest frame that has something to do by one step. Whether there was any.
    fn advance(&mut self) -> bool {
        let runnable = self.plans.iter().find_map(|(generation, plan)| {
            let frame = plan.frames.iter().find(|(_, open)| open.runnable);
            frame.map(|(number, _)| (*generation, *number))
        });
        let Some((generation, number)) = runnable else { return false };
        // Both were found a moment ago.
        let Some(plan) = self.plans.get_mut(&generation) else { return false };
        let Some(open) = plan.frames.get_mut(&number) else { return false };
        self.stalls.touch();
        let step = step(open, &plan.routes, &mut self.scratch, &self.pool);
        if !open.answered && open.outputs.iter().all(Option::is_some) {
            open.answered = true;
            let outputs = std::mem::take(&mut open.outputs).into_iter().flatten().collect();
            (self.report)(Report::Answered { generation, frame: number, outputs });
        }
        match step {
            Step::Progressed => {}
            Step::Blocked => open.runnable = false,
            Step::Finished => {
                let cost = |(stage, spans): (&u32, &Vec<_>)| StageTime {
                    stage: *stage,
                    compute: self.stalls.cost(spans),
                };
                let times = open.spans.iter().map(cost).collect();
                plan.close(number);
                (self.report)(Report::Finished { generation, frame: number, times });
            }
            Step::Failed(error) => self.fail(generation, number, error),
        }
        true
    }

    fn fail(&mut self, generation: Generation, frame: u64, error: String) {
        if let Some(plan) = self.plans.get_mut(&generation) {
            plan.close(frame);
        }
        // A kernel that panicked may have left its scratch in any state.
        self.scratch = Scratch::default();
        (self.report)(Report::Failed { generation, frame, error });
    }
}

fn step(open: &mut OpenFrame, routes: &[Route], scratch: &mut Scratch, pool: &Pool) -> Step {
    let start = Instant::now();
    match catch(|| open.frame.advance(scratch, pool)) {
        Err(error) => Step::Failed(error),
        Ok(Progress::Computed { stage }) => {
            open.spans.entry(stage as u32).or_default().push((start, Instant::now()));
            Step::Progressed
        }
        Ok(Progress::Strip(strip)) => {
            let route = routes.get(strip.to.index()).and_then(|route| route.strips.as_ref());
            match route {
                // A connection that broke is reported by whoever reads from it.
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

/// What goes wrong in words, a panic too: it must not end the thread that all frames run on. Whoever
/// calls drops the frame, whose state nobody knows then.
fn catch<T, E: ToString>(work: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(panic_text(&*panic)),
    }
}

fn no_route(to: DeviceIx) -> String {
    format!("there is no connection to device {} of the plan", to.0)
}
