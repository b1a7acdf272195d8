//! Every bound of the store and of its calls: what is within it is done, what is beyond has its answer and is counted.
use gochat_proto::repo::v1::revocation_repo_client::RevocationRepoClient;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::task::JoinSet;

use super::*;
use crate::metrics::Refused;

async fn open_limited(change: impl FnOnce(&mut RepoConfig)) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    change(&mut config);
    let bench = open_configured(folder, config, key_hash).await;
    let create = |id| CreateUserRequest { user: Some(user(id)) };
    for id in 1..=4 {
        bench.users.clone().create_user(create(id)).await.unwrap();
    }
    bench
}

/// While this lives the writer waits for its first transaction.
async fn hold_the_writer(bench: &Bench) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(bench.folder.path().join("deep/gochat.db"));
    let mut conn = options.connect().await.unwrap();
    conn.execute("BEGIN IMMEDIATE").await.unwrap();
    conn
}

fn overloaded(refused: tonic::Status) {
    let error = Error::from(refused);
    assert_eq!((error.code, error.retry_after_ms), (Code::Overloaded, Some(7)), "{error:?}");
}

/// A save of one message with so much content.
fn save_of(
    bench: &Bench,
    peer: u64,
    bytes: usize,
) -> impl Future<Output = Result<(), tonic::Status>> + use<> {
    let mut batch = batch(&format!("single_1_{peer}"), 1, 0, 1);
    batch.messages[0].content = "x".repeat(bytes);
    let mut messages = bench.messages.clone();
    async move { messages.save_messages(SaveMessagesRequest { conversations: vec![batch] }).await.map(drop) }
}

