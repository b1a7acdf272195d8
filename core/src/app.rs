//! The only seam upward: what an application on the engine is told, and what it may do.

use crate::conn::id::{ConnId, RequestId};
use crate::http::{Request, Response};
use crate::reasons::Reason;
use crate::shard::state::State;
use crate::ws::{Breach, Frame};

/// An application. Each shard has its own instance, which is only ever touched by the shard's thread.
///
/// A callback must not block. When one panics, the panic is counted and costs what it was called for: a request is
/// answered 500 and its connection closed, an upgraded connection is closed with 1011, a mail or a timer is lost, and an
/// end stays an end. The instance lives on, so it should keep itself consistent.
pub trait App: Sized + 'static {
    /// State of an upgraded connection; travels with the socket between shards.
    type Session: Send + 'static;
    /// What other threads post to a shard.
    type Mail: Send + 'static;
    /// Whether binary messages are taken. If not, one is refused at its first header: closed with 1003.
    const BINARY: bool = false;

    /// A whole HTTP request, on the shard that accepted it.
    fn on_request(
        &mut self,
        cx: &mut Cx<'_, Self>,
        request: &Request<'_>,
        id: RequestId,
    ) -> Outcome<Self::Session>;

    /// An upgraded connection arrived on its home shard and is bound in the hub under its key.
    fn on_open(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId);

    /// A whole text message.
    fn on_text(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, text: &str);

    /// A whole binary message; only with [`App::BINARY`].
    fn on_binary(&mut self, _cx: &mut Cx<'_, Self>, _conn: ConnId, _bytes: &[u8]) {}

    /// A connection has ended: the last word about it, after which its id means nothing. It was unbound from the hub
    /// when its close began.
    fn on_close(
        &mut self,
        cx: &mut Cx<'_, Self>,
        conn: ConnId,
        key: u64,
        session: Self::Session,
        reason: CloseReason,
    );

    /// One or more droppable frames for a connection were dropped, and now its outbox has room again: at least half of
    /// `outbox_connection_max_bytes` and, while its socket takes no more, as much of `outbox_shard_max_bytes`. Called
    /// once, however many were dropped, on an open connection only; a later drop calls it again.
    fn on_room(&mut self, _cx: &mut Cx<'_, Self>, _conn: ConnId) {}

    /// A mail from another thread.
    fn on_mail(&mut self, cx: &mut Cx<'_, Self>, mail: Self::Mail);

    /// A timer set by [`Cx::set_timer`] is due.
    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, tag: u64);
}

/// The app's decision about a request.
#[derive(Debug)]
pub enum Outcome<S> {
    /// Answered now.
    Respond(Response),
    /// Answered later by [`Cx::respond`] on this shard; 504 when that takes longer than `request_deadline_ms`.
    Pending,
    /// Becomes a WebSocket, if the request is a proper upgrade; else the engine answers 400 or 426.
    Upgrade(Upgrade<S>),
}

/// How an upgraded connection goes on.
#[derive(Debug)]
pub struct Upgrade<S> {
    /// Hub key; the connection moves to [`crate::home_of`] it.
    pub key: u64,
    /// Handed to the home shard with the socket.
    pub session: S,
    /// `Sec-WebSocket-Protocol` to answer: one of those that the client offered.
    pub protocol: Option<String>,
}

/// What became of a frame. Sending never waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SendOutcome {
    /// Will be written, with what else is queued, at the end of the shard's turn.
    Queued,
    /// Over budget and droppable: dropped and counted.
    Dropped,
    /// Over budget and not droppable: the connection is being closed with 1013.
    Closing,
    /// No such connection, or it is closing.
    Gone,
}

/// What may happen to a frame when a budget is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// The connection is closed rather than the frame lost silently.
    Keep,
    /// The frame is dropped and counted; [`App::on_room`] tells when there is room again.
    Droppable,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed with this code; 1005 when it gave none.
    Peer(u16),
    /// [`Cx::close`] with this code.
    App(u16),
    /// The peer broke the protocol or a limit; closed with [`Breach::code`].
    Protocol(Breach),
    /// Its outbox was full: closed with 1013.
    SlowReader,
    /// It was blocked, and what was queued for all blocked connections of its shard was too much: closed with 1013.
    ShardOutbox,
    /// A message took too long to come in: closed with 1008.
    MessageDeadline,
    /// Memory reached its ceiling, and its outbox was among the largest that were blocked: closed with 1013.
    Memory,
    /// Incomplete input didn't fit in the shard's budget: closed with 1013.
    InputBudget,
    /// A write stayed blocked for too long.
    WriteDeadline,
    /// Silent after our ping.
    Idle,
    /// The engine drains: closed with 1001.
    Drain,
    /// The peer hung up without a close frame.
    HungUp,
    /// The socket failed.
    Socket,
    /// A panic while it was handled: closed with 1011.
    Panic,
}

