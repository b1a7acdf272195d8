//! The revocations that a shard knows; pure.

use std::collections::{BTreeSet, HashMap};

use gochat_proto::{
    common::v1::RevokeReason,
    queue::v1::{UserEvent, user_event},
    repo::v1,
};

/// Tokens of a user, or of one of his devices, that were issued until some moment are not valid any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Revocation {
    pub(crate) user_id: u64,
    /// Empty: every device.
    pub(crate) device_id: Box<str>,
    pub(crate) issued_until_ms: u64,
    /// When the last of these tokens has expired anyway; Unix milliseconds.
    pub(crate) expires_at_ms: u64,
    pub(crate) reason: RevokeReason,
}

impl Revocation {
    /// Whether it ends a token of its user.
    pub(crate) fn concerns(&self, device_id: &str, issued_ms: u64) -> bool {
        (self.device_id.is_empty() || *self.device_id == *device_id) && issued_ms <= self.issued_until_ms
    }

    /// None for an event of another kind.
    pub(crate) fn of_event(event: UserEvent) -> Option<Self> {
        (event.kind() == user_event::Kind::Revoked).then(|| Revocation {
            user_id: event.user_id,
            reason: event.reason(),
            device_id: event.device_id.into(),
            issued_until_ms: millis(event.issued_until_ms),
            expires_at_ms: millis(event.expires_at_ms),
        })
    }
}

impl From<v1::Revocation> for Revocation {
    fn from(row: v1::Revocation) -> Self {
        Revocation {
            user_id: row.user_id,
            reason: row.reason(),
            device_id: row.device_id.into(),
            issued_until_ms: millis(row.issued_until_ms),
            expires_at_ms: millis(row.expires_at_ms),
        }
    }
}

/// A time before 1970 is none.
fn millis(unix_ms: i64) -> u64 {
    u64::try_from(unix_ms).unwrap_or(0)
}

/// What is known against a token whose signature is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Good,
    Revoked(RevokeReason),
    /// Issued so long ago that nobody here knows any more: it must be refreshed, which asks the database.
    TooOld,
}

/// At most so many revocations, each until its last token has expired. When there are more, the earliest-issued are
/// folded into a floor: every token issued until then counts as too old.
#[derive(Debug)]
pub(crate) struct Revocations {
    by_user: HashMap<u64, Vec<Revocation>>,
    /// Moment of issue, user and device of each: the earliest-issued expire first, too.
    by_issue: BTreeSet<(u64, u64, Box<str>)>,
    floor_ms: u64,
    max: usize,
}

impl Revocations {
    pub(crate) fn new(max: usize) -> Self {
        Revocations { by_user: HashMap::new(), by_issue: BTreeSet::new(), floor_ms: 0, max }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_issue.len()
    }

    /// Takes a revocation in; one that is known already changes nothing. Returns how many had to be folded into the
    /// floor for it.
    pub(crate) fn add(&mut self, revocation: &Revocation, now_ms: u64) -> u64 {
        self.expire(now_ms);
        if revocation.expires_at_ms <= now_ms || revocation.issued_until_ms <= self.floor_ms {
            return 0;
        }
        let of_user = self.by_user.entry(revocation.user_id).or_default();
        if let Some(known) = of_user.iter_mut().find(|known| known.device_id == revocation.device_id) {
            if known.issued_until_ms >= revocation.issued_until_ms {
                return 0;
            }
            self.by_issue.remove(&place(known));
            known.clone_from(revocation);
        } else {
            of_user.push(revocation.clone());
        }
        self.by_issue.insert(place(revocation));
        let mut folded = 0;
        while self.by_issue.len() > self.max
            && let Some(earliest) = self.by_issue.pop_first()
        {
            self.floor_ms = earliest.0;
            self.forget(earliest.1, &earliest.2);
            folded += 1;
        }
        folded
    }

    fn expire(&mut self, now_ms: u64) {
        while let Some((_, user_id, device_id)) = self.by_issue.first() {
            let of_user = self.by_user.get(user_id).map(Vec::as_slice).unwrap_or_default();
            let known = of_user.iter().find(|known| known.device_id == *device_id);
            if known.is_some_and(|known| known.expires_at_ms > now_ms) {
                return;
            }
            if let Some((_, user_id, device_id)) = self.by_issue.pop_first() {
                self.forget(user_id, &device_id);
            }
        }
    }

    fn forget(&mut self, user_id: u64, device_id: &str) {
        let Some(of_user) = self.by_user.get_mut(&user_id) else { return };
        of_user.retain(|known| *known.device_id != *device_id);
        if of_user.is_empty() {
            self.by_user.remove(&user_id);
        }
    }

