//! People who look into conversations over REST: they read pages of history, and move their read pointers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::Target;
use crate::error::LoadError;
use crate::latency::Latency;
use crate::rest::{Answer, Rest};
use crate::scenario::schedule::Schedule;

/// A conversation that is looked into.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) conversation_id: String,
    /// Of its members.
    pub(super) tokens: Vec<String>,
    pub(super) weight: f64,
    /// The newest seq that anybody has seen there; 0: none.
    pub(super) newest: AtomicU64,
}

/// What they do.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) places: Vec<Place>,
    pub(super) schedule: Schedule,
    /// Of what becomes due, the share that moves a read pointer; the rest reads a page.
    pub(super) mark_share: f64,
    /// Of the pages, the share that begins at any place of the conversation and not at its end.
    pub(super) deep_share: f64,
    pub(super) page_messages: u32,
    pub(super) seed: u64,
}

/// What they met.
#[derive(Debug, Default, Serialize)]
pub(super) struct Readings {
    /// Pages that came, each dense and ascending.
    pub(super) pages: u64,
    /// Messages in them.
    pub(super) messages: u64,
    pub(super) marked: u64,
    /// 404: nobody has written there yet.
    pub(super) not_there_yet: u64,
    /// 429 and 503 with `Retry-After`: answers, too.
    pub(super) refused_with_retry_after: u64,
    pub(super) refused_without_retry_after: u64,
    /// Other answers, and none.
    pub(super) failed: u64,
    /// The last of these, in words; empty: none.
    pub(super) trouble: String,
    #[serde(skip)]
    pub(super) page_us: Latency,
    #[serde(skip)]
    pub(super) mark_us: Latency,
    /// Pages that were not what was asked for, in words, some of them.
    #[serde(skip)]
    pub(super) wrong: Vec<String>,
}

/// More wrong pages than this tell nothing new.
const WRONG_MAX: usize = 20;

impl Readings {
    fn add(&mut self, other: Readings) {
        self.pages += other.pages;
        self.messages += other.messages;
        self.marked += other.marked;
        self.not_there_yet += other.not_there_yet;
        self.refused_with_retry_after += other.refused_with_retry_after;
        self.refused_without_retry_after += other.refused_without_retry_after;
        self.failed += other.failed;
        if !other.trouble.is_empty() {
            self.trouble = other.trouble;
        }
        self.page_us.merge(&other.page_us);
        self.mark_us.merge(&other.mark_us);
        self.wrong.extend(other.wrong);
        self.wrong.truncate(WRONG_MAX);
    }
}

/// Threads with a kept connection each.
#[derive(Debug)]
pub(super) struct Readers {
    threads: Vec<JoinHandle<Readings>>,
}

impl Readers {
    /// # Errors
    /// [`LoadError::Io`]: the machine has no thread left.
    pub(super) fn start(plan: Plan, connections: usize) -> Result<Readers, LoadError> {
        let plan = Arc::new(plan);
        let mut readers = Readers { threads: Vec::new() };
        for number in 0..connections {
            let mut reader = Reader::new(plan.clone(), number);
            let thread = std::thread::Builder::new().name(format!("reader-{number}")).spawn(move || {
                while let Some((_, due)) = reader.plan.schedule.wait_due() {
                    reader.look(due);
                }
                reader.readings
            });
            readers.threads.push(thread.map_err(|source| LoadError::Io { what: "no thread", source })?);
        }
        Ok(readers)
    }

    /// Waits for the last answers.
    pub(super) fn stop(self) -> Readings {
        let mut sum = Readings::default();
        for thread in self.threads {
            match thread.join() {
                Ok(readings) => sum.add(readings),
                Err(_) => sum.wrong.push("a thread of this program that read histories failed".to_owned()),
            }
        }
        sum
    }
}

struct Reader {
    plan: Arc<Plan>,
    rest: Rest,
    rng: fastrand::Rng,
    readings: Readings,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    messages: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    conversation_id: String,
    seq_id: u64,
}

