//! Every page costs the same: it is found by an index and read in its order, whatever lies before or behind it.
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Row as _};

use super::{groups, purge, revocations, tokens};

async fn plan(file: &Path, sql: &'static str) -> Vec<String> {
    let mut conn = SqliteConnectOptions::new().filename(file).read_only(true).connect().await.unwrap();
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = sqlx::query(explain).fetch_all(&mut conn).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>(3)).collect()
}

#[tokio::test]
async fn pages_and_purges_walk_along_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let config = crate::SqliteConfig { file: folder.path().join("plans.db"), ..Default::default() };
    let metrics = crate::metrics::RepoMetrics::register(&gochat_infra::telemetry::Metrics::new());
    let store =
        super::SqliteStore::open(&config, crate::store::message_key::key_hash, &metrics).await.unwrap();
    let check = async |sql, expect: &str| {
        let plan = plan(&config.file, sql).await;
        assert!(plan.iter().any(|step| step.contains(expect)), "{sql}: {plan:?}");
        let wasteful = |step: &String| step.contains("SCAN") || step.contains("TEMP B-TREE");
        assert!(!plan.iter().any(wasteful), "{sql}: {plan:?}");
    };
    check(groups::MEMBERS_PAGE, "SEARCH g USING PRIMARY KEY (group_id=? AND user_id>?)").await;
    check(groups::MEMBERS_SINCE_PAGE, "SEARCH g USING PRIMARY KEY (group_id=? AND user_id>?)").await;
    check(revocations::PAGE, "SEARCH revocations USING INTEGER PRIMARY KEY (rowid>?)").await;
    check(purge::REVOCATIONS, "revocations_expiry (expires_at<?)").await;
    check(purge::TOKENS, "refresh_tokens_expiry (expires_at<?)").await;
    check(tokens::LATEST_OF_DEVICE, "refresh_tokens_device (user_id=? AND device_id=?)").await;
    check(tokens::LATEST_OF_USER, "refresh_tokens_device (user_id=?)").await;
    check(tokens::AFTER_REVOCATIONS, "revocations_user (user_id=? AND device_id=?)").await;
    store.close().await;
}
