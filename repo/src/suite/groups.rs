//! Groups: who is in, since when, at which version; all changes whole.
use super::*;
use session_change::Kind;

async fn members(bench: &Bench, group_id: u64) -> Vec<GroupMember> {
    let request = GetGroupMembersRequest { group_id, after_user_id: 0, limit: 100 };
    bench.groups.clone().get_group_members(request).await.unwrap().into_inner().members
}

async fn online(bench: &Bench, group_id: u64) -> Vec<(u64, u64)> {
    let request = GetOnlineGroupMembersRequest { group_id, limit: 100, ..Default::default() };
    let answer = bench.groups.clone().get_online_group_members(request).await.unwrap().into_inner();
    answer.members.iter().map(|member| (member.user_id, member.joined_seq)).collect()
}

#[tokio::test]
async fn a_group_begins_with_its_owner_and_members() {
    let bench = open().await;
    let group = bench.group(7, 3, &[2, 1, 2]).await;
    assert_eq!((group.member_count, group.version, group.max_members), (3, 1, 5));
    let members = members(&bench, 7).await;
    let brief: Vec<_> = members.iter().map(|member| (member.user_id, member.role())).collect();
    assert_eq!(brief, [(1, GroupRole::Member), (2, GroupRole::Member), (3, GroupRole::Owner)]);
    assert_eq!((&members[0].username[..], &members[0].display_name[..]), ("User1", "Number 1"));
    let entry = bench.entry(2, "group_7").await;
    assert_eq!((&entry.name[..], entry.unread_count, entry.left), ("Group 7", 0, false));
    let request = GetGroupRequest { group_id: 7 };
    let read = bench.groups.clone().get_group(request).await.unwrap().into_inner().group.unwrap();
    assert_eq!(read, group);
}

#[tokio::test]
async fn who_left_sees_what_was_said_until_then_and_who_returns_sees_what_comes() {
    let bench = open().await;
    bench.group(7, 1, &[2]).await;
    bench.saved(batch("group_7", 1, 0, 3)).await;
    let removed = bench.remove(7, 2).await;
    assert_eq!((removed.removed, removed.version), (true, 2));
    assert!(!bench.remove(7, 2).await.removed);
    bench.saved(batch("group_7", 1, 3, 4)).await;
    let bounds = bench.membership("group_7", 2).await;
    assert_eq!((bounds.joined_seq, bounds.left_seq, bounds.last_seq), (0, Some(3), 7));
    let entry = bench.entry(2, "group_7").await;
    assert_eq!((entry.last_seq, entry.unread_count, entry.left), (3, 3, true));
    assert_eq!(entry.last_message.unwrap().seq_id, 3);
    assert_eq!(bench.mark("group_7", 2, 7).await.read_seq, 3, "not past what he may see");
    let added = bench.add(7, &[2]).await;
    assert_eq!((added.added_user_ids, added.version), (vec![2], 3));
    bench.saved(batch("group_7", 1, 7, 2)).await;
    let bounds = bench.membership("group_7", 2).await;
    assert_eq!((bounds.joined_seq, bounds.left_seq), (7, None));
    let entry = bench.entry(2, "group_7").await;
    assert_eq!((entry.last_seq, entry.unread_count, entry.left), (9, 2, false));
}

#[tokio::test]
async fn adding_is_whole_and_counts_only_who_is_new() {
    let bench = open().await;
    let group = bench.group(7, 1, &[2]).await;
    let same = bench.add(7, &[1, 2]).await;
    assert_eq!((same.added_user_ids.len(), same.version), (0, group.version));
    let added = bench.add(7, &[2, 4, 3, 4]).await;
    assert_eq!((added.added_user_ids, added.version), (vec![3, 4], group.version + 1));
    let request = AddGroupMemberRequest { group_id: 7, user_ids: vec![5, 6] };
    assert_eq!(code(bench.groups.clone().add_group_member(request).await), Code::GroupFull);
    let full = bench.add(7, &[1, 5]).await;
    assert_eq!(full.added_user_ids, [5]);
    assert_eq!(members(&bench, 7).await.len(), 5);
}

