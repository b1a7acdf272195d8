//! SQL, HTML and stranger things in every field of text that a client may fill: an account's own come back byte for byte, and where
//! a grammar forbids them the answer is the field's own and nothing changes.
use serde_json::{Value, json};

use crate::House;
use crate::harness::User;
use crate::text::{CONTROLS, PIECES, belongings, compose, escaped};

/// In no grammar.
const FORBIDDEN: &str = "'\"<b>;--";

struct Texts {
    rng: fastrand::Rng,
}

impl Texts {
    /// Of one line.
    fn line(&mut self) -> String {
        compose(&mut self.rng, PIECES, 60)
    }

    fn any(&mut self) -> String {
        let all: Vec<&str> = PIECES.iter().chain(CONTROLS).copied().collect();
        compose(&mut self.rng, &all, 60)
    }

    /// One word: for what may hold no space.
    fn word(&mut self) -> String {
        self.line().split_whitespace().collect()
    }
}

/// What is Ann's stayed as it was, but for what she says to Bob after each row.
fn is_untouched(house: &House, before: &Value) {
    let after = belongings(house);
    for what in [0, 1, 2, 4] {
        assert_eq!(after[what], before[what]);
    }
}

#[test]
fn the_texts_of_an_account_come_back_as_they_were() {
    let mut house = House::open();
    let before = belongings(&house);
    let mut texts = Texts { rng: fastrand::Rng::with_seed(5) };
    for round in 0..10 {
        let username = format!("stranger-{round}");
        let (email, display) = (format!("{round}{}@x", texts.word().replace('@', "")), texts.line());
        let (password, next) =
            (format!("{round}-12345{}", texts.any()), format!("{round}-67890{}", texts.any()));
        let post = |house: &House, path: &str, token: Option<&str>, body: Value| {
            house.server.call("POST", path, token, Some(body))
        };
        let register =
            json!({"username": username, "email": email, "password": password, "displayName": display});
        let (status, answer) = post(&house, "/api/auth/register", None, register);
        assert_eq!(status, 201, "{email:?} {password:?} {display:?}: {answer}");

        let log_in = |house: &House, password: &str, device: &str| {
            let body = json!({"username": username, "password": password, "deviceName": device});
            post(house, "/api/auth/login", None, body)
        };
        let (status, answer) = log_in(&house, &format!("{password}'"), &texts.any());
        assert_eq!((status, answer["error"]["code"].as_u64()), (401, Some(1006)), "{answer}");
        let (status, answer) = log_in(&house, &password, &texts.any());
        assert_eq!(status, 200, "{password:?}: {answer}");
        let token = answer["accessToken"].as_str().expect("a token").to_owned();

        let avatar = format!("https://x/{}", texts.word());
        let body = json!({"avatarUrl": avatar});
        let (status, patched) = house.server.call("PATCH", "/api/users/me", Some(&token), Some(body));
        assert_eq!(status, 200, "{avatar:?}: {patched}");
        let (_, me) = house.server.call("GET", "/api/users/me", Some(&token), None);
        let shown = (&me["username"], &me["email"], &me["displayName"], &me["avatarUrl"]);
        assert_eq!(shown, (&json!(username), &json!(email), &json!(display), &json!(avatar)));
        let (_, found) = house.server.call(
            "GET",
            &format!("/api/users?ids={}", me["userId"].as_str().unwrap()),
            Some(&token),
            None,
        );
        assert_eq!(
            (&found["users"][0]["displayName"], &found["users"][0]["avatarUrl"]),
            (&json!(display), &json!(avatar))
        );

        let body = json!({"old": password, "new": next});
        let (status, answer) = post(&house, "/api/users/me/password", Some(&token), body);
        assert_eq!(status, 204, "{next:?}: {answer}");
        assert_eq!(log_in(&house, &password, "").0, 401, "the old one is none any more");
        assert_eq!(log_in(&house, &next, "").0, 200, "{next:?}");
        house.is_well(&username);
    }
    is_untouched(&house, &before);
}

