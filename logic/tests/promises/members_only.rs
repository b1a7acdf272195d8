//! Promise: only those who may write to a conversation do, and only those who may read it get its messages. A
//! membership change holds for the very next message.
//!
//! Method: foreign, unknown and missing conversations; a member who is removed while his membership is remembered, and
//! one who is while his message is being saved.
use crate::support::faults::{Door, Fault};
use crate::support::{House, Running};
use gochat_proto::logic::v1::{
    AddGroupMembersRequest, CreateGroupRequest, GetConversationMessagesRequest, RemoveGroupMemberRequest,
};
use gochat_proto::queue::v1::conversation_updated::Change;

async fn group(running: &Running, owner: u64, member_ids: &[u64]) -> (u64, String) {
    let request = CreateGroupRequest {
        user_id: owner,
        name: "Friends".into(),
        member_ids: member_ids.to_vec(),
        ..CreateGroupRequest::default()
    };
    let made = running.conversations().create_group(request).await.unwrap().into_inner();
    (made.group_id, made.conversation_id)
}

#[tokio::test]
async fn who_may_not_write_is_told_why() {
    let house = House::open().await;
    house.seed_users(3).await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    let (_, conversation) = group(&running, 1, &[2]).await;
    house.send(3, "single_1_2", "foreign", "text").await;
    assert_eq!(inbox.rejected("foreign").await, 1002);
    house.send(1, "single_1_999", "nobody", "text").await;
    assert_eq!(inbox.rejected("nobody").await, 1001);
    house.send(1, "group_999", "no-group", "text").await;
    assert_eq!(inbox.rejected("no-group").await, 1004);
    house.send(3, &conversation, "not-a-member", "text").await;
    assert_eq!(inbox.rejected("not-a-member").await, 1002);
    house.send(2, &conversation, "member", "text").await;
    assert_eq!(inbox.stored("member").await.1, 1);
    house.send(3, "world", "anyone", "text").await;
    assert_eq!(inbox.stored("anyone").await.1, 1);
    running.stop().await;
}

#[tokio::test]
async fn a_removed_member_neither_writes_nor_reads_from_then_on() {
    let house = House::open().await;
    house.seed_users(3).await;
    for user in 1..=3 {
        house.connect(user, 0).await;
    }
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    let (group_id, conversation) = group(&running, 1, &[2, 3]).await;
    let update = inbox.updated().await;
    assert_eq!((update.change(), update.user_ids.len()), (Change::Joined, 3));
    house.send(3, &conversation, "m1", "text").await;
    inbox.stored("m1").await;
    assert_eq!(inbox.delivery("m1").await.1, [1, 2, 3]);

    let request = RemoveGroupMemberRequest { user_id: 1, group_id, member_id: 3 };
    running.conversations().remove_group_member(request).await.unwrap();
    let left = inbox.updated().await;
    assert_eq!((left.change(), left.user_ids), (Change::Left, vec![3]));
    let members = inbox.updated().await;
    assert_eq!((members.change(), members.user_ids.len()), (Change::Members, 2));

    house.send(3, &conversation, "m2", "text").await;
    assert_eq!(inbox.rejected("m2").await, 1002);
    house.send(1, &conversation, "m3", "text").await;
    assert_eq!(inbox.stored("m3").await.1, 2);
    assert_eq!(inbox.delivery("m3").await.1, [1, 2]);

    // He still reads what was written while he was a member, and nothing after.
    let request = GetConversationMessagesRequest {
        user_id: 3,
        conversation_id: conversation.clone(),
        ..GetConversationMessagesRequest::default()
    };
    let history = running.conversations().get_conversation_messages(request).await.unwrap().into_inner();
    assert_eq!(history.messages.iter().map(|m| m.seq_id).collect::<Vec<_>>(), [1]);
    running.stop().await;
}

#[tokio::test]
async fn a_change_while_the_save_is_on_its_way_refuses_it_and_the_rules_are_read_again() {
    let house = House::open().await;
    house.seed_users(3).await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    let (group_id, conversation) = group(&running, 1, &[2, 3]).await;
    // Known as members from now on.
    for user in [2, 3] {
        house.send(user, &conversation, &format!("known{user}"), "text").await;
        inbox.stored(&format!("known{user}")).await;
    }
    let door = Door::closed();
    house.faults.plan("SaveMessages", 1, Fault::Hold(door.clone()));
    house.send(3, &conversation, "too-late", "text").await;
    door.arrival().await;
    let request = RemoveGroupMemberRequest { user_id: 1, group_id, member_id: 3 };
    running.conversations().remove_group_member(request).await.unwrap();
    door.open();
    assert_eq!(inbox.rejected("too-late").await, 1002);
    house.send(2, &conversation, "still-in", "text").await;
    assert_eq!(inbox.stored("still-in").await.1, 3);
    assert_eq!(running.metric(r#"logic_pipeline_retries_total{reason="stale-version"}"#), 1.0);
    running.stop().await;
    house.dense(&conversation).await;
}

#[tokio::test]
async fn a_new_member_gets_what_comes_after_he_joined() {
    let house = House::open().await;
    house.seed_users(3).await;
    for user in 1..=3 {
        house.connect(user, 0).await;
    }
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    let (group_id, conversation) = group(&running, 1, &[2]).await;
    house.send(1, &conversation, "m1", "text").await;
    assert_eq!(inbox.delivery("m1").await.1, [1, 2]);
    let request = AddGroupMembersRequest { user_id: 1, group_id, member_ids: vec![3] };
    running.conversations().add_group_members(request).await.unwrap();
    house.send(3, &conversation, "m2", "text").await;
    assert_eq!(inbox.stored("m2").await.1, 2);
    assert_eq!(inbox.delivery("m2").await.1, [1, 2, 3]);
    let request = GetConversationMessagesRequest {
        user_id: 3,
        conversation_id: conversation,
        ..GetConversationMessagesRequest::default()
    };
    let history = running.conversations().get_conversation_messages(request).await.unwrap().into_inner();
    assert_eq!(history.messages.iter().map(|m| m.seq_id).collect::<Vec<_>>(), [2]);
    running.stop().await;
}
