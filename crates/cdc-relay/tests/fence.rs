//! A Connect task that was cut off in a transaction of its own cannot commit any more once the relay has its connector.

use testkit::{kafka, postgres};
use tokio_util::sync::CancellationToken;
use topics::{ProduceError, RecordOut, TransactionSettings, TransactionalProducer};

use crate::rig::Rig;

#[tokio::test(flavor = "multi_thread")]
async fn the_producer_of_the_connect_task_is_fenced() {
    let group = testkit::fresh_name("workers");
    let rig = Rig::start_on(kafka().await, postgres().await, &[("CONNECT_GROUP_ID", &group)]).await;
    rig.sql.batch_execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'a')").await.unwrap();
    let (cluster, id) = (rig.cluster.clone(), format!("{group}-{}-0", rig.connector));
    let topic = rig.topic("t");
    let plan = topics::TopicPlan::new(&topic, 1);
    topics::Admin::new(&cluster).unwrap().create_topic(&plan).await.unwrap();
    let task = tokio::task::spawn_blocking(move || {
        let settings = TransactionSettings::new(id);
        let task = TransactionalProducer::new(&cluster, settings, CancellationToken::new()).unwrap();
        task.init().unwrap();
        task.begin().unwrap();
        task.send(RecordOut::to(&topic).key(b"zombie").value(b"zombie")).unwrap();
        task
    });
    let task = task.await.unwrap();
    rig.connect(&[]).await;
    // Readers are not held back by the open transaction either.
    let records = rig.wait_for_records("t", 1).await;
    assert!(records.iter().all(|record| record.key.as_deref() != Some(&b"zombie"[..])));
    let outcome = tokio::task::spawn_blocking(move || task.commit()).await.unwrap();
    assert!(matches!(outcome, Err(ProduceError::Fenced { .. })), "{outcome:?}");
    assert_eq!(rig.records("t").await.len(), 1);
    rig.clean().await;
}
