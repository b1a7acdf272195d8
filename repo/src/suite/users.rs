//! Users: unique whatever their case, read with and without the hash, all or nothing in bulk; sessions tied
//! to the connection that made them.
use super::*;
use session_change::Kind;

#[tokio::test]
async fn a_user_is_made_and_found() {
    let bench = open().await;
    let new = User { avatar_url: "/a.png".into(), ..user(20) };
    let request = CreateUserRequest { user: Some(new.clone()) };
    let made = bench.users.clone().create_user(request).await.unwrap().into_inner().user.unwrap();
    assert_eq!(made.password_hash, "");
    assert_eq!((made.created_at_ms, made.status()), (T0, UserStatus::Active));
    let request = GetUserByUsernameRequest { username: "uSER20".into() };
    let found = bench.users.clone().get_user_by_username(request).await.unwrap().into_inner().user.unwrap();
    assert_eq!(found.password_hash, "hash20");
    assert_eq!(User { password_hash: String::new(), ..found }, made);
    assert_eq!(bench.user(20).await, made);
    let request = GetUserRequest { user_id: 20, with_password_hash: true };
    let with_hash = bench.users.clone().get_user(request).await.unwrap().into_inner().user.unwrap();
    assert_eq!(with_hash.password_hash, "hash20");
}

#[tokio::test]
async fn names_and_addresses_are_taken_whatever_their_case() {
    let bench = open().await;
    let create = |user: User| {
        let mut users = bench.users.clone();
        async move { users.create_user(CreateUserRequest { user: Some(user) }).await }
    };
    assert_eq!(code(create(User { username: "USER1".into(), ..user(20) }).await), Code::UsernameTaken);
    assert_eq!(code(create(User { email: "uSer1@Example.org".into(), ..user(20) }).await), Code::EmailTaken);
    assert_eq!(code(create(User { user_id: 1, ..user(20) }).await), Code::StaleData);
    create(User { email: "ÄRGER@example.org".into(), ..user(21) }).await.unwrap();
    let lower = User { email: "ärger@example.org".into(), ..user(22) };
    assert_eq!(code(create(lower).await), Code::EmailTaken);
    create(user(20)).await.unwrap();
}

#[tokio::test]
async fn many_users_are_made_all_or_none() {
    let bench = open().await;
    let mut users: Vec<User> = (100..700).map(user).collect();
    users[599].username = "user5".into();
    let request = CreateUsersRequest { users: users.clone() };
    assert_eq!(code(bench.users.clone().create_users(request).await), Code::UsernameTaken);
    let ids: Vec<u64> = (100..700).collect();
    let get = || {
        let (mut users, user_ids) = (bench.users.clone(), ids.clone());
        async move { users.get_users(GetUsersRequest { user_ids }).await.unwrap().into_inner().users }
    };
    assert_eq!(get().await.len(), 0);
    users[599] = user(699);
    users[1].username = users[0].username.to_lowercase();
    let request = CreateUsersRequest { users: users.clone() };
    assert_eq!(code(bench.users.clone().create_users(request).await), Code::UsernameTaken);
    users[1] = user(101);
    bench.users.clone().create_users(CreateUsersRequest { users }).await.unwrap();
    assert_eq!(get().await.len(), 600);
    assert_eq!(bench.membership("world", 699).await.joined_seq, 0);
}

#[tokio::test]
async fn unknown_users_are_named_or_absent() {
    let bench = open().await;
    let request = GetUserRequest { user_id: 99, with_password_hash: false };
    assert_eq!(code(bench.users.clone().get_user(request).await), Code::UserNotFound);
    let request = GetUserRequest { user_id: 99, with_password_hash: true };
    assert_eq!(code(bench.users.clone().get_user(request).await), Code::UserNotFound);
    let request = GetUserByUsernameRequest { username: "nobody".into() };
    assert_eq!(code(bench.users.clone().get_user_by_username(request).await), Code::UserNotFound);
    let request = GetUsersRequest { user_ids: vec![1, 99, 2] };
    let users = bench.users.clone().get_users(request).await.unwrap().into_inner().users;
    let mut ids: Vec<u64> = users.iter().map(|user| user.user_id).collect();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]);
    assert!(users.iter().all(|user| user.password_hash.is_empty()));
    let request = UpdateUserRequest { user_id: 99, ..Default::default() };
    assert_eq!(code(bench.users.clone().update_user(request).await), Code::UserNotFound);
}

#[tokio::test]
async fn an_update_changes_what_it_names() {
    let bench = open().await;
    let before = bench.user(1).await;
    let request = UpdateUserRequest {
        user_id: 1,
        display_name: Some("One".into()),
        password_hash: Some("new".into()),
        status: Some(UserStatus::Banned.into()),
        ..Default::default()
    };
    bench.users.clone().update_user(request).await.unwrap();
    let request = GetUserRequest { user_id: 1, with_password_hash: true };
    let after = bench.users.clone().get_user(request).await.unwrap().into_inner().user.unwrap();
    assert_eq!((&after.display_name[..], &after.password_hash[..]), ("One", "new"));
    assert_eq!(after.status(), UserStatus::Banned);
    assert_eq!((&after.username, &after.email), (&before.username, &before.email));
    let email =
        |email: &str| UpdateUserRequest { user_id: 1, email: Some(email.into()), ..Default::default() };
    let taken = bench.users.clone().update_user(email("USER2@example.org")).await;
    assert_eq!(code(taken), Code::EmailTaken);
    bench.users.clone().update_user(email("USER1@EXAMPLE.org")).await.unwrap();
    assert_eq!(bench.user(1).await.email, "USER1@EXAMPLE.org");
}

