//! From the start to the first connection: the store's epoch and all revocations have to be known before.

use std::{sync::Arc, time::Duration};

use gochat_core::Mailboxes;
use gochat_infra::{admin::Readiness, mq::Tail};
use tokio::{runtime::Handle, sync::watch, task::JoinHandle};

use crate::{
    admin::SideCounters,
    config::{GatewayConfig, PresenceConfig},
    gateway::{CONDITION, ask_all},
    mail::Mail,
    revoke::follow::{Follower, Loading},
    side::{Clients, calls},
};

/// Begins to follow revocations, and to open the gateway. The receiver turns true when connections are taken.
pub(crate) fn start(
    runtime: &Handle,
    config: &GatewayConfig,
    tails: Vec<Tail>,
    clients: &Clients,
    mailboxes: &Mailboxes<Mail>,
    counters: &Arc<SideCounters>,
    readiness: &Readiness,
) -> ([JoinHandle<()>; 2], watch::Receiver<bool>) {
    let (loading, revocations) = watch::channel(Loading::Waits(None));
    let follower = Follower {
        tails,
        clients: clients.clone(),
        mailboxes: mailboxes.clone(),
        config: config.auth.clone(),
        counters: Arc::clone(counters),
        loading,
    };
    let (opened, open) = watch::channel(false);
    let opening = Opening {
        opened,
        clients: clients.clone(),
        mailboxes: mailboxes.clone(),
        readiness: readiness.clone(),
        pace: config.presence.clone(),
        revocations,
    };
    ([runtime.spawn(follower.run()), runtime.spawn(opening.run())], open)
}

struct Opening {
    opened: watch::Sender<bool>,
    clients: Clients,
    mailboxes: Mailboxes<Mail>,
    readiness: Readiness,
    /// How often logic is asked.
    pace: PresenceConfig,
    revocations: watch::Receiver<Loading>,
}

impl Opening {
    async fn run(mut self) {
        let epoch = self.epoch().await;
        // In two steps: a connection is taken by one shard and greeted by another.
        ask_all(&self.mailboxes, |noted| Mail::Epoch(epoch, noted)).await;
        self.revocations().await;
        ask_all(&self.mailboxes, Mail::Open).await;
        self.readiness.ready(CONDITION);
        self.opened.send_replace(true);
    }

    /// Asks logic for the store's epoch until it answers.
    async fn epoch(&self) -> u64 {
        let mut pause_ms = self.pace.retry_min_ms;
        loop {
            match Box::pin(calls::epoch(self.clients.clone())).await {
                Ok(epoch) => return epoch,
                Err(error) => {
                    self.readiness.not_ready(CONDITION, format!("logic does not answer: {error}"));
                    tracing::warn!(%error, pause_ms, "logic does not tell the store's epoch yet");
                }
            }
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(self.pace.retry_max_ms);
        }
    }

    /// Waits until every shard knows all revocations.
    async fn revocations(&mut self) {
        loop {
            let reason = match &*self.revocations.borrow_and_update() {
                Loading::Done => return,
                Loading::Waits(None) => "loading revocations".to_owned(),
                Loading::Waits(Some(why)) => format!("loading revocations, trying again: {why}"),
            };
            self.readiness.not_ready(CONDITION, reason);
            if self.revocations.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }
}
