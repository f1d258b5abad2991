//! Killed between any two instructions: every row exactly once, per key in commit order.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use testkit::wait_until;
use topics::OwnedRecord;

use crate::{
    events::Events,
    rig::{LONG, Rig},
    streaming::replayed,
};

/// Inserts of ids never repeat in these tests, so neither may their events.
pub fn assert_each_row_once(records: &[OwnedRecord], count: usize) {
    let mut seen: HashMap<Vec<u8>, usize> = HashMap::new();
    for record in records {
        *seen.entry(record.key.clone().unwrap()).or_default() += 1;
    }
    let doubled = seen.values().filter(|count| **count > 1).count();
    assert_eq!((seen.len(), doubled), (count, 0), "distinct keys and doubled ones");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_killed_again_and_again_reads_every_row_once() {
    let mut rig = Rig::start().await;
    // Enough that no snapshot is over before a busy machine gets to killing it.
    let rows = 400_000;
    rig.sql
        .batch_execute(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, v text) WITH (fillfactor = 60); \
             INSERT INTO t SELECT i, repeat('v', 60) FROM generate_series(1, {rows}) i"
        ))
        .await
        .unwrap();
    let changes = [("batch.bytes.max", "300000"), ("tombstones.on.delete", "false")];
    rig.connect(&changes).await;
    let mut before = 0;
    for _ in 0..3 {
        // Killed after some more was committed, but long before the end.
        let target = before + 3_000;
        before = wait_until("the snapshot moves", LONG, async || {
            let count = rig.offsets("t").await;
            (count >= target).then_some(count)
        })
        .await;
        rig.relay.kill().await;
        // Rows change while nobody looks: new ones, moved ones, deleted ones.
        rig.sql
            .batch_execute(&format!(
                "UPDATE t SET v = 'changed' WHERE id % 1000 = 3; DELETE FROM t WHERE id % 1000 = {}; \
                 INSERT INTO t SELECT {rows} + {before} + i, 'late' FROM generate_series(1, 50) i",
                before % 90 + 100
            ))
            .await
            .unwrap();
        rig.kill_and_restart().await;
    }
    rig.wait_until_drained().await;
    let records = rig.records("t").await;
    let events = Events::new(&rig.registry).all(&records).await;
    let mut reads: HashMap<&str, usize> = HashMap::new();
    for event in events.iter().filter(|event| event.op == "r") {
        *reads.entry(event.after.as_ref().unwrap()["id"].as_str()).or_default() += 1;
    }
    assert!(reads.values().all(|count| *count == 1), "a row was read twice");
    assert!(before < rows, "the snapshot was over before it was killed");
    let expected = rig.sql.query("SELECT id::text, v FROM t", &[]).await.unwrap();
    let expected = expected.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert!(replayed(&events) == expected, "the topic does not replay to the table");
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_killed_under_load_brings_every_row_once_and_in_order() {
    let mut rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id bigserial PRIMARY KEY, v text); CREATE TABLE counter (id int PRIMARY KEY, v text); INSERT INTO counter VALUES (1, '0')").await.unwrap();
    rig.connect(&[("batch.bytes.max", "20000")]).await;
    rig.wait_for_records("counter", 1).await;
    let url = testkit::postgres().await.url(&rig.database);
    let writer = tokio::spawn(async move {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        for round in 1..=400 {
            // Several rows of one statement share an LSN in nothing, of a COPY in all; sizes cross batch.bytes.max.
            let sql = format!(
                "BEGIN; INSERT INTO t (v) SELECT 'x' FROM generate_series(1, {}); \
                 UPDATE counter SET v = '{round}'; COMMIT",
                if round % 40 == 0 { 1500 } else { 5 }
            );
            client.batch_execute(&sql).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(client);
        let _ = connection.await;
    });
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        rig.kill_and_restart().await;
    }
    writer.await.unwrap();
    rig.wait_until_drained().await;
    let rows: i64 = rig.sql.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0);
    assert_each_row_once(&rig.records("t").await, usize::try_from(rows).unwrap());
    let counted = Events::new(&rig.registry).all(&rig.records("counter").await).await;
    let values: Vec<u32> = counted.iter().map(|event| event.after.as_ref().unwrap()["v"].parse().unwrap()).collect();
    assert_eq!(values, (0..=400).collect::<Vec<_>>(), "one key, in commit order");
    rig.clean().await;
}

/// From the death of a relay until its standby has written what came after; Connect would wait five minutes by default.
const TAKEOVER_MAX: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_from_a_killed_relay_without_disturbing_it_before() {
    let mut rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[("snapshot.mode", "no_data")]).await;
    rig.wait_until_streaming().await;
    let standby = rig.second_relay().await;
    for id in 1..=50 {
        rig.sql.batch_execute(&format!("INSERT INTO t VALUES ({id}, 'first')")).await.unwrap();
    }
    rig.wait_for_records("t", 50).await;
    rig.relay.kill().await;
    let killed = Instant::now();
    rig.sql.batch_execute("INSERT INTO t SELECT i, 'second' FROM generate_series(51, 100) i").await.unwrap();
    let records = rig.wait_for_records("t", 100).await;
    let took = killed.elapsed();
    println!("taken over after {:.1} s", took.as_secs_f64());
    assert!(took < TAKEOVER_MAX, "{took:?}");
    assert_each_row_once(&records, 100);
    assert!(standby.stop().await);
    rig.clean().await;
}

/// Inserts one row per call until told to stop; returns how many.
fn steady_inserts(url: String, stop: tokio_util::sync::CancellationToken) -> tokio::task::JoinHandle<usize> {
    tokio::spawn(async move {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut rows = 0;
        while !stop.is_cancelled() {
            client.batch_execute("INSERT INTO t (v) VALUES ('x')").await.unwrap();
            rows += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(client);
        let _ = connection.await;
        rows
    })
}

const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE application_name = 'cdc-relay' AND datname = current_database()";

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_are_mended_without_loss_or_repeat() {
    let rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id bigserial PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[("snapshot.mode", "no_data")]).await;
    rig.wait_until_streaming().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let writer = steady_inserts(testkit::postgres().await.url(&rig.database), stop.clone());
    for _ in 0..5 {
        let target = rig.records("t").await.len() + 100;
        rig.wait_for_records("t", target).await;
        rig.sql.batch_execute(CUT).await.unwrap();
    }
    stop.cancel();
    let rows = writer.await.unwrap();
    rig.wait_until_drained().await;
    assert_each_row_once(&rig.records("t").await, rows);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zombie_that_wakes_after_its_successor_started_writes_nothing() {
    let rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id bigserial PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[("snapshot.mode", "no_data")]).await;
    rig.wait_until_streaming().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let writer = steady_inserts(testkit::postgres().await.url(&rig.database), stop.clone());
    rig.wait_for_records("t", 50).await;
    let signal = |name: &str| {
        let status = std::process::Command::new("kill").args([name, &rig.relay.pid().to_string()]).status().unwrap();
        assert!(status.success());
    };
    signal("-STOP");
    rig.sql.batch_execute(CUT).await.unwrap();
    let successor = rig.second_relay().await;
    let target = rig.records("t").await.len() + 200;
    rig.wait_for_records("t", target).await;
    signal("-CONT");
    rig.wait_for_records("t", target + 200).await;
    stop.cancel();
    let rows = writer.await.unwrap();
    rig.wait_until_drained().await;
    assert_each_row_once(&rig.records("t").await, rows);
    assert!(successor.stop().await);
    rig.clean().await;
}
