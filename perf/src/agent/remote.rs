//! A load that agents make: dealt out here, watched here, and judged here as a whole.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::crew::Crew;
use super::message::{Answer, Home, Order, Seen};
use crate::checker::History;
use crate::config::{LoadConfig, Share};
use crate::error::LoadError;
use crate::load::{LoadOutcome, check_config};
use crate::tally::{Latencies, Progress};

/// As [`ChatLoad`](crate::ChatLoad), in the processes of a crew. Dropping it leaves the agents' load to their next
/// order, or to the end of their links.
#[derive(Debug)]
pub(crate) struct RemoteLoad {
    crew: Arc<Crew>,
    /// Which sessions of the whole each agent has.
    seats: Vec<Vec<Range>>,
}

/// Sessions of the whole load: the first, and how many.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Range {
    first: usize,
    len: usize,
}

/// From the order to begin until the first message is due: the orders must be there by then.
const LEAD_IN: Duration = Duration::from_millis(500);

impl RemoteLoad {
    /// Deals the load out, and lets the first `connect_limit` sessions connect.
    ///
    /// # Errors
    /// [`LoadError::BadConfig`] · [`LoadError::Agent`]
    pub(crate) fn start(
        crew: Arc<Crew>,
        config: LoadConfig,
        connect_limit: usize,
    ) -> Result<RemoteLoad, LoadError> {
        check_config(&config)?;
        let deals = deal(&config, crew.len())?;
        let (parts, seats): (Vec<LoadConfig>, Vec<Vec<Range>>) = deals.into_iter().unzip();
        crew.set_sessions(&parts.iter().map(LoadConfig::sessions).collect::<Vec<_>>());
        let load = RemoteLoad { crew, seats };
        load.crew.expect_done(|agent| Order::Start {
            config: Box::new(parts[agent].clone()),
            connect_limit: limit_of(&load.seats[agent], connect_limit),
        })?;
        Ok(load)
    }

    pub(crate) fn let_connect(&self, limit: usize) -> Result<(), LoadError> {
        self.crew.expect_done(|agent| Order::LetConnect { limit: limit_of(&self.seats[agent], limit) })
    }

    pub(crate) fn begin(&self, lasting: Option<Duration>) -> Result<Instant, LoadError> {
        let (from, shown) = self.crew.at(|| Instant::now() + LEAD_IN)?;
        let lasting_us = lasting.map(|lasting| lasting.as_micros() as u64);
        self.crew.expect_done(|agent| Order::Begin { at_us: shown[agent], lasting_us })?;
        Ok(from)
    }

    pub(crate) fn end_sending(&self) -> Result<(), LoadError> {
        self.crew.expect_done(|_| Order::EndSending)
    }

    pub(crate) fn cut_all(&self) -> Result<(), LoadError> {
        self.crew.expect_done(|_| Order::CutAll)
    }

    fn look(&self) -> Result<Vec<Seen>, LoadError> {
        self.crew.ask(
            |_| Order::Look,
            |answer| match answer {
                Answer::Seen(seen) => Some(seen),
                _ => None,
            },
        )
    }

    pub(crate) fn progress(&self) -> Result<Progress, LoadError> {
        let mut sum = Progress::default();
        self.look()?.iter().for_each(|seen| sum.add(&seen.progress));
        Ok(sum)
    }

    pub(crate) fn trouble(&self) -> Result<String, LoadError> {
        Ok(self
            .look()?
            .into_iter()
            .map(|seen| seen.trouble)
            .find(|what| !what.is_empty())
            .unwrap_or_default())
    }

    pub(crate) fn is_finished(&self) -> Result<bool, LoadError> {
        Ok(self.look()?.iter().all(|seen| seen.is_finished))
    }

    pub(crate) fn fresh_latencies(&self) -> Result<Latencies, LoadError> {
        let fresh = self.crew.ask(
            |_| Order::TakeLatencies,
            |answer| match answer {
                Answer::Measured(fresh) => Some(fresh),
                _ => None,
            },
        )?;
        let mut sum = Latencies::default();
        fresh.iter().for_each(|fresh| sum.merge(fresh));
        Ok(sum)
    }

    pub(crate) fn finish(&self, deadline: Duration) -> Result<(), LoadError> {
        self.crew.expect_done(|_| Order::Finish { deadline_ms: deadline.as_millis() as u64 })
    }

