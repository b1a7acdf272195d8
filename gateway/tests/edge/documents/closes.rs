//! The close codes of docs/protocol.md and of the rule book, docs/client.md: every one that a connection can end with has its row in both,
//! no other has, the server really sends it, and the page does what the rule book says.
//!
//! The metrics name every reason for which a connection ends; each of them stands in the table below, with its code. What can be provoked
//! through a gateway is provoked here; the rest has its test in core.

use std::collections::{BTreeMap, BTreeSet};

use gochat_gateway::GatewayConfig;
use gochat_infra::errors::{Code, Error};
use gochat_proto::{
    common::v1::RevokeReason,
    queue::v1::{UserEvent, user_event::Kind},
};

use super::{CLIENT, PROTOCOL, table};
use crate::harness::{Gate, Ws, now_ms, now_s, send_message, until};

/// What a browser reports when no close frame came.
const NONE: u16 = 1006;

/// How a reason's code is known.
enum Proof {
    /// Brought about here: a change to the defaults, and what then ends the connection.
    Here(fn(&mut GatewayConfig), fn(&mut Gate) -> u16),
    /// A test in core, by its file and the reason that it asserts.
    Core(&'static str, &'static str),
    /// The client's or the network's own end: the server has nothing to send.
    Nothing,
}
use Proof::{Core, Here, Nothing};

struct Row {
    /// As the metrics name it.
    reason: &'static str,
    code: u16,
    /// Words of the row's `why` in docs/protocol.md.
    why: &'static str,
    proof: Proof,
}

const fn row(reason: &'static str, code: u16, why: &'static str, proof: Proof) -> Row {
    Row { reason, code, why, proof }
}

