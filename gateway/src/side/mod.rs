//! The tokio side: whatever waits for someone else. A shard hands work over without waiting, and the outcome comes
//! back to it as a mail.

pub(crate) mod calls;

use std::{pin::Pin, sync::Arc};

use gochat_core::Mailboxes;
use gochat_infra::{
    errors::{Code, Error},
    rpc,
};
use gochat_proto::logic::v1::{
    auth_service_client::AuthServiceClient, conversation_service_client::ConversationServiceClient,
    revocation_service_client::RevocationServiceClient, session_service_client::SessionServiceClient,
    user_service_client::UserServiceClient,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
};

use crate::{config::SideConfig, mail::Mail, routes::Lane};

/// Clients of logic's services. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) auth: AuthServiceClient<rpc::Client>,
    pub(crate) users: UserServiceClient<rpc::Client>,
    pub(crate) conversations: ConversationServiceClient<rpc::Client>,
    pub(crate) sessions: SessionServiceClient<rpc::Client>,
    pub(crate) revocations: RevocationServiceClient<rpc::Client>,
}

impl Clients {
    pub(crate) fn new(logic: &rpc::Client) -> Self {
        Clients {
            auth: AuthServiceClient::new(logic.clone()),
            users: UserServiceClient::new(logic.clone()),
            conversations: ConversationServiceClient::new(logic.clone()),
            sessions: SessionServiceClient::new(logic.clone()),
            revocations: RevocationServiceClient::new(logic.clone()),
        }
    }
}

type Task = Box<dyn FnOnce(Clients) -> Pin<Box<dyn Future<Output = Mail> + Send>> + Send>;

/// Work, and the shard that gets the mail it ends with.
struct Job {
    shard: usize,
    task: Task,
}

/// A shard's way to the side.
#[derive(Clone)]
pub(crate) struct Side {
    auth: mpsc::Sender<Job>,
    data: mpsc::Sender<Job>,
    retry_after_ms: u64,
}

/// The receiving ends, until the shards and their mailboxes exist.
pub(crate) struct Lanes {
    auth: (mpsc::Receiver<Job>, usize),
    data: (mpsc::Receiver<Job>, usize),
}

impl Side {
    pub(crate) fn new(config: &SideConfig) -> (Side, Lanes) {
        let (auth, auth_jobs) = mpsc::channel(config.auth_queue_max);
        let (data, data_jobs) = mpsc::channel(config.data_queue_max);
        let side = Side { auth, data, retry_after_ms: config.retry_after_ms };
        (side, Lanes { auth: (auth_jobs, config.auth_calls_max), data: (data_jobs, config.data_calls_max) })
    }

    /// Hands work over; refused with 1013 when the lane is full. The mail is posted whatever the shard's mailbox
    /// holds: what is admitted here bounds it.
    pub(crate) fn run<F>(
        &self,
        lane: Lane,
        shard: usize,
        make: impl FnOnce(Clients) -> F + Send + 'static,
    ) -> Result<(), Error>
    where
        F: Future<Output = Mail> + Send + 'static,
    {
        let job = Job { shard, task: Box::new(move |clients| Box::pin(make(clients))) };
        let sender = match lane {
            Lane::Auth => &self.auth,
            Lane::Data => &self.data,
        };
        sender.try_send(job).map_err(|_| {
            Error::new(Code::Overloaded, "the server has too much to do now: try again in a moment")
                .retry_after_ms(self.retry_after_ms)
        })
    }
}

impl Lanes {
    /// Begins to work. It ends when the last [`Side`] is gone.
    pub(crate) fn start(self, runtime: &Handle, clients: &Clients, mailboxes: &Mailboxes<Mail>) {
        for (jobs, calls_max) in [self.auth, self.data] {
            runtime.spawn(lane(jobs, calls_max, clients.clone(), mailboxes.clone()));
        }
    }
}

async fn lane(mut jobs: mpsc::Receiver<Job>, calls_max: usize, clients: Clients, mailboxes: Mailboxes<Mail>) {
    let slots = Arc::new(Semaphore::new(calls_max));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let Some(job) = jobs.recv().await else { return };
        let (clients, mailboxes) = (clients.clone(), mailboxes.clone());
        tokio::spawn(async move {
            let mail = (job.task)(clients).await;
            mailboxes.shard(job.shard).post_reserved(mail);
            drop(slot);
        });
    }
}
