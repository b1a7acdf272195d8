//! Promise: whatever one way a history breaks a promise in, the checkers of this folder find it, as what it is.
//! Method: one sound story of two members, told to the witness as a test tells it, and broken in one place per row; the same for what
//! a crowd comes home with. The checkers of bounds, ids, epochs and pages are tried beside the tests that use them, and the load
//! suite's own, which both rest on, in perf/src/checker/tests.rs.
use gochat_perf::LoadOutcome;
use gochat_perf::checker::Fault::{Doubled, Gap, Lost, OutOfOrder, Phantom};
use gochat_perf::checker::{
    ConversationHistory, Entry, Fault, History, MemberHistory, MessageKey, SendRecord, Stored,
};
use serde_json::{Value, json};

use crate::harness::User;
use crate::harness::crowd::judge_outcome;
use crate::harness::witness::Witness;

/// What two members were told and given.
struct Story {
    acks: Vec<Value>,
    live: [Vec<Value>; 2],
    pages: [Vec<Value>; 2],
}

const KEYS: [(&str, usize); 3] = [("a1", 0), ("b1", 1), ("a2", 0)];

fn message(seq: u64, key: &str, sender: &str) -> Value {
    json!({"messageId": (90 + seq).to_string(), "sender": sender, "content": key, "clientMsgId": key, "seqId": seq})
}

fn ack(status: &str, key: &str, seq: u64) -> Value {
    let mut ack = json!({"tempMessageId": key, "status": status});
    if status == "stored" {
        ack["messageId"] = (90 + seq).to_string().into();
        ack["seqId"] = seq.into();
    }
    if status == "rejected" {
        ack["code"] = 1002.into();
    }
    ack
}

/// Ann says a1 and a2, and Bob b1 between them.
fn sound() -> Story {
    let all = vec![message(1, "a1", "1"), message(2, "b1", "2"), message(3, "a2", "1")];
    let acks =
        (1..).zip(KEYS).flat_map(|(seq, (key, _))| [ack("accepted", key, seq), ack("stored", key, seq)]);
    Story { acks: acks.collect(), live: [all.clone(), all.clone()], pages: [all.clone(), all] }
}

impl Story {
    /// In what everybody was given, live and in pages.
    fn everywhere(&mut self, change: impl Fn(&mut Vec<Value>)) {
        self.live.iter_mut().chain(&mut self.pages).for_each(change);
    }

    fn acks_of(&mut self, key: &str, acks: &[Value]) {
        self.acks.retain(|ack| ack["tempMessageId"] != key);
        self.acks.extend_from_slice(acks);
    }

    fn told(self) -> Witness {
        let user = |id: &str| User { id: id.into(), token: String::new(), device: String::new() };
        let mut witness = Witness::new("group_7", &[&user("1"), &user("2")]);
        KEYS.iter().for_each(|(key, writer)| witness.wrote(*writer, key));
        self.acks.iter().for_each(|ack| witness.acked(ack));
        for (member, (live, page)) in self.live.iter().zip(&self.pages).enumerate() {
            witness.delivered(member, live);
            witness.page(member, page);
        }
        witness
    }
}

/// The kinds of fault that are found, in the order of their first findings.
#[track_caller]
fn check(what: &str, break_it: impl Fn(&mut Story), expect: &[Fault]) {
    let broken = || {
        let mut story = sound();
        break_it(&mut story);
        story.told()
    };
    let verdict = broken().verdict();
    let mut found: Vec<Fault> = verdict.findings.iter().map(|finding| finding.fault).collect();
    found.dedup();
    assert_eq!(found, expect, "{what}: {verdict}");
    assert_eq!(broken().judge().is_ok(), expect.is_empty(), "{what}");
}

#[test]
fn a_sound_history_holds() {
    check("as it is", |_| {}, &[]);
    check("a copy that comes twice", |s| s.live[1].push(message(2, "b1", "2")), &[]);
    check("stored without accepted", |s| s.acks.retain(|ack| ack["status"] == "stored"), &[]);
    check("told twice", |s| s.acks.push(ack("stored", "a1", 1)), &[]);
    let refused = |s: &mut Story| {
        s.acks_of("a2", &[ack("retry", "a2", 0), ack("rejected", "a2", 0)]);
        s.everywhere(|all| all.truncate(2));
    };
    check("refused and not there", refused, &[]);
}

#[test]
fn what_is_lost_is_found() {
    check("stored and gone", |s| s.everywhere(|all| all.truncate(2)), &[Lost]);
    let accepted = |s: &mut Story| {
        s.acks_of("a2", &[ack("accepted", "a2", 0)]);
        s.everywhere(|all| all.truncate(2));
    };
    let verdict = {
        let mut story = sound();
        accepted(&mut story);
        story.told().verdict()
    };
    assert_eq!((verdict.lost, verdict.holds()), (1, false), "accepted and gone: {verdict}");
    check("gone from one member's history", |s| s.pages[1].truncate(2), &[Gap, Lost]);
    check("given to one member only", |s| s.live[1].truncate(2), &[Lost]);
}

