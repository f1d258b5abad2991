//! Queries stay within the memory they are given, and need no more than they use.

use std::time::Duration;

use serde_json::json;

use super::fixture::Lake;
use crate::{query::answer, sql::Engine};

/// Slices of one large batch of groups count once: otherwise the join would ask for 75 times its memory.
#[tokio::test]
async fn a_join_with_many_groups_needs_the_memory_it_uses() {
    let lake = Lake::new(10);
    let engine = Engine::bounded(lake.stage.tables.clone(), 96 << 20, Duration::from_secs(120)).unwrap();
    let groups =
        "SELECT value AS id, COUNT(*) AS times, SUM(value) AS total FROM generate_series(1, 600000) GROUP BY value";
    let sql = format!(
        "SELECT COUNT(*) AS n, SUM(a.total) AS total FROM ({groups}) AS a JOIN generate_series(1, 1000000) AS b ON b.value = a.id"
    );
    assert_eq!(answer(&engine, &sql, 10).await.unwrap().rows, [json!([600_000, 180_000_300_000_i64])]);
}
