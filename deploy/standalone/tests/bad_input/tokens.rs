//! Tokens that are wrong, old, forged, of another key or in the wrong place: at REST and at the upgrade.
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::House;
use crate::harness::{Client, until};

/// The server's own key, which only a test of the whole may read.
struct Key {
    kid: String,
    secret: Vec<u8>,
}

impl Key {
    fn read(data: &Path) -> Key {
        let file = std::fs::read_to_string(data.join("keys.json")).expect("the key file is there");
        let file: Value = serde_json::from_str(&file).expect("it is JSON");
        let text = |name: &str| file["keys"][0][name].as_str().expect("a text").to_owned();
        Key { kid: text("kid"), secret: URL_SAFE_NO_PAD.decode(text("secret")).expect("base64url") }
    }

    fn sign(&self, algorithm: Algorithm, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(algorithm);
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(&self.secret))
            .expect("it can be signed")
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// Every token that must be refused, by what is wrong with it.
fn bad_tokens(house: &House) -> Vec<(&'static str, String)> {
    let key = Key::read(house.data.path());
    let now = now_s();
    let good = json!({"sub": house.mal.id, "device": house.mal.device, "iat": now, "exp": now + 900});
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().expect("an object").remove(name);
        claims
    };
    let hs256 = |claims: &Value| key.sign(Algorithm::HS256, Some(&key.kid), claims);
    let sound = hs256(&good);
    assert_eq!(status_of(house, &sound), 200, "the table starts from a token that is good");
    let parts: Vec<&str> = sound.split('.').collect();
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let other_payload = part(with("sub", json!(house.ann.id)));
    let other_key = Key { kid: key.kid.clone(), secret: vec![7; 32] };
    let no_secret = Key { kid: key.kid.clone(), secret: Vec::new() };
    let mut flipped = sound.clone().into_bytes();
    let at = sound.len() - 5;
    flipped[at] = if flipped[at] == b'A' { b'B' } else { b'A' };
    vec![
        ("nonsense", "nonsense".to_owned()),
        ("dots", "..".to_owned()),
        ("two parts", format!("{}.{}", parts[0], parts[1])),
        ("four parts", format!("{sound}.{}", parts[2])),
        ("no signature", format!("{}.{}.", parts[0], parts[1])),
        ("a flipped bit in the signature", String::from_utf8(flipped).expect("ASCII")),
        ("half a signature", sound[..sound.len() - 20].to_owned()),
        ("another user's claims under this signature", format!("{}.{other_payload}.{}", parts[0], parts[2])),
        ("padding", format!("{sound}==")),
        ("alg none", format!("{}.{}.", part(json!({"alg": "none", "typ": "JWT", "kid": key.kid})), parts[1])),
        (
            "alg None, signed",
            format!("{}.{}.{}", part(json!({"alg": "None", "kid": key.kid})), parts[1], parts[2]),
        ),
        ("no alg", format!("{}.{}.{}", part(json!({"kid": key.kid})), parts[1], parts[2])),
        ("alg RS256", format!("{}.{}.{}", part(json!({"alg": "RS256", "kid": key.kid})), parts[1], parts[2])),
        ("alg HS384 with our key", key.sign(Algorithm::HS384, Some(&key.kid), &good)),
        ("alg HS512 with our key", key.sign(Algorithm::HS512, Some(&key.kid), &good)),
        ("another key under our kid", other_key.sign(Algorithm::HS256, Some(&key.kid), &good)),
        ("an empty key under our kid", no_secret.sign(Algorithm::HS256, Some(&key.kid), &good)),
        ("no kid", key.sign(Algorithm::HS256, None, &good)),
        ("another kid", key.sign(Algorithm::HS256, Some("other"), &good)),
        ("a kid that is a path", key.sign(Algorithm::HS256, Some("../../dev/null"), &good)),
        ("a kid that is SQL", key.sign(Algorithm::HS256, Some("' OR 1=1 --"), &good)),
        ("expired an hour ago", hs256(&with("exp", json!(now - 3_600)))),
        ("expired in 1970", hs256(&with("exp", json!(0)))),
        ("exp as a text", hs256(&with("exp", json!("tomorrow")))),
        ("exp below zero", hs256(&with("exp", json!(-1)))),
        ("no exp", hs256(&without("exp"))),
        ("no sub", hs256(&without("sub"))),
        ("sub as a number", hs256(&with("sub", json!(house.mal.id.parse::<u64>().expect("a number"))))),
        ("sub below zero", hs256(&with("sub", json!("-1")))),
        ("sub as a name", hs256(&with("sub", json!("ann")))),
        ("no device", hs256(&without("device"))),
        ("no claims", hs256(&json!({}))),
        ("claims that are a list", hs256(&json!([good.clone()]))),
        ("far too long", hs256(&with("device", json!("x".repeat(3_000))))),
        ("a refresh token", log_in(house, "correct horse").1),
    ]
}

