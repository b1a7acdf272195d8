//! Log lines of what may fail a thousand times a second: the first is said, then one in a while, then the end.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often one trouble is told of, unless a setting says otherwise.
pub const TROUBLE_LINE_PERIOD: Duration = Duration::from_secs(5);

/// One kind of failure, told of once in a period at most. Whoever logs it counts each failure elsewhere.
///
/// One that comes and goes quickly is told of no more often: its end is told only if its beginning was.
#[derive(Debug)]
pub struct Trouble {
    period: Duration,
    /// Somebody waits to be told that it is over. Kept beside `state` so that success costs no lock.
    told: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When it was told of last.
    last: Option<Instant>,
    left_out: u64,
}

impl Trouble {
    /// One line in `period` at most.
    pub const fn new(period: Duration) -> Trouble {
        let state = State { last: None, left_out: 0 };
        Trouble { period, told: AtomicBool::new(false), state: Mutex::new(state) }
    }

    /// It happened at `now`. When a line is due, how many times it happened since the last one without being told of.
    #[must_use]
    pub fn line(&self, now: Instant) -> Option<u64> {
        let mut state = self.lock();
        let due = state.last.is_none_or(|last| now.saturating_duration_since(last) >= self.period);
        if !due {
            state.left_out += 1;
            return None;
        }
        state.last = Some(now);
        self.told.store(true, Ordering::Relaxed);
        Some(std::mem::take(&mut state.left_out))
    }

    /// It works. When that is news, how many times it happened since the last line without being told of.
    #[must_use]
    pub fn over(&self) -> Option<u64> {
        let news = self.told.load(Ordering::Relaxed) && self.told.swap(false, Ordering::Relaxed);
        news.then(|| std::mem::take(&mut self.lock().left_out))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(5);

    #[test]
    fn the_first_is_told_then_one_in_a_period_then_the_end_once() {
        let (trouble, start) = (Trouble::new(PERIOD), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(trouble.over(), None, "nothing has happened");
        assert_eq!(trouble.line(at(0)), Some(0));
        for ms in 1..5000 {
            assert_eq!(trouble.line(at(ms)), None);
        }
        assert_eq!(trouble.line(at(5000)), Some(4999));
        assert_eq!(trouble.line(at(5001)), None);
        assert_eq!(trouble.over(), Some(1));
        assert_eq!(trouble.over(), None, "told already");
    }

    #[test]
    fn what_comes_and_goes_is_told_of_no_more_often() {
        let (trouble, start) = (Trouble::new(PERIOD), Instant::now());
        let mut lines = Vec::new();
        for ms in 0..20_000 {
            lines.extend(trouble.line(start + Duration::from_millis(ms)));
            lines.extend(trouble.over());
        }
        // Four beginnings, each with those that were left out since the line before, and four ends.
        assert_eq!(lines, [0, 0, 4999, 0, 4999, 0, 4999, 0]);
    }
}
