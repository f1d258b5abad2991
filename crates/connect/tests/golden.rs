//! The recorded tour over a JVM worker's REST API, replayed in its order.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::fixture::{End, Scripted, Worker, state_topics};

struct Exchange {
    method: String,
    path: String,
    content_type: String,
    request: Option<String>,
    status: u16,
    body: Value,
}

fn folder() -> String {
    format!("{}/../../tests/golden/connect-rest", env!("CARGO_MANIFEST_DIR"))
}

fn recorded(file: &str) -> Exchange {
    let path = format!("{}/{file}.http", folder());
    let text = std::fs::read_to_string(&path).expect(&path);
    let (request, answer) = text.split_once("\nHTTP/1.1 ").expect("an answer");
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut words = head.split_whitespace();
    let content_type = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap_or("");
    let (answer_head, answer_body) = answer.split_once("\n\n").unwrap_or((answer, ""));
    Exchange {
        method: words.next().unwrap().into(),
        path: words.next().unwrap().into(),
        content_type: content_type.into(),
        request: (!body.trim().is_empty()).then(|| body.trim_matches('\n').into()),
        status: answer_head[..3].parse().unwrap(),
        body: serde_json::from_str(answer_body.trim()).unwrap_or(Value::Null),
    }
}

/// The one difference on purpose: passwords come back masked.
fn masked(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                *field = if name == "database.password" { "********".into() } else { masked(field.take()) };
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = masked(item.take())),
        Value::String(text) => *text = text.replace("database.password=postgres", "database.password=********"),
        _ => {}
    }
    value
}

async fn replay(worker: &Worker, file: &str) {
    let exchange = recorded(file);
    let answer =
        worker.call(&exchange.method, &exchange.path, exchange.request.as_deref(), &exchange.content_type).await;
    assert_eq!(answer.0, exchange.status, "{file}: {}", answer.1);
    assert_eq!(answer.1, masked(exchange.body), "{file}");
}

/// Replays that show a state which comes a moment later.
async fn replay_eventually(worker: &Worker, file: &str) {
    let exchange = recorded(file);
    let expected = (exchange.status, masked(exchange.body));
    let mut last = (0, Value::Null);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while last != expected && std::time::Instant::now() < deadline {
        last = worker.call(&exchange.method, &exchange.path, exchange.request.as_deref(), &exchange.content_type).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(last, expected, "{file}");
}

/// Recordings whose answers depend on what the Postgres connector is: replayed with the relay, in its tests.
const WITH_THE_RELAY: [&str; 5] = [
    "07b-post-connectors-400-unreachable-db",
    "30-put-validate-ok",
    "30b-put-validate-errors",
    "30c-put-validate-short-name",
    "31-get-plugin-config",
];

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_a_jvm_worker() {
    let worker = Worker::start(&state_topics(), "127.0.0.1:8083", vec![Scripted::source(vec![])]).await;
    replay_the_worker_itself(&worker).await;
    replay_first_connectors(&worker).await;
    replay_life(&worker).await;
    replay_failure(&worker).await;
    replay_missing(&worker).await;
    for file in [
        "52-post-connectors-initial-state-stopped",
        "52b-get-offsets-empty",
        "53-delete-offsets-200",
        "54-delete-204",
        "54b-delete-again-404",
        "55-put-config-create-201",
        "55b-delete-204",
    ] {
        replay(&worker, file).await;
    }
    let tour = include_str!("golden.rs");
    for file in std::fs::read_dir(folder()).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches(".http");
        assert!(tour.contains(&format!("\"{name}\"")), "{name} is replayed nowhere");
    }
    let with_the_relay = include_str!("../../cdc-relay/tests/rest.rs");
    WITH_THE_RELAY.iter().for_each(|name| assert!(with_the_relay.contains(name), "{name} is replayed nowhere"));
    worker.stop().await;
}

