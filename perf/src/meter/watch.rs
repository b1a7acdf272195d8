//! Looks at the server, at this program and at the machine again and again while a run goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::Syscalls;
use super::proc::{self, MachineUse, ProcessUse};

/// One look.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    /// Since the run began.
    pub(crate) at_s: f64,
    /// In the order of the report's `server_pids`; `null`: it has ended.
    pub(crate) server: Vec<Option<ProcessUse>>,
    /// Of each of them since the run began; empty: not counted.
    pub(crate) server_syscalls: Vec<u64>,
    /// This program, with those of its processes that make a load on this machine.
    pub(crate) client: Option<ProcessUse>,
    pub(crate) machine: Option<MachineUse>,
}

const EVERY: Duration = Duration::from_millis(500);
/// A longer run keeps every second look, then every fourth, and so on.
pub(crate) const SAMPLES_MAX: usize = 2_000;

/// A running thread that looks every half second.
#[derive(Debug)]
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Sample>>>,
}

impl Watch {
    /// `None`: the machine has no thread left, and the run goes on without it.
    pub(crate) fn start(
        pids: &[u32],
        client_pids: &[u32],
        syscalls: Option<Arc<Syscalls>>,
        began: Instant,
    ) -> Option<Watch> {
        let over = Arc::new(AtomicBool::new(false));
        let (pids, client_pids, stop) = (pids.to_vec(), client_pids.to_vec(), over.clone());
        let look = move || {
            let (mut samples, mut every) = (Vec::new(), EVERY);
            loop {
                let mut now = sample(&pids, &client_pids, began);
                now.server_syscalls = syscalls.as_deref().map(Syscalls::so_far).unwrap_or_default();
                samples.push(now);
                if stop.load(Ordering::Acquire) {
                    return samples;
                }
                if samples.len() >= SAMPLES_MAX {
                    thin(&mut samples);
                    every *= 2;
                }
                std::thread::park_timeout(every);
            }
        };
        let thread = std::thread::Builder::new().name("watch".to_owned()).spawn(look).ok()?;
        Some(Watch { over, thread: Some(thread) })
    }

    /// Looks once more, and gives all looks.
    pub(crate) fn stop(mut self) -> Vec<Sample> {
        self.end().unwrap_or_default()
    }

    fn end(&mut self) -> Option<Vec<Sample>> {
        self.over.store(true, Ordering::Release);
        let thread = self.thread.take()?;
        thread.thread().unpark();
        thread.join().ok()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.end();
    }
}

fn sample(pids: &[u32], client_pids: &[u32], began: Instant) -> Sample {
    let others = client_pids.iter().filter_map(|pid| proc::process(&pid.to_string()));
    Sample {
        at_s: began.elapsed().as_secs_f64(),
        server: pids.iter().map(|pid| proc::process(&pid.to_string())).collect(),
        server_syscalls: Vec::new(),
        client: proc::process("self").map(|own| others.fold(own, ProcessUse::plus)),
        machine: proc::machine(),
    }
}

/// Keeps the first, the third, and so on.
pub(crate) fn thin<T>(samples: &mut Vec<T>) {
    let mut number = 0;
    samples.retain(|_| {
        number += 1;
        number % 2 == 1
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_a_look_at_its_begin_and_at_its_end() {
        let watch = Watch::start(&[std::process::id(), u32::MAX], &[], None, Instant::now()).unwrap();
        let mut samples = watch.stop();
        assert!(!samples.is_empty());
        assert!(samples[0].server[0].is_some() && samples[0].server[1].is_none());
        samples = (0..9).map(|_| samples[0].clone()).collect();
        thin(&mut samples);
        assert_eq!(samples.len(), 5);
    }
}
