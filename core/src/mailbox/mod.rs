//! How other threads reach a shard: a bounded vector that the shard swaps out whole, and one wake-up a burst.
//!
//! *Invariant:* the only locks and atomics of the crate are in this folder.

mod bell;

pub(crate) use bell::Bell;

use crate::hub::home_of;
use crate::reasons::{Counts, MailRefused};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why a mail was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// As many mails, or as many bytes, as the mailbox may hold.
    Full,
    /// The shard has ended.
    Closed,
}

/// A mail that was not taken, handed back.
pub struct MailboxFull<M> {
    /// The mail.
    pub mail: M,
    /// Whether trying again can help.
    pub refused_by: RefusedBy,
}

impl<M> fmt::Debug for MailboxFull<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailboxFull").field("refused_by", &self.refused_by).finish_non_exhaustive()
    }
}

impl<M> fmt::Display for MailboxFull<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.refused_by {
            RefusedBy::Full => "the shard's mailbox is full",
            RefusedBy::Closed => "the shard has ended",
        })
    }
}

impl<M> std::error::Error for MailboxFull<M> {}

struct Items<M> {
    mails: Vec<M>,
    /// Mails that count towards the bound (those posted with a reservation don't).
    counted: usize,
    bytes: usize,
    closed: bool,
    refused: Counts<MailRefused>,
}

struct Queue<M> {
    items: Mutex<Items<M>>,
    room: Condvar,
    bell: Arc<Bell>,
    max_count: usize,
    max_bytes: usize,
}

/// The way into one shard. Posting never waits, except for [`Mailbox::post_wait`].
pub struct Mailbox<M> {
    queue: Arc<Queue<M>>,
}

impl<M> Clone for Mailbox<M> {
    fn clone(&self) -> Self {
        Mailbox { queue: Arc::clone(&self.queue) }
    }
}

impl<M> Mailbox<M> {
    /// `bell` wakes the shard; several mailboxes may share one.
    pub(crate) fn new(bell: Arc<Bell>, max_count: usize, max_bytes: usize) -> Mailbox<M> {
        let items =
            Items { mails: Vec::new(), counted: 0, bytes: 0, closed: false, refused: Counts::default() };
        Mailbox {
            queue: Arc::new(Queue {
                items: Mutex::new(items),
                room: Condvar::new(),
                bell,
                max_count,
                max_bytes,
            }),
        }
    }

    fn items(&self) -> MutexGuard<'_, Items<M>> {
        // Nothing under the lock can panic halfway, so a poisoned lock still guards consistent data.
        self.queue.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Posts a mail that stands for `cost_bytes` of memory.
    ///
    /// # Errors
    /// The mail itself, when the mailbox holds its most mails or bytes, or when the shard has ended. An empty mailbox
    /// takes a mail of any cost.
    pub fn post(&self, mail: M, cost_bytes: usize) -> Result<(), MailboxFull<M>> {
        let items = self.items();
        self.put(items, mail, cost_bytes).map_err(|(items, mail, why)| refuse(items, mail, why))
    }

    fn put<'a>(
        &'a self,
        mut items: MutexGuard<'a, Items<M>>,
        mail: M,
        cost_bytes: usize,
    ) -> Result<(), (MutexGuard<'a, Items<M>>, M, MailRefused)> {
        if items.closed {
            return Err((items, mail, MailRefused::Ended));
        }
        let bytes = items.bytes.saturating_add(cost_bytes);
        if items.counted > 0 && items.counted >= self.queue.max_count {
            return Err((items, mail, MailRefused::Count));
        }
        if items.counted > 0 && bytes > self.queue.max_bytes {
            return Err((items, mail, MailRefused::Bytes));
        }
        items.counted += 1;
        items.bytes = bytes;
        items.mails.push(mail);
        drop(items);
        self.queue.bell.ring();
        Ok(())
    }

    /// Posts a mail whose place was reserved by whoever admitted the work that it answers: it is never refused and
    /// doesn't count towards the bound. When the shard has ended the mail is dropped.
    pub fn post_reserved(&self, mail: M) {
        let mut items = self.items();
        if items.closed {
            items.refused.add(MailRefused::Ended);
            return;
        }
        items.mails.push(mail);
        drop(items);
        self.queue.bell.ring();
    }

    /// Posts a mail, and waits up to `timeout` for room. It blocks the calling thread, so it must not be called on a
    /// shard.
    ///
    /// # Errors
    /// As [`Mailbox::post`], after the time has passed.
    pub fn post_wait(&self, mail: M, cost_bytes: usize, timeout: Duration) -> Result<(), MailboxFull<M>> {
        let end = Instant::now() + timeout;
        let mut items = self.items();
        let mut mail = mail;
        loop {
            let why;
            (items, mail, why) = match self.put(items, mail, cost_bytes) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || why == MailRefused::Ended {
                return Err(refuse(items, mail, why));
            }
            (items, _) = self.queue.room.wait_timeout(items, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Mails that wait, those with a reservation included.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.items().mails.len()
    }

    /// Bytes that wait, as their posters declared them.
    pub(crate) fn bytes(&self) -> usize {
        self.items().bytes
    }

    /// Takes all mails by swapping `emptied` in, whose capacity is then used for the next burst.
    pub(crate) fn swap(&self, emptied: &mut Vec<M>) {
        debug_assert!(emptied.is_empty());
        let mut items = self.items();
        std::mem::swap(&mut items.mails, emptied);
        (items.counted, items.bytes) = (0, 0);
        drop(items);
        if !emptied.is_empty() {
            self.queue.room.notify_all();
        }
    }

    /// Refuses every later post, and what still waits, which it returns.
    pub(crate) fn close(&self) -> Vec<M> {
        let mut items = self.items();
        items.closed = true;
        let left = std::mem::take(&mut items.mails);
        for _ in &left {
            items.refused.add(MailRefused::Ended);
        }
        drop(items);
        self.queue.room.notify_all();
        left
    }

    /// What was not taken.
    pub(crate) fn refused(&self) -> Counts<MailRefused> {
        self.items().refused.clone()
    }
}

/// Counts a mail that is not taken, and hands it back.
fn refuse<M>(mut items: MutexGuard<'_, Items<M>>, mail: M, why: MailRefused) -> MailboxFull<M> {
    items.refused.add(why);
    let refused_by = if why == MailRefused::Ended { RefusedBy::Closed } else { RefusedBy::Full };
    MailboxFull { mail, refused_by }
}

/// The mailboxes of all shards.
pub struct Mailboxes<M> {
    shards: Arc<[Mailbox<M>]>,
}

impl<M> Clone for Mailboxes<M> {
    fn clone(&self) -> Self {
        Mailboxes { shards: Arc::clone(&self.shards) }
    }
}

impl<M> fmt::Debug for Mailboxes<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailboxes").field("shards", &self.shards.len()).finish()
    }
}

