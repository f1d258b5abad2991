//! Signals by each channel, and what they ask for: incremental and blocking snapshots beside concurrent changes.

use std::collections::{BTreeMap, HashMap};

use serde_json::json;
use testkit::{fresh_name, kafka, postgres, wait_until};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use topics::{Admin, Producer, ProducerSettings, RecordOut, TopicPlan};

use crate::{
    events::{Event, Events},
    rig::{LONG, Rig, wait_until_read},
    streaming::replayed,
};

/// Rows with a version that only grows, and a value that is stored apart, so that updates do not carry it.
const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, v int, w text); ALTER TABLE t ALTER w SET STORAGE EXTERNAL; \
                     INSERT INTO t SELECT i, 0, repeat('w', 2500) FROM generate_series(1, 4000) i; \
                     CREATE TABLE debezium_signal (id varchar(42) PRIMARY KEY, type varchar(32) NOT NULL, data varchar(2048))";

/// Changes, deletes, moves and adds rows until told to stop.
async fn writer(database: &str, stop: CancellationToken) -> JoinHandle<()> {
    let url = postgres().await.url(database);
    tokio::spawn(async move {
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut round = 0_u32;
        while !stop.is_cancelled() {
            round += 1;
            let (a, b) = (round * 37 % 4000, round * 61 % 4000);
            let sql = format!(
                "BEGIN; UPDATE t SET v = v + 1 WHERE id IN ({a}, {b}, {b} + 1, {b} + 2); \
                 DELETE FROM t WHERE id = {a} + 5; INSERT INTO t VALUES ({a} + 5, 100000 + {round}, repeat('n', 2500)); \
                 DELETE FROM t WHERE id = {b} + 7 AND id % 10 = 0; INSERT INTO t VALUES (10000 + {round}, 0, 'new'); \
                 UPDATE t SET id = id + 50000, w = 'moved' WHERE id = {b} + 9 AND id % 20 = 1 \
                   AND NOT EXISTS (SELECT FROM t other WHERE other.id = {b} + 50009); COMMIT"
            );
            client.batch_execute(&sql).await.unwrap();
            wait_until_read(&client, 2 << 20, LONG, &stop).await;
        }
        drop(client);
        let _ = connection.await;
    })
}

