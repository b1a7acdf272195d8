//! The tokio side: whatever waits for someone else. A shard hands work over without waiting, and the outcome comes
//! back to it as a mail.

pub(crate) mod calls;

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

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
use prometheus_client::metrics::counter::Counter;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::AbortHandle,
};

use crate::{
    admin::{ByName, Depth},
    config::SideConfig,
    mail::Mail,
    routes::Lane,
};

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

/// What a job takes besides what it carries.
const JOB_BYTES: usize = 1024;

/// Work, and the shard that gets the mail it ends with.
struct Job {
    shard: usize,
    task: Task,
    /// The mail if it panics.
    failed: Box<dyn FnOnce() -> Mail + Send>,
    /// What it holds of the lane's bytes, until it is done.
    bytes: OwnedSemaphorePermit,
}

/// A shard's way to the side.
#[derive(Clone)]
pub(crate) struct Side {
    auth: Entry,
    data: Entry,
    retry_after_ms: u64,
}

/// Where jobs go into a lane.
#[derive(Clone)]
struct Entry {
    jobs: mpsc::Sender<Job>,
    /// One for each byte of requests that wait or are under way.
    bytes: Arc<Semaphore>,
    refused_queue: Counter,
    refused_bytes: Counter,
}

/// The receiving ends, until the shards and their mailboxes exist.
pub(crate) struct Lanes {
    auth: LaneEnd,
    data: LaneEnd,
}

struct LaneEnd {
    jobs: mpsc::Receiver<Job>,
    /// For counting what waits. A sender would keep the lane alive.
    sender: mpsc::WeakSender<Job>,
    /// One for each call that may be under way. An idle lane holds one for the next.
    slots: Arc<Semaphore>,
    /// Calls under way.
    calls: Arc<AtomicUsize>,
}

impl Side {
    pub(crate) fn new(config: &SideConfig, refused: &ByName) -> (Side, Lanes) {
        let lane = |queue_max, calls_max, queue_name, bytes_name| {
            let (sender, jobs) = mpsc::channel(queue_max);
            let slots = Arc::new(Semaphore::new(calls_max));
            let end = LaneEnd { jobs, sender: sender.downgrade(), slots, calls: Arc::default() };
            let counter = |name| refused.get_or_create_owned(&[("reason", name)]);
            let entry = Entry {
                jobs: sender,
                bytes: Arc::new(Semaphore::new(config.lane_max_bytes as usize)),
                refused_queue: counter(queue_name),
                refused_bytes: counter(bytes_name),
            };
            (entry, end)
        };
        let (auth, auth_end) = lane(config.auth_queue_max, config.auth_calls_max, "auth_queue", "auth_bytes");
        let (data, data_end) = lane(config.data_queue_max, config.data_calls_max, "data_queue", "data_bytes");
        let side = Side { auth, data, retry_after_ms: config.retry_after_ms };
        (side, Lanes { auth: auth_end, data: data_end })
    }

    /// Hands work over that holds about so many bytes; refused with 1013 when the lane is full. If it panics, `failed` makes the mail. The mail is
    /// posted whatever the shard's mailbox holds: what is admitted here bounds it.
    pub(crate) fn run<F>(
        &self,
        lane: Lane,
        shard: usize,
        cost_bytes: usize,
        make: impl FnOnce(Clients) -> F + Send + 'static,
        failed: impl FnOnce() -> Mail + Send + 'static,
    ) -> Result<(), Error>
    where
        F: Future<Output = Mail> + Send + 'static,
    {
        // What makes the work may panic, too.
        let task =
            |clients| Box::pin(async move { make(clients).await }) as Pin<Box<dyn Future<Output = _> + Send>>;
        let entry = match lane {
            Lane::Auth => &self.auth,
            Lane::Data => &self.data,
        };
        let cost = u32::try_from(cost_bytes.saturating_add(JOB_BYTES)).unwrap_or(u32::MAX);
        let Ok(bytes) = Arc::clone(&entry.bytes).try_acquire_many_owned(cost) else {
            entry.refused_bytes.inc();
            return Err(self.full());
        };
        let job = Job { shard, task: Box::new(task), failed: Box::new(failed), bytes };
        entry.jobs.try_send(job).map_err(|_| {
            entry.refused_queue.inc();
            self.full()
        })
    }

    fn full(&self) -> Error {
        Error::new(Code::Overloaded, "the server has too much to do now: try again in a moment")
            .retry_after_ms(self.retry_after_ms)
    }
}

impl Lanes {
    /// Begins to work: the lanes of [`Lane::Auth`] and [`Lane::Data`], which end when the last [`Side`] is gone.
    pub(crate) fn start(
        self,
        runtime: &Handle,
        clients: &Clients,
        mailboxes: &Mailboxes<Mail>,
        panics: &Counter,
    ) -> [AbortHandle; 2] {
        [self.auth, self.data].map(|end| {
            runtime.spawn(lane(end, clients.clone(), mailboxes.clone(), panics.clone())).abort_handle()
        })
    }

    /// How many jobs wait and how many calls are under way, for whoever asks.
    pub(crate) fn depths(&self) -> Vec<Depth> {
        let (auth, data) = (&self.auth, &self.data);
        vec![
            Depth::new("side_auth_waiting", waiting(&auth.sender)),
            Depth::new("side_auth_calls", under_way(&auth.calls)),
            Depth::new("side_data_waiting", waiting(&data.sender)),
            Depth::new("side_data_calls", under_way(&data.calls)),
        ]
    }
}

fn waiting(sender: &mpsc::WeakSender<Job>) -> impl Fn() -> usize + Send + Sync + 'static {
    let sender = sender.clone();
    move || sender.upgrade().map_or(0, |sender| sender.max_capacity() - sender.capacity())
}

fn under_way(calls: &Arc<AtomicUsize>) -> impl Fn() -> usize + Send + Sync + 'static {
    let calls = Arc::clone(calls);
    move || calls.load(Ordering::Relaxed)
}

async fn lane(end: LaneEnd, clients: Clients, mailboxes: Mailboxes<Mail>, panics: Counter) {
    let LaneEnd { mut jobs, slots, calls, .. } = end;
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let Some(job) = jobs.recv().await else { return };
        let (clients, mailboxes, panics) = (clients.clone(), mailboxes.clone(), panics.clone());
        let calls = Arc::clone(&calls);
        calls.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let mail = match caught((job.task)(clients)).await {
                Some(mail) => mail,
                None => {
                    panics.inc();
                    (job.failed)()
                }
            };
            mailboxes.shard(job.shard).post_reserved(mail);
            calls.fetch_sub(1, Ordering::Relaxed);
            drop((slot, job.bytes));
        });
    }
}

/// None when the work panics: whoever waits for its answer must get one, and the shard its place back.
async fn caught<T>(mut work: Pin<Box<dyn Future<Output = T> + Send>>) -> Option<T> {
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

/// What is answered for work that panicked; the panic itself is in the log.
pub(crate) fn panicked() -> Error {
    Error::new(Code::Internal, "the work behind an answer panicked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_work_and_nothing_else() {
        let pauses = async |panics: bool| {
            tokio::task::yield_now().await;
            assert!(!panics, "a fault of ours");
            7
        };
        assert_eq!(caught(Box::pin(pauses(false))).await, Some(7));
        assert_eq!(caught(Box::pin(pauses(true))).await, None);
    }
}
