//! The end of a load: drain, wait for the tail, fetch what is missing, read everything.

use super::worker::{Member, Worker};

/// Where a thread stands after the sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Connecting, holding, sending.
    Load,
    /// Nothing new; until every message has its final answer.
    Drain,
    /// The last deliveries are on their way.
    Tail {
        until_us: u64,
    },
    /// Clients that are still behind ask for what they miss.
    Fetch {
        until_us: u64,
    },
    /// Every client reads the whole history.
    Read,
    Done,
}

impl Worker {
    /// One step towards the end, when its time has come.
    pub(super) fn advance_phase(&mut self, now_us: u64) {
        if now_us >= self.control.give_up_at_us() {
            self.phase = Phase::Done;
            return;
        }
        let rules = &self.config.rules;
        let (tail_us, answer_us) = (rules.tail_wait_ms * 1000, rules.answer_wait_ms * 1000);
        match self.phase {
            Phase::Load if self.control.give_up_at_us() != u64::MAX => {
                // All that was due by the end is sent, also what became due since `now_us` was taken.
                self.send_due(u64::MAX);
                self.pacer = None;
                self.phase = Phase::Drain;
            }
            Phase::Drain if self.members.iter().all(|member| member.client.unfinished() == 0) => {
                self.phase = Phase::Tail { until_us: now_us + tail_us };
            }
            Phase::Tail { until_us } if now_us >= until_us || self.behind().is_empty() => {
                for at in self.behind() {
                    self.with_client(at, |client, turn| client.fetch_tail(turn));
                }
                self.phase = Phase::Fetch { until_us: now_us + answer_us };
            }
            Phase::Fetch { until_us } if now_us >= until_us || self.behind().is_empty() => {
                self.phase = Phase::Read
            }
            Phase::Read => self.read_on(),
            _ => {}
        }
    }

    fn behind(&self) -> Vec<usize> {
        let is_behind =
            |member: &Member| member.talk.is_some_and(|talk| !member.client.is_level(&self.talks[talk]));
        (0..self.members.len()).filter(|at| is_behind(&self.members[*at])).collect()
    }

    /// Lets some clients at a time read their final history.
    fn read_on(&mut self) {
        let talking = |member: &&Member| member.talk.is_some();
        if self.members.iter().filter(talking).all(|member| member.client.has_read()) {
            self.phase = Phase::Done;
            return;
        }
        let reading = self.members.iter().filter(|member| member.client.is_reading()).count();
        let waiting: Vec<usize> = (0..self.members.len())
            .filter(|at| {
                let member = &self.members[*at];
                member.talk.is_some() && !member.client.has_read() && !member.client.is_reading()
            })
            .take(self.config.rules.final_readers_max.saturating_sub(reading))
            .collect();
        for at in waiting {
            self.with_client(at, |client, turn| client.begin_final_read(turn));
        }
    }
}
