//! The measuring end of `make bench-cdc`: writes commits, reads what arrives, and does without a relay what a relay does
//! with Kafka, for comparison. Prints JSON, a line for each thing that happened. `bench/cdc/bench.py` calls it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a measurement that cannot be made shall stop with the reason")]

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use clap::{Parser, Subcommand};
use rdkafka::{
    ClientConfig,
    error::RDKafkaErrorCode,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use topics::{
    Admin, Cluster, Consumer, ConsumerSettings, Event, Headers, Offset, OwnedRecord, RecordOut, StartAt,
    TopicPartition, TopicPlan, TransactionSettings, TransactionalProducer,
};

/// What did not arrive for so long will not.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the end of a log is asked for.
const END_INTERVAL: Duration = Duration::from_millis(20);

#[derive(Parser)]
struct Args {
    #[arg(long)]
    bootstrap: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Makes topics of one partition.
    Topics { names: Vec<String> },
    /// Tells when the first record came to a topic, and when `records` more stood there or, without a number, when a
    /// committed record came to the topic `last`.
    Arrival { first: String, last: String, records: Option<i64> },
    /// Counts the committed records of a topic.
    Count { topic: String },
    /// Inserts rows into a table, single commits at a rate; tells how long after its commit each was read.
    Latency {
        #[arg(long)]
        postgres: String,
        #[arg(long)]
        topic: String,
        #[arg(long)]
        insert: String,
        #[arg(long)]
        rate: u32,
        #[arg(long)]
        seconds: u32,
        #[arg(long, default_value_t = 8)]
        connections: u32,
    },
    /// Single records, each in a Kafka transaction of its own.
    Transactions { topic: String, rate: u32, seconds: u32 },
    /// Sends records like those of a topic to another one.
    Produce {
        from: String,
        to: String,
        records: usize,
        /// By librdkafka in place of our own producer.
        #[arg(long)]
        librdkafka: bool,
    },
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let args = Args::parse();
    let cluster = Cluster::new(&args.bootstrap, "cdc-probe");
    match args.what {
        What::Topics { names } => {
            let admin = Admin::new(&cluster).unwrap();
            for name in names {
                admin.create_topic(&TopicPlan::new(name, 1)).await.unwrap();
            }
        }
        What::Arrival { first, last, records } => arrival(&cluster, &first, &last, records).await,
        What::Count { topic } => {
            let count = records_of(&cluster, &topic, usize::MAX).await.1;
            println!("{}", json!({ "records": count }));
        }
        What::Latency { postgres, topic, insert, rate, seconds, connections } => {
            latency(&cluster, &postgres, &topic, &insert, (rate, seconds, connections)).await;
        }
        What::Transactions { topic, rate, seconds } => transactions(&cluster, &topic, rate, seconds).await,
        What::Produce { from, to, records, librdkafka } => produce(&cluster, &from, &to, records, librdkafka).await,
    }
}

fn unix() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

async fn end(admin: &Admin, topic: &str) -> i64 {
    admin.watermarks(topic).await.map_or(0, |marks| marks.iter().map(|(_, marks)| marks.high.0).sum())
}

/// A reader of what comes to the topic from now on.
async fn reader(cluster: &Cluster, topic: &str) -> Consumer {
    let at = Offset(end(&Admin::new(cluster).unwrap(), topic).await);
    let partitions = [(TopicPartition::new(topic, 0), StartAt::Offset(at))];
    Consumer::assign(cluster, &partitions, &ConsumerSettings::default()).unwrap()
}

async fn arrival(cluster: &Cluster, first: &str, last: &str, records: Option<i64>) {
    let admin = Admin::new(cluster).unwrap();
    let start = end(&admin, first).await;
    let consumer = reader(cluster, last).await;
    println!("{}", json!({ "ready": unix() }));
    while end(&admin, first).await == start {
        tokio::time::sleep(END_INTERVAL).await;
    }
    println!("{}", json!({ "first": unix() }));
    match records {
        Some(records) => {
            while end(&admin, first).await < start + records {
                tokio::time::sleep(END_INTERVAL).await;
            }
        }
        None => while !matches!(consumer.next().await, Ok(Event::Record(_))) {},
    }
    println!("{}", json!({ "last": unix() }));
}

/// The first records of a topic, at most so many, and the number of all of them.
async fn records_of(cluster: &Cluster, topic: &str, kept_max: usize) -> (Vec<OwnedRecord>, u64) {
    let partitions = [(TopicPartition::new(topic, 0), StartAt::Earliest)];
    let settings = ConsumerSettings { tell_end: true, ..ConsumerSettings::default() };
    let consumer = Consumer::assign(cluster, &partitions, &settings).unwrap();
    let (mut kept, mut count) = (Vec::new(), 0);
    loop {
        match consumer.next().await {
            Ok(Event::Record(record)) => {
                count += 1;
                if kept_max == usize::MAX {
                    continue;
                }
                kept.push(record.to_owned());
                if kept.len() == kept_max {
                    return (kept, count);
                }
            }
            Ok(Event::End(_)) => return (kept, count),
            Ok(_) | Err(_) => {}
        }
    }
}

/// Percentiles of some milliseconds, as facts named after `name`.
fn percentiles(name: &str, mut values: Vec<f64>) -> serde_json::Value {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (share * values.len() as f64) as usize;
        values.get(index.min(values.len().saturating_sub(1))).map(|value| (value * 100.0).round() / 100.0)
    };
    json!({ "what": name, "samples": values.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0) })
}

