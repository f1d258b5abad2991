//! Queries stay within the memory they are given, and need no more than they use.

use std::time::Duration;

use serde_json::json;

use super::fixture::Lake;
use crate::{query::answer, sql::Engine};

/// Slices of one large batch of groups count once. They would count as a whole each, and the join be refused at each of these
/// limits; not so at lower ones, where groups are spilled and come back in batches of their own.
#[tokio::test]
async fn a_join_with_many_groups_needs_the_memory_it_uses() {
    let lake = Lake::new(10);
    let groups = "SELECT value AS id, SUM(value) AS total FROM generate_series(1, 2000000) GROUP BY value";
    let sql = format!(
        "SELECT COUNT(*) AS n, SUM(a.total) AS total FROM ({groups}) AS a JOIN generate_series(1, 100000) AS b ON b.value = a.id"
    );
    for megabytes in [1024, 2048] {
        let engine = Engine::bounded(lake.stage.tables.clone(), megabytes << 20, Duration::from_secs(120)).unwrap();
        let rows = answer(&engine, &sql, 10).await.unwrap().rows;
        assert_eq!(rows, [json!([100_000, 5_000_050_000_i64])], "{megabytes}");
    }
}
