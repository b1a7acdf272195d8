//! Every REST route with fields that are missing, of the wrong type, too long, empty or not its own.
use crate::House;

/// Method, path, body, and the status and code of the refusal.
type Row = (&'static str, &'static str, &'static str, u16, u64);

/// As Mal, who is logged in.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    // No route, or not with this method.
    ("GET", "/api", "", 404, 1009),
    ("GET", "/api/", "", 404, 1009),
    ("GET", "/api/users/me/", "", 404, 1009),
    ("GET", "/API/users/me", "", 404, 1009),
    ("GET", "/api/users/{ann}", "", 404, 1009),
    ("GET", "/api/%75sers/me", "", 404, 1009),
    ("POST", "/api/users/me", "{}", 405, 1010),
    ("PUT", "/api/groups", "{}", 405, 1010),
    ("DELETE", "/api/conversations", "", 405, 1010),
    ("BREW", "/api/auth/login", "", 405, 1010),
    // register
    ("POST", "/api/auth/register", "", 400, 1000),
    ("POST", "/api/auth/register", "null", 400, 1000),
    ("POST", "/api/auth/register", "[]", 400, 1000),
    ("POST", "/api/auth/register", "{", 400, 1000),
    ("POST", "/api/auth/register", "{}", 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","email":"n@x"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","email":"n@x","password":12345678}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":["newone"],"email":"n@x","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","email":"n@x","password":"12345678","admin":true}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","username":"newtwo","email":"n@x","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"","email":"n@x","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"ab","email":"n@x","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"012345678901234567890123456789012345678901234567890","email":"n@x","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"new one","email":"n@x","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"new\u0000one","email":"n@x","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"nеwone","email":"n@x","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"x'); DROP TABLE users;--","email":"n@x","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","email":"nowhere","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","email":"a@b@c","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","email":"a b@c","password":"12345678"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","email":"n@x","password":"1234567"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","email":"n@x","password":"12345678","displayName":" "}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"newone","email":"n@x","password":"12345678","displayName":"a\nb"}"#, 400, 1000),
    ("POST", "/api/auth/register", r#"{"username":"ann","email":"n@x","password":"12345678"}"#, 409, 1007),
    ("POST", "/api/auth/register", r#"{"username":"ANN","email":"n@x","password":"12345678"}"#, 409, 1007),
    ("POST", "/api/auth/register", r#"{"username":"newone","email":"ann@example.org","password":"12345678"}"#, 409, 1008),
    // login, refresh, logout
    ("POST", "/api/auth/login", r#"{"username":"ann"}"#, 400, 1000),
    ("POST", "/api/auth/login", r#"{"username":"ann","password":null}"#, 400, 1000),
    ("POST", "/api/auth/login", r#"{"username":"ann","password":"not hers"}"#, 401, 1006),
    ("POST", "/api/auth/login", r#"{"username":"nobody","password":"not hers"}"#, 401, 1006),
    ("POST", "/api/auth/login", r#"{"username":"' OR 1=1 --","password":"not hers"}"#, 401, 1006),
    ("POST", "/api/auth/login", r#"{"username":"ann","password":"correct horse","deviceId":"a b"}"#, 400, 1000),
    ("POST", "/api/auth/login", r#"{"username":"ann","password":"correct horse","deviceId":"01234567890123456789012345678901234567890123456789012345678901234"}"#, 400, 1000),
    ("POST", "/api/auth/login", r#"{"username":"ann","password":"correct horse","deviceName":7}"#, 400, 1000),
    ("POST", "/api/auth/refresh", "{}", 400, 1000),
    ("POST", "/api/auth/refresh", r#"{"refreshToken":17}"#, 400, 1000),
    ("POST", "/api/auth/refresh", r#"{"refreshToken":""}"#, 401, 1006),
    ("POST", "/api/auth/refresh", r#"{"refreshToken":"' OR '1'='1"}"#, 401, 1006),
    ("POST", "/api/auth/logout", r#"{"everywhere":true}"#, 400, 1000),
    // users
    ("GET", "/api/users", "", 400, 1000),
    ("GET", "/api/users?username=ann&ids={ann}", "", 400, 1000),
    ("GET", "/api/users?name=ann", "", 400, 1000),
    ("GET", "/api/users?username=ann&username=bob", "", 400, 1000),
    ("GET", "/api/users?username=", "", 400, 1000),
    ("GET", "/api/users?username=a%00nn", "", 400, 1000),
    ("GET", "/api/users?username=%25", "", 400, 1000),
    ("GET", "/api/users?username=ann%27%20OR%20%271%27=%271", "", 400, 1000),
    ("GET", "/api/users?username=nobody", "", 404, 1001),
    ("GET", "/api/users?username=%zz", "", 400, 1000),
    ("GET", "/api/users?username=%ff", "", 400, 1000),
    ("GET", "/api/users?ids=", "", 400, 1000),
    ("GET", "/api/users?ids=0", "", 400, 1000),
    ("GET", "/api/users?ids=-1", "", 400, 1000),
    ("GET", "/api/users?ids=1,,2", "", 400, 1000),
    ("GET", "/api/users?ids=18446744073709551616", "", 400, 1000),
    ("GET", "/api/users/me?verbose=1", "", 400, 1000),
    ("PATCH", "/api/users/me", "", 400, 1000),
    ("PATCH", "/api/users/me", r#"{"username":"root"}"#, 400, 1000),
    ("PATCH", "/api/users/me", r#"{"displayName":""}"#, 400, 1000),
    ("PATCH", "/api/users/me", r#"{"displayName":{"a":1}}"#, 400, 1000),
    ("PATCH", "/api/users/me", r#"{"avatarUrl":"javascript:alert(1)"}"#, 400, 1000),
    ("PATCH", "/api/users/me", r#"{"avatarUrl":"data:text/html,x"}"#, 400, 1000),
    ("PATCH", "/api/users/me", r#"{"avatarUrl":"https://x/ y"}"#, 400, 1000),
    ("POST", "/api/users/me/password", r#"{"new":"12345678"}"#, 400, 1000),
    ("POST", "/api/users/me/password", r#"{"old":"correct horse","new":"short"}"#, 400, 1000),
    ("POST", "/api/users/me/password", r#"{"old":"not his","new":"12345678"}"#, 403, 1002),
    // conversations
    ("GET", "/api/conversations?limit=0", "", 400, 1000),
    ("GET", "/api/conversations?limit=-1", "", 400, 1000),
    ("GET", "/api/conversations?limit=ten", "", 400, 1000),
    ("GET", "/api/conversations?limit=4294967296", "", 400, 1000),
    ("GET", "/api/conversations?cursor=!", "", 400, 1000),
    ("GET", "/api/conversations?cursor=MTIz", "", 400, 1000),
    ("GET", "/api/conversations?offset=3", "", 400, 1000),
    ("GET", "/api/conversations/nowhere/messages", "", 400, 1000),
    ("GET", "/api/conversations/world%20/messages", "", 400, 1000),
    ("GET", "/api/conversations/single_2_1/messages", "", 400, 1000),
    ("GET", "/api/conversations/group_9/messages", "", 404, 1004),
    ("GET", "/api/conversations/group_{group}/messages", "", 404, 1004),
    ("GET", "/api/conversations/{ann-bob}/messages", "", 403, 1002),
    ("GET", "/api/conversations/world/messages?after_seq=-1", "", 400, 1000),
    ("GET", "/api/conversations/world/messages?after_seq=1e3", "", 400, 1000),
    ("GET", "/api/conversations/world/messages?after_seq=18446744073709551616", "", 400, 1000),
    ("GET", "/api/conversations/world/messages?before_seq=x", "", 400, 1000),
    ("GET", "/api/conversations/world/messages?after_seq=1&before_seq=9", "", 400, 1000),
    ("POST", "/api/conversations/world/read", "", 400, 1000),
    ("POST", "/api/conversations/world/read", r#"{"seqId":"1"}"#, 400, 1000),
    ("POST", "/api/conversations/world/read", r#"{"seqId":-1}"#, 400, 1000),
    ("POST", "/api/conversations/world/read", r#"{"seqId":1.5}"#, 400, 1000),
    ("POST", "/api/conversations/{ann-bob}/read", r#"{"seqId":1}"#, 403, 1002),
    ("POST", "/api/conversations/group_{group}/read", r#"{"seqId":1}"#, 404, 1004),
    // groups
    ("POST", "/api/groups", "{}", 400, 1000),
    ("POST", "/api/groups", r#"{"name":""}"#, 400, 1000),
    ("POST", "/api/groups", r#"{"name":"   "}"#, 400, 1000),
    ("POST", "/api/groups", r#"{"name":"a\u0007b"}"#, 400, 1000),
    ("POST", "/api/groups", r#"{"name":"G","groupType":"secret"}"#, 400, 1000),
    ("POST", "/api/groups", r#"{"name":"G","maxMembers":-1}"#, 400, 1000),
    ("POST", "/api/groups", r#"{"name":"G","maxMembers":"9"}"#, 400, 1000),
    ("POST", "/api/groups", r#"{"name":"G","memberIds":"{ann}"}"#, 400, 1000),
    ("POST", "/api/groups", r#"{"name":"G","memberIds":[{ann}]}"#, 400, 1000),
    ("POST", "/api/groups", r#"{"name":"G","memberIds":[""]}"#, 400, 1000),
    ("POST", "/api/groups", r#"{"name":"G","memberIds":["9"]}"#, 404, 1001),
    ("POST", "/api/groups", r#"{"name":"G","maxMembers":1,"memberIds":["{ann}"]}"#, 409, 1005),
    ("GET", "/api/groups/0/members", "", 400, 1000),
    ("GET", "/api/groups/9/members", "", 404, 1016),
    ("GET", "/api/groups/{group}/members", "", 403, 1002),
    ("POST", "/api/groups/{group}/members", r#"{"userIds":[]}"#, 400, 1000),
    ("POST", "/api/groups/{group}/members", r#"{"userIds":["x"]}"#, 400, 1000),
    ("POST", "/api/groups/{group}/members", r#"{"userIds":["{mal}"]}"#, 403, 1002),
    ("POST", "/api/groups/9/members", r#"{"userIds":["{mal}"]}"#, 404, 1016),
    ("DELETE", "/api/groups/{group}/members/{bob}", "", 403, 1002),
    ("DELETE", "/api/groups/{group}/members/x", "", 400, 1000),
    ("DELETE", "/api/groups/9/members/{mal}", "", 404, 1016),
];

#[test]
fn every_call_has_its_answer() {
    crate::assert_no_row_twice(ROWS.iter().map(|(method, path, body, ..)| format!("{method} {path} {body}")));
    let mut house = House::open();
    for (method, path, body, status, code) in ROWS {
        let (path, body) = (house.fill(path), house.fill(body));
        check(&mut house, method, &path, &body, *status, *code);
    }
    // Too long for a table.
    let field = |name: &str, length: usize| format!(r#"{{"{name}":"{}"}}"#, "x".repeat(length));
    check(&mut house, "PATCH", "/api/users/me", &field("displayName", 101), 400, 1000);
    let url = format!(r#"{{"avatarUrl":"https://x/{}"}}"#, "x".repeat(500));
    check(&mut house, "PATCH", "/api/users/me", &url, 400, 1000);
    check(&mut house, "POST", "/api/groups", &field("name", 101), 400, 1000);
    let described = format!(r#"{{"name":"G","description":"{}"}}"#, "x".repeat(501));
    check(&mut house, "POST", "/api/groups", &described, 400, 1000);
    let many: Vec<String> = (1..=1_001).map(|id| format!("\"{id}\"")).collect();
    let listed = format!(r#"{{"name":"G","memberIds":[{}]}}"#, many.join(","));
    check(&mut house, "POST", "/api/groups", &listed, 413, 1011);
    let ids: Vec<String> = (1..=101).map(|id| id.to_string()).collect();
    check(&mut house, "GET", &format!("/api/users?ids={}", ids.join(",")), "", 413, 1011);
    let members: Vec<String> = (0..65).map(|n| format!("\"f{n}\":0")).collect();
    check(&mut house, "POST", "/api/groups", &format!("{{{}}}", members.join(",")), 400, 1000);
    let deep = format!(r#"{{"name":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    check(&mut house, "POST", "/api/groups", &deep, 400, 1000);
    check(&mut house, "POST", "/api/auth/refresh", &field("refreshToken", 100_000), 401, 1006);
    house.assert_all_right();
    // Nothing of all that left a trace.
    let (_, list) = house.server.call("GET", "/api/conversations", Some(&house.mal.token), None);
    let names: Vec<&str> = list["conversations"]
        .as_array()
        .expect("conversations")
        .iter()
        .map(|c| c["conversationId"].as_str().expect("an id"))
        .collect();
    assert_eq!(names, ["world"], "{list}");
}

fn check(house: &mut House, method: &str, path: &str, body: &str, status: u16, code: u64) {
    let shown: String = format!("{method} {path} {body}").chars().take(200).collect();
    let bearer = format!("Bearer {}", house.mal.token);
    let (found, answer) = house.server.call_raw(method, path, &[("Authorization", &bearer)], body);
    let error = &answer["error"];
    house.expect(&shown, (found, error["code"].as_u64()), (status, Some(code)), &answer);
    let says_why = error["message"].as_str().is_some_and(|words| words.len() > 5);
    let whole = says_why && error["name"].is_string() && error["requestId"].is_string();
    house.expect(&shown, whole, true, &answer);
    house.is_well(&shown);
}
