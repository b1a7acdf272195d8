//! Every bound of this service.
use serde::Deserialize;

/// All settings of task.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskConfig {
    /// Tasks taken at once.
    pub batch_records: usize,
    /// Bytes taken at once; at least one task is.
    pub batch_bytes: usize,
    /// First wait of a partition after a failed task; it doubles up to `backoff_max_ms`.
    pub backoff_min_ms: u64,
    pub backoff_max_ms: u64,
    /// How often a purge of expired refresh tokens is put on the topic; the first one at the start.
    pub purge_interval_s: u64,
    /// Rows that one step of a purge deletes at most, so that it never holds the store for long.
    pub purge_step_rows: u32,
    /// Steps of one purge at most; what is left waits for the next one.
    pub purge_steps: u32,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            batch_records: 64,
            batch_bytes: 1024 * 1024,
            backoff_min_ms: 100,
            backoff_max_ms: 60_000,
            purge_interval_s: 60 * 60,
            purge_step_rows: 500,
            purge_steps: 1000,
        }
    }
}

/// A setting that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct BadConfig {
    pub key: &'static str,
    pub reason: &'static str,
}

impl TaskConfig {
    /// Checks what the types alone cannot.
    pub fn validate(&self) -> Result<(), BadConfig> {
        let bad = |key, reason| Err(BadConfig { key, reason });
        if self.batch_records == 0 || self.batch_bytes == 0 {
            return bad("batch_records, batch_bytes", "must be at least 1");
        }
        if self.backoff_min_ms == 0 || self.backoff_min_ms > self.backoff_max_ms {
            return bad("backoff_min_ms", "must be at least 1 and at most backoff_max_ms");
        }
        if self.purge_interval_s == 0 || self.purge_step_rows == 0 || self.purge_steps == 0 {
            return bad("purge_interval_s, purge_step_rows, purge_steps", "must be at least 1");
        }
        Ok(())
    }
}
