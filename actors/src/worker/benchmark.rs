//! Measuring this device when a leader asks: once, for all who ask.

use std::thread;

use actix::prelude::*;
use edgeld_runtime::kernel::{KernelKind, Setup};
use edgeld_runtime::wire::{WorkerMessage, encode};

use super::actor::WorkerActor;
use super::messages::BenchmarkDone;
use crate::profiler::benchmark;
use crate::transport::Sender;

impl WorkerActor {
    /// Answers with what is known; else the suite is run, once for all who ask.
    pub(super) fn measure(
        &mut self,
        kernels: KernelKind,
        leader: Sender,
        context: &mut Context<Self>,
    ) {
        let key = self.suite_key(kernels);
        let known = self.measured.iter().find(|result| result.kernels == kernels).cloned();
        if let Some(result) = known.or_else(|| self.device.cache.get(&key)) {
            let _ = leader.send(encode(&WorkerMessage::Measured(result)), Vec::new());
            return;
        }
        let running = self.awaiting.iter().any(|(running, _)| *running == kernels);
        self.awaiting.push((kernels, leader));
        if running {
            return;
        }
        let (address, pool) = (context.address(), self.device.pool.clone());
        let isa = self.device.hello.isa;
        let run = move || {
            let timed = benchmark::measure(Setup { kind: kernels, isa, memory: None }, &*pool);
            address.do_send(BenchmarkDone(timed.map_err(|error| (kernels, error.to_string()))));
        };
        if let Err(error) = thread::Builder::new().name("edgeld-benchmark".to_owned()).spawn(run) {
            context.notify(BenchmarkDone(Err((kernels, error.to_string()))));
        }
    }

    fn suite_key(&self, kernels: KernelKind) -> String {
        let hello = &self.device.hello;
        let (edition, threads) = (benchmark::EDITION, hello.threads);
        format!("suite {edition} {} {} {threads} {kernels:?}", hello.build, hello.isa)
    }
}

impl Handler<BenchmarkDone> for WorkerActor {
    type Result = ();

    fn handle(&mut self, BenchmarkDone(timed): BenchmarkDone, _: &mut Self::Context) {
        let kernels = match &timed {
            Ok(result) => result.kernels,
            Err((kernels, _)) => *kernels,
        };
        let awaiting = std::mem::take(&mut self.awaiting).into_iter();
        let (asked, others): (Vec<_>, Vec<_>) = awaiting.partition(|(of, _)| *of == kernels);
        self.awaiting = others;
        match timed {
            Ok(result) => {
                if let Err(error) = self.device.cache.put(&self.suite_key(kernels), &result) {
                    tracing::warn!("the measured speed cannot be kept: {error}");
                }
                let message = encode(&WorkerMessage::Measured(result.clone()));
                for (_, leader) in asked {
                    let _ = leader.send(message.clone(), Vec::new());
                }
                self.measured.push(result);
            }
            Err((_, error)) => {
                asked.iter().for_each(|(_, leader)| leader.abort(&error));
            }
        }
    }
}
