//! Goal: a client keeps the protocol's own rules. Method: frames in and out by hand, on a made-up clock.

use serde_json::{Value, json};

use super::*;
use crate::checker::MemberHistory;

/// Member 0 (user 4) of conversation number 3 with user 9.
struct Bench {
    client: Client,
    talk: ConversationHistory,
    counters: Counters,
    latencies: Latencies,
    rules: ClientRules,
    naming: Naming,
    rng: fastrand::Rng,
    now_us: u64,
}

impl Bench {
    fn new() -> Bench {
        let member = |user_id| MemberHistory { user_id, ..MemberHistory::default() };
        Bench {
            client: Client::new(Some(Seat { number: 3, member: 0 })),
            talk: ConversationHistory {
                id: "single_4_9".into(),
                base_seq: 0,
                members: vec![member(4), member(9)],
            },
            counters: Counters::default(),
            latencies: Latencies::default(),
            rules: ClientRules::default(),
            naming: Naming::new("run", 20),
            rng: fastrand::Rng::with_seed(1),
            now_us: 0,
        }
    }

    /// Connected, and told that the conversation stands at 5.
    fn ready() -> Bench {
        let mut bench = Bench::new();
        bench.call(|client, turn| client.opened(turn));
        let changed = json!([{"conversationId": "world", "lastSeq": 2}, {"conversationId": "single_4_9", "lastSeq": 5}]);
        bench.hear("heads", json!({"changed": changed, "epoch": 1}));
        bench
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Client, &mut Turn<'_>) -> T) -> (T, Vec<Value>) {
        let mut out = Vec::new();
        let mut turn = Turn {
            now_us: self.now_us,
            rules: &self.rules,
            naming: &self.naming,
            counters: &self.counters,
            latencies: &mut self.latencies,
            rng: &mut self.rng,
            talk: Some(&mut self.talk),
            out: &mut out,
        };
        let answer = call(&mut self.client, &mut turn);
        (answer, out.iter().map(|text| serde_json::from_str(text).unwrap()).collect())
    }

    fn hear(&mut self, kind: &str, data: Value) -> Vec<Value> {
        let text = json!({"type": kind, "data": data, "timestamp": 1}).to_string();
        self.call(|client, turn| client.heard(turn, &text)).1
    }

    fn tick_at(&mut self, ms: u64) -> (Pulse, Vec<Value>) {
        self.now_us = ms * 1000;
        self.call(|client, turn| client.tick(turn))
    }

    fn write(&mut self) -> Vec<Value> {
        self.call(|client, turn| client.write(turn, 0)).1
    }

    fn ack(&mut self, n: u32, status: &str, more: Value) -> Vec<Value> {
        let mut data = json!({"tempMessageId": format!("run-3-0-{n}"), "status": status});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.hear("message-ack", data)
    }

    fn message(&mut self, seq: u64) -> Vec<Value> {
        let id = format!("run-3-1-{seq}");
        let content = self.naming.content(&id);
        let data = json!({"messageId": "77", "conversationId": "single_4_9", "sender": "9", "content": content,
            "messageType": "text", "seqId": seq, "clientMsgId": id, "createdAt": 1});
        self.hear("new-message", data)
    }

    fn delivered(&self) -> Vec<u64> {
        self.talk.members[0].deliveries.iter().map(|entry| entry.seq).collect()
    }
}

fn types(frames: &[Value]) -> Vec<&str> {
    frames.iter().map(|frame| frame["type"].as_str().unwrap()).collect()
}

#[test]
fn the_first_heads_fix_the_base_and_later_ones_name_what_is_known() {
    let mut bench = Bench::ready();
    assert_eq!(bench.talk.base_seq, 5);
    bench.message(6);
    assert_eq!(bench.delivered(), [6]);
    bench.client.closed();
    let frames = bench.call(|client, turn| client.opened(turn)).1;
    assert_eq!(types(&frames), ["heads"]);
    assert_eq!(frames[0]["data"], json!({"conversations": {"single_4_9": 6, "world": 2}, "pageLimit": 50}));
    let changed = json!([{"conversationId": "single_4_9", "lastSeq": 9}]);
    assert!(
        bench.hear("heads", json!({"changed": changed, "epoch": 1})).is_empty(),
        "the page comes unasked"
    );
    let (_, frames) = bench.tick_at(10_001);
    assert_eq!(types(&frames), ["sync"], "it did not come");
    assert_eq!(frames[0]["data"]["afterSeq"], 6);
}

#[test]
fn a_resync_asks_heads_after_its_delay_and_no_answer_is_a_dead_connection() {
    let mut bench = Bench::ready();
    bench.hear("resync", json!({"delayMs": 700}));
    assert!(bench.tick_at(699).1.is_empty());
    assert_eq!(types(&bench.tick_at(700).1), ["heads"]);
    assert_eq!(bench.tick_at(10_699).0, Pulse::Alive);
    assert_eq!(bench.tick_at(10_700).0, Pulse::Dead);
}

#[test]
fn silence_is_answered_with_a_ping_and_then_with_a_new_connection() {
    let mut bench = Bench::ready();
    bench.hear("hello", json!({"heartbeatMs": 1000, "headsIntervalMs": 900_000}));
    assert!(bench.tick_at(999).1.is_empty());
    assert_eq!(types(&bench.tick_at(1_000).1), ["ping"]);
    assert!(bench.tick_at(2_000).1.is_empty(), "one ping is enough");
    assert_eq!(bench.tick_at(11_000).0, Pulse::Dead);
    bench.client.alive(11_000_000);
    assert_eq!(bench.tick_at(11_001).0, Pulse::Alive);
}

