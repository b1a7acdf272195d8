//! Whoever asks too often over HTTP is told when to come again, and nothing that he asks for reaches logic meanwhile.

use serde_json::{Value, json};

use crate::harness::{Answer, Gate, until};

/// It is a 429 that says when to come again, twice.
fn is_too_fast(answer: &Answer, within_ms: u64) {
    assert_eq!(answer.status, 429, "{answer:?}");
    let body = answer.json();
    assert_eq!(body["error"]["code"], 1012, "{body}");
    let after_ms = body["error"]["retryAfterMs"].as_u64().expect("a time");
    assert!((1..=within_ms).contains(&after_ms), "{body}");
    let seconds: u64 = answer.header("Retry-After").and_then(|text| text.parse().ok()).expect("a header");
    assert_eq!(seconds, after_ms.div_ceil(1000), "{answer:?}");
}

fn counted(gate: &Gate, line: &str) {
    until(line, || gate.metrics.encode().contains(line));
}

#[test]
fn a_user_has_a_rate_over_all_his_devices() {
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.stats_interval_ms = 100;
        config.rates.user_rest_per_s = 1;
        config.rates.user_rest_burst = 2;
    });
    let me = |user, device| gate.http("GET", "/api/users/me", Some(&gate.token(user, device)), None);
    // A third within the second; the machine may be slow.
    let mut asked = 0;
    until("a refusal", || {
        let answer = me(1, if asked % 2 == 0 { "phone" } else { "laptop" });
        asked += 1;
        if answer.status == 200 {
            return false;
        }
        is_too_fast(&answer, 1_000);
        true
    });
    assert!(asked > 2, "the burst is two");
    assert_eq!(gate.fake.calls("get_me"), asked - 1, "a refused request reaches nobody");
    assert_eq!(me(2, "phone").status, 200, "others have their own");
    counted(&gate, "gateway_requests_too_fast_total{reason=\"user\"} 1\n");
    until("it may ask again", || me(1, "phone").status == 200);
}

#[test]
fn who_connects_too_often_is_told_to_wait() {
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.rates.user_rest_per_s = 1;
        config.rates.user_rest_burst = 1;
    });
    let bearer = format!("Bearer {}", gate.token(1, "phone"));
    until("a refusal", || match gate.upgrade(&[("Authorization", &bearer)], &[]) {
        Ok(_) => false,
        Err(refused) => {
            assert_eq!((refused.status.as_u16(), &refused.body["error"]["code"]), (429, &json!(1012)));
            assert!(refused.body["error"]["retryAfterMs"].as_u64().is_some_and(|ms| ms >= 1));
            true
        }
    });
    gate.connect(2, "phone");
}

#[test]
fn an_address_has_a_rate_for_what_needs_no_token() {
    let bodies: [(&str, &str, Value); 3] = [
        ("refresh", "refresh_token", json!({"refreshToken": "guessed"})),
        ("login", "login", json!({"username": "ann", "password": "guessed"})),
        ("register", "register", json!({"username": "ann", "email": "a@b.c", "password": "long enough"})),
    ];
    for (route, call, body) in bodies {
        let gate = Gate::with(|config| {
            config.shards = 1;
            config.stats_interval_ms = 100;
            config.rates.ip_auth_per_s = 1;
            config.rates.ip_auth_burst = 3;
        });
        let path = format!("/api/auth/{route}");
        let mut asked = 0;
        until("a refusal", || {
            let answer = gate.http("POST", &path, None, Some(body.clone()));
            asked += 1;
            if answer.status < 400 {
                return false;
            }
            is_too_fast(&answer, 1_000);
            true
        });
        assert!(asked > 3, "the burst is three");
        assert_eq!(gate.fake.calls(call), asked - 1, "a refused {route} reaches nobody");
        let with_token = gate.http("GET", "/api/users/me", Some(&gate.token(1, "d")), None);
        assert_eq!(with_token.status, 200, "who has a token is not concerned");
        counted(&gate, "gateway_requests_too_fast_total{reason=\"ip\"} 1\n");
    }
}

#[test]
fn more_users_than_are_kept_are_counted() {
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.stats_interval_ms = 100;
        config.rates.users_per_shard_max = 1;
        // The first bucket of each kind stays in use for the whole test.
        config.rates.user_rest_per_s = 1;
        config.rates.user_rest_burst = 1_000;
        config.rates.user_requests_per_s = 1;
        config.rates.user_requests_burst = 1_000;
    });
    let (mut first, mut second) = (gate.connect(1, "d"), gate.connect(2, "d"));
    for _ in 0..30 {
        first.expect_nothing();
        assert_eq!(gate.http("GET", "/api/users/me", Some(&gate.token(1, "d")), None).status, 200);
    }
    second.expect_nothing();
    assert_eq!(gate.http("GET", "/api/users/me", Some(&gate.token(2, "d")), None).status, 200);
    for reason in ["user_frames", "user_requests"] {
        let none = format!("gateway_rates_without_room_total{{reason=\"{reason}\"}} 0\n");
        until(reason, || {
            let text = gate.metrics.encode();
            text.contains("gateway_rates_without_room_total{") && !text.contains(&none)
        });
    }
}
