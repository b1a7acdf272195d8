//! What a user sees of his conversations: names, last messages, unread counts, heads, read pointers.
use super::*;

#[tokio::test]
async fn unread_counts_follow_reading_and_writing() {
    let bench = open().await;
    bench.saved(batch("single_1_2", 1, 0, 3)).await;
    assert_eq!(bench.entry(1, "single_1_2").await.unread_count, 0, "who writes has read");
    let entry = bench.entry(2, "single_1_2").await;
    assert_eq!((entry.unread_count, entry.read_seq, entry.last_seq), (3, 0, 3));
    assert_eq!(entry.last_message, Some(message("single_1_2", 1, 3)));
    assert_eq!((&entry.name[..], entry.peer_read_seq), ("Number 1", Some(3)));
    let moved = bench.mark("single_1_2", 2, 2).await;
    assert_eq!((moved.read_seq, moved.moved), (2, true));
    let back = bench.mark("single_1_2", 2, 1).await;
    assert_eq!((back.read_seq, back.moved), (2, false));
    let past = bench.mark("single_1_2", 2, 99).await;
    assert_eq!((past.read_seq, past.moved), (3, true));
    assert_eq!(bench.entry(2, "single_1_2").await.unread_count, 0);
    // Two senders in one batch: each has read up to his own last message.
    let mut both = batch("single_1_2", 1, 3, 3);
    both.messages[1].sender_id = 2;
    bench.saved(both).await;
    assert_eq!(bench.entry(1, "single_1_2").await.read_seq, 6);
    assert_eq!(bench.entry(2, "single_1_2").await.read_seq, 5);
}

#[tokio::test]
async fn marking_is_for_members_only() {
    let bench = open().await;
    bench.saved(batch("single_1_2", 1, 0, 3)).await;
    for conversation in ["single_1_2", "single_3_4", "nonsense"] {
        let request = MarkReadRequest { conversation_id: conversation.into(), user_id: 3, seq_id: 1 };
        let answer = bench.conversations.clone().mark_read(request).await;
        assert_eq!(code(answer), Code::ConversationNotFound, "{conversation}");
    }
}

#[tokio::test]
async fn marks_that_come_together_end_at_the_highest() {
    let bench = open().await;
    bench.saved(batch("single_1_2", 1, 0, 9)).await;
    let marks = [4, 9, 2, 7].map(|seq_id| {
        let mut conversations = bench.conversations.clone();
        tokio::spawn(async move {
            let request = MarkReadRequest { conversation_id: "single_1_2".into(), user_id: 2, seq_id };
            conversations.mark_read(request).await.unwrap().into_inner()
        })
    });
    for (mark, asked) in marks.into_iter().zip([4, 9, 2, 7]) {
        let answer = mark.await.unwrap();
        assert!(answer.read_seq >= asked && answer.read_seq <= 9, "{answer:?}");
    }
    assert_eq!(bench.entry(2, "single_1_2").await.read_seq, 9);
}

#[tokio::test]
async fn world_is_joined_at_its_head() {
    let bench = open().await;
    bench.saved(batch("world", 1, 0, 4)).await;
    bench.users.clone().create_user(CreateUserRequest { user: Some(user(20)) }).await.unwrap();
    let entry = bench.entry(20, "world").await;
    assert_eq!((entry.unread_count, entry.last_seq, entry.read_seq), (0, 4, 4));
    assert_eq!(entry.last_message, None, "what was said before he came is hidden");
    assert_eq!(entry.r#type(), ConversationType::World);
    bench.saved(batch("world", 1, 4, 2)).await;
    let entry = bench.entry(20, "world").await;
    assert_eq!(entry.unread_count, 2);
    assert_eq!(entry.last_message.unwrap().seq_id, 6);
    assert_eq!(bench.entry(2, "world").await.unread_count, 6);
}

#[tokio::test]
async fn heads_are_what_the_user_may_see_last_changed_first() {
    let bench = open().await;
    bench.group(7, 1, &[2, 3]).await;
    bench.saved(batch("group_7", 1, 0, 2)).await;
    bench.remove(7, 3).await;
    bench.saved(batch("group_7", 1, 2, 5)).await;
    let mut newest = batch("single_1_3", 1, 0, 1);
    newest.messages[0].created_at_ms = T0 + 1_000;
    bench.saved(newest).await;
    let heads = |user_id| {
        let mut conversations = bench.conversations.clone();
        async move {
            let answer =
                conversations.get_user_heads(GetUserHeadsRequest { user_id }).await.unwrap().into_inner();
            assert_eq!((answer.epoch, answer.truncated), (1, false));
            let pair = |head: gochat_proto::common::v1::Head| (head.conversation_id, head.last_seq);
            answer.heads.into_iter().map(pair).collect::<Vec<_>>()
        }
    };
    let pair = |id: &str, seq| (id.to_owned(), seq);
    assert_eq!(heads(1).await, [pair("single_1_3", 1), pair("group_7", 7), pair("world", 0)]);
    let left = heads(3).await;
    assert!(left.contains(&pair("group_7", 2)), "{left:?}");
    assert_eq!(heads(99).await, []);
    let epoch = bench.conversations.clone().get_epoch(()).await.unwrap().into_inner().epoch;
    assert_eq!(epoch, 1);
}

#[tokio::test]
async fn heads_are_bounded_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(&folder);
    config.limits.heads_max = 3;
    let repo = Repo::open(config, deps()).await.unwrap();
    let client = Client::local(repo.routes());
    let users = (1..=4).map(user).collect();
    UserRepoClient::new(client.clone()).create_users(CreateUsersRequest { users }).await.unwrap();
    let conversations = (2..=4).map(|peer| batch(&format!("single_1_{peer}"), 1, 0, 1)).collect();
    let request = SaveMessagesRequest { conversations };
    MessageRepoClient::new(client.clone()).save_messages(request).await.unwrap();
    let heads = ConversationRepoClient::new(client).get_user_heads(GetUserHeadsRequest { user_id: 1 }).await;
    let heads = heads.unwrap().into_inner();
    assert_eq!((heads.heads.len(), heads.truncated), (3, true));
}

#[tokio::test]
async fn states_answer_in_the_order_asked() {
    let bench = open().await;
    bench.saved(batch("single_1_2", 1, 0, 3)).await;
    let group = bench.group(7, 1, &[]).await;
    let ids = ["group_7", "single_8_9", "single_1_2", "group_7"];
    let request = GetConversationStatesRequest { conversation_ids: ids.map(String::from).to_vec() };
    let states =
        bench.conversations.clone().get_conversation_states(request).await.unwrap().into_inner().states;
    let brief: Vec<_> =
        states.iter().map(|state| (state.exists, state.last_seq, state.group_version)).collect();
    let of_group = (true, 0, group.version);
    assert_eq!(brief, [of_group, (false, 0, 0), (true, 3, 0), of_group]);
    assert!(states.iter().map(|state| &state.conversation_id[..]).eq(ids));
}
