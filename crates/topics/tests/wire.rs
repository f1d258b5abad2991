//! The producer's own protocol against a real broker: both kinds of transactions, lost answers, a broker that is away.

use std::time::{Duration, Instant};

use bytes::{BufMut as _, BytesMut};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader, UpdateFeaturesRequest, UpdateFeaturesResponse};
use kafka_protocol::protocol::{Decodable as _, Encodable as _, StrBytes};
use testkit::own::OwnKafka;
use testkit::{Fault, Proxy, kafka_api};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use topics::{
    Cluster, Compression, OwnedRecord, ProduceError, RecordOut, SendOutcome, TransactionSettings,
    TransactionalProducer, read_to_end,
};

use super::{DEADLINE, blocking, cluster, fresh_topic, producer, read_settled, record};

/// Sets the cluster's `transaction.version`.
async fn set_transaction_version(bootstrap: &str, level: i16) {
    let mut stream = tokio::net::TcpStream::connect(bootstrap).await.unwrap();
    let update = FeatureUpdateKey::default()
        .with_feature(StrBytes::from_static_str("transaction.version"))
        .with_max_version_level(level)
        // Up, or down where nothing is lost by it.
        .with_upgrade_type(if level == 2 { 1 } else { 2 });
    let request = UpdateFeaturesRequest::default().with_timeout_ms(10_000).with_feature_updates(vec![update]);
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::UpdateFeatures as i16)
        .with_request_api_version(1)
        .with_correlation_id(1);
    let mut body = BytesMut::new();
    header.encode(&mut body, ApiKey::UpdateFeatures.request_header_version(1)).unwrap();
    request.encode(&mut body, 1).unwrap();
    let mut frame = BytesMut::new();
    frame.put_i32(i32::try_from(body.len()).unwrap());
    frame.extend_from_slice(&body);
    stream.write_all(&frame).await.unwrap();
    let length = stream.read_i32().await.unwrap();
    let mut answer = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut answer).await.unwrap();
    let mut answer = bytes::Bytes::from(answer);
    ResponseHeader::decode(&mut answer, ApiKey::UpdateFeatures.response_header_version(1)).unwrap();
    let answer = UpdateFeaturesResponse::decode(&mut answer, 1).unwrap();
    let refused = answer.results.iter().any(|result| result.error_code != 0);
    assert!(answer.error_code == 0 && !refused, "{answer:?}");
}

/// Sends numbers from `from` on, each to the partition of its key.
fn send_numbers(
    producer: &TransactionalProducer,
    topic: &str,
    numbers: std::ops::Range<u32>,
) -> Result<(), ProduceError> {
    for number in numbers {
        let (key, value) = ((number % 7).to_string(), number.to_string());
        producer.send(record(topic, &key, &value))?;
    }
    Ok(())
}

/// Each of the numbers once, and in order within each partition.
fn assert_once_and_in_order(records: &[OwnedRecord], numbers: impl Iterator<Item = u32>) {
    let number = |record: &OwnedRecord| -> u32 {
        std::str::from_utf8(record.value.as_deref().unwrap()).unwrap().parse().unwrap()
    };
    let mut found: Vec<u32> = records.iter().map(number).collect();
    for partition in 0..8 {
        let there: Vec<u32> = records.iter().filter(|one| one.partition.0 == partition).map(number).collect();
        assert!(there.is_sorted(), "partition {partition}: {there:?}");
    }
    found.sort_unstable();
    assert_eq!(found, numbers.collect::<Vec<_>>());
}

