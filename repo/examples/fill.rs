//! Fills a data file with messages and says what a row costs.
//!
//!     cargo run --release -p gochat-repo --example fill -- [rows] [batch] [callers] [folder]
//!
//! Messages of 150 bytes in 10,000 single conversations, whose shares fall with their rank (Zipf, exponent
//! 1), saved through the gRPC face, encode and decode included, with a cache beside. CPU is user and system
//! time of the whole process (with the system's allocator, which the real binary replaces); the wall time is that of durable saves, one after another for each caller.
#![allow(clippy::large_futures, reason = "the lint guards memory per connection; there is none here")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gochat_infra::cache::{Cache, MemoryCache, MemoryCacheConfig};
use gochat_infra::rpc::Client;
use gochat_infra::telemetry::Metrics;
use gochat_proto::common::v1::{Message, MessageType};
use gochat_proto::repo::v1::conversation_repo_client::ConversationRepoClient;
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::*;
use gochat_repo::{Repo, RepoConfig, RepoDeps, SqliteConfig};

const USERS: u64 = 20_000;
const CONVERSATIONS: u64 = USERS / 2;
const STAGE_ROWS: u64 = 50_000;
/// With its seq a message has 150 bytes.
const CONTENT: &str = "Nobody reads this, but it has about the length of what people write to each other: \
                       150 bytes, most of them letters, and none twice in a row. ";

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let rows: u64 = args.next().map_or(Ok(400_000), |arg| arg.parse())?;
    let batch: u64 = args.next().map_or(Ok(500), |arg| arg.parse())?;
    let callers: u64 = args.next().map_or(Ok(1), |arg| arg.parse())?;
    let temporary = tempfile::tempdir()?;
    let folder = args.next().map_or(temporary.path().to_owned(), PathBuf::from);

    let config = RepoConfig {
        sqlite: SqliteConfig { file: folder.join("fill.db"), ..Default::default() },
        ..Default::default()
    };
    let cache = Cache::Memory(MemoryCache::new(&MemoryCacheConfig::default()));
    let repo =
        Repo::open(config, RepoDeps { sessions: cache.clone(), cache, metrics: Metrics::new() }).await?;
    let client = Client::local(repo.routes());
    make_users(&client).await?;

    println!("{rows} rows in batches of {batch} from {callers} caller(s), file in {}", folder.display());
    println!("{:>9} {:>9} {:>8} {:>8} {:>8} {:>9}", "rows", "rows/s", "CPU us", "p50 ms", "p99 ms", "max ms");
    let next_id = Arc::new(AtomicU64::new(1));
    for stage in 0..rows.div_ceil(STAGE_ROWS) {
        let count = STAGE_ROWS.min(rows - stage * STAGE_ROWS);
        let (cpu, wall) = (cpu_time()?, Instant::now());
        let mut tasks = tokio::task::JoinSet::new();
        for caller in 0..callers {
            let filler = Filler::new(&client, caller, callers, stage, next_id.clone());
            tasks.spawn(filler.fill(count / callers, batch));
        }
        let mut took: Vec<Duration> = Vec::new();
        while let Some(done) = tasks.join_next().await {
            took.extend(done?.map_err(|error| error.to_string())?);
        }
        took.sort();
        let (cpu, wall) = (cpu_time()? - cpu, wall.elapsed());
        let ms = |share: f64| took[((took.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        println!(
            "{:>9} {:>9.0} {:>8.1} {:>8.2} {:>8.2} {:>9.2}",
            stage * STAGE_ROWS + count,
            count as f64 / wall.as_secs_f64(),
            cpu.as_secs_f64() * 1e6 / count as f64,
            ms(0.5),
            ms(0.99),
            ms(1.0),
        );
    }
    repo.close().await;
    let size = std::fs::metadata(folder.join("fill.db"))?.len();
    println!("file: {} bytes, {} a row", size, size / rows.max(1));
    Ok(())
}

async fn make_users(client: &Client) -> Result<(), tonic::Status> {
    let mut users = UserRepoClient::new(client.clone());
    for first in (1..=USERS).step_by(5_000) {
        let user = |id: u64| User {
            user_id: id,
            username: format!("user{id}"),
            email: format!("user{id}@example.org"),
            password_hash: "x".into(),
            ..Default::default()
        };
        users.create_users(CreateUsersRequest { users: (first..first + 5_000).map(user).collect() }).await?;
    }
    Ok(())
}

/// One caller with conversations of his own.
struct Filler {
    messages: MessageRepoClient<Client>,
    conversations: ConversationRepoClient<Client>,
    caller: u64,
    callers: u64,
    random: u64,
    last_seqs: std::collections::HashMap<u64, u64>,
    next_id: Arc<AtomicU64>,
}

impl Filler {
    fn new(client: &Client, caller: u64, callers: u64, stage: u64, next_id: Arc<AtomicU64>) -> Self {
        Self {
            messages: MessageRepoClient::new(client.clone()),
            conversations: ConversationRepoClient::new(client.clone()),
            caller,
            callers,
            random: (caller + 1) * 0x9e37_79b9_7f4a_7c15 + stage,
            last_seqs: Default::default(),
            next_id,
        }
    }

    async fn fill(mut self, rows: u64, batch: u64) -> Result<Vec<Duration>, tonic::Status> {
        let mut took = Vec::new();
        let mut left = rows;
        while left > 0 {
            let count = batch.min(left);
            left -= count;
            let conversations = self.batch(count).await?;
            let began = Instant::now();
            let answer =
                self.messages.save_messages(SaveMessagesRequest { conversations }).await?.into_inner();
            took.push(began.elapsed());
            assert!(answer.outcomes().all(|outcome| outcome == SaveOutcome::Saved), "{answer:?}");
        }
        Ok(took)
    }

    async fn batch(&mut self, count: u64) -> Result<Vec<ConversationBatch>, tonic::Status> {
        let mut per_conversation = std::collections::BTreeMap::<u64, u64>::new();
        for _ in 0..count {
            *per_conversation.entry(self.draw()).or_default() += 1;
        }
        let unknown: Vec<u64> =
            per_conversation.keys().copied().filter(|pair| !self.last_seqs.contains_key(pair)).collect();
        let conversation_ids = unknown.iter().copied().map(name).collect();
        let states = self
            .conversations
            .get_conversation_states(GetConversationStatesRequest { conversation_ids })
            .await?;
        let last_seqs = states.into_inner().states.into_iter().map(|state| state.last_seq);
        self.last_seqs.extend(unknown.into_iter().zip(last_seqs));
        let batches = per_conversation.into_iter().map(|(pair, count)| {
            let last = self.last_seqs.entry(pair).or_default();
            let expected_last_seq = *last;
            *last += count;
            let messages = (expected_last_seq + 1..=*last)
                .map(|seq| message(pair, seq, self.next_id.fetch_add(1, Ordering::Relaxed)))
                .collect();
            ConversationBatch {
                conversation_id: name(pair),
                expected_last_seq,
                group_version: None,
                messages,
            }
        });
        Ok(batches.collect())
    }

    /// A conversation of this caller's; low numbers are drawn most.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let share = (self.random >> 11) as f64 / (1u64 << 53) as f64;
        let own = CONVERSATIONS / self.callers;
        let rank = ((own as f64).powf(share) as u64).min(own) - 1;
        // Neighbours in rank are not neighbours in any index.
        rank * 7_919 % own * self.callers + self.caller
    }
}

fn name(pair: u64) -> String {
    format!("single_{}_{}", 2 * pair + 1, 2 * pair + 2)
}

fn message(pair: u64, seq: u64, id: u64) -> Message {
    Message {
        // As wide as real ids, rising with time.
        message_id: (1 << 60) + id,
        conversation_id: name(pair),
        sender_id: 2 * pair + 1 + seq % 2,
        content: format!("{CONTENT}{:09}", seq % 1_000_000_000),
        message_type: MessageType::Text.into(),
        seq_id: seq,
        client_msg_id: format!("{:016x}-{id:08x}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        created_at_ms: 1_800_000_000_000 + id as i64,
    }
}

/// User and system time of this process. Linux counts in hundredths of a second.
fn cpu_time() -> Result<Duration, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string(Path::new("/proc/self/stat"))?;
    let after_name = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let ticks: Result<Vec<u64>, _> = after_name.split_whitespace().skip(11).take(2).map(str::parse).collect();
    Ok(Duration::from_millis(ticks?.iter().sum::<u64>() * 10))
}
