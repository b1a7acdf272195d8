//! The mailbox's end on the shard: one burst at a time.

use super::memory::Step;
use super::{Shard, call};
use crate::app::App;
use crate::conn::drive::{Arrival, adopt};
use crate::reasons::ConnectionRefused;
use crate::socket::{Direction, Socket};
use crate::stats::ShardStats;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::mpsc;

/// What the engine and other shards tell a shard.
pub(crate) enum Control<S> {
    /// An upgraded connection comes home.
    Handoff(Box<Handoff<S>>),
    /// Somebody asks for the counters.
    Stats(mpsc::Sender<ShardStats>),
    /// Begin to end.
    Drain,
    /// End at once.
    Stop,
    /// Another shard will hand nothing over any more.
    Quiet,
}

/// An upgraded socket on its way to its home shard.
pub(crate) struct Handoff<S> {
    pub(crate) fd: OwnedFd,
    pub(crate) key: u64,
    pub(crate) session: S,
    pub(crate) unread: Vec<u8>,
}

/// The task that delivers mail.
pub(super) async fn deliver<A: App>(shard: Rc<Shard<A>>, bell: Rc<Socket>) {
    let mut mails = Vec::new();
    let mut controls = Vec::new();
    let mut at_once = 0;
    loop {
        if shard.ready(&bell, Direction::Read, &mut at_once).await.is_err() || shard.is_over() {
            return;
        }
        // First armed, then looked at: what is posted in between rings again.
        shard.links.bell.arm();
        shard.links.controls.shard(shard.links.shard).swap(&mut controls);
        for control in controls.drain(..) {
            obey(&shard, control);
        }
        shard.links.mailboxes.shard(shard.links.shard).swap(&mut mails);
        if mails.is_empty() {
            continue;
        }
        shard.with(|app, state| {
            state.stats.mail_bursts += 1;
            for mail in mails.drain(..) {
                state.stats.mails += 1;
                let _ = call(app, state, |app, cx| app.on_mail(cx, mail));
            }
        });
        // A burst may have been huge; its room is not kept for ever.
        mails.shrink_to(shard.config().mailbox_max_count.min(4096));
    }
}

fn obey<A: App>(shard: &Rc<Shard<A>>, control: Control<A::Session>) {
    match control {
        Control::Handoff(handoff) => come_home(shard, *handoff),
        Control::Stats(asker) => {
            // An asker that has stopped waiting is no concern of ours.
            let _ = asker.send(shard.snapshot());
        }
        Control::Drain => shard.begin_drain(),
        Control::Stop => shard.stop(),
        Control::Quiet => shard.state.borrow_mut().drain.quiet_peers += 1,
    }
}

fn come_home<A: App>(shard: &Rc<Shard<A>>, handoff: Handoff<A::Session>) {
    let mut state = shard.state.borrow_mut();
    let full = state.conns.len() + state.http.len() >= state.config.connections_per_shard_max;
    let short = state.sheds(Step::Refuse);
    match Socket::new(handoff.fd) {
        Ok(socket) if !full && !short => {
            state.stats.handed_in += 1;
            drop(state);
            let Handoff { key, session, unread, .. } = handoff;
            adopt(shard, Arrival { key, session, socket, unread });
        }
        refused => {
            state.stats.refusals.add(if full {
                ConnectionRefused::HandoffCap
            } else if short {
                ConnectionRefused::HandoffMemory
            } else {
                ConnectionRefused::HandoffSocket
            });
            state.stats.handed_refused += 1;
            if let Ok(socket) = refused {
                // A new socket takes that much; if not, the close alone must do.
                let _ = socket.send(crate::ws::Frame::close(1013, "no room").as_bytes());
            }
        }
    }
}
