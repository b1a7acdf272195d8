//! Promise: an operator sees what could never succeed, page by page, and can have it tried again.
//!
//! Method: letters of several topics in the real queue, asked for through the service.
use gochat_infra::errors::{Code, Error};
use gochat_infra::mq::{Outgoing, Target};
use gochat_infra::rpc::Client;
use gochat_proto::queue::v1::DeadLetter;
use gochat_proto::task::v1::dead_letter_service_client::DeadLetterServiceClient;
use gochat_proto::task::v1::{GetDeadLetterRequest, ListDeadLettersRequest, ReplayDeadLetterRequest};
use gochat_proto::topics;
use gochat_task::TaskConfig;
use prost::Message;

use crate::support::House;

pub(crate) async fn bury(house: &House, topic: &str, key: &'static str, value: impl Into<Vec<u8>>) {
    let value = value.into();
    let letter = DeadLetter {
        topic: topic.into(),
        partition: 2,
        offset: 77,
        key: key.into(),
        error: format!("{} is bad", value.escape_ascii()),
        value: value.into(),
        failed_at_ms: 5,
    };
    let value = letter.encode_to_vec().into();
    let record = Outgoing { topic: topics::DEAD_LETTER, target: Target::ByKey, key: key.into(), value };
    let at = house.queue.producer().send_wait(record).await.unwrap();
    house.dead_letter(at.offset).await;
}

#[tokio::test]
async fn they_are_listed_in_pages_and_shown_whole() {
    let house = House::open().await;
    let config = TaskConfig { dead_letters_page_max: 4, ..TaskConfig::default() };
    let (task, shutdown, _) = house.start(config).await;
    let mut service = DeadLetterServiceClient::new(Client::local(task.routes()));
    let list = |from_offset, limit| ListDeadLettersRequest { partition: 0, from_offset, limit };
    let empty = service.list_dead_letters(list(0, 0)).await.unwrap().into_inner();
    assert_eq!((empty.letters.len(), empty.next_offset, empty.has_more), (0, 0, false));
    for value in ["0", "1", "2", "3", "4", "5", "6"] {
        bury(&house, topics::UPSTREAM, "k", value).await;
    }
    // limit, from → how many, next, more
    for (limit, from, count, next, more) in [
        (3, 0, 3, 3, true),
        (0, 0, 4, 4, true),
        (99, 4, 3, 7, false),
        (3, 4, 3, 7, false),
        (1, 7, 0, 7, false),
    ] {
        let page = service.list_dead_letters(list(from, limit)).await.unwrap().into_inner();
        assert_eq!(
            (page.letters.len(), page.next_offset, page.has_more),
            (count, next, more),
            "{from}+{limit}"
        );
        for (offset, placed) in (from..).zip(&page.letters) {
            let letter = placed.letter.as_ref().unwrap();
            assert_eq!((placed.offset, letter.error.as_str()), (offset, format!("{offset} is bad").as_str()));
            assert!(letter.value.is_empty());
        }
    }
    let get = |partition, offset| GetDeadLetterRequest { partition, offset };
    let whole = service.get_dead_letter(get(0, 5)).await.unwrap().into_inner().dead_letter.unwrap();
    let letter = whole.letter.unwrap();
    assert_eq!((whole.offset, &letter.value[..], letter.offset), (5, &b"5"[..], 77));
    for (partition, offset) in [(0, 7), (1, 0)] {
        let error = Error::from(service.get_dead_letter(get(partition, offset)).await.unwrap_err());
        assert_eq!(error.code, Code::RouteNotFound, "{partition} {offset}");
    }
    shutdown.trigger();
    task.join().await;
}

#[tokio::test]
async fn a_page_of_them_is_bounded_in_bytes_and_has_one_at_least() {
    let house = House::open().await;
    for _ in 0..5 {
        bury(&house, topics::UPSTREAM, "k", vec![7; 1000]).await;
    }
    for (dead_letters_page_max_bytes, count) in [(0, 1), (20_000, 3)] {
        let (task, shutdown, _) =
            house.start(TaskConfig { dead_letters_page_max_bytes, ..TaskConfig::default() }).await;
        let mut service = DeadLetterServiceClient::new(Client::local(task.routes()));
        let request = ListDeadLettersRequest { partition: 0, from_offset: 0, limit: 100 };
        let page = service.list_dead_letters(request).await.unwrap().into_inner();
        assert_eq!((page.letters.len(), page.next_offset, page.has_more), (count, count as u64, true));
        shutdown.trigger();
        task.join().await;
    }
}

#[tokio::test]
async fn a_replayed_one_stands_on_its_topic_again() {
    let house = House::open().await;
    let (task, shutdown, metrics) = house.start(TaskConfig::default()).await;
    let mut service = DeadLetterServiceClient::new(Client::local(task.routes()));
    let replay = |offset| ReplayDeadLetterRequest { partition: 0, offset };
    bury(&house, topics::UPSTREAM, "single_1_2", "a message").await;
    let placed = service.replay_dead_letter(replay(0)).await.unwrap().into_inner();
    assert_eq!(placed.topic, topics::UPSTREAM);
    assert_eq!(Some(placed.partition), house.queue.producer().partition(topics::UPSTREAM, b"single_1_2"));
    let found = house.record(topics::UPSTREAM, placed.partition, placed.offset).await;
    assert_eq!((&found.key[..], &found.value[..]), (&b"single_1_2"[..], &b"a message"[..]));

    // A task goes through the service again: this one is as bad as before.
    bury(&house, topics::TASKS, "k", "\u{1}").await;
    service.replay_dead_letter(replay(1)).await.unwrap();
    let again = house.dead_letter(2).await;
    assert_eq!((again.topic.as_str(), &again.value[..]), (topics::TASKS, &b"\x01"[..]));

    // Whoever reads other topics may do things twice.
    bury(&house, topics::DOWNSTREAM, "k", "x").await;
    let refused = Error::from(service.replay_dead_letter(replay(3)).await.unwrap_err());
    assert_eq!(refused.code, Code::InvalidInput, "{refused}");
    let absent = Error::from(service.replay_dead_letter(replay(99)).await.unwrap_err());
    assert_eq!(absent.code, Code::RouteNotFound, "{absent}");
    assert!(metrics.encode().contains("task_dead_letters_replayed_total 2"), "{}", metrics.encode());
    shutdown.trigger();
    task.join().await;
}
