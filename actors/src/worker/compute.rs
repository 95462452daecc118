//! The threads that compute. Kernels ask for hands through [`Threads`]; here they are.
//!
//! A [`Pool`] belongs to a device; the executors of all its sessions share it, one layer at a time.
//! The calling thread works too, so a pool of one spawns nothing.
//!
//! Layers of light networks take less time than waking a thread. Helpers therefore look out for
//! the next layer for some microseconds before they sleep, and so does the caller for its helpers.
//!
//! A pool with a [`Pace`] rests between layers.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use edgeld_runtime::kernel::Threads;
use edgeld_runtime::units::Ms;

use super::pace::{Brake, Pace};

/// Looks before a thread sleeps: some ten microseconds.
const SPINS: usize = 2_000;

/// A fixed number of threads.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held by whoever uses the helpers.
    turn: Mutex<()>,
    /// `None` at full pace.
    brake: Option<Brake>,
}

struct Shared {
    state: Mutex<State>,
    /// Counts the jobs given out, as [`State::round`], for those who look without a lock.
    round: AtomicU64,
    /// Helpers that have not finished this round.
    busy: AtomicUsize,
    work: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    /// Counts the jobs given out; a helper takes part in each once.
    round: u64,
    job: Option<Job>,
    /// Helpers that sleep until there is work.
    asleep: usize,
    stopping: bool,
    panicked: bool,
}

/// What all threads of a round run.
#[derive(Clone, Copy)]
struct Job {
    task: *const (dyn Fn(usize) + Sync),
    next: *const AtomicUsize,
    tasks: usize,
}

// SAFETY: the pointers are to a `Sync` closure and an atomic, both of which outlive the round, for
// `Pool::each` returns only when every helper has left it.
unsafe impl Send for Job {}

impl Job {
    /// Runs tasks until none is left.
    ///
    /// # Safety
    /// What the job points to must be alive.
    unsafe fn run(self) {
        // SAFETY: alive, by the contract of this function.
        let (task, next) = unsafe { (&*self.task, &*self.next) };
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= self.tasks {
                return;
            }
            task(index);
        }
    }
}

impl Pool {
    /// A pool of `threads`, the caller's included.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn new(threads: usize) -> std::io::Result<Pool> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            round: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let mut pool = Pool { shared, helpers: Vec::new(), turn: Mutex::default(), brake: None };
        for number in 1..threads {
            let shared = pool.shared.clone();
            let name = format!("edgeld-compute-{number}");
            pool.helpers.push(Builder::new().name(name).spawn(move || shared.run_helper())?);
        }
        Ok(pool)
    }

    /// The same at this pace: after work, the caller and all threads rest.
    #[must_use]
    pub fn paced(mut self, pace: Pace) -> Pool {
        self.brake = Brake::new(pace, self.count());
        self
    }

    /// All work so far and the rest that its pace calls for; `None` at full pace.
    pub(super) fn paced_total(&self) -> Option<Ms> {
        self.brake.as_ref().map(Brake::total)
    }

    /// As many threads as the machine has cores for this process.
    pub fn all_cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

impl Threads for Pool {
    fn count(&self) -> usize {
        self.helpers.len() + 1
    }

    fn each(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        match &self.brake {
            Some(brake) => brake.work(|| self.run(tasks, task)),
            None => self.run(tasks, task),
        }
    }
}

impl Pool {
    fn run(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.helpers.is_empty() || tasks <= 1 {
            return (0..tasks).for_each(task);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let next = AtomicUsize::new(0);
        // SAFETY: only the lifetime changes; nobody uses the job after this function.
        let task: &'static (dyn Fn(usize) + Sync) = unsafe { std::mem::transmute(task) };
        let job = Job { task, next: &next, tasks };
        {
            let mut state = self.shared.lock();
            state.round += 1;
            state.job = Some(job);
            self.shared.busy.store(self.helpers.len(), Ordering::Relaxed);
            self.shared.round.store(state.round, Ordering::Release);
            if state.asleep > 0 {
                self.shared.work.notify_all();
            }
        }
        // SAFETY: `task` and `next` live until this function returns. A panic in a task must not
        // leave it before the helpers have.
        let own = catch_unwind(AssertUnwindSafe(|| unsafe { job.run() }));
        next.store(tasks, Ordering::Relaxed);
        spin_until(|| self.shared.busy.load(Ordering::Acquire) == 0);
        let mut state = self.shared.lock();
        while self.shared.busy.load(Ordering::Acquire) > 0 {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.job = None;
        let panicked = std::mem::take(&mut state.panicked);
        drop(state);
        match own {
            Err(panic) => resume_unwind(panic),
            Ok(()) => assert!(!panicked, "a task panicked on another compute thread"),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.work.notify_all();
        for helper in self.helpers.drain(..) {
            // A helper catches every panic, so that it ends in order.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run_helper(&self) {
        let mut seen = 0;
        loop {
            spin_until(|| self.round.load(Ordering::Acquire) != seen);
            let job = {
                let mut state = self.lock();
                loop {
                    if state.stopping {
                        return;
                    }
                    match state.job {
                        Some(job) if state.round != seen => {
                            seen = state.round;
                            break job;
                        }
                        _ => {
                            state.asleep += 1;
                            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                            state.asleep -= 1;
                        }
                    }
                }
            };
            // SAFETY: the round is not over before this helper is no longer busy.
            let ran = catch_unwind(AssertUnwindSafe(|| unsafe { job.run() }));
            if ran.is_err() {
                self.lock().panicked = true;
            }
            if self.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
                // With the lock, so that it cannot fall between the caller's look and its sleep.
                let _state = self.lock();
                self.done.notify_all();
            }
        }
    }
}

/// Looks until something is so, for a short time.
fn spin_until(mut done: impl FnMut() -> bool) {
    for _ in 0..SPINS {
        if done() {
            return;
        }
        std::hint::spin_loop();
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a kernel panicked: {}", text.unwrap_or_else(|| "it does not say why".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_whatever_the_number_of_threads() {
        let nearly = Pace::new(0.999).unwrap();
        for (threads, pace) in
            [(1, Pace::FULL), (2, Pace::FULL), (5, Pace::FULL), (1, nearly), (3, nearly)]
        {
            let pool = Pool::new(threads).unwrap().paced(pace);
            assert_eq!(pool.count(), threads);
            for tasks in [0, 1, 2, 100] {
                let runs: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.each(tasks, &|task| {
                    runs[task].fetch_add(1, Ordering::Relaxed);
                });
                assert!(runs.iter().all(|runs| runs.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_goes_on() {
        let pool = Pool::new(3).unwrap();
        for wrong in 0..8 {
            let ran = catch_unwind(AssertUnwindSafe(|| {
                pool.each(8, &|task| assert!(task != wrong, "wrong"));
            }));
            assert!(ran.is_err());
        }
        let count = AtomicUsize::new(0);
        pool.each(8, &|_| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 8);
    }

    #[test]
    fn callers_take_turns() {
        let (pool, count) = (Pool::new(2).unwrap(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        pool.each(3, &|_| {
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 600);
    }
}
