//! A batch of records, sorted by the shards that its receivers live on; pure.

use bytes::Bytes;
use gochat_core::{ConnId, home_of};
use gochat_proto::queue::v1::Downstream;
use prost::Message as _;

use super::render::{Rendered, To, render};
use crate::upstream::unfinished::SendKey;

/// Something that a shard has to do.
#[derive(Debug)]
pub(crate) enum Item {
    /// A frame for all devices of some users of the shard.
    Users { frame: Bytes, users: Vec<u64>, place: Option<Place>, droppable: bool },
    /// A message for every connection of the shard; a slow one may miss it.
    Everyone { frame: Bytes, place: Place },
    /// The final answer to a send for its connection, if it is still there and still that user's.
    Ack { frame: Bytes, user_id: u64, conn: ConnId, send: SendKey, stored: bool },
    /// `resync` to some users of the shard, or to all, spread over this time.
    Resync { users: Option<Vec<u64>>, spread_ms: u64 },
}

/// Where a message stands.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) conversation_id: std::sync::Arc<str>,
    pub(crate) seq: u64,
    /// When it was numbered; Unix milliseconds.
    pub(crate) created_at_ms: i64,
}

/// What a batch came to.
#[derive(Debug)]
pub(crate) struct Split {
    /// One entry a shard, in order.
    pub(crate) shards: Vec<ShardBatch>,
    /// Records for another instance of this slot, now or earlier.
    pub(crate) foreign: u64,
    /// Records that could not be read.
    pub(crate) unreadable: u64,
}

#[derive(Debug, Default)]
pub(crate) struct ShardBatch {
    pub(crate) items: Vec<Item>,
    /// What it counts for in the mailbox.
    pub(crate) cost_bytes: usize,
}

impl ShardBatch {
    fn push(&mut self, item: Item) {
        const ITEM_BYTES: usize = 96;
        self.cost_bytes += ITEM_BYTES
            + match &item {
                Item::Users { frame, users, .. } => frame.len() + users.len() * 8,
                Item::Everyone { frame, .. } | Item::Ack { frame, .. } => frame.len(),
                Item::Resync { users, .. } => users.as_ref().map_or(0, |users| users.len() * 8),
            };
        self.items.push(item);
    }
}

pub(crate) fn split<'a>(
    records: impl IntoIterator<Item = &'a [u8]>,
    instance: &str,
    shards: usize,
    now_ms: i64,
) -> Split {
    let mut split =
        Split { shards: (0..shards).map(|_| ShardBatch::default()).collect(), foreign: 0, unreadable: 0 };
    for value in records {
        let Ok(record) = Downstream::decode(value) else {
            split.unreadable += 1;
            continue;
        };
        if record.gateway_instance != instance {
            split.foreign += 1;
            continue;
        }
        match render(record, now_ms) {
            Rendered::Users { frame, users } => {
                sort_users(&mut split.shards, &frame, users, None, false);
            }
            Rendered::Message { frame, to, place, droppable } => match to {
                To::Users(users) => sort_users(&mut split.shards, &frame, users, Some(&place), droppable),
                To::Everyone => split.shards.iter_mut().for_each(|shard| {
                    shard.push(Item::Everyone { frame: frame.clone(), place: place.clone() });
                }),
            },
            Rendered::Ack { frame, user_id, connection_id, send, stored } => {
                let conn = ConnId::from_u64(connection_id);
                let home = home_of(user_id, split.shards.len());
                split.shards[home].push(Item::Ack { frame, user_id, conn, send, stored });
            }
            Rendered::Resync { to, spread_ms } => sort_resync(&mut split.shards, to, spread_ms),
            Rendered::Unknown => split.unreadable += 1,
        }
    }
    split
}

fn sort_users(
    shards: &mut [ShardBatch],
    frame: &Bytes,
    users: Vec<u64>,
    place: Option<&Place>,
    droppable: bool,
) {
    by_home(shards.len(), users, |home, users| {
        shards[home].push(Item::Users { frame: frame.clone(), users, place: place.cloned(), droppable });
    });
}

