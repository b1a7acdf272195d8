//! SaveMessages: each conversation is judged by itself; what passes is stored whole, once, densely.
use super::*;
use SaveOutcome::*;

#[tokio::test]
async fn the_first_message_of_a_single_conversation_begins_it() {
    let bench = open().await;
    assert!(!bench.state("single_1_2").await.exists);
    bench.saved(batch("single_1_2", 1, 0, 2)).await;
    let state = bench.state("single_1_2").await;
    assert!(state.exists);
    assert_eq!(state.last_seq, 2);
    for user in [1, 2] {
        let bounds = bench.membership("single_1_2", user).await;
        assert_eq!((bounds.joined_seq, bounds.left_seq, bounds.last_seq), (0, None, 2));
    }
    let request = GetMembershipRequest { conversation_id: "single_1_2".into(), user_id: 3 };
    assert_eq!(code(bench.conversations.clone().get_membership(request).await), Code::ConversationNotFound);
}

#[tokio::test]
async fn one_conversation_that_fails_leaves_the_others() {
    let bench = open().await;
    bench.saved(batch("single_1_2", 1, 0, 1)).await;
    let group = bench.group(7, 1, &[2]).await;
    let duplicate = ConversationBatch { expected_last_seq: 1, ..batch("single_1_2", 1, 1, 2) };
    let mut duplicate_key = duplicate.clone();
    duplicate_key.messages[1].client_msg_id = "c-1".into();
    let mut taken_id = batch("single_3_4", 3, 0, 1);
    taken_id.messages[0].message_id = message("single_1_2", 1, 1).message_id;
    let mut stale_version = batch("group_7", 1, 0, 1);
    stale_version.group_version = Some(group.version + 1);
    let outcomes = bench
        .save(vec![
            batch("single_1_3", 1, 0, 3),
            batch("single_2_3", 2, 4, 1),
            duplicate_key,
            taken_id,
            stale_version,
            batch("group_8", 1, 0, 1),
            batch("single_1_999", 1, 0, 1),
            batch("world", 4, 0, 2),
        ])
        .await;
    let expect =
        [Saved, StaleSeq, Duplicate, IdConflict, StaleVersion, NoConversation, NoConversation, Saved];
    assert_eq!(outcomes, expect);
    assert_eq!(bench.seqs("single_1_3").await, [1, 2, 3]);
    assert_eq!(bench.seqs("single_1_2").await, [1]);
    assert_eq!(bench.seqs("world").await, [1, 2]);
    for nothing in ["single_2_3", "single_3_4", "single_1_999"] {
        assert!(!bench.state(nothing).await.exists, "{nothing}");
    }
    assert_eq!(bench.state("group_7").await.last_seq, 0);
}

