//! Equal is found equal; whatever is spoilt is found, at the right hop, by name.

use std::time::Duration;

use ledger::report::Report;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use topics::{Cluster, Partition, RecordOut, TransactionSettings, TransactionalProducer};

use crate::pipeline::{Pipeline, insert_on};

/// `hop kind first...` of each difference, in order.
fn found(report: &Report) -> Vec<String> {
    assert_eq!(report.error, None);
    assert!(!report.ok);
    let differences = report.tables.iter().flat_map(|table| &table.differences);
    differences.map(|found| format!("{} {} {}", found.hop, found.kind, found.first.join(" "))).collect()
}

#[tokio::test]
async fn an_honest_pipeline_is_equal() {
    let pipeline = Pipeline::with_orders().await;
    let report = pipeline.verify().await;
    assert!(report.ok, "{}", report.text());
    let table = &report.tables[0];
    assert_eq!((table.postgres_rows, table.kafka_records, table.raw_objects), (5, 9, 4));
    assert_eq!((table.raw_records, table.stage_rows, table.shape_rows), (9, 9, 5));
    assert!(report.marts.iter().all(|mart| mart.compared_with == "postgres"));
}

#[tokio::test]
async fn a_row_of_stage_with_another_cent_is_named() {
    let pipeline = Pipeline::with_orders().await;
    pipeline.spoil(|lake| lake.stage[4][3] = json!("50.51"));
    assert_eq!(found(&pipeline.verify().await), ["stage different id=5", "shape different id=5"]);
}

#[tokio::test]
async fn a_lost_event_of_stage_is_named_by_offset_and_key() {
    let pipeline = Pipeline::with_orders().await;
    let lost = pipeline.changes[4].clone();
    pipeline.spoil(|lake| drop(lake.stage.remove(4)));
    let place = format!("stage missing offsets {}/{}", lost.partition, lost.offset);
    assert_eq!(found(&pipeline.verify().await), [place.as_str(), "stage missing id=5", "shape extra id=5"]);
}

#[tokio::test]
async fn a_doubled_event_of_stage_is_named_though_the_state_is_right() {
    let pipeline = Pipeline::with_orders().await;
    let doubled = pipeline.changes[0].clone();
    pipeline.spoil(|lake| lake.stage.push(lake.stage[0].clone()));
    assert_eq!(
        found(&pipeline.verify().await),
        [format!("stage offsets twice {}/{}", doubled.partition, doubled.offset)]
    );
}

#[tokio::test]
async fn a_deleted_order_that_lives_on_in_shape_is_named() {
    let pipeline = Pipeline::with_orders().await;
    pipeline.spoil(|lake| {
        let deleted = lake.stage[3][..5].to_vec();
        lake.shape.push(deleted);
        lake.shape.retain(|row| row[0] != 1);
    });
    assert_eq!(found(&pipeline.verify().await), ["shape missing id=1", "shape extra id=4"]);
}

#[tokio::test]
async fn a_row_that_changed_in_postgres_alone_differs_at_every_hop() {
    let pipeline = Pipeline::with_orders().await;
    pipeline.client.batch_execute("UPDATE orders SET total = total + 0.01 WHERE id = 6").await.unwrap();
    let report = pipeline.verify().await;
    assert_eq!(found(&report), ["topic different id=6", "raw different id=6", "stage different id=6"]);
    let funnel = report.marts.iter().find(|mart| mart.mart == "order_funnel").unwrap();
    assert_eq!(funnel.verdict, "different", "{funnel:?}");
}

#[tokio::test]
async fn a_lost_object_is_a_gap_with_its_records_named() {
    let pipeline = Pipeline::with_orders().await;
    pipeline.store.delete(&pipeline.object(1, 0)).await.unwrap();
    let found = found(&pipeline.verify().await);
    assert_eq!(found[0], "raw missing offsets 1/0 1/1 1/2");
    assert!(found.contains(&"raw missing id=1 id=5".to_owned()), "{found:?}");
    assert!(found.contains(&"stage extra offsets 1/0 1/1 1/2".to_owned()), "{found:?}");
}

#[tokio::test]
async fn a_broken_object_is_named() {
    let pipeline = Pipeline::with_orders().await;
    let key = pipeline.object(0, 0);
    let mut bytes = pipeline.store.get(&key).await.unwrap().to_vec();
    let end = bytes.len() - 20;
    bytes.truncate(end);
    pipeline.store.put(&key, bytes, objects::Metadata::new()).await.unwrap();
    let found = found(&pipeline.verify().await);
    assert_eq!(found[0], format!("raw broken {key}: it ends early"));
}

