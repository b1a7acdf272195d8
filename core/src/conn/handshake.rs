//! The life of a connection before its upgrade: requests, answers, and the way home.
//!
//! The task is larger than that of an upgraded connection, which is therefore a task of its own.

use super::drive::{Arrival, adopt};
use super::id::{ConnId, RequestId};
use crate::app::{App, Outcome, Upgrade};
use crate::http::intake::{Head, Intake, Step, with_request};
use crate::http::{RequestRefused, Response, upgrade};
use crate::hub::home_of;
use crate::mailbox::RefusedBy;
use crate::proxies::is_trusted;
use crate::reasons::{ConnectionRefused, HttpEnd};
use crate::shard::http::Stage;
use crate::shard::memory::fit;
use crate::shard::peers::Peer;
use crate::shard::state::{State, Timer};
use crate::shard::{Control, Handoff, Shard, call};
use crate::socket::{Direction, Socket, sys, would_block};
use crate::ws::Frame;
use std::future::poll_fn;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::task::Poll;

/// What to do after the requests that were read are handled.
enum Next<S> {
    /// Wait for more bytes in this stage.
    Read(Stage),
    /// Write the answers so far, then look again.
    Flush,
    /// Wait for the app's answer.
    Answer { is_head: bool, keep_alive: bool },
    /// The 101 is among the answers: write them, and take the socket home.
    Upgrade(Upgrade<S>),
    /// Write the answers and close.
    Close,
}

/// The connection is gone, or must go without another word.
struct Gone;

/// A connection that is not upgraded.
struct Exchange<A: App> {
    shard: Rc<Shard<A>>,
    socket: Rc<Socket>,
    id: ConnId,
    peer: SocketAddr,
    /// The peer is a trusted proxy.
    is_proxy: bool,
    /// Whose request is handled; behind a proxy only from its head on.
    client: Option<IpAddr>,
    /// Bytes read; those before `used` are handled.
    unread: Vec<u8>,
    used: usize,
    /// Bytes of `unread` that the shard's budget was charged for.
    accounted: usize,
    out: Vec<u8>,
    intake: Intake,
    /// What is waited for, so that its deadline is set once.
    waits_for: Option<Step>,
    deadline_ms: u64,
    at_once: u32,
}

/// Serves a connection to its end or its upgrade.
pub(crate) async fn serve<A: App>(shard: Rc<Shard<A>>, socket: Rc<Socket>, id: ConnId, peer: SocketAddr) {
    let is_proxy = is_trusted(&shard.config().trusted_proxies, peer.ip());
    let mut exchange = Exchange {
        is_proxy,
        client: (!is_proxy).then(|| peer.ip().to_canonical()),
        shard,
        socket,
        id,
        peer,
        unread: Vec::new(),
        used: 0,
        accounted: 0,
        out: Vec::new(),
        intake: Intake::default(),
        waits_for: None,
        deadline_ms: 0,
        at_once: 0,
    };
    match exchange.until_upgrade().await {
        Ok(Some(upgrade)) => exchange.go_home(upgrade),
        Ok(None) => {}
        Err(Gone) => note_gone(&mut exchange.shard.state.borrow_mut(), id),
    }
}

/// Counts a connection that ended without a word, unless that was counted when it was made to end.
fn note_gone<A: App>(state: &mut State<A>, id: ConnId) {
    let Some(http) = state.http.get(id).filter(|http| !http.expired) else { return };
    let why = match http.stage {
        Stage::Idle if state.draining => HttpEnd::Drain,
        Stage::Idle if http.request == 0 => HttpEnd::Unused,
        Stage::Request | Stage::Answer | Stage::Write => HttpEnd::Aborted,
        // After its last answer a connection may end at any time.
        Stage::Idle | Stage::Linger => return,
    };
    state.stats.http_ends.add(why);
}

impl<A: App> Exchange<A> {
    async fn until_upgrade(&mut self) -> Result<Option<Upgrade<A::Session>>, Gone> {
        loop {
            match self.handle_requests() {
                Next::Flush => self.flush().await?,
                Next::Read(stage) => {
                    self.flush().await?;
                    if !self.read(stage).await? {
                        return self.close().await;
                    }
                }
                Next::Answer { is_head, keep_alive } => {
                    self.flush().await?;
                    // The drain may have begun meanwhile.
                    let response = self.answer().await?;
                    let keep_alive = keep_alive && !self.shard.state.borrow().draining;
                    response.write(&mut self.out, is_head, keep_alive);
                    if !keep_alive {
                        return self.close().await;
                    }
                }
                Next::Upgrade(upgrade) => {
                    self.flush().await?;
                    return Ok(Some(upgrade));
                }
                Next::Close => return self.close().await,
            }
        }
    }

