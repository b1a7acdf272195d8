//! The cache is a copy: never believed when it may be old, and not needed for anything but sessions.
use super::*;
use crate::metrics::{CacheKind, Looked};

async fn rename(bench: &Bench, user_id: u64, name: &str) {
    let request = UpdateUserRequest { user_id, display_name: Some(name.into()), ..Default::default() };
    bench.users.clone().update_user(request).await.unwrap();
}

#[tokio::test]
async fn a_user_is_read_from_the_cache_until_he_changes() {
    let bench = open().await;
    let metrics = &bench.repo.service.metrics;
    let hits = || metrics.cache_reads_of(CacheKind::UserInfo, Looked::Hit);
    let first = bench.user(1).await;
    assert_eq!(hits(), 0);
    assert_eq!(bench.user(1).await, first);
    assert_eq!(hits(), 1);
    rename(&bench, 1, "One").await;
    assert_eq!(bench.user(1).await.display_name, "One");
    assert_eq!(bench.user(1).await.display_name, "One");
    assert_eq!(hits(), 2);
}

#[tokio::test]
async fn a_reader_that_races_with_an_update_leaves_nothing_old() {
    let bench = open().await;
    // The reader reads the row, the update comes with its removal, then the reader fills the cache.
    let service = &bench.repo.service;
    let read = service.store.users(&[1, 2]).await.unwrap();
    rename(&bench, 1, "One").await;
    service.keep_users(&read).await;
    assert_eq!(bench.user(1).await.display_name, "One");
    let hits = service.metrics.cache_reads_of(CacheKind::UserInfo, Looked::Hit);
    assert_eq!(bench.user(2).await.display_name, "Number 2");
    let more = service.metrics.cache_reads_of(CacheKind::UserInfo, Looked::Hit);
    assert_eq!(more, hits + 1, "what is not old stays");
}

#[tokio::test]
async fn an_update_while_the_cache_is_down_is_seen_when_it_is_back() {
    let bench = open().await;
    bench.user(1).await;
    bench.user(2).await;
    bench.memory.set_down(true);
    rename(&bench, 1, "One").await;
    assert_eq!(bench.user(1).await.display_name, "One", "from the database");
    bench.memory.set_down(false);
    // The copy from before is still in the cache: it must be removed before it is believed.
    assert_eq!(bench.user(2).await.display_name, "Number 2");
    assert_eq!(bench.user(1).await.display_name, "One");
}

#[tokio::test]
async fn an_update_whose_caller_gives_up_leaves_nothing_old() {
    let bench = open().await;
    bench.user(1).await;
    // Polled once, so the call is under way, and then dropped.
    tokio::select! {
        biased;
        () = rename(&bench, 1, "One") => panic!("a durable write takes more than one poll"),
        () = std::future::ready(()) => {}
    }
    // Writes are done in the order in which they came.
    rename(&bench, 2, "Two").await;
    assert_eq!(bench.user(1).await.display_name, "One");
}

#[tokio::test]
async fn password_hashes_stay_out_of_the_cache() {
    let bench = open().await;
    bench.user(1).await;
    let kept = Cache::Memory(bench.memory.clone()).get("user_info:1").await.unwrap().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&kept).unwrap();
    assert_eq!(json["username"], "User1");
    assert!(!String::from_utf8_lossy(&kept).contains("hash1"));
}

#[tokio::test]
async fn without_caches_everything_but_sessions_works() {
    let bench = open().await;
    bench.memory.set_down(true);
    bench.sessions.set_down(true);
    bench.saved(batch("single_1_2", 1, 0, 3)).await;
    assert_eq!(bench.seqs("single_1_2").await, [1, 2, 3]);
    assert_eq!(bench.user(1).await.username, "User1");
    bench.group(7, 1, &[2]).await;
    bench.add(7, &[3]).await;
    bench.remove(7, 2).await;
    bench.mark("single_1_2", 2, 3).await;
    assert_eq!(bench.list(2).await.len(), 3);
    rename(&bench, 1, "One").await;
    let failures = bench.repo.service.metrics.cache_write_failures_of(CacheKind::HotMessages);
    assert!(failures >= 1);
    let request = GetUserSessionRequest { user_id: 1 };
    assert_eq!(code(bench.users.clone().get_user_session(request).await), Code::Unavailable);
    let set = SessionChange { kind: session_change::Kind::Set.into(), session: Some(session(1, "phone", 1)) };
    let request = SetUserSessionRequest { changes: vec![set] };
    assert_eq!(code(bench.users.clone().set_user_session(request).await), Code::Unavailable);
    let request = GetOnlineGroupMembersRequest { group_id: 7, ..Default::default() };
    assert_eq!(code(bench.groups.clone().get_online_group_members(request).await), Code::Unavailable);
}

