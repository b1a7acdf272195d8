//! The life of an upgraded connection: wait until it is readable, read into the shard's buffer, hand the bytes to the
//! machine, let the turn's end write. Between two waits the task holds no buffer.

use super::guard::{Owned, spawn_owner};
use super::id::ConnId;
use super::machine::{Phase, Reaction, Then, react};
use crate::app::{App, CloseReason};
use crate::reasons::ConnectionRefused;
use crate::shard::memory::fit;
use crate::shard::state::{Conn, State, Timer};
use crate::shard::{Shard, call};
use crate::socket::{Direction, Socket, would_block};
use crate::ws::{Assembly, Breach, Decoded, Frame, Limits, decode};
use std::rc::Rc;

/// A connection that has come home.
pub(crate) struct Arrival<S> {
    pub(crate) key: u64,
    pub(crate) session: S,
    pub(crate) socket: Socket,
    /// What the client sent behind its upgrade.
    pub(crate) unread: Vec<u8>,
}

/// Makes an upgraded socket a connection of this shard: binds it, tells the app, takes up what was read already.
pub(crate) fn adopt<A: App>(shard: &Rc<Shard<A>>, arrival: Arrival<A::Session>) {
    if shard.is_over() {
        // It came behind the word to stop; nothing would ever end it.
        shard.state.borrow_mut().stats.refusals.add(ConnectionRefused::HandoffEnded);
        return;
    }
    let Arrival { key, session, socket, mut unread } = arrival;
    let socket = Rc::new(socket);
    let id = shard.with(|app, state| {
        let now_ms = state.now_ms;
        let id = state.conns.insert(Conn::new(key, session, Rc::clone(&socket), now_ms));
        state.hub.bind(key, id.slot());
        state.wheel.insert(now_ms + state.config.ping_interval_ms, Timer::Quiet(id));
        if state.draining {
            state.wheel.insert(now_ms, Timer::DrainClose(id));
        }
        if call(app, state, |app, cx| app.on_open(cx, id)).is_none() {
            close_after_panic(state, id);
        }
        if !unread.is_empty() {
            feed(app, state, id, &mut unread);
        }
        id
    });
    spawn_owner(shard, Owned::Upgraded(id), read_on(Rc::clone(shard), socket, id));
}

async fn read_on<A: App>(shard: Rc<Shard<A>>, socket: Rc<Socket>, id: ConnId) {
    let mut at_once = 0;
    while shard.ready(&socket, Direction::Read, &mut at_once).await.is_ok() {
        if !read_once(&shard, &socket, id) {
            return;
        }
    }
}

/// One read; whether to go on.
fn read_once<A: App>(shard: &Shard<A>, socket: &Socket, id: ConnId) -> bool {
    shard.with_receive_buffer(|buffer| {
        let received = socket.receive(buffer);
        shard.with(|app, state| {
            match received {
                Ok(0) => {
                    // It may have shut only its own side down, and still read what the turn's end would have written.
                    shard.last_write(state, id);
                    state.end(id, CloseReason::HungUp);
                }
                Ok(count) => {
                    state.stats.reads += 1;
                    state.stats.bytes_in += count as u64;
                    feed(app, state, id, &mut buffer[..count]);
                }
                Err(error) if would_block(&error) => {}
                Err(_) => state.end(id, CloseReason::Socket),
            }
            state.conns.get(id).is_some()
        })
    })
}

/// Handles received bytes, with those of an incomplete frame before them.
fn feed<A: App>(app: &mut A, state: &mut State<A>, id: ConnId, bytes: &mut [u8]) {
    let Some(conn) = state.conns.get_mut(id) else { return };
    conn.last_in_ms = state.now_ms;
    conn.pinged_ms = None;
    let mut assembly = conn.assembly.take();
    let mut raw = assembly.as_mut().map(|assembly| std::mem::take(&mut assembly.raw)).unwrap_or_default();
    let rest: &[u8] = if raw.is_empty() {
        let used = decode_all(app, state, id, &mut assembly, bytes);
        &bytes[used..]
    } else {
        raw.extend_from_slice(bytes);
        let used = decode_all(app, state, id, &mut assembly, &mut raw);
        raw.drain(..used);
        &[]
    };
    if !rest.is_empty() {
        raw = state.take_buffer();
        raw.extend_from_slice(rest);
    }
    keep(state, id, assembly, raw);
}