    pub(crate) fn standing(&self, user_id: u64, device_id: &str, issued_ms: u64) -> Standing {
        let of_user = self.by_user.get(&user_id).map(Vec::as_slice).unwrap_or_default();
        match of_user.iter().find(|known| known.concerns(device_id, issued_ms)) {
            Some(known) => Standing::Revoked(known.reason),
            None if issued_ms <= self.floor_ms => Standing::TooOld,
            None => Standing::Good,
        }
    }
}

fn place(revocation: &Revocation) -> (u64, u64, Box<str>) {
    (revocation.issued_until_ms, revocation.user_id, revocation.device_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revocation(user_id: u64, device: &str, issued_until_ms: u64) -> Revocation {
        Revocation {
            user_id,
            device_id: device.into(),
            issued_until_ms,
            expires_at_ms: issued_until_ms + 1_000,
            reason: RevokeReason::Logout,
        }
    }

    const REVOKED: Standing = Standing::Revoked(RevokeReason::Logout);

    #[test]
    fn tokens_issued_until_then_are_revoked_on_the_devices_named() {
        let mut known = Revocations::new(10);
        known.add(&revocation(1, "phone", 100), 100);
        known.add(&revocation(2, "", 200), 200);
        let check = |user, device, issued_ms, expect| {
            assert_eq!(known.standing(user, device, issued_ms), expect, "{user} {device} {issued_ms}");
        };
        check(1, "phone", 100, REVOKED);
        check(1, "phone", 101, Standing::Good);
        check(1, "laptop", 100, Standing::Good);
        check(2, "any", 200, REVOKED);
        check(2, "", 201, Standing::Good);
        check(3, "phone", 1, Standing::Good);
    }

    #[test]
    fn the_later_of_two_counts_whatever_order_they_come_in() {
        for order in [[100, 300], [300, 100]] {
            let mut known = Revocations::new(10);
            for until in order {
                known.add(&revocation(1, "phone", until), 50);
            }
            assert_eq!(known.standing(1, "phone", 300), REVOKED, "{order:?}");
            assert_eq!(known.standing(1, "phone", 301), Standing::Good, "{order:?}");
            assert_eq!(known.len(), 1, "{order:?}");
        }
    }

    #[test]
    fn what_has_expired_is_forgotten() {
        let mut known = Revocations::new(10);
        known.add(&revocation(1, "phone", 100), 100);
        known.add(&revocation(1, "laptop", 500), 500);
        known.add(&revocation(2, "phone", 600), 1_100);
        assert_eq!(known.len(), 2);
        assert_eq!(known.standing(1, "phone", 100), Standing::Good, "the token itself has expired");
        assert_eq!(known.standing(1, "laptop", 500), REVOKED);
        known.add(&revocation(3, "phone", 100), 1_100);
        assert_eq!(known.len(), 2, "one that has expired is not taken in");
    }

    #[test]
    fn when_full_the_earliest_issued_become_the_floor() {
        let mut known = Revocations::new(2);
        for (user, until, folded) in [(1, 100, 0), (2, 300, 0), (3, 200, 1), (4, 400, 1)] {
            assert_eq!(known.add(&revocation(user, "phone", until), 50), folded, "user {user}");
        }
        assert_eq!((known.len(), known.by_user.len(), known.floor_ms), (2, 2, 200));
        assert_eq!(known.standing(1, "phone", 100), Standing::TooOld);
        assert_eq!(known.standing(9, "phone", 200), Standing::TooOld, "nobody knows any more");
        assert_eq!(known.standing(9, "phone", 201), Standing::Good);
        assert_eq!(known.standing(2, "phone", 300), REVOKED);
        // Loaded again: what is under the floor takes no room.
        assert_eq!(known.add(&revocation(3, "phone", 200), 50), 0);
        assert_eq!((known.len(), known.floor_ms), (2, 200));
    }

    #[test]
    fn events_of_other_kinds_are_none() {
        let event = UserEvent {
            kind: user_event::Kind::Revoked.into(),
            user_id: 7,
            device_id: "d".into(),
            issued_until_ms: 5,
            expires_at_ms: 9,
            reason: RevokeReason::Banned.into(),
            ..UserEvent::default()
        };
        let read = Revocation::of_event(event.clone()).expect("a revocation");
        assert_eq!(
            (read.user_id, &*read.device_id, read.issued_until_ms, read.expires_at_ms),
            (7, "d", 5, 9)
        );
        assert_eq!(read.reason, RevokeReason::Banned);
        let login = UserEvent { kind: user_event::Kind::Login.into(), ..event };
        assert_eq!(Revocation::of_event(login), None);
    }
}
