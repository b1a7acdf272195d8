//! The page is served from the binary, safely and fresh.

use crate::harness::Gate;

#[test]
fn the_page_and_its_files_are_served() {
    let gate = Gate::start();
    let page = gate.http("GET", "/", None, None);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    let script = gate.http("GET", "/assets/app.js", None, None);
    assert_eq!((script.status, script.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
    let head = gate.http("HEAD", "/", None, None);
    assert_eq!((head.status, head.body.len()), (200, 0));
    let missing = gate.http("GET", "/assets/nothing.js", None, None);
    assert_eq!((missing.status, missing.json()["error"]["code"].as_u64()), (404, Some(1009)));
}

#[test]
fn a_browser_that_has_it_gets_304() {
    let gate = Gate::start();
    let page = gate.http("GET", "/", None, None);
    let tag = page.header("etag").expect("a tag");
    let again = gate.raw("GET", "/", &format!("If-None-Match: {tag}\r\n"), b"");
    assert_eq!((again.status, again.body.len()), (304, 0));
    let changed = gate.raw("GET", "/", "If-None-Match: \"other\"\r\n", b"");
    assert_eq!(changed.status, 200);
}
