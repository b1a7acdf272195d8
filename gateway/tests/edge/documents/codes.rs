//! The error codes and HTTP statuses of docs/protocol.md are those of the one table in infra, and those of the connection engine.

use std::collections::BTreeSet;

use gochat_infra::errors::{Code, Error};

use super::{PROTOCOL, table};
use crate::harness::Gate;

/// Number, name and HTTP status of every code that a page lists; one status may stand for all of a row.
fn listed(page: &str) -> Vec<(u32, String, u32)> {
    let mut listed = Vec::new();
    for row in table::rows(page, "within 30 s gets its 504") {
        let (numbers, statuses) = (table::numbers(&row[0]), table::numbers(&row[2]));
        let names: Vec<&str> = row[1].split(", ").collect();
        assert_eq!(numbers.len(), names.len(), "{row:?}");
        assert!(statuses.len() == 1 || statuses.len() == numbers.len(), "{row:?}");
        for (at, number) in numbers.into_iter().enumerate() {
            listed.push((number, names[at].to_owned(), *statuses.get(at).unwrap_or(&statuses[0])));
        }
    }
    listed
}

fn of_infra() -> Vec<(u32, String, u32)> {
    Code::ALL.iter().map(|code| (code.number(), code.name().to_owned(), code.http_status().into())).collect()
}

#[test]
fn the_table_is_the_one_of_the_code() {
    assert_eq!(listed(PROTOCOL), of_infra());
}

#[test]
fn another_table_is_found() {
    for (right, wrong) in [
        ("| 1005 | group-full | 409", "| 1005 | group-full | 429"),
        ("| 1005 | group-full |", "| 1005 | full |"),
        ("| 1005 | group-full |", "| 1055 | group-full |"),
        ("| 1007, 1008 | username-taken, email-taken |", "| 1007, 1008 | email-taken, username-taken |"),
        ("404, 405", "405, 404"),
        ("| 1014 | unavailable | 503 | a part can't be reached, or the server ends |\n", ""),
        ("| 1999 |", "| 1998 | new | 500 | |\n| 1999 |"),
    ] {
        assert!(PROTOCOL.contains(right), "{right}");
        assert_ne!(listed(&PROTOCOL.replacen(right, wrong, 1)), of_infra(), "{wrong}");
    }
}

/// The statuses that the page says the engine refuses with by itself.
fn said_of_the_engine(page: &str) -> BTreeSet<u32> {
    let (_, rest) = page.split_once("refused by the connection engine").expect("the sentence about it");
    let (sentence, _) = rest.split_once("\n\n").expect("its end");
    table::numbers(sentence).into_iter().filter(|number| (400..600).contains(number)).collect()
}

/// What makes the engine answer by itself, and with which status.
fn refusals(token: &str) -> Vec<(u32, String)> {
    let long = "x".repeat(5_000);
    vec![
        (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (408, "GET / HTTP/1.1\r\nHost:".to_owned()),
        (411, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
        (413, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 262145\r\n\r\n".to_owned()),
        (414, format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n")),
        (417, "POST / HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 1\r\n\r\n".to_owned()),
        (426, format!("GET /ws HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n")),
        (431, format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", long.repeat(4))),
        (504, "POST /api/auth/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 33\r\n\r\n{\"username\":\"ann\",\"password\":\"x\"}".to_owned()),
        (505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned()),
    ]
}

#[test]
fn the_engine_answers_what_the_page_says_and_nothing_else() {
    let gate = Gate::with(|config| {
        config.edge.head_deadline_ms = 200;
        config.edge.request_deadline_ms = 200;
    });
    gate.fake.hold();
    let refusals = refusals(&gate.token(1, "phone"));
    for (status, request) in &refusals {
        let shown: String = request.chars().take(60).collect();
        let answer = gate.exchange(request.as_bytes());
        assert_eq!((u32::from(answer.status), answer.body.len()), (*status, 0), "{shown}");
    }
    gate.fake.release();
    // That there is no room is tried in core/tests/limits.rs.
    let answered: BTreeSet<u32> = refusals.iter().map(|(status, _)| *status).chain([503]).collect();
    assert_eq!(said_of_the_engine(PROTOCOL), answered);
    // The one table of the engine's refusals has no other.
    let source = include_str!("../../../../core/src/http/refused.rs");
    let made = table::numbers(source).into_iter().filter(|number| (400..600).contains(number));
    assert_eq!(made.chain([504]).collect::<BTreeSet<u32>>(), answered, "504 is no refusal");
}

#[test]
fn a_status_that_the_page_lacks_is_found() {
    let without = PROTOCOL.replacen(", 431", "", 1);
    assert_ne!(said_of_the_engine(&without), said_of_the_engine(PROTOCOL));
}

#[test]
fn every_code_reaches_the_client_as_the_table_has_it() {
    let gate = Gate::start();
    let token = gate.token(1, "phone");
    for (code, (number, name, status)) in Code::ALL.into_iter().zip(listed(PROTOCOL)) {
        gate.fake.fail("*", Error::new(code, "for the test"));
        let answer = gate.http("GET", "/api/users/me", Some(&token), None);
        let error = &answer.json()["error"];
        assert_eq!(
            (u32::from(answer.status), error["code"].as_u64()),
            (status, Some(number.into())),
            "{error}"
        );
        assert_eq!(error["name"], name, "{error}");
    }
}
