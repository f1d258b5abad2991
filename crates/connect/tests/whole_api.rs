//! What the recorded tour does not pass: slashes, levels of the log, positions of sinks, questions to the other worker.

use std::time::Duration;

use serde_json::{Value, json};
use topics::{Admin, Cluster, TopicPlan};

use crate::fixture::{End, Scripted, Worker, state_topics};

const SINK: &str = "io.confluent.connect.s3.S3SinkConnector";

fn sink(topic: &str) -> Value {
    json!({ "name": "s3", "config": {
        "connector.class": SINK, "topics": topic, "s3.bucket.name": "raw", "tasks.max": "1",
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_slash_is_passed_over_and_the_page_describes_the_api() {
    let worker = Worker::start(&state_topics(), "w:1", vec![Scripted::source(vec![])]).await;
    assert_eq!(worker.get("/connectors/").await, (200, json!([])));
    assert_eq!(worker.get("/connectors/?expand=info").await, (200, json!({})));
    assert_eq!(worker.get("/connectors/nope/status/").await.0, 404);
    let (_, description) = worker.get("/openapi.json").await;
    assert!(description["paths"]["/connectors/{name}/offsets"]["patch"].is_object(), "{description}");
    let page = worker.http.get(format!("{}/docs/", worker.url)).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("swagger-ui"), "{page}");
    assert!(!page.contains("https://"), "nothing is fetched from elsewhere: {page}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn levels_are_shown_changed_and_asked_of_all_workers() {
    let worker = Worker::start(&state_topics(), "w:1", vec![Scripted::source(vec![])]).await;
    let level = |level: &str| json!({ "level": level });
    assert_eq!(worker.put("/admin/loggers/objects.s3", &level("debug")).await, (200, json!(["objects::s3"])));
    let (_, shown) = worker.get("/admin/loggers/objects::s3").await;
    assert_eq!(shown["level"], "DEBUG");
    assert!(shown["last_modified"].is_u64(), "{shown}");
    let unknown = worker.get("/admin/loggers/no.such.logger").await;
    assert_eq!(unknown, (404, json!({ "error_code": 404, "message": "Logger no.such.logger not found." })));
    assert_eq!(worker.put("/admin/loggers/root", &level("loud")).await.1["message"], "invalid log level 'loud'.");
    let missing = worker.put("/admin/loggers/root", &json!({})).await;
    assert_eq!(missing.0, 400);
    assert_eq!(missing.1["message"], "Desired 'level' parameter was not specified in request.");
    let path = "/admin/loggers/io.confluent.connect.s3?scope=cluster";
    assert_eq!(worker.put(path, &level("WARN")).await, (204, Value::Null));
    testkit::wait_until("the level came by the topic", Duration::from_secs(10), async || {
        worker.get("/admin/loggers/s3_sink").await.1["level"] == "WARN"
    })
    .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sinks_positions_are_its_groups_and_are_set_shown_and_forgotten_when_stopped() {
    let topic = testkit::fresh_name("orders");
    let cluster = Cluster::new(&testkit::kafka().await.bootstrap, "test");
    Admin::new(&cluster).unwrap().create_topic(&TopicPlan::new(&topic, 2)).await.unwrap();
    let worker = Worker::start(&state_topics(), "w:1", vec![Scripted::sink(vec![])]).await;
    let name = testkit::fresh_name("s3");
    let mut config = sink(&topic);
    config["name"] = name.clone().into();
    config["initial_state"] = "stopped".into();
    let at = |partition: Value, offset: Value| json!({ "partition": { "kafka_topic": topic, "kafka_partition": partition }, "offset": offset });
    config["initial_offsets"] = json!([at(json!(1), json!({ "kafka_offset": 0 }))]);
    let created = worker.post("/connectors", &config).await;
    assert_eq!(created.0, 201, "{}", created.1);
    let path = format!("/connectors/{name}/offsets");
    assert_eq!(worker.get(&path).await.1["offsets"], json!([at(json!(1), json!({ "kafka_offset": 0 }))]));

    let change = async |offset: Value| {
        worker.call("PATCH", &path, Some(&json!({ "offsets": [offset] }).to_string()), "application/json").await
    };
    let altered = change(at(json!("0"), json!({ "kafka_offset": "0" }))).await;
    assert_eq!(altered, (200, json!({ "message": "The offsets for this connector have been altered successfully" })));
    assert_eq!(worker.get(&path).await.1["offsets"].as_array().unwrap().len(), 2);
    for (wrong, says) in [
        (json!({ "offset": null }), "The partition for a sink connector offset cannot be null or missing"),
        (json!({ "partition": { "kafka_topic": "t" } }), "must contain the keys 'kafka_topic' and 'kafka_partition'"),
        (
            at(json!("x"), Value::Null),
            "Failed to parse the following Kafka partition value in the provided offsets: 'x'",
        ),
        (at(json!(0), json!({})), "should either be null or contain the key 'kafka_offset'"),
        (at(json!(0), json!({ "kafka_offset": "x" })), "Failed to parse the following Kafka offset value"),
    ] {
        let (status, body) = change(wrong).await;
        assert_eq!(status, 400);
        assert!(body["message"].as_str().unwrap().contains(says), "{body}");
    }
    let reset = worker.call("DELETE", &path, None, "").await;
    assert_eq!(reset, (200, json!({ "message": "The offsets for this connector have been reset successfully" })));
    assert_eq!(worker.get(&path).await.1, json!({ "offsets": [] }));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_worker_tells_the_checks_the_settings_and_the_progress_of_the_others_connectors() {
    let topics = state_topics();
    let relay = Worker::start(&topics, "", vec![Scripted::source(vec![])]).await;
    let sink_worker = Worker::start(&topics, "", vec![Scripted::sink(vec![End::MeetsBadRecord])]).await;
    let mut config = sink("t");
    config["config"]["errors.tolerance"] = "all".into();
    assert_eq!(relay.post("/connectors", &config).await.0, 201);
    relay.wait_task("s3", 0, "RUNNING").await;

    config["name"] = "second".into();
    config["config"].as_object_mut().unwrap().remove("s3.bucket.name");
    let (status, refused) = relay.post("/connectors", &config).await;
    assert_eq!(status, 400, "the worker that has the class was asked: {refused}");
    assert!(refused["message"].as_str().unwrap().contains("'s3.bucket.name' value is invalid"), "{refused}");
    let path = format!("/connector-plugins/{SINK}/config");
    assert_eq!(relay.get(&path).await, sink_worker.get(&path).await);
    let metrics =
        sink_worker.http.get(format!("{}/metrics", sink_worker.url)).send().await.unwrap().text().await.unwrap();
    let line = r#"kafka_connect_connector_status{connector="s3",task="0",status="running"} 1"#;
    assert!(metrics.lines().any(|found| found == line), "{metrics}");

    testkit::wait_until("its progress is told here", Duration::from_secs(10), async || {
        relay.get("/connectors/s3/tasks/0/progress").await == (200, json!({ "met": 1 }))
    })
    .await;
    sink_worker.stop().await;
    assert_eq!(relay.get("/connectors/s3/tasks/0/progress").await.0, 404, "nobody answers any more");
    assert_eq!(relay.post("/connectors", &config).await.0, 201, "and nobody can check");
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_workers_word_stands_until_it_is_gone() {
    let topics = state_topics();
    let (first_runs, second_runs) = (Scripted::sink(vec![]), Scripted::sink(vec![]));
    let first = Worker::start(&topics, "", vec![first_runs]).await;
    assert_eq!(first.post("/connectors", &sink("t")).await.0, 201);
    first.wait_task("s3", 0, "RUNNING").await;
    let second = Worker::start(&topics, "", vec![second_runs.clone()]).await;
    testkit::wait_until("the second runs it too", Duration::from_secs(20), async || second_runs.start_count() == 1)
        .await;
    let runs_it = async || second.get("/connectors/s3/tasks/0/status").await.1["worker_id"].clone();
    assert_eq!(runs_it().await, first.address());
    let address = second.address().to_owned();
    // As by a kill: it says nothing at its end.
    first.vanish();
    testkit::wait_until("the second says so", Duration::from_secs(20), async || runs_it().await == address).await;
    assert_eq!(second.get("/connectors/s3/status").await.1["connector"]["worker_id"], address);
    second.stop().await;
}
