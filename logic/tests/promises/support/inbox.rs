//! What a gateway gets, kept until a test asks for it.
use std::collections::VecDeque;
use std::time::Duration;

use gochat_infra::mq::{Tail, TailEvent};
use gochat_proto::common::v1::Message;
use gochat_proto::queue::v1::downstream::Body;
use gochat_proto::queue::v1::{Ack, ConversationUpdated, Delivery, Downstream, Receipt, Resync, ack};
use prost::Message as _;

/// A test that waits longer than this for a record has failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Inbox {
    tail: Tail,
    waiting: VecDeque<Downstream>,
}

impl Inbox {
    pub(crate) fn new(tail: Tail) -> Self {
        Self { tail, waiting: VecDeque::new() }
    }

    /// The first record, of those that wait or come, that `pick` picks; the others stay.
    pub(crate) async fn take<T>(&mut self, pick: impl Fn(&Downstream) -> Option<T>) -> T {
        let mut looked_at = 0;
        loop {
            while looked_at < self.waiting.len() {
                if let Some(found) = pick(&self.waiting[looked_at]) {
                    self.waiting.remove(looked_at);
                    return found;
                }
                looked_at += 1;
            }
            self.receive().await;
        }
    }

    async fn receive(&mut self) {
        let next = tokio::time::timeout(PATIENCE, self.tail.next()).await;
        match next.expect("a record comes in time") {
            TailEvent::Records(records) => {
                let decoded = records.into_iter().map(|record| Downstream::decode(record.value).unwrap());
                self.waiting.extend(decoded);
            }
            TailEvent::Lost(n) => panic!("{n} records were lost"),
        }
    }

    /// The ack of a message, whatever it says.
    pub(crate) async fn ack(&mut self, client_msg_id: &str) -> Ack {
        self.take(|record| match &record.body {
            Some(Body::Ack(ack)) if ack.client_msg_id == client_msg_id => Some(ack.clone()),
            _ => None,
        })
        .await
    }

    /// The place of a stored message: (id, seq).
    pub(crate) async fn stored(&mut self, client_msg_id: &str) -> (u64, u64) {
        let ack = self.ack(client_msg_id).await;
        assert_eq!(ack.status(), ack::Status::Stored, "{ack:?}");
        (ack.message_id, ack.seq_id)
    }

    /// The code of a rejection.
    pub(crate) async fn rejected(&mut self, client_msg_id: &str) -> u32 {
        let ack = self.ack(client_msg_id).await;
        assert_eq!(ack.status(), ack::Status::Rejected, "{ack:?}");
        assert!(!ack.reason.is_empty());
        ack.code
    }

    /// The delivery of a message and whom it is for, sorted.
    pub(crate) async fn delivery(&mut self, client_msg_id: &str) -> (Message, Vec<u64>) {
        let mut delivery = self
            .take(|record| match &record.body {
                Some(Body::Message(delivery)) if key_of(delivery) == client_msg_id => Some(delivery.clone()),
                _ => None,
            })
            .await;
        delivery.user_ids.sort_unstable();
        assert_eq!(delivery.everyone, delivery.user_ids.is_empty());
        (delivery.message.unwrap(), delivery.user_ids)
    }

    pub(crate) async fn receipt(&mut self) -> Receipt {
        self.take(|record| match &record.body {
            Some(Body::Receipt(receipt)) => Some(receipt.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn updated(&mut self) -> ConversationUpdated {
        self.take(|record| match &record.body {
            Some(Body::ConversationUpdated(update)) => Some(update.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn resync(&mut self) -> Resync {
        self.take(|record| match &record.body {
            Some(Body::Resync(resync)) => Some(resync.clone()),
            _ => None,
        })
        .await
    }
}

fn key_of(delivery: &Delivery) -> &str {
    delivery.message.as_ref().map_or("", |message| &message.client_msg_id)
}

/// What was told on a topic of events, in order.
pub(crate) struct EventLog<E> {
    tail: Tail,
    waiting: VecDeque<E>,
}

impl<E: prost::Message + Default> EventLog<E> {
    pub(crate) fn new(tail: Tail) -> Self {
        Self { tail, waiting: VecDeque::new() }
    }

    pub(crate) async fn next(&mut self) -> E {
        while self.waiting.is_empty() {
            let next = tokio::time::timeout(PATIENCE, self.tail.next()).await;
            let TailEvent::Records(records) = next.expect("an event comes in time") else {
                panic!("events were lost")
            };
            self.waiting.extend(records.into_iter().map(|record| E::decode(record.value).unwrap()));
        }
        self.waiting.pop_front().unwrap()
    }
}
