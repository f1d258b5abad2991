//! Bounds of transactions, messages and the slot over restarts.

use std::collections::HashSet;

use testkit::wait_until;

use crate::{
    events::{Events, field, text},
    rig::{LONG, Rig},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_relay_numbers_the_rest_of_a_transaction_as_if_nothing_had_happened() {
    const ROWS: usize = 4_000;
    let mut rig = Rig::start().await;
    rig.sql
        .batch_execute("CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text)")
        .await
        .unwrap();
    let settings = [
        ("provide.transaction.metadata", "true"),
        ("batch.bytes.max", "20000"),
        ("snapshot.mode", "no_data"),
        ("topic.creation.default.partitions", "1"),
    ];
    rig.connect(&settings).await;
    rig.wait_until_streaming().await;
    let fill = format!(
        "DO $$ BEGIN FOR i IN 1..{ROWS} LOOP INSERT INTO a VALUES (i, repeat('x', 200)); \
         INSERT INTO b VALUES (i, 'y'); PERFORM pg_logical_emit_message(true, 'note', i::text); END LOOP; END $$"
    );
    rig.sql.batch_execute(&fill).await.unwrap();
    wait_until("some of it is written", LONG, async || rig.offsets("a").await > 50).await;
    rig.kill_and_restart().await;
    rig.wait_until_drained().await;
    let mut events = Events::new(&rig.registry);
    let (mut totals, mut ids) = (HashSet::new(), HashSet::new());
    for table in ["a", "b"] {
        let records = rig.wait_for_records(table, ROWS).await;
        assert_eq!(records.len(), ROWS);
        for (index, record) in records.iter().enumerate() {
            let value = events.decode(record.value.as_deref().unwrap()).await;
            let block = field(&value, "transaction");
            assert_eq!(text(field(block, "data_collection_order")), (index + 1).to_string());
            assert!(totals.insert(text(field(block, "total_order"))), "an order is given once");
            ids.insert(text(field(block, "id")).split(':').next().unwrap().to_owned());
        }
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(rig.topic_records(&format!("{}.message", rig.prefix)).await.len(), ROWS);
    let mut ours = Vec::new();
    for record in rig.topic_records(&format!("{}.transaction", rig.prefix)).await {
        let value = events.decode(record.value.as_deref().unwrap()).await;
        if ids.contains(text(field(&value, "id")).split(':').next().unwrap()) {
            ours.push((text(field(&value, "status")), text(field(&value, "event_count"))));
        }
    }
    assert_eq!(ours, [("BEGIN".to_owned(), "null".to_owned()), ("END".to_owned(), (3 * ROWS).to_string())]);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_outside_of_transactions_is_written_once_over_a_kill() {
    let mut rig = Rig::start().await;
    rig.connect(&[("snapshot.mode", "no_data"), ("message.prefix.exclude.list", "noise.*")]).await;
    rig.wait_until_streaming().await;
    let emit = "SELECT pg_logical_emit_message(false, 'note', 'a'), pg_logical_emit_message(false, 'noise1', 'b')";
    rig.sql.batch_execute(emit).await.unwrap();
    let topic = format!("{}.message", rig.prefix);
    wait_until("the message is written", LONG, async || rig.topic_records(&topic).await.len() == 1).await;
    rig.kill_and_restart().await;
    rig.sql.batch_execute("SELECT pg_logical_emit_message(false, 'note', 'c')").await.unwrap();
    wait_until("the next one is written", LONG, async || rig.topic_records(&topic).await.len() >= 2).await;
    rig.wait_until_drained().await;
    assert_eq!(rig.topic_records(&topic).await.len(), 2);
    rig.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_dropped_at_the_stop_when_asked_for() {
    let rig = Rig::start().await;
    rig.connect(&[("snapshot.mode", "no_data"), ("slot.drop.on.stop", "true")]).await;
    rig.wait_until_streaming().await;
    rig.delete().await;
    let left = format!("SELECT 1 FROM pg_replication_slots WHERE slot_name = '{}'", rig.slot);
    wait_until("the slot is gone", LONG, async || rig.sql.query_opt(&left, &[]).await.unwrap().is_none()).await;
    rig.clean().await;
}
