//! Query strings. They are never logged.

use gochat_infra::errors::{Code, Error};

use crate::protocol::conversation::parse_id;

/// The pairs of a query string that have not been asked for yet, decoded.
#[derive(Debug)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    pub(super) fn read(query: Option<&str>) -> Result<Self, Error> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            // No route knows more than a handful; the bound keeps the search for doubles short.
            if pairs.len() == 16 || pairs.iter().any(|(known, _)| *known == name) {
                return Err(invalid("the query names a parameter twice, or too many"));
            }
            pairs.push((name, value));
        }
        Ok(Query { pairs })
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        Some(self.pairs.swap_remove(at).1)
    }

    pub(super) fn seq(&mut self, name: &str) -> Result<Option<u64>, Error> {
        let Some(text) = self.take(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| invalid(format!("{name} must be a whole number, 0 or more")))
    }

    /// A page size: `default` when absent, lowered to `max`.
    pub(super) fn limit(&mut self, default: u32, max: u32) -> Result<u32, Error> {
        match self.take("limit").map(|text| text.parse::<u32>()) {
            None => Ok(default.min(max)),
            Some(Ok(limit @ 1..)) => Ok(limit.min(max)),
            Some(_) => Err(invalid("limit must be a whole number, 1 or more")),
        }
    }

    /// Ids separated by commas.
    pub(super) fn ids(&mut self, name: &str, max: usize) -> Result<Option<Vec<u64>>, Error> {
        let Some(text) = self.take(name) else { return Ok(None) };
        if text.split(',').count() > max {
            return Err(Error::new(Code::TooLarge, format!("{name} must not list more than {max} ids")));
        }
        let id = |text: &str| parse_id(text).ok_or_else(|| invalid(format!("{name}: {text:?} is not an id")));
        text.split(',').map(id).collect::<Result<_, _>>().map(Some)
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.pairs.first() {
            None => Ok(()),
            Some((name, _)) => {
                let shown: String = name.chars().take(60).collect();
                Err(invalid(format!("unknown query parameter {shown:?}")))
            }
        }
    }
}

/// Percent-decoding, and `+` as a space, as forms write it.
fn decode(text: &str) -> Result<String, Error> {
    let refused = || invalid("the query is not well encoded");
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit().ok_or_else(refused)?, digit().ok_or_else(refused)?);
                (high * 16 + low) as u8
            }
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| refused())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        let mut query =
            Query::read(Some("a=x%20y+z&after_seq=5&limit=900&ids=1,2&&cursor=")).expect("a sound query");
        assert_eq!(query.take("a").as_deref(), Some("x y z"));
        assert_eq!(query.seq("after_seq").expect("a seq"), Some(5));
        assert_eq!(query.seq("before_seq").expect("absent"), None);
        assert_eq!(query.limit(50, 200).expect("a limit"), 200);
        assert_eq!(query.limit(50, 20).expect("absent"), 20);
        assert_eq!(query.ids("ids", 2).expect("ids"), Some(vec![1, 2]));
        assert_eq!(query.take("cursor").as_deref(), Some(""));
        query.finish().expect("nothing is left");
        Query::read(None).expect("none").finish().expect("nothing");
    }

    #[test]
    fn parameters_are_refused() {
        let check = |query: &str, word: &str| {
            let refused = Query::read(Some(query)).and_then(|mut query| {
                query.seq("after_seq")?;
                query.limit(1, 1)?;
                query.ids("ids", 2)?;
                query.finish()
            });
            let error = refused.expect_err(query);
            assert!(error.message.contains(word), "{query}: {:?} should speak of {word:?}", error.message);
        };
        check("a=%2", "encoded");
        check("a=%zz", "encoded");
        check("a=%ff", "encoded");
        check("a=1&a=2", "twice");
        check("after_seq=-1", "after_seq");
        check("limit=0", "limit");
        check("limit=x", "limit");
        check("ids=1,x", "ids");
        check("ids=", "ids");
        check("ids=1,2,3", "ids");
        check("what=1", "\"what\"");
    }
}
