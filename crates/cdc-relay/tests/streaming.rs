//! The healthy life: snapshot, stream, and what Kafka sees of it.

use std::collections::BTreeMap;

use testkit::wait_until;

use crate::{
    events::{Event, Events},
    rig::{LONG, Rig},
};

/// State of a table as a reader of its events builds it: id to value.
pub fn replayed(events: &[Event]) -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    for event in events {
        match (&event.before, &event.after) {
            (_, Some(after)) => {
                rows.insert(after["id"].clone(), after["v"].clone());
            }
            (Some(before), None) => {
                rows.remove(&before["id"]);
            }
            (None, None) => {}
        }
    }
    rows
}

async fn table(rig: &Rig) -> BTreeMap<String, String> {
    let rows = rig.sql.query("SELECT id::text, v FROM t", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshot_then_stream_equal_the_table() {
    let rig = Rig::start().await;
    rig.sql
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text); \
             INSERT INTO t SELECT i, E'row\\t\\\\' || i FROM generate_series(1, 500) i; \
             CREATE TABLE empty (id int PRIMARY KEY)",
        )
        .await
        .unwrap();
    rig.connect(&[]).await;
    rig.wait_for_records("t", 500).await;
    rig.sql
        .batch_execute(
            "INSERT INTO t SELECT i, 'new ' || i FROM generate_series(501, 600) i; \
             UPDATE t SET v = v || '!' WHERE id <= 50; DELETE FROM t WHERE id BETWEEN 40 AND 45; \
             UPDATE t SET id = 1000 WHERE id = 7",
        )
        .await
        .unwrap();
    // Deletes and the key change bring tombstones too: 500 + 100 + 50 + 2 × 6 + 3.
    let records = rig.wait_for_records("t", 665).await;
    let mut reader = Events::new(&rig.registry);
    let events = reader.all(&records).await;
    assert_eq!(replayed(&events), table(&rig).await);
    let count = |op: &str| events.iter().filter(|event| event.op == op).count();
    assert_eq!((count("r"), count("c"), count("u"), count("d")), (500, 101, 50, 7));
    for mark in ["last_in_data_collection", "last", "first", "first_in_data_collection"] {
        assert!(events.iter().filter(|event| event.snapshot == mark).count() <= 1, "{mark}");
    }
    let state = wait_until("running", LONG, async || rig.task_state().await).await;
    assert_eq!(state.0, "RUNNING");
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_change_is_readable_soon_and_the_slot_follows() {
    let rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[("snapshot.mode", "no_data")]).await;
    rig.wait_until_streaming().await;
    rig.sql.batch_execute("INSERT INTO t VALUES (1, 'a')").await.unwrap();
    rig.wait_for_records("t", 1).await;
    rig.wait_until_drained().await;
    // Log that carries nothing for us must not be kept: it belongs to another database.
    let other = testkit::fresh_database().await;
    let elsewhere = testkit::postgres().await.connect(&other).await;
    elsewhere.batch_execute("CREATE TABLE x AS SELECT generate_series(1, 20000) i").await.unwrap();
    rig.wait_until_drained().await;
    assert_eq!(rig.records("t").await.len(), 1);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_changed_in_mid_stream_gets_its_new_schema() {
    let rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')").await.unwrap();
    rig.connect(&[]).await;
    rig.wait_for_records("t", 1).await;
    rig.sql
        .batch_execute(
            "INSERT INTO t VALUES (2, 'b'); ALTER TABLE t ADD COLUMN more int DEFAULT 5; INSERT INTO t VALUES (3, 'c')",
        )
        .await
        .unwrap();
    let records = rig.wait_for_records("t", 3).await;
    let events = Events::new(&rig.registry).all(&records).await;
    let after = |id: &str| events.iter().filter_map(|event| event.after.clone()).find(|row| row["id"] == id).unwrap();
    assert!(!after("2").contains_key("more"));
    assert_eq!(after("3")["more"], "5");
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_is_streamed_with_bounded_memory() {
    let rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[]).await;
    rig.wait_until_streaming().await;
    rig.sql.batch_execute("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 200000) i").await.unwrap();
    rig.wait_until_drained().await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.relay.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    println!("peak RSS {peak_kb} kB");
    assert_eq!(rig.records("t").await.len(), 200_000);
    assert!(peak_kb < 120_000, "{peak_kb} kB");
    rig.clean().await;
}