fn ms(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_secs_f64() * 1000.0
}

/// When each key of the topic was read, until `count` of them were.
async fn read_keys(consumer: Consumer, count: usize, key: fn(&[u8]) -> i64) -> HashMap<i64, Instant> {
    let mut read = HashMap::with_capacity(count);
    while read.len() < count {
        match tokio::time::timeout(PATIENCE, consumer.next()).await {
            Ok(Ok(Event::Record(record))) => {
                read.insert(key(record.key().unwrap_or_default()), Instant::now());
            }
            Ok(_) => {}
            Err(_elapsed) => break,
        }
    }
    read
}

/// A key of one integer in Confluent's frame.
fn avro_key(bytes: &[u8]) -> i64 {
    let zigzag = bytes[5..].iter().enumerate().fold(0_u64, |all, (at, byte)| all | (u64::from(byte & 127) << (7 * at)));
    (zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed())
}

async fn latency(
    cluster: &Cluster,
    postgres: &str,
    topic: &str,
    insert: &str,
    (rate, seconds, connections): (u32, u32, u32),
) {
    let consumer = reader(cluster, topic).await;
    let count = rate * seconds;
    let reading = tokio::spawn(read_keys(consumer, count as usize, avro_key));
    // The consumer's first fetch is on its way.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    let mut writing = Vec::new();
    for connection in 0..connections {
        let (client, runs) = tokio_postgres::connect(postgres, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(runs);
        let statement = client.prepare(insert).await.unwrap();
        writing.push(tokio::spawn(async move {
            let mut commits = Vec::new();
            for number in (connection..count).step_by(connections as usize) {
                let due = begin + Duration::from_secs(1) + Duration::from_secs(1) * number / rate;
                tokio::time::sleep_until(due.into()).await;
                let sent = Instant::now();
                let id: i32 = client.query_one(&statement, &[]).await.unwrap().get(0);
                commits.push((i64::from(id), due, sent, Instant::now()));
            }
            commits
        }));
    }
    let mut commits = Vec::new();
    for writer in writing {
        commits.extend(writer.await.unwrap());
    }
    let read = reading.await.unwrap();
    let took = commits.iter().filter_map(|(id, _, _, committed)| Some(ms(*committed, *read.get(id)?)));
    println!("{}", percentiles("latency", took.collect()));
    println!("{}", percentiles("commit", commits.iter().map(|(_, _, sent, done)| ms(*sent, *done)).collect()));
    println!("{}", percentiles("late", commits.iter().map(|(_, due, sent, _)| ms(*due, *sent)).collect()));
    println!("{}", json!({ "sent": commits.len(), "read": read.len() }));
}

async fn transactions(cluster: &Cluster, topic: &str, rate: u32, seconds: u32) {
    let consumer = reader(cluster, topic).await;
    let count = rate * seconds;
    let reading = tokio::spawn(read_keys(consumer, count as usize, |key| i64::from_be_bytes(key.try_into().unwrap())));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (cluster, topic) = (cluster.clone(), topic.to_owned());
    let writing = thread::spawn(move || {
        let settings = TransactionSettings::new(format!("cdc-probe-{}", std::process::id()));
        let producer = TransactionalProducer::new(&cluster, settings, CancellationToken::new()).unwrap();
        producer.init().unwrap();
        let value = vec![b'v'; 180];
        let begin = Instant::now();
        let mut done = Vec::new();
        for number in 0..count {
            let due = begin + Duration::from_secs(1) * number / rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let sent = Instant::now();
            producer.begin().unwrap();
            let key = i64::from(number).to_be_bytes();
            producer.send(RecordOut::to(&topic).key(&key).value(&value)).unwrap();
            producer.commit().unwrap();
            done.push((i64::from(number), sent, Instant::now()));
        }
        done
    });
    let done = tokio::task::spawn_blocking(move || writing.join().unwrap()).await.unwrap();
    let read = reading.await.unwrap();
    let took = done.iter().filter_map(|(number, sent, _)| Some(ms(*sent, *read.get(number)?)));
    println!("{}", percentiles("latency", took.collect()));
    println!("{}", percentiles("commit", done.iter().map(|(_, sent, committed)| ms(*sent, *committed)).collect()));
}

async fn produce(cluster: &Cluster, from: &str, to: &str, records: usize, librdkafka: bool) {
    let (examples, _) = records_of(cluster, from, 100_000).await;
    assert!(!examples.is_empty(), "{from} is empty");
    let (cluster, to) = (cluster.clone(), to.to_owned());
    let sent = move || match librdkafka {
        true => by_librdkafka(&cluster, &to, &examples, records),
        false => by_ours(&cluster, &to, &examples, records),
    };
    let seconds = tokio::task::spawn_blocking(sent).await.unwrap();
    println!("{}", json!({ "seconds": seconds, "records": records }));
}

fn by_ours(cluster: &Cluster, to: &str, examples: &[OwnedRecord], records: usize) -> f64 {
    let headers: Headers = examples[0].headers.iter().cloned().collect();
    let mut settings = TransactionSettings::new(format!("cdc-probe-{}", std::process::id()));
    // One transaction over all of it is none, as far as speed goes.
    settings.transaction_timeout = Duration::from_secs(600);
    let producer = TransactionalProducer::new(cluster, settings, CancellationToken::new()).unwrap();
    producer.init().unwrap();
    producer.begin().unwrap();
    let begin = Instant::now();
    for record in examples.iter().cycle().take(records) {
        let mut out = RecordOut::to(to).headers(&headers);
        (out.key, out.value) = (record.key.as_deref(), record.value.as_deref());
        producer.send(out).unwrap();
    }
    producer.commit().unwrap();
    begin.elapsed().as_secs_f64()
}

/// As `topics/examples/producer_cost.rs` sets it up.
fn by_librdkafka(cluster: &Cluster, to: &str, examples: &[OwnedRecord], records: usize) -> f64 {
    let headers = examples[0]
        .headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: value.as_deref() }));
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", cluster.bootstrap())
        .set("transactional.id", format!("cdc-probe-librdkafka-{}", std::process::id()))
        .set("transaction.timeout.ms", "600000")
        .set("linger.ms", "5")
        .set("batch.size", "1000000")
        .set("batch.num.messages", "100000")
        .set("queue.buffering.max.kbytes", "32768")
        .set("compression.type", "lz4")
        .create()
        .unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    let begin = Instant::now();
    for record in examples.iter().cycle().take(records) {
        let mut out = BaseRecord::<[u8], [u8]>::to(to).headers(headers.clone());
        (out.key, out.payload) = (record.key.as_deref(), record.value.as_deref());
        while let Err((error, again)) = producer.send(out) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
            out = again;
            thread::sleep(Duration::from_millis(1));
        }
    }
    producer.commit_transaction(PATIENCE).unwrap();
    begin.elapsed().as_secs_f64()
}