    /// Handles all whole requests that were read.
    fn handle_requests(&mut self) -> Next<A::Session> {
        let shard = Rc::clone(&self.shard);
        loop {
            if self.out.len() >= shard.config().write_buffer_bytes {
                return Next::Flush;
            }
            let step = self.intake.step(&self.unread[self.used..], shard.config());
            if !self.knows_client() {
                let answer = shard.state.borrow().try_later();
                self.refuse(RequestRefused::Client, &answer);
                return Next::Close;
            }
            match step {
                Step::Whole(head) => match self.handle(&head) {
                    Next::Flush => {}
                    next => return next,
                },
                Step::Refuse(why) => {
                    self.refuse(why, &Response::new(why.status()));
                    return Next::Close;
                }
                Step::Continue => self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n"),
                Step::Nothing | Step::Head | Step::Body => {
                    self.forget_used();
                    return Next::Read(self.wait_for(step));
                }
            }
        }
    }

    /// Has a request through a proxy count for its client. `false`: he has too many under way.
    fn knows_client(&mut self) -> bool {
        if self.client.is_some() {
            return true;
        }
        let proxies = &self.shard.config().trusted_proxies;
        self.client = self.intake.client(&self.unread[self.used..], self.peer.ip(), proxies);
        let Some(client) = self.client else { return true };
        // The proxies' own requests count for nobody.
        let peer = (!is_trusted(proxies, client)).then(|| Peer::of(client));
        self.shard.state.borrow_mut().count_for(self.id, peer)
    }

    /// Queues the answer to what the app is not asked about.
    fn refuse(&mut self, why: RequestRefused, answer: &Response) {
        self.shard.state.borrow_mut().stats.requests_refused.add(why);
        answer.write(&mut self.out, false, false);
    }

    /// Sets the deadline when what is waited for changes.
    fn wait_for(&mut self, step: Step) -> Stage {
        if self.waits_for != Some(step) {
            let mut state = self.shard.state.borrow_mut();
            state.now_ms = self.shard.now_ms();
            let first = state.http.get(self.id).is_none_or(|http| http.request == 0);
            self.deadline_ms = state.now_ms
                + match step {
                    Step::Body => state.config.body_deadline_ms,
                    Step::Nothing if !first => state.config.keep_alive_idle_ms,
                    // A new connection's time runs from its accept.
                    Step::Head if first && self.waits_for == Some(Step::Nothing) => {
                        self.deadline_ms.saturating_sub(state.now_ms)
                    }
                    _ => state.config.head_deadline_ms,
                };
            self.waits_for = Some(step);
        }
        if step == Step::Nothing { Stage::Idle } else { Stage::Request }
    }

    /// Gives one request to the app. [`Next::Flush`] means that it is answered and that more may follow.
    fn handle(&mut self, head: &Head) -> Next<A::Session> {
        let shard = Rc::clone(&self.shard);
        let request = &self.unread[self.used..];
        let client_ip = self.client.unwrap_or(self.peer.ip());
        let (outcome, keep_alive) = shard.with(|app, state| {
            let keep_alive = head.keep_alive && !state.draining;
            let id = begin_request(state, self.id);
            let outcome = with_request(request, head, self.peer, client_ip, |request| {
                let outcome = call(app, state, |app, cx| app.on_request(cx, request, id))?;
                Some(match outcome {
                    Outcome::Upgrade(_) if state.draining => {
                        Err((RequestRefused::Draining, state.try_later()))
                    }
                    Outcome::Upgrade(upgrade) => upgrade::accept(request, upgrade.protocol.as_deref())
                        .map(|answer| (Outcome::Upgrade(upgrade), answer)),
                    other => Ok((other, Vec::new())),
                })
            });
            (outcome.flatten(), keep_alive)
        });
        self.used += head.whole();
        self.intake = Intake::default();
        self.waits_for = None;
        if self.is_proxy {
            self.client = None;
        }
        let (response, keep_alive) = match outcome {
            // The app panicked.
            None => (Response::new(500), false),
            Some(Err((why, refused))) => {
                shard.state.borrow_mut().stats.requests_refused.add(why);
                (refused, keep_alive)
            }
            Some(Ok((Outcome::Respond(response), _))) => (response, keep_alive),
            Some(Ok((Outcome::Pending, _))) => {
                return Next::Answer { is_head: head.is_head, keep_alive };
            }
            Some(Ok((Outcome::Upgrade(upgrade), answer))) => {
                self.out.extend_from_slice(&answer);
                return Next::Upgrade(upgrade);
            }
        };
        response.write(&mut self.out, head.is_head, keep_alive);
        if keep_alive { Next::Flush } else { Next::Close }
    }

