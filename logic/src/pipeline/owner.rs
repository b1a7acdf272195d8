//! What the owner of a partition keeps of its conversations and forgets when in doubt.
use std::collections::{HashMap, HashSet};

/// State of one conversation, as the store had it when this owner last looked or wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The store has a row for it. A single conversation begins with its first message.
    pub exists: bool,
    pub last_seq: u64,
    /// Groups only: the membership version that `members` holds for.
    pub group_version: u64,
    /// Groups only: senders found to be members at `group_version`. Never who is not: a refusal rests on a fresh look.
    pub members: HashSet<u64>,
}

struct Kept {
    state: State,
    partition: u32,
    /// Batch in which it was used last.
    used: u64,
}

/// Bounded map of conversations. Between batches it has at most `capacity` entries.
pub(crate) struct Owner {
    kept: HashMap<Box<str>, Kept>,
    capacity: usize,
    batch: u64,
}

impl Owner {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { kept: HashMap::new(), capacity, batch: 0 }
    }

    /// Begins a batch; here the conversations used longest ago are forgotten when there are too many.
    pub(crate) fn begin_batch(&mut self) {
        self.batch += 1;
        if self.kept.len() <= self.capacity {
            return;
        }
        // Down to 7/8 at once, so that the walk over all entries is paid once in many batches.
        let surplus = self.kept.len() - self.capacity / 8 * 7;
        let mut ages: Vec<u64> = self.kept.values().map(|kept| kept.used).collect();
        let (_, limit, _) = ages.select_nth_unstable(surplus - 1);
        let limit = *limit;
        let mut left = surplus;
        self.kept.retain(|_, kept| {
            let goes = left > 0 && kept.used <= limit;
            left -= usize::from(goes);
            !goes
        });
    }

    /// What is known of a conversation.
    pub(crate) fn get(&mut self, id: &str) -> Option<&mut State> {
        let batch = self.batch;
        self.kept.get_mut(id).map(|kept| {
            kept.used = batch;
            &mut kept.state
        })
    }

    pub(crate) fn learn(&mut self, id: &str, partition: u32, state: State) {
        self.kept.insert(id.into(), Kept { state, partition, used: self.batch });
    }

    /// After any failure: the next attempt reads the store again.
    pub(crate) fn forget(&mut self, id: &str) {
        self.kept.remove(id);
    }

    /// After a revoke: somebody else writes now.
    pub(crate) fn forget_partition(&mut self, partition: u32) {
        self.kept.retain(|_, kept| kept.partition != partition);
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(last_seq: u64) -> State {
        State { exists: true, last_seq, ..State::default() }
    }

    #[test]
    fn the_ones_used_longest_ago_go_first_and_the_bound_holds() {
        let mut owner = Owner::new(16);
        for n in 0..17_u64 {
            owner.begin_batch();
            owner.learn(&format!("group_{n}"), 0, state(n));
        }
        owner.get("group_0").unwrap();
        owner.begin_batch();
        assert_eq!(owner.len(), 14);
        assert!(owner.get("group_0").is_some(), "used a moment ago");
        assert!(owner.get("group_1").is_none() && owner.get("group_3").is_none());
        assert_eq!(owner.get("group_16").unwrap().last_seq, 16);
    }

    #[test]
    fn a_batch_larger_than_the_bound_keeps_working_and_is_cut_afterwards() {
        let mut owner = Owner::new(2);
        owner.begin_batch();
        for n in 0..9_u64 {
            owner.learn(&format!("group_{n}"), 0, state(n));
        }
        assert_eq!(owner.len(), 9);
        owner.begin_batch();
        assert!(owner.len() <= 2);
    }

    #[test]
    fn a_revoke_forgets_only_its_partition() {
        let mut owner = Owner::new(10);
        owner.begin_batch();
        owner.learn("group_1", 1, state(1));
        owner.learn("group_2", 2, state(2));
        owner.forget_partition(1);
        assert!(owner.get("group_1").is_none());
        owner.forget("nothing");
        assert_eq!(owner.get("group_2"), Some(&mut state(2)));
    }
}
