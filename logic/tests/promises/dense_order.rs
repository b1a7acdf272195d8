//! Promise: in a conversation seq_id is 1, 2, 3, … with no gap and no reuse, one sender's messages keep his order,
//! and every ack names the place that the store has, whatever fails on the way.
//!
//! Method: conversations are filled concurrently while saves are refused, or done with their answers lost, and while
//! reads fail; then acks, deliveries and the store are compared.
use std::collections::HashMap;

use crate::support::House;
use crate::support::faults::Fault;

const CONVERSATIONS: u64 = 8;
const MESSAGES: u64 = 40;
/// The next wave is sent when all of the one before is stored, so there are at least so many saves: on a slow machine all that is
/// sent at once may be one, and then the second fault would never happen.
const WAVES: u64 = 4;

fn conversation(n: u64) -> String {
    format!("single_{n}_{}", n + CONVERSATIONS)
}

async fn fill_and_check(house: &House) {
    house.seed_users(2 * CONVERSATIONS).await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    let mut acked = HashMap::new();
    for wave in 0..WAVES {
        let numbers = wave * MESSAGES / WAVES..(wave + 1) * MESSAGES / WAVES;
        let senders = (1..=CONVERSATIONS).map(|n| {
            let numbers = numbers.clone();
            async move {
                for m in numbers {
                    // Both write, in turns.
                    let sender = if m % 2 == 0 { n } else { n + CONVERSATIONS };
                    house.send(sender, &conversation(n), &format!("c{n}-{m}"), &format!("text {m}")).await;
                }
            }
        });
        join_all(senders).await;
        for n in 1..=CONVERSATIONS {
            for m in numbers.clone() {
                let key = format!("c{n}-{m}");
                acked.insert(key.clone(), inbox.stored(&key).await);
            }
        }
    }
    running.stop().await;
    assert_eq!(house.faults.left(), 0, "all faults happened");
    for n in 1..=CONVERSATIONS {
        let stored = house.dense(&conversation(n)).await;
        let order: Vec<String> = (0..MESSAGES).map(|m| format!("c{n}-{m}")).collect();
        assert_eq!(stored.iter().map(|message| message.client_msg_id.clone()).collect::<Vec<_>>(), order);
        for message in stored {
            assert_eq!(acked[&message.client_msg_id], (message.message_id, message.seq_id));
        }
    }
}

async fn join_all(tasks: impl Iterator<Item = impl Future<Output = ()>>) {
    // Polled in turns by one task: concurrent enough, and in an order that each conversation decides.
    let mut tasks: Vec<_> = tasks.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        tasks.retain_mut(|task| task.as_mut().poll(cx).is_pending());
        if tasks.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn when_all_is_well() {
    fill_and_check(&House::open().await).await;
}

#[tokio::test]
async fn when_saves_are_refused() {
    let house = House::open().await;
    house.faults.plan("SaveMessages", 7, Fault::Refuse);
    fill_and_check(&house).await;
}

#[tokio::test]
async fn when_saves_are_done_and_their_answers_are_lost() {
    let house = House::open().await;
    house.faults.plan("SaveMessages", 3, Fault::LoseAnswer);
    fill_and_check(&house).await;
}

#[tokio::test]
async fn when_the_store_cannot_be_read() {
    let house = House::open().await;
    house.faults.plan("GetConversationStates", 2, Fault::Refuse);
    house.faults.plan("FindMessages", 2, Fault::LoseAnswer);
    house.faults.plan("SaveMessages", 1, Fault::LoseAnswer);
    house.faults.plan("SaveMessages", 1, Fault::Refuse);
    fill_and_check(&house).await;
}
