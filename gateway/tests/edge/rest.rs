//! Every REST route: what it asks logic, and the exact JSON that it answers; and how each refusal reads.

use gochat_infra::errors::{Code, Error};
use serde_json::{Value, json};

use crate::harness::{Gate, message};

struct Check<'a> {
    gate: &'a Gate,
    token: String,
}

impl Check<'_> {
    /// A request, the answer to it, and what logic was asked (the call's name and parts of its fields).
    fn ok(&self, method: &str, path: &str, body: Value, status: u16, answer: Value, asked: &[&str]) {
        let body = (!body.is_null()).then_some(body);
        let got = self.gate.http(method, path, Some(&self.token), body);
        assert_eq!(got.status, status, "{method} {path}: {got:?}");
        assert!(got.header("x-request-id").is_some(), "{got:?}");
        match answer {
            Value::Null => assert!(got.body.is_empty(), "{method} {path}: {got:?}"),
            answer => assert_eq!(got.json(), answer, "{method} {path}"),
        }
        let request = self.gate.fake.asked(asked[0]);
        for part in asked {
            assert!(request.contains(part), "{method} {path}: {part:?} in {request}");
        }
    }
}

fn login_answer(device: &str) -> Value {
    json!({
        "userId": "5", "deviceId": device, "accessToken": "access", "refreshToken": "refresh", "expiresIn": 900,
    })
}

#[test]
fn auth_routes() {
    let gate = Gate::start();
    let check = Check { gate: &gate, token: gate.token(5, "phone") };
    check.ok(
        "POST",
        "/api/auth/register",
        json!({"username": "ann", "email": "a@b", "password": "secret12", "displayName": "Ann"}),
        201,
        json!({"userId": u64::MAX.to_string()}),
        &["register", "peer_ip: \"127.0.0.1\"", "\"ann\"", "\"a@b\"", "\"secret12\"", "\"Ann\""],
    );
    let body = json!({"username": "ann", "password": "secret12"});
    check.ok(
        "POST",
        "/api/auth/login",
        body,
        200,
        login_answer("drawn"),
        &["login", "device_id: \"\"", "peer_ip: \"127.0.0.1\""],
    );
    let body = json!({"username": "ann", "password": "x", "deviceId": "d1", "deviceName": "Phone"});
    check.ok("POST", "/api/auth/login", body, 200, login_answer("drawn"), &["login", "\"d1\"", "\"Phone\""]);
    let body = json!({"refreshToken": "r1"});
    check.ok("POST", "/api/auth/refresh", body, 200, login_answer("kept"), &["refresh_token", "\"r1\""]);
    let logout = "/api/auth/logout";
    check.ok("POST", logout, Value::Null, 204, Value::Null, &["logout", "user_id: 5", "\"phone\""]);
    check.ok("POST", logout, json!({"refreshToken": "r2"}), 204, Value::Null, &["logout", "\"r2\""]);
    check.ok(
        "POST",
        "/api/users/me/password",
        json!({"old": "o", "new": "n"}),
        204,
        Value::Null,
        &["change_password", "old_password: \"o\"", "new_password: \"n\""],
    );
}

#[test]
fn logic_is_told_the_client_behind_a_trusted_proxy() {
    let asked = |proxies: &[&str]| {
        let proxies: Vec<_> = proxies.iter().map(|one| one.parse().expect("a network")).collect();
        let gate = Gate::with(|config| config.edge.trusted_proxies = proxies);
        let body = br#"{"username":"ann","password":"secret12"}"#;
        let got = gate.raw("POST", "/api/auth/login", "X-Forwarded-For: spoofed, 203.0.113.7\r\n", body);
        assert_eq!(got.status, 200, "{got:?}");
        gate.fake.asked("login")
    };
    assert!(asked(&["127.0.0.1"]).contains("peer_ip: \"203.0.113.7\""));
    assert!(asked(&["10.0.0.0/8"]).contains("peer_ip: \"127.0.0.1\""));
}

fn profile(id: u64) -> Value {
    let (username, name) = (format!("user{id}"), format!("User \"{id}\""));
    json!({"userId": id.to_string(), "username": username, "displayName": name, "avatarUrl": "https://example/a.png"})
}

#[test]
fn user_routes() {
    let gate = Gate::start();
    let check = Check { gate: &gate, token: gate.token(5, "phone") };
    let mut own = profile(5);
    own["email"] = "u5@example".into();
    own["createdAt"] = 1_700_000_000_000_u64.into();
    check.ok("GET", "/api/users/me", Value::Null, 200, own.clone(), &["get_me", "user_id: 5"]);
    let body = json!({"displayName": "New"});
    check.ok("PATCH", "/api/users/me", body, 200, own, &["update_me", "Some(\"New\")", "avatar_url: None"]);
    check.ok("GET", "/api/users?username=a%2Bb", Value::Null, 200, profile(9), &["find_user", "\"a+b\""]);
    let two = json!({"users": [profile(1), profile(2)]});
    check.ok("GET", "/api/users?ids=1,2", Value::Null, 200, two, &["get_profiles", "[1, 2]"]);
}