#[tokio::test]
async fn what_a_group_may_not_be() {
    let bench = open().await;
    bench.group(7, 1, &[]).await;
    let good =
        Group { group_id: 8, owner_id: 1, group_name: "G".into(), max_members: 3, ..Default::default() };
    let create = |group: Group, member_ids: Vec<u64>| {
        let mut groups = bench.groups.clone();
        async move { groups.create_group(CreateGroupRequest { group: Some(group), member_ids }).await }
    };
    assert_eq!(code(create(good.clone(), vec![2, 99]).await), Code::UserNotFound);
    assert_eq!(code(create(Group { owner_id: 99, ..good.clone() }, vec![]).await), Code::UserNotFound);
    assert_eq!(code(create(good.clone(), vec![2, 3, 4]).await), Code::GroupFull);
    assert_eq!(code(create(Group { group_id: 7, ..good.clone() }, vec![]).await), Code::StaleData);
    assert_eq!(code(create(Group { max_members: 9, ..good.clone() }, vec![]).await), Code::InvalidInput);
    assert_eq!(code(create(Group { max_members: 0, ..good.clone() }, vec![]).await), Code::InvalidInput);
    create(Group { max_members: 8, ..good }, vec![]).await.unwrap();
}

#[tokio::test]
async fn a_user_is_in_so_many_groups_and_no_more() {
    let bench = open().await;
    let most = u64::from(GROUPS_PER_USER_MAX);
    for id in 1..=most {
        bench.group(id, 1, &[2, 3]).await;
    }
    bench.group(10, 4, &[5]).await;
    let add = async |user_ids: &[u64]| {
        let request = AddGroupMemberRequest { group_id: 10, user_ids: user_ids.to_vec() };
        bench.groups.clone().add_group_member(request).await
    };
    let refused = Error::from(add(&[6, 3, 2]).await.unwrap_err());
    assert_eq!(refused.code, Code::TooManyGroups);
    assert_eq!(refused.details.unwrap()["userIds"], serde_json::json!(["2", "3"]));
    assert_eq!(members(&bench, 10).await.len(), 2, "nobody of the call came in");
    let create = |group_id, owner_id, member_ids| {
        let group_name = "G".into();
        let group = Group { group_id, owner_id, group_name, max_members: 5, ..Default::default() };
        let mut groups = bench.groups.clone();
        async move { groups.create_group(CreateGroupRequest { group: Some(group), member_ids }).await }
    };
    assert_eq!(code(create(11, 1, vec![]).await), Code::TooManyGroups);
    assert_eq!(code(create(11, 4, vec![2]).await), Code::TooManyGroups);
    // Who leaves one may come into another; coming again into one's own group changes nothing.
    bench.remove(1, 2).await;
    bench.remove(1, 2).await;
    add(&[2]).await.unwrap();
    add(&[2]).await.unwrap();
    assert_eq!(code(create(11, 2, vec![]).await), Code::TooManyGroups);
    // What was refused left no count behind: the owner of group 10 has room for the rest.
    for id in 0..most - 1 {
        create(20 + id, 4, vec![6]).await.unwrap();
    }
    assert_eq!(code(create(30, 4, vec![]).await), Code::TooManyGroups);
}

#[tokio::test]
async fn an_unknown_group_is_1016_everywhere() {
    let bench = open().await;
    let group_id = 99;
    let mut groups = bench.groups.clone();
    assert_eq!(code(groups.get_group(GetGroupRequest { group_id }).await), Code::GroupNotFound);
    let request = AddGroupMemberRequest { group_id, user_ids: vec![1] };
    assert_eq!(code(groups.add_group_member(request).await), Code::GroupNotFound);
    let request = RemoveGroupMemberRequest { group_id, user_id: 1 };
    assert_eq!(code(groups.remove_group_member(request).await), Code::GroupNotFound);
    let request = GetGroupMembersRequest { group_id, ..Default::default() };
    assert_eq!(code(groups.get_group_members(request).await), Code::GroupNotFound);
    let request = CheckGroupMembersRequest { group_id, user_ids: vec![1] };
    assert_eq!(code(groups.check_group_members(request).await), Code::GroupNotFound);
    let request = GetOnlineGroupMembersRequest { group_id, ..Default::default() };
    assert_eq!(code(groups.get_online_group_members(request).await), Code::GroupNotFound);
}

#[tokio::test]
async fn members_are_checked_at_one_version() {
    let bench = open().await;
    bench.group(7, 1, &[2, 3]).await;
    let check = || {
        let mut groups = bench.groups.clone();
        async move {
            let request = CheckGroupMembersRequest { group_id: 7, user_ids: vec![2, 9, 1] };
            let answer = groups.check_group_members(request).await.unwrap().into_inner();
            let mut ids = answer.member_ids;
            ids.sort_unstable();
            (ids, answer.version)
        }
    };
    assert_eq!(check().await, (vec![1, 2], 1));
    bench.remove(7, 2).await;
    assert_eq!(check().await, (vec![1], 2));
    bench.remove(7, 1).await;
    assert_eq!(check().await, (vec![], 3));
}