impl<M> Mailboxes<M> {
    pub(crate) fn new(shards: Vec<Mailbox<M>>) -> Mailboxes<M> {
        Mailboxes { shards: shards.into() }
    }

    /// The mailbox of a shard.
    ///
    /// # Panics
    /// When there is no such shard.
    #[must_use]
    pub fn shard(&self, shard: usize) -> &Mailbox<M> {
        &self.shards[shard]
    }

    /// The mailbox of the shard where `key` is at home.
    #[must_use]
    pub fn home(&self, key: u64) -> &Mailbox<M> {
        self.shard(home_of(key, self.shards.len()))
    }

    /// Number of shards.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "an engine has at least one shard")]
    pub fn len(&self) -> usize {
        self.shards.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox(max_count: usize, max_bytes: usize) -> Mailbox<u32> {
        Mailbox::new(Arc::new(Bell::new().expect("an eventfd")), max_count, max_bytes)
    }

    fn take(mailbox: &Mailbox<u32>) -> Vec<u32> {
        let mut mails = Vec::new();
        mailbox.swap(&mut mails);
        mails
    }

    #[test]
    fn both_bounds_hold_and_reserved_mail_passes() {
        let mails = mailbox(2, 100);
        mails.post(1, 60).expect("room");
        assert_eq!(mails.post(2, 60).expect_err("bytes").refused_by, RefusedBy::Full);
        mails.post(3, 1).expect("room");
        let refused = mails.post(4, 1).expect_err("count");
        assert_eq!((refused.mail, refused.refused_by), (4, RefusedBy::Full));
        mails.post_reserved(5);
        assert_eq!(take(&mails), [1, 3, 5]);
        assert_eq!((mails.refused().of(MailRefused::Bytes), mails.refused().of(MailRefused::Count)), (1, 1));
        mails.post(6, 1_000).expect("an empty mailbox takes a mail of any cost");
        assert_eq!(take(&mails), [6]);
    }

    #[test]
    fn a_waiting_post_goes_on_when_there_is_room_and_gives_up_in_time() {
        let mails = mailbox(1, 100);
        mails.post(1, 1).expect("room");
        let refused = mails.post_wait(2, 1, Duration::from_millis(5)).expect_err("nobody takes");
        assert_eq!((refused.mail, mails.refused().sum()), (2, 1));
        let poster = {
            let mails = mails.clone();
            std::thread::spawn(move || mails.post_wait(3, 1, Duration::from_secs(60)).is_ok())
        };
        let mut got = Vec::new();
        while got.len() < 2 {
            got.extend(take(&mails));
            std::thread::yield_now();
        }
        assert!(poster.join().expect("poster"));
        assert_eq!(got, [1, 3]);
    }

    #[test]
    fn a_closed_mailbox_refuses_and_lets_waiters_go() {
        let mails = mailbox(1, 100);
        mails.post(1, 1).expect("room");
        let poster = {
            let mails = mails.clone();
            std::thread::spawn(move || mails.post_wait(2, 1, Duration::from_secs(60)))
        };
        assert_eq!(mails.close(), [1]);
        let refused = poster.join().expect("poster").expect_err("closed");
        assert_eq!((refused.mail, refused.refused_by), (2, RefusedBy::Closed));
        mails.post_reserved(3);
        assert_eq!((mails.refused().of(MailRefused::Ended), mails.refused().sum()), (3, 3));
    }
}