    /// Takes the load home as it is.
    pub(crate) fn stop(self) -> Result<LoadOutcome, LoadError> {
        let mut history = History::default();
        let homes = self.crew.ask_long(&Order::Stop, |answer| match answer {
            Answer::Conversation(conversation) => {
                history.conversations.push(conversation);
                Ok(None)
            }
            Answer::Home(home) => Ok(Some(home)),
            _ => Err("it did not come home as it was asked"),
        })?;
        let sum = |of: fn(&Home) -> u64| homes.iter().map(|home| of(home)).sum();
        let mut outcome = LoadOutcome {
            history,
            latencies: Latencies::default(),
            progress: Progress::default(),
            unfinished: sum(|home| home.unfinished),
            unread: sum(|home| home.unread),
            panicked: sum(|home| home.panicked),
        };
        for home in &homes {
            outcome.latencies.merge(&home.latencies);
            outcome.progress.add(&home.progress);
        }
        Ok(outcome)
    }
}

/// How many of an agent's sessions are among the first `limit` of the whole.
fn limit_of(seats: &[Range], limit: usize) -> usize {
    seats.iter().map(|seats| limit.saturating_sub(seats.first).min(seats.len)).sum()
}

/// Every `parts`-th of the pairs and, numbered after them, of the rooms; each whole.
fn deal(config: &LoadConfig, parts: usize) -> Result<Vec<(LoadConfig, Vec<Range>)>, LoadError> {
    let conversations = config.users.len().div_ceil(2) + config.rooms.len();
    if conversations < parts {
        let why = format!(
            "{conversations} conversations can't be dealt out to {parts} processes: each stays whole within one"
        );
        return Err(LoadError::BadConfig(why));
    }
    let part_of = |part| LoadConfig {
        users: Vec::new(),
        rooms: Vec::new(),
        // Ids of messages count from 0 in each part: their run tells them apart.
        run: format!("{:.13}{part}", config.run),
        // As many in each: together they keep the rate by turns.
        threads: config.threads.min(conversations / parts),
        share: Share { part, parts },
        ..config.clone()
    };
    let mut deals: Vec<(LoadConfig, Vec<Range>)> =
        (0..parts).map(|part| (part_of(part), Vec::new())).collect();
    let mut first = 0;
    for (number, pair) in config.users.chunks(2).enumerate() {
        let (part, seats) = &mut deals[number % parts];
        part.users.extend_from_slice(pair);
        seats.push(Range { first, len: pair.len() });
        first += pair.len();
    }
    for (number, room) in (config.users.len().div_ceil(2)..).zip(&config.rooms) {
        let (part, seats) = &mut deals[number % parts];
        part.rooms.push(room.clone());
        seats.push(Range { first, len: room.users.len() });
        first += room.users.len();
    }
    Ok(deals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Room, Target};
    use crate::users::User;

    fn config(users: u64, room_users: u64) -> LoadConfig {
        let user = |id| User { id, token: String::new() };
        let target = Target::parse("127.0.0.1:9").unwrap();
        let room =
            Room { conversation_id: "world".to_owned(), users: (100..100 + room_users).map(user).collect() };
        LoadConfig {
            rooms: if room_users > 0 { vec![room] } else { Vec::new() },
            threads: 4,
            run: "abcdefghijklmnop".to_owned(),
            ..LoadConfig::new(target, (0..users).map(user).collect())
        }
    }

    #[test]
    fn conversations_are_dealt_out_whole() {
        let dealt = deal(&config(10, 3), 2).unwrap();
        let ids = |part: usize| dealt[part].0.users.iter().map(|user| user.id).collect::<Vec<_>>();
        assert_eq!(ids(0), [0, 1, 4, 5, 8, 9]);
        assert_eq!(ids(1), [2, 3, 6, 7]);
        assert_eq!((dealt[0].0.rooms.len(), dealt[1].0.rooms.len()), (0, 1));
        for (part, (config, seats)) in dealt.iter().enumerate() {
            assert_eq!(
                (config.threads, config.share),
                (3, Share { part, parts: 2 }),
                "as many threads in each"
            );
            assert_eq!(seats.iter().map(|seats| seats.len).sum::<usize>(), config.sessions());
            assert_eq!(config.run, format!("abcdefghijklm{part}"));
            check_config(config).unwrap();
        }
        assert!(
            deal(&config(4, 0), 3)
                .unwrap_err()
                .to_string()
                .contains("2 conversations can't be dealt out to 3")
        );
    }

    #[test]
    fn the_first_sessions_of_the_whole_may_connect() {
        let seats: Vec<Vec<Range>> =
            deal(&config(10, 3), 2).unwrap().into_iter().map(|(_, seats)| seats).collect();
        let load = |agent: usize, limit| limit_of(&seats[agent], limit);
        assert_eq!((load(0, 0), load(1, 0)), (0, 0));
        assert_eq!((load(0, 3), load(1, 3)), (2, 1));
        assert_eq!((load(0, 6), load(1, 6)), (4, 2));
        assert_eq!((load(0, 11), load(1, 11)), (6, 5));
        assert_eq!((load(0, 99), load(1, 99)), (6, 7));
    }
}