#[tokio::test]
async fn a_mart_that_is_off_by_a_cent_is_named() {
    let pipeline = Pipeline::with_orders().await;
    pipeline.spoil(|lake| {
        let funnel = lake.marts.get_mut("order_funnel").unwrap();
        let shipped = funnel.iter_mut().find(|row| row[0] == "shipped").unwrap();
        shipped[2] = json!("20.49");
    });
    let report = pipeline.verify().await;
    assert!(!report.ok);
    let funnel = report.marts.iter().find(|mart| mart.mart == "order_funnel").unwrap();
    assert_eq!(funnel.differences, ["shipped: expected shipped | 1 | 20.50, found shipped | 1 | 20.49"]);
}

#[tokio::test]
async fn events_of_transactions_that_the_snapshot_does_not_show_do_not_count() {
    let mut pipeline = Pipeline::with_orders().await;
    // Open while the ledger looks, and already downstream: as if it committed a moment later.
    let other = pipeline.second_client().await;
    other.batch_execute("BEGIN").await.unwrap();
    let unseen = insert_on(&other, 70).await;
    pipeline.send(unseen).await;
    pipeline.insert(8, "8.00").await;
    pipeline.publish().await;
    pipeline.fill_lake().await;
    let report = pipeline.verify().await;
    assert!(report.ok, "{}", report.text());
    assert_eq!((report.tables[0].postgres_rows, report.tables[0].shape_rows), (6, 7));

    other.batch_execute("COMMIT").await.unwrap();
    pipeline.fill_lake().await;
    let report = pipeline.verify().await;
    assert!(report.ok, "{}", report.text());
    assert_eq!(report.tables[0].postgres_rows, 7);
}

#[tokio::test]
async fn what_an_open_transaction_hides_is_waited_for() {
    let mut pipeline = Pipeline::with_orders().await;
    // A relay that was killed within a transaction: what another writes behind it, nobody could read yet.
    let cluster = Cluster::new(&pipeline.settings.bootstrap, "killed");
    let settings = TransactionSettings::new(testkit::fresh_name("killed"));
    let killed = TransactionalProducer::new(&cluster, settings, CancellationToken::new()).unwrap();
    killed.init().unwrap();
    killed.begin().unwrap();
    let topic = pipeline.settings.topics[0].clone();
    killed.send(RecordOut::to(&topic).partition(Partition(0)).value(b"never committed")).unwrap();
    testkit::wait_until("Kafka has it", Duration::from_secs(20), async || killed.in_flight() == 0).await;
    pipeline.insert(9, "9.00").await;
    pipeline.publish().await;
    pipeline.fill_lake().await;
    let error = pipeline.verify().await.error.unwrap();
    let expected = format!("Kafka did not catch up within 2 s: a transaction on partition 0 of {topic} is open");
    assert!(error.starts_with(&expected), "{error}");

    killed.abort().unwrap();
    let report = pipeline.verify().await;
    assert!(report.ok, "{}", report.text());
    assert_eq!(report.tables[0].postgres_rows, 6);
}

#[tokio::test]
async fn a_hop_that_lags_is_named() {
    let mut pipeline = Pipeline::with_orders().await;
    pipeline.insert(9, "9.00").await;
    let error = pipeline.verify().await.error.unwrap();
    assert!(error.starts_with("s3-sink did not catch up within 2 s: partition 1"), "{error}");
    pipeline.publish().await;
    let error = pipeline.verify().await.error.unwrap();
    assert!(error.starts_with("lake did not catch up within 2 s: partition 1"), "{error}");
}

#[tokio::test]
async fn what_is_missing_is_an_error_with_its_cure_and_never_ok() {
    let pipeline = Pipeline::with_orders().await;
    let mut settings = pipeline.settings.clone();
    settings.source.slot = "nobody".to_owned();
    settings.patience = Duration::from_millis(200);
    let report = ledger::verify::verify(&settings).await;
    assert!(!report.ok);
    assert_eq!(report.error.unwrap(), "Postgres has no replication slot nobody: apply the source connector");

    let mut settings = pipeline.settings.clone();
    settings.topics = vec!["x.public.nothing".to_owned()];
    let error = ledger::verify::verify(&settings).await.error.unwrap();
    assert!(error.starts_with("Postgres has no table public.nothing"), "{error}");

    let mut settings = pipeline.settings.clone();
    settings.source.port = testkit::free_port();
    let error = ledger::verify::verify(&settings).await.error.unwrap();
    assert!(error.contains("is away") && error.contains("POSTGRES_PORT"), "{error}");
}
