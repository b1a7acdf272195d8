//! The time in which something was due: what it cost and what it brought.

use std::time::Instant;

use super::figures::{Better, Figures};
use crate::error::LoadError;
use crate::meter::{ServerMeter, ServerUse};

/// The state of affairs when the time begins.
#[derive(Debug)]
pub(crate) struct WindowStart {
    /// When the first operation was due.
    pub(crate) began: Instant,
    server: Option<ServerUse>,
    client_cpu_s: f64,
}

/// What the time cost and brought.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SendingWindow {
    pub(crate) seconds: f64,
    /// Operations that were finished: messages stored, echoes, connects.
    pub(crate) done: u64,
    /// Of the server; `None`: unknown.
    pub(crate) server_cpu_s: Option<f64>,
    pub(crate) server_switches: Option<u64>,
    /// `None`: not counted.
    pub(crate) server_syscalls: Option<f64>,
    /// At the end.
    pub(crate) server_rss_bytes: Option<u64>,
    /// Of this program, in all its processes.
    pub(crate) client_cpu_s: f64,
}

impl WindowStart {
    /// # Errors
    /// [`LoadError`]: the server's figures can't be read.
    pub(crate) fn now(meter: Option<&mut ServerMeter>, client_cpu_s: f64) -> Result<WindowStart, LoadError> {
        let server = meter.map(ServerMeter::read).transpose()?;
        Ok(WindowStart { server, client_cpu_s, began: Instant::now() })
    }

    /// # Errors
    /// [`LoadError`]: the server's figures can't be read any more.
    pub(crate) fn end(
        &self,
        meter: Option<&mut ServerMeter>,
        client_cpu_s: f64,
        done: u64,
    ) -> Result<SendingWindow, LoadError> {
        let seconds = self.began.elapsed().as_secs_f64();
        let after = meter.map(ServerMeter::read).transpose()?;
        let both = after.zip(self.server);
        Ok(SendingWindow {
            seconds,
            done,
            server_cpu_s: both.map(|(after, before)| after.cpu_s - before.cpu_s),
            server_switches: both
                .and_then(|(after, before)| Some(after.switches?.saturating_sub(before.switches?))),
            server_syscalls: None,
            server_rss_bytes: after.map(|after| after.rss_bytes),
            client_cpu_s: client_cpu_s - self.client_cpu_s,
        })
    }
}

impl SendingWindow {
    pub(crate) fn rate(&self) -> f64 {
        tenths(self.done as f64 / self.seconds.max(1e-9))
    }

    /// `None`: unknown, or nothing was finished.
    pub(crate) fn server_cpu_us_per_op(&self) -> Option<f64> {
        self.server_cpu_s.and_then(|cpu_s| self.per_op(cpu_s * 1e6))
    }

    /// CPU µs of this program, which shares the machine with the server.
    pub(crate) fn client_cpu_us_per_op(&self) -> Option<f64> {
        self.per_op(self.client_cpu_s * 1e6)
    }

    fn per_op(&self, whole: f64) -> Option<f64> {
        (self.done > 0).then(|| (whole / self.done as f64 * 1e3).round() / 1e3)
    }

    pub(crate) fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        figures.add("rate", self.rate(), "1/s", Better::Higher);
        figures.add("server_cpu_us_per_op", self.server_cpu_us_per_op(), "us", Better::Lower);
        figures.add("client_cpu_us_per_op", self.client_cpu_us_per_op(), "us", Better::Neither);
        figures.add("server_cpu", self.server_cpu_s.map(|cpu_s| cpu_s / self.seconds), "s/s", Better::Lower);
        figures.add("client_cpu", self.client_cpu_s / self.seconds, "s/s", Better::Neither);
        let switches = self.server_switches.and_then(|switches| self.per_op(switches as f64));
        figures.add("server_switches_per_op", switches, "", Better::Lower);
        let syscalls = self.server_syscalls.and_then(|calls| self.per_op(calls));
        figures.add("server_syscalls_per_op", syscalls, "", Better::Lower);
        figures.add("server_rss", self.server_rss_bytes.map(|bytes| bytes as f64), "bytes", Better::Lower);
        figures
    }
}

/// More digits would pretend to know.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
