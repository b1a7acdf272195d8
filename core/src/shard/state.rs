//! What a shard holds: connections, hub, wheel, budgets, counters. No callback runs and nothing is awaited in here.

use super::drain::Drain;
use super::http::HttpConn;
use super::memory::Step;
use super::peers::Peers;
use crate::app::{App, CloseReason, Priority, SendOutcome};
use crate::config::Config;
use crate::conn::id::ConnId;
use crate::conn::machine::{ControlRate, Phase, Then};
use crate::conn::outbox::Outbox;
use crate::conn::slots::Slots;
use crate::hub::Hub;
use crate::reasons::{ForcedBy, FrameDropped};
use crate::socket::Socket;
use crate::stats::ShardStats;
use crate::timer::wheel::Wheel;
use crate::ws::{Assembly, Frame, is_sendable};
use std::net::Shutdown;
use std::rc::Rc;
use std::task::Waker;

/// An upgraded connection on its home shard.
pub(crate) struct Conn<S> {
    pub(crate) key: u64,
    pub(crate) session: S,
    pub(crate) socket: Rc<Socket>,
    pub(crate) phase: Phase,
    /// Incomplete input; only while there is any.
    pub(crate) assembly: Option<Box<Assembly>>,
    /// Queued output; only while there is any.
    pub(crate) outbox: Option<Box<Outbox>>,
    pub(crate) last_in_ms: u64,
    /// Set while a task waits until the socket is writable: the time of the last progress.
    pub(crate) blocked_since_ms: Option<u64>,
    /// When a ping was sent after the last byte came.
    pub(crate) pinged_ms: Option<u64>,
    pub(crate) dirty: bool,
    /// Droppable frames were dropped, and the app has not been told of room since.
    pub(crate) missed: bool,
    /// Pings and pongs that came lately.
    pub(crate) control: ControlRate,
    /// The wheel looks at the write deadline already.
    pub(crate) write_watched: bool,
    /// The wheel looks at the deadline of an incomplete message already.
    pub(crate) message_watched: bool,
}

impl<S> Conn<S> {
    /// One that comes home now, with nothing kept or queued.
    pub(crate) fn new(key: u64, session: S, socket: Rc<Socket>, now_ms: u64) -> Conn<S> {
        Conn {
            key,
            session,
            socket,
            phase: Phase::Open,
            assembly: None,
            outbox: None,
            last_in_ms: now_ms,
            blocked_since_ms: None,
            pinged_ms: None,
            dirty: false,
            missed: false,
            control: ControlRate::default(),
            write_watched: false,
            message_watched: false,
        }
    }
}

/// An entry of the wheel. Each is looked at when it comes up; it may mean nothing any more.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    Http(ConnId),
    /// Quiet for too long?
    Quiet(ConnId),
    Write(ConnId),
    /// A message incomplete for too long?
    Message(ConnId),
    Close(ConnId),
    DrainClose(ConnId),
    App(u64),
}

/// A connection that has ended and that the app doesn't know of yet.
pub(crate) struct Ended<S> {
    pub(crate) conn: ConnId,
    pub(crate) key: u64,
    pub(crate) session: S,
    pub(crate) reason: CloseReason,
}

/// State of a shard.
pub(crate) struct State<A: App> {
    pub(crate) config: Rc<Config>,
    pub(crate) shard: usize,
    pub(crate) shards: usize,
    pub(crate) now_ms: u64,
    pub(crate) conns: Slots<Conn<A::Session>>,
    pub(crate) http: Slots<HttpConn>,
    /// Peers of what is in `http`.
    pub(crate) peers: Peers,
    pub(crate) hub: Hub,
    pub(crate) wheel: Wheel<Timer>,
    pub(crate) timers_set: usize,
    /// Connections to be written at the end of the turn.
    pub(crate) dirty: Vec<ConnId>,
    pub(crate) ended: Vec<Ended<A::Session>>,
    /// Connections that missed frames and have room again; the app doesn't know yet.
    pub(crate) roomy: Vec<ConnId>,
    /// The task that ends a turn.
    pub(crate) turn_end: Option<Waker>,
    /// Tasks that wait for the end of the turn.
    pub(crate) pausing: Vec<Waker>,
    /// Bytes queued.
    pub(crate) outbox_bytes: usize,
    /// Those of them whose sockets take no more: what the shard's budget bounds.
    pub(crate) stuck_bytes: usize,
    pub(crate) input_bytes: usize,
    /// Answers to requests that their sockets don't take.
    pub(crate) answer_bytes: usize,
    /// Bytes of mails that waited at the last tick.
    pub(crate) mailbox_bytes: usize,
    /// Capacity of what is in the free lists.
    pub(crate) free_bytes: usize,
    #[allow(clippy::vec_box, reason = "they are lent out boxed, so that a connection without one is small")]
    pub(crate) free_outboxes: Vec<Box<Outbox>>,
    pub(crate) free_buffers: Vec<Vec<u8>>,
    pub(crate) drain: Drain,
    /// The drain has come to its closes: no upgrade is done any more, no connection is kept alive, and connections that
    /// still come home are closed.
    pub(crate) draining: bool,
    pub(crate) stats: ShardStats,
}

