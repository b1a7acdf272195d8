//! Promise: lists, history, heads, read pointers, groups and profiles answer as the protocol says, and those who are
//! online learn of a change at once.
use gochat_infra::errors::{Code, Error};
use gochat_proto::common::v1::Head;
use gochat_proto::logic::v1::{
    AddGroupMembersRequest, CreateGroupRequest, FindUserRequest, GetConversationMessagesRequest,
    GetConversationsRequest, GetGroupMembersRequest, GetHeadsRequest, GetMeRequest, GetProfilesRequest,
    MarkAsReadRequest, RemoveGroupMemberRequest, UpdateMeRequest,
};
use gochat_proto::queue::v1::conversation_updated::Change;
use gochat_proto::repo::v1::GroupType;
use tonic::Status;

use crate::support::{House, Running};

const PAIR: &str = "single_1_2";

fn code(status: Status) -> Code {
    Error::from(status).code
}

fn head(conversation_id: &str, last_seq: u64) -> Head {
    Head { conversation_id: conversation_id.into(), last_seq }
}

async fn say(house: &House, inbox: &mut crate::support::inbox::Inbox, sender: u64, to: &str, key: &str) {
    house.send(sender, to, key, "text").await;
    inbox.stored(key).await;
}

#[tokio::test]
async fn history_is_paged_and_stays_with_those_it_belongs_to() {
    let house = House::open().await;
    house.seed_users(3).await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    for n in 0..5 {
        say(&house, &mut inbox, 1, PAIR, &format!("m{n}")).await;
    }
    let page = async |user_id, after_seq, before_seq, limit| {
        let request = GetConversationMessagesRequest {
            user_id,
            conversation_id: PAIR.into(),
            after_seq,
            before_seq,
            limit,
        };
        let answer = running.conversations().get_conversation_messages(request).await?.into_inner();
        let seqs: Vec<u64> = answer.messages.iter().map(|message| message.seq_id).collect();
        Ok::<_, Status>((seqs, answer.has_more))
    };
    assert_eq!(page(2, Some(0), None, 3).await.unwrap(), (vec![1, 2, 3], true));
    assert_eq!(page(2, Some(3), None, 3).await.unwrap(), (vec![4, 5], false));
    assert_eq!(page(1, None, Some(4), 2).await.unwrap(), (vec![2, 3], true));
    assert_eq!(page(1, None, None, 2).await.unwrap(), (vec![4, 5], true));
    assert_eq!(code(page(3, None, None, 2).await.unwrap_err()), Code::PermissionDenied);
    assert_eq!(code(page(1, Some(1), Some(4), 2).await.unwrap_err()), Code::InvalidInput);
    running.stop().await;
}

#[tokio::test]
async fn the_list_counts_what_is_unread_and_a_receipt_tells_both() {
    let house = House::open().await;
    house.seed_users(2).await;
    house.connect(1, 0).await;
    house.connect(2, 0).await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    for n in 0..3 {
        say(&house, &mut inbox, 1, PAIR, &format!("m{n}")).await;
    }
    let unread = async |user_id| {
        let request = GetConversationsRequest { user_id, ..GetConversationsRequest::default() };
        let list = running.conversations().get_conversations(request).await.unwrap().into_inner();
        let pair = list.conversations.into_iter().find(|entry| entry.conversation_id == PAIR).unwrap();
        (pair.unread_count, pair.last_seq)
    };
    assert_eq!(unread(2).await, (3, 3));
    assert_eq!(unread(1).await, (0, 3), "who wrote has read");
    let mark = async |seq_id| {
        let request = MarkAsReadRequest { user_id: 2, conversation_id: PAIR.into(), seq_id };
        running.conversations().mark_as_read(request).await.unwrap().into_inner().read_seq
    };
    assert_eq!(mark(2).await, 2);
    let mut told = [inbox.receipt().await, inbox.receipt().await];
    told.sort_by_key(|receipt| receipt.user_ids.clone());
    for (receipt, user) in told.iter().zip([1, 2]) {
        assert_eq!((receipt.reader_id, receipt.read_seq), (2, 2));
        assert_eq!((receipt.conversation_id.as_str(), &receipt.user_ids[..]), (PAIR, &[user][..]));
    }
    assert_eq!(unread(2).await, (1, 3));
    assert_eq!(mark(1).await, 2, "it only moves forward");
    let request = MarkAsReadRequest { user_id: 2, conversation_id: "single_1_3".into(), seq_id: 1 };
    let foreign = running.conversations().mark_as_read(request).await.unwrap_err();
    assert_eq!(code(foreign), Code::PermissionDenied);
    running.stop().await;
}

#[tokio::test]
async fn heads_list_what_changed_and_user_0_learns_the_epoch() {
    let house = House::open().await;
    house.seed_users(3).await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    say(&house, &mut inbox, 1, PAIR, "a").await;
    say(&house, &mut inbox, 1, "single_1_3", "b").await;
    say(&house, &mut inbox, 3, "single_1_3", "c").await;
    let heads = async |user_id, known: Vec<Head>| {
        let request = GetHeadsRequest { user_id, known };
        running.conversations().get_heads(request).await.unwrap().into_inner()
    };
    let all = heads(1, vec![]).await;
    assert_eq!(all.changed, [head("single_1_3", 2), head(PAIR, 1)]);
    assert_eq!(heads(1, vec![head("single_1_3", 1), head(PAIR, 1)]).await.changed, [head("single_1_3", 2)]);
    assert!(heads(1, all.changed).await.changed.is_empty());
    let nobody = heads(0, vec![]).await;
    assert_eq!((nobody.epoch, nobody.changed.len()), (all.epoch, 0));
    running.stop().await;
}

