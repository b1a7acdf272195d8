//! What numbered messages say, and what the checker is told of those that came. Pure.

use crate::checker::{ConversationHistory, Entry, MemberHistory, MessageKey, SendRecord, Stored};

/// Shorter messages have no room for their numbers.
pub(crate) const MESSAGE_BYTES_MIN: usize = 24;

/// Which message of which connection, filled up to the size.
pub(super) fn content(index: usize, n: u64, bytes: usize) -> String {
    let mut text = format!("{index}-{n}-");
    text.extend(std::iter::repeat_n('e', bytes.saturating_sub(text.len())));
    text
}

/// A history that nothing has happened in; member 0 is the sender.
pub(super) fn history(id: String, members: usize) -> ConversationHistory {
    ConversationHistory { id, base_seq: 0, members: vec![MemberHistory::default(); members] }
}

/// Notes one more message as sent, and gives its number. Such a server acknowledges nothing: a message counts as promised
/// when it is written, for the checker to miss it.
pub(super) fn note_sent(sender: &mut MemberHistory) -> u64 {
    let n = sender.sends.len() as u64;
    let stored = Some(Stored { seq: n + 1, message_id: n + 1 });
    sender.sends.push(SendRecord { accepted: true, stored, ..SendRecord::default() });
    n
}

/// Notes a message that came to `member`; `sent`: how many `sender` has written.
pub(super) fn note_came(member: &mut MemberHistory, sender: usize, sent: u64, text: &str, bytes: usize) {
    let n = text.split('-').nth(1).and_then(|n| n.parse::<u64>().ok());
    let ours = n.filter(|n| *n < sent && text == content(sender, *n, bytes));
    // What nobody wrote stands at the place where it came.
    let seq = ours.unwrap_or(member.page.len() as u64) + 1;
    let key = ours.map(|n| MessageKey { member: 0, n: n as u32 });
    let entry = Entry { seq, message_id: seq, key };
    member.page.push(entry);
    member.deliveries.push(entry);
}