impl<A: App> State<A> {
    pub(crate) fn new(config: Rc<Config>, shard: usize) -> State<A> {
        State {
            shard,
            shards: config.shards,
            now_ms: 0,
            conns: Slots::new(),
            http: Slots::new(),
            peers: Peers::default(),
            hub: Hub::default(),
            wheel: Wheel::new(config.tick_ms),
            timers_set: 0,
            dirty: Vec::new(),
            ended: Vec::new(),
            roomy: Vec::new(),
            turn_end: None,
            pausing: Vec::new(),
            outbox_bytes: 0,
            stuck_bytes: 0,
            input_bytes: 0,
            answer_bytes: 0,
            mailbox_bytes: 0,
            free_bytes: 0,
            free_outboxes: Vec::new(),
            free_buffers: Vec::new(),
            drain: Drain::default(),
            draining: false,
            stats: ShardStats { shard, ..ShardStats::default() },
            config,
        }
    }

    /// Counts a ping or pong of an open connection; whether it is within the limit.
    pub(crate) fn takes_control(&mut self, id: ConnId) -> bool {
        let (now_ms, most) = (self.now_ms, self.config.control_frames_per_second_max);
        self.conns
            .get_mut(id)
            .is_none_or(|conn| conn.phase != Phase::Open || conn.control.takes(now_ms, most))
    }

    /// Makes the end of the turn come after all tasks that are ready now.
    pub(crate) fn call_turn_end(&self) {
        if let Some(waker) = &self.turn_end {
            waker.wake_by_ref();
        }
    }

    pub(crate) fn send(&mut self, id: ConnId, frame: &Frame, priority: Priority) -> SendOutcome {
        let Some(conn) = self.conns.get(id) else { return SendOutcome::Gone };
        if conn.phase != Phase::Open {
            return SendOutcome::Gone;
        }
        if let Err(full) = self.has_room(conn, frame.wire_len()) {
            if priority == Priority::Droppable {
                return self.miss(id, full);
            }
            let reason = match full {
                FrameDropped::ShardOutbox => CloseReason::ShardOutbox,
                _ => CloseReason::SlowReader,
            };
            self.drop_unbegun(id);
            self.begin_close(id, Frame::close(1013, "too slow"), reason, Then::PeerClose);
            return SendOutcome::Closing;
        }
        if priority == Priority::Droppable && conn.blocked_since_ms.is_some() && self.sheds(Step::Droppable) {
            return self.miss(id, FrameDropped::Memory);
        }
        self.queue(id, frame.clone());
        SendOutcome::Queued
    }

    /// Leaves a droppable frame out, and has the app told when there is room again.
    fn miss(&mut self, id: ConnId, why: FrameDropped) -> SendOutcome {
        self.stats.frames_dropped.add(why);
        if let Some(conn) = self.conns.get_mut(id) {
            conn.missed = true;
        }
        // Its outbox may be empty, when a frame alone is larger than it.
        self.mark_dirty(id);
        SendOutcome::Dropped
    }

    /// Has the app told of a connection that missed frames, once it has room.
    pub(crate) fn note_room(&mut self, id: ConnId) {
        let half = self.config.outbox_connection_max_bytes / 2;
        let told = self.conns.get(id).is_some_and(|conn| {
            conn.missed && conn.phase == Phase::Open && self.has_room(conn, half).is_ok()
        });
        if !told {
            return;
        }
        if let Some(conn) = self.conns.get_mut(id) {
            conn.missed = false;
        }
        self.roomy.push(id);
        if self.roomy.len() == 1 {
            self.call_turn_end();
        }
    }