impl Reader {
    fn new(plan: Arc<Plan>, number: usize) -> Reader {
        Reader {
            rest: Rest::new(plan.target.clone()),
            rng: fastrand::Rng::with_seed(plan.seed.wrapping_add(number as u64)),
            readings: Readings::default(),
            plan,
        }
    }

    fn look(&mut self, due: Instant) {
        let plan = self.plan.clone();
        let Some(at) = self.draw() else { return };
        let place = &plan.places[at];
        let Some(token) = self.rng.choice(&place.tokens) else { return };
        self.rest.speak_as(token);
        let newest = Some(place.newest.load(Ordering::Relaxed)).filter(|newest| *newest > 0);
        let path = format!("/api/conversations/{}", place.conversation_id);
        // Who has seen nothing has nothing to mark.
        let marks = newest.filter(|_| self.rng.f64() < plan.mark_share);
        let answer = match marks {
            Some(seq) => self.rest.call("POST", &format!("{path}/read"), Some(&json!({"seqId": seq}))),
            None => {
                let from = newest.filter(|_| self.rng.f64() < plan.deep_share).map(|newest| {
                    // Before 1 there is nothing.
                    format!("&before_seq={}", self.rng.u64(2..=newest.saturating_add(1)))
                });
                let limit = plan.page_messages;
                self.rest.call(
                    "GET",
                    &format!("{path}/messages?limit={limit}{}", from.unwrap_or_default()),
                    None,
                )
            }
        };
        let us = due.elapsed().as_micros() as u64;
        match answer {
            Ok(answer) => self.take(at, &answer, marks.is_some(), us),
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn draw(&mut self) -> Option<usize> {
        let places = &self.plan.places;
        let total: f64 = places.iter().map(|place| place.weight).sum();
        let mut drawn = self.rng.f64() * total;
        let found = places.iter().position(|place| {
            drawn -= place.weight;
            drawn < 0.0
        });
        found.or(places.len().checked_sub(1))
    }

    fn fail(&mut self, why: String) {
        self.readings.failed += 1;
        self.readings.trouble = why;
    }

    fn take(&mut self, at: usize, answer: &Answer, marks: bool, us: u64) {
        let readings = &mut self.readings;
        match (answer.status, marks) {
            (204, true) => {
                readings.marked += 1;
                readings.mark_us.record(us);
            }
            (200, false) => {
                readings.page_us.record(us);
                self.take_page(at, &answer.body);
            }
            (404, _) => readings.not_there_yet += 1,
            (429 | 503, _) if answer.retry_after_s.is_some() => readings.refused_with_retry_after += 1,
            (429 | 503, _) => readings.refused_without_retry_after += 1,
            (status, _) => self.fail(format!("{status} {:.200}", String::from_utf8_lossy(&answer.body))),
        }
    }

    fn take_page(&mut self, at: usize, body: &[u8]) {
        let id = &self.plan.places[at].conversation_id;
        let wrong = match serde_json::from_slice::<Page>(body) {
            Err(error) => Some(format!("a page of {id} can't be read: {error}")),
            Ok(page) => {
                self.readings.pages += 1;
                self.readings.messages += page.messages.len() as u64;
                if let Some(last) = page.messages.last() {
                    self.plan.places[at].newest.fetch_max(last.seq_id, Ordering::Relaxed);
                }
                let is_foreign = page.messages.iter().any(|message| message.conversation_id != *id);
                let seqs: Vec<u64> = page.messages.iter().map(|message| message.seq_id).collect();
                let is_dense = seqs.windows(2).all(|pair| pair[0].checked_add(1) == Some(pair[1]));
                (is_foreign || !is_dense).then(|| {
                    format!(
                        "a page of {id} has a gap, is out of order or holds another one's messages: {seqs:?}"
                    )
                })
            }
        };
        if let Some(wrong) = wrong.filter(|_| self.readings.wrong.len() < WRONG_MAX) {
            self.readings.wrong.push(wrong);
        }
    }
}
