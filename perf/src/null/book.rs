//! What the null server knows, as pure code: a frame of a user comes in, frames for connections go out.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Where a frame goes: a connection's place in the server.
pub(super) type Place = usize;

#[derive(Debug)]
pub(super) struct Book {
    conversations: HashMap<String, Conversation>,
    online: HashMap<u64, Vec<Place>>,
    users: u64,
    messages: u64,
    messages_max: u64,
}

#[derive(Debug, Default)]
struct Conversation {
    /// The first has seq 1.
    messages: Vec<Kept>,
    seqs: HashMap<Box<str>, u64>,
}

#[derive(Debug)]
struct Kept {
    id: u64,
    sender: u64,
    client_msg_id: Box<str>,
    /// As it came, in its quotes.
    content: Box<str>,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Send<'a> {
    #[serde(borrow)]
    conversation_id: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(borrow)]
    client_msg_id: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Heads<'a> {
    #[serde(borrow)]
    conversations: HashMap<Cow<'a, str>, u64>,
    page_limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sync<'a> {
    #[serde(borrow)]
    conversation_id: Cow<'a, str>,
    after_seq: u64,
    limit: usize,
}

impl Book {
    pub(super) fn new(messages_max: u64) -> Book {
        Book { conversations: HashMap::new(), online: HashMap::new(), users: 0, messages: 0, messages_max }
    }

    /// Each log-in makes a user.
    pub(super) fn log_in(&mut self) -> u64 {
        self.users += 1;
        self.users
    }

    /// The first frame of a connection.
    pub(super) fn came(&mut self, user: u64, place: Place) -> String {
        self.online.entry(user).or_default().push(place);
        format!(
            r#"{{"type":"hello","data":{{"protocol":1,"userId":"{user}","heartbeatMs":30000,"headsIntervalMs":300000,"epoch":1}},"timestamp":0}}"#
        )
    }

    pub(super) fn went(&mut self, user: u64, place: Place) {
        if let Some(places) = self.online.get_mut(&user) {
            places.retain(|other| *other != place);
        }
    }

