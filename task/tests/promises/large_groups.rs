//! Promise: a message of a large group reaches every member who is online and joined before it, in order within the
//! conversation; a crash costs no page twice; and one group never holds up another.
//!
//! Method: groups in the real repo with sessions on two gateways, pages of three members, calls that fail or hang.
use std::collections::BTreeMap;

use gochat_infra::rpc::Client;
use gochat_infra::telemetry::Metrics;
use gochat_proto::common::v1::{Message as Stored, MessageType, Session};
use gochat_proto::queue::v1::downstream::Body as Down;
use gochat_proto::queue::v1::task::Body;
use gochat_proto::queue::v1::{Downstream, FanOutGroup, Task};
use gochat_proto::repo::v1::conversation_repo_client::ConversationRepoClient;
use gochat_proto::repo::v1::group_repo_client::GroupRepoClient;
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;
use gochat_proto::repo::v1::session_change::Kind;
use gochat_proto::repo::v1::task_repo_client::TaskRepoClient;
use gochat_proto::repo::v1::{
    AddGroupMemberRequest, ConversationBatch, CreateGroupRequest, GetConversationStatesRequest,
    GetTaskCursorRequest, Group, GroupType, SaveMessagesRequest, SaveOutcome, SessionChange,
    SetTaskCursorRequest, SetUserSessionRequest,
};
use gochat_proto::task::v1::ReplayDeadLetterRequest;
use gochat_proto::task::v1::dead_letter_service_client::DeadLetterServiceClient;
use gochat_proto::topics;
use gochat_task::TaskConfig;
use prost::Message;

use crate::dead_letters::bury;
use crate::faults::{Door, Fault};
use crate::support::crowd::{self, Crowd};
use crate::support::{GATEWAYS, House, unix_ms};

fn pages_of_three() -> TaskConfig {
    TaskConfig {
        fan_out_page_members: 3,
        fan_out_cursor_every_pages: 1,
        backoff_min_ms: 1,
        backoff_max_ms: 2,
        ..TaskConfig::default()
    }
}

fn stored(group_id: u64, seq_id: u64) -> Stored {
    Stored {
        message_id: group_id * 1000 + seq_id,
        conversation_id: format!("group_{group_id}"),
        sender_id: 1,
        content: format!("message {seq_id}"),
        message_type: MessageType::Text.into(),
        seq_id,
        client_msg_id: format!("c{seq_id}"),
        created_at_ms: 1_700_000_000_000,
    }
}

fn fan_out(message: Stored, group_id: u64) -> Vec<u8> {
    let task_id = format!("fanout-{}", message.message_id);
    let body = Some(Body::FanOutGroup(FanOutGroup { message: Some(message), group_id }));
    Task { task_id, created_at_ms: unix_ms(), body }.encode_to_vec()
}

fn done(metrics: &Metrics, count: usize) -> bool {
    metrics.encode().contains(&format!("kind=\"fan-out-group\",outcome=\"done\"}} {count}\n"))
}

impl House {
    async fn make_group(&self, group_id: u64, member_ids: impl Iterator<Item = u64>) {
        let group = Group {
            group_id,
            group_name: "many".into(),
            owner_id: 1,
            max_members: 1000,
            group_type: GroupType::Private.into(),
            ..Group::default()
        };
        let request = CreateGroupRequest { group: Some(group), member_ids: member_ids.collect() };
        GroupRepoClient::new(self.client()).create_group(request).await.unwrap();
    }

    async fn save(&self, group_id: u64, seq_id: u64) {
        let conversation_id = format!("group_{group_id}");
        let request = GetConversationStatesRequest { conversation_ids: vec![conversation_id.clone()] };
        let mut conversations = ConversationRepoClient::new(self.client());
        let state =
            conversations.get_conversation_states(request).await.unwrap().into_inner().states.remove(0);
        let batch = ConversationBatch {
            conversation_id,
            expected_last_seq: seq_id - 1,
            group_version: Some(state.group_version),
            messages: vec![stored(group_id, seq_id)],
        };
        let request = SaveMessagesRequest { conversations: vec![batch] };
        let saved = MessageRepoClient::new(self.client()).save_messages(request).await.unwrap().into_inner();
        assert_eq!(saved.outcomes, [SaveOutcome::Saved as i32]);
    }

    async fn connect(&self, user_id: u64, device: &str, gateway: &str, expires_at_ms: i64) {
        let session = Session {
            user_id,
            device_id: device.into(),
            gateway_instance: gateway.into(),
            gateway_slot: 0,
            connection_id: user_id,
            login_at_ms: unix_ms(),
            last_seen_ms: unix_ms(),
            expires_at_ms,
        };
        let changes = vec![SessionChange { kind: Kind::Set.into(), session: Some(session) }];
        self.users().set_user_session(SetUserSessionRequest { changes }).await.unwrap();
    }

