//! State topics are read to the end that stood when asked, and can be followed from there.

use topics::{CompactedReader, ConsumeError, read_to_end};

use super::{DEADLINE, blocking, cluster, fresh_topic, producer, record, settled, values};

#[tokio::test]
async fn everything_up_to_the_end_is_returned_and_then_new_records_follow() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 3).await;
    let producer = producer(&cluster, &testkit::fresh_name("tx")).await;
    let name = topic.clone();
    let producer = blocking(move || {
        for round in 0..3 {
            producer.begin().unwrap();
            for key in 0..10 {
                producer.send(record(&name, &key.to_string(), &format!("{round}/{key}"))).unwrap();
            }
            producer.commit().unwrap();
        }
        producer
    })
    .await;
    settled(&cluster, &topic).await;
    let mut reader = CompactedReader::open(&cluster, &topic).await.unwrap();
    let mut count = 0;
    while let Some(_record) = tokio::time::timeout(DEADLINE, reader.next_to_end()).await.unwrap().unwrap() {
        count += 1;
    }
    assert_eq!(count, 30);
    let name = topic.clone();
    blocking(move || {
        producer.begin().unwrap();
        producer.send(record(&name, "new", "news")).unwrap();
        producer.commit().unwrap();
    })
    .await;
    let followed = tokio::time::timeout(DEADLINE, reader.follow()).await.unwrap().unwrap();
    assert_eq!(values(&[followed]), ["news"]);
}

#[tokio::test]
async fn an_empty_topic_is_read_to_its_end_at_once() {
    let cluster = cluster().await;
    let topic = fresh_topic(&cluster, 2).await;
    assert!(read_to_end(&cluster, &topic).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_topic_that_does_not_exist_is_an_error_that_names_it() {
    let cluster = cluster().await;
    let topic = testkit::fresh_name("no_such");
    let error = read_to_end(&cluster, &topic).await.unwrap_err();
    assert!(matches!(&error, ConsumeError::Refused { reason } if reason.contains(&topic)), "{error}");
}
