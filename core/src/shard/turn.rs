//! The end of a turn: each dirty connection is written once, and the app is told which connections have ended.

use super::state::{State, Timer};
use super::{Shard, call};
use crate::app::{App, CloseReason};
use crate::conn::drive::close_after_panic;
use crate::conn::guard::spawn_worker;
use crate::conn::id::ConnId;
use crate::conn::machine::{Phase, Then};
use crate::socket::{Direction, would_block};
use std::future::poll_fn;
use std::net::Shutdown;
use std::rc::Rc;
use std::task::Poll;

/// The task that ends turns. It is woken by the first connection that becomes dirty or ends.
pub(super) async fn turns<A: App>(shard: Rc<Shard<A>>) {
    poll_fn(|cx| {
        // Taken away during the work, which would wake the task that does it.
        shard.state.borrow_mut().turn_end = None;
        end_turn(&shard);
        let mut state = shard.state.borrow_mut();
        for waker in state.pausing.drain(..) {
            waker.wake();
        }
        if shard.is_over() {
            return Poll::Ready(());
        }
        state.turn_end = Some(cx.waker().clone());
        Poll::Pending
    })
    .await;
}

fn end_turn<A: App>(shard: &Rc<Shard<A>>) {
    let mut dirty = Vec::new();
    let mut first = true;
    loop {
        std::mem::swap(&mut shard.state.borrow_mut().dirty, &mut dirty);
        for id in &dirty {
            if shard.with(|_, state| shard.flush(state, *id)) == Flushed::Blocked {
                spawn_writer(shard, *id);
            }
        }
        let written = !dirty.is_empty();
        dirty.clear();
        // Once a turn: an app that answers room with what doesn't fit would otherwise never let it end.
        let told_room = std::mem::take(&mut first) && tell_roomy(shard);
        if !tell_ended(shard) && !told_room && !written {
            break;
        }
    }
    // The longer of the two vectors is worth keeping.
    let mut state = shard.state.borrow_mut();
    if state.dirty.capacity() < dirty.capacity() {
        state.dirty = dirty;
    }
}

/// Tells the app which connections missed frames and have room again; whether there were any.
fn tell_roomy<A: App>(shard: &Rc<Shard<A>>) -> bool {
    let roomy = std::mem::take(&mut shard.state.borrow_mut().roomy);
    if roomy.is_empty() {
        return false;
    }
    shard.with(|app, state| {
        for id in roomy {
            // It may have ended or begun to close since.
            let open = state.conns.get(id).is_some_and(|conn| conn.phase == Phase::Open);
            if open && call(app, state, |app, cx| app.on_room(cx, id)).is_none() {
                close_after_panic(state, id);
            }
        }
    });
    true
}

/// Tells the app which connections have ended; whether there were any.
fn tell_ended<A: App>(shard: &Rc<Shard<A>>) -> bool {
    let ended = std::mem::take(&mut shard.state.borrow_mut().ended);
    if ended.is_empty() {
        return false;
    }
    shard.with(|app, state| {
        for one in ended {
            let _ = call(app, state, |app, cx| app.on_close(cx, one.conn, one.key, one.session, one.reason));
        }
    });
    true
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flushed {
    /// Nothing is left to do, or the connection is gone, or a task waits already.
    Done,
    /// The socket takes no more; somebody must wait.
    Blocked,
}

impl<A: App> Shard<A> {
    /// Writes what the socket takes of what is queued for a connection that is about to end.
    pub(crate) fn last_write(&self, state: &mut State<A>, id: ConnId) {
        self.flush(state, id);
    }

    /// Writes what is queued for a connection, as far as its socket takes it, and notes the room that this makes.
    fn flush(&self, state: &mut State<A>, id: ConnId) -> Flushed {
        let flushed = self.write(state, id);
        state.note_room(id);
        flushed
    }

    fn write(&self, state: &mut State<A>, id: ConnId) -> Flushed {
        let Some(conn) = state.conns.get_mut(id) else { return Flushed::Done };
        conn.dirty = false;
        if conn.blocked_since_ms.is_some() {
            return Flushed::Done;
        }
        let mut join = self.write_buffer.borrow_mut();
        while let Some(outbox) = &mut conn.outbox {
            let bytes = outbox.next_write(&mut join, self.config().write_buffer_bytes);
            if bytes.is_empty() {
                break;
            }
            let sent = conn.socket.send(bytes);
            let whole = bytes.len();
            match sent {
                Ok(count) => {
                    outbox.advance(count);
                    state.outbox_bytes -= count;
                    state.stats.writes += 1;
                    state.stats.bytes_out += count as u64;
                    state.stats.writes_blocked += u64::from(count < whole);
                }
                Err(error) if would_block(&error) => {
                    conn.blocked_since_ms = Some(state.now_ms);
                    state.stuck_bytes += outbox.bytes();
                    if !std::mem::replace(&mut conn.write_watched, true) {
                        state.wheel.insert(state.now_ms + state.config.write_deadline_ms, Timer::Write(id));
                    }
                    return Flushed::Blocked;
                }
                Err(_) => {
                    state.end(id, CloseReason::Socket);
                    return Flushed::Done;
                }
            }
        }
        let phase = conn.phase;
        if let Some(outbox) = conn.outbox.take() {
            state.free_outbox(outbox);
        }
        self.after_flush(state, id, phase);
        Flushed::Done
    }

    /// A closing connection goes on when its close frame is out.
    fn after_flush(&self, state: &mut State<A>, id: ConnId, phase: Phase) {
        match phase {
            Phase::Open | Phase::Closing { then: Then::PeerClose, .. } => {}
            Phase::Closing { then: Then::End, reason } => state.end(id, reason),
            Phase::Closing { then: Then::PeerEnd, .. } => {
                if let Some(conn) = state.conns.get(id) {
                    conn.socket.shutdown(Shutdown::Write);
                }
            }
        }
    }
}

/// Waits in a task of its own until a blocked connection has taken everything.
fn spawn_writer<A: App>(shard: &Rc<Shard<A>>, id: ConnId) {
    spawn_worker(shard, id, write_on(Rc::clone(shard), id));
}

async fn write_on<A: App>(shard: Rc<Shard<A>>, id: ConnId) {
    let mut at_once = 0;
    loop {
        let socket = shard.state.borrow().conns.get(id).map(|conn| Rc::clone(&conn.socket));
        let Some(socket) = socket else { return };
        if shard.ready(&socket, Direction::Write, &mut at_once).await.is_err() {
            return shard.with(|_, state| state.end(id, CloseReason::Socket));
        }
        let flushed = shard.with(|_, state| {
            state.unblock(id);
            shard.flush(state, id)
        });
        if flushed == Flushed::Done {
            return;
        }
    }
}
