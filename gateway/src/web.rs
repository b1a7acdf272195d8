//! The page, compiled into the binary.

use std::sync::LazyLock;

use bytes::Bytes;
use gochat_core::{Request, Response};
use gochat_infra::errors::{Code, Error};

/// Path, content type, content.
type File = (&'static str, &'static str, &'static [u8]);

const FILES: &[File] = include!(concat!(env!("OUT_DIR"), "/web_files.rs"));

/// Scripts, styles, pictures and connections of this host only; nothing inline, no frames.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One tag for each file, in their order.
static TAGS: LazyLock<Vec<String>> =
    LazyLock::new(|| FILES.iter().map(|(.., content)| format!("\"{:016x}\"", fnv1a(content))).collect());

/// Answers with a file, or 304 when the browser has it. Browsers ask each time, so that a new binary's page is used
/// at once.
pub(crate) fn serve(request: &Request<'_>, request_id: &str) -> Result<Response, Error> {
    let at = FILES
        .iter()
        .position(|(path, ..)| *path == request.path)
        .ok_or_else(|| Error::new(Code::RouteNotFound, "there is no such file"))?;
    let (_, content_type, content) = FILES[at];
    let tag = TAGS[at].as_str();
    let known =
        request.header("if-none-match").is_some_and(|tags| tags.split(',').any(|one| one.trim() == tag));
    let response = Response::new(if known { 304 } else { 200 })
        .header("ETag", tag)
        .header("Cache-Control", "no-cache")
        .header("X-Request-Id", request_id);
    if known {
        return Ok(response);
    }
    Ok(response
        .header("Content-Type", content_type)
        .header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        .header("X-Content-Type-Options", "nosniff")
        .header("Referrer-Policy", "no-referrer")
        .body(Bytes::from_static(content)))
}

/// FNV-1a, 64 bits: tells versions of a file apart, nothing more.
fn fnv1a(content: &[u8]) -> u64 {
    content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_and_paths_are_unique() {
        assert!(FILES.iter().any(|(path, kind, _)| *path == "/" && kind.starts_with("text/html")));
        for (at, (path, ..)) in FILES.iter().enumerate() {
            assert!(FILES[..at].iter().all(|(other, ..)| other != path), "{path}");
            assert!(*path == "/" || path.starts_with("/assets/"), "{path}");
        }
    }

    #[test]
    fn tags_are_of_the_content() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
