//! Servers that go away in mid-stream and come back: waited for, and nothing lost or doubled.

use testkit::{
    own::{OwnKafka, OwnPostgres},
    wait_until,
};

use crate::rig::{LONG, Rig};

async fn ids(rig: &Rig, count: usize) {
    let records = rig.wait_for_records("t", count).await;
    let mut keys: Vec<_> = records.iter().map(|record| record.key.clone().unwrap()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!((records.len(), keys.len()), (count, count), "each row once");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_and_kafka_may_restart_in_mid_stream() {
    let mut postgres = OwnPostgres::start(&[], |_| {}).await;
    let mut kafka = OwnKafka::start(|_| String::new()).await;
    let mut rig = Rig::start_on(&kafka.server, &postgres.server, &[]).await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')").await.unwrap();
    rig.connect(&[]).await;
    ids(&rig, 1).await;

    postgres.stop().await;
    wait_until("the relay is still there and waits", LONG, async || {
        rig.task_state().await.is_some_and(|(state, _)| state != "FAILED")
    })
    .await;
    postgres.resume().await;
    rig.sql = postgres.server.connect(&rig.database).await;
    rig.sql.batch_execute("INSERT INTO t VALUES (2, 'after postgres')").await.unwrap();
    ids(&rig, 2).await;

    kafka.stop().await;
    rig.sql.batch_execute("INSERT INTO t VALUES (3, 'while kafka is away')").await.unwrap();
    kafka.resume().await;
    rig.sql.batch_execute("INSERT INTO t VALUES (4, 'after kafka')").await.unwrap();
    ids(&rig, 4).await;
    rig.wait_until_drained().await;
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_for_a_while_is_waited_for() {
    let mut rig = Rig::start().await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text)").await.unwrap();
    rig.connect(&[("snapshot.mode", "no_data")]).await;
    rig.wait_until_streaming().await;
    rig.registry_process.kill().await;
    // A table not seen before: its schema cannot be registered now.
    rig.sql.batch_execute("INSERT INTO t VALUES (1, 'a')").await.unwrap();
    let before = rig.task_state().await;
    wait_until("the relay has asked the registry in vain", LONG, async || rig.relay_says("schema registry")).await;
    assert!(before.is_none_or(|(state, _)| state != "FAILED"));
    rig.restart_registry().await;
    ids(&rig, 1).await;
    rig.clean().await;
}