fn sort_resync(shards: &mut [ShardBatch], to: To, spread_ms: u64) {
    match to {
        To::Everyone => {
            shards.iter_mut().for_each(|shard| shard.push(Item::Resync { users: None, spread_ms }));
        }
        To::Users(users) => by_home(shards.len(), users, |home, users| {
            shards[home].push(Item::Resync { users: Some(users), spread_ms });
        }),
    }
}

/// Calls `each` once for every shard that is home to some of the users.
fn by_home(shards: usize, users: Vec<u64>, mut each: impl FnMut(usize, Vec<u64>)) {
    if shards == 1 {
        return each(0, users);
    }
    let mut homes: Vec<Vec<u64>> = vec![Vec::new(); shards];
    for user in users {
        homes[home_of(user, shards)].push(user);
    }
    homes
        .into_iter()
        .enumerate()
        .filter(|(_, users)| !users.is_empty())
        .for_each(|(home, users)| each(home, users));
}

#[cfg(test)]
mod tests {
    use gochat_proto::{
        common::v1::Message,
        queue::v1::{Ack, Delivery, Receipt, Resync, ack, downstream::Body},
    };

    use super::*;

    fn record(instance: &str, body: Body) -> Vec<u8> {
        Downstream { gateway_instance: instance.into(), body: Some(body) }.encode_to_vec()
    }

    fn message(users: &[u64], everyone: bool) -> Body {
        let message = Message { conversation_id: "world".into(), seq_id: 4, ..Message::default() };
        Body::Message(Delivery {
            message: Some(message),
            user_ids: users.to_vec(),
            everyone,
            droppable: false,
        })
    }

    fn run(records: &[Vec<u8>], shards: usize) -> Split {
        split(records.iter().map(Vec::as_slice), "me", shards, 5)
    }

    #[test]
    fn users_are_sorted_by_home_and_the_frame_is_shared() {
        let users: Vec<u64> = (1..=100).collect();
        let split = run(&[record("me", message(&users, false))], 3);
        let mut seen = Vec::new();
        let mut frames = Vec::new();
        for (home, shard) in split.shards.iter().enumerate() {
            let [Item::Users { frame, users, place: Some(place), droppable: false }] = shard.items.as_slice()
            else {
                panic!("one item a shard, not {:?}", shard.items)
            };
            assert!(users.iter().all(|user| home_of(*user, 3) == home));
            assert_eq!((place.conversation_id.as_ref(), place.seq), ("world", 4));
            assert!(shard.cost_bytes >= frame.len() + users.len() * 8);
            seen.extend_from_slice(users);
            frames.push(frame.as_ptr());
        }
        seen.sort_unstable();
        assert_eq!(seen, users);
        assert!(frames.iter().all(|frame| *frame == frames[0]), "all shards share one buffer");
    }

    #[test]
    fn everyone_is_on_every_shard() {
        let all = Body::Resync(Resync { user_ids: vec![], spread_ms: 9 });
        let split = run(&[record("me", message(&[], true)), record("me", all)], 2);
        for shard in &split.shards {
            assert!(matches!(
                shard.items.as_slice(),
                [Item::Everyone { .. }, Item::Resync { users: None, spread_ms: 9 }]
            ));
        }
    }

    #[test]
    fn acks_go_to_the_shard_of_their_user() {
        let ack = Ack { user_id: 7, connection_id: 99, status: ack::Status::Stored as i32, ..Ack::default() };
        let split = run(&[record("me", Body::Ack(ack))], 4);
        for (home, shard) in split.shards.iter().enumerate() {
            match shard.items.as_slice() {
                [] => assert_ne!(home, home_of(7, 4)),
                [Item::Ack { user_id: 7, conn, .. }] => {
                    assert_eq!((home, conn.to_u64()), (home_of(7, 4), 99));
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn what_is_not_for_us_is_dropped_and_counted() {
        let receipt = Body::Receipt(Receipt { user_ids: vec![1], ..Receipt::default() });
        let unknown = Downstream { gateway_instance: "me".into(), body: None }.encode_to_vec();
        let records =
            [record("other", receipt.clone()), b"\xff\xff".to_vec(), unknown, record("me", receipt)];
        let split = run(&records, 1);
        assert_eq!((split.foreign, split.unreadable, split.shards[0].items.len()), (1, 2, 1));
    }
}
