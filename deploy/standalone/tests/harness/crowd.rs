//! A crowd that chats in pairs, in groups and in world while a test breaks things, and its judgement at the end.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gochat_perf::checker::check;
use gochat_perf::users::User;
use gochat_perf::{ChatLoad, LoadConfig, LoadOutcome, Room, Target, users};
use serde_json::json;

use super::{Server, until};

/// How many chat how.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// Even.
    pub in_pairs: usize,
    /// Members of each group.
    pub in_groups: &'static [usize],
    pub in_world: usize,
    pub rate_per_s: f64,
    /// Of one person's messages that wait for their final answer; one that becomes due above this is not written. The load goes on
    /// at its rate however slow the server is: only this bounds what is left to be answered at the end.
    pub open_max: usize,
    pub seed: u64,
}

impl Crowd {
    /// Makes the users in a folder whose server is stopped.
    pub fn seed_users(&self, data: &Path) -> Vec<User> {
        let count = self.in_pairs + self.in_groups.iter().sum::<usize>() + self.in_world;
        let list = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut seed = Command::new(env!("CARGO_BIN_EXE_gochat"))
            .args(["seed", "--users", &count.to_string(), "--out"])
            .arg(list.path())
            .arg("--data")
            .arg(data)
            .spawn()
            .expect("gochat seed runs");
        assert!(super::ends(&mut seed, "gochat seed").success());
        let people = users::read_users_file(list.path(), count).expect("the file is as documented");
        assert_eq!(people.len(), count);
        people
    }

    /// Connects everybody and begins to send.
    pub fn begin(&self, server: &Server, mut people: Vec<User>) -> ChatLoad {
        let mut rest = people.split_off(self.in_pairs);
        let mut rooms = Vec::new();
        for members in self.in_groups {
            let others = rest.split_off(*members);
            let ids: Vec<String> = rest[1..].iter().map(|user| user.id.to_string()).collect();
            let make = json!({"name": "crowd", "memberIds": ids});
            let (status, made) = server.call("POST", "/api/groups", Some(&rest[0].token), Some(make));
            assert_eq!(status, 201, "{made}");
            let id = made["conversationId"].as_str().expect("a conversation").to_owned();
            rooms.push(Room { conversation_id: id, users: std::mem::replace(&mut rest, others) });
        }
        rooms.push(Room { conversation_id: "world".to_owned(), users: rest });
        let mut config = LoadConfig::new(Target::parse(&server.url("")).expect("a URL"), people);
        config.rooms = rooms;
        config.rate_per_s = self.rate_per_s;
        config.seed = self.seed;
        // Back soon after a kill, so that the next one meets traffic.
        config.rules.backoff_max_ms = 500;
        config.rules.resend_after_ms = 3_000;
        config.rules.outbox_messages_max = self.open_max;
        let load = ChatLoad::start(config).expect("the load starts");
        load.wait_ready(super::PATIENCE).expect("everybody connects");
        load.begin();
        load
    }
}

/// Returns when the server has acknowledged and stored `more` messages from now on: it is alive and under load.
pub fn wait_for_progress(load: &ChatLoad, more: u64) {
    let before = load.progress();
    until("messages are acknowledged and stored", || {
        let now = load.progress();
        now.accepted >= before.accepted + more && now.stored >= before.stored + more
    });
}

/// Ends the load; nothing may be lost, doubled, missing, out of order or made up, for anybody.
pub fn judge(load: ChatLoad) {
    let outcome = load.stop(Duration::from_secs(180));
    judge_outcome(&outcome).unwrap();
    println!("{:?}", outcome.progress);
}

/// All was answered and could be read, everybody's conversations were in use, and the checker finds nothing.
pub fn judge_outcome(outcome: &LoadOutcome) -> Result<(), String> {
    let verdict = check(&outcome.history);
    if !verdict.holds() || !outcome.is_complete() {
        // Both: what was not read at the end looks lost.
        let LoadOutcome { unfinished, unread, panicked, progress, .. } = outcome;
        return Err(format!(
            "unfinished {unfinished}, unread {unread}, panicked {panicked}, {progress:?}\n{verdict}"
        ));
    }
    let silent = outcome
        .history
        .conversations
        .iter()
        .find(|conversation| conversation.members.iter().all(|member| member.sends.is_empty()));
    silent.map_or(Ok(()), |conversation| Err(format!("nobody wrote in {}", conversation.id)))
}
