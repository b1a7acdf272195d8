//! A load in threads of its own: connects, sends at a rate, survives the server's death, and comes home with
//! the history of all that was sent, told and received.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::checker::History;
use crate::config::LoadConfig;
use crate::error::LoadError;
use crate::swarm::{Control, Harvest, Worker};
use crate::tally::{Latencies, Progress};

/// A running load.
///
/// Connects at once, and reconnects with jittered back-off for as long as it lives; sends from
/// [`ChatLoad::begin`] to [`ChatLoad::stop`]. Dropping it abandons the load.
#[derive(Debug)]
pub struct ChatLoad {
    control: Arc<Control>,
    users: u64,
    threads: Vec<JoinHandle<Harvest>>,
}

/// What a load came home with.
#[derive(Debug)]
pub struct LoadOutcome {
    pub history: History,
    pub latencies: Latencies,
    pub progress: Progress,
    /// Messages that had no final answer at the deadline.
    pub unfinished: u64,
    /// Members whose final history could not be read by the deadline.
    pub unread: u64,
    /// Threads of the load that panicked: their part of the history is missing.
    pub panicked: u64,
}

impl LoadOutcome {
    /// Every message is final and every member's history was read: the checker may judge.
    pub fn is_complete(&self) -> bool {
        self.unfinished + self.unread + self.panicked == 0
    }
}

impl ChatLoad {
    /// Starts the threads, which begin to connect.
    ///
    /// # Errors
    /// [`LoadError::BadConfig`], or [`LoadError::Io`] when the machine has no thread or epoll instance left.
    pub fn start(config: LoadConfig) -> Result<ChatLoad, LoadError> {
        let limit = config.sessions();
        ChatLoad::start_some(config, limit)
    }

    /// As [`ChatLoad::start`], but only the first `connect_limit` users connect until [`ChatLoad::let_connect`].
    pub fn start_some(mut config: LoadConfig, connect_limit: usize) -> Result<ChatLoad, LoadError> {
        check_config(&config)?;
        // A conversation lives in one thread: more threads than conversations would idle.
        config.threads = config.threads.min(config.users.len().div_ceil(2) + config.rooms.len()).max(1);
        let control = Arc::new(Control::new(connect_limit));
        let config = Arc::new(config);
        let mut load =
            ChatLoad { control: control.clone(), users: config.sessions() as u64, threads: Vec::new() };
        for thread in 0..config.threads {
            let worker = Worker::new(config.clone(), control.clone(), thread)
                .map_err(|source| LoadError::Io { what: "no epoll instance", source })?;
            let handle = std::thread::Builder::new()
                .name(format!("load-{thread}"))
                .spawn(move || worker.run())
                .map_err(|source| LoadError::Io { what: "no thread", source })?;
            load.threads.push(handle);
        }
        Ok(load)
    }

    /// Raises the number of users who may connect.
    pub fn let_connect(&self, limit: usize) {
        self.control.let_connect(limit);
    }

    /// Blocks until all users are connected and know where their conversations stand.
    ///
    /// # Errors
    /// [`LoadError::NotReady`] with the last trouble, after `timeout`.
    pub fn wait_ready(&self, timeout: Duration) -> Result<(), LoadError> {
        self.wait_ready_count(self.users, timeout)
    }

