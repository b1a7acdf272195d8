//! What the fake keeps: conversations, who is online, and what a fault holds back.

use std::collections::{BTreeSet, HashMap};
use std::sync::mpsc::Sender;

use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) seq: u64,
    pub(super) id: u64,
    pub(super) sender: u64,
    pub(super) client_msg_id: String,
    pub(super) content: String,
}

impl Stored {
    pub(super) fn json(&self, conversation: &str) -> Value {
        json!({"messageId": self.id.to_string(), "conversationId": conversation, "sender": self.sender.to_string(),
            "content": self.content, "messageType": "text", "seqId": self.seq,
            "clientMsgId": self.client_msg_id, "createdAt": 1_700_000_000_000u64})
    }
}

/// All that the server knows; outlives its death.
#[derive(Default)]
pub(crate) struct World {
    pub(super) conversations: HashMap<String, Vec<Stored>>,
    pub(super) online: HashMap<u64, Vec<(u64, Sender<Value>)>>,
    /// A message that waits until its sender's next one is stored (SwapOrder), or a delivery that waits.
    pub(super) held: HashMap<String, Stored>,
    pub(super) delayed: HashMap<u64, Value>,
    pub(super) never_acked: BTreeSet<String>,
    pub(super) messages: u64,
    pub(super) ids: u64,
    /// Asked for over REST.
    pub(super) pages: u64,
}

impl World {
    /// History from before the load: the load's seqs start above it.
    pub(crate) fn preload(&mut self, conversation: &str, messages: u64) {
        for _ in 0..messages {
            let stored =
                Stored { seq: 0, id: 0, sender: 1, client_msg_id: "old".into(), content: "old".into() };
            self.store(conversation, stored, 0);
        }
    }

    /// As if the disk had lied: the newest message of every conversation is gone.
    pub(crate) fn lose_newest(&mut self) {
        self.conversations.values_mut().for_each(|messages| drop(messages.pop()));
    }

    /// Who wrote in a conversation.
    pub(crate) fn writers(&self, conversation: &str) -> BTreeSet<u64> {
        self.conversations.get(conversation).into_iter().flatten().map(|message| message.sender).collect()
    }

    pub(super) fn store(&mut self, conversation: &str, mut message: Stored, skip: u64) -> Stored {
        self.ids += 1;
        let messages = self.conversations.entry(conversation.to_owned()).or_default();
        message.seq = messages.last().map_or(0, |last| last.seq) + 1 + skip;
        message.id = 1_000_000 + self.ids;
        messages.push(message.clone());
        message
    }

    pub(super) fn last_seq(&self, conversation: &str) -> u64 {
        self.conversations.get(conversation).and_then(|messages| messages.last()).map_or(0, |last| last.seq)
    }

    /// The last messages before a seq, or of all. The pages are counted as the store's cache counts them: each fourth is a miss.
    pub(super) fn newest(
        &mut self,
        conversation: &str,
        before: Option<u64>,
        limit: usize,
    ) -> Option<Vec<Value>> {
        let messages = self.conversations.get(conversation)?;
        let before = before.unwrap_or(u64::MAX);
        let up_to: Vec<&Stored> = messages.iter().filter(|message| message.seq < before).collect();
        let first = up_to.len().saturating_sub(limit);
        let page = up_to[first..].iter().map(|message| message.json(conversation)).collect();
        self.pages += 1;
        Some(page)
    }

    pub(super) fn metrics(&self) -> String {
        let misses = self.pages / 4;
        let looks = "repo_cache_reads_total{kind=\"HotMessages\",result=";
        let pid = std::process::id();
        format!(
            "process_pid {pid}\n{looks}\"Hit\"}} {}\n{looks}\"Miss\"}} {misses}\n# EOF\n",
            self.pages - misses
        )
    }

    pub(super) fn page(&self, conversation: &str, after: u64, limit: usize) -> (Vec<Value>, bool) {
        let none = Vec::new();
        let messages = self.conversations.get(conversation).unwrap_or(&none);
        let mut rest = messages.iter().filter(|message| message.seq > after);
        let page = rest.by_ref().take(limit).map(|message| message.json(conversation)).collect();
        (page, rest.next().is_some())
    }
}
