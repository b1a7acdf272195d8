//! Ids of 64 bits (the highest one always 0): 41 bits of milliseconds since 2025-01-01, 10 bits of worker, 12 bits of counter.
//!
//! Ids of one generator only grow, whatever the clock does: when it stands still or goes back, the generator
//! counts on from its last timestamp. What it may use is written down ahead in steps, so that a restart
//! begins above everything that was ever given out, even with a clock set back meanwhile.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// 2025-01-01T00:00:00Z in milliseconds since 1970.
pub const EPOCH_UNIX_MS: i64 = 1_735_689_600_000;

/// Workers are numbered below this.
pub const WORKERS: u16 = 1 << WORKER_BITS;

const WORKER_BITS: u32 = 10;
const COUNTER_BITS: u32 = 12;
const TIME_MAX: u64 = (1 << 41) - 1;

/// How far ahead the kept timestamp is, in milliseconds: one small synced write each such time, and at most
/// so far ahead of the clock are the first ids after a restart.
const KEEP_AHEAD_MS: u64 = 10_000;

type Clock = Box<dyn Fn() -> i64 + Send + Sync>;

/// Why there is no id.
#[derive(Debug, thiserror::Error)]
pub enum IdError {
    /// The worker's number doesn't fit.
    #[error("worker {0} is not below {WORKERS}")]
    Worker(u16),
    /// The kept timestamp can't be read or written.
    #[error("ids {path}: {source}")]
    Kept {
        /// The file with the kept timestamp.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The clock stands before 2025 or after 2094.
    #[error("the clock says {0} ms since 1970, which no id can carry")]
    Clock(i64),
}

/// A generator. Clones share one sequence; any thread may draw.
#[derive(Clone)]
pub struct IdGen {
    shared: Arc<Shared>,
}

struct Shared {
    worker: u64,
    kept: PathBuf,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    /// The timestamp of the last id.
    time: u64,
    /// The next counter value within `time`.
    counter: u64,
    /// Timestamps below this may be used; it is on disk.
    ceiling: u64,
}

impl std::fmt::Debug for IdGen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "IdGen(worker {})", self.shared.worker)
    }
}

impl IdGen {
    /// A generator that continues above what the file keeps. No two generators may have one worker number at
    /// the same time.
    ///
    /// # Errors
    /// When the number is too large or the file can't be read or written.
    pub fn open(worker_id: u16, kept: PathBuf) -> Result<IdGen, IdError> {
        IdGen::open_with_clock(worker_id, kept, unix_ms)
    }

    /// As [`IdGen::open`], with a clock in milliseconds since 1970.
    ///
    /// # Errors
    /// As [`IdGen::open`].
    pub fn open_with_clock(
        worker_id: u16,
        kept: PathBuf,
        clock: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Result<IdGen, IdError> {
        if worker_id >= WORKERS {
            return Err(IdError::Worker(worker_id));
        }
        let floor = read_kept(&kept).map_err(|source| IdError::Kept { path: kept.clone(), source })?;
        let state = State { time: floor, counter: 0, ceiling: floor };
        let worker = u64::from(worker_id);
        Ok(IdGen {
            shared: Arc::new(Shared { worker, kept, clock: Box::new(clock), state: Mutex::new(state) }),
        })
    }

    /// The next id, larger than every one before. Blocks for a synced write once in ten seconds of time.
    ///
    /// # Errors
    /// When the clock is out of range or the kept timestamp can't be written: then no id is given out.
    pub fn next(&self) -> Result<u64, IdError> {
        let shared = &*self.shared;
        let unix = (shared.clock)();
        let now = unix.checked_sub(EPOCH_UNIX_MS).and_then(|ms| u64::try_from(ms).ok());
        let now = now.filter(|now| *now <= TIME_MAX).ok_or(IdError::Clock(unix))?;
        let mut state = shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut time, mut counter) = (state.time, state.counter);
        if now > time {
            (time, counter) = (now, 0);
        } else if counter == 1 << COUNTER_BITS {
            (time, counter) = (time + 1, 0);
        }
        if time > TIME_MAX {
            return Err(IdError::Clock(unix));
        }
        if time >= state.ceiling {
            let ceiling = time + KEEP_AHEAD_MS;
            write_kept(&shared.kept, ceiling)
                .map_err(|source| IdError::Kept { path: shared.kept.clone(), source })?;
            state.ceiling = ceiling;
        }
        (state.time, state.counter) = (time, counter + 1);
        Ok(time << (WORKER_BITS + COUNTER_BITS) | shared.worker << COUNTER_BITS | counter)
    }
}