#[tokio::test]
async fn a_session_is_changed_only_by_its_own_connection() {
    let bench = open().await;
    let (phone, desk) = (session(1, "phone", 10), session(1, "desk", 11));
    bench.change_sessions(Kind::Set, &[phone.clone(), desk.clone(), session(2, "phone", 12)]).await;
    assert_eq!(bench.sessions(&[1, 2, 3]).await.len(), 3);
    // The phone connects anew; then the old connection's late refresh and disconnect arrive.
    let anew = session(1, "phone", 20);
    bench.change_sessions(Kind::Set, std::slice::from_ref(&anew)).await;
    let late = Session { last_seen_ms: 5, ..phone.clone() };
    bench.change_sessions(Kind::Refresh, &[late]).await;
    bench.change_sessions(Kind::Delete, &[phone]).await;
    let other_gateway = Session { gateway_instance: "g2".into(), ..anew.clone() };
    bench.change_sessions(Kind::Delete, &[other_gateway]).await;
    let request = GetUserSessionRequest { user_id: 1 };
    let mut sessions = bench.users.clone().get_user_session(request).await.unwrap().into_inner().sessions;
    sessions.sort_by_key(|session| session.connection_id);
    assert_eq!(sessions, [desk.clone(), anew.clone()]);
    let seen = Session { last_seen_ms: 7, ..anew.clone() };
    bench.change_sessions(Kind::Refresh, std::slice::from_ref(&seen)).await;
    bench.change_sessions(Kind::Delete, &[desk]).await;
    assert_eq!(bench.sessions(&[1]).await, [seen]);
    // A session that expired is not answered.
    bench.change_sessions(Kind::Set, &[Session { expires_at_ms: 1, ..anew }]).await;
    assert!(bench.sessions(&[1]).await.is_empty());
}

#[tokio::test]
async fn a_session_that_expired_is_not_answered_though_another_device_keeps_its_key() {
    let bench = open().await;
    bench.group(7, 1, &[2, 3]).await;
    let ended = |user_id, device: &str| Session { expires_at_ms: 1, ..session(user_id, device, 9) };
    let desk = session(2, "desk", 11);
    bench.change_sessions(Kind::Set, &[ended(2, "phone"), desk.clone(), ended(3, "phone")]).await;
    assert_eq!(bench.sessions(&[2, 3]).await, std::slice::from_ref(&desk));
    let request = GetUserSessionRequest { user_id: 2 };
    let one = bench.users.clone().get_user_session(request).await.unwrap().into_inner().sessions;
    assert_eq!(one, std::slice::from_ref(&desk));
    let request = GetOnlineGroupMembersRequest { group_id: 7, ..Default::default() };
    let online = bench.groups.clone().get_online_group_members(request).await.unwrap().into_inner().members;
    let online: Vec<_> = online.into_iter().map(|member| (member.user_id, member.sessions)).collect();
    assert_eq!(online, [(2, vec![desk])]);
}

#[tokio::test]
async fn a_flood_of_messages_drives_no_session_out() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let tiny = MemoryCacheConfig { max_entries: 16, max_bytes: 1 << 20 };
    let bench = open_cached(folder, config, &tiny, key_hash).await;
    let users = (1..=USERS).map(user).collect();
    bench.users.clone().create_users(CreateUsersRequest { users }).await.unwrap();
    let sessions: Vec<_> = (1..=USERS).map(|id| session(id, "phone", id)).collect();
    bench.change_sessions(Kind::Set, &sessions).await;
    // One pair for each sum, from which the messages' ids are made.
    for sum in 3..2 * USERS {
        let low = sum.saturating_sub(USERS).max(1);
        bench.saved(batch(&format!("single_{low}_{}", sum - low), low, 0, 3)).await;
    }
    assert!(bench.memory.evicted() > 0, "the cache is full");
    let ids: Vec<_> = (1..=USERS).collect();
    assert_eq!(bench.sessions(&ids).await, sessions);
}

#[tokio::test]
async fn a_lost_session_comes_back_with_its_next_refresh() {
    let bench = open().await;
    let (phone, desk) = (session(1, "phone", 10), session(1, "desk", 11));
    bench.change_sessions(Kind::Refresh, std::slice::from_ref(&phone)).await;
    assert_eq!(bench.sessions(&[1]).await, std::slice::from_ref(&phone), "the user had none");
    bench.change_sessions(Kind::Refresh, std::slice::from_ref(&desk)).await;
    assert_eq!(bench.sessions(&[1]).await.len(), 2, "he had that of another device");
    // What came back is its connection's as before: no other one's refresh or end changes it.
    let other = session(1, "phone", 20);
    bench.change_sessions(Kind::Refresh, std::slice::from_ref(&other)).await;
    bench.change_sessions(Kind::Delete, &[other, desk]).await;
    assert_eq!(bench.sessions(&[1]).await, [phone]);
}
