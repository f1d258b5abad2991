//! `errors.*`: bad records passed over, kept, or fatal; passing failures given up in time.

use std::time::Duration;

use serde_json::{Value, json};
use topics::{Cluster, read_to_end};

use crate::fixture::{End, Scripted, Worker, state_topics};

fn sink(settings: &[(&str, &str)]) -> Value {
    let mut config = json!({
        "connector.class": "io.confluent.connect.s3.S3SinkConnector", "topics": "t", "s3.bucket.name": "raw", "tasks.max": "1",
    });
    for (name, value) in settings {
        config[*name] = (*value).into();
    }
    json!({ "name": "s3", "config": config })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_record_is_kept_as_it_was_and_the_task_goes_on() {
    let topic = testkit::fresh_name("dead");
    let worker = Worker::start(&state_topics(), "w:1", vec![Scripted::sink(vec![End::MeetsBadRecord])]).await;
    let config = sink(&[
        ("errors.tolerance", "all"),
        ("errors.deadletterqueue.topic.name", &topic),
        ("errors.deadletterqueue.topic.replication.factor", "1"),
        ("errors.deadletterqueue.context.headers.enable", "true"),
    ]);
    assert_eq!(worker.post("/connectors", &config).await.0, 201);
    let cluster = Cluster::new(&testkit::kafka().await.bootstrap, "test");
    let record = testkit::wait_until("the dead letter is there", Duration::from_secs(30), async || {
        read_to_end(&cluster, &topic).await.ok()?.into_iter().next()
    })
    .await;
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"k"[..]), Some(&b"not avro"[..])));
    assert_eq!(record.timestamp_ms, Some(1_700_000_000_000));
    let text = |name: &str| {
        let found = record.headers.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.clone());
        String::from_utf8(found.unwrap_or_default()).unwrap()
    };
    assert_eq!(text("trace"), "7", "headers of the record go along");
    assert_eq!(text("__connect.errors.offset"), "14");
    assert_eq!(text("__connect.errors.connector.name"), "s3");
    assert_eq!(text("__connect.errors.exception.message"), "no magic byte");
    assert_eq!(worker.task_state("s3", 0).await, "RUNNING");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tolerance_a_bad_record_fails_the_task_with_the_cure() {
    let worker = Worker::start(&state_topics(), "w:1", vec![Scripted::sink(vec![End::MeetsBadRecord])]).await;
    assert_eq!(worker.post("/connectors", &sink(&[])).await.0, 201);
    worker.wait_task("s3", 0, "FAILED").await;
    let (_, status) = worker.get("/connectors/s3/tasks/0/status").await;
    let trace = status["trace"].as_str().unwrap();
    assert!(trace.contains("t-3 offset 14: no magic byte") && trace.contains("errors.tolerance=all"), "{trace}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_with_more_copies_than_brokers_name_the_setting() {
    let topic = testkit::fresh_name("dead");
    let worker = Worker::start(&state_topics(), "w:1", vec![Scripted::sink(vec![End::MeetsBadRecord])]).await;
    let config = sink(&[("errors.tolerance", "all"), ("errors.deadletterqueue.topic.name", &topic)]);
    assert_eq!(worker.post("/connectors", &config).await.0, 201);
    worker.wait_task("s3", 0, "FAILED").await;
    let (_, status) = worker.get("/connectors/s3/tasks/0/status").await;
    let trace = status["trace"].as_str().unwrap();
    assert!(
        trace.contains("Could not initialize dead letter queue") && trace.contains("replication.factor (now 3)"),
        "{trace}"
    );
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_failure_is_given_up_when_the_connector_says_so() {
    let plugin = Scripted::sink(vec![End::Retries("S3 is away")]);
    let worker = Worker::start(&state_topics(), "w:1", vec![plugin.clone()]).await;
    let config = sink(&[("errors.retry.timeout", "1000"), ("errors.retry.delay.max.ms", "100")]);
    assert_eq!(worker.post("/connectors", &config).await.0, 201);
    worker.wait_task("s3", 0, "FAILED").await;
    assert!(plugin.start_count() > 2, "tried again before: {}", plugin.start_count());
    let (_, status) = worker.get("/connectors/s3/tasks/0/status").await;
    let trace = status["trace"].as_str().unwrap();
    assert!(trace.contains("S3 is away") && trace.contains("errors.retry.timeout=1000"), "{trace}");
    worker.stop().await;
}
