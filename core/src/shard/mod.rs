//! One core's state and the order of its turns.
//!
//! A turn: the driver tells what is ready; each ready connection, the mailbox and the wheel are handled by a task of
//! their own, and call the app; what they queue for sending marks connections dirty. The first dirty one wakes the task
//! in `turn.rs`, which the run queue puts behind all that is ready by then. It writes each dirty connection once.

mod accept;
mod drain;
pub(crate) mod http;
mod mail;
pub(crate) mod memory;
pub(crate) mod peers;
mod runtime;
pub(crate) mod state;
mod tick;
mod turn;

pub(crate) use drain::Drained;
pub(crate) use mail::{Control, Handoff};
pub(crate) use runtime::{Built, build};

use crate::app::{App, Cx};
use crate::config::Config;
use crate::conn::guard::{TaskGuard, caught};
use crate::mailbox::{Bell, Mailbox, Mailboxes};
use crate::socket::{Direction, Socket, Waited};
use crate::stats::ShardStats;
use state::State;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// Waits in a row that a task may find over at once before it lets the others go on.
const WAITS_AT_ONCE_MAX: u32 = 8;

/// What all shards share, and what is this shard's of it.
pub(crate) struct Links<A: App> {
    pub(crate) shard: usize,
    pub(crate) config: Arc<Config>,
    /// Start of the engine's clock.
    pub(crate) started: Instant,
    pub(crate) bell: Arc<Bell>,
    pub(crate) mailboxes: Mailboxes<A::Mail>,
    pub(crate) controls: Mailboxes<Control<A::Session>>,
}

/// A shard. Its tasks share it by [`Rc`]; nothing of it leaves the thread.
pub(crate) struct Shard<A: App> {
    pub(crate) state: RefCell<State<A>>,
    app: RefCell<A>,
    links: Links<A>,
    /// The receive buffer; taken out during a read.
    receive_buffer: Cell<Vec<u8>>,
    /// The buffer in which queued frames are joined.
    write_buffer: RefCell<Vec<u8>>,
    /// Live tasks; the shard ends when there are none.
    pub(crate) tasks: Cell<usize>,
    over: Cell<bool>,
    ender: RefCell<Option<Waker>>,
}

impl<A: App> Shard<A> {
    pub(crate) fn new(links: Links<A>, app: A) -> Rc<Shard<A>> {
        let config = Rc::new(Config::clone(&links.config));
        Rc::new(Shard {
            state: RefCell::new(State::new(config, links.shard)),
            app: RefCell::new(app),
            links,
            receive_buffer: Cell::default(),
            write_buffer: RefCell::default(),
            tasks: Cell::new(0),
            over: Cell::new(false),
            ender: RefCell::new(None),
        })
    }

    pub(crate) fn config(&self) -> &Config {
        &self.links.config
    }

    pub(crate) fn number(&self) -> usize {
        self.links.shard
    }

    /// The way of sockets to another shard.
    pub(crate) fn control(&self, shard: usize) -> &Mailbox<Control<A::Session>> {
        self.links.controls.shard(shard)
    }