/// A call with the text in one of its fields, and the status and code that refuse it.
type Call = (&'static str, fn(&str, &House) -> (String, Value), u16, u64);

/// As Mal. A body of null is none.
#[rustfmt::skip]
const CALLS: &[Call] = &[
    ("POST", |text, _| ("/api/auth/register".into(), json!({"username": text, "email": "n@x", "password": "12345678"})), 400, 1000),
    ("POST", |text, _| ("/api/auth/register".into(), json!({"username": "newone", "email": text.replace('@', ""), "password": "12345678"})), 400, 1000),
    ("POST", |text, _| ("/api/auth/login".into(), json!({"username": text, "password": "12345678"})), 401, 1006),
    ("POST", |text, _| ("/api/auth/login".into(), json!({"username": "ann", "password": text})), 401, 1006),
    ("POST", |text, _| ("/api/auth/login".into(), json!({"username": "ann", "password": "correct horse", "deviceId": text})), 400, 1000),
    ("POST", |text, _| ("/api/auth/refresh".into(), json!({"refreshToken": text})), 401, 1006),
    ("PATCH", |text, _| ("/api/users/me".into(), json!({"avatarUrl": text})), 400, 1000),
    ("POST", |text, _| ("/api/users/me/password".into(), json!({"old": text, "new": "12345678"})), 403, 1002),
    ("GET", |text, _| (format!("/api/users?username={}", escaped(text)), Value::Null), 400, 1000),
    ("GET", |text, _| (format!("/api/users?ids={}", escaped(text)), Value::Null), 400, 1000),
    ("GET", |text, _| (format!("/api/users?{}=1", escaped(text)), Value::Null), 400, 1000),
    ("GET", |text, _| (format!("/api/users/{}", escaped(text)), Value::Null), 404, 1009),
    ("GET", |text, _| (format!("/api/conversations?cursor={}", escaped(text)), Value::Null), 400, 1000),
    ("GET", |text, _| (format!("/api/conversations?limit={}", escaped(text)), Value::Null), 400, 1000),
    ("GET", |text, _| (format!("/api/conversations/{}/messages", escaped(text)), Value::Null), 400, 1000),
    ("GET", |text, _| (format!("/api/conversations/world/messages?after_seq={}", escaped(text)), Value::Null), 400, 1000),
    ("GET", |text, _| (format!("/api/conversations/world/messages?before_seq={}", escaped(text)), Value::Null), 400, 1000),
    ("GET", |text, _| (format!("/api/conversations/world/messages?limit={}", escaped(text)), Value::Null), 400, 1000),
    ("POST", |text, _| (format!("/api/conversations/{}/read", escaped(text)), json!({"seqId": 1})), 400, 1000),
    ("POST", |text, _| ("/api/conversations/world/read".into(), json!({"seqId": text})), 400, 1000),
    ("POST", |text, _| ("/api/groups".into(), json!({"name": "G", "memberIds": [text]})), 400, 1000),
    ("POST", |text, _| ("/api/groups".into(), json!({"name": "G", "groupType": text})), 400, 1000),
    ("POST", |text, _| ("/api/groups".into(), json!({"name": "G", "maxMembers": text})), 400, 1000),
    ("POST", |text, _| ("/api/groups".into(), json!({"name": "G", text: 1})), 400, 1000),
    ("GET", |text, _| (format!("/api/groups/{}/members", escaped(text)), Value::Null), 400, 1000),
    ("GET", |text, house| (format!("/api/groups/{}/members?cursor={}", house.group_id, escaped(text)), Value::Null), 400, 1000),
    ("POST", |text, _| (format!("/api/groups/{}/members", escaped(text)), json!({"userIds": ["1"]})), 400, 1000),
    ("POST", |text, house| (format!("/api/groups/{}/members", house.group_id), json!({"userIds": [text]})), 400, 1000),
    ("DELETE", |text, house| (format!("/api/groups/{}/members/{}", house.group_id, escaped(text)), Value::Null), 400, 1000),
    ("DELETE", |text, house| (format!("/api/groups/{}/members/{}", escaped(text), house.mal.id), Value::Null), 400, 1000),
];

/// A frame with the text in one of its fields, and the type and code of its answer.
type Frame = (fn(&str) -> Value, &'static str, u64);

#[rustfmt::skip]
const FRAMES: &[Frame] = &[
    (|text| json!({"type": text}), "error", 1000),
    (|text| json!({"type": "send-message", "data": {"conversationId": "world", "content": "x", "clientMsgId": text}}), "error", 1000),
    (|text| json!({"type": "send-message", "data": {"conversationId": text, "content": "x", "clientMsgId": "c"}}), "message-ack", 1000),
    (|text| json!({"type": "send-message", "data": {"conversationId": "world", "content": "x", "clientMsgId": "c", "messageType": text}}), "message-ack", 1000),
    (|text| json!({"type": "heads", "data": {"conversations": {text: 1}}}), "error", 1000),
    (|text| json!({"type": "heads", "data": {"pageLimit": text}}), "error", 1000),
    (|text| json!({"type": "sync", "data": {"conversationId": text}}), "error", 1000),
    (|text| json!({"type": "sync", "data": {"conversationId": "world", "afterSeq": text}}), "error", 1000),
    (|text| json!({"type": "mark-read", "data": {"conversationId": text, "seqId": 1}}), "error", 1000),
    (|text| json!({"type": "mark-read", "data": {"conversationId": "world", "seqId": text}}), "error", 1000),
    (|text| json!({"type": "auth", "data": {"token": text}}), "error", 1006),
];

/// The refusal is the field's own, says why, and is sound JSON whatever it repeats of the text.
fn refused(house: &mut House, mal: &User, text: &str, (method, call, status, code): &Call) {
    let (path, body) = call(text, house);
    let body = (!body.is_null()).then_some(body);
    let shown = format!("{method} {path} {body:?}");
    let (found, answer) = house.server.call(method, &path, Some(&mal.token), body);
    let error = &answer["error"];
    house.expect(&shown, (found, error["code"].as_u64()), (*status, Some(*code)), &answer);
    house.expect(&shown, error["message"].as_str().is_some_and(|words| words.len() > 5), true, &answer);
}

#[test]
fn no_grammar_takes_them() {
    let mut house = House::open();
    let before = belongings(&house);
    let mal = house.mal.clone();
    let mut client = house.server.connect(&mal);
    let mut texts = Texts { rng: fastrand::Rng::with_seed(6) };
    for round in 0..6 {
        let text = format!("{}{FORBIDDEN}{}", texts.any(), texts.any());
        for call in CALLS {
            refused(&mut house, &mal, &text, call);
        }
        for (frame, kind, code) in FRAMES {
            let frame = frame(&text).to_string();
            client.send_text(&frame);
            let answer = client.next();
            let found = (answer["type"].clone(), answer["data"]["code"].as_u64());
            house.expect(&frame, found, ((*kind).into(), Some(*code)), &answer);
            // A sound frame, so that nonsense is never what ends the connection; its id is the client's own and comes back.
            let id: String = text.chars().take(12).collect();
            client.send_text(&json!({"type": "ping", "id": id}).to_string());
            let pong = client.next();
            assert_eq!((&pong["type"], &pong["id"]), (&json!("pong"), &json!(id)));
        }
        house.is_well(&format!("round {round}: {text:?}"));
    }
    house.assert_all_right();
    is_untouched(&house, &before);
    let (_, own) = house.server.call("GET", "/api/conversations", Some(&mal.token), None);
    assert_eq!(own["conversations"].as_array().map(Vec::len), Some(1), "{own}");
    assert_eq!(own["conversations"][0]["lastSeq"], 0, "nothing of it was said in world: {own}");
}