#[tokio::test]
async fn a_stale_owner_is_fenced_by_the_last_seq() {
    let bench = open().await;
    bench.saved(batch("world", 1, 0, 5)).await;
    let mut late = batch("world", 2, 4, 1);
    late.messages[0].client_msg_id = "other".into();
    late.messages[0].message_id = 1;
    assert_eq!(bench.save(vec![late]).await, [StaleSeq]);
    assert_eq!(bench.save(vec![batch("world", 1, 6, 1)]).await, [StaleSeq]);
    assert_eq!(bench.seqs("world").await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_membership_change_fences_the_version() {
    let bench = open().await;
    let group = bench.group(7, 1, &[2, 3]).await;
    let at = |version: u64, last: u64| ConversationBatch {
        group_version: Some(version),
        ..batch("group_7", 2, last, 1)
    };
    bench.saved(at(group.version, 0)).await;
    let removed = bench.remove(7, 2).await;
    assert_eq!(bench.save(vec![at(group.version, 1)]).await, [StaleVersion]);
    bench.saved(at(removed.version, 1)).await;
}

#[tokio::test]
async fn a_repeated_key_is_found_and_never_stored_twice() {
    let bench = open().await;
    bench.saved(batch("world", 1, 0, 2)).await;
    let mut again = batch("world", 1, 2, 1);
    again.messages[0].client_msg_id = "c-2".into();
    assert_eq!(bench.save(vec![again.clone()]).await, [Duplicate]);
    let found = bench.find(&again.messages).await;
    assert_eq!(found, [message("world", 1, 2)]);
    // The same client id of another sender, or in another conversation, is another message; so is one that
    // differs in case.
    again.messages[0].sender_id = 2;
    bench.saved(again.clone()).await;
    let mut upper = batch("world", 1, 3, 1);
    upper.messages[0].client_msg_id = "C-2".into();
    bench.saved(upper).await;
    let mut elsewhere = batch("single_1_2", 1, 0, 1);
    elsewhere.messages[0].client_msg_id = "c-2".into();
    bench.saved(elsewhere).await;
}

#[tokio::test]
async fn keys_that_collide_lose_nothing() {
    // Two hashes for everything: nearly every message collides with others.
    let bench = open_with(|_, _, client| i64::from(client.len() as i32 % 2)).await;
    let mut stored = Vec::new();
    for (conversation, sender) in [("world", 1), ("single_1_2", 1), ("single_1_3", 3)] {
        for (last, count) in [(0, 1), (1, 7), (8, 30)] {
            let batch = batch(conversation, sender, last, count);
            stored.extend(batch.messages.clone());
            bench.saved(batch).await;
        }
    }
    let mut found = bench.find(&stored).await;
    found.sort_by_key(|message| (message.conversation_id.clone(), message.seq_id));
    stored.sort_by_key(|message| (message.conversation_id.clone(), message.seq_id));
    assert_eq!(found, stored);
    // And a real duplicate is still one.
    let mut again = batch("single_1_3", 3, 38, 2);
    again.messages[1].client_msg_id = "c-17".into();
    assert_eq!(bench.save(vec![again]).await, [Duplicate]);
    assert_eq!(bench.find(&[message("single_1_3", 3, 39)]).await, []);
}

#[tokio::test]
async fn concurrent_saves_of_one_conversation_leave_no_gap_and_no_double() {
    let bench = open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for sender in 1..=8u64 {
        let mut messages = bench.messages.clone();
        let mut conversations = bench.conversations.clone();
        tasks.spawn(async move {
            let mut written = 0;
            while written < 5 {
                let request = GetConversationStatesRequest { conversation_ids: vec!["world".into()] };
                let states = conversations.get_conversation_states(request).await.unwrap().into_inner();
                let last = states.states[0].last_seq;
                let mut batch = batch("world", sender, last, 1);
                batch.messages[0].message_id = sender * 100 + written;
                batch.messages[0].client_msg_id = format!("{sender}-{written}");
                let request = SaveMessagesRequest { conversations: vec![batch] };
                let outcomes = messages.save_messages(request).await.unwrap().into_inner();
                written += u64::from(outcomes.outcomes().next() == Some(Saved));
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(bench.seqs("world").await, (1..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn saves_that_come_together_share_a_transaction() {
    let bench = open().await;
    let before = bench.repo.service.metrics.transactions_now();
    let mut tasks = tokio::task::JoinSet::new();
    for peer in 2..=9u64 {
        let mut messages = bench.messages.clone();
        tasks.spawn(async move {
            let conversations = vec![batch(&format!("single_1_{peer}"), 1, 0, 3)];
            let answer = messages.save_messages(SaveMessagesRequest { conversations }).await.unwrap();
            answer.into_inner().outcomes().collect::<Vec<_>>()
        });
    }
    assert!(tasks.join_all().await.iter().all(|outcomes| outcomes == &[Saved]));
    // On one thread all eight are queued before the writer wakes: the first may go alone.
    let transactions = bench.repo.service.metrics.transactions_now() - before;
    assert!(transactions <= 2, "{transactions} transactions for eight saves");
}

#[tokio::test]
async fn batches_of_bad_form_are_refused_whole() {
    let bench = open().await;
    let good = batch("world", 1, 0, 2);
    let broken: [fn(&mut ConversationBatch); 10] = [
        |batch| batch.expected_last_seq = u64::MAX,
        |batch| batch.conversation_id = "worlds".into(),
        |batch| batch.messages.clear(),
        |batch| batch.messages[1].seq_id = 3,
        |batch| batch.messages[1].conversation_id = "group_1".into(),
        |batch| batch.messages[1].message_id = batch.messages[0].message_id,
        |batch| batch.messages[1].client_msg_id = batch.messages[0].client_msg_id.clone(),
        |batch| batch.messages[1].client_msg_id = "spa ce".into(),
        |batch| batch.messages[1].message_id = 1 << 63,
        |batch| batch.messages[1].sender_id = 0,
    ];
    for (index, spoil) in broken.into_iter().enumerate() {
        let mut bad = good.clone();
        spoil(&mut bad);
        let request = SaveMessagesRequest { conversations: vec![batch("single_1_2", 1, 0, 1), bad] };
        let answer = bench.messages.clone().save_messages(request).await;
        assert_eq!(code(answer), Code::InvalidInput, "case {index}");
    }
    let twice = SaveMessagesRequest { conversations: vec![good.clone(), good] };
    assert_eq!(code(bench.messages.clone().save_messages(twice).await), Code::InvalidInput);
    let foreign = SaveMessagesRequest { conversations: vec![batch("single_1_2", 3, 0, 1)] };
    assert_eq!(code(bench.messages.clone().save_messages(foreign).await), Code::InvalidInput);
    assert!(!bench.state("single_1_2").await.exists);
    assert_eq!(bench.state("world").await.last_seq, 0);
}

#[tokio::test]
async fn a_single_message_can_be_saved_and_read_back() {
    let bench = open().await;
    let first = message("single_1_2", 1, 1);
    let save = |message: Message| {
        let request = SaveMessageRequest { message: Some(message), group_version: None };
        let mut client = bench.messages.clone();
        async move { client.save_message(request).await }
    };
    save(first.clone()).await.unwrap();
    assert_eq!(code(save(first.clone()).await), Code::StaleData);
    let again = Message { seq_id: 2, ..first.clone() };
    assert_eq!(code(save(again).await), Code::DuplicateMessage);
    let request = GetMessageRequest { message_id: first.message_id };
    let read = bench.messages.clone().get_message(request).await.unwrap().into_inner().message;
    assert_eq!(read, Some(first.clone()));
    let request = GetMessagesRequest { message_ids: vec![first.message_id, 1] };
    let read = bench.messages.clone().get_messages(request).await.unwrap().into_inner().messages;
    assert_eq!(read, [first]);
}

#[tokio::test]
async fn an_id_that_is_taken_within_one_call_is_a_conflict_too() {
    let bench = open().await;
    let first = batch("single_1_2", 1, 0, 1);
    let mut second = batch("single_3_4", 3, 0, 2);
    second.messages[1].message_id = first.messages[0].message_id;
    assert_eq!(bench.save(vec![first, second.clone()]).await, [Saved, IdConflict]);
    assert!(!bench.state("single_3_4").await.exists, "not even its first message");
    // With another id it passes: neither its seqs nor its keys are spent.
    second.messages[1].message_id += 1_000;
    bench.saved(second).await;
    assert_eq!(bench.seqs("single_3_4").await, [1, 2]);
}

#[tokio::test]
async fn every_change_of_members_makes_the_version_stale_and_nothing_else_does() {
    let bench = open().await;
    let mut version = bench.group(7, 1, &[2]).await.version;
    let mut last = 0;
    let mut save = async |version, expect| {
        let batch = ConversationBatch { group_version: Some(version), ..batch("group_7", 1, last, 1) };
        assert_eq!(bench.save(vec![batch]).await, [expect], "version {version}");
        last += u64::from(expect == Saved);
    };
    save(version, Saved).await;
    for added in [true, false] {
        let now = match added {
            true => bench.add(7, &[3]).await.version,
            false => bench.remove(7, 3).await.version,
        };
        save(version, StaleVersion).await;
        save(now, Saved).await;
        version = now;
    }
    // Who is in already, and who never was, change nothing.
    bench.add(7, &[2]).await;
    bench.remove(7, 9).await;
    save(version, Saved).await;
}
