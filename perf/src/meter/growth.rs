//! What a connection costs in memory: the slope between two counts of them.

use std::time::Instant;

use serde::Serialize;

use super::{ServerMeter, Source, proc};
use crate::error::LoadError;
use crate::report::{Better, Figures};

/// Memory grows in pages and arenas, some hundred KiB at a time: over fewer connections than this between the two
/// counts a slope would show those and not the connections.
pub(crate) const CONNECTIONS_MIN: usize = 1_000;

/// Memory at one count of connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) connections: usize,
    /// Of the server's processes, counted page by page where that can be read.
    pub(crate) rss_bytes: u64,
    /// CPU time of the server since its start.
    pub(crate) cpu_s: f64,
    pub(crate) at: Instant,
    /// Of the whole machine: the kernel's memory for processes, and what waits in TCP's buffers. `None`: the server is on
    /// another machine, or nothing can be read.
    kernel: Option<(u64, u64)>,
}

impl Mark {
    /// # Errors
    /// [`LoadError`]: the server's figures can't be read.
    pub(crate) fn now(meter: &mut ServerMeter, connections: usize) -> Result<Mark, LoadError> {
        let server = meter.read()?;
        let counted: Option<u64> = match &meter.source {
            Source::Processes(pids) => pids.iter().map(|pid| proc::counted_rss_bytes(*pid)).sum(),
            Source::Admin(_) => None,
        };
        let machine = proc::machine().filter(|_| !meter.pids().is_empty());
        Ok(Mark {
            connections,
            rss_bytes: counted.unwrap_or(server.rss_bytes),
            cpu_s: server.cpu_s,
            at: Instant::now(),
            kernel: machine.map(|machine| (machine.kernel_bytes, machine.tcp_buffer_bytes)),
        })
    }
}

/// Bytes for each connection more. `None`: unknown, or fewer than [`CONNECTIONS_MIN`] connections more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Growth {
    /// Of the server's processes.
    pub(crate) rss_bytes: Option<f64>,
    /// Of the kernel, for the server's end of the connection and for the client's, since both are on this machine.
    pub(crate) kernel_bytes: Option<f64>,
    /// What waits in the buffers of both ends. Where the kernel keeps it in the slab it is part of `kernel_bytes` too.
    pub(crate) tcp_buffer_bytes: Option<f64>,
}

impl Growth {
    /// What the first connections make grow once is left out by marking only once there are some.
    pub(crate) fn between(few: &Mark, many: &Mark) -> Growth {
        let more = many.connections.saturating_sub(few.connections);
        let slope = |few: u64, many: u64| {
            (more >= CONNECTIONS_MIN).then(|| ((many as f64 - few as f64) / more as f64).round())
        };
        let of_kernel = |part: fn((u64, u64)) -> u64| {
            few.kernel.zip(many.kernel).and_then(|(few, many)| slope(part(few), part(many)))
        };
        Growth {
            rss_bytes: slope(few.rss_bytes, many.rss_bytes),
            kernel_bytes: of_kernel(|(kernel, _)| kernel),
            tcp_buffer_bytes: of_kernel(|(_, buffers)| buffers),
        }
    }

    /// The kernel's part; the server's own has a name for each scenario.
    pub(crate) fn add_kernel_to(&self, figures: &mut Figures) {
        figures.add("kernel_bytes_per_connection", self.kernel_bytes, "bytes", Better::Lower);
        figures.add("tcp_buffer_bytes_per_connection", self.tcp_buffer_bytes, "bytes", Better::Lower);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Target;

    fn mark(connections: usize, rss_bytes: u64, kernel: Option<(u64, u64)>) -> Mark {
        Mark { connections, rss_bytes, cpu_s: 0.0, at: Instant::now(), kernel }
    }

    #[test]
    fn a_slope_needs_a_thousand_connections_and_a_machine_that_can_be_read() {
        let few = mark(500, 10_000_000, Some((1_000_000, 5_000)));
        let growth = Growth::between(&few, &mark(1_500, 10_300_000, Some((8_500_000, 4_000))));
        let found = (growth.rss_bytes, growth.kernel_bytes, growth.tcp_buffer_bytes);
        assert_eq!(found, (Some(300.0), Some(7_500.0), Some(-1.0)));
        let growth = Growth::between(&few, &mark(1_500, 10_300_000, None));
        assert_eq!((growth.rss_bytes, growth.kernel_bytes), (Some(300.0), None));
        let nothing = Growth { rss_bytes: None, kernel_bytes: None, tcp_buffer_bytes: None };
        assert_eq!(Growth::between(&few, &mark(1_499, 10_300_000, few.kernel)), nothing);
    }

    #[test]
    fn a_mark_has_the_kernels_memory_only_of_a_server_on_this_machine() {
        let target = Target::parse("127.0.0.1:9").unwrap();
        let mut meter = ServerMeter::find(&[std::process::id()], None, &target).unwrap().unwrap();
        let here = Mark::now(&mut meter, 7).unwrap();
        assert!(here.rss_bytes > 100_000 && here.connections == 7, "{here:?}");
        assert!(here.kernel.is_some_and(|(kernel, _)| kernel > 100_000), "{here:?}");
    }
}
