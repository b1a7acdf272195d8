//! The way in: accepting, refusing, and pausing when the system is out of descriptors.

use super::Shard;
use super::state::{HttpConn, Stage, Timer};
use crate::app::App;
use crate::conn::guard::{Owned, spawn_owner};
use crate::conn::handshake::serve;
use crate::http::Response;
use crate::socket::{Direction, Socket};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// The task that accepts, until the drain says stop.
pub(super) async fn accept<A: App>(shard: Rc<Shard<A>>, listener: Rc<Socket>) {
    let mut at_once = 0;
    loop {
        let waited = shard.ready(&listener, Direction::Read, &mut at_once).await;
        if shard.is_over() || shard.state.borrow().drain.stopped_accepting {
            return;
        }
        let swept = if waited.is_ok() {
            sweep(&shard, &listener, shard.config().accept_batch)
        } else {
            Swept::OutOfResources
        };
        if swept == Swept::OutOfResources {
            // The listener stays readable, so that waiting for it would spin.
            monoio::time::sleep(Duration::from_millis(shard.config().accept_backoff_ms)).await;
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swept {
    Empty,
    BatchDone,
    OutOfResources,
}

/// Accepts up to `most` connections.
pub(super) fn sweep<A: App>(shard: &Rc<Shard<A>>, listener: &Socket, most: usize) -> Swept {
    for _ in 0..most {
        match listener.accept() {
            Ok((fd, peer)) => admit(shard, fd, peer),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Swept::Empty,
            Err(error) if out_of_resources(&error) => {
                shard.state.borrow_mut().stats.accept_backoffs += 1;
                return Swept::OutOfResources;
            }
            // The peer gave up before it was accepted, or a signal came: the next one may be fine.
            Err(_) => shard.state.borrow_mut().stats.accept_errors += 1,
        }
    }
    Swept::BatchDone
}

fn out_of_resources(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

fn admit<A: App>(shard: &Rc<Shard<A>>, fd: OwnedFd, peer: SocketAddr) {
    let mut state = shard.state.borrow_mut();
    state.now_ms = shard.now_ms();
    state.stats.accepted += 1;
    if state.conns.len() + state.http.len() >= state.config.connections_per_shard_max {
        state.stats.refused_cap += 1;
        return;
    }
    let Ok(socket) = Socket::new(fd).map(Rc::new) else {
        state.stats.accept_errors += 1;
        return;
    };
    if state.http.len() >= state.config.http_connections_per_shard_max {
        state.stats.refused_handshakes += 1;
        let mut answer = Vec::new();
        Response::new(503).header("retry-after", "1").write(&mut answer, false, false);
        // A new socket takes that much; if not, the close alone must do.
        let _ = socket.send(&answer);
        return;
    }
    let deadline_ms = state.now_ms + state.config.head_deadline_ms;
    let id = state.http.insert(HttpConn {
        socket: Rc::clone(&socket),
        stage: Stage::Idle,
        deadline_ms,
        looked_at_ms: deadline_ms,
        expired: false,
        request: 0,
        answer: None,
        waker: None,
    });
    state.wheel.insert(deadline_ms, Timer::Http(id));
    drop(state);
    spawn_owner(shard, Owned::Http(id), serve(Rc::clone(shard), socket, id, peer));
}