const BROKEN: &str = "broken framing";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // The engine's.
    row("peer", 1000, "the client ended it", Here(|_| {}, |gate| ended_by(gate, |ws| ws.say_goodbye()))),
    row("drain", 1001, "the server ends", Here(|_| {}, drained)),
    row("reserved_bits", 1002, BROKEN, Here(|_| {}, |gate| raw(gate, b"\xc1\x80\0\0\0\0"))),
    row("opcode", 1002, BROKEN, Here(|_| {}, |gate| raw(gate, b"\x83\x80\0\0\0\0"))),
    row("unmasked", 1002, BROKEN, Here(|_| {}, |gate| raw(gate, b"\x81\x01a"))),
    row("length", 1002, BROKEN, Here(|_| {}, |gate| raw(gate, b"\x81\xfe\0\x05\0\0\0\0"))),
    row("control_frame", 1002, BROKEN, Here(|_| {}, |gate| raw(gate, b"\x09\x80\0\0\0\0"))),
    row("interleaved", 1002, BROKEN, Here(|_| {}, |gate| raw(gate, b"\x01\x81\0\0\0\0a\x81\x81\0\0\0\0a"))),
    row("continuation", 1002, BROKEN, Here(|_| {}, |gate| raw(gate, b"\x80\x81\0\0\0\0a"))),
    row("close_frame", 1002, BROKEN, Here(|_| {}, |gate| raw(gate, b"\x88\x81\0\0\0\0a"))),
    row("binary", 1003, "a binary frame", Here(|_| {}, |gate| ended_by(gate, Ws::send_binary))),
    row("utf8", 1007, "not UTF-8", Here(|_| {}, |gate| raw(gate, b"\x81\x82\0\0\0\0\xc3\x28"))),
    row("frame_too_big", 1009, "above 64 KiB", Here(|_| {}, |gate| raw(gate, b"\x81\xff\0\0\0\0\0\x01\0\x01\0\0\0\0"))),
    row("message_too_big", 1009, "above 64 KiB", Here(|_| {}, |gate| {
        let half = |first: &[u8]| [first, b"\xfe\x9c\x40\0\0\0\0", &[b'a'; 40_000]].concat();
        raw(gate, &[half(b"\x01"), half(b"\x80")].concat())
    })),
    row("control_flood", 1008, "too many pings", Here(|config| config.edge.control_frames_per_second_max = 5, |gate| {
        raw(gate, &b"\x89\x80\0\0\0\0".repeat(6))
    })),
    row("fragment_flood", 1008, "fragments", Here(|config| config.edge.fragments_per_message_max = 2, |gate| {
        raw(gate, b"\x01\x81\0\0\0\0a\0\x81\0\0\0\0b\0\x81\0\0\0\0c")
    })),
    row(
        "message_deadline",
        1008,
        "a message that takes too long",
        Here(
            |config| config.edge.message_deadline_ms = 100,
            |gate| ended_by(gate, |ws| ws.write_raw(b"\x81\x85\0\0\0\0a")),
        ),
    ),
    row(
        "slow_reader",
        1013,
        "reads too slowly",
        Core(include_str!("../../../../core/tests/slow_reader.rs"), "SlowReader"),
    ),
    row("shard_outbox", 1013, "reads too slowly", Core(include_str!("../../../../core/tests/slow_reader.rs"), "ShardOutbox")),
    row(
        "memory",
        1013,
        "too little memory",
        Core(include_str!("../../../../core/tests/memory_ceiling.rs"), "Memory"),
    ),
    row(
        "input_budget",
        1013,
        "too little memory",
        Core(include_str!("../../../../core/tests/violations.rs"), "InputBudget"),
    ),
    row(
        "panic",
        1011,
        "a fault of the server",
        Core(include_str!("../../../../core/tests/panics.rs"), "Panic"),
    ),
    row(
        "idle",
        NONE,
        "no sign of life after a ping",
        Here(
            |config| {
                config.edge.ping_interval_ms = 100;
                config.edge.pong_deadline_ms = 100;
            },
            |gate| gate.connect(1, "d").ends_without_answering(),
        ),
    ),
    row("write_deadline", NONE, "the network", Nothing),
    row("hung_up", NONE, "the network", Nothing),
    row("socket", NONE, "the network", Nothing),
    // The gateway's, which the engine counts as `app`.
    row(
        "malformed",
        1008,
        "not JSON of the form above",
        Here(
            |config| config.requests.malformed_in_a_row_max = 2,
            |gate| ended_by(gate, |ws| ws.send_all(&["{".to_owned(), "[".to_owned()])),
        ),
    ),
    row(
        "abuse",
        1008,
        "endless frames above a rate",
        Here(
            |config| {
                config.rates.connection_requests_per_s = 1;
                config.rates.connection_requests_burst = 1;
                config.rates.refusals_per_s = 1;
                config.rates.refusals_burst = 1;
            },
            |gate| ended_by(gate, |ws| ws.send_all(&vec![r#"{"type":"ping"}"#.to_owned(); 5])),
        ),
    ),
    row(
        "refusals_full",
        1013,
        "refused messages wait in too many conversations",
        Here(
            |config| {
                config.upstream.refused_conversations_max = 1;
            },
            |gate| {
                gate.queue.close();
                ended_by(gate, |ws| {
                    ws.send_all(&[1, 2].map(|group| send_message(&format!("group_{group}"), "hi", "c1")))
                })
            },
        ),
    ),
    row(
        "session_refused",
        1013,
        "too much to do",
        Here(
            |_| {},
            |gate| {
                gate.fake.fail("report_sessions", Error::new(Code::InvalidInput, "never"));
                ended_by(gate, |_| {})
            },
        ),
    ),
    row("presence_full", 1013, "too much to do", Here(|config| config.presence.queue_max = 1, crowded)),
    row(
        "too_many_connections",
        4429,
        "too many sockets",
        Here(
            |config| config.auth.connections_per_user_max = 1,
            |gate| {
                let mut first = gate.connect(1, "d");
                let _second = gate.connect(1, "e");
                first.closed()
            },
        ),
    ),
    row(
        "token_expired",
        4401,
        "has been expired",
        Here(
            |config| config.auth.token_grace_ms = 0,
            |gate| {
                let bearer = format!("Bearer {}", gate.token_until(1, "d", now_s() + 1));
                gate.upgrade(&[("Authorization", &bearer)], &[]).expect("an upgrade").closed()
            },
        ),
    ),
    // Only when it becomes too old between the upgrade and the home shard.
    row("token_too_old", 4401, "is too old", Nothing),
    row("kicked_logout", 4401, "after `kicked`", Here(|_| {}, |gate| kicked(gate, RevokeReason::Logout))),
    row("kicked_banned", 4401, "after `kicked`", Here(|_| {}, |gate| kicked(gate, RevokeReason::Banned))),
    row(
        "kicked_password_changed",
        4401,
        "after `kicked`",
        Here(|_| {}, |gate| kicked(gate, RevokeReason::PasswordChanged)),
    ),
    row(
        "kicked_token_reused",
        4401,
        "after `kicked`",
        Here(|_| {}, |gate| kicked(gate, RevokeReason::TokenReused)),
    ),
];

/// What the rule book says of a code, and of 4401 in two cases.
const RULES: &[(u16, &str, &str)] = &[
    (1000, "", "stays closed"),
    (1001, "", "reconnects with back-off"),
    (1002, "", "reconnects with the longest back-off"),
    (1003, "", "reconnects with the longest back-off"),
    (1007, "", "reconnects with the longest back-off"),
    (1008, "", "reconnects with the longest back-off"),
    (1009, "", "reconnects with the longest back-off"),
    (1011, "", "reconnects with back-off"),
    (1013, "", "reconnects with back-off"),
    (4401, "after `kicked`", "drops its tokens; no reconnect"),
    (4401, "else", "refreshes and reconnects at once"),
    (4429, "", "stays closed until a person turns to it"),
    (NONE, "none", "reconnects with back-off"),
];

fn raw(gate: &Gate, bytes: &[u8]) -> u16 {
    ended_by(gate, |ws| ws.write_raw(bytes))
}

fn ended_by(gate: &Gate, end: impl FnOnce(&mut Ws)) -> u16 {
    let mut ws = gate.connect(1, "d");
    end(&mut ws);
    ws.closed()
}

fn drained(gate: &mut Gate) -> u16 {
    let mut ws = gate.connect_bound(1, "d");
    std::thread::scope(|scope| {
        let code = scope.spawn(move || ws.closed());
        gate.drain();
        code.join().expect("a close")
    })
}

fn kicked(gate: &Gate, reason: RevokeReason) -> u16 {
    let mut ws = gate.connect(1, "d");
    let issued_until_ms = i64::try_from(now_ms()).expect("a time");
    gate.event(&UserEvent {
        kind: Kind::Revoked.into(),
        user_id: 1,
        issued_until_ms,
        expires_at_ms: issued_until_ms + 60_000,
        reason: reason.into(),
        ..UserEvent::default()
    });
    ws.wait_for("kicked");
    ws.closed()
}

/// Logic does not answer, so that reports of sessions wait until there is no more room.
fn crowded(gate: &mut Gate) -> u16 {
    gate.fake.fail("report_sessions", Error::new(Code::Unavailable, "not now"));
    let mut clients = Vec::new();
    until("a connect finds no room", || {
        clients.push(gate.connect_silently(1 + clients.len() as u64, "d"));
        closes(gate).get("presence_full").is_some_and(|count| *count > 0)
    });
    // The first ones found room; whoever found none was told at once.
    clients.into_iter().find_map(|mut ws| ws.pong_or_close()).expect("one was closed")
}

fn gate(change: fn(&mut GatewayConfig)) -> Gate {
    Gate::with(|config| {
        config.stats_interval_ms = 100;
        change(config);
    })
}

/// How often connections ended for each reason, in both families of metrics.
fn closes(gate: &Gate) -> BTreeMap<String, u64> {
    let labels = ["gateway_edge_closes_total{reason=\"", "gateway_closes_total{reason=\""];
    let of_line = |line: &str| {
        let rest = labels.iter().find_map(|label| line.strip_prefix(label))?;
        let (reason, count) = rest.split_once("\"} ")?;
        Some((reason.to_owned(), count.parse().expect("a count")))
    };
    gate.metrics.encode().lines().filter_map(of_line).collect()
}

/// What is wrong with the two pages; empty when all is well.
fn disagreements(protocol: &str, client: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut explained: BTreeMap<u32, String> = BTreeMap::new();
    for row in table::rows(protocol, "### Close codes") {
        for code in table::numbers(&row[0]) {
            explained.entry(code).or_default().push_str(&row[1]);
        }
    }
    for Row { reason, code, why, .. } in ROWS {
        if !explained.get(&u32::from(*code)).is_some_and(|words| words.contains(why)) {
            wrong.push(format!("docs/protocol.md does not say of {code} that it may mean {reason}: {why}"));
        }
    }
    let sent: BTreeSet<u32> = ROWS.iter().map(|row| u32::from(row.code)).collect();
    let unknown = explained.keys().filter(|code| !sent.contains(code));
    wrong.extend(unknown.map(|code| format!("docs/protocol.md has {code}, which is never sent")));

    let rules: Vec<(u32, String, String)> = table::rows(client, "## Close codes")
        .into_iter()
        .flat_map(|row| {
            table::numbers(&row[0]).into_iter().map(move |code| (code, row[0].clone(), row[1].clone()))
        })
        .collect();
    for (code, case, action) in RULES {
        let of_code = rules.iter().filter(|(of, when, _)| *of == u32::from(*code) && when.contains(case));
        let actions: Vec<&String> = of_code.map(|(_, _, action)| action).collect();
        if !matches!(actions.as_slice(), [one] if one.contains(action)) {
            wrong.push(format!("docs/client.md says of {code} {case} {actions:?}, not once: {action}"));
        }
    }
    if rules.len() != RULES.len() {
        wrong.push(format!("docs/client.md has {} rules for closes, not {}", rules.len(), RULES.len()));
    }
    wrong
}

#[test]
fn every_reason_has_its_code() {
    let gate = gate(|_| {});
    until("the engine's reasons are counted", || closes(&gate).contains_key("panic"));
    let app = "app".to_owned();
    let known: BTreeSet<String> = ROWS.iter().map(|row| row.reason.to_owned()).chain([app]).collect();
    let counted: BTreeSet<String> = closes(&gate).into_keys().collect();
    assert_eq!(counted, known, "a reason for closing that has no row in this file");
    let ruled: BTreeSet<u16> = RULES.iter().map(|(code, ..)| *code).collect();
    assert_eq!(ROWS.iter().map(|row| row.code).collect::<BTreeSet<u16>>(), ruled);
}

#[test]
fn every_code_is_sent_for_its_reason() {
    for Row { reason, code, why, proof } in ROWS {
        match proof {
            Here(change, end) => {
                let mut gate = gate(*change);
                assert_eq!(end(&mut gate), *code, "{reason}: {why}");
                if *reason != "drain" {
                    until(reason, || closes(&gate).get(*reason).is_some_and(|count| *count > 0));
                }
            }
            Core(test, asserted) => {
                let asserts_both =
                    test.contains(&format!("CloseReason::{asserted})")) && test.contains(&code.to_string());
                assert!(asserts_both, "{reason}: no test in core shows {code}");
            }
            Nothing => {}
        }
    }
}

#[test]
fn the_pages_say_so() {
    let wrong = disagreements(PROTOCOL, CLIENT);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_page_in_the_browser_keeps_the_rules() {
    let source = include_str!("../../../web/connection.js");
    let constant = |name: &str| -> BTreeSet<u32> {
        let line = source.lines().find(|line| line.starts_with(&format!("const {name} = ")));
        table::numbers(line.unwrap_or_else(|| panic!("no {name}"))).into_iter().collect()
    };
    let that = |action: &str| -> BTreeSet<u32> {
        RULES.iter().filter(|(.., says)| says.contains(action)).map(|(code, ..)| u32::from(*code)).collect()
    };
    assert_eq!(constant("FAULTS"), that("longest back-off"));
    assert_eq!(constant("TOKEN_ENDED"), that("refreshes"));
    assert_eq!(constant("TOO_MANY"), that("until a person"));
}

#[test]
fn pages_that_lack_or_invent_a_code_are_found() {
    let is_found = |protocol: &str, client: &str, expect: &str| {
        let wrong = disagreements(protocol, client).join("\n");
        assert!(wrong.contains(expect), "{expect} in {wrong:?}");
    };
    let without = |page: &str, start: &str| -> String {
        page.lines().filter(|line| !line.starts_with(start)).map(|line| format!("{line}\n")).collect()
    };
    is_found(&without(PROTOCOL, "| 4429"), CLIENT, "does not say of 4429");
    is_found(
        &PROTOCOL.replace("too little memory", ""),
        CLIENT,
        "does not say of 1013 that it may mean memory",
    );
    is_found(
        &PROTOCOL.replace("| 1011 | a fault", "| 1011, 1012 | a fault"),
        CLIENT,
        "has 1012, which is never sent",
    );
    is_found(PROTOCOL, &without(CLIENT, "| 1011 |"), "says of 1011  []");
    is_found(PROTOCOL, &CLIENT.replace("| 1011 |", "| 1011, 1012 |"), "14 rules for closes");
    is_found(PROTOCOL, &CLIENT.replace("| 1011 | reconnects", "| 1011 | stays away"), "says of 1011  [");
    is_found(
        PROTOCOL,
        &CLIENT.replace("drops its tokens; no reconnect", "reconnects"),
        "says of 4401 after `kicked`",
    );
}
