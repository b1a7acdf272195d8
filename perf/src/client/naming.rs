//! How the load names its messages: from a clientMsgId alone it is known whose message it is, which one,
//! and what its content must be.

use crate::checker::MessageKey;

/// The grammar of one run's ids, `{run}-{conversation}-{member}-{n}`, and contents.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    run: String,
    content_bytes: usize,
}

impl Naming {
    /// `run` tells runs over the same users apart: `[a-z0-9]{1,16}`.
    pub(crate) fn new(run: &str, content_bytes: usize) -> Self {
        Naming { run: run.to_owned(), content_bytes }
    }

    pub(crate) fn client_msg_id(&self, conversation: u32, key: MessageKey) -> String {
        format!("{}-{conversation}-{}-{}", self.run, key.member, key.n)
    }

    /// The id, filled up with dots to the content size (or the id alone where that is longer).
    pub(crate) fn content(&self, client_msg_id: &str) -> String {
        let mut content = String::with_capacity(self.content_bytes.max(client_msg_id.len()));
        content.push_str(client_msg_id);
        content.extend(std::iter::repeat_n('.', self.content_bytes.saturating_sub(client_msg_id.len())));
        content
    }

    /// Which message of conversation number `conversation` this is; `None`: not of this run.
    pub(crate) fn parse(&self, conversation: u32, client_msg_id: &str) -> Option<MessageKey> {
        let mut parts = client_msg_id.strip_prefix(self.run.as_str())?.strip_prefix('-')?.split('-');
        let (number, member, n) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() || number.parse() != Ok(conversation) {
            return None;
        }
        Some(MessageKey { member: member.parse().ok()?, n: n.parse().ok()? })
    }

    /// Is `content` what was written under `client_msg_id`?
    pub(crate) fn is_content(&self, client_msg_id: &str, content: &str) -> bool {
        content.len() == self.content_bytes.max(client_msg_id.len())
            && content.strip_prefix(client_msg_id).is_some_and(|rest| rest.bytes().all(|byte| byte == b'.'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_its_message_and_content() {
        let naming = Naming::new("r7x", 40);
        let key = MessageKey { member: 1, n: 77 };
        let id = naming.client_msg_id(5, key);
        let content = naming.content(&id);
        assert_eq!(content.len(), 40);
        assert_eq!(naming.parse(5, &id), Some(key));
        assert!(naming.is_content(&id, &content));
        assert_eq!(naming.parse(6, &id), None);
        assert_eq!(Naming::new("r7", 40).parse(5, &id), None);
        assert_eq!(naming.parse(5, "r7x-5-1-77-8"), None);
        assert_eq!(naming.parse(5, "r7x-5-1"), None);
        assert!(!naming.is_content(&id, &content[1..]));
        assert!(!naming.is_content(&id, &content.replace("..", ".,")));
        let short = Naming::new("r7x", 3);
        assert!(short.is_content(&id, &short.content(&id)));
    }
}
