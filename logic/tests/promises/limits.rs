//! Promise: every bound of logic has its answer: a request that names too many is refused, a page is cut, saves wait when
//! their distribution does, and a stop does not wait for what is late but has it done again.
//!
//! Method: bounds of two or three, and calls that are held on their way to repo.
use gochat_infra::errors::Code;
use gochat_proto::common::v1::Head;
use gochat_proto::logic::v1::{
    AddGroupMembersRequest, CreateGroupRequest, GetConversationMessagesRequest, GetHeadsRequest,
    GetProfilesRequest,
};
use gochat_proto::repo::v1::UpdateUserRequest;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;

use crate::support::House;
use crate::support::account::code;
use crate::support::faults::{Door, Fault};

const PAIR: &str = "single_1_2";

#[tokio::test]
async fn requests_that_name_too_many_are_refused() {
    let house = House::open().await;
    house.seed_users(4).await;
    let mut config = house.config();
    config.limits.users_per_request = 2;
    config.limits.heads_per_request = 2;
    config.limits.group_members_max = 3;
    let running = house.start_with(config, house.ids.clone()).await;
    let group = |member_ids: Vec<u64>, max_members| CreateGroupRequest {
        user_id: 1,
        name: "few".into(),
        member_ids,
        max_members,
        ..Default::default()
    };
    let mut conversations = running.conversations();
    let refused = conversations.create_group(group(vec![2, 3, 4], 3)).await.unwrap_err();
    assert_eq!(code(refused), Code::InvalidInput);
    let refused = conversations.create_group(group(vec![2], 4)).await.unwrap_err();
    assert_eq!(code(refused), Code::InvalidInput);
    let group_id = conversations.create_group(group(vec![2, 3], 3)).await.unwrap().into_inner().group_id;
    let add = |member_ids: Vec<u64>| AddGroupMembersRequest { user_id: 1, group_id, member_ids };
    assert_eq!(
        code(conversations.add_group_members(add(vec![2, 3, 4])).await.unwrap_err()),
        Code::InvalidInput
    );
    assert_eq!(code(conversations.add_group_members(add(vec![4])).await.unwrap_err()), Code::GroupFull);
    let heads = |count: usize| GetHeadsRequest {
        user_id: 1,
        known: vec![Head { conversation_id: "world".into(), last_seq: 0 }; count],
    };
    conversations.get_heads(heads(2)).await.unwrap();
    assert_eq!(code(conversations.get_heads(heads(3)).await.unwrap_err()), Code::InvalidInput);
    let profiles = GetProfilesRequest { user_ids: vec![1; 101] };
    assert_eq!(code(running.users().get_profiles(profiles).await.unwrap_err()), Code::InvalidInput);
    running.stop().await;
}

#[tokio::test]
async fn a_page_is_cut() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let mut config = house.config();
    (config.limits.page_default, config.limits.page_max) = (2, 3);
    let running = house.start_with(config, house.ids.clone()).await;
    for n in 0..5 {
        let id = format!("m{n}");
        house.send(1, PAIR, &id, "hi").await;
        inbox.stored(&id).await;
    }
    for (limit, expect) in [(0, 2), (1, 1), (3, 3), (4, 3), (u32::MAX, 3)] {
        let request = GetConversationMessagesRequest {
            user_id: 2,
            conversation_id: PAIR.into(),
            limit,
            ..Default::default()
        };
        let page = running.conversations().get_conversation_messages(request).await.unwrap().into_inner();
        assert_eq!((page.messages.len(), page.has_more), (expect, true), "limit {limit}");
    }
    running.stop().await;
}

#[tokio::test]
async fn saves_wait_for_the_distribution_of_what_was_saved() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let mut config = house.config();
    (config.pipeline.batch_records, config.pipeline.undistributed_rounds) = (1, 1);
    let door = Door::closed();
    house.faults.plan("GetUserSessions", 8, Fault::Hold(door.clone()));
    let running = house.start_with(config, house.ids.clone()).await;
    for n in 0..8 {
        house.send(1, PAIR, &format!("m{n}"), "hi").await;
    }
    door.arrival().await;
    // Many writes go through the store meanwhile, so that a save which did not wait would be among them.
    for n in 0..50 {
        let request =
            UpdateUserRequest { user_id: 2, display_name: Some(format!("Ben {n}")), ..Default::default() };
        UserRepoClient::new(house.direct.clone()).update_user(request).await.unwrap();
    }
    let stored = house.stored(PAIR).await.len();
    assert!((1..=4).contains(&stored), "{stored} saved, and the first is not distributed");
    door.open();
    for n in 0..8 {
        inbox.stored(&format!("m{n}")).await;
    }
    assert_eq!(house.dense(PAIR).await.len(), 8);
    running.stop().await;
}

#[tokio::test]
async fn what_is_late_at_a_stop_is_done_again() {
    let house = House::open().await;
    house.seed_users(2).await;
    house.connect(2, 1).await;
    let mut config = house.config();
    config.pipeline.drain_ms = 1;
    // It is never opened: who waits for it waits for ever.
    let door = Door::closed();
    house.faults.plan("GetUserSessions", 1, Fault::Hold(door.clone()));
    let running = house.start_with(config, house.ids.clone()).await;
    house.send(1, PAIR, "late", "hi").await;
    door.arrival().await;
    running.stop().await;
    let (mut sender, mut receiver) = (house.inbox(0), house.inbox(1));
    let running = house.start().await;
    assert_eq!(receiver.delivery("late").await.1, [2]);
    assert_eq!(sender.stored("late").await.1, 1);
    assert_eq!(house.dense(PAIR).await.len(), 1);
    running.stop().await;
}
