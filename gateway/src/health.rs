//! Whether everything that keeps connections alive still runs: shards that answer, tasks and threads that have not
//! ended. A gateway of which a part is gone goes on with the rest, and must not look healthy.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use gochat_core::Mailboxes;
use gochat_infra::admin::Readiness;
use tokio::{
    sync::oneshot::{self, error::TryRecvError},
    task::AbortHandle,
    time::sleep,
};

use crate::{config::HealthConfig, mail::Mail};

/// Name of the condition in the readiness report.
const CONDITION: &str = "gateway-parts";

/// A part that must run as long as the gateway.
pub(crate) enum Part {
    Task(&'static str, AbortHandle),
    /// A thread that drops the other end when it ends, by a panic too.
    Thread(&'static str, oneshot::Receiver<Infallible>),
}

impl Part {
    fn ended(&mut self) -> Option<&'static str> {
        match self {
            Part::Task(name, task) => task.is_finished().then_some(*name),
            Part::Thread(name, end) => matches!(end.try_recv(), Err(TryRecvError::Closed)).then_some(*name),
        }
    }
}

/// Keeps the condition until it is dropped.
pub(crate) struct Health {
    pub(crate) parts: Vec<Part>,
    pub(crate) mailboxes: Mailboxes<Mail>,
    pub(crate) readiness: Readiness,
    pub(crate) config: HealthConfig,
}

impl Health {
    pub(crate) async fn run(mut self) {
        let deadline = Duration::from_millis(self.config.shard_deadline_ms);
        let begun = Instant::now();
        let mut shards: Vec<Pulse> = (0..self.mailboxes.len()).map(|_| Pulse::new(begun)).collect();
        let mut told = None;
        loop {
            let reason = self.reason(&mut shards, deadline);
            match &reason {
                None => self.readiness.ready(CONDITION),
                Some(why) => self.readiness.not_ready(CONDITION, why.as_str()),
            }
            if reason != told {
                match &reason {
                    None => tracing::info!("all parts of the gateway work again"),
                    Some(reason) => tracing::error!(reason, "a part of the gateway does not work"),
                }
                told = reason;
            }
            sleep(Duration::from_millis(self.config.interval_ms)).await;
        }
    }

    fn reason(&mut self, shards: &mut [Pulse], deadline: Duration) -> Option<String> {
        let ended = self.parts.iter_mut().find_map(Part::ended);
        let now = Instant::now();
        let mut silent = None;
        for (shard, pulse) in shards.iter_mut().enumerate() {
            // One question at a time, so that what is posted without a bound is bounded.
            let ask = |to| self.mailboxes.shard(shard).post_reserved(Mail::Alive(to));
            if pulse.is_late(now, deadline, ask) {
                silent = silent.or(Some(shard));
            }
        }
        if let Some(part) = ended {
            return Some(format!("{part} has ended, see the log; restart this process"));
        }
        let (shard, deadline_ms) = (silent?, deadline.as_millis());
        Some(format!(
            "shard {shard} has not answered for {deadline_ms} ms; if that lasts, restart this process"
        ))
    }
}

/// When a shard was last known to work.
struct Pulse {
    heard: Instant,
    asked: Option<oneshot::Receiver<()>>,
}

impl Pulse {
    fn new(now: Instant) -> Self {
        Pulse { heard: now, asked: None }
    }

    /// Looks whether the last question was answered, and asks again if it is not open any more.
    fn is_late(&mut self, now: Instant, deadline: Duration, ask: impl FnOnce(oneshot::Sender<()>)) -> bool {
        match self.asked.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(())) => self.heard = now,
            Some(Err(TryRecvError::Empty)) => return now.duration_since(self.heard) > deadline,
            // A question that was dropped is no answer: the shard has ended.
            Some(Err(TryRecvError::Closed)) | None => {}
        }
        let (to, asked) = oneshot::channel();
        ask(to);
        self.asked = Some(asked);
        now.duration_since(self.heard) > deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_that_does_not_answer_is_late_and_is_asked_once() {
        let (begun, deadline) = (Instant::now(), Duration::from_secs(5));
        let at = |s| begun + Duration::from_secs(s);
        let (mut pulse, mut asked) = (Pulse::new(begun), Vec::new());
        assert!(!pulse.is_late(at(0), deadline, |to| asked.push(to)));
        asked.pop().expect("a question").send(()).expect("it is waited for");
        assert!(!pulse.is_late(at(4), deadline, |to| asked.push(to)));
        assert!(!pulse.is_late(at(9), deadline, |to| asked.push(to)));
        assert!(pulse.is_late(at(10), deadline, |to| asked.push(to)));
        assert_eq!(asked.len(), 1, "it has not answered the last question yet");
        asked.pop().expect("a question").send(()).expect("it is waited for");
        assert!(!pulse.is_late(at(11), deadline, |to| asked.push(to)), "it works again");
    }

    #[test]
    fn a_shard_that_has_ended_is_late() {
        let (begun, deadline) = (Instant::now(), Duration::from_secs(5));
        let mut pulse = Pulse::new(begun);
        assert!(!pulse.is_late(begun, deadline, drop));
        assert!(!pulse.is_late(begun + deadline, deadline, drop));
        assert!(pulse.is_late(begun + deadline + Duration::from_millis(1), deadline, drop));
    }

    #[tokio::test]
    async fn what_has_ended_is_named() {
        let forever = tokio::spawn(std::future::pending::<()>());
        let ended = tokio::spawn(async {});
        let handles = [forever.abort_handle(), ended.abort_handle()];
        ended.await.expect("it ends");
        let [mut runs, mut gone] = handles.map(|handle| Part::Task("a task", handle));
        assert_eq!((runs.ended(), gone.ended()), (None, Some("a task")));
        let (alive, end) = oneshot::channel();
        let mut thread = Part::Thread("a thread", end);
        assert_eq!(thread.ended(), None);
        let panics = std::thread::spawn(move || {
            let _alive: oneshot::Sender<Infallible> = alive;
            panic!("a fault of ours");
        });
        assert!(panics.join().is_err());
        assert_eq!(thread.ended(), Some("a thread"));
    }
}