    /// Whether the budgets allow `more` bytes for a connection, or which of them is full. Its shard's budget is for those whose sockets are
    /// blocked: what the others have queued is gone at the end of the turn, and a frame for all of them is one frame.
    fn has_room(&self, conn: &Conn<A::Session>, more: usize) -> Result<(), FrameDropped> {
        let queued = conn.outbox.as_ref().map_or(0, |outbox| outbox.bytes());
        let stuck = conn.blocked_since_ms.is_some();
        if queued + more > self.config.outbox_connection_max_bytes {
            return Err(FrameDropped::Outbox);
        }
        if stuck && self.stuck_bytes + more > self.config.outbox_shard_max_bytes {
            return Err(FrameDropped::ShardOutbox);
        }
        Ok(())
    }

    pub(crate) fn send_to_slot(&mut self, slot: usize, frame: &Frame, priority: Priority) -> SendOutcome {
        self.conns.id_at(slot).map_or(SendOutcome::Gone, |id| self.send(id, frame, priority))
    }

    /// Queues a frame past the budgets (control frames that close or answer).
    pub(crate) fn queue(&mut self, id: ConnId, frame: Frame) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        self.outbox_bytes += frame.wire_len();
        if conn.blocked_since_ms.is_some() {
            self.stuck_bytes += frame.wire_len();
        }
        self.stats.frames_out += 1;
        let (free, free_bytes) = (&mut self.free_outboxes, &mut self.free_bytes);
        let mut take = || {
            let outbox = free.pop()?;
            *free_bytes -= outbox.capacity_bytes();
            Some(outbox)
        };
        conn.outbox.get_or_insert_with(|| take().unwrap_or_default()).push(frame);
        self.mark_dirty(id);
    }

    pub(crate) fn drop_unbegun(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Some(outbox) = &mut conn.outbox else { return };
        let before = outbox.bytes();
        self.stats.frames_discarded += outbox.drop_unbegun() as u64;
        let dropped = before - outbox.bytes();
        self.outbox_bytes -= dropped;
        if conn.blocked_since_ms.is_some() {
            self.stuck_bytes -= dropped;
        }
    }

    /// A blocked connection may be written again, or is gone.
    pub(crate) fn unblock(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.blocked_since_ms.take().is_some() {
            self.stuck_bytes -= conn.outbox.as_ref().map_or(0, |outbox| outbox.bytes());
        }
    }

    /// Gives an empty or abandoned outbox back.
    pub(crate) fn free_outbox(&mut self, mut outbox: Box<Outbox>) {
        self.outbox_bytes -= outbox.bytes();
        self.stats.frames_discarded += outbox.reset() as u64;
        if self.free_outboxes.len() < self.config.free_buffers_max && !self.sheds(Step::FreeLists) {
            self.free_bytes += outbox.capacity_bytes();
            self.free_outboxes.push(outbox);
        }
    }

    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        let buffer = self.free_buffers.pop().unwrap_or_default();
        self.free_bytes -= buffer.capacity();
        buffer
    }

    pub(crate) fn free_buffer(&mut self, mut buffer: Vec<u8>) {
        let kept = buffer.capacity() > 0 && buffer.capacity() <= self.config.free_buffer_max_bytes;
        if kept && self.free_buffers.len() < self.config.free_buffers_max && !self.sheds(Step::FreeLists) {
            buffer.clear();
            self.free_bytes += buffer.capacity();
            self.free_buffers.push(buffer);
        }
    }

    pub(crate) fn close_by_app(&mut self, id: ConnId, code: u16, reason: &str) {
        let code = if is_sendable(code) { code } else { 1011 };
        self.begin_close(id, Frame::close(code, reason), CloseReason::App(code), Then::PeerClose);
    }

    /// Queues a close frame; from here on the connection gets nothing else and is in no hub.
    pub(crate) fn begin_close(&mut self, id: ConnId, frame: Frame, reason: CloseReason, then: Then) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if conn.phase != Phase::Open {
            return;
        }
        conn.phase = Phase::Closing { reason, then };
        self.stats.ws_closing += 1;
        let key = conn.key;
        self.hub.unbind(key, id.slot());
        self.queue(id, frame);
        self.wheel.insert(self.now_ms + self.config.close_deadline_ms, Timer::Close(id));
    }

    /// Queues the answer to a ping. One that finds no room is left out: the peer is alive and reads too slowly.
    pub(crate) fn answer(&mut self, id: ConnId, frame: Frame) {
        if self.conns.get(id).is_some_and(|conn| self.has_room(conn, frame.wire_len()).is_ok()) {
            self.queue(id, frame);
        } else {
            self.stats.frames_dropped.add(FrameDropped::Control);
        }
    }

    /// Notes how a close that has begun goes on.
    pub(crate) fn go_on_closing(&mut self, id: ConnId, next: Then) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let Phase::Closing { then, .. } = &mut conn.phase else { return };
        if *then != Then::End {
            *then = next;
        }
        self.mark_dirty(id);
    }

    /// Has a connection looked at at the end of the turn.
    fn mark_dirty(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !std::mem::replace(&mut conn.dirty, true) {
            self.dirty.push(id);
            if self.dirty.len() == 1 {
                self.call_turn_end();
            }
        }
    }

    /// Ends a connection as it is, without the end of its closing handshake.
    pub(crate) fn force_end(&mut self, id: ConnId, why: ForcedBy) {
        if self.conns.get(id).is_none() {
            return;
        }
        self.stats.forced_closes.add(why);
        let reason = match why {
            ForcedBy::CloseDeadline => CloseReason::Socket,
            ForcedBy::WriteDeadline => CloseReason::WriteDeadline,
            ForcedBy::Idle => CloseReason::Idle,
            ForcedBy::Drain => CloseReason::Drain,
        };
        self.end(id, reason);
    }

    /// Ends a connection now. A close that has begun keeps its reason.
    pub(crate) fn end(&mut self, id: ConnId, reason: CloseReason) {
        self.unblock(id);
        let Some(conn) = self.conns.remove(id) else { return };
        let reason = match conn.phase {
            Phase::Open => {
                self.hub.unbind(conn.key, id.slot());
                reason
            }
            Phase::Closing { reason, .. } => {
                self.stats.ws_closing -= 1;
                reason
            }
        };
        // Ends the waits of its tasks, which hold the socket.
        conn.socket.shutdown(Shutdown::Both);
        if let Some(outbox) = conn.outbox {
            self.free_outbox(outbox);
        }
        if let Some(assembly) = conn.assembly {
            self.free_assembly(*assembly);
        }
        self.stats.closes.add(reason);
        self.ended.push(Ended { conn: id, key: conn.key, session: conn.session, reason });
        if self.ended.len() == 1 {
            self.call_turn_end();
        }
    }

    /// Gives the buffers of incomplete input back.
    pub(crate) fn free_assembly(&mut self, assembly: Assembly) {
        let Assembly { raw, message, accounted, .. } = assembly;
        self.input_bytes -= accounted;
        self.free_buffer(raw);
        self.free_buffer(message);
    }

    pub(crate) fn set_timer(&mut self, delay_ms: u64, tag: u64) -> bool {
        if self.timers_set >= self.config.app_timers_max {
            self.stats.timers_refused += 1;
            return false;
        }
        self.timers_set += 1;
        self.wheel.insert(self.now_ms.saturating_add(delay_ms), Timer::App(tag));
        true
    }

    /// Copies the counters and fills in the gauges.
    pub(crate) fn snapshot(&self) -> ShardStats {
        let mut stats = self.stats.clone();
        stats.http_connections = self.http.len() as u64;
        stats.ws_connections = self.conns.len() as u64;
        stats.keys = self.hub.len() as u64;
        stats.outbox_bytes = self.outbox_bytes as u64;
        stats.input_bytes = self.input_bytes as u64;
        stats.timers_set = self.timers_set as u64;
        let live = self.live();
        stats.memory_bytes = live.total() as u64;
        stats.connections_bytes = live.connections as u64;
        stats.blocked_bytes = live.outboxes as u64;
        stats.mailbox_bytes = live.mailbox as u64;
        stats.free_bytes = live.free_lists as u64;
        stats
    }
}