/// Commits, aborts, lost answers, a zombie; `adds`: partitions are added by requests of their own.
async fn everything_once(server: &str, adds: bool) {
    let direct = Cluster::new(server, "topics-tests");
    let topic = fresh_topic(&direct, 3).await;
    let proxy = Proxy::to_kafka(server).await;
    let through = Cluster::new(&proxy.address(), "topics-tests");
    let id = testkit::fresh_name("wire");
    proxy.set([Fault::LoseKafkaAnswer { api: kafka_api::INIT_PRODUCER_ID }]);
    let mut producer = std::sync::Arc::new(producer(&through, &id).await);
    assert_eq!(proxy.struck(), 1);
    let (mut next, mut struck, mut wanted) = (0, 1, Vec::new());
    let apis = [kafka_api::PRODUCE, kafka_api::END_TXN, kafka_api::END_TXN, kafka_api::PRODUCE];
    for (round, api) in apis.into_iter().cycle().take(12).enumerate() {
        let (commit, one) = (round % 3 != 2, std::sync::Arc::clone(&producer));
        proxy.set([Fault::LoseKafkaAnswer { api }]);
        let (name, numbers) = (topic.clone(), next..next + 50);
        next += 50;
        if commit {
            wanted.extend(numbers.clone());
        }
        blocking(move || {
            one.begin().unwrap();
            send_numbers(&one, &name, numbers).unwrap();
            while one.in_flight() > 0 {
                std::thread::yield_now();
            }
            if commit { one.commit().unwrap() } else { one.abort().unwrap() }
        })
        .await;
        struck += 1;
        assert_eq!(proxy.struck(), struck, "the answer was lost in round {round}");
    }
    proxy.set([Fault::LoseKafkaAnswer { api: kafka_api::ADD_PARTITIONS_TO_TXN }]);
    let (one, name, numbers) = (std::sync::Arc::clone(&producer), topic.clone(), next..next + 50);
    wanted.extend(numbers.clone());
    blocking(move || {
        one.begin().unwrap();
        send_numbers(&one, &name, numbers).unwrap();
        one.commit().unwrap();
    })
    .await;
    assert_eq!(proxy.struck(), struck + u64::from(adds), "which kind of transactions there are");
    proxy.set([]);
    testkit::wait_until("the records are visible", DEADLINE, async || {
        read_to_end(&direct, &topic).await.unwrap().len() >= wanted.len()
    })
    .await;
    assert_once_and_in_order(&read_to_end(&direct, &topic).await.unwrap(), wanted.iter().copied());

    let (one, name) = (std::sync::Arc::clone(&producer), topic.clone());
    blocking(move || {
        one.begin().unwrap();
        send_numbers(&one, &name, 1_000_000..1_000_010).unwrap();
    })
    .await;
    let zombie = std::mem::replace(&mut producer, std::sync::Arc::new(super::producer(&through, &id).await));
    let refused = blocking(move || zombie.commit().unwrap_err()).await;
    assert!(matches!(&refused, ProduceError::Fenced { transactional_id } if *transactional_id == id), "{refused}");
    assert_once_and_in_order(&read_settled(&direct, &topic).await, wanted.into_iter());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_of_transactions_write_everything_once() {
    let kafka = OwnKafka::start(|_| String::new()).await;
    let bootstrap = kafka.server.bootstrap.clone();
    set_transaction_version(&bootstrap, 2).await;
    everything_once(&bootstrap, false).await;
    set_transaction_version(&bootstrap, 1).await;
    everything_once(&bootstrap, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_restarts_amid_a_transaction_delays_it() {
    let mut kafka = OwnKafka::start(|_| String::new()).await;
    let cluster = Cluster::new(&kafka.server.bootstrap, "topics-tests");
    let topic = fresh_topic(&cluster, 3).await;
    let producer = std::sync::Arc::new(producer(&cluster, &testkit::fresh_name("wire")).await);
    let (one, name) = (std::sync::Arc::clone(&producer), topic.clone());
    blocking(move || {
        one.begin().unwrap();
        send_numbers(&one, &name, 0..1000).unwrap();
    })
    .await;
    kafka.stop().await;
    let (one, name) = (std::sync::Arc::clone(&producer), topic.clone());
    let committing = tokio::task::spawn_blocking(move || {
        send_numbers(&one, &name, 1000..2000).unwrap();
        one.commit().unwrap();
    });
    testkit::wait_until("it is told that Kafka is away", DEADLINE, async || !cluster.reachable()).await;
    assert!(!committing.is_finished());
    kafka.resume().await;
    committing.await.unwrap();
    assert!(cluster.reachable());
    // A commit is answered before its end is marked in every partition.
    testkit::wait_until("the records are visible", DEADLINE, async || {
        read_to_end(&cluster, &topic).await.unwrap().len() == 2000
    })
    .await;
    assert_once_and_in_order(&read_to_end(&cluster, &topic).await.unwrap(), 0..2000);
}

#[tokio::test]
async fn the_stop_token_ends_every_wait_for_a_broker_that_is_not_there() {
    let cluster = Cluster::new(&format!("127.0.0.1:{}", testkit::free_port()), "topics-tests");
    let stop = CancellationToken::new();
    let settings = TransactionSettings::new("nobody");
    let producer = TransactionalProducer::new(&cluster, settings, stop.clone()).unwrap();
    let waiting = tokio::task::spawn_blocking(move || (producer.init(), Instant::now()));
    testkit::wait_until("it is told that Kafka is away", DEADLINE, async || !cluster.reachable()).await;
    let stopped = Instant::now();
    stop.cancel();
    let (outcome, ended) = waiting.await.unwrap();
    assert!(matches!(outcome, Err(ProduceError::Stopped)), "{outcome:?}");
    assert!(ended - stopped < Duration::from_secs(2));
}

#[tokio::test]
async fn a_topic_or_partition_that_does_not_exist_is_not_waited_for_for_ever() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 2).await;
    let producer = producer(&cluster, &testkit::fresh_name("wire")).await;
    let refused = blocking(move || {
        producer.begin().unwrap();
        let nowhere = RecordOut::to(&topic).partition(topics::Partition(2)).value(b"v");
        let refused = producer.send(nowhere).unwrap_err();
        // The transaction is not lost by it.
        producer.send(RecordOut::to(&topic).partition(topics::Partition(1)).value(b"v")).unwrap();
        producer.commit().unwrap();
        producer.begin().unwrap();
        // Not a name that a topic may have.
        let illegal = producer.send(RecordOut::to("a/b").value(b"v")).unwrap_err();
        producer.abort().unwrap();
        [refused, illegal]
    })
    .await;
    for refused in refused {
        assert!(matches!(refused, ProduceError::Refused { .. }), "{refused}");
    }
}

#[tokio::test]
async fn the_queue_is_bounded_and_every_compression_is_read() {
    let cluster = cluster().await;
    for compression in [Compression::None, Compression::Gzip, Compression::Lz4] {
        let topic = fresh_topic(&cluster, 3).await;
        let (inner, name) = (cluster.clone(), topic.clone());
        let most = blocking(move || {
            let mut settings = TransactionSettings::new(testkit::fresh_name("wire"));
            (settings.queue_bytes_max, settings.batch_bytes_max, settings.compression) = (40_000, 10_000, compression);
            let producer = TransactionalProducer::new(&inner, settings, CancellationToken::new()).unwrap();
            producer.init().unwrap();
            producer.begin().unwrap();
            let (mut full, mut most) = (0, 0);
            for number in 0..5000_u32 {
                let (key, value) = ((number % 7).to_string(), format!("{number:0>100}"));
                while producer.try_send(record(&name, &key, &value)).unwrap() == SendOutcome::Full {
                    full += 1;
                    std::thread::yield_now();
                }
                most = most.max(producer.in_flight());
            }
            producer.commit().unwrap();
            assert_eq!(producer.in_flight(), 0);
            assert!(full > 0);
            most
        })
        .await;
        assert!(most <= 400, "{most} records of 100 bytes waited");
        testkit::wait_until("the records are visible", DEADLINE, async || {
            read_to_end(&cluster, &topic).await.unwrap().len() == 5000
        })
        .await;
        assert_once_and_in_order(&read_to_end(&cluster, &topic).await.unwrap(), 0..5000);
    }
}