/// Handles all complete frames; returns how many bytes they took.
fn decode_all<A: App>(
    app: &mut A,
    state: &mut State<A>,
    id: ConnId,
    assembly: &mut Option<Box<Assembly>>,
    input: &mut [u8],
) -> usize {
    let limits = Limits {
        frame_max_bytes: state.config.frame_max_bytes,
        message_max_bytes: state.config.message_max_bytes,
        fragments_per_message_max: state.config.fragments_per_message_max,
        binary: A::BINARY,
    };
    let mut used = 0;
    while used < input.len() {
        let phase = match state.conns.get(id).map(|conn| conn.phase) {
            None | Some(Phase::Closing { then: Then::End | Then::PeerEnd, .. }) => return input.len(),
            Some(phase) => phase,
        };
        let (took, mut decoded) = decode(assembly, &mut input[used..], limits);
        used += took;
        if matches!(decoded, Decoded::Ping(_) | Decoded::Pong) && !state.takes_control(id) {
            decoded = Decoded::Fail(Breach::ControlFlood);
        }
        match react(phase, decoded) {
            Reaction::Wait => return used,
            Reaction::Nothing => {}
            Reaction::Text(text) => {
                state.stats.messages_in += 1;
                if call(app, state, |app, cx| app.on_text(cx, id, text)).is_none() {
                    close_after_panic(state, id);
                }
            }
            Reaction::Binary(bytes) => {
                state.stats.messages_in += 1;
                if call(app, state, |app, cx| app.on_binary(cx, id, bytes)).is_none() {
                    close_after_panic(state, id);
                }
            }
            Reaction::Answer(frame) => state.answer(id, frame),
            Reaction::Close(frame, reason, then) => state.begin_close(id, frame, reason, then),
            Reaction::Closing(then) => state.go_on_closing(id, then),
        }
        if let Some(assembly) = assembly {
            assembly.end_frame();
        }
    }
    used
}

pub(crate) fn close_after_panic<A: App>(state: &mut State<A>, id: ConnId) {
    state.begin_close(id, Frame::close(1011, "internal error"), CloseReason::Panic, Then::PeerClose);
}

/// Keeps incomplete input, if the shard's budget has room for it.
fn keep<A: App>(state: &mut State<A>, id: ConnId, assembly: Option<Box<Assembly>>, raw: Vec<u8>) {
    if assembly.is_none() && raw.is_empty() {
        state.free_buffer(raw);
        return;
    }
    let mut assembly = assembly.unwrap_or_default();
    assembly.raw = raw;
    let understood = state
        .conns
        .get(id)
        .is_some_and(|conn| matches!(conn.phase, Phase::Open | Phase::Closing { then: Then::PeerClose, .. }));
    if assembly.is_empty() || !understood {
        return state.free_assembly(*assembly);
    }
    fit(&mut assembly.raw);
    fit(&mut assembly.message);
    let bytes = assembly.bytes();
    state.input_bytes = state.input_bytes - assembly.accounted + bytes;
    assembly.accounted = bytes;
    if state.input_bytes > state.config.input_shard_max_bytes {
        state.free_assembly(*assembly);
        state.begin_close(id, Frame::close(1013, "try later"), CloseReason::InputBudget, Then::PeerEnd);
        // A close that has begun already can't understand the rest either.
        state.go_on_closing(id, Then::PeerEnd);
        return;
    }
    let Some(conn) = state.conns.get_mut(id) else { return };
    let since_ms = *assembly.since_ms.get_or_insert(state.now_ms);
    conn.assembly = Some(assembly);
    if !std::mem::replace(&mut conn.message_watched, true) {
        state.wheel.insert(since_ms + state.config.message_deadline_ms, Timer::Message(id));
    }
}