/// `/`, `/health`, plugins and loggers: where versions and names of Java packages are the answer, its shape is compared.
async fn replay_the_worker_itself(worker: &Worker) {
    let (root, expected) = both(worker, "01-get-root").await;
    assert_eq!(keys(&root), keys(&expected));
    assert_eq!(
        root["kafka_cluster_id"].as_str().map(str::len),
        expected["kafka_cluster_id"].as_str().map(str::len),
        "{root}"
    );
    for file in ["03-get-connector-plugins", "03b-get-connector-plugins-all"] {
        let (plugins, expected) = both(worker, file).await;
        // Confluent's sink, and a transformation of a module that was not installed.
        let elsewhere = |plugin: &Value| plugin["type"] == "sink" || plugin["class"] == "io.debezium.transforms.Filter";
        for plugin in plugins.as_array().unwrap().iter().filter(|plugin| !elsewhere(plugin)) {
            let same = expected.as_array().unwrap().iter().find(|other| other["class"] == plugin["class"]);
            assert_eq!(same.expect("known to the original")["type"], plugin["type"], "{plugin}");
            assert_eq!(keys(plugin), ["class", "type", "version"]);
        }
        assert_eq!(plugins[0], expected[0], "{file}");
    }
    let (loggers, expected) = both(worker, "50-get-admin-loggers").await;
    assert_eq!(keys(&loggers["root"]), keys(&expected["root"]));
    assert_eq!(loggers["cdc_relay"], expected["io.debezium.config.Field"]);
    replay(worker, "50b-put-admin-logger").await;
    let (health, expected) = both(worker, "51-get-health").await;
    assert_eq!((&health["status"], &health["message"]), (&expected["status"], &expected["message"]));
}

async fn replay_first_connectors(worker: &Worker) {
    for file in [
        "02-get-connectors-empty",
        "05-get-status-immediately",
        "04-post-connectors-201",
        "04b-post-connectors-201-txmeta",
    ] {
        replay(worker, file).await;
    }
    replay_eventually(worker, "13-get-status-RUNNING").await;
    replay_eventually(worker, "10b-get-connectors-expand").await;
    for file in [
        "06-post-connectors-409-exists",
        "07-post-connectors-400-bad-config",
        "07e-post-connectors-malformed-json",
        "07f-post-connectors-no-name",
        "07g-post-connectors-name-mismatch",
        "07h-post-connectors-text-plain",
        "10-get-connectors",
        "11-get-connector",
        "12-get-config",
        "14-get-tasks",
        "14b-get-task-status",
        "14c-get-tasks-config",
        "30d-put-validate-class-mismatch",
        "30e-put-validate-unknown-plugin",
        "31b-get-plugin-config-404",
    ] {
        replay(worker, file).await;
    }
    sorted_message(worker, "07d-post-connectors-no-class").await;
    let (refused, expected) = both(worker, "07c-post-connectors-unknown-class").await;
    // Which classes there are, and where they lie, is the worker's own.
    let until = "location='";
    let beginning = |answer: &Value| answer["message"].as_str().unwrap().split(until).next().unwrap().to_owned();
    assert_eq!(beginning(&refused), beginning(&expected));
}