fn status_of(house: &House, token: &str) -> u16 {
    house.server.call("GET", "/api/users/me", Some(token), None).0
}

#[test]
fn no_bad_token_opens_a_door() {
    let mut house = House::open();
    let mut open = house.server.connect(&house.mal);
    for (what, token) in bad_tokens(&house) {
        let bearer = format!("Bearer {token}");
        let headers = [("Authorization", bearer.as_str())];
        let answer = house.server.call_raw("GET", "/api/users/me", &headers, "");
        is_refused(&mut house, what, answer);
        is_refused_upgrade(&mut house, what, "/ws", &headers);
        if !token.contains('=') {
            let offered = format!("gochat.v1, bearer.{token}");
            is_refused_upgrade(&mut house, what, "/ws", &[("Sec-WebSocket-Protocol", &offered)]);
        }
        is_refused_renewal(&mut house, what, &mut open, &token);
        house.is_well(what);
    }
    house.assert_all_right();
}

/// On a socket that is open, and stays so.
fn is_refused_renewal(house: &mut House, what: &str, open: &mut Client, token: &str) {
    open.send("auth", json!({"token": token}));
    let refused = open.next();
    let found = (refused["type"].clone(), refused["data"]["code"].as_u64());
    house.expect(what, found, ("error".into(), Some(1006)), &refused);
    open.send("ping", json!({}));
    open.wait_for("pong", |_| true);
}

/// A login of Mal as another device: its access token and its refresh token.
fn log_in(house: &House, password: &str) -> (String, String) {
    let login = json!({"username": "mal", "password": password});
    let (status, answer) = house.server.call("POST", "/api/auth/login", None, Some(login));
    assert_eq!(status, 200, "{answer}");
    let text = |name: &str| answer[name].as_str().expect("a token").to_owned();
    (text("accessToken"), text("refreshToken"))
}

#[test]
fn a_token_that_was_ended_before_its_time_is_none() {
    let mut house = House::open();
    let ((logged_out, refresh), (other, _)) =
        (log_in(&house, "correct horse"), log_in(&house, "correct horse"));
    let post = |house: &House, path: &str, token: &str, body: Value| {
        let (status, answer) = house.server.call("POST", path, Some(token), Some(body));
        assert_eq!(status, 204, "{path}: {answer}");
    };
    post(&house, "/api/auth/logout", &logged_out, json!({}));
    is_ended(&mut house, "logged out", &logged_out);
    let (status, answer) =
        house.server.call("POST", "/api/auth/refresh", None, Some(json!({"refreshToken": refresh})));
    house.expect(
        "refreshing after the logout",
        (status, answer["error"]["code"].as_u64()),
        (401, Some(1006)),
        &answer,
    );
    assert_eq!(status_of(&house, &other), 200, "another device stays");

    post(&house, "/api/users/me/password", &other, json!({"old": "correct horse", "new": "battery staple"}));
    is_ended(&mut house, "before the password was changed", &other);
    let old = house.mal.token.clone();
    is_ended(&mut house, "another device, before the password was changed", &old);
    let (fresh, _) = log_in(&house, "battery staple");
    assert_eq!(status_of(&house, &fresh), 200, "a login after it is good");
    house.assert_all_right();
}

