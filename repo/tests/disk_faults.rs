//! Promise: a disk that is full or refuses a write makes saves fail for a while, with 1014, and everything goes on
//! by itself when the disk is mended; a failed fsync ends the process. Either way nothing acknowledged is lost.
//!
//! Each test starts itself once more in a process of its own, on a small disk of its own where that is needed: a
//! tmpfs, or a loop device whose backing file can't grow, so that writes succeed and their fsync doesn't. Where the
//! system forbids these, a line that begins with NOT TESTED says so.
#![allow(clippy::large_futures, reason = "the lint guards memory per connection; a test has one")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gochat_infra::cache::{Cache, MemoryCache, MemoryCacheConfig};
use gochat_infra::errors::{Code, Error};
use gochat_infra::rpc::Client;
use gochat_infra::telemetry::Metrics;
use gochat_proto::common::v1::{Message, MessageType};
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::*;
use gochat_repo::{Repo, RepoConfig, RepoDeps, SqliteConfig};
use rustix::process::{Resource, getrlimit, setrlimit};

const FOLDER: &str = "GOCHAT_DISK_TEST_FOLDER";
const CONVERSATION: &str = "single_1_2";
/// EX_IOERR.
const STATUS_OF_A_FAILED_FSYNC: i32 = 74;

/// A repository in a folder and the last seq that was acknowledged in its one conversation.
struct Store {
    repo: Repo,
    messages: MessageRepoClient<Client>,
    acknowledged: u64,
    file: PathBuf,
}

impl Store {
    async fn open(folder: &Path, fault_fsync_at: u64) -> Store {
        let file = folder.join("gochat.db");
        let sqlite = SqliteConfig { file: file.clone(), fault_fsync_at, ..Default::default() };
        let cache = Cache::Memory(MemoryCache::new(&MemoryCacheConfig::default()));
        let deps = RepoDeps { sessions: cache.clone(), cache, metrics: Metrics::new() };
        let repo = Repo::open(RepoConfig { sqlite, ..Default::default() }, deps).await.unwrap();
        let client = Client::local(repo.routes());
        Store { repo, messages: MessageRepoClient::new(client), acknowledged: 0, file }
    }

    /// As `open`, with the conversation's two users.
    async fn make(folder: &Path, fault_fsync_at: u64) -> Store {
        let store = Store::open(folder, fault_fsync_at).await;
        let user = |id: u64| User {
            user_id: id,
            username: format!("u{id}"),
            email: format!("u{id}@example.org"),
            password_hash: "x".into(),
            ..Default::default()
        };
        let request = CreateUsersRequest { users: vec![user(1), user(2)] };
        UserRepoClient::new(Client::local(store.repo.routes())).create_users(request).await.unwrap();
        store
    }

    /// Saves the next message; its seq is acknowledged when this succeeds.
    async fn save(&mut self) -> Result<(), Error> {
        let seq_id = self.acknowledged + 1;
        let message = Message {
            message_id: seq_id,
            conversation_id: CONVERSATION.into(),
            sender_id: 1,
            content: "x".repeat(5_000),
            message_type: MessageType::Text.into(),
            seq_id,
            client_msg_id: format!("c{seq_id}"),
            created_at_ms: 1,
        };
        let batch = ConversationBatch {
            conversation_id: CONVERSATION.into(),
            expected_last_seq: self.acknowledged,
            group_version: None,
            messages: vec![message],
        };
        let request = SaveMessagesRequest { conversations: vec![batch] };
        let answer = self.messages.save_messages(request).await.map_err(Error::from)?.into_inner();
        assert_eq!(answer.outcomes().collect::<Vec<_>>(), [SaveOutcome::Saved], "seq {seq_id}");
        self.acknowledged = seq_id;
        Ok(())
    }

    /// Saves until so many saves have failed, each in the way that makes the pipeline try again.
    async fn save_until_failing(&mut self, failures: u32) {
        let mut failed = 0;
        while failed < failures {
            if let Err(error) = self.save().await {
                assert_eq!(error.code, Code::Unavailable, "{error:?}");
                failed += 1;
            }
        }
    }

