//! What a connection was told of in its first seconds; pure. A router may not know of a session until a few seconds
//! after it was written, so heads are compared once more with what is noted here.

use std::collections::HashMap;

use gochat_core::ConnId;
use gochat_proto::common::v1::Head;

use crate::downstream::split::Place;

/// The connections of a shard whose second comparison is still to come, by user.
#[derive(Debug)]
pub(crate) struct Rechecks {
    by_user: HashMap<u64, Vec<Recheck>>,
    len: usize,
    max: usize,
    /// Heads that may still be kept.
    room: usize,
}

#[derive(Debug)]
struct Recheck {
    conn: ConnId,
    told: HashMap<Box<str>, u64>,
    /// Something that it was told of found no room.
    incomplete: bool,
}

impl Recheck {
    /// False when there is no room for one more conversation.
    fn raise(&mut self, room: &mut usize, conversation_id: &str, seq: u64) -> bool {
        match self.told.get_mut(conversation_id) {
            Some(known) => *known = (*known).max(seq),
            None if *room == 0 => return false,
            None => {
                *room -= 1;
                self.told.insert(conversation_id.into(), seq);
            }
        }
        true
    }
}

impl Rechecks {
    /// At most `max` connections, and `heads_max` heads of all of them.
    pub(crate) fn new(max: usize, heads_max: usize) -> Self {
        Rechecks { by_user: HashMap::new(), len: 0, max, room: heads_max }
    }

    /// Takes room for heads that are kept elsewhere. False when there is not enough.
    pub(crate) fn take_room(&mut self, heads: usize) -> bool {
        let enough = heads <= self.room;
        if enough {
            self.room -= heads;
        }
        enough
    }

    pub(crate) fn give_room(&mut self, heads: usize) {
        self.room += heads;
    }

    /// Notes what the client has, or was just told of. False when there is no room for one more connection, or for
    /// these heads: then it is not watched.
    pub(crate) fn note(&mut self, user_id: u64, conn: ConnId, heads: &[Head]) -> bool {
        if !self.watches(user_id, conn) {
            if self.len >= self.max {
                return false;
            }
            self.len += 1;
            let recheck = Recheck { conn, told: HashMap::new(), incomplete: false };
            self.by_user.entry(user_id).or_default().push(recheck);
        }
        let Some(recheck) = find(&mut self.by_user, user_id, conn) else { return false };
        let room = &mut self.room;
        let all = heads.iter().all(|head| recheck.raise(room, &head.conversation_id, head.last_seq));
        if !all {
            self.forget(user_id, conn);
        }
        all
    }

    /// A message went to all connections of a user.
    pub(crate) fn delivered(&mut self, user_id: u64, place: &Place) {
        if self.by_user.is_empty() {
            return;
        }
        for recheck in self.by_user.get_mut(&user_id).into_iter().flatten() {
            recheck.incomplete |= !recheck.raise(&mut self.room, &place.conversation_id, place.seq);
        }
    }

    /// A message went to all connections of the shard.
    pub(crate) fn delivered_to_all(&mut self, place: &Place) {
        for recheck in self.by_user.values_mut().flatten() {
            recheck.incomplete |= !recheck.raise(&mut self.room, &place.conversation_id, place.seq);
        }
    }

    /// Whether the second comparison of this connection is still to come.
    pub(crate) fn watches(&mut self, user_id: u64, conn: ConnId) -> bool {
        find(&mut self.by_user, user_id, conn).is_some()
    }

    /// What is noted, for the question.
    pub(crate) fn told(&mut self, user_id: u64, conn: ConnId) -> Option<Vec<Head>> {
        let recheck = find(&mut self.by_user, user_id, conn)?;
        let heads = recheck.told.iter();
        Some(heads.map(|(id, seq)| Head { conversation_id: id.to_string(), last_seq: *seq }).collect())
    }

