//! A copy is the store as of one commit, whole, while writes go on; and a restored one has a newer epoch.
use std::path::Path;

use gochat_proto::repo::v1::store_repo_client::StoreRepoClient;

use super::*;
use crate::raise_epoch;

async fn copy(bench: &Bench, path: &Path) -> Result<u64, tonic::Status> {
    let request = CopyStoreRequest { path: path.to_str().unwrap().into() };
    Ok(StoreRepoClient::new(bench.client.clone()).copy_store(request).await?.into_inner().bytes)
}

/// A store of its own on a copy.
async fn open_copy(path: &Path) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let file = config(&folder).sqlite.file;
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::copy(path, &file).unwrap();
    open_in(folder, key_hash).await
}

#[tokio::test]
async fn a_copy_is_of_one_moment_while_writes_go_on() {
    let bench = open().await;
    let target = bench.folder.path().join("copy.db");
    let at_least = 2_000;
    for last in (0..at_least).step_by(500) {
        bench.saved(batch("world", 1, last, 500)).await;
    }
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    // One transaction writes to both conversations: whoever sees them differ sees half of one.
    let writer = {
        let mut messages = bench.messages.clone();
        tokio::spawn(async move {
            let mut last = 0;
            while stopped.try_recv().is_err() {
                let conversations =
                    vec![batch("single_1_2", 1, last, 1), batch("world", 1, at_least + last, 1)];
                let answer = messages.save_messages(SaveMessagesRequest { conversations }).await.unwrap();
                assert!(answer.into_inner().outcomes().all(|outcome| outcome == SaveOutcome::Saved));
                last += 1;
            }
            last
        })
    };
    // The copy begins when the writer is under way, and what was answered before it must be in it.
    let mut before = 0;
    while before < 5 {
        before = bench.state("single_1_2").await.last_seq;
        tokio::task::yield_now().await;
    }
    let bytes = copy(&bench, &target).await.unwrap();
    stop.send(()).unwrap();
    let written = writer.await.unwrap();
    assert_eq!(bytes, std::fs::metadata(&target).unwrap().len());
    let copy = open_copy(&target).await;
    let (single, world) = (copy.state("single_1_2").await.last_seq, copy.state("world").await.last_seq);
    assert_eq!(world, at_least + single);
    assert!((before..=written).contains(&single), "{before} {single} {written}");
    assert_eq!(copy.page_after("world", world - 100).await, (world - 99..=world).collect::<Vec<_>>());
    let last = message("single_1_2", 1, single);
    assert_eq!(copy.find(std::slice::from_ref(&last)).await, [last]);
    copy.saved(batch("single_1_2", 1, single, 1)).await;
}

#[tokio::test]
async fn a_copy_never_touches_what_is_there() {
    use std::os::unix::fs::PermissionsExt as _;

    let bench = open().await;
    let target = bench.folder.path().join("copy.db");
    std::fs::write(&target, "precious").unwrap();
    let refused = Error::from(copy(&bench, &target).await.unwrap_err());
    assert_eq!(refused.code, Code::InvalidInput);
    assert_eq!(std::fs::read(&target).unwrap(), b"precious");
    // Not even an empty file, which SQLite itself would take.
    std::fs::write(&target, "").unwrap();
    assert_eq!(Error::from(copy(&bench, &target).await.unwrap_err()).code, Code::InvalidInput);
    for bad in [Path::new("relative.db"), &bench.folder.path().join("no/such/folder.db")] {
        let refused = Error::from(copy(&bench, bad).await.unwrap_err());
        assert_eq!(refused.code, Code::InvalidInput, "{refused}");
    }
    std::fs::remove_file(&target).unwrap();
    copy(&bench, &target).await.unwrap();
    let mode = std::fs::metadata(&target).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds password hashes");
}

#[tokio::test]
async fn a_copy_whose_caller_gave_up_is_whole_or_not_there() {
    let bench = open().await;
    let target = bench.folder.path().join("copy.db");
    tokio::select! {
        biased;
        _ = copy(&bench, &target) => panic!("a copy takes more than one poll"),
        () = std::future::ready(()) => {}
    }
    // It goes on by itself, and holds off another one until it is done.
    let other = bench.folder.path().join("other.db");
    loop {
        match copy(&bench, &other).await {
            Ok(_) => break,
            Err(status) => assert_eq!(Error::from(status).code, Code::Overloaded),
        }
        tokio::task::yield_now().await;
    }
    if target.exists() {
        assert_eq!(open_copy(&target).await.user(1).await.username, "User1");
    }
}

#[tokio::test]
async fn a_restored_store_has_an_epoch_that_nobody_has_seen() {
    let bench = open().await;
    let target = bench.folder.path().join("copy.db");
    copy(&bench, &target).await.unwrap();
    let epoch_of = async |path: &Path| {
        open_copy(path).await.conversations.clone().get_epoch(()).await.unwrap().into_inner().epoch
    };
    assert_eq!(epoch_of(&target).await, 1);
    let now = T0 as u64;
    assert_eq!(raise_epoch(&target, now).await.unwrap(), now);
    assert_eq!(epoch_of(&target).await, now);
    // Again in the same millisecond, or by a clock that went back.
    assert_eq!(raise_epoch(&target, now).await.unwrap(), now + 1);
    assert_eq!(raise_epoch(&target, 5).await.unwrap(), now + 2);
    let restored = open_copy(&target).await;
    let heads = restored.conversations.clone().get_user_heads(GetUserHeadsRequest { user_id: 1 }).await;
    assert_eq!(heads.unwrap().into_inner().epoch, now + 2);
    assert_eq!(restored.membership("world", 1).await.epoch, now + 2);
}

#[tokio::test]
async fn the_epoch_of_what_is_no_data_file_cannot_be_raised() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.db");
    let error = raise_epoch(&missing, 1).await.unwrap_err();
    assert!(error.message.contains("missing.db"), "{error}");
    assert!(!missing.exists());
    let nonsense = folder.path().join("nonsense.db");
    std::fs::write(&nonsense, "x".repeat(5_000)).unwrap();
    let error = raise_epoch(&nonsense, 1).await.unwrap_err();
    assert!(error.message.contains("nonsense.db"), "{error}");
}
