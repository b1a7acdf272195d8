//! What was answered is kept, what failed left nothing, and a file is opened only by a program that knows it.
use super::*;
use crate::metrics::{CacheKind, Looked};

#[tokio::test]
async fn a_transaction_that_fails_leaves_nothing_not_even_in_the_cache() {
    let bench = open().await;
    let faults = bench.repo.service.store.faults();
    faults.fail_commits(1);
    let request =
        SaveMessagesRequest { conversations: vec![batch("single_1_2", 1, 0, 3), batch("world", 1, 0, 1)] };
    assert_eq!(code(bench.messages.clone().save_messages(request).await), Code::Unavailable);
    assert!(!bench.state("single_1_2").await.exists);
    assert_eq!(bench.state("world").await.last_seq, 0);
    assert!(bench.seqs("world").await.is_empty());
    assert_eq!(bench.find(&batch("single_1_2", 1, 0, 3).messages).await, []);
    // The same messages can be saved now: neither ids nor keys nor seqs are spent.
    bench.saved(batch("single_1_2", 1, 0, 3)).await;
    assert_eq!(bench.seqs("single_1_2").await, [1, 2, 3]);
    let hits = bench.repo.service.metrics.cache_reads_of(CacheKind::HotMessages, Looked::Hit);
    assert_eq!(hits, 1, "the page after the save comes from the cache");
}

#[tokio::test]
async fn a_group_that_fails_is_tried_write_by_write() {
    let bench = open().await;
    // The group of eight fails, then the first of its writes does when it is tried alone.
    bench.repo.service.store.faults().fail_commits(2);
    let mut tasks = tokio::task::JoinSet::new();
    for peer in 2..=9u64 {
        let mut messages = bench.messages.clone();
        tasks.spawn(async move {
            let conversations = vec![batch(&format!("single_1_{peer}"), 1, 0, 1)];
            messages.save_messages(SaveMessagesRequest { conversations }).await.is_ok()
        });
    }
    let saved = tasks.join_all().await.into_iter().filter(|saved| *saved).count();
    let mut exist = 0;
    for peer in 2..=9 {
        exist += usize::from(bench.state(&format!("single_1_{peer}")).await.exists);
    }
    assert_eq!(saved, exist, "an answer says what is stored");
    assert!(saved >= 6, "only the writes that failed alone may fail: {saved} of 8");
}

#[tokio::test]
async fn a_change_that_is_refused_leaves_nothing_of_itself() {
    let bench = open().await;
    // One unknown user among three: nobody joins, the version stays.
    let group = bench.group(7, 1, &[2]).await;
    let request = AddGroupMemberRequest { group_id: 7, user_ids: vec![3, 4, 999] };
    assert_eq!(code(bench.groups.clone().add_group_member(request).await), Code::UserNotFound);
    let request = GetGroupRequest { group_id: 7 };
    let now = bench.groups.clone().get_group(request).await.unwrap().into_inner().group.unwrap();
    assert_eq!((now.version, now.member_count), (group.version, 2));
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let bench = open().await;
    bench.saved(batch("single_1_2", 1, 0, 3)).await;
    bench.group(7, 1, &[2, 3]).await;
    bench.mark("single_1_2", 2, 2).await;
    let Bench { repo, folder, .. } = bench;
    repo.close().await;
    let bench = open_in(folder, key_hash).await;
    assert_eq!(bench.seqs("single_1_2").await, [1, 2, 3]);
    assert_eq!(bench.entry(2, "single_1_2").await.unread_count, 1);
    assert_eq!(bench.user(3).await.username, "User3");
    assert!(bench.sessions(&[1]).await.is_empty());
    assert_eq!(bench.find(&batch("single_1_2", 1, 0, 3).messages).await.len(), 3);
    bench.saved(batch("single_1_2", 1, 3, 1)).await;
}

#[tokio::test]
async fn a_closed_repository_says_so() {
    let bench = open().await;
    bench.repo.close().await;
    let request = SaveMessagesRequest { conversations: vec![batch("world", 1, 0, 1)] };
    assert_eq!(code(bench.messages.clone().save_messages(request).await), Code::Unavailable);
    bench.repo.close().await;
}

#[tokio::test]
async fn a_clean_stop_leaves_nothing_in_the_log() {
    let bench = open().await;
    bench.saved(batch("world", 1, 0, 50)).await;
    bench.seqs("world").await;
    let log = bench.folder.path().join("deep/gochat.db-wal");
    assert!(std::fs::metadata(&log).unwrap().len() > 0, "what was written lies in the log first");
    bench.repo.close().await;
    assert!(std::fs::metadata(&log).is_ok_and(|log| log.len() == 0) || !log.exists());
    // The file alone is the store.
    let copy = tempfile::tempdir().unwrap();
    let file = config(&copy).sqlite.file;
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::copy(bench.folder.path().join("deep/gochat.db"), file).unwrap();
    assert_eq!(open_in(copy, key_hash).await.seqs("world").await.len(), 50);
}

#[tokio::test]
async fn a_stop_that_may_not_wait_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.sqlite.close_deadline_ms = 0;
    let repo = Repo::open(config, deps()).await.unwrap();
    let users = UserRepoClient::new(Client::local(repo.routes()));
    users.clone().create_user(CreateUserRequest { user: Some(user(1)) }).await.unwrap();
    repo.close().await;
    assert_eq!(open_in(folder, key_hash).await.user(1).await.username, "User1");
}

#[tokio::test]
async fn nothing_is_written_after_a_failed_fsync() {
    let folder = tempfile::tempdir().unwrap();
    let told = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut config = config(&folder);
    config.sqlite.fault_fsync_at = 2;
    let tell = told.clone();
    // The real handler ends the process; this one comes back.
    let handler = move |reason: &str| tell.lock().unwrap().push(reason.to_owned());
    config.sqlite.on_fatal = gochat_infra::mq::FatalHandler(std::sync::Arc::new(handler));
    let repo = Repo::open(config, deps()).await.unwrap();
    let users = UserRepoClient::new(Client::local(repo.routes()));
    let create = |id| {
        let mut users = users.clone();
        async move { users.create_user(CreateUserRequest { user: Some(user(id)) }).await }
    };
    create(1).await.unwrap();
    for id in 2..=4 {
        assert_eq!(code(create(id).await), Code::Unavailable);
    }
    repo.close().await;
    let told = told.lock().unwrap();
    assert!(told.len() == 1 && told[0].contains("gochat.db-wal"), "{told:?}");
}

#[tokio::test]
async fn a_file_of_the_first_program_is_brought_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let file = config(&folder).sqlite.file;
    crate::store::Store::make_first_schema(&file).await;
    let bench = open_in(folder, key_hash).await;
    let request = AddGroupMemberRequest { group_id: 4, user_ids: vec![1] };
    assert_eq!(code(bench.groups.clone().add_group_member(request.clone()).await), Code::TooManyGroups);
    bench.remove(1, 1).await;
    bench.groups.clone().add_group_member(request).await.unwrap();
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused_in_a_sentence() {
    let bench = open().await;
    bench.repo.close().await;
    bench.repo.service.store.pretend_newer_schema(&bench.folder.path().join("deep/gochat.db")).await;
    let refused = Repo::open(config(&bench.folder), deps()).await.err().unwrap();
    assert!(refused.message.contains("written by a newer gochat"), "{}", refused.message);
    assert!(refused.message.contains("gochat.db"), "{}", refused.message);
}
