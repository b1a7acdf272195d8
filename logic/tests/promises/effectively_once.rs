//! Promise: (conversation, sender, clientMsgId) is stored once. A re-send gets the same id and seq; other content
//! under the same key is refused with 1003.
//!
//! Method: re-sends while the owner remembers, after a restart when only the store does, within one batch, and after
//! a save whose answer was lost.
use crate::support::faults::{Door, Fault};
use crate::support::{House, upstream};
use gochat_proto::common::v1::MessageType;
use prost::Message as _;

const PAIR: &str = "single_1_2";
const DUPLICATE: u32 = 1003;

#[tokio::test]
async fn a_resend_gets_the_same_place_from_memory_and_from_the_store() {
    let house = House::open().await;
    house.seed_users(2).await;
    house.connect(2, 0).await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    house.send(1, PAIR, "a", "hi").await;
    let first = inbox.stored("a").await;
    assert_eq!(first.1, 1);
    assert_eq!(inbox.delivery("a").await.0.seq_id, 1);

    house.send(1, PAIR, "a", "hi").await;
    assert_eq!(inbox.stored("a").await, first);
    house.send(1, PAIR, "a", "ho").await;
    assert_eq!(inbox.rejected("a").await, DUPLICATE);
    assert_eq!(running.metric(r#"logic_pipeline_records_total{outcome="repeated-lately"}"#), 1.0);
    running.stop().await;

    let running = house.start().await;
    house.send(1, PAIR, "a", "hi").await;
    assert_eq!(inbox.stored("a").await, first);
    // A crash may have swallowed the first delivery, so it comes again.
    assert_eq!(inbox.delivery("a").await.0.message_id, first.0);
    assert_eq!(running.metric(r#"logic_pipeline_records_total{outcome="repeated"}"#), 1.0);
    house.send(1, PAIR, "b", "next").await;
    inbox.stored("b").await;
    // Now the conversation is known and nothing is asked before the save, which finds the duplicate itself.
    house.send(1, PAIR, "a", "ho").await;
    assert_eq!(inbox.rejected("a").await, DUPLICATE);
    running.stop().await;
    assert_eq!(house.dense(PAIR).await.len(), 2);
}

#[tokio::test]
async fn another_type_is_other_content_and_another_sender_is_another_key() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    house.send(1, PAIR, "a", "hi").await;
    inbox.stored("a").await;
    let mut image = upstream(1, PAIR, "a", "hi");
    image.set_message_type(MessageType::Image);
    house.send_record(PAIR, image.encode_to_vec()).await;
    assert_eq!(inbox.rejected("a").await, DUPLICATE);
    house.send(2, PAIR, "a", "hi").await;
    assert_eq!(inbox.stored("a").await.1, 2);
    running.stop().await;
}

#[tokio::test]
async fn duplicates_within_a_batch_are_merged_before_numbering() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let door = Door::closed();
    house.faults.plan("SaveMessages", 1, Fault::Hold(door.clone()));
    let running = house.start().await;
    house.send(1, PAIR, "first", "x").await;
    door.arrival().await;
    // These gather while the first save waits, and so come as one batch.
    for (key, content) in [("a", "hi"), ("b", "yo"), ("a", "hi"), ("a", "ho"), ("c", "ok"), ("b", "yo")] {
        house.send(1, PAIR, key, content).await;
    }
    door.open();
    assert_eq!(inbox.stored("first").await.1, 1);
    let a = inbox.stored("a").await;
    assert_eq!(a.1, 2);
    assert_eq!(inbox.stored("a").await, a);
    assert_eq!(inbox.rejected("a").await, DUPLICATE);
    let b = inbox.stored("b").await;
    assert_eq!(b.1, 3);
    assert_eq!(inbox.stored("b").await, b);
    assert_eq!(inbox.stored("c").await.1, 4);
    assert_eq!(running.metric(r#"logic_pipeline_records_total{outcome="merged"}"#), 2.0);
    running.stop().await;
    assert_eq!(house.dense(PAIR).await.len(), 4);
}

#[tokio::test]
async fn a_save_whose_answer_was_lost_is_found_and_not_repeated() {
    let house = House::open().await;
    house.seed_users(2).await;
    house.connect(2, 0).await;
    let mut inbox = house.inbox(0);
    house.faults.plan("SaveMessages", 1, Fault::LoseAnswer);
    let running = house.start().await;
    house.send(1, PAIR, "a", "hi").await;
    let place = inbox.stored("a").await;
    let (message, users) = inbox.delivery("a").await;
    assert_eq!((message.message_id, message.seq_id, users), (place.0, place.1, vec![2]));
    running.stop().await;
    assert_eq!(house.dense(PAIR).await[0].message_id, place.0);
}
