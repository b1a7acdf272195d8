//! What comes down reaches every device of the users meant, and nobody else.

use gochat_proto::{
    common::v1::MessageType,
    queue::v1::{
        Ack, ConversationUpdated, Receipt, Resync, ack, conversation_updated::Change, downstream::Body,
    },
};
use serde_json::json;

use crate::harness::{Gate, INSTANCE, Ws, delivery, message};

#[test]
fn every_device_of_a_user_gets_a_message() {
    let gate = Gate::start();
    let mut devices = [gate.connect(1, "phone"), gate.connect(1, "laptop"), gate.connect(1, "phone")];
    let mut stranger = gate.connect(2, "phone");
    gate.down(delivery(message("group_7", 3, 5), &[1]));
    for device in &mut devices {
        let told = device.expect("new-message");
        assert_eq!((&told["conversationId"], &told["seqId"]), (&json!("group_7"), &json!(5)));
    }
    stranger.expect_nothing();
}

#[test]
fn users_of_all_shards_get_a_message() {
    let gate = Gate::with(|config| config.shards = 4);
    let users: Vec<u64> = (1..=16).collect();
    let mut all: Vec<Ws> = users.iter().map(|user| gate.connect(*user, "d")).collect();
    gate.down(delivery(message("group_7", 1, 1), &users));
    // World: no users named.
    gate.down(delivery(message("world", 1, 1), &[]));
    for ws in &mut all {
        assert_eq!(ws.expect("new-message")["conversationId"], "group_7");
        assert_eq!(ws.expect("new-message")["conversationId"], "world");
        ws.expect_nothing();
    }
}

#[test]
fn a_record_for_another_instance_is_dropped() {
    let gate = Gate::start();
    let mut ws = gate.connect(1, "d");
    gate.down_to("an earlier run", delivery(message("world", 2, 1), &[1]));
    gate.down_to(INSTANCE, delivery(message("world", 2, 2), &[1]));
    assert_eq!(ws.expect("new-message")["seqId"], 2);
    assert!(gate.metrics.encode().contains("gateway_downstream_foreign_total 1"));
}

#[test]
fn final_acks_reach_the_connection_that_sent() {
    let gate = Gate::start();
    let (mut ws, mut other) = (gate.connect(1, "phone"), gate.connect(1, "laptop"));
    ws.send_message("group_7", "hi", "c1");
    assert_eq!(ws.expect("message-ack")["status"], "accepted");
    let sent = crate::chat::upstream(&gate);
    let rejection = |user_id, connection_id| {
        Body::Ack(Ack {
            user_id,
            connection_id,
            client_msg_id: "c1".into(),
            conversation_id: "group_7".into(),
            status: ack::Status::Rejected.into(),
            code: 1002,
            reason: "you are not a member".into(),
            ..Ack::default()
        })
    };
    // Connections that are not there, or not his, are passed over.
    gate.down(rejection(1, sent.connection_id + (1 << 20)));
    gate.down(rejection(2, sent.connection_id));
    gate.down(rejection(1, sent.connection_id));
    let expect = json!({
        "tempMessageId": "c1", "conversationId": "group_7", "status": "rejected", "code": 1002,
        "name": "permission-denied", "message": "you are not a member",
    });
    assert_eq!(ws.expect("message-ack"), expect);
    ws.expect_nothing();
    other.expect_nothing();
}

#[test]
fn receipts_and_changes_are_told() {
    let gate = Gate::start();
    let mut ws = gate.connect(1, "d");
    let conversation_id = "group_7".to_owned();
    gate.down(Body::Receipt(Receipt {
        conversation_id: conversation_id.clone(),
        reader_id: 9,
        read_seq: 4,
        user_ids: vec![1, 2],
    }));
    assert_eq!(ws.expect("receipt"), json!({"conversationId": "group_7", "userId": "9", "seqId": 4}));
    for (change, name) in [(Change::Joined, "joined"), (Change::Left, "left"), (Change::Members, "members")] {
        gate.down(Body::ConversationUpdated(ConversationUpdated {
            conversation_id: conversation_id.clone(),
            change: change.into(),
            user_ids: vec![1],
        }));
        let told = ws.expect("conversation-updated");
        assert_eq!(told, json!({"conversationId": "group_7", "change": name}));
    }
    let mut image = message("group_7", 2, 6);
    image.message_type = MessageType::Image.into();
    gate.down(delivery(image, &[1]));
    assert_eq!(ws.expect("new-message")["messageType"], "image");
}

#[test]
fn resync_is_spread() {
    let gate = Gate::start();
    let mut some: Vec<Ws> = (1..=20).map(|user| gate.connect(user, "d")).collect();
    gate.down(Body::Resync(Resync { user_ids: vec![], spread_ms: 1600 }));
    let mut delays: Vec<u64> =
        some.iter_mut().map(|ws| ws.expect("resync")["delayMs"].as_u64().expect("a number")).collect();
    assert!(delays.iter().all(|delay| *delay <= 1600), "{delays:?}");
    delays.sort_unstable();
    delays.dedup();
    assert!(delays.len() > 5, "{delays:?} are spread");
    gate.down(Body::Resync(Resync { user_ids: vec![1], spread_ms: 0 }));
    assert_eq!(some[0].expect("resync")["delayMs"], 0);
    some[1].expect_nothing();
}

/// The queue's memory topic drops its oldest records when the gateway can't follow.
#[test]
fn lost_records_make_everyone_compare() {
    let gate = Gate::with_queue(
        |config| config.downstream.resync_spread_ms = 10,
        |queue| {
            queue.memory_max_records = 1;
            queue.tail.max_records = 1;
        },
    );
    let mut ws = gate.connect(1, "d");
    for seq in 1..=50_000 {
        gate.down_to("nobody", delivery(message("world", 2, seq), &[9]));
    }
    assert!(ws.expect("resync")["delayMs"].as_u64().is_some_and(|delay| delay <= 10));
}

/// A mailbox of one mail, and far more messages than turns of the shard.
#[test]
fn a_shard_that_cannot_follow_drops_and_makes_its_users_compare() {
    let gate = Gate::with_queue(
        |config| {
            config.shards = 1;
            config.edge.mailbox_max_count = 1;
            config.edge.outbox_connection_max_bytes = 64 << 20;
            config.downstream.post_wait_ms = 0;
            config.downstream.resync_spread_ms = 10;
        },
        |queue| {
            queue.memory_max_records = 100_000;
            queue.memory_max_bytes = 1 << 30;
            queue.tail.max_records = 1;
        },
    );
    let mut ws = gate.connect(1, "d");
    for seq in 1..=20_000 {
        gate.down(delivery(message("world", 2, seq), &[1]));
    }
    ws.wait_for("resync");
    assert!(!gate.metrics.encode().contains("gateway_downstream_dropped_total 0"));
}
