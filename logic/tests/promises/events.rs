//! Promise: what happens to accounts, groups and, if switched on, messages is told after it was stored. Telling never
//! fails what it tells of; what could not be told is counted.
//!
//! Method: the topics of events, once with and once without messages; and a queue that has none of the topics.
use gochat_proto::logic::v1::{
    AddGroupMembersRequest, CreateGroupRequest, RemoveGroupMemberRequest, UpdateMeRequest,
};
use gochat_proto::queue::v1::group_event::Kind;
use gochat_proto::queue::v1::{GroupEvent, MessageEvent, UserEvent, user_event};
use gochat_proto::topics;

use crate::support::House;

#[tokio::test]
async fn members_and_profiles_are_told() {
    let house = House::open().await;
    house.seed_users(3).await;
    let running = house.start().await;
    let (mut groups, mut users) =
        (house.events::<GroupEvent>(topics::EVENTS_GROUP), house.events::<UserEvent>(topics::EVENTS_USER));
    let create =
        CreateGroupRequest { user_id: 1, name: "Friends".into(), member_ids: vec![2], ..Default::default() };
    let group_id = running.conversations().create_group(create).await.unwrap().into_inner().group_id;
    let add = AddGroupMembersRequest { user_id: 1, group_id, member_ids: vec![2, 3] };
    running.conversations().add_group_members(add.clone()).await.unwrap();
    // Nobody new, nothing to tell.
    running.conversations().add_group_members(add).await.unwrap();
    let remove = RemoveGroupMemberRequest { user_id: 2, group_id, member_id: 2 };
    running.conversations().remove_group_member(remove).await.unwrap();
    let mut versions = Vec::new();
    for (kind, expect) in [(Kind::Created, vec![1, 2]), (Kind::Joined, vec![3]), (Kind::Left, vec![2])] {
        let mut event = groups.next().await;
        event.user_ids.sort_unstable();
        assert_eq!((event.kind(), event.group_id, event.user_ids), (kind, group_id, expect));
        versions.push(event.version);
    }
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");

    let update = UpdateMeRequest { user_id: 3, display_name: Some("Cleo".into()), avatar_url: None };
    running.users().update_me(update).await.unwrap();
    let event = users.next().await;
    assert_eq!((event.kind(), event.user_id), (user_event::Kind::Profile, 3));
    running.stop().await;
}

#[tokio::test]
async fn messages_are_told_only_when_switched_on() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let mut events = house.events::<MessageEvent>(topics::EVENTS_MESSAGE);
    let running = house.start().await;
    house.send(1, "single_1_2", "untold", "hi").await;
    inbox.stored("untold").await;
    running.stop().await;

    let mut config = house.config();
    config.events.messages = true;
    let running = house.start_with(config, house.ids.clone()).await;
    house.send(1, "single_1_2", "told", "hi").await;
    let (message_id, seq_id) = inbox.stored("told").await;
    let told = events.next().await.message.unwrap();
    assert_eq!((told.message_id, told.seq_id, told.client_msg_id.as_str()), (message_id, seq_id, "told"));
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_told_is_counted_and_done_all_the_same() {
    let house = House::open().await;
    house.seed_users(2).await;
    let running = house.start_on(house.config(), house.ids.clone(), house.second_queue()).await;
    let update = UpdateMeRequest { user_id: 1, display_name: Some("Ann".into()), avatar_url: None };
    assert_eq!(running.users().update_me(update).await.unwrap().into_inner().display_name, "Ann");
    assert_eq!(running.metric(r#"logic_events_dropped_total{topic="gochat.events.user"}"#), 1.0);
    running.stop().await;
}
