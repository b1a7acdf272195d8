//! Readers who do not keep up: for a while they take only some bytes a second from their sockets, or none.

use super::socket;
use super::worker::Worker;

/// So that what is not read piles up at the server and not in the kernel, and yet so much that they can catch up: a window
/// of a few KiB carries some 20 KB/s only, since segments are larger than that on loopback.
const RECEIVE_BUFFER_BYTES: usize = 128 * 1024;

/// One of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SlowReading {
    /// The kernel has said that there is something to read.
    waits: bool,
    /// Bytes that may be read now; below 0: a frame was larger than what was left.
    may_read: f64,
}

impl Worker {
    /// They are slow from the first due message on, for as long as asked for.
    fn is_slow_time(&self, now_us: u64) -> bool {
        let from_us = self.control.send_from_us();
        now_us >= from_us && now_us - from_us < self.config.habits.slow_ms.saturating_mul(1000)
    }

    /// True: what has come to this one stays where it is for now.
    pub(super) fn puts_off_reading(&mut self, at: usize, now_us: u64) -> bool {
        let is_slow_time = self.is_slow_time(now_us);
        let slow = self.members[at].slow.as_mut().filter(|_| is_slow_time);
        slow.map(|slow| slow.waits = true).is_some()
    }

    /// To be called at each tick, `tick_us` after the last: lets them read what they may.
    pub(super) fn read_slowly(&mut self, now_us: u64, tick_us: u64) {
        let is_slow_time = self.is_slow_time(now_us);
        let per_s = self.config.habits.slow_bytes_per_s as f64;
        for at in 0..self.members.len() {
            let Some(slow) = &mut self.members[at].slow else { continue };
            // What was not read for a second can't be made up for.
            slow.may_read = (slow.may_read + per_s * tick_us as f64 / 1e6).min(per_s.max(1.0));
            if !slow.waits || (is_slow_time && slow.may_read < 1.0) {
                continue;
            }
            slow.waits = false;
            let bytes_max = if is_slow_time { slow.may_read } else { f64::INFINITY };
            let (read, is_drained) = self.read_up_to(at, bytes_max);
            if let Some(slow) = self.members[at].slow.as_mut().filter(|_| is_slow_time) {
                slow.may_read -= read as f64;
                slow.waits = !is_drained;
            }
        }
    }

    pub(super) fn narrow(&self, at: usize) {
        if let (Some(_), Some(socket)) = (&self.members[at].slow, &self.members[at].socket) {
            socket::narrow(socket, RECEIVE_BUFFER_BYTES);
        }
    }
}