    /// Waits for the app, or for the 504 that the wheel gives in its place.
    async fn answer(&mut self) -> Result<Response, Gone> {
        let id = self.id;
        poll_fn(|cx| {
            let mut state = self.shard.state.borrow_mut();
            let Some(http) = state.http.get_mut(id) else { return Poll::Ready(Err(Gone)) };
            if http.expired {
                return Poll::Ready(Err(Gone));
            }
            if let Some(answer) = http.answer.take() {
                return Poll::Ready(Ok(answer));
            }
            http.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Waits for bytes and reads once. `false`: an answer is queued, and the connection is to be closed after it.
    async fn read(&mut self, stage: Stage) -> Result<bool, Gone> {
        let deadline_ms = self.deadline_ms;
        self.enter(stage, deadline_ms);
        if self.client.is_none() {
            self.shard.state.borrow_mut().count_for(self.id, None);
        }
        self.ready(Direction::Read).await?;
        let expired = self.shard.state.borrow().http.get(self.id).is_none_or(|http| http.expired);
        if expired {
            if stage == Stage::Idle {
                return Err(Gone);
            }
            let why = match self.waits_for {
                Some(Step::Body) => RequestRefused::BodyDeadline,
                _ => RequestRefused::HeadDeadline,
            };
            self.refuse(why, &Response::new(why.status()));
            return Ok(false);
        }
        let shard = Rc::clone(&self.shard);
        shard.with_receive_buffer(|buffer| {
            let count = match self.socket.receive(buffer) {
                Ok(0) => return Err(Gone),
                Ok(count) => count,
                Err(error) if would_block(&error) => return Ok(true),
                Err(_) => return Err(Gone),
            };
            Ok(self.take_in(&buffer[..count]))
        })
    }

    /// Keeps bytes, if the shard's budget has room for them.
    fn take_in(&mut self, bytes: &[u8]) -> bool {
        let mut state = self.shard.state.borrow_mut();
        state.stats.reads += 1;
        state.stats.bytes_in += bytes.len() as u64;
        if state.input_bytes + bytes.len() > state.config.input_shard_max_bytes {
            let answer = state.try_later();
            drop(state);
            self.refuse(RequestRefused::InputBudget, &answer);
            return false;
        }
        if self.unread.capacity() == 0 {
            self.unread = state.take_buffer();
        }
        self.unread.extend_from_slice(bytes);
        fit(&mut self.unread);
        state.input_bytes += bytes.len();
        self.accounted += bytes.len();
        true
    }

    /// Drops handled bytes, and the buffer when nothing is left in it.
    fn forget_used(&mut self) {
        let mut state = self.shard.state.borrow_mut();
        state.input_bytes -= self.used;
        self.accounted -= self.used;
        self.unread.drain(..self.used);
        self.used = 0;
        if self.unread.is_empty() {
            state.free_buffer(std::mem::take(&mut self.unread));
        } else {
            fit(&mut self.unread);
        }
    }

    /// Writes the answers.
    async fn flush(&mut self) -> Result<(), Gone> {
        let mut written = 0;
        while written < self.out.len() {
            match self.socket.send(&self.out[written..]) {
                Ok(count) => {
                    written += count;
                    let mut state = self.shard.state.borrow_mut();
                    state.stats.writes += 1;
                    state.stats.bytes_out += count as u64;
                }
                Err(error) if would_block(&error) => {
                    let deadline_ms = self.shard.now_ms() + self.shard.config().write_deadline_ms;
                    self.enter(Stage::Write, deadline_ms);
                    self.shard.state.borrow_mut().charge_answer(self.id, self.out.len());
                    self.ready(Direction::Write).await?;
                    if self.shard.state.borrow().http.get(self.id).is_none_or(|http| http.expired) {
                        return Err(Gone);
                    }
                }
                Err(_) => return Err(Gone),
            }
        }
        // Answers can be large, and the connection may be idle for long.
        let mut state = self.shard.state.borrow_mut();
        state.uncharge_answer(self.id);
        state.free_buffer(std::mem::take(&mut self.out));
        Ok(())
    }

    /// Writes the last answer and waits for the peer's end, discarding input: a socket that is closed with unread
    /// input sends a reset, which can destroy the answer on its way.
    async fn close(&mut self) -> Result<Option<Upgrade<A::Session>>, Gone> {
        self.flush().await?;
        self.socket.shutdown(Shutdown::Write);
        let deadline_ms = self.shard.now_ms() + self.shard.config().close_deadline_ms;
        self.enter(Stage::Linger, deadline_ms);
        loop {
            self.ready(Direction::Read).await?;
            let shard = Rc::clone(&self.shard);
            match shard.with_receive_buffer(|buffer| self.socket.receive(buffer)) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if would_block(&error) => {}
                Err(_) => return Err(Gone),
            }
        }
    }

    async fn ready(&mut self, direction: Direction) -> Result<(), Gone> {
        self.shard.ready(&self.socket, direction, &mut self.at_once).await.map_err(|_| Gone)
    }

    fn enter(&self, stage: Stage, deadline_ms: u64) {
        enter(&mut self.shard.state.borrow_mut(), self.id, stage, deadline_ms);
    }

    /// Takes the upgraded socket to its home shard: no wait is parked, and this is its last owner.
    fn go_home(mut self, upgrade: Upgrade<A::Session>) {
        self.forget_used();
        let unread = std::mem::take(&mut self.unread);
        let (shard, id) = (Rc::clone(&self.shard), self.id);
        let socket = Rc::clone(&self.socket);
        // Gives the budget back and drops a reference to the socket.
        drop(self);
        shard.state.borrow_mut().remove_http(id);
        let Ok(socket) = Rc::try_unwrap(socket) else { return };
        shard.state.borrow_mut().stats.upgrades += 1;
        let Upgrade { key, session, .. } = upgrade;
        let home = home_of(key, shard.config().shards);
        if home == shard.number() {
            return adopt(&shard, Arrival { key, session, socket, unread });
        }
        let cost_bytes = unread.len();
        let handoff = Box::new(Handoff { fd: socket.into_fd(), key, session, unread });
        let posted = shard.control(home).post(Control::Handoff(handoff), cost_bytes);
        let mut state = shard.state.borrow_mut();
        match posted {
            Ok(()) => state.stats.handed_over += 1,
            Err(refused) => {
                state.stats.refusals.add(match refused.refused_by {
                    RefusedBy::Full => ConnectionRefused::HandoffFull,
                    RefusedBy::Closed => ConnectionRefused::HandoffEnded,
                });
                if let Control::Handoff(handoff) = refused.mail {
                    // What it doesn't take, the close alone must tell.
                    let _ = sys::send(handoff.fd.as_fd(), Frame::close(1013, "no room").as_bytes());
                }
            }
        }
    }
}

impl<A: App> Drop for Exchange<A> {
    fn drop(&mut self) {
        let mut state = self.shard.state.borrow_mut();
        state.input_bytes -= self.accounted;
        state.free_buffer(std::mem::take(&mut self.unread));
    }
}

/// Names the next request of a connection and starts the time of its answer.
fn begin_request<A: App>(state: &mut State<A>, conn: ConnId) -> RequestId {
    let deadline_ms = state.now_ms + state.config.request_deadline_ms;
    enter(state, conn, Stage::Answer, deadline_ms);
    state.stats.requests += 1;
    let request = state.http.get_mut(conn).map_or(0, |http| {
        http.request = http.request.wrapping_add(1);
        http.answer = None;
        http.request
    });
    RequestId { shard: state.shard as u32, conn, request }
}

/// Sets what a connection waits for. The wheel is only told of a deadline that comes before the one it knows.
pub(crate) fn enter<A: App>(state: &mut State<A>, id: ConnId, stage: Stage, deadline_ms: u64) {
    let Some(http) = state.http.get_mut(id) else { return };
    http.stage = stage;
    http.deadline_ms = deadline_ms;
    if deadline_ms < http.looked_at_ms {
        http.looked_at_ms = deadline_ms;
        state.wheel.insert(deadline_ms, Timer::Http(id));
    }
}
