//! What is cleaned up when a task ends, however it ends.

use super::id::ConnId;
use crate::app::{App, CloseReason};
use crate::shard::Shard;
use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;

/// Polls a future to its end or its panic. It is boxed, because an argument that is kept across an await is kept twice.
pub(crate) async fn caught<F: Future>(future: F) -> Result<F::Output, Box<dyn Any + Send>> {
    catch_boxed(Box::pin(future)).await
}

fn catch_boxed<F: Future>(
    mut future: std::pin::Pin<Box<F>>,
) -> impl Future<Output = Result<F::Output, Box<dyn Any + Send>>> {
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic)),
    })
}

/// Counts a task of a shard for as long as it lives.
pub(crate) struct TaskGuard<A: App> {
    shard: Rc<Shard<A>>,
}

impl<A: App> TaskGuard<A> {
    pub(crate) fn new(shard: &Rc<Shard<A>>) -> TaskGuard<A> {
        shard.tasks.set(shard.tasks.get() + 1);
        TaskGuard { shard: Rc::clone(shard) }
    }
}

impl<A: App> Drop for TaskGuard<A> {
    fn drop(&mut self) {
        self.shard.task_ended();
    }
}

/// What a connection's task stands for.
#[derive(Clone, Copy)]
pub(crate) enum Owned {
    Http(ConnId),
    Upgraded(ConnId),
}

/// Spawns a connection's task: a panic in it costs this connection only, and its entry goes when the task ends.
pub(crate) fn spawn_owner<A: App>(
    shard: &Rc<Shard<A>>,
    owned: Owned,
    task: impl Future<Output = ()> + 'static,
) {
    let guard = TaskGuard::new(shard);
    let task = catch_boxed(Box::pin(task));
    monoio::spawn(async move {
        let panicked = task.await.is_err();
        clean_up(&guard.shard, owned, panicked);
        drop(guard);
    });
}

/// Spawns a task that works for a connection beside its own: only a panic in it ends the connection.
pub(crate) fn spawn_worker<A: App>(
    shard: &Rc<Shard<A>>,
    conn: ConnId,
    task: impl Future<Output = ()> + 'static,
) {
    let guard = TaskGuard::new(shard);
    let task = catch_boxed(Box::pin(task));
    monoio::spawn(async move {
        if task.await.is_err() {
            clean_up(&guard.shard, Owned::Upgraded(conn), true);
        }
        drop(guard);
    });
}

fn clean_up<A: App>(shard: &Shard<A>, owned: Owned, panicked: bool) {
    let mut state = shard.state.borrow_mut();
    if panicked {
        state.stats.panics += 1;
    }
    match owned {
        Owned::Http(id) => state.remove_http(id),
        Owned::Upgraded(id) => {
            let reason = if panicked { CloseReason::Panic } else { CloseReason::Socket };
            state.end(id, reason);
        }
    }
}
