//! One conversation as its members saw it, put together frame by frame for the load suite's checker.

use std::collections::HashMap;

use gochat_perf::checker::{
    ConversationHistory, Entry, History, MemberHistory, MessageKey, SendRecord, Stored, Verdict, check,
};
use serde_json::Value;

use super::User;

/// Members are numbered in the order in which they are given. A message's content is its clientMsgId.
pub struct Witness {
    conversation: ConversationHistory,
    keys: HashMap<String, MessageKey>,
    /// Acks of messages that nobody wrote.
    strange: Vec<String>,
}

impl Witness {
    pub fn new(conversation_id: &str, members: &[&User]) -> Witness {
        let member = |user: &&User| MemberHistory {
            user_id: user.id.parse().expect("ids are numbers"),
            ..MemberHistory::default()
        };
        let members = members.iter().map(member).collect();
        let conversation = ConversationHistory { id: conversation_id.to_owned(), base_seq: 0, members };
        Witness { conversation, keys: HashMap::new(), strange: Vec::new() }
    }

    /// The member wrote a message; to be told once, whatever is sent again.
    pub fn wrote(&mut self, member: usize, key: &str) {
        let sends = &mut self.conversation.members[member].sends;
        let place = MessageKey { member: member as u32, n: sends.len() as u32 };
        sends.push(SendRecord::default());
        assert!(self.keys.insert(key.to_owned(), place).is_none(), "{key} is written once");
    }

    /// The data of a `message-ack`.
    pub fn acked(&mut self, data: &Value) {
        let key = data["tempMessageId"].as_str().and_then(|key| self.keys.get(key)).copied();
        let Some(key) = key else {
            self.strange.push(data.to_string());
            return;
        };
        let send = &mut self.conversation.members[key.member as usize].sends[key.n as usize];
        match data["status"].as_str() {
            Some("accepted") => send.accepted = true,
            Some("stored") => {
                let id = data["messageId"].as_str().and_then(|id| id.parse().ok());
                let (Some(seq), Some(message_id)) = (data["seqId"].as_u64(), id) else {
                    panic!("no place in {data}")
                };
                let stored = Stored { seq, message_id };
                send.contradicted |=
                    send.stored.is_some_and(|first| first != stored) || send.rejected.is_some();
                send.stored.get_or_insert(stored);
            }
            Some("rejected") => {
                send.contradicted |= send.stored.is_some();
                send.rejected = data["code"].as_u64().map(|code| code as u32);
            }
            _ => {}
        }
    }

    /// Messages as the member's application is given them: what it has already is dropped.
    pub fn delivered(&mut self, member: usize, messages: &[Value]) {
        for message in messages {
            let entry = self.entry(message);
            let deliveries = &mut self.conversation.members[member].deliveries;
            if !deliveries.iter().any(|known| known.seq == entry.seq && known.message_id == entry.message_id)
            {
                deliveries.push(entry);
            }
        }
    }

    /// The last seq that the member's application has.
    pub fn has(&self, member: usize) -> u64 {
        self.conversation.members[member].deliveries.last().map_or(0, |entry| entry.seq)
    }

    /// At the end: what the member has not been given live he syncs, and shows it at its place, as every client does.
    pub fn caught_up(&mut self, member: usize, all: &[Value]) {
        self.delivered(member, all);
        self.conversation.members[member].deliveries.sort_by_key(|entry| entry.seq);
    }

    /// The member's whole history, as the server tells it at the end.
    pub fn page(&mut self, member: usize, messages: &[Value]) {
        let entries: Vec<Entry> = messages.iter().map(|message| self.entry(message)).collect();
        self.conversation.members[member].page.extend(entries);
    }

    fn entry(&self, message: &Value) -> Entry {
        let text = |name: &str| message[name].as_str().unwrap_or_else(|| panic!("{name} in {message}"));
        let key = self.keys.get(text("clientMsgId")).copied().filter(|key| {
            let writer = self.conversation.members[key.member as usize].user_id;
            text("sender") == writer.to_string() && text("content") == text("clientMsgId")
        });
        let message_id = text("messageId").parse().expect("ids are numbers");
        Entry { seq: message["seqId"].as_u64().expect("a seq"), message_id, key }
    }

    /// Everything was answered for good, and all that was told and seen keeps the promises.
    pub fn judge(self) -> Result<(), String> {
        let sends = |key: &MessageKey| &self.conversation.members[key.member as usize].sends[key.n as usize];
        let open: Vec<&String> =
            self.keys.iter().filter(|(_, key)| !sends(key).is_final()).map(|(name, _)| name).collect();
        if !open.is_empty() {
            return Err(format!("never answered for good: {open:?}"));
        }
        if !self.strange.is_empty() {
            return Err(format!("acks of what nobody wrote: {:?}", self.strange));
        }
        let verdict = self.verdict();
        if verdict.holds() { Ok(()) } else { Err(verdict.to_string()) }
    }

    /// The load suite's verdict on what is known so far, whatever was answered.
    pub fn verdict(self) -> Verdict {
        check(&History { conversations: vec![self.conversation] })
    }
}
