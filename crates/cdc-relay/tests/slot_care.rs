//! The slot moves while nothing happens, and a person hears of it when it does not.

use testkit::wait_until;

use crate::rig::{LONG, Rig};

/// DBZ 1605: the captured tables are idle while another database of the server is written to.
#[tokio::test(flavor = "multi_thread")]
async fn log_of_other_databases_is_not_held_back_by_an_idle_slot() {
    let rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')").await.unwrap();
    rig.connect(&[]).await;
    rig.wait_for_records("t", 1).await;
    let busy = testkit::fresh_database().await;
    let other = rig.server.connect(&busy).await;
    other.batch_execute("CREATE TABLE noise (v text)").await.unwrap();
    let size = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint";
    let begun: i64 = rig.sql.query_one(size, &[]).await.unwrap().get(0);
    for _ in 0..4 {
        other.batch_execute("INSERT INTO noise SELECT repeat('n', 1000) FROM generate_series(1, 20000)").await.unwrap();
    }
    let written: i64 = rig.sql.query_one(size, &[]).await.unwrap().get::<_, i64>(0) - begun;
    assert!(written > 64 << 20, "only {written} bytes of log");
    let held = format!(
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint FROM pg_replication_slots \
         WHERE slot_name = '{}'",
        rig.slot
    );
    // A checkpoint writes what the server needs to move the start of a slot.
    wait_until("the held log is small again", LONG, async || {
        other.batch_execute("CHECKPOINT").await.unwrap();
        rig.sql.query_one(&held, &[]).await.unwrap().get::<_, i64>(0) < 16 << 20
    })
    .await;
    let progress = wait_until("it is told", LONG, async || {
        let progress = rig.progress().await;
        progress["slot_retained_bytes"].as_u64().is_some().then_some(progress)
    })
    .await;
    assert_eq!(progress["slot_wal_status"], "reserved");
    rig.clean().await;
    other.batch_execute("DROP TABLE noise").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_are_written_as_debezium_writes_them_and_run_the_action() {
    let rig = Rig::start().await;
    rig.sql
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE beats (at timestamptz)")
        .await
        .unwrap();
    let topic = format!("__debezium-heartbeat.{}", rig.prefix);
    rig.connect(&[
        ("snapshot.mode", "no_data"),
        ("table.include.list", "public.t"),
        ("heartbeat.action.query", "INSERT INTO beats VALUES (now())"),
    ])
    .await;
    let records = wait_until("three heartbeats", LONG, async || {
        let records = rig.topic_records(&topic).await;
        (records.len() >= 3).then_some(records)
    })
    .await;
    for record in &records {
        let (key, value) = (record.key.as_ref().unwrap(), record.value.as_ref().unwrap());
        assert_eq!(
            (key[0], key[5], &key[6..]),
            (0, u8::try_from(rig.prefix.len() * 2).unwrap(), rig.prefix.as_bytes())
        );
        let text = rig.registry.schema_by_id(topics::SchemaId(u32::from_be_bytes(value[1..5].try_into().unwrap())));
        assert!(text.await.unwrap().contains("io.debezium.connector.common.Heartbeat"));
    }
    wait_until("the action has run", LONG, async || {
        rig.sql.query_one("SELECT count(*) FROM beats", &[]).await.unwrap().get::<_, i64>(0) >= 2
    })
    .await;
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_comes_near_is_warned_of() {
    let rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[("snapshot.mode", "no_data"), ("slot.watch.interval.ms", "100"), ("slot.wal.limit.bytes", "1")])
        .await;
    let warning = wait_until("a warning", LONG, async || {
        let progress = rig.progress().await;
        progress["slot_warning"].as_str().map(str::to_owned)
    })
    .await;
    assert!(warning.contains(&rig.slot) && warning.contains("its limit is met"), "{warning}");
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_dropped_in_mid_stream_is_a_definite_error_that_names_the_cure() {
    let rig = Rig::start().await;
    rig.sql
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); CREATE PUBLICATION everything FOR ALL TABLES")
        .await
        .unwrap();
    rig.connect(&[("snapshot.mode", "no_data"), ("publication.autocreate.mode", "disabled")]).await;
    rig.wait_until_streaming().await;
    rig.sql.batch_execute("INSERT INTO t VALUES (1, 'a')").await.unwrap();
    rig.wait_for_records("t", 1).await;
    rig.sql.batch_execute("DROP PUBLICATION everything; INSERT INTO t VALUES (2, 'b')").await.unwrap();
    let trace = rig.failure().await;
    assert!(trace.contains("\"everything\"") && trace.contains("CREATE PUBLICATION"), "{trace}");
    rig.clean().await;
}
