//! The wake-up of a shard: an eventfd that is written once a burst.

use crate::socket::sys;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rung by anyone, answered by one shard.
///
/// The shard arms the bell, then looks into its mailboxes; a poster puts its mail, then rings. So either the shard
/// sees the mail, or the poster finds the bell armed and writes the eventfd. Mutexes of the mailboxes order the two.
pub(crate) struct Bell {
    armed: AtomicBool,
    event: File,
}

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        Ok(Bell { armed: AtomicBool::new(true), event: File::from(sys::event_fd()?) })
    }

    /// Wakes the shard, unless that was done already since it last looked.
    pub(crate) fn ring(&self) {
        if self.armed.swap(false, Ordering::AcqRel) {
            // It can only fail when the counter is full, and then the shard is awake.
            let _ = (&self.event).write(&1u64.to_ne_bytes());
        }
    }

    /// Answers a ring: to be called before looking into the mailboxes.
    pub(crate) fn arm(&self) {
        let mut count = [0; 8];
        // Empty when this was a spurious wake-up.
        let _ = (&self.event).read(&mut count);
        self.armed.store(true, Ordering::Release);
    }

    /// A second descriptor of the eventfd, for the shard to wait on.
    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        Ok(self.event.try_clone()?.into())
    }
}
