//! What sending costs: a million records of the relay's size in transactions of 4 MiB, to a topic of three partitions, by two
//! producers that take turns; first by librdkafka, as it was done before, then by [`TransactionalProducer`].
//!
//! `cargo run -p topics --example producer_cost [-- RECORDS]` prints rows a second and the CPU seconds of this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use tokio_util::sync::CancellationToken;
use topics::{Admin, Cluster, Headers, RecordOut, TopicPlan, TransactionSettings, TransactionalProducer};

const TRANSACTION_BYTES: usize = 4 << 20;
const HEADERS: [(&str, &str); 4] = [
    ("__debezium.context.connectorLogicalName", "storefront"),
    ("__debezium.context.taskId", "0"),
    ("__debezium.context.connectorName", "postgresql"),
    ("__debezium.context.runId", "8c5e7f0a-7f2e-4a43-9e52-1c9a0e6d1f11"),
];

#[tokio::main]
async fn main() {
    let records: usize = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().unwrap());
    let cluster = Cluster::new(&testkit::kafka().await.bootstrap, "producer-cost");
    let topic = testkit::fresh_name("producer_cost");
    Admin::new(&cluster).unwrap().create_topic(&TopicPlan::new(&topic, 3)).await.unwrap();
    let blocking = tokio::task::spawn_blocking(move || {
        for round in 0..2 {
            measure(&format!("librdkafka {round}"), records, |records| librdkafka(&cluster, &topic, records));
            measure(&format!("ours {round}"), records, |records| ours(&cluster, &topic, records));
        }
    });
    blocking.await.unwrap();
}

fn measure(what: &str, records: usize, run: impl FnOnce(&mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>)) {
    // As the relay has it: one buffer for all, so what is made here must not be counted. It is made by the same loop.
    let (cpu, begin) = (cpu_seconds(), Instant::now());
    rows(records).for_each(|row| drop(std::hint::black_box(row)));
    let making = (cpu_seconds() - cpu, begin.elapsed());
    let (cpu, begin) = (cpu_seconds(), Instant::now());
    run(&mut rows(records));
    let took = begin.elapsed();
    println!(
        "{what}: {:.0} rows/s, {:.2} CPU s a million (user and system; {:.2} of it to make the rows, {:.2} s)",
        records as f64 / took.as_secs_f64(),
        (cpu_seconds() - cpu) * 1e6 / records as f64,
        making.0 * 1e6 / records as f64,
        making.1.as_secs_f64(),
    );
}

/// Key of 10 bytes, value of 250 that compresses as rows do.
fn rows(count: usize) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    (0..count).map(|number| {
        let mut value = vec![0; 250];
        let mut state = number as u64 + 1;
        for (at, byte) in value.iter_mut().enumerate() {
            if at % 25 < 5 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            } else {
                *byte = b'a' + (at % 25) as u8;
            }
        }
        let mut key = vec![0, 0, 0, 0, 7];
        key.extend_from_slice(&(number as u32).to_be_bytes());
        key.push(2);
        (key, value)
    })
}

fn ours(cluster: &Cluster, topic: &str, rows: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) {
    let headers = HEADERS.iter().fold(Headers::new(), |all, (key, value)| all.with(key, Some(value.as_bytes())));
    let producers = ["a", "b"].map(|which| {
        let mut settings = TransactionSettings::new(format!("{topic}-ours-{which}"));
        settings.queue_bytes_max = 2 * TRANSACTION_BYTES;
        let producer = TransactionalProducer::new(cluster, settings, CancellationToken::new()).unwrap();
        producer.init().unwrap();
        producer
    });
    let (mut turn, mut bytes) = (0, 0);
    producers[turn].begin().unwrap();
    for (key, value) in rows {
        producers[turn].send(RecordOut::to(topic).key(&key).value(&value).headers(&headers)).unwrap();
        bytes += key.len() + value.len() + 200;
        if bytes >= TRANSACTION_BYTES {
            producers[turn].commit().unwrap();
            (turn, bytes) = (1 - turn, 0);
            producers[turn].begin().unwrap();
        }
    }
    producers[turn].commit().unwrap();
}

struct Nothing;

impl ClientContext for Nothing {}

impl ProducerContext for Nothing {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

fn librdkafka(cluster: &Cluster, topic: &str, rows: &mut dyn Iterator<Item = (Vec<u8>, Vec<u8>)>) {
    let headers =
        HEADERS.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
    let producers: [ThreadedProducer<Nothing>; 2] = ["a", "b"].map(|which| {
        let producer: ThreadedProducer<Nothing> = rdkafka::ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap())
            .set("transactional.id", format!("{topic}-librdkafka-{which}"))
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "5")
            .set("batch.size", "1000000")
            .set("batch.num.messages", "100000")
            .set("queue.buffering.max.messages", "20000")
            .set("queue.buffering.max.kbytes", ((2 * TRANSACTION_BYTES) >> 10).to_string())
            .set("compression.type", "lz4")
            .set("delivery.report.only.error", "true")
            .create_with_context(Nothing)
            .unwrap();
        producer.init_transactions(Duration::from_secs(30)).unwrap();
        producer
    });
    let (mut turn, mut bytes) = (0, 0);
    producers[turn].begin_transaction().unwrap();
    for (key, value) in rows {
        loop {
            let record = BaseRecord::to(topic).key(&key).payload(&value).headers(headers.clone());
            match producers[turn].send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => panic!("{error}"),
            }
        }
        bytes += key.len() + value.len() + 200;
        if bytes >= TRANSACTION_BYTES {
            commit(&producers[turn]);
            (turn, bytes) = (1 - turn, 0);
            producers[turn].begin_transaction().unwrap();
        }
    }
    commit(&producers[turn]);
}

#[allow(unsafe_code)]
fn commit(producer: &ThreadedProducer<Nothing>) {
    // SAFETY: the client lives over the call, and rd_kafka_flush may be called from any thread.
    let flushed = unsafe { rdkafka::bindings::rd_kafka_flush(producer.client().native_ptr(), 30_000) };
    assert_eq!(flushed, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR);
    producer.commit_transaction(Duration::from_secs(30)).unwrap();
}

/// Of this process, all threads.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    // Ticks are hundredths of a second on Linux.
    ticks / 100.0
}
