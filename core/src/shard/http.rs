//! Connections that are not upgraded: whom they count for, and the answers that they wait for.

use super::peers::Peer;
use super::state::{State, Timer};
use crate::app::App;
use crate::conn::id::{ConnId, RequestId};
use crate::http::Response;
use crate::socket::Socket;
use std::rc::Rc;
use std::task::Waker;

/// A connection that is not upgraded.
pub(crate) struct HttpConn {
    pub(crate) socket: Rc<Socket>,
    /// For whom it counts. A proxy's connection counts for the client of its request, if it has one.
    pub(crate) peer: Option<Peer>,
    pub(crate) stage: Stage,
    pub(crate) deadline_ms: u64,
    /// When the wheel will look at the deadline next.
    pub(crate) looked_at_ms: u64,
    pub(crate) expired: bool,
    /// Count of the requests given to the app.
    pub(crate) request: u32,
    pub(crate) answer: Option<Response>,
    /// Bytes of answers that the socket doesn't take.
    pub(crate) answer_bytes: usize,
    /// The connection's task, while it waits for the answer.
    pub(crate) waker: Option<Waker>,
}

/// What a connection that is not upgraded waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The first byte of a request.
    Idle,
    /// The rest of a head or body.
    Request,
    /// The app's answer.
    Answer,
    /// The socket to take the answer.
    Write,
    /// The peer's end of stream.
    Linger,
}

impl<A: App> State<A> {
    pub(crate) fn insert_http(&mut self, socket: Rc<Socket>, peer: Option<Peer>) -> ConnId {
        let deadline_ms = self.now_ms + self.config.head_deadline_ms;
        if let Some(peer) = peer {
            self.peers.add(peer);
        }
        let id = self.http.insert(HttpConn {
            socket,
            peer,
            stage: Stage::Idle,
            deadline_ms,
            looked_at_ms: deadline_ms,
            expired: false,
            request: 0,
            answer: None,
            answer_bytes: 0,
            waker: None,
        });
        self.wheel.insert(deadline_ms, Timer::Http(id));
        id
    }

    pub(crate) fn remove_http(&mut self, id: ConnId) {
        self.uncharge_answer(id);
        if let Some(peer) = self.http.remove(id).and_then(|http| http.peer) {
            self.peers.remove(peer);
        }
    }

    /// Has a proxy's connection count for another client, or for none. `false`: that one has its most already.
    pub(crate) fn count_for(&mut self, id: ConnId, peer: Option<Peer>) -> bool {
        let most = self.config.http_connections_per_ip_max;
        let Some(http) = self.http.get_mut(id) else { return true };
        if let Some(before) = http.peer.take() {
            self.peers.remove(before);
        }
        let Some(peer) = peer else { return true };
        if self.peers.count(peer) >= most {
            return false;
        }
        http.peer = Some(peer);
        self.peers.add(peer);
        true
    }

    /// The answer to what there is no room for.
    pub(crate) fn try_later(&self) -> Response {
        Response::new(503).header("retry-after", self.config.refused_retry_after_s.to_string())
    }

    pub(crate) fn respond(&mut self, id: RequestId, response: Response) -> bool {
        let waiting = self.http.get_mut(id.conn).filter(|http| {
            id.shard as usize == self.shard
                && http.stage == Stage::Answer
                && http.request == id.request
                && http.answer.is_none()
        });
        let Some(http) = waiting else {
            self.stats.answers_late += 1;
            return false;
        };
        http.answer = Some(response);
        if let Some(waker) = http.waker.take() {
            waker.wake();
        }
        true
    }
}
