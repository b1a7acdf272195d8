//! The one ticking task of a shard: it expires the wheel, and moves a drain on.

use super::http::Stage;
use super::state::{State, Timer};
use super::{Shard, call};
use crate::app::{App, CloseReason};
use crate::conn::id::ConnId;
use crate::conn::machine::{Phase, Quiet, Then, quiet};
use crate::http::Response;
use crate::reasons::{ForcedBy, HttpEnd};
use crate::socket::Socket;
use crate::ws::{Frame, OpCode};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::Duration;

/// The task.
pub(super) async fn tick<A: App>(shard: Rc<Shard<A>>, listener: Rc<Socket>) {
    let step = Duration::from_millis(shard.config().tick_ms);
    let mut expired = Vec::new();
    while !shard.is_over() {
        monoio::time::sleep(step).await;
        shard.with(|app, state| {
            state.wheel.advance(state.now_ms, &mut expired);
            for timer in expired.drain(..) {
                expire(app, state, timer);
            }
            state.mailbox_bytes = shard.links.mailboxes.shard(shard.links.shard).bytes();
            state.shed();
            if !state.roomy.is_empty() {
                // Left over by a turn that told of others already.
                state.call_turn_end();
            }
        });
        shard.drain_on(&listener);
    }
    // Ends the wait of the task that accepts.
    listener.shutdown(Shutdown::Read);
}

fn expire<A: App>(app: &mut A, state: &mut State<A>, timer: Timer) {
    match timer {
        Timer::App(tag) => {
            state.timers_set -= 1;
            state.stats.timers += 1;
            let _ = call(app, state, |app, cx| app.on_timer(cx, tag));
        }
        Timer::Http(id) => expire_http(state, id),
        Timer::Quiet(id) => expire_quiet(state, id),
        Timer::Write(id) => expire_write(state, id),
        Timer::Message(id) => expire_message(state, id),
        Timer::Close(id) => state.force_end(id, ForcedBy::CloseDeadline),
        Timer::DrainClose(id) => {
            state.begin_close(id, Frame::close(1001, "going away"), CloseReason::Drain, Then::PeerClose);
        }
    }
}

fn expire_http<A: App>(state: &mut State<A>, id: ConnId) {
    let now_ms = state.now_ms;
    let Some(http) = state.http.get_mut(id) else { return };
    if now_ms < http.deadline_ms {
        // Only the entry that the connection counts on goes on.
        if now_ms >= http.looked_at_ms {
            http.looked_at_ms = http.deadline_ms;
            state.wheel.insert(http.deadline_ms, Timer::Http(id));
        }
        return;
    }
    // It is looked at again when its task has moved the deadline.
    http.looked_at_ms = u64::MAX;
    if http.stage == Stage::Answer {
        if http.answer.is_none() {
            state.stats.requests_unanswered += 1;
            http.answer = Some(Response::new(504));
            if let Some(waker) = http.waker.take() {
                waker.wake();
            }
        }
        return;
    }
    http.expired = true;
    let (how, why) = match http.stage {
        Stage::Idle if state.draining => (Shutdown::Read, Some(HttpEnd::Drain)),
        Stage::Idle if http.request == 0 => (Shutdown::Read, Some(HttpEnd::NoRequest)),
        Stage::Idle => (Shutdown::Read, Some(HttpEnd::KeepAlive)),
        // Its task says 408, and counts that.
        Stage::Request => (Shutdown::Read, None),
        Stage::Linger => (Shutdown::Both, Some(HttpEnd::CloseDeadline)),
        Stage::Write | Stage::Answer => (Shutdown::Both, Some(HttpEnd::WriteDeadline)),
    };
    // Ends the wait of its task.
    http.socket.shutdown(how);
    if let Some(why) = why {
        state.stats.http_ends.add(why);
    }
}

fn expire_quiet<A: App>(state: &mut State<A>, id: ConnId) {
    let Some(conn) = state.conns.get_mut(id) else { return };
    if conn.phase != Phase::Open {
        return;
    }
    if conn.blocked_since_ms.is_some() {
        // A ping would stand behind what the peer has not read yet, and its answer come late. As long as the peer takes
        // something it lives, and the write deadline ends one that doesn't.
        (conn.last_in_ms, conn.pinged_ms) = (state.now_ms, None);
    }
    match quiet(state.now_ms, conn.last_in_ms, conn.pinged_ms, &state.config) {
        Quiet::LookAt(at_ms) => state.wheel.insert(at_ms, Timer::Quiet(id)),
        Quiet::Ping(again_ms) => {
            conn.pinged_ms = Some(state.now_ms);
            state.stats.pings += 1;
            state.answer(id, Frame::new(OpCode::Ping, &[]));
            state.wheel.insert(again_ms, Timer::Quiet(id));
        }
        // Most likely nobody is there to read a close frame or to answer one.
        Quiet::Dead => state.force_end(id, ForcedBy::Idle),
    }
}

fn expire_write<A: App>(state: &mut State<A>, id: ConnId) {
    let Some(conn) = state.conns.get_mut(id) else { return };
    conn.write_watched = false;
    let Some(since) = conn.blocked_since_ms else { return };
    let due = since + state.config.write_deadline_ms;
    if state.now_ms >= due {
        state.force_end(id, ForcedBy::WriteDeadline);
    } else {
        conn.write_watched = true;
        state.wheel.insert(due, Timer::Write(id));
    }
}

fn expire_message<A: App>(state: &mut State<A>, id: ConnId) {
    let Some(conn) = state.conns.get_mut(id) else { return };
    conn.message_watched = false;
    let since_ms = conn.assembly.as_ref().and_then(|assembly| assembly.since_ms);
    let Some(since_ms) = since_ms.filter(|_| conn.phase == Phase::Open) else { return };
    let due_ms = since_ms + state.config.message_deadline_ms;
    if state.now_ms < due_ms {
        conn.message_watched = true;
        state.wheel.insert(due_ms, Timer::Message(id));
        return;
    }
    // Its rest will not be understood, so that nothing of it need be kept.
    if let Some(assembly) = conn.assembly.take() {
        state.free_assembly(*assembly);
    }
    let frame = Frame::close(1008, "the message took too long");
    state.begin_close(id, frame, CloseReason::MessageDeadline, Then::PeerEnd);
}
