//! Goal: each verdict is found when its promise is broken, and nothing is found when none is.
//! Method: one healthy history of two members, broken by hand in one place per case.

use super::*;

const BASE: u64 = 40;

fn entry(seq: u64, member: u32, n: u32) -> Entry {
    Entry { seq, message_id: 1000 + seq, key: Some(MessageKey { member, n }) }
}

/// A writes 0 and 1, B writes 0; stored as A0 B0 A1 at base + 1, + 2, + 3.
fn healthy() -> History {
    let page = vec![entry(BASE + 1, 0, 0), entry(BASE + 2, 1, 0), entry(BASE + 3, 0, 1)];
    let stored = |seq: u64| SendRecord {
        accepted: true,
        stored: Some(Stored { seq, message_id: 1000 + seq }),
        ..SendRecord::default()
    };
    let member =
        |user_id, sends| MemberHistory { user_id, sends, deliveries: page.clone(), page: page.clone() };
    let members =
        vec![member(1, vec![stored(BASE + 1), stored(BASE + 3)]), member(2, vec![stored(BASE + 2)])];
    History { conversations: vec![ConversationHistory { id: "single_1_2".into(), base_seq: BASE, members }] }
}

/// (lost, doubled, gaps, out of order, phantom)
type Counts = (u64, u64, u64, u64, u64);

#[track_caller]
fn expect(break_it: impl FnOnce(&mut ConversationHistory), counts: Counts) {
    let mut history = healthy();
    break_it(&mut history.conversations[0]);
    let verdict = check(&history);
    let found = (verdict.lost, verdict.doubled, verdict.gaps, verdict.out_of_order, verdict.phantom);
    assert_eq!(found, counts, "{verdict}");
    assert_eq!(verdict.holds(), counts == (0, 0, 0, 0, 0));
    assert_eq!(verdict.findings.is_empty(), verdict.holds());
}

fn everywhere(conversation: &mut ConversationHistory, change: impl Fn(&mut Vec<Entry>)) {
    for member in &mut conversation.members {
        change(&mut member.page);
        change(&mut member.deliveries);
    }
}

#[test]
fn a_healthy_history_holds() {
    expect(|_| {}, (0, 0, 0, 0, 0));
    assert!(check(&History::default()).holds());
}

#[test]
fn stored_and_gone_is_lost() {
    expect(|c| everywhere(c, |list| list.truncate(2)), (1, 0, 0, 0, 0));
}

#[test]
fn accepted_and_gone_is_lost() {
    let break_it = |c: &mut ConversationHistory| {
        everywhere(c, |list| list.truncate(2));
        c.members[0].sends[1].stored = None;
    };
    expect(break_it, (1, 0, 0, 0, 0));
}

#[test]
fn never_acknowledged_and_gone_is_allowed() {
    let break_it = |c: &mut ConversationHistory| {
        everywhere(c, |list| list.truncate(2));
        c.members[0].sends[1] = SendRecord::default();
    };
    expect(break_it, (0, 0, 0, 0, 0));
}

#[test]
fn never_acknowledged_and_stored_is_allowed() {
    expect(|c| c.members[0].sends[1] = SendRecord::default(), (0, 0, 0, 0, 0));
}

#[test]
fn accepted_then_rejected_and_gone_is_allowed() {
    let break_it = |c: &mut ConversationHistory| {
        everywhere(c, |list| list.truncate(2));
        c.members[0].sends[1] = SendRecord { accepted: true, rejected: Some(1002), ..SendRecord::default() };
    };
    expect(break_it, (0, 0, 0, 0, 0));
}

#[test]
fn delivered_and_gone_is_a_phantom() {
    let break_it = |c: &mut ConversationHistory| {
        c.members.iter_mut().for_each(|member| member.page.truncate(2));
        c.members[0].sends[1] = SendRecord::default();
        c.members[0].deliveries.truncate(2);
    };
    expect(break_it, (0, 0, 0, 0, 1));
}

/// A third member, who only reads.
fn join(c: &mut ConversationHistory) {
    let reader = MemberHistory { user_id: 3, sends: Vec::new(), ..c.members[1].clone() };
    c.id = "group_7".into();
    c.members.push(reader);
}

#[test]
fn a_group_holds_when_all_members_see_one_order() {
    expect(join, (0, 0, 0, 0, 0));
}

#[test]
fn one_member_of_a_group_with_another_order_is_found() {
    let live = |c: &mut ConversationHistory| {
        join(c);
        let list = &mut c.members[2].deliveries;
        (list[0].message_id, list[1].message_id) = (list[1].message_id, list[0].message_id);
        (list[0].key, list[1].key) = (list[1].key, list[0].key);
    };
    expect(live, (0, 0, 0, 2, 0));
    let stored = |c: &mut ConversationHistory| {
        join(c);
        let page = &mut c.members[2].page;
        (page[1].message_id, page[2].message_id) = (page[2].message_id, page[1].message_id);
        (page[1].key, page[2].key) = (page[2].key, page[1].key);
    };
    expect(stored, (0, 0, 0, 2, 0));
}