    /// The seqs that are stored.
    async fn seqs(&mut self) -> Vec<u64> {
        let (mut seqs, mut after) = (Vec::new(), 0);
        loop {
            let request = GetConversationMessagesRequest {
                conversation_id: CONVERSATION.into(),
                after_seq: Some(after),
                limit: 1_000,
                ..Default::default()
            };
            let page = self.messages.get_conversation_messages(request).await.unwrap().into_inner();
            seqs.extend(page.messages.iter().map(|message| message.seq_id));
            if !page.has_more {
                return seqs;
            }
            after = *seqs.last().unwrap();
        }
    }

    /// That what was acknowledged, and nothing else, is there now and after a restart.
    async fn holds_what_was_acknowledged(mut self) {
        let acknowledged: Vec<u64> = (1..=self.acknowledged).collect();
        assert_eq!(self.seqs().await, acknowledged);
        self.repo.close().await;
        let mut again = Store::open(self.file.parent().unwrap(), 0).await;
        assert_eq!(again.seqs().await, acknowledged);
        again.acknowledged = self.acknowledged;
        again.save().await.unwrap();
        again.repo.close().await;
    }

    fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.file.with_extension("db-wal")).unwrap().len()
    }
}

/// The folder to work in, in the process that a test has started for its work.
fn own_folder() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

