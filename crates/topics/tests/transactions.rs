//! Exactly once: what readers see of transactions that commit, abort, or lose their producer.

use std::time::Instant;

use serde_json::json;
use topics::{ConnectOffset, Headers, Offset, ProduceError, RecordOut, TopicPartition, read_to_end};

use super::{DEADLINE, blocking, cluster, fresh_topic, producer, read, read_settled, record, settled, values};

#[tokio::test]
async fn records_of_an_aborted_transaction_are_never_seen() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    let producer = producer(&cluster, &testkit::fresh_name("tx")).await;
    let name = topic.clone();
    blocking(move || {
        producer.begin().unwrap();
        producer.send(record(&name, "a", "thrown away")).unwrap();
        producer.abort().unwrap();
        producer.begin().unwrap();
        producer.send(record(&name, "a", "kept")).unwrap();
        producer.commit().unwrap();
    })
    .await;
    let (_, records) = read(&cluster, &topic, 1).await;
    assert_eq!(values(&records), ["kept"]);
    assert_eq!(values(&read_settled(&cluster, &topic).await), ["kept"]);
}

#[tokio::test]
async fn an_abort_with_records_still_queued_succeeds_and_the_producer_goes_on() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    let producer = producer(&cluster, &testkit::fresh_name("tx")).await;
    let name = topic.clone();
    blocking(move || {
        producer.begin().unwrap();
        for _ in 0..20_000 {
            producer.send(record(&name, "a", "thrown away")).unwrap();
        }
        producer.abort().unwrap();
        producer.begin().unwrap();
        producer.send(record(&name, "a", "kept")).unwrap();
        producer.commit().unwrap();
    })
    .await;
    assert_eq!(values(&read_settled(&cluster, &topic).await), ["kept"]);
}

#[tokio::test]
async fn a_zombie_producer_is_fenced_and_its_open_transaction_is_aborted() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    let id = testkit::fresh_name("tx");
    let zombie = producer(&cluster, &id).await;
    let name = topic.clone();
    let zombie = blocking(move || {
        zombie.begin().unwrap();
        zombie.send(record(&name, "a", "of the zombie")).unwrap();
        zombie
    })
    .await;
    let successor = producer(&cluster, &id).await;
    let name = topic.clone();
    let (refused, successor) = blocking(move || {
        let refused = zombie.commit().unwrap_err();
        successor.begin().unwrap();
        successor.send(record(&name, "a", "of the successor")).unwrap();
        successor.commit().unwrap();
        (refused, successor)
    })
    .await;
    assert!(matches!(&refused, ProduceError::Fenced { transactional_id } if *transactional_id == id), "{refused}");
    assert_eq!(values(&read_settled(&cluster, &topic).await), ["of the successor"]);
    drop(successor);
}

#[tokio::test]
async fn the_offset_record_appears_with_the_records_or_not_at_all() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    let offsets = fresh_topic(&cluster, 5).await;
    let producer = producer(&cluster, &testkit::fresh_name("tx")).await;
    let position = |lsn: u64| ConnectOffset {
        connector: "storefront".into(),
        partition: json!({"server": "storefront"}).as_object().unwrap().clone(),
        offset: json!({ "lsn": lsn }).as_object().cloned(),
    };
    let (name, offsets_name) = (topic.clone(), offsets.clone());
    let (first, second) = (position(1), position(2));
    blocking(move || {
        for (value, offset, keep) in [("one", &first, true), ("two", &second, false)] {
            producer.begin().unwrap();
            producer.send(record(&name, "k", value)).unwrap();
            producer.send_offsets(&offsets_name, offset).unwrap();
            if keep { producer.commit().unwrap() } else { producer.abort().unwrap() }
        }
    })
    .await;
    assert_eq!(values(&read_settled(&cluster, &topic).await), ["one"]);
    let stored = read_settled(&cluster, &offsets).await;
    assert_eq!(stored.len(), 1);
    let stored = ConnectOffset::parse(stored[0].key.as_ref().unwrap(), stored[0].value.as_deref()).unwrap();
    assert_eq!(stored, position(1));
}