#[test]
fn one_member_of_a_group_who_lacks_a_message_is_found() {
    let live = |c: &mut ConversationHistory| {
        join(c);
        c.members[2].deliveries.remove(1);
    };
    expect(live, (1, 0, 0, 0, 0));
    let stored = |c: &mut ConversationHistory| {
        join(c);
        c.members[2].page.remove(1);
    };
    expect(stored, (1, 0, 1, 0, 0));
}

#[test]
fn missing_for_one_member_is_lost_for_him() {
    expect(|c| c.members[1].page.truncate(2), (1, 0, 1, 0, 0));
}

#[test]
fn stored_and_never_delivered_is_lost() {
    expect(|c| c.members[1].deliveries.retain(|entry| entry.seq != BASE + 2), (1, 0, 0, 0, 0));
}

#[test]
fn one_message_at_two_seqs_is_doubled() {
    expect(|c| everywhere(c, |list| list.push(entry(BASE + 4, 0, 1))), (0, 1, 0, 0, 0));
}

#[test]
fn one_id_at_two_seqs_is_doubled() {
    let again = Entry { seq: BASE + 4, ..entry(BASE + 3, 0, 1) };
    expect(|c| everywhere(c, |list| list.push(again)), (0, 1, 0, 0, 0));
}

#[test]
fn two_acks_that_disagree_are_doubled() {
    expect(|c| c.members[1].sends[0].contradicted = true, (0, 1, 0, 0, 0));
}

#[test]
fn a_second_delivery_to_the_application_is_doubled() {
    expect(|c| c.members[0].deliveries.push(entry(BASE + 3, 0, 1)), (0, 1, 0, 0, 0));
}

#[test]
fn a_missing_seq_is_a_gap() {
    let break_it = |c: &mut ConversationHistory| {
        everywhere(c, |list| list[2].seq = BASE + 5);
        c.members[0].sends[1].stored = Some(Stored { seq: BASE + 5, message_id: 1000 + BASE + 3 });
    };
    expect(break_it, (0, 0, 2, 0, 0));
}

#[test]
fn a_first_seq_above_base_plus_one_is_a_gap() {
    expect(|c| c.base_seq = BASE - 1, (0, 0, 1, 0, 0));
}

#[test]
fn a_wild_seq_is_a_gap_of_bounded_size() {
    let wild = Entry { seq: u64::MAX - 1, ..entry(0, 0, 1) };
    let mut history = healthy();
    everywhere(&mut history.conversations[0], |list| list.push(wild));
    assert_eq!(check(&history).gaps, GAP_LISTED_MAX as u64);
}

#[test]
fn members_that_see_other_orders_are_out_of_order() {
    let break_it = |c: &mut ConversationHistory| {
        let page = &mut c.members[1].page;
        (page[0].message_id, page[1].message_id) = (page[1].message_id, page[0].message_id);
        (page[0].key, page[1].key) = (page[1].key, page[0].key);
    };
    expect(break_it, (0, 0, 0, 2, 0));
}

#[test]
fn a_page_that_runs_backwards_is_out_of_order() {
    expect(|c| c.members[0].page.swap(0, 1), (0, 0, 0, 1, 0));
}

#[test]
fn a_seq_twice_in_a_page_is_out_of_order() {
    let break_it = |c: &mut ConversationHistory| {
        let again = c.members[0].page[2];
        c.members[0].page.push(again);
    };
    expect(break_it, (0, 0, 0, 1, 0));
}

#[test]
fn a_sender_whose_messages_change_places_is_out_of_order() {
    let break_it = |c: &mut ConversationHistory| {
        everywhere(c, |list| (list[0].key, list[2].key) = (list[2].key, list[0].key));
        let sends = &mut c.members[0].sends;
        (sends[0].stored, sends[1].stored) = (sends[1].stored, sends[0].stored);
    };
    expect(break_it, (0, 0, 0, 1, 0));
}

#[test]
fn an_ack_that_names_another_place_is_out_of_order() {
    let elsewhere = Some(Stored { seq: BASE + 9, message_id: 1000 + BASE + 2 });
    expect(|c| c.members[1].sends[0].stored = elsewhere, (0, 0, 0, 1, 0));
}

#[test]
fn a_delivery_that_is_not_what_was_stored_is_out_of_order() {
    expect(|c| c.members[1].deliveries[0].message_id = 7, (0, 0, 0, 1, 0));
}

#[test]
fn deliveries_that_change_places_are_out_of_order() {
    expect(|c| c.members[1].deliveries.swap(0, 1), (0, 0, 0, 1, 0));
}

#[test]
fn a_message_that_nobody_wrote_is_a_phantom() {
    let stranger = Entry { seq: BASE + 4, message_id: 5, key: None };
    expect(|c| everywhere(c, |list| list.push(stranger)), (0, 0, 0, 0, 1));
    expect(|c| everywhere(c, |list| list.push(entry(BASE + 4, 1, 1))), (0, 0, 0, 0, 1));
}

#[test]
fn rejected_and_yet_stored_is_a_phantom() {
    let rejected = SendRecord { rejected: Some(1002), ..SendRecord::default() };
    expect(|c| c.members[1].sends[0] = rejected, (0, 0, 0, 0, 1));
}
