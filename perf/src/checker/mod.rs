//! Judges a history against what the system promises: what was acknowledged is kept, once, in a dense
//! order that all members share and that keeps each sender's own order. Pure: no socket, no clock.

mod history;
#[cfg(test)]
mod tests;
mod verdict;

pub use history::{ConversationHistory, Entry, History, MemberHistory, MessageKey, SendRecord, Stored};
pub use verdict::{FINDINGS_MAX, Fault, Finding, Verdict};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Judges every conversation of `history`. Complete histories only: where the final pages could not be
/// read, what was acknowledged counts as lost.
pub fn check(history: &History) -> Verdict {
    let mut verdict = Verdict::default();
    for conversation in &history.conversations {
        Judge::new(conversation, &mut verdict).run();
    }
    verdict
}

struct Judge<'a> {
    conversation: &'a ConversationHistory,
    verdict: &'a mut Verdict,
    /// The order that the members must share: at each seq what the first page that has it says.
    order: BTreeMap<u64, Entry>,
    /// Where each message of the load is, at its lowest seq.
    place: HashMap<MessageKey, u64>,
    /// In how many members' pages each message is.
    readers: HashMap<MessageKey, usize>,
}

impl<'a> Judge<'a> {
    fn new(conversation: &'a ConversationHistory, verdict: &'a mut Verdict) -> Self {
        Judge {
            conversation,
            verdict,
            order: BTreeMap::new(),
            place: HashMap::new(),
            readers: HashMap::new(),
        }
    }

    fn run(mut self) {
        self.merge_pages();
        self.find_gaps();
        self.walk_the_order();
        let members = &self.conversation.members;
        for (index, member) in members.iter().enumerate() {
            self.check_sends(index as u32, member);
            self.check_deliveries(member);
        }
    }

    fn report(&mut self, fault: Fault, count: u64, text: String) {
        self.verdict.report(fault, count, &self.conversation.id, text);
    }

    /// Builds the shared order; a page that runs backwards or disagrees with another is out of order.
    fn merge_pages(&mut self) {
        for member in &self.conversation.members {
            let keys: HashSet<MessageKey> = member.page.iter().filter_map(|entry| entry.key).collect();
            keys.into_iter().for_each(|key| *self.readers.entry(key).or_default() += 1);
            let mut last = self.conversation.base_seq;
            for entry in &member.page {
                if entry.seq <= last {
                    let text = format!("user {}: seq {} follows {last} in a page", member.user_id, entry.seq);
                    self.report(Fault::OutOfOrder, 1, text);
                }
                last = last.max(entry.seq);
                match self.order.get(&entry.seq) {
                    None => {
                        self.order.insert(entry.seq, *entry);
                    }
                    Some(known) if known == entry => {}
                    Some(known) => {
                        let text = format!(
                            "seq {} is message {} for one member and {} for user {}",
                            entry.seq, known.message_id, entry.message_id, member.user_id
                        );
                        self.report(Fault::OutOfOrder, 1, text);
                    }
                }
            }
        }
    }

    /// Every page must hold every seq from base + 1 to the highest that any page holds.
    fn find_gaps(&mut self) {
        let base = self.conversation.base_seq;
        let top = self.order.keys().next_back().copied().unwrap_or(base);
        let mut missing = BTreeSet::new();
        let mut gaps = 0;
        for member in &self.conversation.members {
            let seqs: BTreeSet<u64> = member.page.iter().map(|entry| entry.seq).collect();
            let mut expected = base + 1;
            for seq in seqs.into_iter().chain([top.saturating_add(1)]) {
                // A seq below the base was reported as out of order.
                if seq > expected {
                    gaps += (expected..seq).take(GAP_LISTED_MAX).filter(|seq| missing.insert(*seq)).count()
                        as u64;
                }
                expected = expected.max(seq.saturating_add(1));
            }
        }
        if gaps > 0 {
            let first: Vec<u64> = missing.into_iter().take(8).collect();
            self.report(
                Fault::Gap,
                gaps,
                format!("{gaps} seqs of {}..={top} missing, first {first:?}", base + 1),
            );
        }
    }