    /// What each gateway was told: sequence number and users, in the order of the records.
    async fn told(&self) -> BTreeMap<&'static str, Vec<(String, u64, Vec<u64>)>> {
        let mut told = BTreeMap::new();
        for (gateway, slot) in GATEWAYS {
            let records = self.queue.read(topics::DOWNSTREAM, slot, 0, 10_000, usize::MAX).await.unwrap();
            let list = records.iter().map(|record| {
                let record = Downstream::decode(record.value.clone()).unwrap();
                assert_eq!(record.gateway_instance, gateway);
                let Some(Down::Message(delivery)) = record.body else { panic!("{record:?}") };
                assert!(delivery.droppable && !delivery.everyone);
                let message = delivery.message.unwrap();
                (message.conversation_id, message.seq_id, delivery.user_ids)
            });
            told.insert(gateway, list.collect());
        }
        told
    }

    pub(crate) async fn cursor(&self, task_id: &str) -> Option<u64> {
        let request = GetTaskCursorRequest { task_id: task_id.into() };
        TaskRepoClient::new(self.client()).get_task_cursor(request).await.unwrap().into_inner().cursor
    }
}

/// Members 1 to 10 of group 7, of which 2 is away, 3's session is over and 4's gateway is gone; 11 joins after the first
/// message. Odd users are on gw-a, even ones on gw-b, 5 on both and on gw-a with two devices.
async fn group_of_ten() -> House {
    let house = House::open().await;
    house.make_users(11).await;
    house.make_group(7, 1..=10).await;
    house.save(7, 1).await;
    let request = AddGroupMemberRequest { group_id: 7, user_ids: vec![11] };
    GroupRepoClient::new(house.client()).add_group_member(request).await.unwrap();
    let later = unix_ms() + 3_600_000;
    for user in [1, 5, 6, 7, 8, 9, 10, 11] {
        house.connect(user, "phone", GATEWAYS[1 - (user % 2) as usize].0, later).await;
    }
    house.connect(5, "tablet", "gw-a", later).await;
    house.connect(5, "desk", "gw-b", later).await;
    house.connect(3, "phone", "gw-a", unix_ms() - 1).await;
    house.connect(4, "phone", "gw-gone", later).await;
    house
}

fn users_of(told: &[(String, u64, Vec<u64>)], seq: u64) -> Vec<u64> {
    told.iter().filter(|(_, s, _)| *s == seq).flat_map(|(_, _, users)| users.clone()).collect()
}

#[tokio::test]
async fn every_member_online_gets_it_once_and_nobody_who_came_later() {
    let house = group_of_ten().await;
    house.faults.plan("GetOnlineGroupMembers", 2, Fault::LoseAnswer);
    house.faults.plan("GetTaskCursor", 1, Fault::Refuse);
    let (task, shutdown, metrics) = house.start(pages_of_three()).await;
    house.send("group_7", fan_out(stored(7, 1), 7)).await;
    house.save(7, 2).await;
    house.send("group_7", fan_out(stored(7, 2), 7)).await;
    house.until(|| done(&metrics, 2)).await;
    let told = house.told().await;
    assert_eq!(users_of(&told["gw-a"], 1), [1, 5, 7, 9]);
    assert_eq!(users_of(&told["gw-b"], 1), [5, 6, 8, 10]);
    assert_eq!(users_of(&told["gw-a"], 2), [1, 5, 7, 9, 11], "he joined before this one");
    assert!(told["gw-a"].iter().all(|(_, _, users)| users.len() <= 3), "a page each");
    assert_eq!(house.cursor("fanout-7001").await, None, "a task that is done leaves nothing behind");
    shutdown.trigger();
    task.join().await;
}

#[tokio::test]
async fn after_a_crash_it_goes_on_where_it_was() {
    let house = group_of_ten().await;
    let third_page = Door::closed();
    let let_in = Door::closed();
    let_in.open();
    house.faults.plan("GetOnlineGroupMembers", 2, Fault::Hold(let_in));
    house.faults.plan("GetOnlineGroupMembers", 1, Fault::Hold(third_page.clone()));
    let (task, shutdown, _) = house.start(pages_of_three()).await;
    house.send("group_7", fan_out(stored(7, 1), 7)).await;
    third_page.arrival().await;
    assert!(house.cursor("fanout-7001").await.is_some());
    // Dropped in the middle of a page, as a crash would: nothing of it is committed.
    drop(task);
    drop(shutdown);
    let (again, stop, metrics) = house.start(pages_of_three()).await;
    house.until(|| done(&metrics, 1)).await;
    let told = house.told().await;
    assert_eq!(users_of(&told["gw-a"], 1), [1, 5, 7, 9]);
    assert_eq!(users_of(&told["gw-b"], 1), [5, 6, 8, 10]);
    assert_eq!(house.cursor("fanout-7001").await, None);
    stop.trigger();
    again.join().await;
}

