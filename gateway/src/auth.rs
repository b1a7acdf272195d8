//! Who is calling: checked on the shard with the token keys, without asking anyone.

use gochat_core::Request;
use gochat_infra::{
    errors::{Code, Error},
    token::{Claims, TokenError, TokenKeys},
};

use crate::protocol::outbound::PROTOCOL_VERSION;

/// The subprotocol that this server speaks.
pub(crate) const SUBPROTOCOL: &str = "gochat.v1";
const _: () = assert!(PROTOCOL_VERSION == 1, "the subprotocol's name carries the version");

/// How an upgrade may authenticate itself, and from where.
#[derive(Debug, Clone)]
pub(crate) struct UpgradeRules {
    pub(crate) allow_query_token: bool,
    pub(crate) allowed_origins: Vec<String>,
}

/// What an upgrade asked for, once it is allowed.
#[derive(Debug)]
pub(crate) struct Upgrading {
    pub(crate) claims: Claims,
    /// To be answered in Sec-WebSocket-Protocol.
    pub(crate) protocol: Option<String>,
}

/// The caller of a REST route.
pub(crate) fn bearer(request: &Request<'_>, keys: &TokenKeys, now_unix_s: u64) -> Result<Claims, Error> {
    let token = bearer_token(request.header("authorization")).ok_or_else(missing)?;
    verify(token, keys, now_unix_s)
}

/// Checks an upgrade in this order: origin, protocol version, token.
pub(crate) fn upgrade(
    request: &Request<'_>,
    rules: &UpgradeRules,
    keys: &TokenKeys,
    now_unix_s: u64,
) -> Result<Upgrading, Error> {
    let mut origins = request.headers("origin");
    let allowed = |origin| origin_allowed(origin, request.header("host"), &rules.allowed_origins);
    if !origins.next().is_none_or(allowed) || origins.next().is_some() || request.hides("origin") {
        return Err(Error::new(Code::PermissionDenied, "this origin may not open a connection here"));
    }
    let offered = Offered::read(request.headers("sec-websocket-protocol"))?;
    let token = bearer_token(request.header("authorization"))
        .or(offered.token)
        .or_else(|| query_token(request.query, rules.allow_query_token))
        .ok_or_else(missing)?;
    let claims = verify(token, keys, now_unix_s)?;
    Ok(Upgrading { claims, protocol: offered.version_named.then(|| SUBPROTOCOL.to_owned()) })
}

/// A token's claims, if we signed it and it has not expired.
pub(crate) fn verify(token: &str, keys: &TokenKeys, now_unix_s: u64) -> Result<Claims, Error> {
    keys.verify(token, now_unix_s).map_err(|error| {
        let message = match error {
            TokenError::Expired => "the access token has expired: refresh it",
            TokenError::Invalid => "the access token is not valid: log in",
        };
        Error::new(Code::Unauthenticated, message)
    })
}

fn missing() -> Error {
    Error::new(Code::Unauthenticated, "an access token is needed: send it as Authorization: Bearer")
}

fn bearer_token(authorization: Option<&str>) -> Option<&str> {
    let (scheme, token) = authorization?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

fn query_token(query: Option<&str>, allowed: bool) -> Option<&str> {
    if !allowed {
        return None;
    }
    query?.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// The header Sec-WebSocket-Protocol: `gochat.v1, bearer.<jwt>`; it may be split into several (RFC 6455, 11.3.4).
#[derive(Debug, Default)]
struct Offered<'a> {
    version_named: bool,
    token: Option<&'a str>,
}

impl<'a> Offered<'a> {
    fn read(headers: impl Iterator<Item = &'a str>) -> Result<Self, Error> {
        let mut offered = Offered::default();
        let mut unknown = false;
        for name in headers.flat_map(|header| header.split(',')).map(str::trim) {
            if let Some(token) = name.strip_prefix("bearer.") {
                offered.token = Some(token);
            } else if name == SUBPROTOCOL {
                offered.version_named = true;
            } else if name.starts_with("gochat.") {
                unknown = true;
            }
        }
        if unknown && !offered.version_named {
            let error = Error::new(Code::InvalidInput, "this server does not speak that protocol version");
            return Err(error.details(serde_json::json!({ "versions": [SUBPROTOCOL] })));
        }
        Ok(offered)
    }
}

/// Same host, or listed as it is. The scheme is not compared: behind a proxy that ends TLS it differs.
fn origin_allowed(origin: &str, host: Option<&str>, listed: &[String]) -> bool {
    let same_host = match (origin.split_once("://"), host) {
        (Some((_, origin_host)), Some(host)) => origin_host.eq_ignore_ascii_case(host),
        _ => false,
    };
    same_host || listed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bearer_tokens() {
        let check = |header: &str, expect| assert_eq!(bearer_token(Some(header)), expect, "{header:?}");
        check("Bearer abc", Some("abc"));
        check("bearer  abc ", Some("abc"));
        check("Basic abc", None);
        check("Bearer", None);
        assert_eq!(bearer_token(None), None);
    }

    #[test]
    fn offered_protocols() {
        let check = |header: &str, version_named, token| {
            let offered = Offered::read([header].into_iter()).expect(header);
            assert_eq!((offered.version_named, offered.token), (version_named, token), "{header:?}");
        };
        check("", false, None);
        check("gochat.v1", true, None);
        check("gochat.v1, bearer.a.b.c", true, Some("a.b.c"));
        check("bearer.a.b.c,gochat.v2,gochat.v1", true, Some("a.b.c"));
        check("chat", false, None);
        let error = Offered::read(["gochat.v2, bearer.x"].into_iter()).expect_err("an unknown version");
        assert_eq!(error.code, Code::InvalidInput);
        assert_eq!(error.details, Some(serde_json::json!({ "versions": ["gochat.v1"] })));
    }

    #[test]
    fn origins() {
        let listed = ["https://app.example".to_owned(), "null".to_owned()];
        let check = |origin: &str, host: Option<&str>, listed: &[String], expect| {
            assert_eq!(origin_allowed(origin, host, listed), expect, "{origin} to {host:?}");
        };
        check("http://a.example:8080", Some("a.example:8080"), &[], true);
        check("https://A.example", Some("a.EXAMPLE"), &[], true);
        check("http://a.example", Some("a.example:8080"), &[], false);
        check("http://evil.example", Some("a.example"), &[], false);
        check("http://a.example.evil.example", Some("a.example"), &[], false);
        check("null", Some("null"), &[], false);
        check("null", Some("a.example"), &listed, true);
        check("https://app.example", Some("a.example"), &listed, true);
        check("https://app.example", None, &listed, true);
        check("http://a.example", None, &[], false);
    }

    #[test]
    fn query_tokens_need_permission() {
        assert_eq!(query_token(Some("x=1&token=abc"), true), Some("abc"));
        assert_eq!(query_token(Some("token=abc"), false), None);
        assert_eq!(query_token(None, true), None);
    }
}
