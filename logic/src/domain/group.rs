//! Who may do what in a group.
use gochat_proto::repo::v1::{Group, GroupType};

/// Why somebody may not; the text is for him.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub &'static str);

/// The owner adds anyone; into a public group a user may add himself.
pub(crate) fn may_add(group: &Group, actor: u64, added: &[u64]) -> Result<(), Refused> {
    if actor == group.owner_id {
        return Ok(());
    }
    match group.group_type() {
        GroupType::Public if added == [actor] => Ok(()),
        GroupType::Public => {
            Err(Refused("Only the owner may add others to this group; you may join it yourself."))
        }
        GroupType::Private | GroupType::Unspecified => {
            Err(Refused("Only the owner may add members to a private group."))
        }
    }
}

/// Everyone may leave (repo makes the longest member owner when the owner does); the owner removes others.
pub(crate) fn may_remove(group: &Group, actor: u64, removed: u64) -> Result<(), Refused> {
    if actor == group.owner_id || actor == removed {
        return Ok(());
    }
    Err(Refused("Only the owner may remove others from the group."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(kind: GroupType) -> Group {
        Group { group_id: 5, owner_id: 1, group_type: kind.into(), ..Group::default() }
    }

    #[test]
    fn adding() {
        let check = |kind, actor, added: &[u64], expect: bool| {
            assert_eq!(may_add(&group(kind), actor, added).is_ok(), expect, "{kind:?} {actor} {added:?}");
        };
        for kind in [GroupType::Private, GroupType::Public] {
            check(kind, 1, &[2, 3], true);
            check(kind, 2, &[3], false);
            check(kind, 2, &[2, 3], false);
        }
        check(GroupType::Private, 2, &[2], false);
        check(GroupType::Public, 2, &[2], true);
        check(GroupType::Unspecified, 2, &[2], false);
    }

    #[test]
    fn removing() {
        let check = |actor, removed, expect: bool| {
            assert_eq!(may_remove(&group(GroupType::Private), actor, removed).is_ok(), expect);
        };
        check(1, 2, true);
        check(2, 2, true);
        check(2, 3, false);
        check(2, 1, false);
        check(1, 1, true);
    }
}