    /// What can't be read is answered by nothing: the load finds that out.
    pub(super) fn hear(&mut self, user: u64, place: Place, text: &str, out: &mut Vec<(Place, String)>) {
        let Ok(request) = serde_json::from_str::<Request<'_>>(text) else { return };
        let data = request.data.get();
        match &*request.kind {
            "send-message" => {
                if let Ok(send) = serde_json::from_str(data) {
                    self.on_send(user, place, &send, out);
                }
            }
            "heads" => {
                if let Ok(heads) = serde_json::from_str(data) {
                    self.on_heads(place, &heads, out);
                }
            }
            "sync" => {
                if let Ok(Sync { conversation_id, after_seq, limit }) = serde_json::from_str(data) {
                    out.push((place, self.page(&conversation_id, after_seq, limit, request.id.as_deref())));
                }
            }
            "ping" => out.push((place, r#"{"type":"pong","data":{},"timestamp":0}"#.to_owned())),
            _ => {}
        }
    }

    fn on_send(&mut self, user: u64, place: Place, send: &Send<'_>, out: &mut Vec<(Place, String)>) {
        let (name, client_msg_id) = (&*send.conversation_id, &*send.client_msg_id);
        if self.messages >= self.messages_max {
            out.push((place, ack(client_msg_id, name, "rejected", r#","code":1013"#)));
            return;
        }
        if !self.conversations.contains_key(name) {
            self.conversations.insert(name.to_owned(), Conversation::default());
        }
        let Some(talk) = self.conversations.get_mut(name) else { return };
        let stored = |kept: &Kept, seq: u64| {
            ack(client_msg_id, name, "stored", &format!(r#","messageId":"{}","seqId":{seq}"#, kept.id))
        };
        if let Some(seq) = talk.seqs.get(client_msg_id) {
            out.push((place, stored(&talk.messages[*seq as usize - 1], *seq)));
            return;
        }
        self.messages += 1;
        let (client_id, content) = (Box::from(client_msg_id), Box::from(send.content.get()));
        let kept = Kept { id: self.messages, sender: user, client_msg_id: client_id, content };
        let seq = talk.messages.len() as u64 + 1;
        out.push((place, ack(client_msg_id, name, "accepted", "")));
        out.push((place, stored(&kept, seq)));
        let live = format!(r#"{{"type":"new-message","data":{},"timestamp":0}}"#, kept.json(name, seq));
        for member in members(name) {
            let places = self.online.get(&member).into_iter().flatten();
            out.extend(places.map(|place| (*place, live.clone())));
        }
        talk.seqs.insert(client_msg_id.into(), seq);
        talk.messages.push(kept);
    }

    fn on_heads(&self, place: Place, heads: &Heads<'_>, out: &mut Vec<(Place, String)>) {
        let changed: Vec<(&str, u64, u64)> = heads
            .conversations
            .iter()
            .filter_map(|(name, have)| {
                let last = self.conversations.get(&**name)?.messages.len() as u64;
                (last > *have).then_some((&**name, *have, last))
            })
            .collect();
        let words: Vec<String> = changed
            .iter()
            .map(|(name, _, last)| format!(r#"{{"conversationId":"{name}","lastSeq":{last}}}"#))
            .collect();
        let words = words.join(",");
        out.push((
            place,
            format!(
                r#"{{"type":"heads","id":"heads","data":{{"changed":[{words}],"epoch":1}},"timestamp":0}}"#
            ),
        ));
        if let Some(limit) = heads.page_limit {
            out.extend(changed.iter().map(|(name, have, _)| (place, self.page(name, *have, limit, None))));
        }
    }

    fn page(&self, name: &str, after_seq: u64, limit: usize, id: Option<&str>) -> String {
        let messages = self.conversations.get(name).map_or(&[][..], |talk| &talk.messages);
        let rest = messages.get(after_seq as usize..).unwrap_or_default();
        let page = &rest[..limit.min(rest.len())];
        let mut text = r#"{"type":"sync-page","#.to_owned();
        if let Some(id) = id {
            let _ = write!(text, r#""id":"{id}","#);
        }
        let _ = write!(text, r#""data":{{"conversationId":"{name}","messages":["#);
        for (seq, kept) in (after_seq + 1..).zip(page) {
            if seq > after_seq + 1 {
                text.push(',');
            }
            text += &kept.json(name, seq);
        }
        let more = rest.len() > page.len();
        let _ = write!(text, r#"],"hasMore":{more},"epoch":1}},"timestamp":0}}"#);
        text
    }
}

impl Kept {
    fn json(&self, name: &str, seq: u64) -> String {
        let Kept { id, sender, client_msg_id, content } = self;
        format!(
            r#"{{"messageId":"{id}","conversationId":"{name}","sender":"{sender}","content":{content},"messageType":"text","seqId":{seq},"clientMsgId":"{client_msg_id}","createdAt":0}}"#
        )
    }
}

fn ack(client_msg_id: &str, name: &str, status: &str, more: &str) -> String {
    format!(
        r#"{{"type":"message-ack","data":{{"tempMessageId":"{client_msg_id}","conversationId":"{name}","status":"{status}"{more}}},"timestamp":0}}"#
    )
}

/// Of `single_{lo}_{hi}`.
fn members(name: &str) -> impl Iterator<Item = u64> {
    name.split('_').skip(1).filter_map(|user| user.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, Ack, AckStatus, Incoming};

    fn hear(book: &mut Book, user: u64, text: &str) -> Vec<(Place, String)> {
        let mut out = Vec::new();
        book.hear(user, user as usize, text, &mut out);
        out
    }

    fn stored_seq(text: &str) -> Option<u64> {
        match wire::parse(text).unwrap() {
            Incoming::Ack(Ack { status: AckStatus::Stored, seq_id, .. }) => seq_id,
            _ => None,
        }
    }

    #[test]
    fn what_is_said_is_acknowledged_delivered_and_kept() {
        let mut book = Book::new(2);
        assert_eq!((book.log_in(), book.log_in()), (1, 2));
        for user in [1, 2] {
            assert!(matches!(wire::parse(&book.came(user, user as usize)), Ok(Incoming::Hello { .. })));
        }
        let said = wire::send_message("single_1_2", "r-1", "a b");
        let answers = hear(&mut book, 1, &said);
        let places: Vec<Place> = answers.iter().map(|(place, _)| *place).collect();
        assert_eq!(places, [1, 1, 1, 2], "accepted, stored, and to both");
        assert_eq!(stored_seq(&answers[1].1), Some(1));
        let Incoming::Message(live) = wire::parse(&answers[3].1).unwrap() else { panic!("{answers:?}") };
        assert_eq!((&*live.content, &*live.sender, live.seq_id), ("a b", "1", 1));
        assert_eq!(stored_seq(&hear(&mut book, 1, &said)[0].1), Some(1), "again: the same place");
        book.went(2, 2);
        assert_eq!(hear(&mut book, 1, &wire::send_message("single_1_2", "r-2", "c")).len(), 3);
        let full = hear(&mut book, 1, &wire::send_message("single_1_2", "r-3", "d"));
        assert!(full[0].1.contains("rejected"), "{full:?}");
        let page = hear(&mut book, 2, &wire::sync("single_1_2", 0, 1, "final-0"));
        let Incoming::Page { page, id } = wire::parse(&page[0].1).unwrap() else { panic!("{page:?}") };
        assert_eq!((page.messages.len(), page.has_more, id.as_deref()), (1, true, Some("final-0")));
        let heads = hear(&mut book, 2, &wire::heads([("single_1_2", 1)].into_iter(), Some(9)));
        let Incoming::Heads(changed) = wire::parse(&heads[0].1).unwrap() else { panic!("{heads:?}") };
        assert_eq!((changed.len(), changed[0].last_seq), (1, 2));
        let Incoming::Page { page, .. } = wire::parse(&heads[1].1).unwrap() else { panic!("{heads:?}") };
        assert_eq!((page.messages[0].seq_id, page.has_more), (2, false));
    }
}