fn message_json(conversation: &str, seq: u64) -> Value {
    json!({
        "messageId": (1_000 + seq).to_string(), "conversationId": conversation, "sender": "2",
        "content": format!("message {seq}"), "messageType": "text", "seqId": seq, "clientMsgId": format!("c{seq}"),
        "createdAt": 1_700_000_000_000_u64,
    })
}

#[test]
fn conversation_routes() {
    let gate = Gate::start();
    let check = Check { gate: &gate, token: gate.token(5, "phone") };
    let entry = |id: &str, kind: &str, last: Value| {
        json!({
            "conversationId": id, "type": kind, "name": "A name", "lastMessage": last, "lastSeq": 4, "readSeq": 3,
            "unreadCount": 1, "updatedAt": 1_700_000_000_000_u64, "left": false,
        })
    };
    let mut group = entry("group_7", "group", message_json("group_7", 4));
    group["left"] = true.into();
    let mut single = entry("single_1_5", "single", Value::Null);
    single["peerReadSeq"] = 2.into();
    let list = json!({
        "conversations": [group, single, entry("world", "world", Value::Null)], "nextCursor": "next",
    });
    let path = "/api/conversations?cursor=abc&limit=500";
    check.ok("GET", path, Value::Null, 200, list, &["get_conversations", "\"abc\"", "limit: 200"]);
    for seq in 1..=3 {
        gate.fake.store(message("group_7", 2, seq));
    }
    let page = json!({"messages": [message_json("group_7", 2)], "hasMore": true});
    let path = "/api/conversations/group_7/messages?after_seq=1&limit=1";
    let call = "get_conversation_messages";
    check.ok(
        "GET",
        path,
        Value::Null,
        200,
        page,
        &[call, "after_seq: Some(1)", "before_seq: None", "limit: 1"],
    );
    let all = json!({"messages": [], "hasMore": false});
    let path = "/api/conversations/world/messages?before_seq=9";
    check.ok(
        "GET",
        path,
        Value::Null,
        200,
        all,
        &[call, "before_seq: Some(9)", "after_seq: None", "limit: 50"],
    );
    let path = "/api/conversations/group_7/read";
    check.ok(
        "POST",
        path,
        json!({"seqId": 3}),
        204,
        Value::Null,
        &["mark_as_read", "\"group_7\"", "seq_id: 3"],
    );
}

#[test]
fn group_routes() {
    let gate = Gate::start();
    let check = Check { gate: &gate, token: gate.token(5, "phone") };
    let made = json!({"groupId": "7", "conversationId": "group_7"});
    let body = json!({"name": "N", "memberIds": ["1", "2"], "maxMembers": 9, "groupType": "public", "description": "D"});
    let asked = ["create_group", "user_id: 5", "\"N\"", "[1, 2]", "max_members: 9", "Public", "\"D\""];
    check.ok("POST", "/api/groups", body, 201, made.clone(), &asked);
    check.ok("POST", "/api/groups", json!({"name": "N"}), 201, made, &["create_group", "[]", "Private"]);
    let member = |id: &str, role: &str| {
        json!({
            "userId": id, "username": format!("user{id}"), "displayName": "User", "role": role,
            "joinedAt": 1_700_000_000_000_u64,
        })
    };
    let members = json!({"members": [member("1", "owner"), member("2", "member")], "nextCursor": null});
    let path = "/api/groups/7/members";
    let asked = ["get_group_members", "group_id: 7", "\"k\"", "limit: 2"];
    check.ok("GET", &format!("{path}?cursor=k&limit=2"), Value::Null, 200, members, &asked);
    let body = json!({"userIds": ["3"]});
    check.ok("POST", path, body, 204, Value::Null, &["add_group_members", "group_id: 7", "[3]"]);
    let path = "/api/groups/7/members/3";
    let asked = ["remove_group_member", "group_id: 7", "member_id: 3", "user_id: 5"];
    check.ok("DELETE", path, Value::Null, 204, Value::Null, &asked);
}

