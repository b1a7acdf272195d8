//! System calls of the server's processes, counted by `perf stat` beside the run where the kernel allows it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often perf tells its count; more often would cost the machine more.
const EVERY_MS: u64 = 200;
/// It tells its first count by then, or it is not allowed to.
const FIRST_COUNT: Duration = Duration::from_secs(5);

/// When a count was told, and how many calls there were up to then.
type Told = (Instant, u64);

/// Counts for as long as it lives.
#[derive(Debug)]
pub(crate) struct Syscalls {
    counters: Vec<Counter>,
}

/// One process's.
#[derive(Debug)]
struct Counter {
    perf: Child,
    told: Arc<Mutex<Vec<Told>>>,
    reader: Option<JoinHandle<()>>,
}

impl Syscalls {
    /// Returns when the counting goes on.
    ///
    /// # Errors
    /// In words: no process to count, no perf, or no right to.
    pub(crate) fn start(pids: &[u32]) -> Result<Syscalls, String> {
        if pids.is_empty() {
            return Err("the server is not a process on this machine".to_owned());
        }
        let counters = pids.iter().map(|pid| Counter::start(*pid)).collect::<Result<_, _>>()?;
        Ok(Syscalls { counters })
    }

    /// Of each process since the counting began, as last told.
    pub(crate) fn so_far(&self) -> Vec<u64> {
        self.counters.iter().map(|counter| counter.told().last().map_or(0, |(_, calls)| *calls)).collect()
    }

    /// Calls of all processes a second, over the steps of the count that lie within this time. `None`: too short for one.
    pub(crate) fn per_s(&self, from: Instant, to: Instant) -> Option<f64> {
        self.counters.iter().map(|counter| rate(&counter.told(), from, to)).sum()
    }
}

impl Counter {
    fn start(pid: u32) -> Result<Counter, String> {
        let (pid, every) = (pid.to_string(), EVERY_MS.to_string());
        let mut perf = Command::new("perf")
            .args(["stat", "-x", ",", "-I", &every, "-e", "raw_syscalls:sys_enter", "-p", &pid])
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("perf can't be started ({error}): install it"))?;
        let told = Arc::<Mutex<Vec<Told>>>::default();
        let (say, heard) = channel();
        let reader = perf.stderr.take().map(|lines| {
            let told = told.clone();
            std::thread::spawn(move || listen(BufReader::new(lines), &told, &say))
        });
        let counter = Counter { perf, told, reader };
        first_count(&heard)?;
        Ok(counter)
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Vec<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // It may have ended with the process that it counted.
        let _ = self.perf.kill();
        let _ = self.perf.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Reads perf's lines to their end; `say` hears of each count, and what else it says.
fn listen(lines: impl BufRead, told: &Mutex<Vec<Told>>, say: &Sender<Result<(), String>>) {
    let mut calls = 0;
    for line in lines.lines().map_while(Result::ok) {
        let counted = count_of(&line);
        if let Some(more) = counted {
            calls += more;
            told.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), calls));
        }
        // After the first count nobody listens any more.
        let _ = say.send(counted.map(drop).ok_or(line));
    }
}

fn first_count(heard: &Receiver<Result<(), String>>) -> Result<(), String> {
    let until = Instant::now() + FIRST_COUNT;
    let mut words = Vec::new();
    loop {
        match heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(line)) => words.push(line.trim().to_owned()),
            Err(RecvTimeoutError::Timeout) => return Err("perf tells no count".to_owned()),
            Err(RecvTimeoutError::Disconnected) => {
                words.retain(|line| !line.is_empty());
                words.truncate(3);
                return Err(format!("perf may not count here: {}", words.join(" ")));
            }
        }
    }
}

/// Of a line of `perf stat -x, -I`: seconds, count, unit, event, …
fn count_of(line: &str) -> Option<u64> {
    let mut fields = line.split(',');
    fields.next()?.trim().parse::<f64>().ok()?;
    match fields.next()? {
        // The process slept all the time.
        "<not counted>" => Some(0),
        count => count.parse().ok(),
    }
}

fn rate(told: &[Told], from: Instant, to: Instant) -> Option<f64> {
    let within = || told.iter().filter(|(at, _)| (from..=to).contains(at));
    let ((first, before), (last, after)) = (within().next()?, within().next_back()?);
    let seconds = last.saturating_duration_since(*first).as_secs_f64();
    (seconds > 0.0).then(|| (after - before) as f64 / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_perf_are_read() {
        assert_eq!(count_of("     0.500578123,43,,raw_syscalls:sys_enter,1677099,100.00,,"), Some(43));
        assert_eq!(count_of("     0.5,<not counted>,,raw_syscalls:sys_enter,0,0.00,,"), Some(0), "it slept");
        assert_eq!(count_of("     0.5,<not supported>,,raw_syscalls:sys_enter,0,0.00,,"), None);
        assert_eq!(count_of("event syntax error: 'raw_syscalls:sys_enter'"), None);
    }

    #[test]
    fn only_whole_steps_of_the_count_make_a_rate() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let told = [(at(0), 0), (at(200), 10), (at(400), 30), (at(600), 30), (at(800), 130)];
        assert_eq!(rate(&told, at(100), at(700)), Some(50.0));
        assert_eq!(rate(&told, at(100), at(300)), None, "one count is no step");
        assert_eq!(rate(&told, at(900), at(1000)), None);
    }

    #[test]
    fn what_perf_says_instead_of_a_count_is_the_reason() {
        let (say, heard) = channel();
        let told = Mutex::default();
        listen("Error:\nNo permission to enable raw_syscalls:sys_enter\n".as_bytes(), &told, &say);
        drop(say);
        let why = first_count(&heard).unwrap_err();
        assert!(why.contains("No permission"), "{why}");
        assert!(told.lock().unwrap().is_empty());
        assert!(Syscalls::start(&[]).is_err());
    }
}