    /// One message at one place, nobody else's messages, and each sender's messages as he wrote them.
    fn walk_the_order(&mut self) {
        let order = std::mem::take(&mut self.order);
        let mut ids = HashSet::new();
        let mut newest: HashMap<u32, u32> = HashMap::new();
        for entry in order.values() {
            if !ids.insert(entry.message_id) {
                let text = format!("message id {} is at a second place, seq {}", entry.message_id, entry.seq);
                self.report(Fault::Doubled, 1, text);
            }
            let Some(key) = entry.key.filter(|key| self.was_written(*key)) else {
                let text =
                    format!("seq {}: message {} was not written by this load", entry.seq, entry.message_id);
                self.report(Fault::Phantom, 1, text);
                continue;
            };
            if let Some(first) = self.place.get(&key).copied() {
                // The same id twice was counted above.
                if order[&first].message_id != entry.message_id {
                    let text = format!(
                        "message {} of member {} is at seq {first} and {}",
                        key.n, key.member, entry.seq
                    );
                    self.report(Fault::Doubled, 1, text);
                }
                continue;
            }
            self.place.insert(key, entry.seq);
            let last = newest.entry(key.member).or_insert(key.n);
            if key.n < *last {
                let text =
                    format!("member {}: message {} comes after {last}, seq {}", key.member, key.n, entry.seq);
                self.report(Fault::OutOfOrder, 1, text);
            }
            *last = key.n.max(*last);
        }
        self.order = order;
    }

    fn was_written(&self, key: MessageKey) -> bool {
        let member = self.conversation.members.get(key.member as usize);
        member.is_some_and(|member| (key.n as usize) < member.sends.len())
    }

    /// What a sender was told must be what the history says.
    fn check_sends(&mut self, index: u32, member: &MemberHistory) {
        for (n, send) in member.sends.iter().enumerate() {
            let key = MessageKey { member: index, n: n as u32 };
            let name = format_args!("message {n} of user {}", member.user_id);
            let place = self.place.get(&key).copied();
            if send.contradicted {
                self.report(Fault::Doubled, 1, format!("{name}: two final acks that contradict each other"));
            }
            if send.is_promised() && self.readers.get(&key) != Some(&self.conversation.members.len()) {
                let told = if send.stored.is_some() { "stored" } else { "accepted" };
                self.report(
                    Fault::Lost,
                    1,
                    format!("{name}: acknowledged {told}, not in every member's history"),
                );
                continue;
            }
            if send.rejected.is_some() && send.stored.is_none() && place.is_some() {
                self.report(Fault::Phantom, 1, format!("{name}: rejected, and yet in the history"));
            }
            if let (Some(stored), Some(place)) = (send.stored, place) {
                let there = self.order[&place].message_id;
                if place != stored.seq || there != stored.message_id {
                    let text = format!("{name}: ack says seq {}, the history has it at {place}", stored.seq);
                    self.report(Fault::OutOfOrder, 1, text);
                }
            }
        }
    }

    /// What a member was given live must be the shared order, from its first message to its last.
    fn check_deliveries(&mut self, member: &MemberHistory) {
        let mut last = self.conversation.base_seq;
        let mut given = HashSet::new();
        for entry in &member.deliveries {
            let name = format_args!("user {}: delivery of seq {}", member.user_id, entry.seq);
            if !given.insert(entry.seq) {
                self.report(Fault::Doubled, 1, format!("{name} came twice"));
                continue;
            }
            if entry.seq < last {
                self.report(Fault::OutOfOrder, 1, format!("{name} came after {last}"));
            } else {
                match self.order.get(&entry.seq) {
                    Some(stored) if stored == entry => {}
                    Some(_) => {
                        let text = format!("{name} is not the message that the history has there");
                        self.report(Fault::OutOfOrder, 1, text);
                    }
                    None => self.report(Fault::Phantom, 1, format!("{name} is in nobody's history")),
                }
            }
            last = last.max(entry.seq);
        }
        let missed = self.order.keys().filter(|seq| !given.contains(*seq)).count() as u64;
        if missed > 0 {
            let text = format!("user {}: {missed} stored messages never arrived", member.user_id);
            self.report(Fault::Lost, missed, text);
        }
    }
}

/// A gap of more seqs than this counts as this many: a wild seq must not take the checker's memory.
const GAP_LISTED_MAX: usize = 100_000;
