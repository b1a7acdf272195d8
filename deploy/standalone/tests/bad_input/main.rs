//! Promise: whatever comes in, the answer is exact, the process lives, and everybody else goes on chatting.
//! Method: tables of bad input against the real binary, one file for each door: what stands in a frame, in a REST call, in a token,
//! and in every field of text. After each row two people who have nothing to do with it exchange a message.
//! Malformed HTTP and framing are tried in core/tests.
#[path = "../harness/mod.rs"]
mod harness;

mod envelope;
mod fields;
mod rest;
mod text;
mod tokens;

use harness::{Client, Server, User, single};
use serde_json::Value;
use tempfile::TempDir;

/// A server, two people who go on chatting, and the one who sends nonsense.
struct House {
    server: Server,
    data: TempDir,
    ann: User,
    bob: User,
    /// Nobody chats with him.
    mal: User,
    /// A group of Ann and Bob.
    group_id: String,
    a: Client,
    b: Client,
    said: u32,
    /// Rows whose answer was another one, so that a run tells all of them.
    wrong: Vec<String>,
}

impl House {
    fn open() -> House {
        let data = tempfile::tempdir().expect("a temporary folder");
        let server = Server::start(data.path());
        let (ann, bob, mal) = (server.user("ann"), server.user("bob"), server.user("mal"));
        let make = serde_json::json!({"name": "Tea", "memberIds": [bob.id]});
        let (status, group) = server.call("POST", "/api/groups", Some(&ann.token), Some(make));
        assert_eq!(status, 201, "{group}");
        let group_id = group["groupId"].as_str().expect("an id").to_owned();
        let (a, b) = (server.connect(&ann), server.connect(&bob));
        House { server, data, ann, bob, mal, group_id, a, b, said: 0, wrong: Vec::new() }
    }

    /// A row's text with the names of what is there.
    fn fill(&self, text: &str) -> String {
        text.replace("{ann}", &self.ann.id)
            .replace("{bob}", &self.bob.id)
            .replace("{mal}", &self.mal.id)
            .replace("{group}", &self.group_id)
            .replace("{ann-bob}", &single(&self.ann, &self.bob))
    }

    /// Notes a row whose answer is not the one that it must be.
    fn expect<T: PartialEq + std::fmt::Debug>(&mut self, row: &str, found: T, wanted: T, answer: &Value) {
        if found != wanted {
            self.wrong.push(format!("{row}\n    wanted {wanted:?}, found {found:?} in {answer}"));
        }
    }

    #[track_caller]
    fn assert_all_right(&self) {
        assert!(self.wrong.is_empty(), "{} wrong answers:\n{}", self.wrong.len(), self.wrong.join("\n"));
    }

    /// The process is the same one, and a message still gets from Ann to Bob.
    fn is_well(&mut self, after: &str) {
        assert!(self.server.is_alive(), "the server died of {after}");
        self.said += 1;
        let (conversation, id) = (single(&self.ann, &self.bob), format!("well-{}", self.said));
        self.a.say(&conversation, &id, &id);
        let heard = self.b.wait_for("new-message", |d| d["conversationId"] == conversation.as_str());
        assert_eq!(
            (&heard["content"], heard["seqId"].as_u64()),
            (&Value::from(id), Some(self.said.into())),
            "{after}"
        );
    }
}

/// Each row differs from every other.
fn assert_no_row_twice<'a>(rows: impl Iterator<Item = String> + 'a) {
    let mut seen = std::collections::BTreeSet::new();
    for row in rows {
        assert!(seen.insert(row.clone()), "this row stands there twice: {row}");
    }
}
