//! Every bound, pace and deadline of the clients.

use std::net::{SocketAddr, ToSocketAddrs};

use serde::{Deserialize, Serialize};

use crate::error::LoadError;
use crate::users::User;

/// Where the server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub addr: SocketAddr,
    /// As the URL names it: the Host header.
    pub host: String,
}

impl Target {
    /// `http://host:port`, `ws://host:port` or `host:port`; a path is ignored, the port defaults to 80.
    /// No TLS. The first IPv4 address of the name is taken, since clients spread over 127.0.0.0/8.
    ///
    /// # Errors
    /// [`LoadError::BadUrl`]: another scheme, or a name that does not resolve.
    pub fn parse(url: &str) -> Result<Target, LoadError> {
        let bad = |why: &str| LoadError::BadUrl { url: url.to_owned(), why: why.to_owned() };
        let rest = match url.split_once("://") {
            Some(("http" | "ws", rest)) => rest,
            Some(_) => return Err(bad("only http:// and ws:// are supported")),
            None => url,
        };
        let host = rest.split('/').next().unwrap_or_default();
        let with_port = if host.rsplit(']').next().is_some_and(|end| end.contains(':')) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let mut addrs: Vec<SocketAddr> =
            with_port.to_socket_addrs().map_err(|error| bad(&error.to_string()))?.collect();
        addrs.sort_by_key(SocketAddr::is_ipv6);
        let addr = addrs.first().copied().ok_or_else(|| bad("the name has no address"))?;
        Ok(Target { addr, host: host.to_owned() })
    }
}

/// One load. `Default` leaves out `target` and `users`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadConfig {
    pub target: Target,
    /// Users 0 and 1 talk to each other, 2 and 3, and so on. With a rate their number must be even.
    pub users: Vec<User>,
    /// Conversations of more than two, whose members take their turns at writing like everybody else.
    pub rooms: Vec<Room>,
    /// Members of each conversation who write, the first of them; the others only read.
    pub writers_max: usize,
    /// Messages that become due each second, over all users of all parts. 0: the sessions are only held.
    pub rate_per_s: f64,
    /// Tells this run's messages from those of earlier runs over the same users: `[a-z0-9]{1,16}`.
    pub run: String,
    /// For the order of senders and all jitter.
    pub seed: u64,
    /// Threads with an epoll loop each. One carries several thousand messages/s.
    pub threads: usize,
    /// Size of a message's content; never smaller than its clientMsgId.
    pub content_bytes: usize,
    /// New connections a second at most, over all threads of all parts; reconnects count too.
    pub connects_per_s: f64,
    /// Handshakes under way at a time, for each thread; more wait.
    pub connecting_max: usize,
    /// A connection that has not finished its handshake by then is given up and tried again.
    pub connect_wait_ms: u64,
    /// How people use their connections.
    pub habits: Habits,
    pub share: Share,
    pub rules: ClientRules,
}

/// Which part this is of a load that several processes make together, with as many threads in each. The rates of the
/// configuration are those of the whole; its users and rooms are this part's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// From 0.
    pub part: usize,
    pub parts: usize,
}

impl Share {
    /// A load of one process.
    pub const WHOLE: Share = Share { part: 0, parts: 1 };
}

/// A group, or world, that exists before the load begins.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Room {
    /// `group_{groupId}` or `world`.
    pub conversation_id: String,
    /// Its members, or some of them: each is a session of its own, so a user who is in several rooms or chats in a
    /// pair too comes with another device's token.
    pub users: Vec<User>,
}

impl LoadConfig {
    /// Sessions of the load: those of the pairs first, then each room's.
    pub fn sessions(&self) -> usize {
        self.users.len() + self.rooms.iter().map(|room| room.users.len()).sum::<usize>()
    }

    /// How busy each conversation is to be, those of the pairs first, then the rooms: alike in all threads.
    pub(crate) fn conversation_weights(&self) -> Vec<f64> {
        let mut ranks: Vec<usize> = (0..self.users.len().div_ceil(2) + self.rooms.len()).collect();
        fastrand::Rng::with_seed(self.seed).shuffle(&mut ranks);
        ranks.into_iter().map(|rank| (1.0 + rank as f64).powf(-self.habits.zipf_exponent)).collect()
    }

    /// The defaults for a load against `target` with `users`: 100 messages/s.
    pub fn new(target: Target, users: Vec<User>) -> LoadConfig {
        LoadConfig {
            target,
            users,
            rooms: Vec::new(),
            writers_max: usize::MAX,
            rate_per_s: 100.0,
            run: random_run(),
            seed: fastrand::u64(..),
            threads: 1,
            content_bytes: 100,
            connects_per_s: 500.0,
            connecting_max: 128,
            connect_wait_ms: 10_000,
            habits: Habits::default(),
            share: Share::WHOLE,
            rules: ClientRules::default(),
        }
    }
}