#[tokio::test]
async fn a_hot_page_with_a_hole_is_read_from_the_database() {
    let bench = open().await;
    bench.saved(batch("world", 1, 0, 5)).await;
    // One save's copy is lost: its hole must not be answered as if the messages were not there.
    bench.memory.set_down(true);
    bench.saved(batch("world", 1, 5, 2)).await;
    bench.memory.set_down(false);
    bench.saved(batch("world", 1, 7, 2)).await;
    assert_eq!(bench.seqs("world").await, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let hits = || bench.repo.service.metrics.cache_reads_of(CacheKind::HotMessages, Looked::Hit);
    assert_eq!(hits(), 0);
    // The page that was read has filled the hole.
    assert_eq!(bench.seqs("world").await.len(), 9);
    assert_eq!(hits(), 1);
    bench.memory.set_down(true);
    bench.saved(batch("world", 1, 9, 1)).await;
    bench.memory.set_down(false);
    // The end is said by the database, not by the cache.
    assert_eq!(bench.seqs("world").await.len(), 10);
    assert_eq!(hits(), 1);
}

#[tokio::test]
async fn a_value_that_cannot_be_read_is_a_miss() {
    let bench = open().await;
    let ttl = std::time::Duration::from_secs(60);
    let cache = Cache::Memory(bench.memory.clone());
    cache.set("user_info:1", "not json".into(), ttl).await.unwrap();
    assert_eq!(bench.user(1).await.username, "User1");
    assert_eq!(bench.user(1).await.username, "User1");
}

#[tokio::test]
async fn older_history_is_answered_without_the_database() {
    let bench = open().await;
    bench.saved(batch("world", 1, 0, 50)).await;
    let of_conv_seq = |looked| bench.repo.service.metrics.cache_reads_of(CacheKind::ConvSeq, looked);
    let of_hot = || bench.repo.service.metrics.cache_reads_of(CacheKind::HotMessages, Looked::Hit);
    let ask =
        GetConversationMessagesRequest { conversation_id: "world".into(), limit: 10, ..Default::default() };
    let before = GetConversationMessagesRequest { before_seq: Some(21), ..ask.clone() };
    let after = GetConversationMessagesRequest { after_seq: Some(20), ..ask.clone() };
    // Nobody reads while the database is closed, so what is answered then comes from the cache alone.
    bench.repo.close().await;
    assert_eq!(bench.page(before).await, ((11..=20).collect(), true));
    assert_eq!(bench.page(after.clone()).await, ((21..=30).collect(), true));
    assert_eq!((of_conv_seq(Looked::Hit), of_hot()), (2, 2));
    // Where a conversation ends is not for the cache to say.
    let at_the_end = GetConversationMessagesRequest { after_seq: Some(40), ..after };
    for request in [ask, at_the_end] {
        let refused = bench.messages.clone().get_conversation_messages(request).await;
        assert_eq!(code(refused), Code::Unavailable);
    }
}

#[tokio::test]
async fn a_last_seq_that_was_not_kept_hides_nothing() {
    let bench = open().await;
    bench.saved(batch("world", 1, 0, 5)).await;
    bench.memory.set_down(true);
    bench.saved(batch("world", 1, 5, 4)).await;
    bench.memory.set_down(false);
    assert_eq!(bench.seqs("world").await, (1..=9).collect::<Vec<_>>());
    let cache = Cache::Memory(bench.memory.clone());
    assert_eq!(cache.get("conv_seq:world").await.unwrap().unwrap(), "5");
    let state = bench.state("world").await;
    assert_eq!((state.last_seq, bench.membership("world", 2).await.last_seq), (9, 9));
    // The next save's number comes from the database, and mends the copy.
    bench.saved(batch("world", 1, 9, 1)).await;
    assert_eq!(cache.get("conv_seq:world").await.unwrap().unwrap(), "10");
}

#[tokio::test]
async fn last_seqs_take_a_bounded_part_of_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.cache.conv_seq_max = 2;
    let bench = open_configured(folder, config, key_hash).await;
    let users = (1..=5).map(user).collect();
    bench.users.clone().create_users(CreateUsersRequest { users }).await.unwrap();
    for (conversation, last) in [("single_1_2", 0), ("single_1_3", 0), ("single_1_2", 1), ("single_1_4", 0)] {
        bench.saved(batch(conversation, 1, last, 1)).await;
    }
    let cache = Cache::Memory(bench.memory.clone());
    let kept = async |name: &str| cache.get(&format!("conv_seq:{name}")).await.unwrap();
    assert_eq!(kept("single_1_2").await, None, "the oldest went");
    assert_eq!(
        (kept("single_1_3").await.unwrap(), kept("single_1_4").await.unwrap()),
        ("1".into(), "1".into())
    );
}

#[tokio::test]
async fn every_kind_of_key_has_its_name() {
    let bench = open().await;
    bench.user(1).await;
    bench.group(7, 1, &[2]).await;
    bench.saved(batch("group_7", 1, 0, 1)).await;
    bench.change_sessions(session_change::Kind::Set, &[session(1, "phone", 1)]).await;
    let request = GetOnlineGroupMembersRequest { group_id: 7, ..Default::default() };
    bench.groups.clone().get_online_group_members(request).await.unwrap();
    let cache = Cache::Memory(bench.memory.clone());
    for key in ["user_info:1", "hot_messages:group_7", "conv_seq:group_7", "group_members:7"] {
        assert!(cache.del(key).await.unwrap(), "{key}");
    }
    let sessions = Cache::Memory(bench.sessions.clone());
    assert!(sessions.del("user_session:1").await.unwrap());
    let lives = crate::CacheConfig::default();
    assert_eq!((lives.user_info_ttl_s, lives.user_session_ttl_s), (24 * 3600, 30 * 60));
    assert_eq!((lives.hot_messages_ttl_s, lives.hot_messages_max), (7 * 24 * 3600, 300));
}
