//! The lake is killed over and over while objects arrive: no record is lost, none doubled, and other engines read the same.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use model::{cell::Cell, envelope::Op};
use objects::Metadata;
use serde_json::json;
use testkit::wait_until;

use crate::{
    rig::Rig,
    topic::{ColumnSpec, NUMERIC_10_2, Topic},
};

pub const COLUMNS: [ColumnSpec; 4] = [
    ("id", 23, "int4", -1, false),
    ("status", 25, "text", -1, false),
    ("total", 1700, "numeric", NUMERIC_10_2, true),
    ("created_at", 1114, "timestamp", -1, true),
];
pub const PARTITIONS: i32 = 3;
const ROUNDS: i32 = 60;

/// Adds ten events of a round and keeps the state they lead to, in cents.
pub fn round(topic: &mut Topic, number: i32, state: &mut BTreeMap<i32, i32>) {
    for step in 0..10 {
        let key = (number * 7 + step * 13) % 150;
        let (id, cents) = (key.to_string(), number * 100 + step);
        let partition = key % PARTITIONS;
        if step == 9 {
            let row = [Cell::Text(id.as_bytes()), Cell::Text(b""), Cell::Null, Cell::Null];
            topic.event(partition, Op::Delete, Some(&row), None);
            state.remove(&key);
            continue;
        }
        let total = format!("{}.{:02}", cents / 100, cents % 100);
        let row = [
            Cell::Text(id.as_bytes()),
            Cell::Text(b"pending"),
            Cell::Text(total.as_bytes()),
            Cell::Text(b"2024-05-05 10:00:00"),
        ];
        topic.event(
            partition,
            if state.insert(key, cents).is_some() { Op::Update } else { Op::Create },
            None,
            Some(&row),
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_record_is_lost_or_doubled_though_the_lake_is_killed_over_and_over() {
    let rig = Rig::start().await;
    let mut topic = Topic::new("orders", &COLUMNS);
    let mut state = BTreeMap::new();
    let mut lake = rig.lake().await;
    let mut alive_until = Instant::now() + Duration::from_millis(900);
    for number in 0..ROUNDS {
        round(&mut topic, number, &mut state);
        for (key, object) in topic.flush(i64::from(number % 2)) {
            rig.raw.put_if_absent(&key, object, Metadata::new()).await.unwrap();
        }
        // Objects keep arriving at this pace; it is the load, not a wait for something.
        tokio::time::sleep(Duration::from_millis(150)).await;
        if Instant::now() > alive_until {
            drop(lake);
            lake = rig.lake().await;
            // Different moments of a pass are hit.
            alive_until = Instant::now() + Duration::from_millis(300 + 170 * u64::from(number.unsigned_abs() % 7));
        }
    }
    let events = ROUNDS * 10;
    wait_until("all events are staged", Duration::from_secs(60), async || {
        rig.sql("SELECT COUNT(*) FROM stage.orders").await == Ok(json!([[events]]))
    })
    .await;
    let sum: i32 = state.values().sum();
    let expected = json!([[state.len(), format!("{}.{:02}", sum / 100, sum % 100)]]);
    wait_until("shape has caught up", Duration::from_secs(60), async || {
        rig.sql("SELECT COUNT(*), SUM(total) FROM shape.orders").await.as_ref() == Ok(&expected)
    })
    .await;
    let distinct =
        rig.sql("SELECT COUNT(DISTINCT (CAST(_partition AS BIGINT) * 1000000 + _offset)) FROM stage.orders").await;
    assert_eq!(distinct, Ok(json!([[events]])));
    assert_eq!(rig.status().await["problems"], json!([]));
    let others = rig.read_by_others();
    assert_eq!(others["equal"], true);
    assert_eq!(others["duckdb"]["shape.orders"]["count"], state.len());
    assert_eq!(others["pyiceberg"]["stage.orders"]["count"], events);
    drop(lake);
}