#[test]
fn what_is_doubled_is_found() {
    let again = |s: &mut Story| s.everywhere(|all| all.push(message(4, "a2", "1")));
    check("one message at two places", again, &[Doubled]);
    let same_id = |s: &mut Story| {
        s.everywhere(|all| all[2]["messageId"] = "91".into());
        s.acks_of("a2", &[json!({"tempMessageId": "a2", "status": "stored", "messageId": "91", "seqId": 3})]);
    };
    check("one id at two places", same_id, &[Doubled]);
    check("two places told", |s| s.acks.push(ack("stored", "a1", 5)), &[Doubled]);
    check("stored, then rejected", |s| s.acks.push(ack("rejected", "a1", 0)), &[Doubled]);
    check("rejected, then stored", |s| s.acks.insert(0, ack("rejected", "a1", 0)), &[Doubled]);
    let other = |s: &mut Story| {
        let mut copy = message(2, "b1", "2");
        copy["messageId"] = "7".into();
        s.live[0].push(copy);
    };
    check("a second message at one place", other, &[Doubled]);
}

#[test]
fn another_order_is_found() {
    let overtaken = |s: &mut Story| {
        s.everywhere(|all| {
            (all[0], all[2]) = (message(1, "a2", "1"), message(3, "a1", "1"));
        });
        s.acks_of("a1", &[ack("stored", "a1", 3)]);
        s.acks_of("a2", &[ack("stored", "a2", 1)]);
    };
    check("a sender's own order", overtaken, &[OutOfOrder]);
    let own = |s: &mut Story| {
        (s.pages[1][0], s.pages[1][1]) = (message(1, "b1", "2"), message(2, "a1", "1"));
        s.live[1] = s.pages[0].clone();
    };
    check("an order of one member's own", own, &[OutOfOrder]);
    check("a page that runs backwards", |s| s.pages[0].swap(0, 1), &[OutOfOrder]);
    check("given live in another order", |s| s.live[1].swap(0, 1), &[OutOfOrder]);
    check("an ack that names another place", |s| s.acks_of("a1", &[ack("stored", "a1", 9)]), &[OutOfOrder]);
}

#[test]
fn a_gap_is_found() {
    let gap = |s: &mut Story| {
        s.everywhere(|all| all[2] = message(4, "a2", "1"));
        s.acks_of("a2", &[ack("stored", "a2", 4)]);
    };
    check("a number that nobody has", gap, &[Gap]);
}

#[test]
fn what_nobody_wrote_is_found() {
    let stranger = |s: &mut Story| s.everywhere(|all| all.push(message(4, "x", "1")));
    check("an unknown message", stranger, &[Phantom]);
    let last = |change: &'static str, to: &'static str| {
        move |s: &mut Story| s.everywhere(|all| all[2][change] = to.into())
    };
    // Then what was written is nowhere.
    check("under another name", last("sender", "2"), &[Phantom, Lost]);
    check("with other content", last("content", "a1"), &[Phantom, Lost]);
    check("rejected, and yet there", |s| s.acks_of("b1", &[ack("rejected", "b1", 0)]), &[Phantom]);
    let only_live = |s: &mut Story| {
        s.acks_of("a2", &[ack("rejected", "a2", 0)]);
        s.pages.iter_mut().for_each(|page| page.truncate(2));
    };
    check("given, and in nobody's history", only_live, &[Phantom]);
}

#[test]
fn an_answer_that_is_missing_or_strange_is_found() {
    let is_found = |break_it: fn(&mut Story), expect: &str| {
        let mut story = sound();
        break_it(&mut story);
        let said = story.told().judge().expect_err(expect);
        assert!(said.contains(expect), "{said}");
    };
    is_found(|s| s.acks_of("b1", &[]), r#"never answered for good: ["b1"]"#);
    is_found(|s| s.acks_of("b1", &[ack("accepted", "b1", 2)]), r#"never answered for good: ["b1"]"#);
    is_found(|s| s.acks_of("b1", &[ack("retry", "b1", 2)]), r#"never answered for good: ["b1"]"#);
    is_found(|s| s.acks.push(ack("stored", "x", 9)), "acks of what nobody wrote");
}

/// One message of one member, who has it.
fn outcome() -> LoadOutcome {
    let stored = Stored { seq: 1, message_id: 91 };
    let send = SendRecord { accepted: true, stored: Some(stored), ..SendRecord::default() };
    let entry = Entry { seq: 1, message_id: 91, key: Some(MessageKey { member: 0, n: 0 }) };
    let member = MemberHistory { user_id: 1, sends: vec![send], deliveries: vec![entry], page: vec![entry] };
    let conversation = ConversationHistory { id: "world".into(), base_seq: 0, members: vec![member] };
    LoadOutcome {
        history: History { conversations: vec![conversation] },
        latencies: Default::default(),
        progress: Default::default(),
        unfinished: 0,
        unread: 0,
        panicked: 0,
    }
}

#[test]
fn a_crowd_that_comes_home_with_less_is_found() {
    assert_eq!(judge_outcome(&outcome()), Ok(()));
    let is_found = |break_it: fn(&mut LoadOutcome), expect: &str| {
        let mut outcome = outcome();
        break_it(&mut outcome);
        let said = judge_outcome(&outcome).expect_err(expect);
        assert!(said.contains(expect), "{said}");
    };
    is_found(|o| o.unfinished = 1, "unfinished 1");
    is_found(|o| o.unread = 1, "unread 1");
    is_found(|o| o.panicked = 1, "panicked 1");
    is_found(|o| o.history.conversations[0].members[0].page.clear(), "lost 1");
    let silent = |o: &mut LoadOutcome| o.history.conversations[0].members = vec![MemberHistory::default()];
    is_found(silent, "nobody wrote in world");
}