#[tokio::test]
async fn the_position_passes_transaction_markers_and_aborted_records() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    let producer = producer(&cluster, &testkit::fresh_name("tx")).await;
    let name = topic.clone();
    blocking(move || {
        producer.begin().unwrap();
        producer.send(record(&name, "a", "offset 0")).unwrap();
        producer.commit().unwrap(); // marker at 1
        producer.begin().unwrap();
        producer.send(record(&name, "a", "offset 2, aborted")).unwrap();
        producer.send(record(&name, "a", "offset 3, aborted")).unwrap();
        // Without this the records may never have left the queue, and the log would not have them.
        while producer.in_flight() > 0 {
            std::thread::yield_now();
        }
        producer.abort().unwrap(); // marker at 4
    })
    .await;
    let (consumer, records) = read(&cluster, &topic, 1).await;
    assert_eq!(records[0].offset, Offset(0));
    let at = TopicPartition::new(topic.as_str(), 0);
    settled(&cluster, &topic).await;
    assert_eq!(consumer.watermarks(&at).unwrap().high, Offset(5));
    let together = consumer.watermarks_of(std::slice::from_ref(&at)).unwrap();
    assert_eq!((together[&at].low, together[&at].high), (Offset(0), Offset(5)));
    testkit::wait_until("the position is behind the markers", DEADLINE, async || {
        // Markers are passed while polling; no record comes.
        let _ = consumer.try_next();
        consumer.position(&at).unwrap() == Some(Offset(5))
    })
    .await;
}

#[tokio::test]
async fn an_open_transaction_holds_back_the_end_for_readers_of_committed_records() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    let producer = producer(&cluster, &testkit::fresh_name("tx")).await;
    let name = topic.clone();
    let producer = blocking(move || {
        producer.begin().unwrap();
        producer.send(record(&name, "a", "still open")).unwrap();
        while producer.in_flight() > 0 {
            std::thread::yield_now();
        }
        producer
    })
    .await;
    let admin = topics::Admin::new(&cluster).unwrap();
    assert_eq!(admin.watermarks(&topic).await.unwrap()[0].1.high, Offset(0));
    assert!(read_to_end(&cluster, &topic).await.unwrap().is_empty());
    blocking(move || producer.commit().unwrap()).await;
    settled(&cluster, &topic).await;
    assert_eq!(admin.watermarks(&topic).await.unwrap()[0].1.high, Offset(2));
}

#[tokio::test]
async fn a_commit_does_not_wait_in_steps_of_a_hundred_milliseconds() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    let producer = producer(&cluster, &testkit::fresh_name("tx")).await;
    let mut times = blocking(move || {
        (0..30)
            .map(|_| {
                producer.begin().unwrap();
                producer.send(record(&topic, "a", "x")).unwrap();
                let start = Instant::now();
                producer.commit().unwrap();
                start.elapsed()
            })
            .collect::<Vec<_>>()
    })
    .await;
    times.sort();
    println!("commit: median {:?}, fastest {:?}, slowest {:?}", times[15], times[0], times[29]);
    assert!(times[5].as_millis() < 100, "{times:?}");
}

#[tokio::test]
async fn headers_timestamp_tombstone_and_empty_value_arrive_as_sent() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    let producer = producer(&cluster, &testkit::fresh_name("tx")).await;
    let name = topic.clone();
    blocking(move || {
        let headers = Headers::new().with("a", Some(b"1")).with("a", Some(b"")).with("none", None);
        producer.begin().unwrap();
        producer.send(record(&name, "k", "v").headers(&headers).timestamp_ms(1_700_000_000_123)).unwrap();
        producer.send(RecordOut::to(&name).key(b"k").value(b"")).unwrap();
        producer.send(RecordOut::to(&name).key(b"k").tombstone()).unwrap();
        producer.commit().unwrap();
    })
    .await;
    let (_, records) = read(&cluster, &topic, 3).await;
    assert_eq!(records[0].timestamp_ms, Some(1_700_000_000_123));
    assert_eq!(
        records[0].headers,
        [("a".into(), Some(b"1".to_vec())), ("a".into(), Some(Vec::new())), ("none".into(), None)]
    );
    assert_eq!(records[1].value, Some(Vec::new()));
    assert_eq!(records[2].value, None);
    assert!(records[2].headers.is_empty());
}

#[tokio::test]
async fn a_record_larger_than_the_broker_takes_is_refused_and_not_asked_to_be_repeated() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 1).await;
    let producer = producer(&cluster, &testkit::fresh_name("tx")).await;
    let refused = blocking(move || {
        // Does not compress below the broker's limit of a megabyte.
        let mut state = 1u64;
        let noise: Vec<u8> = (0..3 << 20)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        producer.begin().unwrap();
        let outcome = producer.send(RecordOut::to(&topic).key(b"k").value(&noise)).and_then(|()| producer.commit());
        producer.abort().unwrap();
        outcome.unwrap_err()
    })
    .await;
    assert!(matches!(refused, ProduceError::Refused { .. }), "{refused}");
}