async fn replay_life(worker: &Worker) {
    replay(worker, "17-put-config-200").await;
    replay(worker, "17b-put-config-400").await;
    replay(worker, "17c-patch-config-200").await;
    replay(worker, "18-put-pause-202").await;
    replay_eventually(worker, "18b-get-status-PAUSED").await;
    replay(worker, "18c-delete-offsets-not-stopped-400").await;
    replay(worker, "19-put-resume-202").await;
    replay_eventually(worker, "13-get-status-RUNNING").await;
    replay(worker, "20-put-stop-204").await;
    replay_eventually(worker, "20b-get-status-STOPPED").await;
    for file in [
        "20e-get-tasks-while-STOPPED",
        "21-patch-offsets-200",
        "16-get-offsets",
        "20c-get-offsets-while-STOPPED",
        "20d-get-offsets-again",
        "21b-patch-offsets-unknown-partition-200",
        "21c-patch-offsets-400-empty",
        "22-put-resume-202-from-stopped",
    ] {
        replay(worker, file).await;
    }
    replay_eventually(worker, "13-get-status-RUNNING").await;
    replay(worker, "23-post-restart-204").await;
    replay(worker, "23b-post-restart-includeTasks-202").await;
    replay_eventually(worker, "23c-get-status-after-restart").await;
    replay(worker, "23d-post-restart-onlyFailed-202").await;
    replay(worker, "23e-post-task-restart-204").await;
    replay_eventually(worker, "23c-get-status-after-restart").await;
    let (topics, expected) = both(worker, "15-get-topics").await;
    let sorted = |answer: &Value| {
        let topics = answer["storefront-source"]["topics"].as_array().unwrap();
        topics.iter().map(|topic| topic.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(sorted(&topics), sorted(&expected));
    replay(worker, "24-put-topics-reset-202").await;
}

/// A task that fails for good, on a worker of its own: its trace is ours, the rest is compared.
async fn replay_failure(_: &Worker) {
    let plugin = Scripted::source(vec![End::Fails("no".into())]);
    let worker = Worker::start(&state_topics(), "127.0.0.1:8083", vec![plugin]).await;
    replay(&worker, "04-post-connectors-201").await;
    worker.wait_task("storefront-source", 0, "FAILED").await;
    for file in ["08-get-status-task-FAILED", "08b-get-task-status-FAILED"] {
        let (status, expected) = both(&worker, file).await;
        assert_eq!(untraced(status), untraced(expected), "{file}");
    }
    worker.stop().await;
}

fn untraced(mut status: Value) -> Value {
    let task = if status["tasks"].is_array() { &mut status["tasks"][0] } else { &mut status };
    assert!(task["trace"].take().is_string());
    status
}

/// Our answer and the recorded one, when the status is the same.
async fn both(worker: &Worker, file: &str) -> (Value, Value) {
    let exchange = recorded(file);
    let answer =
        worker.call(&exchange.method, &exchange.path, exchange.request.as_deref(), &exchange.content_type).await;
    assert_eq!(answer.0, exchange.status, "{file}: {}", answer.1);
    (answer.1, exchange.body)
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

async fn replay_missing(worker: &Worker) {
    for file in [
        "40a-404s-GET-connectors_nope",
        "40b-404s-GET-connectors_nope_config",
        "40c-404s-GET-connectors_nope_status",
        "40d-404s-GET-connectors_nope_tasks",
        "40e-404s-GET-connectors_nope_tasks_0_status",
        "40f-404s-GET-connectors_storefront-source_tasks_9_status",
        "40g-404s-DELETE-connectors_nope",
        "40h-404s-PUT-connectors_nope_pause",
        "40i-404s-PUT-connectors_nope_resume",
        "40j-404s-PUT-connectors_nope_stop",
        "40k-404s-POST-connectors_nope_restart",
        "40l-404s-POST-connectors_nope_restart_includeTasks=true",
        "40m-404s-POST-connectors_storefront-source_tasks_9_restart",
        "40n-404s-GET-connectors_nope_offsets",
        "40o-404s-GET-connectors_nope_topics",
        "40p-404s-GET-no_such_path",
        "40q-404s-PUT-connectors",
        "40r-404s-POST-connectors_storefront-source_config",
    ] {
        replay(worker, file).await;
    }
}

async fn sorted_message(worker: &Worker, file: &str) {
    let exchange = recorded(file);
    let answer =
        worker.call(&exchange.method, &exchange.path, exchange.request.as_deref(), &exchange.content_type).await;
    let sorted = |value: &Value| {
        let mut letters: Vec<char> = value["message"].as_str().unwrap().chars().collect();
        letters.sort_unstable();
        letters
    };
    assert_eq!(answer.0, exchange.status);
    assert_eq!(sorted(&answer.1), sorted(&masked(exchange.body)), "{}", answer.1);
}