impl CloseReason {
    /// The reason's name, as counters use it.
    #[must_use]
    pub fn name(self) -> &'static str {
        CloseReason::names().nth(self.at()).unwrap_or_default()
    }

    /// Names of all reasons but the breaches, which follow them.
    const NAMES: [&'static str; 13] = [
        "peer",
        "app",
        "slow_reader",
        "shard_outbox",
        "message_deadline",
        "memory",
        "input_budget",
        "write_deadline",
        "idle",
        "drain",
        "hung_up",
        "socket",
        "panic",
    ];
}

impl Reason for CloseReason {
    fn names() -> impl Iterator<Item = &'static str> {
        CloseReason::NAMES.into_iter().chain(Breach::names())
    }

    fn at(self) -> usize {
        match self {
            CloseReason::Peer(_) => 0,
            CloseReason::App(_) => 1,
            CloseReason::SlowReader => 2,
            CloseReason::ShardOutbox => 3,
            CloseReason::MessageDeadline => 4,
            CloseReason::Memory => 5,
            CloseReason::InputBudget => 6,
            CloseReason::WriteDeadline => 7,
            CloseReason::Idle => 8,
            CloseReason::Drain => 9,
            CloseReason::HungUp => 10,
            CloseReason::Socket => 11,
            CloseReason::Panic => 12,
            CloseReason::Protocol(breach) => CloseReason::NAMES.len() + breach.at(),
        }
    }
}

/// The shard, as a callback sees it.
pub struct Cx<'a, A: App> {
    pub(crate) state: &'a mut State<A>,
}

impl<A: App> Cx<'_, A> {
    /// This shard's number.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.state.shard
    }

    /// Number of shards.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.state.shards
    }

    /// Milliseconds since the engine's start. It stands still during a turn of the shard.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.state.now_ms
    }

    /// Milliseconds since 1970 (UTC), read now.
    #[must_use]
    pub fn unix_ms(&self) -> i64 {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// A connection's session; `None` when it is gone. A closing connection still has its session.
    pub fn session(&mut self, conn: ConnId) -> Option<&mut A::Session> {
        self.state.conns.get_mut(conn).map(|conn| &mut conn.session)
    }

    /// The key that a connection was bound under.
    #[must_use]
    pub fn key_of(&self, conn: ConnId) -> Option<u64> {
        self.state.conns.get(conn).map(|conn| conn.key)
    }

    /// When bytes last came from a connection, by the clock of [`Cx::now_ms`].
    #[must_use]
    pub fn heard_ms(&self, conn: ConnId) -> Option<u64> {
        self.state.conns.get(conn).map(|conn| conn.last_in_ms)
    }

    /// Queues a frame for a connection.
    pub fn send(&mut self, conn: ConnId, frame: &Frame, priority: Priority) -> SendOutcome {
        self.state.send(conn, frame, priority)
    }

    /// Queues a frame for every connection of a key; returns for how many it was queued.
    pub fn send_to_key(&mut self, key: u64, frame: &Frame, priority: Priority) -> usize {
        let mut queued = 0;
        let mut index = 0;
        // A connection that is over its budget leaves the hub while this goes on.
        while let Some(slot) = self.state.hub.slots(key).get(index).copied() {
            match self.state.send_to_slot(slot as usize, frame, priority) {
                SendOutcome::Queued => {
                    queued += 1;
                    index += 1;
                }
                SendOutcome::Dropped => index += 1,
                SendOutcome::Closing | SendOutcome::Gone => {
                    if self.state.hub.slots(key).get(index) == Some(&slot) {
                        index += 1;
                    }
                }
            }
        }
        queued
    }

    /// Queues a frame for every connection of the shard; returns for how many it was queued.
    pub fn send_to_all(&mut self, frame: &Frame, priority: Priority) -> usize {
        (0..self.state.conns.slots())
            .filter(|slot| self.state.send_to_slot(*slot, frame, priority) == SendOutcome::Queued)
            .count()
    }

    /// The connections of a key on this shard.
    #[must_use]
    pub fn conns_of(&self, key: u64) -> Vec<ConnId> {
        let slots = self.state.hub.slots(key).iter();
        slots.filter_map(|slot| self.state.conns.id_at(*slot as usize)).collect()
    }

    /// Begins to close a connection: what is queued is written, then a close frame with `code` and `reason` (cut to
    /// 123 bytes). A code that must not be sent (RFC 6455, 7.4) becomes 1011. [`App::on_close`] follows.
    pub fn close(&mut self, conn: ConnId, code: u16, reason: &str) {
        self.state.close_by_app(conn, code, reason);
    }

    /// Answers a request that was left pending. `false`: it is no longer there (answered, timed out, hung up, of
    /// another shard).
    pub fn respond(&mut self, id: RequestId, response: Response) -> bool {
        self.state.respond(id, response)
    }

    /// Calls [`App::on_timer`] with `tag` after `delay_ms`, up to one `tick_ms` late. `false`: refused and counted,
    /// because `app_timers_max` are set.
    pub fn set_timer(&mut self, delay_ms: u64, tag: u64) -> bool {
        self.state.set_timer(delay_ms, tag)
    }
}
