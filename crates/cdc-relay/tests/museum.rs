//! Losses that were reported of change data capture elsewhere, each under its report's number: we do not have them.

use std::collections::BTreeSet;

use testkit::{postgres, wait_until};

use crate::{
    events::{Events, field, text},
    rig::{LONG, Rig},
};

/// Ids of all rows in a table's topic, and how many records there are.
async fn ids(rig: &Rig, table: &str) -> (BTreeSet<i64>, usize) {
    let records = rig.records(table).await;
    let events = Events::new(&rig.registry).all(&records).await;
    (events.iter().map(|event| event.after.as_ref().unwrap()["id"].parse().unwrap()).collect(), records.len())
}

/// All rows of a `COPY` have one LSN: a position that is only an LSN skips the rest of them after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn dbz_1554_rows_that_share_one_lsn() {
    const ROWS: i64 = 5_000;
    let mut rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    let settings =
        [("batch.bytes.max", "20000"), ("snapshot.mode", "no_data"), ("topic.creation.default.partitions", "1")];
    rig.connect(&settings).await;
    rig.wait_until_streaming().await;
    let insert = format!("INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, {ROWS}) i");
    rig.sql.batch_execute(&insert).await.unwrap();
    wait_until("some of it is written", LONG, async || rig.offsets("t").await > 50).await;
    rig.kill_and_restart().await;
    rig.wait_until_drained().await;
    let (ids, records) = ids(&rig, "t").await;
    assert_eq!((ids, records), ((1..=ROWS).collect(), usize::try_from(ROWS).unwrap()));
    rig.clean().await;
}

/// A transaction that is open while the relay restarts has rows before the stored position, and commits behind it.
#[tokio::test(flavor = "multi_thread")]
async fn dbz_51_and_76_a_transaction_open_over_a_restart() {
    let mut rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[("snapshot.mode", "no_data")]).await;
    rig.wait_until_streaming().await;
    let other = postgres().await.connect(&rig.database).await;
    other.batch_execute("BEGIN; INSERT INTO t VALUES (1, 'early')").await.unwrap();
    rig.sql.batch_execute("INSERT INTO t VALUES (2, 'committed first')").await.unwrap();
    rig.wait_for_records("t", 1).await;
    rig.kill_and_restart().await;
    rig.sql.batch_execute("INSERT INTO t VALUES (3, 'after the restart')").await.unwrap();
    rig.wait_for_records("t", 2).await;
    other.batch_execute("INSERT INTO t VALUES (4, 'late'); COMMIT").await.unwrap();
    rig.wait_until_drained().await;
    assert_eq!(ids(&rig, "t").await, (BTreeSet::from([1, 2, 3, 4]), 4));
    rig.clean().await;
}

/// A message in a transaction moved the position past the rows behind it.
#[tokio::test(flavor = "multi_thread")]
async fn dbz_2058_rows_behind_a_transactional_message() {
    let mut rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    // Every event is a Kafka transaction of its own, so a kill finds the position behind the message.
    rig.connect(&[("batch.bytes.max", "1"), ("snapshot.mode", "no_data")]).await;
    rig.wait_until_streaming().await;
    let fill = "DO $$ BEGIN FOR i IN 1..60 LOOP PERFORM pg_logical_emit_message(true, 'note', i::text); \
                INSERT INTO t VALUES (i, 'x'); END LOOP; END $$";
    rig.sql.batch_execute(fill).await.unwrap();
    wait_until("some of it is written", LONG, async || rig.offsets("t").await > 5).await;
    rig.kill_and_restart().await;
    rig.wait_until_drained().await;
    assert_eq!(ids(&rig, "t").await, ((1..=60).collect(), 60));
    let mut notes = Vec::new();
    let mut events = Events::new(&rig.registry);
    for record in rig.topic_records(&format!("{}.message", rig.prefix)).await {
        let value = events.decode(record.value.as_deref().unwrap()).await;
        notes.push(text(field(field(&value, "message"), "content")));
    }
    assert_eq!((notes.len(), notes.iter().collect::<BTreeSet<_>>().len()), (60, 60));
    rig.clean().await;
}
