//! Which sends may go to the queue now; pure. Two rules: a bounded number in flight, and the order of one
//! sender in one conversation.

use bytes::Bytes;

/// The conversations of one connection in which a send was refused, each with the first refused message.
///
/// *Invariant:* while a conversation is listed, no later send of this connection goes to the queue in it, until the
/// first refused message returns. Otherwise a message after the hole would be stored before the one in the hole.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    first: Vec<Refused>,
}

#[derive(Debug)]
struct Refused {
    conversation_id: Bytes,
    client_msg_id: Bytes,
    /// Position among the sends of this connection.
    order: u32,
}

/// What the order rule says about a send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing stands before it.
    Free,
    /// It is the first refused message, back again.
    Returned,
    /// An earlier one has to return first.
    Behind,
}

impl Refusals {
    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    pub(crate) fn turn(&self, conversation_id: &[u8], client_msg_id: &[u8]) -> Turn {
        match self.first.iter().find(|entry| entry.conversation_id == conversation_id) {
            None => Turn::Free,
            Some(entry) if entry.client_msg_id == client_msg_id => Turn::Returned,
            Some(_) => Turn::Behind,
        }
    }

    /// Notes that a send was answered `retry`. `order` is its position among the connection's sends; when several
    /// in flight fail, the earliest of them is the one to wait for. False when more than `max` conversations would
    /// be listed: the connection must be closed, since its order can no longer be kept.
    pub(crate) fn refuse(
        &mut self,
        conversation_id: &Bytes,
        client_msg_id: &Bytes,
        order: u32,
        max: usize,
    ) -> bool {
        if let Some(entry) = self.first.iter_mut().find(|entry| entry.conversation_id == *conversation_id) {
            // Serial arithmetic: the counter may wrap, in-flight sends never span half of it.
            if order.wrapping_sub(entry.order).cast_signed() < 0 {
                *entry = refused(conversation_id, client_msg_id, order);
            }
            return true;
        }
        if self.first.len() >= max {
            return false;
        }
        self.first.push(refused(conversation_id, client_msg_id, order));
        true
    }

    /// The first refused message returned, or came to a final answer: the conversation is free.
    pub(crate) fn clear(&mut self, conversation_id: &[u8]) {
        self.first.retain(|entry| entry.conversation_id != conversation_id);
    }
}

/// Copies: a refused id may be a part of a whole message's buffer, which must not live as long as the refusal.
fn refused(conversation_id: &Bytes, client_msg_id: &Bytes, order: u32) -> Refused {
    Refused {
        conversation_id: Bytes::copy_from_slice(conversation_id),
        client_msg_id: Bytes::copy_from_slice(client_msg_id),
        order,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One step and what it must give.
    enum Step {
        Turn(&'static str, &'static str, Turn),
        Refuse(&'static str, &'static str, u32, bool),
        Clear(&'static str),
    }
    use Step::{Clear, Refuse};

    fn run(steps: &[Step]) {
        let mut refusals = Refusals::default();
        for (index, step) in steps.iter().enumerate() {
            match step {
                Step::Turn(conversation, id, expect) => {
                    assert_eq!(
                        refusals.turn(conversation.as_bytes(), id.as_bytes()),
                        *expect,
                        "step {index}"
                    );
                }
                Refuse(conversation, id, order, expect) => {
                    let taken = refusals.refuse(&Bytes::from(*conversation), &Bytes::from(*id), *order, 2);
                    assert_eq!(taken, *expect, "step {index}");
                }
                Clear(conversation) => refusals.clear(conversation.as_bytes()),
            }
        }
    }

    #[test]
    fn after_a_retry_all_wait_until_the_first_refused_returns() {
        run(&[
            Step::Turn("a", "1", Turn::Free),
            Refuse("a", "1", 0, true),
            Step::Turn("a", "2", Turn::Behind),
            Step::Turn("b", "2", Turn::Free),
            Step::Turn("a", "1", Turn::Returned),
            Clear("a"),
            Step::Turn("a", "2", Turn::Free),
        ]);
    }

    #[test]
    fn of_several_that_fail_in_flight_the_earliest_counts() {
        run(&[
            Refuse("a", "2", 8, true),
            Refuse("a", "3", 9, true),
            Refuse("a", "1", 7, true),
            Step::Turn("a", "2", Turn::Behind),
            Step::Turn("a", "1", Turn::Returned),
        ]);
        run(&[
            Refuse("a", "new", 1, true),
            Refuse("a", "old", u32::MAX, true),
            Step::Turn("a", "old", Turn::Returned),
        ]);
    }

    #[test]
    fn the_list_is_bounded() {
        run(&[
            Refuse("a", "1", 0, true),
            Refuse("b", "1", 1, true),
            Refuse("c", "1", 2, false),
            Refuse("b", "2", 3, true),
            Clear("a"),
            Refuse("c", "1", 4, true),
        ]);
    }
}