/// The gateway learns of it by an event, a moment after the answer.
fn is_ended(house: &mut House, what: &str, token: &str) {
    until(what, || status_of(house, token) == 401);
    let bearer = format!("Bearer {token}");
    is_refused_upgrade(house, what, "/ws", &[("Authorization", &bearer)]);
    let offered = format!("gochat.v1, bearer.{token}");
    is_refused_upgrade(house, what, "/ws", &[("Sec-WebSocket-Protocol", &offered)]);
    house.is_well(what);
}

#[test]
fn a_good_token_in_the_wrong_place_is_none() {
    let mut house = House::open();
    let token = house.mal.token.clone();
    let basic = format!("Basic {token}");
    let cookie = format!("token={token}; accessToken={token}");
    let rows: &[(&'static str, &'static str, &str)] = &[
        ("no token", "X-Nothing", "1"),
        ("a bare token", "Authorization", &token),
        ("an empty bearer", "Authorization", "Bearer"),
        ("another scheme", "Authorization", &basic),
        ("a cookie", "Cookie", &cookie),
        ("another header", "X-Access-Token", &token),
        ("a protocol without its prefix", "Sec-WebSocket-Protocol", &token),
    ];
    for (what, name, value) in rows {
        let answer = house.server.call_raw("GET", "/api/users/me", &[(name, value)], "");
        is_refused(&mut house, what, answer);
        is_refused_upgrade(&mut house, what, "/ws", &[(name, value)]);
        house.is_well(what);
    }
    for name in ["token", "access_token"] {
        let query = format!("?{name}={token}");
        let answer = house.server.call_raw("GET", &format!("/api/users/me{query}"), &[], "");
        is_refused(&mut house, name, answer);
        is_refused_upgrade(&mut house, name, &format!("/ws{query}"), &[]);
        house.is_well(name);
    }
    // The protocol's prefix is the upgrade's only.
    let offered = format!("gochat.v1, bearer.{token}");
    let headers = [("Sec-WebSocket-Protocol", offered.as_str())];
    let answer = house.server.call_raw("GET", "/api/users/me", &headers, "");
    is_refused(&mut house, "an upgrade's token", answer);
    assert!(house.server.upgrade("/ws", &headers).is_ok());
    house.assert_all_right();
}

#[test]
fn a_foreign_page_or_an_unknown_version_is_told_so() {
    let mut house = House::open();
    let bearer = format!("Bearer {}", house.mal.token);
    let rows: &[(&'static str, &str, u16, u64)] = &[
        ("Origin", "https://evil.example", 403, 1002),
        ("Origin", "null", 403, 1002),
        ("Origin", "http://127.0.0.1.evil.example", 403, 1002),
        ("Sec-WebSocket-Protocol", "gochat.v2", 400, 1000),
        ("Sec-WebSocket-Protocol", "gochat.v0, gochat.v99", 400, 1000),
    ];
    for (name, value, status, code) in rows {
        let refused =
            house.server.upgrade("/ws", &[("Authorization", &bearer), (name, value)]).err().expect(value);
        assert_eq!(
            (refused.0, refused.1["error"]["code"].as_u64()),
            (*status, Some(*code)),
            "{value}: {refused:?}"
        );
        house.is_well(value);
    }
}

fn is_refused(house: &mut House, what: &str, (status, answer): (u16, Value)) {
    house.expect(what, (status, answer["error"]["code"].as_u64()), (401, Some(1006)), &answer);
}

fn is_refused_upgrade(house: &mut House, what: &str, path: &str, headers: &[(&'static str, &str)]) {
    match house.server.upgrade(path, headers) {
        Err(refusal) => is_refused(house, what, refusal),
        Ok(_) => house.expect(what, "a socket", "a refusal", &Value::Null),
    }
}
