//! Which rows a snapshot reads, and what it tells of its progress.

use std::collections::BTreeSet;

use testkit::wait_until;

use crate::{
    events::{Event, Events},
    rig::{LONG, Rig},
};

fn read_ids(events: &[Event]) -> Vec<String> {
    let read = events.iter().filter(|event| event.op == "r");
    read.map(|event| event.after.as_ref().unwrap()["id"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_reads_the_listed_tables_and_what_statements_select() {
    let rig = Rig::start().await;
    rig.sql
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 100) i; \
             CREATE TABLE whole (id int PRIMARY KEY, v text); INSERT INTO whole VALUES (1, 'a'), (2, 'b'); \
             CREATE TABLE keyless (id int, v text); INSERT INTO keyless SELECT i, 'v' FROM generate_series(1, 10) i; \
             CREATE TABLE unread (id int PRIMARY KEY, v text); INSERT INTO unread VALUES (1, 'before')",
        )
        .await
        .unwrap();
    rig.connect(&[
        ("snapshot.include.collection.list", "public.t,public.whole,public.keyless"),
        ("snapshot.select.statement.overrides", "public.t,public.keyless"),
        (
            "snapshot.select.statement.overrides.public.t",
            "SELECT id, upper(v) AS v FROM t WHERE id > 90 ORDER BY id DESC;",
        ),
        ("snapshot.select.statement.overrides.public.keyless", "SELECT * FROM keyless WHERE id <= 3"),
    ])
    .await;
    rig.wait_until_streaming().await;
    rig.sql.batch_execute("INSERT INTO unread VALUES (2, 'after'); INSERT INTO t VALUES (101, 'after')").await.unwrap();
    rig.wait_for_records("unread", 1).await;
    let mut reader = Events::new(&rig.registry);
    let events = reader.all(&rig.wait_for_records("t", 11).await).await;
    let ids: BTreeSet<String> = read_ids(&events).into_iter().collect();
    assert_eq!(ids, (91..=100).map(|id| id.to_string()).collect());
    assert!(events.iter().filter(|event| event.op == "r").all(|event| event.after.as_ref().unwrap()["v"] == "V"));
    assert_eq!(reader.all(&rig.records("whole").await).await.len(), 2);
    assert_eq!(read_ids(&reader.all(&rig.records("keyless").await).await).len(), 3);
    assert_eq!(read_ids(&reader.all(&rig.records("unread").await).await), Vec::<String>::new());
    let progress = rig.progress().await;
    assert_eq!((&progress["snapshot"], &progress["snapshot_rows"]), (&"complete".into(), &15.into()), "{progress}");
    assert_eq!(progress["snapshot_eta_seconds"], 0);
    assert_eq!(progress["snapshot_tables"], 3);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_killed_in_the_middle_reads_every_row_once() {
    let mut rig = Rig::start().await;
    rig.sql
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, v text); \
             INSERT INTO t SELECT i, repeat('v', 60) FROM generate_series(1, 200000) i; ANALYZE t",
        )
        .await
        .unwrap();
    rig.connect(&[
        ("batch.bytes.max", "300000"),
        ("snapshot.select.statement.overrides", "public.t"),
        ("snapshot.select.statement.overrides.public.t", "SELECT * FROM t WHERE id % 2 = 0"),
    ])
    .await;
    wait_until("the snapshot moves", LONG, async || rig.offsets("t").await >= 5_000).await;
    rig.relay.kill().await;
    rig.sql.batch_execute("UPDATE t SET v = 'changed' WHERE id % 1000 = 4").await.unwrap();
    rig.kill_and_restart().await;
    rig.wait_until_drained().await;
    let events = Events::new(&rig.registry).all(&rig.records("t").await).await;
    let ids = read_ids(&events);
    assert_eq!(ids.len(), ids.iter().collect::<BTreeSet<_>>().len(), "a row was read twice");
    let known: BTreeSet<&String> = events.iter().map(|event| &event.after.as_ref().unwrap()["id"]).collect();
    assert_eq!(known.len(), 100_000, "a row is missing");
    rig.clean().await;
}
