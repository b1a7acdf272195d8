//! Logs (tracing) and metrics (Prometheus text).

mod lines;
mod trouble;

use std::fmt::Error as FmtError;
use std::fs;
use std::io::{IsTerminal, Write};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use lines::Lines;
pub use trouble::{TROUBLE_LINE_PERIOD, Trouble};

/// How long an ending process waits for its last lines to be read.
const LAST_LINES_WAIT: Duration = Duration::from_secs(1);

/// The process's log, once it was begun.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    lines: Lines,
    format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For a terminal.
    #[default]
    Human,
    /// One JSON object a line, for collectors.
    Json,
}

/// What is logged, and how. Lines go to standard error.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// The look of a line.
    pub format: LogFormat,
    /// Levels in the syntax of `RUST_LOG`, such as `info,gochat_logic=debug`.
    pub filter: String,
    /// Bytes of lines that wait for a slow reader of standard error; further lines are dropped and counted
    /// (`process_log_lines_dropped_total`).
    pub buffer_max_bytes: usize,
}

impl Default for LogConfig {
    /// Human lines from level info up; 1 MiB may wait.
    fn default() -> Self {
        LogConfig { format: LogFormat::Human, filter: "info".into(), buffer_max_bytes: 1 << 20 }
    }
}

/// Why logging can't begin.
#[derive(Debug, thiserror::Error)]
#[error("logs: {0}")]
pub struct LogError(String);

/// Sends the process's log lines, and the word about a panic, to standard error. Nobody who logs waits for a
/// reader: see [`LogConfig::buffer_max_bytes`].
///
/// # Errors
/// When the filter can't be parsed or logging was begun before.
pub fn init_logs(config: &LogConfig) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|error| LogError(format!("filter {:?}: {error}", config.filter)))?;
    let log = Lines::start(config.buffer_max_bytes, std::io::stderr())
        .map_err(|error| LogError(format!("no thread to write them: {error}")))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(log.clone())
        .with_ansi(std::io::stderr().is_terminal());
    let begun = match config.format {
        LogFormat::Human => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    begun.map_err(|error| LogError(error.to_string()))?;
    // The subscriber can be begun only once, and so can this.
    let _ = LOG.set(Log { lines: log, format: config.format });
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), "{panic}");
        if thread.name() == Some("main") {
            flush_logs();
        }
    }));
    Ok(())
}

/// Waits until the lines of the log are written, for a second at most: call it before the process ends.
pub fn flush_logs() {
    if let Some(log) = LOG.get() {
        log.lines.flush(LAST_LINES_WAIT);
    }
}

/// Writes one line to standard error behind those of the log and in its format, whatever the filter says, for a process
/// that is about to end: waits a second at most for somebody who reads it.
pub fn last_words(line: &str) {
    match LOG.get() {
        Some(log) => {
            let line = match log.format {
                LogFormat::Human => format!("{line}\n"),
                LogFormat::Json => format!("{}\n", as_json(line)),
            };
            log.lines.push(line.as_bytes());
            log.lines.flush(LAST_LINES_WAIT);
        }
        // Nobody reading it is no reason to panic, as eprintln would.
        None => drop(writeln!(std::io::stderr(), "{line}")),
    }
}

/// As the subscriber writes an error's line.
fn as_json(line: &str) -> serde_json::Value {
    let mut timestamp = String::new();
    // Into memory: that can't fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    serde_json::json!({"timestamp": timestamp, "level": "ERROR", "message": line, "target": "gochat"})
}

/// The metrics of a process. Clones share one registry, in which each service has names of its own prefix.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// A registry with the process's own metrics: `process_cpu_seconds_total`, `process_resident_memory_bytes`,
    /// `process_open_fds`, `process_pid` and `process_log_lines_dropped_total`.
    pub fn new() -> Metrics {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessCollector));
        Metrics { registry: Arc::new(Mutex::new(registry)) }
    }

    /// Registers a service's metrics under a prefix: `with("gateway", |r| r.register("opened", …))` gives
    /// `gateway_opened_total` for a counter. Registering is for start-up; keep clones of the metrics to count.
    pub fn with<R>(&self, prefix: &str, register: impl FnOnce(&mut Registry) -> R) -> R {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        register(registry.sub_registry_with_prefix(prefix))
    }

    /// Everything in the OpenMetrics text format.
    pub fn encode(&self) -> String {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::with_capacity(16 * 1024);
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

/// Reads /proc on each scrape. A value that can't be read is left out.
#[derive(Debug)]
struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), FmtError> {
        if let Some(seconds) = cpu_seconds() {
            let value = ConstCounter::new(seconds);
            let help = "User and system CPU time spent";
            value.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                value.metric_type(),
            )?)?;
        }
        let dropped = ConstCounter::new(LOG.get().map_or(0, |log| log.lines.dropped()));
        let help = "Log lines dropped because nobody read them fast enough";
        dropped.encode(encoder.encode_descriptor(
            "process_log_lines_dropped",
            help,
            None,
            dropped.metric_type(),
        )?)?;
        let mut gauge = |name: &str, help: &str, value: Option<i64>| -> Result<(), FmtError> {
            let Some(value) = value else { return Ok(()) };
            let value = ConstGauge::new(value);
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)
        };
        gauge("process_resident_memory_bytes", "Memory in RAM", resident_bytes())?;
        gauge("process_open_fds", "Open file descriptors", open_fds())?;
        gauge("process_pid", "The process's id", Some(i64::from(std::process::id())))
    }
}

/// Fields 14 and 15 of /proc/self/stat in ticks, of which Linux shows 100 a second on every architecture we
/// build for. The command's name may hold spaces and brackets, so counting starts after the last bracket.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks as f64 / 100.0)
}

fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn open_fds() -> Option<i64> {
    i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::counter::Counter;

    #[test]
    fn a_service_counts_under_its_prefix_beside_the_process() {
        let metrics = Metrics::new();
        let opened: Counter = Counter::default();
        metrics.with("gateway", |registry| registry.register("opened", "Connections opened", opened.clone()));
        opened.inc_by(3);
        let text = metrics.encode();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).unwrap();
            line.parse().unwrap()
        };
        assert_eq!(value("gateway_opened_total"), 3.0);
        assert_eq!(value("process_log_lines_dropped_total"), 0.0);
        assert_eq!(value("process_pid"), f64::from(std::process::id()));
        assert!(value("process_resident_memory_bytes") > 100_000.0);
        assert!(value("process_open_fds") > 2.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }

    #[test]
    fn a_bad_filter_is_refused_by_name() {
        let config = LogConfig { filter: "info,=wrong=".into(), ..LogConfig::default() };
        assert!(init_logs(&config).unwrap_err().to_string().contains("wrong"));
    }
}