#[tokio::test]
async fn a_crash_costs_no_more_pages_twice_than_are_between_two_cursors() {
    let house = group_of_ten().await;
    // Three pages are sent, the fourth is cut off.
    let (let_in, fourth_page) = (Door::closed(), Door::closed());
    let_in.open();
    house.faults.plan("GetOnlineGroupMembers", 3, Fault::Hold(let_in));
    house.faults.plan("GetOnlineGroupMembers", 1, Fault::Hold(fourth_page.clone()));
    let config = TaskConfig { fan_out_cursor_every_pages: 2, ..pages_of_three() };
    let (task, shutdown, _) = house.start(config.clone()).await;
    house.send("group_7", fan_out(stored(7, 1), 7)).await;
    fourth_page.arrival().await;
    assert_eq!(house.cursor("fanout-7001").await, Some(6), "behind two pages, and not yet behind the third");
    drop(task);
    drop(shutdown);
    let (again, stop, metrics) = house.start(config).await;
    house.until(|| done(&metrics, 1)).await;
    let told = house.told().await;
    assert_eq!(users_of(&told["gw-a"], 1), [1, 5, 7, 9, 7, 9]);
    assert_eq!(users_of(&told["gw-b"], 1), [5, 6, 8, 8, 10]);
    assert_eq!(house.cursor("fanout-7001").await, None);
    stop.trigger();
    again.join().await;
}

#[tokio::test]
async fn a_replayed_fan_out_goes_on_where_it_stood() {
    let house = group_of_ten().await;
    let set = |task_id: &str, cursor| SetTaskCursorRequest { task_id: task_id.into(), cursor };
    let mut cursors = TaskRepoClient::new(house.client());
    cursors.set_task_cursor(set("fanout-7001", 6)).await.unwrap();
    bury(&house, topics::TASKS, "group_7", fan_out(stored(7, 1), 7)).await;
    let (task, shutdown, metrics) = house.start(pages_of_three()).await;
    let mut service = DeadLetterServiceClient::new(Client::local(task.routes()));
    let replay = ReplayDeadLetterRequest { partition: 0, offset: 0 };
    service.replay_dead_letter(replay).await.unwrap();
    house.until(|| done(&metrics, 1)).await;
    let told = house.told().await;
    assert_eq!((users_of(&told["gw-a"], 1), users_of(&told["gw-b"], 1)), (vec![7, 9], vec![8, 10]));
    assert_eq!(house.cursor("fanout-7001").await, None);
    shutdown.trigger();
    task.join().await;
}

#[tokio::test]
async fn a_conversation_keeps_its_order_and_holds_up_no_other() {
    let house = group_of_ten().await;
    for seq in 2..=5 {
        house.save(7, seq).await;
    }
    house.make_group(8, 1..=10).await;
    house.save(8, 1).await;
    let door = Door::closed();
    house.faults.plan("GetOnlineGroupMembers", 1, Fault::Hold(door.clone()));
    let (task, shutdown, metrics) = house.start(pages_of_three()).await;
    // All on the one partition: the first stands, the others of its conversation behind it.
    for seq in 1..=5 {
        house.send("group_7", fan_out(stored(7, seq), 7)).await;
    }
    door.arrival().await;
    house.send("group_8", fan_out(stored(8, 1), 8)).await;
    house.until(|| done(&metrics, 1)).await;
    let told = house.told().await;
    assert!(told.values().flatten().all(|(conversation, _, _)| conversation == "group_8"), "{told:?}");
    house.faults.plan("SetTaskCursor", 3, Fault::Refuse);
    door.open();
    house.until(|| done(&metrics, 6)).await;
    for (gateway, list) in house.told().await {
        let seqs: Vec<u64> = list.iter().filter(|told| told.0 == "group_7").map(|told| told.1).collect();
        assert!(seqs.is_sorted(), "{gateway}: {seqs:?}");
        assert_eq!(seqs.last(), Some(&5));
    }
    shutdown.trigger();
    task.join().await;
}

#[tokio::test]
async fn a_fan_out_that_can_never_work_is_buried() {
    let house = group_of_ten().await;
    let (task, shutdown, _) = house.start(pages_of_three()).await;
    let bad = [
        (fan_out(stored(99, 1), 99), "no such group"),
        (fan_out(stored(7, 0), 7), "never stored"),
        (
            Task { body: Some(Body::FanOutGroup(FanOutGroup::default())), ..Task::default() }.encode_to_vec(),
            "without",
        ),
    ];
    for (offset, (task, reason)) in (0..).zip(bad) {
        house.send("k", task).await;
        let letter = house.dead_letter(offset).await;
        assert!(letter.error.contains(reason), "{}", letter.error);
    }
    shutdown.trigger();
    task.join().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_pages_reach_everybody_online_once_while_others_go_on() {
    let crowd = Crowd { members: 2_500, online: 500, gateways: 3, messages: 3 };
    let dir = tempfile::tempdir().unwrap();
    let config = TaskConfig { fan_out_page_members: 100, ..TaskConfig::default() };
    // It checks who got what.
    let report = crowd::House::open(dir.path(), crowd, config).await.run().await;
    assert_eq!(report.records, 2 * crowd.messages * 25 * u64::from(crowd.gateways));
}