    /// As [`ChatLoad::wait_ready`], for the first `users` of them.
    pub fn wait_ready_count(&self, users: u64, timeout: Duration) -> Result<(), LoadError> {
        let until = Instant::now() + timeout;
        loop {
            let ready = self.progress().ready;
            if ready >= users {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(LoadError::NotReady { ready, users, trouble: self.trouble() });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Messages become due from now on. Call [`ChatLoad::wait_ready`] before it: seqs count from what the
    /// clients found then. Returns when the first message will be due.
    pub fn begin(&self) -> Instant {
        self.control.begin_sending(None)
    }

    /// As [`ChatLoad::begin`], for exactly this long. Returns when the first message will be due.
    pub fn begin_for(&self, lasting: Duration) -> Instant {
        self.control.begin_sending(Some(lasting))
    }

    /// As [`ChatLoad::begin_for`], with the first message due at `from`.
    pub(crate) fn begin_at(&self, from: Instant, lasting: Option<Duration>) {
        self.control.begin_sending_at(from, lasting);
    }

    /// No message becomes due any more; what is unfinished goes on.
    pub fn end_sending(&self) {
        self.control.end_sending();
    }

    /// Cuts every open connection at once, as a lost network does (a reset, no close frame). The clients come back by
    /// their back-off alone from then on: `connects_per_s` and `connecting_max` bound them no more.
    pub fn cut_all(&self) {
        self.control.cut_all();
    }

    pub fn progress(&self) -> Progress {
        self.control.counters.snapshot()
    }

    /// What was measured since the last call, as far as the threads have handed it over (four times a second).
    pub fn fresh_latencies(&self) -> Latencies {
        self.control.fresh_latencies()
    }

    /// The last thing that went wrong, in words; empty: nothing.
    pub fn trouble(&self) -> String {
        self.control.counters.trouble()
    }

    /// Begins the end that [`ChatLoad::stop`] waits for, and returns at once.
    pub fn finish(&self, deadline: Duration) {
        self.control.finish(deadline);
    }

    /// After [`ChatLoad::finish`]: nothing is left to wait for.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Ends the sending, waits until every message has its final answer, every delivery is in and every
    /// member has read the whole history, and gives up on what is missing after `deadline`.
    pub fn stop(mut self, deadline: Duration) -> LoadOutcome {
        self.control.finish(deadline);
        let mut outcome = LoadOutcome {
            history: History::default(),
            latencies: Latencies::default(),
            progress: Progress::default(),
            unfinished: 0,
            unread: 0,
            panicked: 0,
        };
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(harvest) => {
                    outcome.history.conversations.extend(harvest.conversations);
                    outcome.unfinished += harvest.unfinished;
                    outcome.unread += harvest.unread;
                }
                Err(_) => outcome.panicked += 1,
            }
        }
        outcome.progress = self.progress();
        outcome.latencies = self.control.all_latencies();
        outcome
    }
}

impl Drop for ChatLoad {
    fn drop(&mut self) {
        self.control.abandon();
        for thread in self.threads.drain(..) {
            // A panic was reported by the thread's own hook.
            let _ = thread.join();
        }
    }
}

pub(crate) fn check_config(config: &LoadConfig) -> Result<(), LoadError> {
    let bad = |why: &str| Err(LoadError::BadConfig(why.to_owned()));
    let rate = config.rate_per_s;
    if config.sessions() == 0 {
        return bad("a load needs users");
    }
    if config.rooms.iter().any(|room| room.users.is_empty()) {
        return bad("a room without users has nobody to write in it");
    }
    if rate > 0.0 && !config.users.len().is_multiple_of(2) {
        return bad("users chat in pairs: their number must be even");
    }
    let connects = config.connects_per_s;
    if !(0.0..=1e6).contains(&rate) || connects.is_nan() || connects <= 0.0 {
        return bad("the rate must be between 0 and 1,000,000 messages/s, and the connect rate above 0");
    }
    let run_fits = (1..=16).contains(&config.run.len());
    if !run_fits || !config.run.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
        return bad("a run's name is [a-z0-9]{1,16}");
    }
    let habits = &config.habits;
    let shares = [habits.idle_share, habits.burst_share, habits.flap_share];
    if !shares.iter().all(|share| (0.0..=1.0).contains(share)) {
        return bad("the shares of idle sessions, bursts and flapping sessions must be between 0 and 1");
    }
    if !(0.0..=10.0).contains(&habits.zipf_exponent)
        || habits.burst_messages == 0
        || habits.flap_every_ms == 0
    {
        return bad(
            "the Zipf exponent must be between 0 and 10, and burst_messages and flap_every_ms above 0",
        );
    }
    let rules = &config.rules;
    if config.threads == 0
        || config.writers_max == 0
        || rules.in_flight_max == 0
        || rules.page_messages == 0
        || rules.final_readers_max == 0
    {
        return bad(
            "threads, writers_max, in_flight_max, page_messages and final_readers_max must be above 0",
        );
    }
    Ok(())
}
