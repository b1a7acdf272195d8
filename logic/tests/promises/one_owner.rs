//! Promise: two owners of a conversation cannot both write: the store fences the stale one, which reads again. A
//! revoke in the middle of a batch, or message ids that exist already, change nothing of that.
//!
//! Method: two logics with queues of their own over one repo; a second consumer of the group while a save is held;
//! two id generators that draw the same ids.
use crate::support::faults::{Door, Fault};
use crate::support::inbox::Inbox;
use crate::support::{House, send_to, unix_ms, upstream};
use gochat_infra::idgen::IdGen;
use gochat_proto::topics;
use prost::Message as _;

const PAIR: &str = "single_1_2";

#[tokio::test]
async fn two_owners_take_turns_and_the_order_stays_dense() {
    let house = House::open().await;
    house.seed_users(2).await;
    let other = house.second_queue();
    let (mut inbox, mut other_inbox) =
        (house.inbox(0), Inbox::new(other.tail(topics::DOWNSTREAM, 0).unwrap()));
    let first = house.start().await;
    let ids = IdGen::open(2, house.path("ids-2")).unwrap();
    let second = house.start_on(house.config(), ids, other.clone()).await;
    for n in 0..30 {
        house.send(1, PAIR, &format!("a{n}"), "from one").await;
        send_to(&other, PAIR, upstream(2, PAIR, &format!("b{n}"), "from the other").encode_to_vec()).await;
        // Each waits for the other's write now and then, so that what it keeps is stale for certain.
        if n % 5 == 4 {
            inbox.stored(&format!("a{n}")).await;
            other_inbox.stored(&format!("b{n}")).await;
        }
    }
    for n in (0..30).filter(|n| n % 5 != 4) {
        inbox.stored(&format!("a{n}")).await;
        other_inbox.stored(&format!("b{n}")).await;
    }
    let stale = r#"logic_pipeline_retries_total{reason="stale-seq"}"#;
    assert!(first.metric(stale) + second.metric(stale) > 0.0);
    first.stop().await;
    second.stop().await;
    let stored = house.dense(PAIR).await;
    assert_eq!(stored.len(), 60);
    for sender in [1, 2] {
        let seqs: Vec<u64> = stored
            .iter()
            .filter(|message| message.sender_id == sender)
            .map(|message| message.client_msg_id[1..].parse().unwrap())
            .collect();
        assert!(seqs.is_sorted(), "the order of sender {sender}: {seqs:?}");
    }
}

#[tokio::test]
async fn a_revoke_in_the_middle_of_a_batch_loses_and_doubles_nothing() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let door = Door::closed();
    house.faults.plan("SaveMessages", 1, Fault::Hold(door.clone()));
    let first = house.start().await;
    for n in 0..10 {
        house.send(1, PAIR, &format!("m{n}"), "text").await;
    }
    door.arrival().await;
    // The next owner starts from the last commit, and saves while the first one's save is still under way.
    let ids = IdGen::open(2, house.path("ids-2")).unwrap();
    let second = house.start_with(house.config(), ids).await;
    let mut places = Vec::new();
    for n in 0..10 {
        places.push(inbox.stored(&format!("m{n}")).await);
    }
    door.open();
    // What the first one had taken was stored by the other: its late save is refused, and it finds the same places.
    first.stop().await;
    house.send(2, PAIR, "after", "text").await;
    assert_eq!(inbox.stored("after").await.1, 11);
    second.stop().await;
    let stored = house.dense(PAIR).await;
    assert_eq!(stored.len(), 11);
    for (message, place) in stored.iter().zip(places) {
        assert_eq!((message.message_id, message.seq_id), place);
    }
}

#[tokio::test]
async fn ids_that_exist_are_drawn_anew() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let now = unix_ms();
    // The clock of both stands still, so both draw the same row of ids.
    let frozen = |name: &str| IdGen::open_with_clock(7, house.path(name), move || now).unwrap();
    let first = house.start_with(house.config(), frozen("ids-a")).await;
    house.send(1, PAIR, "a", "text").await;
    let a = inbox.stored("a").await;
    first.stop().await;
    let second = house.start_with(house.config(), frozen("ids-b")).await;
    house.send(1, PAIR, "b", "text").await;
    let b = inbox.stored("b").await;
    assert!(b.0 > a.0 && b.1 == 2);
    assert_eq!(second.metric(r#"logic_pipeline_retries_total{reason="id-conflict"}"#), 1.0);
    second.stop().await;
    house.dense(PAIR).await;
}
