//! Runs the benchmark when a leader asks, once for all leaders.
//!
//! The result is kept on disk. What was measured at another time, or for another leader, is only
//! checked: that takes a tenth of a second, so a device that is started again is put to work at once.

use std::thread;

use actix::prelude::*;
use edgeld_runtime::coord::Moment;
use edgeld_runtime::kernel::{KernelKind, Setup};
use edgeld_runtime::units::Ms;
use edgeld_runtime::wire::{BenchmarkResult, WorkerMessage, encode};

use super::actor::WorkerActor;
use super::messages::BenchmarkDone;
use crate::profiler::{Quota, benchmark};
use crate::transport::Sender;

/// For how long a result is repeated without another look: who asks without end takes little of the
/// processor.
const FRESH: Ms = Ms(10_000.0);

impl WorkerActor {
    /// Runs the benchmark, or checks the result that is known, and answers; at once if that was just
    /// done.
    pub(super) fn measure(
        &mut self,
        kernels: KernelKind,
        (control_id, leader): (u64, Sender),
        context: &mut Context<Self>,
    ) {
        let now = self.device.clock.now();
        let is_fresh = |(at, result): &&(Moment, BenchmarkResult)| {
            result.kernels == kernels && now.since(*at) < FRESH
        };
        if let Some((_, result)) = self.benchmarks.iter().find(is_fresh) {
            // If the connection has ended, its reader notices.
            let _ = leader.send(encode(&WorkerMessage::Measured(result.clone())), Vec::new());
            return;
        }
        let waiters = &mut self.benchmark_waiters;
        let running = waiters.iter().any(|(running, ..)| *running == kernels);
        if waiters.iter().any(|(of, by, _)| (*of, *by) == (kernels, control_id)) {
            return;
        }
        waiters.push((kernels, control_id, leader));
        if running {
            return;
        }
        let known = self.device.cache.get::<BenchmarkResult>(&self.benchmark_key(kernels));
        let was_known = known.is_some();
        let (address, pool) = (context.address(), self.device.pool.clone());
        let setup = Setup { isa: self.device.hello.isa, ..kernels.into() };
        let pace = self.device.pace.part();
        let run = move || {
            let quota = Quota::of_this_process().cores();
            let cores = quota.into_iter().chain((pace < 1.0).then_some(pace)).reduce(f64::min);
            let result = match known {
                Some(known) => benchmark::check(known, setup, &*pool, cores),
                None => benchmark::measure(setup, &*pool, pace, cores),
            };
            let result = result.map_err(|error| error.to_string());
            address.do_send(BenchmarkDone { kernels, result, was_known });
        };
        if let Err(error) = thread::Builder::new().name("edgeld-benchmark".to_owned()).spawn(run) {
            let result = Err(error.to_string());
            context.notify(BenchmarkDone { kernels, result, was_known });
        }
    }

    /// The cache key.
    fn benchmark_key(&self, kernels: KernelKind) -> String {
        let hello = &self.device.hello;
        let (version, threads, pace) = (benchmark::VERSION, hello.threads, self.device.pace);
        format!("benchmark {version} {} {} {threads} at {pace} {kernels:?}", hello.build, hello.isa)
    }
}

impl Handler<BenchmarkDone> for WorkerActor {
    type Result = ();

    fn handle(&mut self, done: BenchmarkDone, _: &mut Self::Context) {
        let BenchmarkDone { kernels, result, was_known } = done;
        let waiters = std::mem::take(&mut self.benchmark_waiters).into_iter();
        let (waiters, others): (Vec<_>, Vec<_>) = waiters.partition(|(of, ..)| *of == kernels);
        self.benchmark_waiters = others;
        match result {
            Ok(result) => {
                if !was_known
                    && let Err(error) = self.device.cache.put(&self.benchmark_key(kernels), &result)
                {
                    tracing::warn!("cannot cache the benchmark result: {error}");
                }
                let message = encode(&WorkerMessage::Measured(result.clone()));
                self.benchmarks.retain(|(_, before)| before.kernels != kernels);
                self.benchmarks.push((self.device.clock.now(), result));
                for (.., leader) in waiters {
                    // If the connection has ended, its reader notices.
                    let _ = leader.send(message.clone(), Vec::new());
                }
            }
            Err(error) => waiters.iter().for_each(|(.., leader)| leader.abort(&error)),
        }
    }
}
