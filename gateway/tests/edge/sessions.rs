//! Logic is told who is connected, in order, until it has heard it.

use gochat_infra::errors::{Code, Error};
use gochat_proto::repo::v1::session_change::Kind;

use crate::harness::{Gate, INSTANCE, SLOT, now_s};

#[test]
fn connects_and_ends_are_reported() {
    let gate = Gate::start();
    let ws = gate.connect(1, "phone");
    let set = gate.fake.wait_for_session(Kind::Set, 1).session.expect("a session");
    assert_eq!(
        (set.device_id.as_str(), set.gateway_instance.as_str(), set.gateway_slot),
        ("phone", INSTANCE, SLOT)
    );
    let lives_s = set.expires_at_ms / 1000 - i64::try_from(now_s()).expect("a time");
    assert!((1700..=1801).contains(&lives_s), "{lives_s} s");
    ws.close();
    let delete = gate.fake.wait_for_session(Kind::Delete, 1).session.expect("a session");
    assert_eq!(delete.connection_id, set.connection_id);
    assert_eq!(gate.fake.sessions_of(1), [Kind::Set, Kind::Delete]);
}

#[test]
fn a_report_that_fails_is_made_again() {
    let gate = Gate::with(|config| config.presence.retry_min_ms = 1);
    gate.fake.fail("report_sessions", Error::new(Code::Unavailable, "not now"));
    let mut ws = gate.connect(1, "d");
    ws.send(r#"{"type":"heads"}"#);
    ws.expect_nothing();
    gate.fake.work_again();
    ws.expect("heads");
    assert_eq!(gate.fake.sessions_of(1), [Kind::Set]);
}

#[test]
fn a_session_that_is_refused_ends_the_connection() {
    let gate = Gate::start();
    gate.fake.fail("report_sessions", Error::new(Code::InvalidInput, "never"));
    let mut ws = gate.connect(1, "d");
    assert_eq!(ws.closed(), 1013);
}

#[test]
fn sessions_are_kept_alive() {
    let gate = Gate::with(|config| config.presence.refresh_ms = 1_000);
    let _ws = gate.connect(1, "d");
    let refresh = gate.fake.wait_for_session(Kind::Refresh, 1).session.expect("a session");
    let set = gate.fake.wait_for_session(Kind::Set, 1).session.expect("a session");
    assert_eq!(refresh.connection_id, set.connection_id);
}