async fn create(running: &Running, group_type: GroupType, member_ids: &[u64]) -> Result<u64, Status> {
    let request = CreateGroupRequest {
        user_id: 1,
        name: "Friends".into(),
        member_ids: member_ids.to_vec(),
        group_type: group_type.into(),
        ..CreateGroupRequest::default()
    };
    Ok(running.conversations().create_group(request).await?.into_inner().group_id)
}

async fn member_ids(running: &Running, user_id: u64, group_id: u64) -> Result<Vec<u64>, Status> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let request = GetGroupMembersRequest { user_id, group_id, cursor, limit: 2 };
        let page = running.conversations().get_group_members(request).await?.into_inner();
        all.extend(page.members.iter().map(|member| member.user_id));
        cursor = page.next_cursor;
        if cursor.is_empty() {
            return Ok(all);
        }
    }
}

#[tokio::test]
async fn groups_are_made_joined_and_left_by_those_who_may() {
    let house = House::open().await;
    house.seed_users(5).await;
    house.connect(2, 0).await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    let add = async |user_id, group_id, member_ids: &[u64]| {
        let request = AddGroupMembersRequest { user_id, group_id, member_ids: member_ids.to_vec() };
        running.conversations().add_group_members(request).await.map(drop)
    };
    let remove = async |user_id, group_id, member_id| {
        let request = RemoveGroupMemberRequest { user_id, group_id, member_id };
        running.conversations().remove_group_member(request).await.map(drop)
    };
    let private = create(&running, GroupType::Private, &[2, 2, 1]).await.unwrap();
    let update = inbox.updated().await;
    assert_eq!((update.change(), update.user_ids), (Change::Joined, vec![2]));
    assert_eq!(update.conversation_id, format!("group_{private}"));
    assert_eq!(member_ids(&running, 2, private).await.unwrap(), [1, 2]);
    assert_eq!(code(member_ids(&running, 3, private).await.unwrap_err()), Code::PermissionDenied);

    assert_eq!(code(add(2, private, &[3]).await.unwrap_err()), Code::PermissionDenied);
    assert_eq!(code(add(3, private, &[3]).await.unwrap_err()), Code::PermissionDenied);
    assert_eq!(code(add(1, private, &[3, 999]).await.unwrap_err()), Code::UserNotFound);
    add(1, private, &[3, 4, 5]).await.unwrap();
    let update = inbox.updated().await;
    assert_eq!((update.change(), update.user_ids), (Change::Members, vec![2]));
    assert_eq!(member_ids(&running, 5, private).await.unwrap(), [1, 2, 3, 4, 5]);

    assert_eq!(code(remove(2, private, 3).await.unwrap_err()), Code::PermissionDenied);
    remove(2, private, 2).await.unwrap();
    let update = inbox.updated().await;
    assert_eq!((update.change(), update.user_ids), (Change::Left, vec![2]));
    remove(1, private, 3).await.unwrap();
    assert_eq!(member_ids(&running, 1, private).await.unwrap(), [1, 4, 5]);

    let public = create(&running, GroupType::Public, &[]).await.unwrap();
    add(4, public, &[4]).await.unwrap();
    assert_eq!(member_ids(&running, 4, public).await.unwrap(), [1, 4]);
    assert_eq!(code(add(1, 999, &[2]).await.unwrap_err()), Code::GroupNotFound);
    assert_eq!(code(create(&running, GroupType::Private, &[999]).await.unwrap_err()), Code::UserNotFound);
    let request = CreateGroupRequest {
        user_id: 1,
        name: "Pair".into(),
        member_ids: vec![2, 3],
        max_members: 2,
        ..CreateGroupRequest::default()
    };
    assert_eq!(code(running.conversations().create_group(request).await.unwrap_err()), Code::GroupFull);
    running.stop().await;
}

#[tokio::test]
async fn profiles_show_the_email_only_to_oneself() {
    let house = House::open().await;
    house.seed_users(2).await;
    let running = house.start().await;
    let me = running.users().get_me(GetMeRequest { user_id: 1 }).await.unwrap().into_inner();
    assert_eq!((me.username.as_str(), me.email.as_str()), ("user1", "user1@example.org"));
    let find = FindUserRequest { username: "USER2".into() };
    let found = running.users().find_user(find).await.unwrap().into_inner();
    assert_eq!((found.user_id, found.email.as_str()), (2, ""));
    let missing = FindUserRequest { username: "nobody".into() };
    assert_eq!(code(running.users().find_user(missing).await.unwrap_err()), Code::UserNotFound);
    let update = |display_name: &str| UpdateMeRequest {
        user_id: 1,
        display_name: Some(display_name.into()),
        avatar_url: None,
    };
    let mine = running.users().update_me(update("The First")).await.unwrap().into_inner();
    assert_eq!((mine.display_name.as_str(), mine.email.as_str()), ("The First", "user1@example.org"));
    assert_eq!(code(running.users().update_me(update(" ")).await.unwrap_err()), Code::InvalidInput);
    let request = GetProfilesRequest { user_ids: vec![1, 2, 999] };
    let profiles = running.users().get_profiles(request).await.unwrap().into_inner().profiles;
    assert_eq!(profiles.len(), 2);
    assert!(profiles.iter().all(|profile| profile.email.is_empty()));
    running.stop().await;
}
