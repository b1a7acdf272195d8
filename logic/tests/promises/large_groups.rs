//! Promise: a message of a large group is acked at once and handed to task, once for each time that it is distributed;
//! no list of the group's members is read for it, and nothing that concerns one member is sent to all of them.
//!
//! Method: groups on both sides of a limit of three, what gateways and the topic of tasks get, and a queue that takes
//! no tasks.
use gochat_logic::LogicConfig;
use gochat_proto::logic::v1::{
    AddGroupMembersRequest, CreateGroupRequest, MarkAsReadRequest, RemoveGroupMemberRequest,
};
use gochat_proto::queue::v1::conversation_updated::Change;
use gochat_proto::queue::v1::task::Body;
use gochat_proto::queue::v1::{FanOutGroup, Task};
use gochat_proto::topics;
use prost::Message as _;

use crate::support::inbox::Inbox;
use crate::support::{House, Running, send_to, upstream};

const MESSAGES_SENT: &str = r#"logic_downstream_sent_total{kind="message"}"#;

fn config(house: &House) -> LogicConfig {
    let mut config = house.config();
    config.routes.fan_out_members_min = 3;
    config
}

async fn house(users: u64) -> House {
    let house = House::open().await;
    house.seed_users(users).await;
    for user in 1..=users {
        house.connect(user, 0).await;
    }
    house
}

async fn start(house: &House) -> Running {
    house.start_with(config(house), house.ids.clone()).await
}

/// Of user 1, with users 2..=members.
async fn group(running: &Running, members: u64) -> (u64, String) {
    let request = CreateGroupRequest {
        user_id: 1,
        name: "everybody".into(),
        member_ids: (2..=members).collect(),
        ..Default::default()
    };
    let made = running.conversations().create_group(request).await.unwrap().into_inner();
    (made.group_id, made.conversation_id)
}

fn fan_out(task: &Task) -> &FanOutGroup {
    match &task.body {
        Some(Body::FanOutGroup(fan_out)) => fan_out,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn its_message_becomes_one_task() {
    let house = house(4).await;
    let mut inbox = house.inbox(0);
    let running = start(&house).await;
    let (group_id, id) = group(&running, 4).await;
    house.send(2, &id, "a", "hi").await;
    let place = inbox.stored("a").await;
    // Finished lately: only the ack comes again.
    house.send(2, &id, "a", "hi").await;
    assert_eq!(inbox.stored("a").await, place);
    running.stop().await;

    // An owner that does not know whether the first one came so far repeats the task, under the same id.
    let running = start(&house).await;
    house.send(2, &id, "a", "hi").await;
    assert_eq!(inbox.stored("a").await, place);
    house.send(3, &id, "b", "yo").await;
    inbox.stored("b").await;
    assert_eq!(running.metric(MESSAGES_SENT), 0.0);
    running.stop().await;
    let tasks: Vec<Task> = house.queued(topics::TASKS, 3).await;
    let keys: Vec<_> = tasks
        .iter()
        .map(|task| {
            let fan_out = fan_out(task);
            let message = fan_out.message.as_ref().unwrap();
            assert_eq!(fan_out.group_id, group_id);
            assert_eq!(task.task_id, format!("fanout-{}", message.message_id));
            (message.client_msg_id.as_str(), message.seq_id)
        })
        .collect();
    assert_eq!(keys, [("a", 1), ("a", 1), ("b", 2)]);
    assert_eq!(fan_out(&tasks[0]).message.as_ref().unwrap().message_id, place.0);
}

#[tokio::test]
async fn at_the_limit_it_is_not_large_and_the_next_member_makes_it_so() {
    let house = house(4).await;
    let mut inbox = house.inbox(0);
    let running = start(&house).await;
    let (group_id, id) = group(&running, 3).await;
    house.send(2, &id, "small", "hi").await;
    assert_eq!(inbox.delivery("small").await.1, [1, 2, 3]);
    let add = AddGroupMembersRequest { user_id: 1, group_id, member_ids: vec![4] };
    running.conversations().add_group_members(add).await.unwrap();
    house.send(2, &id, "large", "hi").await;
    inbox.stored("large").await;
    let remove = RemoveGroupMemberRequest { user_id: 1, group_id, member_id: 3 };
    running.conversations().remove_group_member(remove).await.unwrap();
    house.send(2, &id, "small-again", "hi").await;
    assert_eq!(inbox.delivery("small-again").await.1, [1, 2, 4]);
    assert_eq!(running.metric(r#"logic_fan_outs_total{outcome="sent"}"#), 1.0);
    running.stop().await;
}

#[tokio::test]
async fn only_those_concerned_hear_of_members_and_pointers() {
    let house = house(6).await;
    let mut inbox = house.inbox(0);
    let running = start(&house).await;
    let (group_id, id) = group(&running, 5).await;
    let mut told = async |change: Change| {
        let update = inbox.updated().await;
        assert_eq!((update.change(), update.conversation_id.as_str()), (change, id.as_str()));
        let mut users = update.user_ids;
        users.sort_unstable();
        users
    };
    assert_eq!(told(Change::Joined).await, [1, 2, 3, 4, 5]);
    let add = AddGroupMembersRequest { user_id: 1, group_id, member_ids: vec![6] };
    running.conversations().add_group_members(add).await.unwrap();
    assert_eq!(told(Change::Joined).await, [6]);
    let remove = RemoveGroupMemberRequest { user_id: 5, group_id, member_id: 5 };
    running.conversations().remove_group_member(remove).await.unwrap();
    assert_eq!(told(Change::Left).await, [5]);
    house.send(2, &id, "a", "hi").await;
    inbox.stored("a").await;
    let read = MarkAsReadRequest { user_id: 3, conversation_id: id.clone(), seq_id: 1 };
    running.conversations().mark_as_read(read).await.unwrap();
    assert_eq!(inbox.receipt().await.user_ids, [3]);
    // Three changes, one record each: nobody else was told.
    assert_eq!(running.metric(r#"logic_downstream_sent_total{kind="conversation-updated"}"#), 3.0);
    assert_eq!(running.metric(r#"logic_downstream_sent_total{kind="receipt"}"#), 1.0);
    running.stop().await;
}

#[tokio::test]
async fn where_no_task_is_taken_the_gateways_resync_and_the_pipeline_goes_on() {
    let house = house(4).await;
    let queue = house.second_queue();
    let mut inbox = Inbox::new(queue.tail(topics::DOWNSTREAM, 0).unwrap());
    let mut config = config(&house);
    config.routes.fan_out_send_ms = 0;
    let running = house.start_on(config, house.ids.clone(), queue.clone()).await;
    let (_, id) = group(&running, 4).await;
    send_to(&queue, &id, upstream(1, &id, "a", "hi").encode_to_vec()).await;
    assert_eq!(inbox.stored("a").await.1, 1);
    assert!(inbox.resync().await.user_ids.is_empty(), "everybody");
    send_to(&queue, "single_1_2", upstream(1, "single_1_2", "b", "hi").encode_to_vec()).await;
    inbox.stored("b").await;
    assert_eq!(running.metric(r#"logic_fan_outs_total{outcome="dropped"}"#), 1.0);
    running.stop().await;
}
