//! Promise: a record that can never succeed goes to the dead letter, its sender is told, and its partition goes on; a
//! record that fails for a reason that may pass is tried until it works, and only its partition waits.
//!
//! Method: garbage among good messages; saves refused for a long time; a restart in between.
use crate::support::faults::{Door, Fault};
use crate::support::{House, upstream};
use gochat_infra::mq::EmbeddedConfig;
use gochat_proto::queue::v1::{DeadLetter, UpstreamMessage};
use gochat_proto::topics;
use prost::Message as _;

const PAIR: &str = "single_1_2";

#[tokio::test]
async fn poison_is_buried_and_the_partition_goes_on() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    // The same key throughout, so all are in one partition.
    house.send(1, PAIR, "before", "text").await;
    house.send_record(PAIR, vec![0xff; 9]).await;
    house.send_record(PAIR, upstream(1, "single_2_1", "no-such-id", "text").encode_to_vec()).await;
    house.send_record(PAIR, upstream(1, PAIR, "too-long", &"x".repeat(8193)).encode_to_vec()).await;
    // Fits into the queue by itself, and not with its reason around it.
    let room = EmbeddedConfig::default().record_max_bytes - PAIR.len();
    house.send_record(PAIR, vec![0xff; room]).await;
    house.send(1, PAIR, "after", "text").await;
    assert_eq!(inbox.stored("before").await.1, 1);
    assert_eq!(inbox.stored("after").await.1, 2);
    assert_eq!(inbox.rejected("no-such-id").await, 1000);
    assert_eq!(inbox.rejected("too-long").await, 1000);
    let letters: Vec<DeadLetter> = house.queued(topics::DEAD_LETTER, 4).await;
    assert_eq!(letters[0].value, vec![0xff; 9]);
    assert!(letters[0].error.contains("not an upstream message"));
    assert!(letters[3].error.contains("cut") && letters[3].value.len() == 1024);
    for letter in &letters {
        assert_eq!((letter.topic.as_str(), &letter.key[..]), (topics::UPSTREAM, PAIR.as_bytes()));
    }
    assert!(letters.is_sorted_by_key(|letter| letter.offset));
    assert_eq!(running.metric(r#"logic_pipeline_records_total{outcome="dead-letter"}"#), 4.0);
    assert_eq!(running.metric("logic_pipeline_stored_latency_seconds_count"), 2.0);
    running.stop().await;
}

#[tokio::test]
async fn what_the_store_refuses_for_good_costs_itself_only() {
    let house = House::open().await;
    house.seed_users(4).await;
    let mut inbox = house.inbox(0);
    let mut config = house.config();
    // Logic takes what the store does not.
    config.limits.content_max_bytes = 200_000;
    let too_long = "x".repeat(70_000);
    let door = Door::closed();
    house.faults.plan("SaveMessages", 1, Fault::Hold(door.clone()));
    let running = house.start_with(config, house.ids.clone()).await;
    house.send(1, PAIR, "first", "text").await;
    door.arrival().await;
    // One batch: around the two that can't be stored, messages of their conversations and of others.
    for n in 0..6 {
        house.send(1, PAIR, &format!("a{n}"), if n == 3 { &too_long } else { "text" }).await;
        house.send(3, "single_3_4", &format!("b{n}"), "text").await;
        house.send(4, "world", &format!("w{n}"), if n == 0 { &too_long } else { "text" }).await;
    }
    door.open();
    inbox.stored("first").await;
    for n in 0..6 {
        match n {
            3 => assert_eq!(inbox.rejected("a3").await, 1000),
            n => assert_eq!(inbox.stored(&format!("a{n}")).await.1, if n < 3 { n + 2 } else { n + 1 }),
        }
        assert_eq!(inbox.stored(&format!("b{n}")).await.1, n + 1);
        match n {
            0 => assert_eq!(inbox.rejected("w0").await, 1000),
            n => assert_eq!(inbox.stored(&format!("w{n}")).await.1, n),
        }
    }
    let letters: Vec<DeadLetter> = house.queued(topics::DEAD_LETTER, 2).await;
    for letter in letters {
        assert!(letter.error.contains("too long to be stored"), "{}", letter.error);
        let message = UpstreamMessage::decode(letter.value).unwrap();
        assert!(["a3", "w0"].contains(&message.client_msg_id.as_str()));
    }
    // Nothing waits: the very next message is stored by the next attempt, and a restart has nothing to do again.
    running.stop().await;
    let running = house.start().await;
    house.send(1, PAIR, "after", "text").await;
    assert_eq!(inbox.stored("after").await.1, 7);
    assert_eq!(running.metric(r#"logic_pipeline_records_total{outcome="dead-letter"}"#), 0.0);
    running.stop().await;
}

#[tokio::test]
async fn what_a_call_refuses_for_its_size_is_asked_for_in_parts() {
    // The store takes fewer keys at once than logic takes messages.
    let house = House::open_with(|repo| repo.limits.lookup_max = 10).await;
    house.seed_users(40).await;
    let mut inbox = house.inbox(0);
    let door = Door::closed();
    house.faults.plan("SaveMessages", 1, Fault::Hold(door.clone()));
    let running = house.start().await;
    house.send(1, PAIR, "first", "text").await;
    door.arrival().await;
    for n in 1..40 {
        house.send(n, &format!("single_{n}_40"), &format!("m{n}"), "text").await;
    }
    door.open();
    for n in 1..40 {
        assert_eq!(inbox.stored(&format!("m{n}")).await.1, 1);
    }
    assert!(running.metric(r#"logic_pipeline_retries_total{reason="refused"}"#) > 0.0);
    assert_eq!(running.metric(r#"logic_pipeline_records_total{outcome="dead-letter"}"#), 0.0);
    running.stop().await;
}

#[tokio::test]
async fn a_long_failure_is_reported_and_then_worked_off_without_a_gap() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let door = Door::closed();
    house.faults.plan("SaveMessages", 4, Fault::Refuse);
    house.faults.plan("SaveMessages", 1, Fault::Hold(door.clone()));
    let running = house.start().await;
    for n in 0..20 {
        house.send(1, PAIR, &format!("m{n}"), "text").await;
    }
    door.arrival().await;
    assert!(!running.readiness.is_ready());
    door.open();
    for n in 0..20 {
        assert_eq!(inbox.stored(&format!("m{n}")).await.1, n + 1);
    }
    assert!(running.metric(r#"logic_pipeline_retries_total{reason="save-failed"}"#) >= 4.0);
    // Stopping waits for the batch under way, and with that for the condition.
    let readiness = running.readiness.clone();
    running.stop().await;
    assert!(readiness.report().to_string().contains("stopped"));
}

#[tokio::test]
async fn only_the_partition_of_a_failed_conversation_waits() {
    let house = House::open().await;
    house.seed_users(4).await;
    let mut inbox = house.inbox(0);
    let mut config = house.config();
    // Long enough that the test would not live to see the second attempt.
    config.pipeline.backoff_min_ms = 3_600_000;
    config.pipeline.backoff_max_ms = 3_600_000;
    house.faults.plan("SaveMessages", 1, Fault::Refuse);
    let running = house.start_with(config, house.ids.clone()).await;
    let producer = house.queue.producer();
    let partition = |key: &str| producer.partition(topics::UPSTREAM, key.as_bytes());
    let other = ["single_1_3", "single_1_4", "single_2_3", "single_2_4", "single_3_4", "world"]
        .into_iter()
        .find(|other| partition(other) != partition(PAIR))
        .unwrap();
    house.send(1, PAIR, "stuck", "text").await;
    let sender = if other.contains('1') || other == "world" { 1 } else { 2 };
    let sender = if other == "single_3_4" { 3 } else { sender };
    // The refusal must have met the first one before the second is sent.
    while house.faults.left() > 0 {
        tokio::task::yield_now().await;
    }
    house.send(sender, other, "free", "text").await;
    inbox.stored("free").await;
    assert!(house.stored(PAIR).await.is_empty());
    running.stop().await;
    // What was not finished was not committed: the next owner begins with it.
    let running = house.start().await;
    assert_eq!(inbox.stored("stuck").await.1, 1);
    running.stop().await;
}