/// The time inside an id, in milliseconds since 1970.
pub fn unix_ms_of(id: u64) -> i64 {
    EPOCH_UNIX_MS + (id >> (WORKER_BITS + COUNTER_BITS)) as i64
}

fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn read_kept(path: &Path) -> io::Result<u64> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| io::Error::other(format!("{text:?} is not a timestamp"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Whole or not at all, and on disk before the first id above the old ceiling exists.
fn write_kept(path: &Path, ceiling: u64) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = path.with_extension("tmp");
    let mut file = File::create(&beside)?;
    writeln!(file, "{ceiling}")?;
    file.sync_data()?;
    fs::rename(&beside, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicI64, Ordering};

    struct Bench {
        dir: tempfile::TempDir,
        now: Arc<AtomicI64>,
    }

    impl Bench {
        fn new() -> Bench {
            let now = Arc::new(AtomicI64::new(EPOCH_UNIX_MS + 5_000_000));
            Bench { dir: tempfile::tempdir().unwrap(), now }
        }

        fn open(&self, worker: u16) -> IdGen {
            let now = self.now.clone();
            let clock = move || now.load(Ordering::Relaxed);
            IdGen::open_with_clock(worker, self.dir.path().join("ids/kept"), clock).unwrap()
        }

        fn shift(&self, ms: i64) {
            self.now.fetch_add(ms, Ordering::Relaxed);
        }
    }

    #[test]
    fn an_id_carries_time_worker_and_counter() {
        let bench = Bench::new();
        let ids = bench.open(1023);
        let (first, second) = (ids.next().unwrap(), ids.next().unwrap());
        assert_eq!(unix_ms_of(first), bench.now.load(Ordering::Relaxed));
        assert_eq!((first >> 12) & 1023, 1023);
        assert_eq!((first & 4095, second & 4095), (0, 1));
        assert!(first < 1 << 63);
        assert!(matches!(IdGen::open(1024, "x".into()), Err(IdError::Worker(1024))));
    }

    #[test]
    fn ids_grow_while_the_clock_stands_or_goes_back() {
        let bench = Bench::new();
        let ids = bench.open(1);
        let mut last = 0;
        for step in [0, 1, -3_600_000, 5, -1, 7_200_000, -100_000_000] {
            bench.shift(step.max(-4_900_000));
            for _ in 0..5000 {
                let id = ids.next().unwrap();
                assert!(id > last);
                last = id;
            }
        }
    }

    #[test]
    fn a_restart_with_the_clock_set_back_begins_above_everything_given_out() {
        let bench = Bench::new();
        let mut last = 0;
        for _ in 0..5 {
            let ids = bench.open(1);
            for _ in 0..10_000 {
                bench.shift(3);
                let id = ids.next().unwrap();
                assert!(id > last);
                last = id;
            }
            bench.shift(-40_000);
        }
    }

    #[test]
    fn threads_and_workers_never_draw_the_same_id() {
        let bench = Bench::new();
        let other = Bench::new();
        let (one, two) = (bench.open(1), other.open(2));
        let draw = |ids: &IdGen| {
            let ids = ids.clone();
            std::thread::spawn(move || (0..20_000).map(|_| ids.next().unwrap()).collect::<Vec<_>>())
        };
        let threads: Vec<_> = (0..4).flat_map(|_| [draw(&one), draw(&two)]).collect();
        let mut all = HashSet::new();
        for thread in threads {
            for id in thread.join().unwrap() {
                assert!(all.insert(id));
            }
        }
        assert_eq!(all.len(), 160_000);
    }

    #[test]
    fn no_id_without_a_kept_timestamp() {
        let bench = Bench::new();
        let ids = bench.open(1);
        ids.next().unwrap();
        fs::remove_dir_all(bench.dir.path().join("ids")).unwrap();
        fs::write(bench.dir.path().join("ids"), "in the way").unwrap();
        bench.shift(KEEP_AHEAD_MS as i64);
        assert!(matches!(ids.next(), Err(IdError::Kept { .. })));
        fs::remove_file(bench.dir.path().join("ids")).unwrap();
        ids.next().unwrap();
        fs::write(bench.dir.path().join("ids/kept"), "rubbish").unwrap();
        assert!(IdGen::open(1, bench.dir.path().join("ids/kept")).is_err());
    }

    #[test]
    fn a_clock_before_2025_gives_no_ids() {
        let dir = tempfile::tempdir().unwrap();
        let ids = IdGen::open_with_clock(0, dir.path().join("kept"), || 0).unwrap();
        assert!(matches!(ids.next(), Err(IdError::Clock(0))));
    }
}
