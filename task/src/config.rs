//! Every bound of this service.
use serde::{Deserialize, Serialize};

/// All settings of task.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TaskConfig {
    /// Tasks taken at once.
    pub batch_records: usize,
    /// Bytes taken at once; at least one task is.
    pub batch_bytes: usize,
    /// Tasks taken and not done. When there is no room for another batch no more are taken.
    pub held_max_tasks: usize,
    /// Their bytes.
    pub held_max_bytes: usize,
    /// Tasks of a partition that are done behind one that is not. At that the partition is paused: all of them would be
    /// done again after a crash.
    pub ahead_max_tasks: usize,
    /// Turns (a page of a fan-out, a step of a purge) at the same time. Tasks take turns fairly.
    pub turns_at_once: usize,
    /// Members of a large group asked for in one turn, 1 to 1,000.
    pub fan_out_page_members: u32,
    /// After so many pages the store is told where a fan-out stands. After a crash at most so many are sent again.
    pub fan_out_cursor_every_pages: u32,
    /// First wait after a failed turn; it doubles up to `backoff_max_ms`, and is shortened by up to a half by chance.
    pub backoff_min_ms: u64,
    pub backoff_max_ms: u64,
    /// Panicking turns of one task, without a good one between them, after which it goes to the dead letter.
    pub panics_max: u32,
    /// How often purges of expired refresh tokens, revocations and task cursors are put on the topic; the first ones at
    /// the start.
    pub purge_interval_s: u64,
    /// Rows that one step of a purge deletes at most, so that it never holds the store for long.
    pub purge_step_rows: u32,
    /// Steps of one purge at most; what is left waits for the next one.
    pub purge_steps: u32,
    /// The place where a fan-out stood that went to the dead letters is kept so long: replayed later, it begins with the
    /// first member again. Longer than dead letters are kept.
    pub cursor_max_age_ms: u64,
    /// Dead letters in one page of their list, whatever limit is asked for.
    pub dead_letters_page_max: u32,
    /// Their bytes; at least one is answered.
    pub dead_letters_page_max_bytes: usize,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self {
            batch_records: 64,
            batch_bytes: 1024 * 1024,
            held_max_tasks: 1024,
            held_max_bytes: 8 * 1024 * 1024,
            ahead_max_tasks: 4096,
            turns_at_once: 4,
            fan_out_page_members: 1000,
            fan_out_cursor_every_pages: 10,
            backoff_min_ms: 100,
            backoff_max_ms: 60_000,
            panics_max: 3,
            purge_interval_s: 60 * 60,
            purge_step_rows: 500,
            purge_steps: 1000,
            cursor_max_age_ms: 31 * 24 * 60 * 60 * 1000,
            dead_letters_page_max: 1000,
            dead_letters_page_max_bytes: 2 * 1024 * 1024,
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
        if self.held_max_tasks < self.batch_records || self.held_max_bytes < self.batch_bytes {
            return bad("held_max_tasks, held_max_bytes", "must be at least batch_records and batch_bytes");
        }
        if self.ahead_max_tasks == 0 || self.turns_at_once == 0 {
            return bad("ahead_max_tasks, turns_at_once", "must be at least 1");
        }
        if !(1..=1000).contains(&self.fan_out_page_members) {
            return bad("fan_out_page_members", "must be 1 to 1,000");
        }
        if self.fan_out_cursor_every_pages == 0 {
            return bad("fan_out_cursor_every_pages", "must be at least 1");
        }
        if self.backoff_min_ms == 0 || self.backoff_min_ms > self.backoff_max_ms {
            return bad("backoff_min_ms", "must be at least 1 and at most backoff_max_ms");
        }
        if self.panics_max == 0 {
            return bad("panics_max", "must be at least 1");
        }
        if self.purge_interval_s == 0 || self.purge_step_rows == 0 || self.purge_steps == 0 {
            return bad("purge_interval_s, purge_step_rows, purge_steps", "must be at least 1");
        }
        if self.dead_letters_page_max == 0 || self.cursor_max_age_ms == 0 {
            return bad("dead_letters_page_max, cursor_max_age_ms", "must be at least 1");
        }
        Ok(())
    }
}