/// Waits until so many writes are admitted and not answered.
async fn queued(bench: &Bench, jobs: i64) {
    let wait = async {
        while bench.repo.service.metrics.write_queue().0 != jobs {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.expect("they are admitted");
}

#[tokio::test]
async fn writes_beyond_the_queue_are_refused_with_a_time() {
    let bench = open_limited(|config| {
        config.sqlite.write_queue_jobs = 2;
        config.sqlite.write_group_jobs = 1;
        config.sqlite.retry_after_ms = 7;
    })
    .await;
    let metrics = &bench.repo.service.metrics;
    let held = hold_the_writer(&bench).await;
    let mut calls = JoinSet::new();
    for round in 0..10 {
        for peer in 2..=4 {
            let mut batch = batch(&format!("single_1_{peer}"), 1, 0, 1);
            batch.messages[0].message_id += round;
            let mut messages = bench.messages.clone();
            let request = SaveMessagesRequest { conversations: vec![batch] };
            calls.spawn(async move { messages.save_messages(request).await });
        }
    }
    // Two wait, and one may be under way.
    let mut refused = 0u64;
    while calls.len() > 3 {
        overloaded(calls.join_next().await.unwrap().unwrap().unwrap_err());
        refused += 1;
    }
    drop(held);
    // What became of those that were taken is another matter: on a slow machine the writer waited too long.
    while let Some(done) = calls.join_next().await {
        let status = done.unwrap().err();
        refused += u64::from(status.is_some_and(|status| Error::from(status).code == Code::Overloaded));
    }
    assert!((27..=28).contains(&refused), "{refused} of 30");
    assert_eq!(metrics.writes_refused_of(Refused::QueueJobs), refused);
    assert_eq!((metrics.writes_refused_of(Refused::QueueBytes), metrics.write_queue()), (0, (0, 0)));
}

#[tokio::test]
async fn writes_of_too_many_bytes_are_refused_and_a_large_one_alone_is_taken() {
    let bench = open_limited(|config| {
        config.sqlite.write_queue_bytes = 32 * 1024;
        config.sqlite.retry_after_ms = 7;
    })
    .await;
    let metrics = &bench.repo.service.metrics;
    // Larger than the whole queue, and nothing else waits.
    save_of(&bench, 2, 60_000).await.unwrap();
    let held = hold_the_writer(&bench).await;
    let first = tokio::spawn(save_of(&bench, 3, 20_000));
    queued(&bench, 1).await;
    assert!(metrics.write_queue().1 > 20_000, "{:?}", metrics.write_queue());
    overloaded(save_of(&bench, 4, 20_000).await.unwrap_err());
    overloaded(save_of(&bench, 4, 60_000).await.unwrap_err());
    assert_eq!(metrics.writes_refused_of(Refused::QueueBytes), 2);
    // What still fits is taken.
    let small = tokio::spawn(save_of(&bench, 4, 100));
    queued(&bench, 2).await;
    drop(held);
    // Written or not, on a slow machine the writer waited too long: they were taken, and have left.
    let _ = (first.await.unwrap(), small.await.unwrap());
    assert_eq!((metrics.write_queue(), metrics.writes_refused_of(Refused::QueueJobs)), ((0, 0), 0));
}

#[tokio::test]
async fn a_read_without_a_connection_is_refused_with_a_time() {
    let bench = open_limited(|config| {
        config.sqlite.readers = 1;
        config.sqlite.reader_wait_ms = 300;
        config.sqlite.retry_after_ms = 7;
    })
    .await;
    let metrics = &bench.repo.service.metrics;
    let request = GetConversationStatesRequest { conversation_ids: vec!["world".to_owned()] };
    let lent = bench.repo.service.store.lend_reader().await;
    overloaded(bench.conversations.clone().get_conversation_states(request.clone()).await.unwrap_err());
    assert_eq!(metrics.reads_refused_now(), 1);
    drop(lent);
    bench.conversations.clone().get_conversation_states(request).await.unwrap();
    assert_eq!(metrics.reads_refused_now(), 1);
}

#[tokio::test]
async fn more_failed_removals_than_can_be_remembered_end_the_trust_in_copies() {
    let bench = open_limited(|config| config.cache.pending_removals_max = 1).await;
    let metrics = &bench.repo.service.metrics;
    let hits = || metrics.cache_reads_of(crate::metrics::CacheKind::UserInfo, crate::metrics::Looked::Hit);
    for id in 1..=3 {
        bench.user(id).await;
    }
    bench.memory.set_down(true);
    for (user_id, forgotten) in [(1, 0), (1, 0), (2, 1)] {
        let name = Some(format!("New {user_id}"));
        let request = UpdateUserRequest { user_id, display_name: name, ..Default::default() };
        bench.users.clone().update_user(request).await.unwrap();
        assert_eq!(metrics.cache_distrusted_now(), forgotten);
    }
    bench.memory.set_down(false);
    for (user_id, name) in [(1, "New 1"), (2, "New 2"), (3, "Number 3")] {
        assert_eq!(bench.user(user_id).await.display_name, name);
    }
    assert_eq!(hits(), 0, "any copy may be old");
}

#[tokio::test]
async fn lists_that_are_too_long_are_refused_whole() {
    let bench = open_limited(|config| {
        let limits = &mut config.limits;
        (limits.create_users_max, limits.lookup_max, limits.group_change_max) = (2, 2, 2);
        (limits.session_changes_max, limits.save_messages_max, limits.content_max_bytes) = (2, 2, 10);
    })
    .await;
    let (mut users, mut groups) = (bench.users.clone(), bench.groups.clone());
    let (mut messages, mut conversations) = (bench.messages.clone(), bench.conversations.clone());
    bench.group(1, 1, &[2]).await;
    for count in [2, 3] {
        let fits = count == 2;
        let check = |call: &str, answer: Result<(), tonic::Status>| match answer {
            Ok(()) => assert!(fits, "{call} of {count} was taken"),
            Err(status) => {
                let error = Error::from(status);
                assert!(!fits && error.code == Code::InvalidInput, "{call} of {count}: {error:?}");
            }
        };
        let user_ids: Vec<u64> = (1..=count).collect();
        let new = (1..=count).map(|n| user(100 * count + n)).collect();
        check("CreateUsers", users.create_users(CreateUsersRequest { users: new }).await.map(drop));
        let request = GetUsersRequest { user_ids: user_ids.clone() };
        check("GetUsers", users.get_users(request).await.map(drop));
        let request = GetUserSessionsRequest { user_ids: user_ids.clone() };
        check("GetUserSessions", users.get_user_sessions(request).await.map(drop));
        let change =
            SessionChange { kind: session_change::Kind::Set.into(), session: Some(session(1, "phone", 1)) };
        let request = SetUserSessionRequest { changes: vec![change; count as usize] };
        check("SetUserSession", users.set_user_session(request).await.map(drop));
        let request = CheckGroupMembersRequest { group_id: 1, user_ids: user_ids.clone() };
        check("CheckGroupMembers", groups.check_group_members(request).await.map(drop));
        let request = AddGroupMemberRequest { group_id: 1, user_ids: user_ids.clone() };
        check("AddGroupMember", groups.add_group_member(request).await.map(drop));
        let group =
            Group { group_id: 10, owner_id: 1, max_members: 5, group_name: "g".into(), ..Default::default() };
        let request = CreateGroupRequest { group: Some(group), member_ids: user_ids.clone() };
        check("CreateGroup", groups.create_group(request).await.map(drop));
        let conversation_ids = vec!["world".to_owned(); count as usize];
        let request = GetConversationStatesRequest { conversation_ids };
        check("GetConversationStates", conversations.get_conversation_states(request).await.map(drop));
        let request = GetMessagesRequest { message_ids: user_ids.clone() };
        check("GetMessages", messages.get_messages(request).await.map(drop));
        let key = ClientKey { conversation_id: "world".into(), sender_id: 1, client_msg_id: "k".into() };
        let request = FindMessagesRequest { keys: vec![key; count as usize] };
        check("FindMessages", messages.find_messages(request).await.map(drop));
        let mut batch = batch("single_1_2", 1, 0, count);
        batch.messages.iter_mut().for_each(|message| message.content.clear());
        let request = SaveMessagesRequest { conversations: vec![batch] };
        check("SaveMessages", messages.save_messages(request).await.map(drop));
    }
    save_of(&bench, 3, 10).await.unwrap();
    let refused = Error::from(save_of(&bench, 4, 11).await.unwrap_err());
    assert_eq!(refused.code, Code::InvalidInput);
}

#[tokio::test]
async fn pages_and_purges_are_lowered_to_their_bounds() {
    let bench = open_limited(|config| {
        let limits = &mut config.limits;
        (limits.page_default, limits.page_max, limits.purge_max) = (2, 3, 1);
    })
    .await;
    bench.saved(batch("world", 1, 0, 5)).await;
    for (limit, expect) in [(0, 2), (1, 1), (3, 3), (4, 3), (u32::MAX, 3)] {
        let request = GetConversationMessagesRequest {
            conversation_id: "world".into(),
            after_seq: Some(0),
            limit,
            ..Default::default()
        };
        let (seqs, has_more) = bench.page(request).await;
        assert_eq!((seqs.len(), has_more), (expect, true), "limit {limit}");
    }
    for name in 1..=2 {
        tokens::create(&bench, name, name.into(), 1, "phone").await;
    }
    let request = PurgeRefreshTokensRequest { expired_before_ms: i64::MAX, limit: u32::MAX };
    let purged = bench.users.clone().purge_refresh_tokens(request).await.unwrap().into_inner().deleted;
    assert_eq!(purged, 1);
    let mut revocations = RevocationRepoClient::new(bench.client.clone());
    for _ in 0..2 {
        revocations.revoke(super::revocations::of_user(1)).await.unwrap();
    }
    let request = PurgeRevocationsRequest { expired_before_ms: i64::MAX, limit: u32::MAX };
    assert_eq!(revocations.purge_revocations(request).await.unwrap().into_inner().deleted, 1);
}

#[tokio::test]
async fn members_of_a_group_over_the_bound_are_not_kept() {
    let bench = open_limited(|config| config.cache.group_members_cached_max = 2).await;
    let cache = Cache::Memory(bench.memory.clone());
    for (group_id, members, kept) in [(1, vec![2], true), (2, vec![2, 3], false)] {
        bench.group(group_id, 1, &members).await;
        let request = GetOnlineGroupMembersRequest { group_id, ..Default::default() };
        for _ in 0..2 {
            bench.groups.clone().get_online_group_members(request).await.unwrap();
        }
        assert_eq!(cache.del(&format!("group_members:{group_id}")).await.unwrap(), kept, "group {group_id}");
    }
}
