//! The envelope around every frame: `{"type", "data", "timestamp"}` and, in requests, an optional `id` that the
//! answer carries back. Unknown members are ignored, so that newer clients can talk to older servers.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::Object;

/// Longest `id` that is echoed, in bytes of JSON.
const ID_MAX_BYTES: usize = 64;

/// A frame whose data has not been looked at yet.
#[derive(Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) kind: Cow<'a, str>,
    /// `{}` when the frame has none.
    pub(crate) data: &'a str,
    /// The request's id as the JSON it came in: a string or a number.
    pub(crate) id: Option<&'a str>,
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
}

/// Reads the envelope without building a tree: one pass, borrowed from the text. The error is a sentence for
/// the client's developer.
pub(crate) fn parse(text: &str) -> Result<Envelope<'_>, String> {
    if !is_object(text) {
        return Err("a frame must be a JSON object".to_owned());
    }
    let wire: Wire<'_> = serde_json::from_str(text).map_err(|error| sentence(&error))?;
    let id = wire.id.map(RawValue::get);
    if id.is_some_and(|id| !is_echoable(id)) {
        return Err(format!("id must be a string or a number of at most {ID_MAX_BYTES} bytes"));
    }
    let data = wire.data.map_or("{}", RawValue::get);
    Ok(Envelope { kind: wire.kind, data, id })
}

/// What follows the first brace is the parser's to judge. Without this, serde would also read a struct from an
/// array of its fields in their order.
pub(crate) fn is_object(json: &str) -> bool {
    json.trim_ascii_start().starts_with('{')
}

fn is_echoable(id: &str) -> bool {
    id.len() <= ID_MAX_BYTES
        && id.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit())
}

/// What serde_json says, without the position: frames are one line, and data is parsed apart from its envelope.
pub(crate) fn sentence(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// Writes a whole frame. `id` is the request's, as JSON.
pub(crate) fn render(
    kind: &'static str,
    id: Option<&str>,
    now_unix_ms: i64,
    data: impl FnOnce(&mut Object<'_>),
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    super::json::object(&mut out, |frame| {
        frame.str("type", kind);
        frame.object("data", data);
        if let Some(id) = id {
            frame.raw("id", id.as_bytes());
        }
        frame.time("timestamp", now_unix_ms);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_that_are_read() {
        let check = |text: &str, kind: &str, data: &str, id: Option<&str>| {
            let read = parse(text).expect(text);
            assert_eq!((read.kind.as_ref(), read.data, read.id), (kind, data, id), "{text}");
        };
        check(r#"{"type":"ping"}"#, "ping", "{}", None);
        check(r#"{"type":"ping","data":null}"#, "ping", "{}", None);
        check(r#"{"type":"a","data":{"x":[1]},"timestamp":1}"#, "a", r#"{"x":[1]}"#, None);
        check(r#" {"id":"7","data":{},"type":"a"} "#, "a", "{}", Some(r#""7""#));
        check(r#"{"type":"a","id":-12.5}"#, "a", "{}", Some("-12.5"));
        check(r#"{"type":"a","id":null}"#, "a", "{}", None);
        check(r#"{"type":"\u0061b","future":{"deep":[[[]]]}}"#, "ab", "{}", None);
    }

    #[test]
    fn envelopes_that_are_refused() {
        let long_id = format!(r#"{{"type":"a","id":"{}"}}"#, "x".repeat(63));
        for text in [
            "",
            "ping",
            "[]",
            r#"["ping"]"#,
            "{}",
            "null",
            r#"{"type":1}"#,
            r#"{"type":"a","type":"b"}"#,
            r#"{"type":"a"} x"#,
            r#"{"type":"a","id":{}}"#,
            r#"{"type":"a","id":[1]}"#,
            r#"{"type":"a","id":true}"#,
            r#"{"type":"a","data":{"x":}}"#,
            long_id.as_str(),
        ] {
            let error = parse(text).expect_err(text);
            assert!(!error.contains(" at line "), "{error}");
        }
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = render("error", Some("\"q\""), 12, |data| data.str("message", "no \"luck\""));
        let text = String::from_utf8(bytes).expect("UTF-8");
        assert_eq!(text, r#"{"type":"error","data":{"message":"no \"luck\""},"id":"q","timestamp":12}"#);
    }
}