#[test]
fn a_message_goes_again_until_it_is_final() {
    let mut bench = Bench::ready();
    let first = bench.write();
    assert_eq!(types(&first), ["send-message"]);
    bench.ack(0, "accepted", json!({}));
    let (_, again) = bench.tick_at(10_000);
    assert_eq!(again[0]["data"], first[0]["data"], "accepted is not final");
    bench.ack(0, "retry", json!({"code": 1013, "retryAfterMs": 500}));
    assert!(bench.tick_at(10_499).1.is_empty());
    assert_eq!(bench.tick_at(10_626).1[0]["data"], first[0]["data"]);
    bench.ack(0, "stored", json!({"messageId": "7", "seqId": 6}));
    bench.client.closed();
    assert_eq!(types(&bench.call(|client, turn| client.opened(turn)).1), ["heads"], "final: not sent again");
    let ack_us = bench.latencies.ack.percentiles().max;
    assert!((10_600_000..=10_650_000).contains(&ack_us), "from when it was due: {ack_us}");
}

#[test]
fn final_answers_that_differ_are_remembered() {
    let stored = |id: &str| json!({"messageId": id, "seqId": 6});
    for (first, second, contradicts) in [
        (("stored", stored("7")), ("stored", stored("7")), false),
        (("stored", stored("7")), ("stored", stored("8")), true),
        (("stored", stored("7")), ("rejected", json!({"code": 1003})), true),
        (("rejected", json!({"code": 1002})), ("stored", stored("7")), true),
        (("rejected", json!({"code": 1002})), ("rejected", json!({"code": 1002})), false),
    ] {
        let mut bench = Bench::ready();
        bench.write();
        bench.ack(0, first.0, first.1);
        bench.ack(0, second.0, second.1);
        assert_eq!(bench.talk.members[0].sends[0].contradicted, contradicts);
    }
}

#[test]
fn the_own_ack_shows_a_hole_too() {
    let mut bench = Bench::ready();
    bench.write();
    bench.ack(0, "stored", json!({"messageId": "7", "seqId": 7}));
    assert!(bench.tick_at(299).1.is_empty());
    assert_eq!(types(&bench.tick_at(451).1), ["sync"]);
}

#[test]
fn what_cannot_be_used_is_counted_and_left() {
    let mut bench = Bench::ready();
    bench.ack(0, "stored", json!({"messageId": "7", "seqId": 6}));
    bench.hear("error", json!({"code": 1000, "name": "invalid-input", "message": "no"}));
    bench.hear("new-message", json!({"content": "torn"}));
    assert!(bench.call(|client, turn| client.heard(turn, "not json")).1.is_empty());
    assert_eq!(bench.counters.snapshot().bad_frames, 4);
    assert!(bench.hear("receipt", json!({"any": "thing"})).is_empty());
    assert_eq!(bench.counters.snapshot().bad_frames, 4);
}

#[test]
fn a_request_that_is_put_off_comes_again_when_the_server_says_and_is_no_bad_frame() {
    let mut bench = Bench::ready();
    bench.hear("resync", json!({"delayMs": 0}));
    assert_eq!(types(&bench.tick_at(0).1), ["heads"]);
    let text =
        json!({"type": "error", "id": "heads", "data": {"code": 1013, "name": "overloaded", "message": "m",
        "retryAfterMs": 3_000}})
        .to_string();
    bench.call(|client, turn| client.heard(turn, &text));
    let counted = bench.counters.snapshot();
    assert_eq!((counted.put_off, counted.bad_frames), (1, 0));
    assert!(bench.tick_at(2_999).1.is_empty());
    assert_eq!(types(&bench.tick_at(4_501).1), ["heads"]);
}

#[test]
fn an_error_is_no_answer_and_what_does_not_exist_is_empty() {
    let mut bench = Bench::ready();
    let error = |bench: &mut Bench, id: &str, code: u32| {
        let text = json!({"type": "error", "id": id, "data": {"code": code, "name": "n", "message": "m"}})
            .to_string();
        bench.call(|client, turn| client.heard(turn, &text)).1
    };
    bench.hear("resync", json!({"delayMs": 0}));
    assert_eq!(types(&bench.tick_at(0).1), ["heads"]);
    error(&mut bench, "heads", 1014);
    assert!(bench.tick_at(999).1.is_empty());
    assert_eq!(types(&bench.tick_at(1_501).1), ["heads"]);
    bench.message(8);
    assert_eq!(types(&bench.tick_at(2_000).1), ["sync"]);
    error(&mut bench, "sync", 1014);
    assert_eq!(types(&bench.tick_at(3_501).1), ["sync"]);
    let frames = bench.call(|client, turn| client.begin_final_read(turn)).1;
    assert_eq!(frames[0]["id"], "final-5");
    error(&mut bench, "final-5", 1014);
    assert!(bench.client.is_reading());
    error(&mut bench, "final-5", 1004);
    assert!(bench.client.has_read());
}

#[test]
fn whoever_is_given_a_message_last_ends_its_way() {
    let mut bench = Bench::ready();
    let due = SendRecord { due_us: 1_000_000, ..SendRecord::default() };
    bench.talk.members[1].sends = vec![due; 9];
    bench.now_us = 3_000_000;
    bench.message(6);
    assert_eq!((bench.latencies.deliver.len(), bench.latencies.last.len()), (1, 0), "of two: no last one");
    bench.talk.members.push(MemberHistory { user_id: 11, ..MemberHistory::default() });
    bench.message(7);
    assert_eq!(bench.latencies.last.len(), 0, "user 11 has not got it");
    bench.talk.members[1].sends[8].given_to = 1;
    bench.now_us = 5_000_000;
    bench.message(8);
    assert_eq!(bench.latencies.last.len(), 1);
    let last_us = bench.latencies.last.percentiles().max;
    assert!((4_000_000..4_010_000).contains(&last_us), "from when it was due: {last_us}");
}