#[tokio::test]
async fn who_joined_first_inherits_the_group() {
    let bench = open().await;
    bench.group(7, 1, &[4]).await;
    bench.add(7, &[2]).await;
    bench.remove(7, 1).await;
    let request = GetGroupRequest { group_id: 7 };
    let group = bench.groups.clone().get_group(request).await.unwrap().into_inner().group.unwrap();
    assert_eq!((group.owner_id, group.member_count), (4, 2));
    let members = members(&bench, 7).await;
    let brief: Vec<_> = members.iter().map(|member| (member.user_id, member.role())).collect();
    assert_eq!(brief, [(2, GroupRole::Member), (4, GroupRole::Owner)]);
    bench.remove(7, 4).await;
    bench.remove(7, 2).await;
    let group = bench.groups.clone().get_group(request).await.unwrap().into_inner().group.unwrap();
    assert_eq!(group.member_count, 0);
}

#[tokio::test]
async fn online_members_are_those_with_a_session_and_follow_every_change() {
    let bench = open().await;
    bench.group(7, 1, &[2, 3]).await;
    bench.change_sessions(Kind::Set, &[session(1, "a", 1), session(3, "a", 2), session(5, "a", 3)]).await;
    // Twice: from the database, then from the cache.
    for _ in 0..2 {
        assert_eq!(online(&bench, 7).await, [(1, 0), (3, 0)]);
    }
    bench.saved(batch("group_7", 1, 0, 2)).await;
    bench.add(7, &[5]).await;
    bench.remove(7, 3).await;
    for _ in 0..2 {
        assert_eq!(online(&bench, 7).await, [(1, 0), (5, 2)]);
    }
    // In pages of one scanned member, of whom some are not online.
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let request = GetOnlineGroupMembersRequest {
            group_id: 7,
            after_user_id: after,
            limit: 1,
            ..Default::default()
        };
        let page = bench.groups.clone().get_online_group_members(request).await.unwrap().into_inner();
        found.extend(page.members.iter().map(|member| member.user_id));
        assert_eq!(page.version, 3);
        if !page.has_more {
            break;
        }
        assert!(page.next_after_user_id > after);
        after = page.next_after_user_id;
    }
    assert_eq!(found, [1, 5]);
}

#[tokio::test]
async fn a_large_group_is_walked_in_pages_that_meet_each_member_once() {
    const MEMBERS: u64 = 3_000;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.limits.group_members_max = 5_000;
    let bench = open_configured(folder, config, crate::store::message_key::key_hash).await;
    let users = (1..=MEMBERS + 2).map(user).collect();
    bench.users.clone().create_users(CreateUsersRequest { users }).await.unwrap();
    let group = Group {
        group_id: 7,
        owner_id: 1,
        group_name: "large".into(),
        max_members: 5_000,
        ..Default::default()
    };
    let request = CreateGroupRequest { group: Some(group), member_ids: (1..=MEMBERS).collect() };
    bench.groups.clone().create_group(request).await.unwrap();
    let online = |id: &u64| id.is_multiple_of(7);
    let sessions: Vec<_> = (1..=MEMBERS).filter(online).map(|id| session(id, "phone", id)).collect();
    bench.change_sessions(Kind::Set, &sessions).await;
    let mut groups = bench.groups.clone();
    let of_group = GetOnlineGroupMembersRequest { group_id: 7, ..Default::default() };
    let (mut after, mut met, mut pages) = (0, Vec::new(), 0);
    loop {
        let request = GetOnlineGroupMembersRequest { after_user_id: after, limit: 100, ..of_group };
        let page = groups.get_online_group_members(request).await.unwrap().into_inner();
        assert!(page.members.len() <= 100);
        met.extend(page.members.iter().map(|member| member.user_id));
        pages += 1;
        if !page.has_more {
            break;
        }
        assert!(page.next_after_user_id > after);
        after = page.next_after_user_id;
        // Others come and go behind and before the walk; who stays is met all the same.
        if pages == 10 {
            bench.add(7, &[MEMBERS + 1]).await;
            bench.remove(7, 1).await;
            bench.remove(7, MEMBERS - 1).await;
        }
    }
    assert_eq!(met, (1..=MEMBERS).filter(online).collect::<Vec<_>>());
    assert_eq!(pages, MEMBERS / 100);
    let (mut after, mut met) = (0, Vec::new());
    loop {
        let request = GetGroupMembersRequest { group_id: 7, after_user_id: after, limit: 100 };
        let page = groups.get_group_members(request).await.unwrap().into_inner();
        met.extend(page.members.iter().map(|member| member.user_id));
        if !page.has_more {
            break;
        }
        after = met[met.len() - 1];
    }
    let stayed = (2..=MEMBERS + 1).filter(|id| *id != MEMBERS - 1);
    assert_eq!(met, stayed.collect::<Vec<_>>());
}