/// How uneven a load is. The default is the even one: all take turns at writing, a message at a time, nobody's
/// connection is lost, and nobody reads slowly.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Habits {
    /// The busiest conversation has a weight of 1, the next of 1 / 2 to this power, and so on. 0: all alike.
    pub zipf_exponent: f64,
    /// Share of the sessions that never write, from 0 to 1; one writes in any case.
    pub idle_share: f64,
    /// Share of the turns at writing that are bursts, from 0 to 1. The rate of messages stays what it is.
    pub burst_share: f64,
    /// Messages of a burst, due in one moment.
    pub burst_messages: u32,
    /// Share of the sessions whose connections are lost again and again while messages become due, from 0 to 1.
    pub flap_share: f64,
    /// How long such a connection lasts on average: between half of this and one and a half.
    pub flap_every_ms: u64,
    /// Members of each room, the last of them, who read slowly for a while.
    pub slow_members: usize,
    /// How long, from when the first message is due.
    pub slow_ms: u64,
    /// Bytes of frames that each of them takes a second meanwhile. 0: none.
    pub slow_bytes_per_s: u64,
}

impl Default for Habits {
    fn default() -> Self {
        Habits {
            zipf_exponent: 0.0,
            idle_share: 0.0,
            burst_share: 0.0,
            burst_messages: 1,
            flap_share: 0.0,
            flap_every_ms: 10_000,
            slow_members: 0,
            slow_ms: 0,
            slow_bytes_per_s: 0,
        }
    }
}

impl Habits {
    /// Messages that a turn at writing brings on average.
    pub(crate) fn messages_per_turn(&self) -> f64 {
        1.0 + self.burst_share * f64::from(self.burst_messages.saturating_sub(1))
    }
}

/// How each client behaves: the protocol's numbers, and bounds of its memory.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ClientRules {
    /// A message without a final answer is sent again after this.
    pub resend_after_ms: u64,
    /// A hole in the seqs is synced after this, plus up to half of it.
    pub hole_wait_ms: u64,
    /// A `sync` or `heads` without an answer is asked again after this.
    pub answer_wait_ms: u64,
    /// A `sync` or `heads` that was answered with an error is asked again after this, plus up to half of it.
    pub error_wait_ms: u64,
    /// Reconnects wait this, doubled with each failure up to the maximum, times 0.5 to 1.0.
    pub backoff_min_ms: u64,
    pub backoff_max_ms: u64,
    /// Messages of one user on the wire without a final answer; later ones wait in his outbox.
    pub in_flight_max: usize,
    /// Messages of one user without a final answer. A message that becomes due above this is not
    /// sent at all and counted as `skipped`.
    pub outbox_messages_max: usize,
    /// Messages of one user that wait above a hole; more are dropped and synced later.
    pub ahead_messages_max: usize,
    /// Messages in one page of a sync.
    pub page_messages: u32,
    /// When the load is over: how long the last deliveries may take before they count as missed.
    pub tail_wait_ms: u64,
    /// Clients of one thread that read their final history at a time.
    pub final_readers_max: usize,
    /// Conversations besides his own that a client remembers from `heads`; more are forgotten and listed again.
    pub other_heads_max: usize,
}

impl Default for ClientRules {
    fn default() -> Self {
        ClientRules {
            resend_after_ms: 10_000,
            hole_wait_ms: 300,
            answer_wait_ms: 10_000,
            error_wait_ms: 1_000,
            backoff_min_ms: 100,
            backoff_max_ms: 5_000,
            in_flight_max: 64,
            outbox_messages_max: 10_000,
            ahead_messages_max: 10_000,
            page_messages: 100,
            tail_wait_ms: 2_000,
            final_readers_max: 64,
            other_heads_max: 32,
        }
    }
}

/// A name for a run that no other run has: 8 characters of `[a-z0-9]`.
pub fn random_run() -> String {
    std::iter::repeat_with(|| fastrand::alphanumeric().to_ascii_lowercase()).take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_target() {
        for url in ["http://127.0.0.1:8080", "ws://127.0.0.1:8080/ws", "127.0.0.1:8080"] {
            let target = Target::parse(url).unwrap();
            assert_eq!(
                (target.addr.to_string().as_str(), target.host.as_str()),
                ("127.0.0.1:8080", "127.0.0.1:8080")
            );
        }
        assert_eq!(Target::parse("http://127.0.0.1").unwrap().addr.port(), 80);
        assert!(Target::parse("http://localhost:9").unwrap().addr.is_ipv4());
        assert!(Target::parse("http://[::1]:9").unwrap().addr.is_ipv6());
        assert!(Target::parse("https://127.0.0.1:8080").is_err());
        assert!(Target::parse("http://127.0.0.1:nine").is_err());
    }
}