#[test]
fn every_refusal_reads_alike() {
    let gate = Gate::start();
    let token = gate.token(5, "phone");
    let check = |method: &str, path: &str, body: &str, status: u16, code: u64, word: &str| {
        let line = format!("Authorization: Bearer {token}\r\n");
        let got = gate.raw(method, path, &line, body.as_bytes());
        assert_eq!(got.status, status, "{method} {path} {body}: {got:?}");
        let error = &got.json()["error"];
        assert_eq!(error["code"].as_u64(), Some(code), "{error}");
        assert!(
            error["message"].as_str().is_some_and(|message| message.contains(word)),
            "{word:?} in {error}"
        );
        assert_eq!(error["requestId"].as_str(), got.header("x-request-id"));
        assert!(error["name"].is_string() && error.get("details").is_some(), "{error}");
        assert_eq!(got.header("content-type"), Some("application/json"));
    };
    check("GET", "/api/nothing", "", 404, 1009, "nothing");
    check("DELETE", "/api/users/me", "", 405, 1010, "GET, PATCH");
    check("POST", "/api/auth/login", "{", 400, 1000, "JSON");
    check("POST", "/api/auth/login", "{}", 400, 1000, "username");
    check("POST", "/api/auth/login", r#"{"username":1}"#, 400, 1000, "username must be a string");
    check("POST", "/api/auth/login", r#"{"username":"a","password":"b","x":1}"#, 400, 1000, "\"x\"");
    check("GET", "/api/users", "", 400, 1000, "username or ids");
    check("GET", "/api/users?username=a&ids=1", "", 400, 1000, "either");
    check("GET", "/api/users?ids=1,x", "", 400, 1000, "\"x\"");
    check("GET", "/api/users?username=nobody", "", 404, 1001, "no such user");
    check("GET", "/api/users/me?verbose=1", "", 400, 1000, "verbose");
    check("GET", "/api/conversations?limit=no", "", 400, 1000, "limit");
    check("GET", "/api/conversations/nonsense/messages", "", 400, 1000, "conversation id");
    check("GET", "/api/conversations/world/messages?after_seq=1&before_seq=2", "", 400, 1000, "both");
    check("POST", "/api/conversations/world/read", r#"{"seqId":"3"}"#, 400, 1000, "seqId");
    check("POST", "/api/groups", r#"{"name":"N","groupType":"open"}"#, 400, 1000, "groupType");
    check("POST", "/api/groups", r#"{"name":"N","maxMembers":0}"#, 400, 1000, "maxMembers");
    check("POST", "/api/groups?dry=1", r#"{"name":"N"}"#, 400, 1000, "\"dry\"");
    check("POST", "/api/auth/logout?all=1", "", 400, 1000, "\"all\"");
    check("POST", "/api/groups", r#"{"name":"N","memberIds":[1]}"#, 400, 1000, "memberIds");
    check("POST", "/api/groups/7/members", r#"{"userIds":[]}"#, 400, 1000, "userIds");
    check("GET", "/api/groups/x/members", "", 400, 1000, "group id");
    gate.fake.fail("get_me", Error::new(Code::StaleData, "it changed").details(json!({"version": 3})));
    check("GET", "/api/users/me", "", 409, 1017, "changed");
    gate.fake.fail("get_me", Error::new(Code::Internal, "password of the database"));
    check("GET", "/api/users/me", "", 500, 1999, "on our side");
}

#[test]
fn every_code_of_logic_keeps_its_status_and_name() {
    let gate = Gate::start();
    let token = gate.token(5, "phone");
    for code in Code::ALL {
        gate.fake.fail("get_me", Error::new(code, "a sentence").details(json!({"n": 1})));
        let got = gate.http("GET", "/api/users/me", Some(&token), None);
        let error = &got.json()["error"];
        assert_eq!(got.status, code.http_status(), "{code}");
        assert_eq!(
            (error["code"].as_u64(), error["name"].as_str()),
            (Some(code.number().into()), Some(code.name()))
        );
        let told = error["message"] == "a sentence" && error["details"] == json!({"n": 1});
        assert_eq!(told, code != Code::Internal, "{error}");
    }
}

#[test]
fn refusals_have_their_headers() {
    let gate = Gate::start();
    let method = gate.http("PUT", "/api/groups/7/members", None, None);
    assert_eq!((method.status, method.header("allow")), (405, Some("GET, POST")));
    for token in [None, Some("forged.token.here")] {
        let refused = gate.http("GET", "/api/users/me", token, None);
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Bearer")));
    }
    gate.fake.fail("login", Error::new(Code::Overloaded, "too many log-ins").retry_after_ms(1_500));
    let body = json!({"username": "a", "password": "b"});
    let busy = gate.http("POST", "/api/auth/login", None, Some(body));
    assert_eq!((busy.status, busy.header("retry-after")), (503, Some("2")));
    assert_eq!(busy.json()["error"]["retryAfterMs"], 1_500);
    // Whoever refused did not say when: the client is told all the same.
    for code in [Code::RateLimited, Code::Overloaded, Code::Unavailable] {
        gate.fake.fail("login", Error::new(code, "not now"));
        let body = json!({"username": "a", "password": "b"});
        let busy = gate.http("POST", "/api/auth/login", None, Some(body));
        assert_eq!(busy.header("retry-after"), Some("1"), "{code}");
        assert_eq!(busy.json()["error"]["retryAfterMs"], 1_000, "{code}");
    }
    let upgrade = gate.http("GET", "/ws", Some(&gate.token(1, "d")), None);
    assert_eq!(upgrade.status, 426);
}