/// Starts this test program for one test, which gets this folder to work in. A write that goes over a limit must fail
/// and not kill, so its signal is ignored.
fn run_again(disk: Option<Disk>, test: &str, folder: &Path) -> Output {
    let start = disk.map_or("exec \"$@\"".to_owned(), |disk| disk.script("exec \"$@\""));
    Command::new("sh")
        .args(["-c", &format!("trap '' XFSZ; {start}"), "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("D", folder)
        .env(FOLDER, folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A small disk that only one process and its children see, so that it goes with them.
#[derive(Clone, Copy)]
struct Disk {
    what: &'static str,
    namespace: &'static str,
    /// Makes it in the folder $D.
    make: &'static str,
}

const SMALL: Disk = Disk {
    what: "a full disk (nobody may mount a tmpfs here)",
    namespace: "unshare -rm",
    make: "mount -t tmpfs -o size=16m tmpfs \"$D\"",
};

/// What is written to `$D/disk` lies on a file that can't grow when the tmpfs around it is full.
const HOLLOW: Disk = Disk {
    what: "an fsync that the kernel fails (nobody may mount a loop device here)",
    namespace: "unshare -m",
    make: "mount -t tmpfs -o size=16m tmpfs \"$D\" && mkdir \"$D/disk\" && truncate -s 64M \"$D/image\" && \
           mkfs.ext4 -q -O ^has_journal \"$D/image\" && mount -o loop \"$D/image\" \"$D/disk\"",
};

impl Disk {
    /// A script that runs another one with the disk there.
    fn script(self, then: &str) -> String {
        format!("exec {} sh -c '{} && {then}' sh \"$@\"", self.namespace, self.make)
    }

    /// Whether this system lets us make it; says so loudly when it doesn't.
    fn works(self, folder: &Path) -> bool {
        let tried = Command::new("sh").args(["-c", &self.script("true")]).env("D", folder).output();
        let reason = match tried {
            Ok(output) if output.status.success() => return true,
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        // Not by eprintln, which a passing test keeps from the reader.
        drop(writeln!(std::io::stderr(), "NOT TESTED: {}: {reason}", self.what));
        false
    }
}

fn succeeded(output: &Output) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
}

/// A file that takes what is left of the disk.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("ballast");
    let mut file = std::fs::File::create(&path).unwrap();
    let piece = vec![1; 4_096];
    while file.write_all(&piece).is_ok() {}
    path
}

#[tokio::test]
async fn a_full_disk_refuses_until_there_is_room() {
    if let Some(folder) = own_folder() {
        let mut store = Store::make(&folder, 0).await;
        for round in 0..3 {
            for _ in 0..20 {
                store.save().await.unwrap();
            }
            let ballast = fill(&folder);
            store.save_until_failing(20).await;
            assert_eq!(store.seqs().await.len() as u64, store.acknowledged, "reads go on in round {round}");
            std::fs::remove_file(ballast).unwrap();
            store.save().await.expect("there is room again");
        }
        // It stops and starts on the full disk, too.
        let ballast = fill(&folder);
        store.save_until_failing(5).await;
        store.repo.close().await;
        let mut again = Store::open(&folder, 0).await;
        again.acknowledged = store.acknowledged;
        assert_eq!(again.seqs().await.len() as u64, again.acknowledged);
        again.save_until_failing(5).await;
        std::fs::remove_file(ballast).unwrap();
        again.save().await.expect("there is room again");
        return again.holds_what_was_acknowledged().await;
    }
    let folder = tempfile::tempdir().unwrap();
    if SMALL.works(folder.path()) {
        let test = "a_full_disk_refuses_until_there_is_room";
        succeeded(&run_again(Some(SMALL), test, folder.path()));
    }
}

#[tokio::test]
async fn a_write_error_refuses_until_writes_work() {
    if let Some(folder) = own_folder() {
        let mut store = Store::make(&folder, 0).await;
        for _ in 0..3 {
            for _ in 0..20 {
                store.save().await.unwrap();
            }
            let before = getrlimit(Resource::Fsize);
            let mut limited = before;
            limited.current = Some(store.log_bytes() + 50_000);
            setrlimit(Resource::Fsize, limited).unwrap();
            store.save_until_failing(20).await;
            setrlimit(Resource::Fsize, before).unwrap();
            store.save().await.expect("writes work again");
        }
        return store.holds_what_was_acknowledged().await;
    }
    let folder = tempfile::tempdir().unwrap();
    succeeded(&run_again(None, "a_write_error_refuses_until_writes_work", folder.path()));
}

/// Says of each save that it was acknowledged, until the process ends.
async fn save_and_say(mut store: Store) -> ! {
    loop {
        match store.save().await {
            Ok(()) => println!("acknowledged {}", store.acknowledged),
            Err(error) => println!("failed: {error}"),
        }
    }
}

/// That the process ended for this reason, and said so, and how far it had acknowledged.
fn ended_by_a_failed_fsync(output: &Output) -> u64 {
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(STATUS_OF_A_FAILED_FSYNC), "{said}\n{errors}");
    assert!(errors.contains("gochat: the store can't go on: fsync of "), "{errors}");
    assert!(!said.contains("failed:"), "nobody is answered after it: {said}");
    let last = said.lines().filter_map(|line| line.strip_prefix("acknowledged ")).next_back();
    last.expect("something was acknowledged before").parse().unwrap()
}

#[tokio::test]
async fn a_failed_fsync_ends_the_process() {
    if let Some(folder) = own_folder() {
        save_and_say(Store::make(&folder, 12).await).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = run_again(None, "a_failed_fsync_ends_the_process", folder.path());
    // The first commit made the users.
    assert_eq!(ended_by_a_failed_fsync(&output), 10);
    let mut store = Store::open(folder.path(), 0).await;
    let seqs = store.seqs().await;
    assert!(seqs == (1..=10).collect::<Vec<_>>() || seqs == (1..=11).collect::<Vec<_>>(), "{seqs:?}");
}

#[tokio::test]
async fn an_fsync_that_the_kernel_fails_ends_the_process() {
    if let Some(folder) = own_folder() {
        let mut store = Store::make(&folder.join("disk"), 0).await;
        for _ in 0..20 {
            store.save().await.unwrap();
        }
        println!("acknowledged {}", store.acknowledged);
        fill(&folder);
        save_and_say(store).await;
    }
    let folder = tempfile::tempdir().unwrap();
    if HOLLOW.works(folder.path()) {
        let test = "an_fsync_that_the_kernel_fails_ends_the_process";
        assert!(ended_by_a_failed_fsync(&run_again(Some(HOLLOW), test, folder.path())) >= 20);
    }
}
