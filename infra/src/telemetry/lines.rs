//! Lines on their way to standard error, written by a thread of their own: nobody who logs ever waits for a
//! reader that is slow, has stopped reading, or is gone.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// What waits, and the thread that writes it. Clones share both.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// The thread is writing what it took.
    writing: bool,
}

impl Lines {
    /// Starts the thread, which ends with the process.
    pub(super) fn start(max_bytes: usize, mut target: impl Write + Send + 'static) -> io::Result<Lines> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
            max_bytes,
        });
        let lines = Lines { shared: shared.clone() };
        std::thread::Builder::new().name("log".into()).spawn(move || {
            let mut taken = Vec::new();
            loop {
                shared.take(&mut taken);
                // Whom could a failure be told? The lines are lost, as their reader is.
                let _ = target.write_all(&taken).and_then(|()| target.flush());
                taken.clear();
                shared.lock().writing = false;
                shared.changed.notify_all();
            }
        })?;
        Ok(lines)
    }

    /// Lines that found no room, since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Takes a whole line, or drops and counts it when there is no room.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = self.shared.lock();
        if state.waiting.len() + line.len() > self.shared.max_bytes {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        state.waiting.extend_from_slice(line);
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits until all is written, at most this long; whether it was.
    pub(super) fn flush(&self, at_most: Duration) -> bool {
        let unwritten = |state: &mut State| state.writing || !state.waiting.is_empty();
        let waited = self.shared.changed.wait_timeout_while(self.shared.lock(), at_most, unwritten);
        let result = waited.unwrap_or_else(PoisonError::into_inner).1;
        !result.timed_out()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, taken: &mut Vec<u8>) {
        let waited = self.changed.wait_while(self.lock(), |state| state.waiting.is_empty());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut state.waiting, taken);
        state.writing = true;
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

/// The subscriber hands over one line at a time.
impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn lines_arrive_whole_and_in_order() {
        let (mut reader, writer) = io::pipe().unwrap();
        let lines = Lines::start(1 << 20, writer).unwrap();
        for n in 0..100 {
            lines.push(format!("line {n}\n").as_bytes());
        }
        assert!(lines.flush(Duration::from_secs(60)));
        let expected: String = (0..100).map(|n| format!("line {n}\n")).collect();
        let mut got = vec![0; expected.len()];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(String::from_utf8(got).unwrap(), expected);
        assert_eq!(lines.dropped(), 0);
    }

    #[test]
    fn who_logs_never_waits_for_a_reader_and_what_finds_no_room_is_counted() {
        let (reader, writer) = io::pipe().unwrap();
        // The bound is above what a pipe takes, and far more is logged than both hold together.
        let lines = Lines::start(1 << 20, writer).unwrap();
        for _ in 0..10_000 {
            lines.push(&[b'x'; 1000]);
        }
        assert!(lines.dropped() > 0);
        assert!(!lines.flush(Duration::from_millis(1)), "nobody reads");
        // The reader leaves: what waits is lost, and the next line is taken again.
        drop(reader);
        assert!(lines.flush(Duration::from_secs(60)));
        let before = lines.dropped();
        lines.push(b"y\n");
        assert!(lines.flush(Duration::from_secs(60)));
        assert_eq!(lines.dropped(), before);
    }
}
