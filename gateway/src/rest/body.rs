//! Request bodies, read field by field, so that every refusal names the field it is about.

use std::borrow::Cow;

use gochat_infra::errors::{Code, Error};
use serde::{Deserialize, Deserializer, de};
use serde_json::value::RawValue;

use crate::protocol::{conversation::parse_id, envelope::sentence};

/// The members of a JSON object that have not been asked for yet.
#[derive(Debug)]
pub(super) struct Body<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Body<'a> {
    /// The body must be one JSON object without repeated members.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes).map_err(|_| invalid("the body must be UTF-8"))?;
        let members: Members<'a> = serde_json::from_str(text)
            .map_err(|error| invalid(format!("the body must be a JSON object: {}", sentence(&error))))?;
        Ok(Body { members: members.0 })
    }

    /// As [`Body::read`], and an empty body is an empty object.
    pub(super) fn read_optional(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.is_empty() { Ok(Body { members: Vec::new() }) } else { Body::read(bytes) }
    }

    /// Null counts as absent.
    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let at = self.members.iter().position(|(key, _)| key == name)?;
        let (_, value) = self.members.swap_remove(at);
        (value.get() != "null").then_some(value)
    }

    pub(super) fn string(&mut self, name: &str) -> Result<String, Error> {
        self.optional_string(name)?.ok_or_else(|| invalid(format!("{name} is missing")))
    }

    pub(super) fn optional_string(&mut self, name: &str) -> Result<Option<String>, Error> {
        self.optional(name, "a string")
    }

    pub(super) fn u64(&mut self, name: &str) -> Result<u64, Error> {
        self.optional(name, "a whole number, 0 or more")?.ok_or_else(|| invalid(format!("{name} is missing")))
    }

    pub(super) fn optional_u32(&mut self, name: &str) -> Result<Option<u32>, Error> {
        self.optional(name, "a whole number from 0 to 4294967295")
    }

    /// User ids, as strings of digits. Absent: none.
    pub(super) fn ids(&mut self, name: &str, max: usize) -> Result<Vec<u64>, Error> {
        let texts: Vec<String> = self.optional(name, "an array of ids in quotes")?.unwrap_or_default();
        if texts.len() > max {
            return Err(Error::new(Code::TooLarge, format!("{name} must not list more than {max} ids")));
        }
        texts
            .iter()
            .map(|text| parse_id(text).ok_or_else(|| invalid(format!("{name}: {text:?} is not an id"))))
            .collect()
    }

    fn optional<T: Deserialize<'a>>(&mut self, name: &str, kind: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match serde_json::from_str(value.get()) {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(invalid(format!("{name} must be {kind}"))),
        }
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.members.first() {
            None => Ok(()),
            Some((name, _)) => {
                let shown: String = name.chars().take(60).collect();
                Err(invalid(format!("unknown field {shown:?}")))
            }
        }
    }
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidInput, message)
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> de::Visitor<'de> for Visit {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                #[derive(Deserialize)]
                struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
                let mut members: Self::Value = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    // No route has more than a dozen fields; the bound keeps the search for doubles short.
                    if members.len() == 64 {
                        return Err(de::Error::custom("too many fields"));
                    }
                    if members.iter().any(|(known, _)| *known == key) {
                        return Err(de::Error::custom(format_args!("field {key:?} stands there twice")));
                    }
                    members.push((key, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Visit).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read() {
        let mut body =
            Body::read(br#" {"a":"x\u0041","n":7,"ids":["1","22"],"none":null} "#).expect("an object");
        assert_eq!(body.string("a").expect("a"), "xA");
        assert_eq!(body.u64("n").expect("n"), 7);
        assert_eq!(body.ids("ids", 2).expect("ids"), [1, 22]);
        assert_eq!(body.optional_string("none").expect("null is absent"), None);
        assert_eq!(body.optional_u32("absent").expect("absent"), None);
        assert_eq!(body.ids("more", 1).expect("absent"), Vec::<u64>::new());
        body.finish().expect("nothing is left");
        Body::read_optional(b"").expect("empty").finish().expect("nothing");
    }

    #[test]
    fn refusals_name_the_field() {
        fn check<T: std::fmt::Debug>(
            json: &str,
            read: impl Fn(&mut Body<'_>) -> Result<T, Error>,
            code: Code,
            word: &str,
        ) {
            let error = Body::read(json.as_bytes())
                .and_then(|mut body| read(&mut body).and_then(|_| body.finish()))
                .expect_err(json);
            assert_eq!(error.code, code, "{json}");
            assert!(error.message.contains(word), "{json}: {:?} should speak of {word:?}", error.message);
        }
        use Code::{InvalidInput, TooLarge};
        check("", |_| Ok(()), InvalidInput, "JSON object");
        check("[]", |_| Ok(()), InvalidInput, "JSON object");
        check("{", |_| Ok(()), InvalidInput, "JSON object");
        check(r#"{"a":1}{"#, |_| Ok(()), InvalidInput, "JSON object");
        check(r#"{"a":1,"a":2}"#, |_| Ok(()), InvalidInput, "\"a\" stands there twice");
        check(r#"{"b":1}"#, |_| Ok(()), InvalidInput, "unknown field \"b\"");
        check("{}", |body| body.string("name"), InvalidInput, "name is missing");
        check(r#"{"name":null}"#, |body| body.string("name"), InvalidInput, "name is missing");
        check(r#"{"name":1}"#, |body| body.string("name"), InvalidInput, "name must be a string");
        check(r#"{"n":-1}"#, |body| body.u64("n"), InvalidInput, "n must be");
        check(r#"{"n":1.5}"#, |body| body.u64("n"), InvalidInput, "n must be");
        check(r#"{"n":4294967296}"#, |body| body.optional_u32("n"), InvalidInput, "n must be");
        check(r#"{"ids":[1]}"#, |body| body.ids("ids", 9), InvalidInput, "ids must be");
        check(r#"{"ids":["x"]}"#, |body| body.ids("ids", 9), InvalidInput, "ids: \"x\"");
        check(r#"{"ids":["1","2"]}"#, |body| body.ids("ids", 1), TooLarge, "ids");
        let many = format!("{{{}}}", (0..65).map(|n| format!("\"f{n}\":0")).collect::<Vec<_>>().join(","));
        check(&many, |_| Ok(()), InvalidInput, "too many");
    }

    #[test]
    fn bytes_that_are_no_text() {
        assert!(Body::read(b"{\"a\":\"\xff\"}").expect_err("no UTF-8").message.contains("UTF-8"));
    }
}
