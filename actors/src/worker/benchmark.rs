//! Runs the benchmark when a leader asks, once for all leaders.

use std::thread;

use actix::prelude::*;
use edgeld_runtime::kernel::{KernelKind, Setup};
use edgeld_runtime::wire::{WorkerMessage, encode};

use super::actor::WorkerActor;
use super::messages::BenchmarkDone;
use crate::profiler::benchmark;
use crate::transport::Sender;

impl WorkerActor {
    /// Answers with a known or cached result, else runs the benchmark.
    pub(super) fn measure(
        &mut self,
        kernels: KernelKind,
        (control_id, leader): (u64, Sender),
        context: &mut Context<Self>,
    ) {
        let key = self.benchmark_key(kernels);
        let known = self.benchmarks.iter().find(|result| result.kernels == kernels).cloned();
        if let Some(result) = known.or_else(|| self.device.cache.get(&key)) {
            let _ = leader.send(encode(&WorkerMessage::Measured(result)), Vec::new());
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
        let (address, pool) = (context.address(), self.device.pool.clone());
        let (isa, pace) = (self.device.hello.isa, self.device.pace.part());
        let run = move || {
            let result = benchmark::measure(Setup { isa, ..kernels.into() }, &*pool, pace);
            address.do_send(BenchmarkDone(result.map_err(|error| (kernels, error.to_string()))));
        };
        if let Err(error) = thread::Builder::new().name("edgeld-benchmark".to_owned()).spawn(run) {
            context.notify(BenchmarkDone(Err((kernels, error.to_string()))));
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

    fn handle(&mut self, BenchmarkDone(result): BenchmarkDone, _: &mut Self::Context) {
        let kernels = match &result {
            Ok(result) => result.kernels,
            Err((kernels, _)) => *kernels,
        };
        let waiters = std::mem::take(&mut self.benchmark_waiters).into_iter();
        let (waiters, others): (Vec<_>, Vec<_>) = waiters.partition(|(of, ..)| *of == kernels);
        self.benchmark_waiters = others;
        match result {
            Ok(result) => {
                if let Err(error) = self.device.cache.put(&self.benchmark_key(kernels), &result) {
                    tracing::warn!("cannot cache the benchmark result: {error}");
                }
                let message = encode(&WorkerMessage::Measured(result.clone()));
                for (.., leader) in waiters {
                    let _ = leader.send(message.clone(), Vec::new());
                }
                self.benchmarks.push(result);
            }
            Err((_, error)) => {
                waiters.iter().for_each(|(.., leader)| leader.abort(&error));
            }
        }
    }
}
