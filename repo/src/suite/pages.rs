//! Keyset pages: complete, in order, without repeats, also while rows are added.
use super::*;

fn ask(conversation_id: &str) -> GetConversationMessagesRequest {
    GetConversationMessagesRequest {
        conversation_id: conversation_id.into(),
        limit: 10,
        ..Default::default()
    }
}

/// 350 messages: the newest 300 are in the cache, the others in the database only.
async fn filled() -> Bench {
    let bench = open().await;
    for last in (0..350).step_by(50) {
        bench.saved(batch("single_1_2", 1, last, 50)).await;
    }
    bench
}

#[tokio::test]
async fn pages_forward_and_backward_meet_every_message_once() {
    let bench = filled().await;
    for limit in [7, 100] {
        let (mut forward, mut after) = (Vec::<u64>::new(), 0);
        loop {
            let request =
                GetConversationMessagesRequest { after_seq: Some(after), limit, ..ask("single_1_2") };
            let (seqs, has_more) = bench.page(request).await;
            forward.extend(&seqs);
            after = *seqs.last().unwrap();
            if !has_more {
                break;
            }
        }
        assert!(forward.iter().copied().eq(1..=350), "limit {limit}");
        let (mut backward, mut before) = (Vec::<u64>::new(), None);
        loop {
            let request = GetConversationMessagesRequest { before_seq: before, limit, ..ask("single_1_2") };
            let (seqs, has_more) = bench.page(request).await;
            assert!(seqs.is_sorted());
            before = seqs.first().copied();
            backward.extend(seqs.into_iter().rev());
            if !has_more {
                break;
            }
        }
        assert!(backward.iter().copied().eq((1..=350).rev()), "limit {limit}");
    }
}

#[tokio::test]
async fn pages_stay_inside_the_bounds_from_cache_and_database_alike() {
    let bench = filled().await;
    let newest = ask("single_1_2");
    let nothing = std::ops::RangeInclusive::new(1, 0);
    let check = async |request: GetConversationMessagesRequest,
                       expect: (std::ops::RangeInclusive<u64>, bool)| {
        let expect = (expect.0.collect::<Vec<_>>(), expect.1);
        assert_eq!(bench.page(request.clone()).await, expect, "{request:?}");
        bench.memory.set_down(true);
        assert_eq!(bench.page(request.clone()).await, expect, "without cache: {request:?}");
        bench.memory.set_down(false);
    };
    check(newest.clone(), (341..=350, true)).await;
    check(GetConversationMessagesRequest { max_seq: Some(20), ..newest.clone() }, (11..=20, true)).await;
    check(GetConversationMessagesRequest { min_seq: 345, ..newest.clone() }, (345..=350, false)).await;
    check(GetConversationMessagesRequest { min_seq: 351, ..newest.clone() }, (nothing.clone(), false)).await;
    let after = |seq| GetConversationMessagesRequest { after_seq: Some(seq), ..newest.clone() };
    check(after(0), (1..=10, true)).await;
    check(after(340), (341..=350, false)).await;
    check(after(345), (346..=350, false)).await;
    check(after(350), (nothing.clone(), false)).await;
    check(after(999), (nothing.clone(), false)).await;
    check(GetConversationMessagesRequest { min_seq: 100, ..after(3) }, (100..=109, true)).await;
    check(GetConversationMessagesRequest { max_seq: Some(205), ..after(200) }, (201..=205, false)).await;
    let before = |seq| GetConversationMessagesRequest { before_seq: Some(seq), ..newest.clone() };
    check(before(351), (341..=350, true)).await;
    check(before(55), (45..=54, true)).await;
    check(before(5), (1..=4, false)).await;
    check(before(1), (nothing.clone(), false)).await;
    check(before(0), (nothing.clone(), false)).await;
    check(GetConversationMessagesRequest { limit: 100_000, ..newest.clone() }, (251..=350, true)).await;
    let both = GetConversationMessagesRequest { after_seq: Some(1), ..before(9) };
    assert_eq!(code(bench.messages.clone().get_conversation_messages(both).await), Code::InvalidInput);
    let unknown = bench.messages.clone().get_conversation_messages(ask("single_8_9")).await;
    assert_eq!(code(unknown), Code::ConversationNotFound);
}

#[tokio::test]
async fn a_list_of_conversations_meets_each_once_while_new_ones_come() {
    let bench = open().await;
    for peer in 2..=8 {
        let mut batch = batch(&format!("single_1_{peer}"), 1, 0, 1);
        // Three changed at the same moment: the id decides among them.
        batch.messages[0].created_at_ms = T0 + 1_000 + if peer < 5 { 0 } else { peer as i64 };
        bench.saved(batch).await;
    }
    let mut request = GetUserConversationsRequest { user_id: 1, limit: 2, ..Default::default() };
    let mut seen = Vec::new();
    loop {
        let page = bench.conversations.clone().get_user_conversations(request.clone()).await.unwrap();
        let page = page.into_inner();
        let last = page.conversations.last().unwrap();
        request.before_updated_at_ms = last.updated_at_ms;
        request.before_conversation_id = last.conversation_id.clone();
        seen.extend(page.conversations.into_iter().map(|entry| entry.conversation_id));
        if !page.has_more {
            break;
        }
        // Newer ones come at the front, where the cursor has been.
        if seen.len() == 2 {
            let mut newer = batch("single_1_9", 1, 0, 1);
            newer.messages[0].created_at_ms = T0 + 9_000;
            bench.saved(newer).await;
        }
    }
    let expect = [8, 7, 6, 5, 4, 3, 2].map(|peer| format!("single_1_{peer}"));
    assert_eq!(seen[..7], expect);
    assert_eq!(seen[7..], ["world"]);
    assert_eq!(bench.list(1).await[0].conversation_id, "single_1_9");
}

#[tokio::test]
async fn members_come_in_pages_by_user_id() {
    let bench = open().await;
    bench.group(7, 3, &[1, 5, 8]).await;
    let page = |after_user_id| {
        let mut groups = bench.groups.clone();
        async move {
            let request = GetGroupMembersRequest { group_id: 7, after_user_id, limit: 3 };
            let answer = groups.get_group_members(request).await.unwrap().into_inner();
            let ids: Vec<_> = answer.members.iter().map(|member| member.user_id).collect();
            (ids, answer.has_more)
        }
    };
    assert_eq!(page(0).await, (vec![1, 3, 5], true));
    bench.add(7, &[2]).await;
    assert_eq!(page(5).await, (vec![8], false));
    assert_eq!(page(0).await, (vec![1, 2, 3], true));
}

#[tokio::test]
async fn lists_longer_than_allowed_are_refused() {
    let bench = open().await;
    let ids: Vec<u64> = (1..=10_001).collect();
    let request = GetUsersRequest { user_ids: ids.clone() };
    assert_eq!(code(bench.users.clone().get_users(request).await), Code::InvalidInput);
    let request = GetMessagesRequest { message_ids: ids.clone() };
    assert_eq!(code(bench.messages.clone().get_messages(request).await), Code::InvalidInput);
    let request = AddGroupMemberRequest { group_id: 7, user_ids: ids.clone() };
    assert_eq!(code(bench.groups.clone().add_group_member(request).await), Code::InvalidInput);
    let request = CheckGroupMembersRequest { group_id: 7, user_ids: ids };
    assert_eq!(code(bench.groups.clone().check_group_members(request).await), Code::InvalidInput);
}