    /// Ends the watch: whether one of these heads is above what the client was told of, live messages included.
    pub(crate) fn end(&mut self, user_id: u64, conn: ConnId, changed: &[Head]) -> bool {
        let Some(recheck) = self.remove(user_id, conn) else { return false };
        let unheard = changed.iter().any(|head| {
            recheck.told.get(head.conversation_id.as_str()).is_none_or(|told| head.last_seq > *told)
        });
        recheck.incomplete || unheard
    }

    fn remove(&mut self, user_id: u64, conn: ConnId) -> Option<Recheck> {
        let of_user = self.by_user.get_mut(&user_id)?;
        let at = of_user.iter().position(|recheck| recheck.conn == conn)?;
        let recheck = of_user.swap_remove(at);
        if of_user.is_empty() {
            self.by_user.remove(&user_id);
        }
        self.len -= 1;
        self.room += recheck.told.len();
        Some(recheck)
    }

    /// The connection has ended.
    pub(crate) fn forget(&mut self, user_id: u64, conn: ConnId) {
        self.remove(user_id, conn);
    }
}

fn find(by_user: &mut HashMap<u64, Vec<Recheck>>, user_id: u64, conn: ConnId) -> Option<&mut Recheck> {
    by_user.get_mut(&user_id)?.iter_mut().find(|recheck| recheck.conn == conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(id: &str, last_seq: u64) -> Head {
        Head { conversation_id: id.into(), last_seq }
    }

    fn place(id: &str, seq: u64) -> Place {
        Place { conversation_id: id.into(), seq, created_at_ms: 0 }
    }

    #[test]
    fn only_what_the_client_was_not_told_of_counts() {
        let conn = ConnId::from_u64(7);
        let check = |changed: &[Head], expect: bool| {
            let mut rechecks = Rechecks::new(1, 100);
            assert!(rechecks.note(1, conn, &[head("a", 3)]));
            assert!(rechecks.note(1, conn, &[head("b", 5), head("a", 2)]));
            rechecks.delivered(1, &place("b", 6));
            rechecks.delivered(2, &place("b", 9));
            rechecks.delivered_to_all(&place("world", 4));
            assert_eq!(rechecks.end(1, conn, changed), expect, "{changed:?}");
            assert_eq!((rechecks.len, rechecks.by_user.len()), (0, 0));
            assert!(!rechecks.end(1, conn, changed), "it has ended");
        };
        check(&[], false);
        check(&[head("a", 3), head("b", 6), head("world", 4)], false);
        check(&[head("a", 4)], true);
        check(&[head("b", 7)], true);
        check(&[head("new", 1)], true);
    }

    #[test]
    fn there_is_room_for_so_many_heads_only() {
        let (one, two) = (ConnId::from_u64(1), ConnId::from_u64(2));
        let mut rechecks = Rechecks::new(9, 3);
        assert!(rechecks.take_room(1));
        assert!(rechecks.note(1, one, &[head("a", 1), head("b", 1)]));
        assert!(!rechecks.take_room(1));
        assert!(!rechecks.note(2, two, &[head("a", 1)]), "no room, and not watched");
        assert!(!rechecks.watches(2, two));
        assert!(rechecks.note(1, one, &[head("a", 2)]), "known ones take none");
        // A live message that can't be noted: the client has to make the comparison.
        rechecks.delivered(1, &place("c", 1));
        assert!(rechecks.end(1, one, &[]));
        rechecks.give_room(1);
        assert_eq!((rechecks.room, rechecks.len), (3, 0));
    }

    #[test]
    fn there_is_room_for_so_many_connections_only() {
        let (one, two) = (ConnId::from_u64(1), ConnId::from_u64(2));
        let mut rechecks = Rechecks::new(1, 100);
        assert!(rechecks.note(1, one, &[]));
        assert!(!rechecks.note(1, two, &[]));
        assert!(rechecks.note(1, one, &[head("a", 1)]));
        rechecks.forget(1, two);
        rechecks.forget(1, one);
        assert!(rechecks.note(2, two, &[head("a", 1)]));
        assert_eq!(rechecks.told(2, two), Some(vec![head("a", 1)]));
        assert_eq!(rechecks.told(2, one), None);
    }
}
