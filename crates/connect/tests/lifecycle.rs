//! Tasks live, fail, come back; state survives the worker; several workers share it.

use std::time::Duration;

use serde_json::{Value, json};
use topics::{Cluster, CompactedReader, Producer, ProducerSettings, RecordOut};

use crate::fixture::{End, Scripted, Worker, state_topics};

fn source(name: &str) -> Value {
    json!({ "name": name, "config": {
        "connector.class": "PostgresConnector", "topic.prefix": "s", "database.hostname": "h",
        "database.password": "${env:PATH}", "tasks.max": "1",
    } })
}

fn sink(name: &str) -> Value {
    json!({ "name": name, "config": {
        "connector.class": "io.confluent.connect.s3.S3SinkConnector", "topics": "t", "s3.bucket.name": "raw", "tasks.max": "2",
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_failure_restarts_by_itself_and_a_definite_one_waits_for_a_person() {
    let ends =
        vec![End::Retries("postgres is away"), End::Panics, End::Fails("slot is lost: recreate it".into()), End::Runs];
    let plugin = Scripted::source(ends);
    let worker = Worker::start(&state_topics(), "w:1", vec![plugin.clone()]).await;
    assert_eq!(worker.post("/connectors", &source("a")).await.0, 201);
    worker.wait_task("a", 0, "FAILED").await;
    let (_, status) = worker.get("/connectors/a/tasks/0/status").await;
    assert!(status["trace"].as_str().unwrap().contains("task panicked: index out of bounds"), "{status}");
    assert_eq!(plugin.start_count(), 2, "restarted once by itself, then stayed FAILED");

    assert_eq!(worker.call("POST", "/connectors/a/tasks/0/restart", None, "").await.0, 204);
    let failed =
        async || worker.get("/connectors/a/status").await.1["tasks"][0]["trace"] == "slot is lost: recreate it";
    testkit::wait_until("the trace names the cure", Duration::from_secs(20), failed).await;

    let restart = "/connectors/a/restart?includeTasks=true&onlyFailed=true";
    assert_eq!(worker.call("POST", restart, None, "").await.0, 202);
    worker.wait_task("a", 0, "RUNNING").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn references_reach_the_task_resolved_and_are_shown_unresolved() {
    let plugin = Scripted::source(vec![End::Runs]);
    let worker = Worker::start(&state_topics(), "w:1", vec![plugin.clone()]).await;
    worker.post("/connectors", &source("a")).await;
    worker.wait_task("a", 0, "RUNNING").await;
    assert_eq!(plugin.starts.lock().unwrap()[0]["database.password"], std::env::var("PATH").unwrap());
    let (_, tasks) = worker.get("/connectors/a/tasks").await;
    assert_eq!(tasks[0]["config"]["database.password"], "${env:PATH}");

    let mut missing = source("b");
    missing["config"]["database.password"] = "${env:HAUS_NO_SUCH_VARIABLE}".into();
    worker.post("/connectors", &missing).await;
    worker.wait_task("b", 0, "FAILED").await;
    let (_, status) = worker.get("/connectors/b/tasks/0/status").await;
    assert!(status["trace"].as_str().unwrap().contains("HAUS_NO_SUCH_VARIABLE is not set"), "{status}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_in_no_answer_and_survives_being_put_back_masked() {
    let plugin = Scripted::source(vec![End::Fails("login with hunter22 refused".into())]);
    let worker = Worker::start(&state_topics(), "w:1", vec![plugin.clone()]).await;
    let mut config = source("a");
    config["config"]["database.password"] = "hunter22".into();
    let mut answers = vec![worker.post("/connectors", &config).await.1];
    worker.wait_task("a", 0, "FAILED").await;
    for path in [
        "/connectors?expand=info&expand=status",
        "/connectors/a",
        "/connectors/a/config",
        "/connectors/a/tasks",
        "/connectors/a/status",
    ] {
        answers.push(worker.get(path).await.1);
    }
    let mut shown = worker.get("/connectors/a/config").await.1;
    shown["slot.name"] = "other".into();
    answers.push(worker.put("/connectors/a/config", &shown).await.1);
    answers.push(worker.put("/connector-plugins/PostgresConnector/config/validate", &config["config"]).await.1);
    let text = serde_json::to_string(&answers).unwrap();
    assert!(!text.contains("hunter22"), "{text}");
    testkit::wait_until("the task starts with the new config", Duration::from_secs(20), async || {
        plugin.starts.lock().unwrap().iter().any(|start| start.get("slot.name").is_some_and(|slot| slot == "other"))
    })
    .await;
    assert_eq!(plugin.starts.lock().unwrap().last().unwrap()["database.password"], "hunter22");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connectors_come_back_after_a_restart_of_the_worker_as_they_were() {
    let topics = state_topics();
    let worker = Worker::start(&topics, "w:1", vec![Scripted::source(vec![])]).await;
    for name in ["runs", "paused", "stopped", "deleted"] {
        worker.post("/connectors", &source(name)).await;
        worker.wait_task(name, 0, "RUNNING").await;
    }
    worker.call("PUT", "/connectors/paused/pause", None, "").await;
    worker.call("PUT", "/connectors/stopped/stop", None, "").await;
    worker.call("DELETE", "/connectors/deleted", None, "").await;
    worker.wait_task("paused", 0, "PAUSED").await;
    testkit::wait_until("the deleted one's status is gone", Duration::from_secs(10), async || {
        worker.get("/connectors/deleted/status").await.0 == 404
    })
    .await;
    worker.stop().await;

    let plugin = Scripted::source(vec![]);
    let worker = Worker::start(&topics, "w:1", vec![plugin.clone()]).await;
    assert_eq!(worker.get("/connectors").await.1, json!(["paused", "runs", "stopped"]));
    worker.wait_task("runs", 0, "RUNNING").await;
    testkit::wait_until("one task runs", Duration::from_secs(10), async || plugin.start_count() == 1).await;
    assert_eq!(worker.get("/connectors/stopped/status").await.1["connector"]["state"], "STOPPED");
    assert_eq!(worker.get("/connectors/paused/status").await.1["connector"]["state"], "PAUSED");
    assert_eq!(worker.get("/connectors/deleted/status").await.0, 404);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_of_a_connector_deleted_while_its_worker_was_dead_are_forgotten() {
    let topics = state_topics();
    let relay = Worker::start(&topics, "relay:8083", vec![Scripted::source(vec![])]).await;
    relay.post("/connectors", &source("a")).await;
    relay.wait_task("a", 0, "RUNNING").await;
    relay.stop().await;
    let sink_worker = Worker::start(&topics, "sink:8084", vec![Scripted::sink(vec![])]).await;
    assert_eq!(sink_worker.call("DELETE", "/connectors/a", None, "").await.0, 204);
    let relay = Worker::start(&topics, "relay:8083", vec![Scripted::source(vec![])]).await;
    for worker in [&relay, &sink_worker] {
        testkit::wait_until("it is forgotten", Duration::from_secs(10), async || {
            worker.get("/connectors/a/status").await.0 == 404
                && worker.get("/connectors/a/tasks/0/status").await.0 == 404
        })
        .await;
    }
    relay.stop().await;
    sink_worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn either_worker_takes_a_connector_and_the_one_with_the_class_runs_it() {
    let topics = state_topics();
    let sinks = Scripted::sink(vec![]);
    let relay = Worker::start(&topics, "relay:8083", vec![Scripted::source(vec![])]).await;
    let sink_worker = Worker::start(&topics, "sink:8084", vec![sinks.clone()]).await;
    assert_eq!(relay.post("/connectors", &sink("s3")).await.0, 201);
    assert_eq!(sink_worker.post("/connectors", &source("pg")).await.0, 201);
    relay.wait_task("s3", 1, "RUNNING").await;
    sink_worker.wait_task("pg", 0, "RUNNING").await;
    for worker in [&relay, &sink_worker] {
        let ready = async || {
            let (_, all) = worker.get("/connectors?expand=status").await;
            all["s3"]["status"]["tasks"][1]["worker_id"] == "sink:8084"
                && all["pg"]["status"]["tasks"][0]["worker_id"] == "relay:8083"
        };
        testkit::wait_until("both workers show both connectors", Duration::from_secs(10), ready).await;
    }
    assert_eq!(sinks.start_count(), 2);
    assert_eq!(relay.call("POST", "/connectors/s3/restart?includeTasks=true", None, "").await.0, 202);
    testkit::wait_until("the tasks were restarted", Duration::from_secs(10), async || sinks.start_count() == 4).await;
    assert_eq!(relay.call("DELETE", "/connectors/s3", None, "").await.0, 204);
    testkit::wait_until("it is gone on both", Duration::from_secs(10), async || {
        sink_worker.get("/connectors/s3/status").await.0 == 404 && relay.get("/connectors/s3/status").await.0 == 404
    })
    .await;
    relay.stop().await;
    sink_worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_the_plugin_refuses_is_shown_as_failed_when_the_other_worker_took_it() {
    let topics = state_topics();
    let relay = Worker::start(&topics, "relay:8083", vec![Scripted::source(vec![])]).await;
    let sink_worker = Worker::start(&topics, "sink:8084", vec![Scripted::sink(vec![])]).await;
    let mut config = sink("s3");
    config["config"].as_object_mut().unwrap().remove("s3.bucket.name");
    assert_eq!(sink_worker.post("/connectors", &config).await.0, 400);
    assert_eq!(relay.post("/connectors", &config).await.0, 201);
    let failed = async || {
        let (_, status) = relay.get("/connectors/s3/status").await;
        status["connector"]["state"] == "FAILED"
            && status["connector"]["trace"].as_str().unwrap().contains("s3.bucket.name")
    };
    testkit::wait_until("the refusal is shown", Duration::from_secs(10), failed).await;
    relay.stop().await;
    sink_worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jvm_worker_without_the_class_does_not_make_a_running_sink_look_failed() {
    let topics = state_topics();
    let relay = Worker::start(&topics, "relay:8083", vec![Scripted::source(vec![])]).await;
    let sink_worker = Worker::start(&topics, "sink:8084", vec![Scripted::sink(vec![])]).await;
    assert_eq!(sink_worker.post("/connectors", &sink("s3")).await.0, 201);
    relay.wait_task("s3", 1, "RUNNING").await;

    // Recorded from Kafka Connect 4.3 on the same topics, shortened.
    let no_class = "org.apache.kafka.connect.errors.ConnectException: Failed to find any class that implements Connector and \
                    which name matches io.confluent.connect.s3.S3SinkConnector, available connectors are: ";
    let no_type = "org.apache.kafka.connect.errors.ConnectException: Failed to start task s3-1 since it is not a recognizable \
                   type (source or sink)\n\tat org.apache.kafka.connect.runtime.distributed.DistributedHerder.startTask";
    let cluster = Cluster::new(&testkit::kafka().await.bootstrap, "jvm-worker");
    let producer = Producer::new(&cluster, &ProducerSettings::default()).unwrap();
    let statuses = format!("{topics}_statuses");
    for (key, trace) in [("status-connector-s3", no_class), ("status-task-s3-1", no_type)] {
        let said = json!({ "state": "FAILED", "trace": trace, "worker_id": "kafka-connect:8083", "generation": 1, "version": null });
        producer.send(RecordOut::to(&statuses).key(key.as_bytes()).value(said.to_string().as_bytes())).await.unwrap();
    }

    for key in ["status-connector-s3", "status-task-s3-1"] {
        testkit::wait_until("its worker says again how it is", Duration::from_secs(20), async || {
            let last = last_value(&cluster, &statuses, key).await;
            last["state"] == "RUNNING" && last["worker_id"] == "sink:8084"
        })
        .await;
    }
    for worker in [&relay, &sink_worker] {
        let (_, status) = worker.get("/connectors/s3/status").await;
        assert_eq!(
            (&status["connector"]["state"], &status["tasks"][1]["state"]),
            (&json!("RUNNING"), &json!("RUNNING"))
        );
    }
    relay.stop().await;
    sink_worker.stop().await;
}

/// What the topic says last under a key: what a compacted topic keeps.
async fn last_value(cluster: &Cluster, topic: &str, key: &str) -> Value {
    let mut reader = CompactedReader::open(cluster, topic).await.unwrap();
    let mut last = Value::Null;
    while let Some(record) = reader.next_to_end().await.unwrap() {
        if record.key.as_deref() == Some(key.as_bytes()) {
            last = serde_json::from_slice(record.value.as_deref().unwrap_or(b"null")).unwrap();
        }
    }
    last
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_reaches_the_running_task_and_brings_its_answer() {
    let plugin = Scripted::source(vec![End::Runs]);
    let worker = Worker::start(&state_topics(), "w:1", vec![plugin]).await;
    let signal = json!({ "type": "log", "data": { "message": "m" } });
    assert_eq!(worker.post("/connectors/a/signals", &signal).await.0, 404);
    worker.post("/connectors", &source("a")).await;
    worker.wait_task("a", 0, "RUNNING").await;
    assert_eq!(worker.post("/connectors/a/signals", &signal).await, (202, signal.clone()));
    let (status, refusal) = worker.post("/connectors/a/signals", &json!({ "refuse": true })).await;
    assert_eq!((status, refusal["message"].as_str().unwrap()), (400, "it cannot be"));
    assert_eq!(worker.put("/connectors/a/pause", &Value::Null).await.0, 202);
    worker.wait_task("a", 0, "PAUSED").await;
    let (status, refusal) = worker.post("/connectors/a/signals", &signal).await;
    assert_eq!(status, 409, "{refusal}");
    worker.stop().await;
}
