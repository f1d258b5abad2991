//! The crate against a real Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod admin;
mod compacted;
mod groups;
mod partitioning;
mod registry_access;
mod transactions;
mod wire;

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use topics::{
    Admin, Cluster, Consumer, ConsumerSettings, Event, OwnedRecord, RecordOut, StartAt, TopicPartition, TopicPlan,
    TransactionSettings, TransactionalProducer,
};

const DEADLINE: Duration = Duration::from_secs(30);

async fn cluster() -> Cluster {
    Cluster::new(&testkit::kafka().await.bootstrap, "topics-tests")
}

async fn fresh_topic(cluster: &Cluster, partitions: i32) -> String {
    let name = testkit::fresh_name("topics_test");
    assert!(Admin::new(cluster).unwrap().create_topic(&TopicPlan::new(&name, partitions)).await.unwrap());
    name
}

/// An initialised producer, made on a thread where blocking is fine.
async fn producer(cluster: &Cluster, transactional_id: &str) -> TransactionalProducer {
    let (cluster, settings) = (cluster.clone(), TransactionSettings::new(transactional_id));
    blocking(move || {
        let producer = TransactionalProducer::new(&cluster, settings, CancellationToken::new()).unwrap();
        producer.init().unwrap();
        producer
    })
    .await
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(call).await.unwrap()
}

fn record<'a>(topic: &'a str, key: &'a str, value: &'a str) -> RecordOut<'a> {
    RecordOut::to(topic).key(key.as_bytes()).value(value.as_bytes())
}

fn values(records: &[OwnedRecord]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8(record.value.clone().unwrap_or_default()).unwrap()).collect()
}

/// Waits until no transaction is open in the topic. A commit is answered when the coordinator has decided; the end is
/// marked in each partition after that, and readers of committed records see nothing of it before.
async fn settled(cluster: &Cluster, topic: &str) {
    let settings = ConsumerSettings { committed_only: false, ..ConsumerSettings::default() };
    testkit::wait_until("every transaction's end is marked", DEADLINE, async || {
        let committed = Admin::new(cluster).unwrap().watermarks(topic).await.unwrap();
        let partitions: Vec<_> = committed.iter().map(|(at, _)| (at.clone(), StartAt::Earliest)).collect();
        let all = Consumer::assign(cluster, &partitions, &settings).unwrap();
        blocking(move || committed.iter().all(|(at, marks)| all.watermarks(at).unwrap().high == marks.high)).await
    })
    .await;
}

/// Everything that is committed, when no transaction is open any more.
async fn read_settled(cluster: &Cluster, topic: &str) -> Vec<OwnedRecord> {
    settled(cluster, topic).await;
    topics::read_to_end(cluster, topic).await.unwrap()
}

/// Reads partition 0 from the start until `count` records came.
async fn read(cluster: &Cluster, topic: &str, count: usize) -> (Consumer, Vec<OwnedRecord>) {
    let at = TopicPartition::new(topic, 0);
    let consumer = Consumer::assign(cluster, &[(at, StartAt::Earliest)], &ConsumerSettings::default()).unwrap();
    let mut records = Vec::new();
    while records.len() < count {
        let event = tokio::time::timeout(DEADLINE, consumer.next()).await.expect("a record in time").unwrap();
        if let Event::Record(record) = event {
            records.push(record.to_owned());
        }
    }
    (consumer, records)
}
