//! The way in: accepting, refusing, and pausing when the system is out of descriptors.

use super::Shard;
use super::memory::Step;
use super::peers::Peer;
use crate::app::App;
use crate::conn::guard::{Owned, spawn_owner};
use crate::conn::handshake::serve;
use crate::http::Response;
use crate::proxies::is_trusted;
use crate::reasons::ConnectionRefused;
use crate::socket::{Direction, Socket};
use std::io;
use std::net::{Shutdown, SocketAddr};
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

fn admit<A: App>(shard: &Rc<Shard<A>>, fd: OwnedFd, address: SocketAddr) {
    let mut state = shard.state.borrow_mut();
    state.now_ms = shard.now_ms();
    state.stats.accepted += 1;
    let Ok(socket) = Socket::new(fd).map(Rc::new) else {
        state.stats.accept_errors += 1;
        return;
    };
    // A proxy stands for many; whom it speaks for is counted when it says so.
    let is_proxy = is_trusted(&state.config.trusted_proxies, address.ip());
    let peer = (!is_proxy).then(|| Peer::of(address.ip()));
    let (config, http) = (&state.config, state.http.len());
    let refused = if state.conns.len() + http >= config.connections_per_shard_max {
        Some(ConnectionRefused::Cap)
    } else if http >= config.http_connections_per_shard_max {
        Some(ConnectionRefused::Handshakes)
    } else if peer.is_some_and(|peer| state.peers.count(peer) >= config.http_connections_per_ip_max) {
        Some(ConnectionRefused::Peer)
    } else if state.sheds(Step::Refuse) {
        Some(ConnectionRefused::Memory)
    } else {
        None
    };
    if let Some(why) = refused {
        state.stats.refusals.add(why);
        let answer = state.try_later();
        drop(state);
        return refuse(shard, &socket, &answer);
    }
    let id = state.insert_http(Rc::clone(&socket), peer);
    drop(state);
    spawn_owner(shard, Owned::Http(id), serve(Rc::clone(shard), socket, id, address));
}

/// Says no and closes. It waits for nothing: what a new socket doesn't take, the close alone must tell.
fn refuse<A: App>(shard: &Shard<A>, socket: &Socket, answer: &Response) {
    let mut bytes = Vec::new();
    answer.write(&mut bytes, false, false);
    // Unread input would make the close a reset, which can destroy the answer on its way.
    let _ = shard.with_receive_buffer(|buffer| socket.receive(buffer));
    let _ = socket.send(&bytes);
    socket.shutdown(Shutdown::Write);
}
