//! Logic is told who is connected, in order, until it has heard it.

use gochat_infra::errors::{Code, Error};
use gochat_proto::repo::v1::session_change::Kind;

use crate::harness::{Gate, INSTANCE, SLOT, now_s, until};

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
fn a_device_keeps_its_session_as_long_as_one_of_its_connections_is_left() {
    let gate = Gate::start();
    for close_the_newer in [true, false] {
        let user = if close_the_newer { 1 } else { 2 };
        let (older, newer) = (gate.connect_bound(user, "d"), gate.connect_bound(user, "d"));
        let _elsewhere = gate.connect_bound(user, "another");
        let ids = gate.fake.session_changes_of(user);
        let connection = |of: usize| (Kind::Set, ids[of].1);
        let (closes, stays, left) =
            if close_the_newer { (newer, older, connection(0)) } else { (older, newer, connection(1)) };
        closes.close();
        until("the end is reported", || gate.fake.session_changes_of(user).len() == 4);
        assert_eq!(gate.fake.session_changes_of(user)[3], left);
        stays.close();
        until("the last end is reported", || gate.fake.session_changes_of(user).len() == 5);
        assert_eq!(gate.fake.session_changes_of(user)[4], (Kind::Delete, left.1));
    }
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