async fn versions(rig: &Rig) -> BTreeMap<String, String> {
    let rows = rig.sql.query("SELECT id::text, v::text FROM t", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

async fn events(rig: &Rig, table: &str) -> Vec<Event> {
    Events::new(&rig.registry).all(&rig.records(table).await).await
}

/// A key's events of one life never go back. `whole`: nor does a row end without a value that its updates leave out.
fn assert_in_order(events: &[Event], whole_rows: bool) {
    let mut last: HashMap<&str, (i64, bool)> = HashMap::new();
    for event in events {
        let Some(row) = &event.after else {
            let before = event.before.as_ref().unwrap();
            last.remove(before["id"].as_str());
            continue;
        };
        let (id, version) = (row["id"].as_str(), row["v"].parse::<i64>().unwrap());
        let whole = !row["w"].contains("unavailable");
        let (before, had_whole) = last.get(id).copied().unwrap_or((i64::MIN, false));
        assert!(before <= version, "row {id} went from version {before} back to {version}: {event:?}");
        last.insert(id, (version, whole || had_whole));
    }
    // Rows that were changed before the snapshot came to them may lack it for a while, but not in the end.
    let lacking: Vec<_> = last.iter().filter(|(_, (_, whole))| !whole).map(|(id, _)| *id).collect();
    assert!(!whole_rows || lacking.is_empty(), "never told whole: {lacking:?}");
}

fn reads(events: &[Event]) -> HashMap<&str, usize> {
    let mut reads = HashMap::new();
    for event in events.iter().filter(|event| event.op == "r") {
        *reads.entry(event.after.as_ref().unwrap()["id"].as_str()).or_default() += 1;
    }
    reads
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_snapshot_killed_under_changes_ends_with_the_table() {
    let mut rig = Rig::start().await;
    rig.sql.batch_execute(TABLE).await.unwrap();
    rig.connect(&[
        ("snapshot.mode", "no_data"),
        ("table.include.list", "public.t"),
        ("signal.data.collection", "public.debezium_signal"),
        ("incremental.snapshot.chunk.size", "20"),
    ])
    .await;
    rig.wait_until_streaming().await;
    let stop = CancellationToken::new();
    let writing = writer(&rig.database, stop.clone()).await;
    rig.wait_for_records("t", 20).await;
    rig.sql
        .batch_execute(
            r#"INSERT INTO debezium_signal VALUES ('one', 'execute-snapshot', '{"data-collections": ["public.t"], "type": "incremental"}')"#,
        )
        .await
        .unwrap();
    for done in [600, 1_800] {
        wait_until("the snapshot moves", LONG, async || {
            rig.progress().await["incremental_snapshot_rows"].as_u64().is_some_and(|rows| rows >= done / 3)
        })
        .await;
        rig.kill_and_restart().await;
    }
    wait_until("the snapshot is complete", LONG, async || rig.progress().await["incremental_snapshot"] == "complete")
        .await;
    stop.cancel();
    writing.await.unwrap();
    rig.wait_until_drained().await;
    let events = events(&rig, "t").await;
    assert_in_order(&events, true);
    assert!(replayed(&events) == versions(&rig).await, "the topic does not replay to the table");
    assert!(events.iter().filter(|event| event.op == "r").all(|event| event.snapshot == "incremental"));
    let reads = reads(&events);
    // How many rows changed while no relay ran is a matter of pace; those that were read before it was killed were read.
    assert!(reads.len() > 100, "{} rows were read", reads.len());
    let again = reads.values().filter(|count| **count > 1).count();
    println!("{} rows read, {again} of them again after a kill", reads.len());
    assert!(again <= 2 * 16 * 20, "{again} rows were read again");
    assert_eq!(rig.records("debezium_signal").await.len(), 1, "the signal itself is captured");
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_snapshot_is_paused_resumed_stopped_and_limited_by_rest() {
    let rig = Rig::start().await;
    rig.sql
        .batch_execute(&format!(
            "{TABLE}; CREATE TABLE other (id int PRIMARY KEY, v int); INSERT INTO other SELECT i, i FROM generate_series(1, 50) i; \
             CREATE TABLE keyless (id int, v int); INSERT INTO keyless SELECT i, i FROM generate_series(1, 50) i; ANALYZE t"
        ))
        .await
        .unwrap();
    rig.connect(&[("snapshot.mode", "no_data"), ("incremental.snapshot.chunk.size", "7")]).await;
    rig.wait_until_streaming().await;
    let (status, _) = rig.signal(json!({"type": "dance"})).await;
    assert_eq!(status, 400);
    assert_eq!(rig.signal(json!({"type": "log", "data": {"message": "at {}"}})).await.0, 202);
    let execute = json!({"id": "r", "type": "execute-snapshot", "data": {"data-collections": ["public\\.(t|other)"]}});
    let (status, answer) = rig.signal(execute).await;
    assert_eq!((status, answer), (202, json!({"id": "r", "data-collections": ["public.other", "public.t"]})));
    assert_eq!(rig.signal(json!({"type": "pause-snapshot"})).await.0, 202);
    rig.wait_for_progress("incremental_snapshot", "paused").await;
    let stop = json!({"type": "stop-snapshot", "data": {"data-collections": ["public.t"]}});
    assert_eq!(rig.signal(stop.clone()).await.1["data-collections"], json!(["public.t"]));
    assert_eq!(rig.signal(json!({"type": "resume-snapshot"})).await.0, 202);
    rig.wait_for_progress("incremental_snapshot", "complete").await;
    rig.wait_until_drained().await;
    assert_eq!(reads(&events(&rig, "other").await).len(), 50);
    assert!(reads(&events(&rig, "t").await).len() < 4_000, "stopped");
    let before = rig.records("other").await.len();
    let some = json!({"type": "execute-snapshot", "data": {"data-collections": ["public.other", "public.keyless"],
        "additional-conditions": [{"data-collection": "public.other", "filter": "id <= 5 OR id = 50"}],
        "surrogate-key": "id"}});
    assert_eq!(rig.signal(some).await.0, 202);
    assert_eq!(rig.wait_for_records("keyless", 50).await.len(), 50);
    assert_eq!(rig.records("other").await.len(), before + 6);
    let keyless = json!({"type": "execute-snapshot", "data": {"data-collections": ["public.keyless"]}});
    assert_eq!(rig.signal(keyless).await.0, 202);
    wait_until("the failure is told", LONG, async || {
        let progress = rig.progress().await;
        progress["incremental_snapshot_failure"].as_str().is_some_and(|reason| reason.contains("surrogate-key"))
    })
    .await;
    let wrong = json!({"type": "execute-snapshot", "data": {"data-collections": ["public.other"],
        "additional-conditions": [{"data-collection": ".*", "filter": "no_such_column = 1"}]}});
    assert_eq!(rig.signal(wrong).await.0, 202);
    wait_until("the failure is told", LONG, async || {
        let progress = rig.progress().await;
        progress["incremental_snapshot_failure"].as_str().is_some_and(|reason| reason.contains("no_such_column"))
    })
    .await;
    assert_eq!(rig.task_state().await.unwrap().0, "RUNNING");
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_of_the_topic_is_acted_on_once_and_only_by_its_connector() {
    let mut rig = Rig::start().await;
    rig.sql
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 30) i",
        )
        .await
        .unwrap();
    let topic = fresh_name("signals");
    Admin::new(&rig.cluster).unwrap().create_topic(&TopicPlan::new(&topic, 1)).await.unwrap();
    let producer = Producer::new(&rig.cluster, &ProducerSettings::default()).unwrap();
    let prefix = rig.prefix.clone();
    let send = async |key: &str, value: serde_json::Value| {
        let (key, value) = (key.as_bytes(), value.to_string());
        producer.send(RecordOut::to(&topic).key(key).value(value.as_bytes())).await.unwrap();
    };
    rig.connect(&[
        ("snapshot.mode", "no_data"),
        ("signal.enabled.channels", "source,kafka"),
        ("signal.kafka.topic", &topic),
        ("signal.kafka.bootstrap.servers", &kafka().await.bootstrap),
    ])
    .await;
    rig.wait_until_streaming().await;
    let snapshot =
        json!({"type": "execute-snapshot", "data": {"data-collections": ["public.t"], "type": "incremental"}});
    send("another", snapshot.clone()).await;
    send(&prefix, json!({"type": "no such thing"})).await;
    send(&prefix, snapshot).await;
    assert_eq!(rig.wait_for_records("t", 30).await.len(), 30);
    rig.kill_and_restart().await;
    rig.sql.batch_execute("INSERT INTO t VALUES (31, 31)").await.unwrap();
    rig.wait_for_records("t", 31).await;
    let last = json!({"type": "execute-snapshot", "data": {"data-collections": ["public.t"],
        "additional-condition": "id = 31"}});
    send(&prefix, last).await;
    // Had the first been done again, there were more.
    assert_eq!(rig.wait_for_records("t", 32).await.len(), 32);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocking_snapshot_stands_in_the_stream_where_it_belongs() {
    let mut rig = Rig::start().await;
    rig.sql
        .batch_execute(&format!(
            "{TABLE}; CREATE TABLE other (id int PRIMARY KEY, v int); INSERT INTO other SELECT i, i FROM generate_series(1, 50) i"
        ))
        .await
        .unwrap();
    rig.connect(&[("snapshot.mode", "no_data"), ("batch.bytes.max", "200000")]).await;
    rig.wait_until_streaming().await;
    let stop = CancellationToken::new();
    let writing = writer(&rig.database, stop.clone()).await;
    rig.wait_for_records("t", 20).await;
    let signal = json!({"type": "execute-snapshot", "data": {"type": "blocking", "data-collections": ["public.t", "public.other"],
        "additional-conditions": [{"data-collection": "public.other", "filter": "SELECT * FROM other WHERE id <= 10"}]}});
    assert_eq!(rig.signal(signal).await.0, 202);
    wait_until("the snapshot moves", LONG, async || {
        rig.progress().await["snapshot_rows"].as_u64().is_some_and(|rows| rows > 100)
    })
    .await;
    rig.kill_and_restart().await;
    rig.wait_until_streaming().await;
    let streamed = rig.records("t").await.len();
    rig.wait_for_records("t", streamed + 100).await;
    stop.cancel();
    writing.await.unwrap();
    rig.wait_until_drained().await;
    let events = events(&rig, "t").await;
    // Rows that changed while the snapshot was interrupted come by the stream, without what it leaves out.
    assert_in_order(&events, false);
    assert!(replayed(&events) == versions(&rig).await, "the topic does not replay to the table");
    let reads = reads(&events);
    assert!(reads.values().all(|count| *count == 1), "a row was read twice");
    // How many rows changed while no relay ran is a matter of pace; what no change told of can only have been read.
    assert!(reads.len() > 100, "{} rows were read", reads.len());
    assert_eq!(rig.records("other").await.len(), 10);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_at_every_start_loses_no_change_before_it() {
    let mut rig = Rig::start().await;
    rig.sql
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i FROM generate_series(1, 30) i",
        )
        .await
        .unwrap();
    rig.connect(&[("snapshot.mode", "always"), ("tombstones.on.delete", "false")]).await;
    rig.wait_for_records("t", 30).await;
    rig.wait_until_streaming().await;
    rig.relay.kill().await;
    rig.sql.batch_execute("DELETE FROM t WHERE id > 20").await.unwrap();
    rig.kill_and_restart().await;
    let events = Events::new(&rig.registry).all(&rig.wait_for_records("t", 30 + 10 + 20).await).await;
    assert_eq!(replayed(&events).len(), 20, "the deletes came, and then the rows again");
    rig.clean().await;
}
