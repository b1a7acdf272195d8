//! Cursors of tasks: what was set last, kept over a restart, gone when deleted.
use gochat_proto::repo::v1::task_repo_client::TaskRepoClient;

use super::*;

async fn get(bench: &Bench, task_id: &str) -> Option<u64> {
    let request = GetTaskCursorRequest { task_id: task_id.into() };
    TaskRepoClient::new(bench.client.clone()).get_task_cursor(request).await.unwrap().into_inner().cursor
}

async fn set(bench: &Bench, task_id: &str, cursor: u64) {
    let request = SetTaskCursorRequest { task_id: task_id.into(), cursor };
    TaskRepoClient::new(bench.client.clone()).set_task_cursor(request).await.unwrap();
}

#[tokio::test]
async fn a_cursor_is_what_was_set_last_also_after_a_restart() {
    let bench = open().await;
    assert_eq!(get(&bench, "fanout-7").await, None);
    set(&bench, "fanout-7", 10).await;
    set(&bench, "fanout-7", 20).await;
    set(&bench, "fanout-8", 0).await;
    let Bench { repo, folder, .. } = bench;
    repo.close().await;
    let bench = open_in(folder, key_hash).await;
    assert_eq!((get(&bench, "fanout-7").await, get(&bench, "fanout-8").await), (Some(20), Some(0)));
    for _ in 0..2 {
        let request = DeleteTaskCursorRequest { task_id: "fanout-7".into() };
        TaskRepoClient::new(bench.client.clone()).delete_task_cursor(request).await.unwrap();
        assert_eq!((get(&bench, "fanout-7").await, get(&bench, "fanout-8").await), (None, Some(0)));
    }
}

#[tokio::test]
async fn cursors_that_were_set_before_a_moment_are_purged_some_at_a_time() {
    let bench = open().await;
    for number in 0..5 {
        set(&bench, &format!("fanout-{number}"), number).await;
    }
    let purge = async |updated_before_ms, limit| {
        let request = PurgeTaskCursorsRequest { updated_before_ms, limit };
        let mut client = TaskRepoClient::new(bench.client.clone());
        client.purge_task_cursors(request).await.unwrap().into_inner().deleted
    };
    assert_eq!(purge(1, 10).await, 0);
    let later = i64::MAX;
    assert_eq!((purge(later, 3).await, purge(later, 3).await, purge(later, 3).await), (3, 2, 0));
    assert_eq!(get(&bench, "fanout-4").await, None);
}

#[tokio::test]
async fn a_task_has_an_id_of_a_bounded_length() {
    let bench = open().await;
    let mut client = TaskRepoClient::new(bench.client.clone());
    for task_id in [String::new(), "x".repeat(201)] {
        let request = SetTaskCursorRequest { task_id, cursor: 1 };
        assert_eq!(code(client.set_task_cursor(request).await), Code::InvalidInput);
    }
    set(&bench, &"x".repeat(200), 1).await;
}
