//! What may stand in a text frame, and what is answered to what may not.
use serde_json::Value;

use crate::House;

/// What a frame is answered with.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    /// An `error` frame with this code.
    Error(u64),
    /// A final `message-ack` with this code: the clientMsgId was sound.
    Rejected(u64),
    /// A frame of this type: not bad at all.
    Fine(&'static str),
}
use Answer::{Error, Fine, Rejected};

#[rustfmt::skip]
const ROWS: &[(&str, Answer)] = &[
    // Not an envelope.
    ("", Error(1000)),
    (" ", Error(1000)),
    ("ping", Error(1000)),
    ("null", Error(1000)),
    ("true", Error(1000)),
    ("17", Error(1000)),
    ("\"ping\"", Error(1000)),
    ("[]", Error(1000)),
    (r#"[{"type":"ping"}]"#, Error(1000)),
    (r#"["ping"]"#, Error(1000)),
    (r#"["ping",{},null]"#, Error(1000)),
    ("{}", Error(1000)),
    (r#"{"type":"ping""#, Error(1000)),
    (r#"{"type":"ping"}}"#, Error(1000)),
    (r#"{"type":"ping"}{"type":"ping"}"#, Error(1000)),
    (r#"{'type':'ping'}"#, Error(1000)),
    (r#"{"type":"ping",}"#, Error(1000)),
    (r#"{"type":"ping"} // a comment"#, Error(1000)),
    ("\u{feff}{\"type\":\"ping\"}", Error(1000)),
    ("{\"type\":\"pi\nng\"}", Error(1000)),
    (r#"{"type":"\ud800"}"#, Error(1000)),
    (r#"{"type":"\x70ing"}"#, Error(1000)),
    // Its members.
    (r#"{"type":1}"#, Error(1000)),
    (r#"{"type":null}"#, Error(1000)),
    (r#"{"type":["ping"]}"#, Error(1000)),
    (r#"{"Type":"ping"}"#, Error(1000)),
    (r#"{"type":"ping","type":"ping"}"#, Error(1000)),
    (r#"{"type":"ping","data":{},"data":{}}"#, Error(1000)),
    (r#"{"type":"ping","id":{}}"#, Error(1000)),
    (r#"{"type":"ping","id":[1]}"#, Error(1000)),
    (r#"{"type":"ping","id":true}"#, Error(1000)),
    (r#"{"type":"ping","id":"0123456789012345678901234567890123456789012345678901234567890123456789"}"#, Error(1000)),
    (r#"{"type":"ping","data":NaN}"#, Error(1000)),
    (r#"{"type":"ping","data":+1}"#, Error(1000)),
    (r#"{"type":"ping","data":01}"#, Error(1000)),
    // Types that there are not.
    (r#"{"type":""}"#, Error(1000)),
    (r#"{"type":"PING"}"#, Error(1000)),
    (r#"{"type":"ping "}"#, Error(1000)),
    (r#"{"type":"hello"}"#, Error(1000)),
    (r#"{"type":"new-message","data":{"content":"forged"}}"#, Error(1000)),
    (r#"{"type":"message-ack","data":{"status":"stored"}}"#, Error(1000)),
    (r#"{"type":"__proto__"}"#, Error(1000)),
    (r#"{"type":"send-message\u0000"}"#, Error(1000)),
    // send-message without a sound clientMsgId.
    (r#"{"type":"send-message"}"#, Error(1000)),
    (r#"{"type":"send-message","data":null}"#, Error(1000)),
    (r#"{"type":"send-message","data":[]}"#, Error(1000)),
    (r#"{"type":"send-message","data":["world","x","text","c"]}"#, Error(1000)),
    (r#"{"type":"send-message","data":"x"}"#, Error(1000)),
    (r#"{"type":"send-message","data":{}}"#, Error(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x"}}"#, Error(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":7}}"#, Error(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":""}}"#, Error(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":"a b"}}"#, Error(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":"ü"}}"#, Error(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":"a'--"}}"#, Error(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":"01234567890123456789012345678901234567890123456789012345678901234"}}"#, Error(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":"c","clientMsgId":"d"}}"#, Error(1000)),
    // send-message that can never be stored.
    (r#"{"type":"send-message","data":{"conversationId":"world","content":7,"clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":null,"clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":["x"],"clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":["world"],"content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":"c","messageType":1}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"half an emoji \ud83d","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"\ude00\ud83d","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"World","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world ","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"single_{mal}_1","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"single_{mal}_{mal}","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"single_01_{mal}","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"group_0","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"group_-1","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"group_99999999999999999999","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world' OR '1'='1","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"../world","content":"x","clientMsgId":"c"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":"c","messageType":"html"}}"#, Rejected(1000)),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":"c","messageType":"system"}}"#, Rejected(1000)),
    // The same key again: of the same message, and of another one.
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"once","clientMsgId":"once"}}"#, Fine("message-ack")),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"once","clientMsgId":"once"} }"#, Fine("message-ack")),
    (r#"{"type":"send-message","data":{"conversationId":"world","content":"twice","clientMsgId":"once"}}"#, Rejected(1003)),
    // Where one has no business.
    (r#"{"type":"send-message","data":{"conversationId":"{ann-bob}","content":"x","clientMsgId":"foreign"}}"#, Rejected(1002)),
    (r#"{"type":"send-message","data":{"conversationId":"group_{group}","content":"x","clientMsgId":"foreign"}}"#, Rejected(1002)),
    (r#"{"type":"send-message","data":{"conversationId":"group_9","content":"x","clientMsgId":"nowhere"}}"#, Rejected(1004)),
    (r#"{"type":"send-message","data":{"conversationId":"single_9_{mal}","content":"x","clientMsgId":"nobody"}}"#, Rejected(1001)),
    // heads, sync, mark-read.
    (r#"{"type":"heads","data":[]}"#, Error(1000)),
    (r#"{"type":"heads","data":{"conversations":[]}}"#, Error(1000)),
    (r#"{"type":"heads","data":{"conversations":{"world":"1"}}}"#, Error(1000)),
    (r#"{"type":"heads","data":{"conversations":{"world":-1}}}"#, Error(1000)),
    (r#"{"type":"heads","data":{"conversations":{"world":1.5}}}"#, Error(1000)),
    (r#"{"type":"heads","data":{"conversations":{"world":18446744073709551616}}}"#, Error(1000)),
    (r#"{"type":"heads","data":{"conversations":{"nowhere":1}}}"#, Error(1000)),
    (r#"{"type":"heads","data":{"pageLimit":0}}"#, Error(1000)),
    (r#"{"type":"heads","data":{"pageLimit":"10"}}"#, Error(1000)),
    (r#"{"type":"heads","data":{"pageLimit":4294967296}}"#, Error(1000)),
    (r#"{"type":"heads","data":{"conversations":{"{ann-bob}":0}}}"#, Fine("heads")),
    (r#"{"type":"sync"}"#, Error(1000)),
    (r#"{"type":"sync","data":["world",0,10]}"#, Error(1000)),
    (r#"{"type":"sync","data":{"conversationId":7}}"#, Error(1000)),
    (r#"{"type":"sync","data":{"conversationId":"world","afterSeq":-1}}"#, Error(1000)),
    (r#"{"type":"sync","data":{"conversationId":"world","afterSeq":1e400}}"#, Error(1000)),
    (r#"{"type":"sync","data":{"conversationId":"world","afterSeq":"0"}}"#, Error(1000)),
    (r#"{"type":"sync","data":{"conversationId":"world","limit":0}}"#, Error(1000)),
    (r#"{"type":"sync","data":{"conversationId":"world","limit":-5}}"#, Error(1000)),
    (r#"{"type":"sync","data":{"conversationId":"{ann-bob}"}}"#, Error(1002)),
    (r#"{"type":"sync","data":{"conversationId":"group_{group}"}}"#, Error(1004)),
    (r#"{"type":"sync","data":{"conversationId":"group_9"}}"#, Error(1004)),
    (r#"{"type":"sync","data":{"conversationId":"world","afterSeq":18446744073709551615}}"#, Fine("sync-page")),
    (r#"{"type":"mark-read","data":{"conversationId":"world"}}"#, Error(1000)),
    (r#"{"type":"mark-read","data":{"conversationId":"world","seqId":-1}}"#, Error(1000)),
    (r#"{"type":"mark-read","data":{"conversationId":"world","seqId":"1"}}"#, Error(1000)),
    (r#"{"type":"mark-read","data":{"conversationId":"{ann-bob}","seqId":1}}"#, Error(1002)),
    (r#"{"type":"mark-read","data":{"conversationId":"group_{group}","seqId":1}}"#, Error(1004)),
    // What newer clients may add, and odd spellings of sound frames.
    (r#"{"type":"ping","data":{"deep":[[[[{"a":{"b":[1e9,-0.0,"\u0000"]}}]]]]},"timestamp":-1,"future":true}"#, Fine("pong")),
    (r#"{"type":"\u0070ing"}"#, Fine("pong")),
    (r#"{"timestamp":"soon","type":"ping"}"#, Fine("pong")),
    ("\t{ \"type\" :\r\n\"ping\" } ", Fine("pong")),
];

#[test]
fn every_frame_has_its_answer() {
    crate::assert_no_row_twice(ROWS.iter().map(|(frame, _)| (*frame).to_owned()));
    let mut house = House::open();
    for (frame, expect) in ROWS {
        let frame = house.fill(frame);
        check(&mut house, &frame, *expect);
    }
    // Too long for a table.
    let nested = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    // A ping's data means nothing, and nobody looks into it.
    check(&mut house, &format!(r#"{{"type":"ping","data":{nested}}}"#), Fine("pong"));
    check(&mut house, &format!(r#"{{"type":"heads","data":{nested}}}"#), Error(1000));
    check(&mut house, &format!(r#"{{"type":"heads","data":{{"future":{nested}}}}}"#), Fine("heads"));
    check(&mut house, &format!(r#"{{"type":"sync","data":{{"conversationId":{nested}}}}}"#), Error(1000));
    let long = format!(
        r#"{{"type":"send-message","data":{{"conversationId":"world","content":"{}","clientMsgId":"c"}}}}"#,
        "x".repeat(8_193)
    );
    check(&mut house, &long, Rejected(1011));
    let many: Vec<String> = (1..=2_001).map(|n| format!(r#""group_{n}":0"#)).collect();
    check(
        &mut house,
        &format!(r#"{{"type":"heads","data":{{"conversations":{{{}}}}}}}"#, many.join(",")),
        Error(1011),
    );
    let digits =
        format!(r#"{{"type":"sync","data":{{"conversationId":"world","afterSeq":{}}}}}"#, "9".repeat(5_000));
    check(&mut house, &digits, Error(1000));
    house.assert_all_right();
}

/// A connection for each row, so that none can depend on another.
fn check(house: &mut House, frame: &str, expect: Answer) {
    let shown: String = frame.chars().take(200).collect();
    let mut client = house.server.connect(&house.mal);
    client.send_text(frame);
    let wanted = match expect {
        Error(_) => "error",
        Rejected(_) => "message-ack",
        Fine(kind) => kind,
    };
    let answer = loop {
        let answer = client.next();
        // A send that only logic can refuse is accepted first, and what was said in world comes to everybody.
        if answer["data"]["status"] != "accepted" && answer["type"] != "new-message" {
            break answer;
        }
    };
    let code = match expect {
        Fine(_) => Value::Null,
        Error(code) | Rejected(code) => code.into(),
    };
    let data = &answer["data"];
    let found = (answer["type"].clone(), data["code"].clone());
    house.expect(&shown, found, (wanted.into(), code), &answer);
    if !matches!(expect, Fine(_)) {
        let says_why = data["message"].as_str().is_some_and(|words| words.len() > 10);
        house.expect(&shown, says_why, true, &answer);
    }
    if matches!(expect, Rejected(_)) {
        house.expect(&shown, data["status"].clone(), "rejected".into(), &answer);
    }
    house.is_well(&shown);
}

#[test]
fn ten_frames_of_nonsense_in_a_row_end_the_connection() {
    let mut house = House::open();
    let mut client = house.server.connect(&house.mal);
    for _ in 0..10 {
        client.send_text("nonsense");
    }
    assert_eq!(client.wait_for_close(), Some(1008));
    house.is_well("nonsense");
}