    /// Milliseconds since the engine's start.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.links.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the tasks must end.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Borrows state and app for a synchronous piece of work at the present time.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut A, &mut State<A>) -> R) -> R {
        let mut app = self.app.borrow_mut();
        let mut state = self.state.borrow_mut();
        state.now_ms = self.now_ms();
        work(&mut app, &mut state)
    }

    /// Lends the receive buffer out for a synchronous piece of work.
    pub(crate) fn with_receive_buffer<R>(&self, work: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut buffer = self.receive_buffer.take();
        // New, or lost in a panic.
        buffer.resize(self.config().receive_buffer_bytes, 0);
        let result = work(&mut buffer);
        self.receive_buffer.set(buffer);
        result
    }

    /// Waits until a socket is ready, but lets the others have their turn when it always is.
    pub(crate) async fn ready(
        &self,
        socket: &Socket,
        direction: Direction,
        at_once: &mut u32,
    ) -> io::Result<()> {
        match socket.wait(direction).await? {
            Waited::Parked => *at_once = 0,
            Waited::AtOnce => *at_once += 1,
        }
        if *at_once > WAITS_AT_ONCE_MAX {
            *at_once = 0;
            self.pause().await;
        }
        Ok(())
    }

    /// Waits for the end of the turn. A task that wakes itself would be run again at once, before all others; woken by
    /// another task it queues up behind them, and the driver is asked for news in between.
    async fn pause(&self) {
        let mut paused = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut paused, true) {
                return Poll::Ready(());
            }
            let mut state = self.state.borrow_mut();
            state.pausing.push(cx.waker().clone());
            state.call_turn_end();
            Poll::Pending
        })
        .await;
    }

    /// Spawns a task that ends only with the shard. A panic in it is counted and it begins anew.
    fn spawn_keeper<F: Future<Output = ()> + 'static>(
        self: &Rc<Self>,
        make: impl Fn(Rc<Shard<A>>) -> F + 'static,
    ) {
        let guard = TaskGuard::new(self);
        let shard = Rc::clone(self);
        monoio::spawn(async move {
            let _guard = guard;
            while caught(make(Rc::clone(&shard))).await.is_err() {
                shard.state.borrow_mut().stats.panics += 1;
                // What panics again at once must not keep the shard to itself.
                monoio::time::sleep(Duration::from_millis(shard.config().tick_ms)).await;
            }
        });
    }

    /// Runs the shard to its end.
    pub(crate) async fn run(
        self: Rc<Self>,
        listener: OwnedFd,
        ready: impl FnOnce(),
    ) -> io::Result<(ShardStats, Drained)> {
        let listener = Rc::new(Socket::new(listener)?);
        let bell = Rc::new(Socket::new(self.links.bell.descriptor()?)?);
        self.spawn_keeper(turn::turns);
        self.spawn_keeper(move |shard| mail::deliver(shard, Rc::clone(&bell)));
        {
            let listener = Rc::clone(&listener);
            self.spawn_keeper(move |shard| accept::accept(shard, Rc::clone(&listener)));
        }
        self.spawn_keeper(move |shard| tick::tick(shard, Rc::clone(&listener)));
        ready();
        poll_fn(|cx| {
            if self.is_over() && self.tasks.get() == 0 {
                return Poll::Ready(());
            }
            *self.ender.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
        let mut state = self.state.borrow_mut();
        state.turn_end = None;
        state.pausing.clear();
        drop(state);
        Ok((self.snapshot(), self.drained()))
    }

    /// All counters and gauges as they are now.
    fn snapshot(&self) -> ShardStats {
        let mailbox = self.links.mailboxes.shard(self.links.shard);
        let mut stats = self.state.borrow().snapshot();
        stats.mailbox_depth = mailbox.depth() as u64;
        stats.mails_refused = mailbox.refused();
        stats
    }

    /// Called by every task at its end.
    pub(crate) fn task_ended(&self) {
        self.tasks.set(self.tasks.get() - 1);
        if self.tasks.get() == 0
            && let Some(waker) = self.ender.borrow_mut().take()
        {
            waker.wake();
        }
    }
}

/// Calls the app. A panic is caught and counted, and gives `None`.
pub(crate) fn call<A: App, R>(
    app: &mut A,
    state: &mut State<A>,
    callback: impl FnOnce(&mut A, &mut Cx<'_, A>) -> R,
) -> Option<R> {
    // What a panic leaves behind in the app is the app's to bear (see `App`); the state is only changed by methods of
    // `Cx`, which don't panic halfway.
    let result = catch_unwind(AssertUnwindSafe(|| callback(app, &mut Cx { state: &mut *state })));
    if result.is_err() {
        state.stats.panics += 1;
    }
    result.ok()
}
