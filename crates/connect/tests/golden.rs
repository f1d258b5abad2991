//! The recorded tour over a JVM worker's REST API, replayed in its order.

use serde_json::Value;

use crate::fixture::{Scripted, Worker, state_topics};

struct Exchange {
    method: String,
    path: String,
    content_type: String,
    request: Option<String>,
    status: u16,
    body: Value,
}

fn recorded(file: &str) -> Exchange {
    let path = format!("{}/../../tests/golden/connect-rest/{file}.http", env!("CARGO_MANIFEST_DIR"));
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
        request: (!body.trim().is_empty()).then(|| body.trim().into()),
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

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_a_jvm_worker() {
    let worker = Worker::start(&state_topics(), "127.0.0.1:8083", vec![Scripted::source(vec![])]).await;
    for file in [
        "02-get-connectors-empty",
        "05-get-status-immediately",
        "04-post-connectors-201",
        "04b-post-connectors-201-txmeta",
    ] {
        replay(&worker, file).await;
    }
    replay_eventually(&worker, "13-get-status-RUNNING").await;
    replay_eventually(&worker, "10b-get-connectors-expand").await;
    for file in [
        "06-post-connectors-409-exists",
        "07-post-connectors-400-bad-config",
        "07d-post-connectors-no-class",
        "07f-post-connectors-no-name",
        "07g-post-connectors-name-mismatch",
        "07h-post-connectors-text-plain",
        "10-get-connectors",
        "11-get-connector",
        "12-get-config",
        "14-get-tasks",
        "14b-get-task-status",
        "14c-get-tasks-config",
    ] {
        // The order of a Java map is nobody's contract.
        if file.starts_with("07d") { sorted_message(&worker, file).await } else { replay(&worker, file).await }
    }
    replay(&worker, "17-put-config-200").await;
    replay(&worker, "17b-put-config-400").await;
    replay(&worker, "17c-patch-config-200").await;
    replay(&worker, "18-put-pause-202").await;
    replay_eventually(&worker, "18b-get-status-PAUSED").await;
    replay(&worker, "18c-delete-offsets-not-stopped-400").await;
    replay(&worker, "19-put-resume-202").await;
    replay_eventually(&worker, "13-get-status-RUNNING").await;
    replay(&worker, "20-put-stop-204").await;
    replay_eventually(&worker, "20b-get-status-STOPPED").await;
    replay(&worker, "20e-get-tasks-while-STOPPED").await;
    replay(&worker, "21-patch-offsets-200").await;
    replay(&worker, "20c-get-offsets-while-STOPPED").await;
    replay(&worker, "21b-patch-offsets-unknown-partition-200").await;
    replay(&worker, "21c-patch-offsets-400-empty").await;
    replay(&worker, "22-put-resume-202-from-stopped").await;
    replay_eventually(&worker, "13-get-status-RUNNING").await;
    replay(&worker, "23-post-restart-204").await;
    replay(&worker, "23b-post-restart-includeTasks-202").await;
    replay_eventually(&worker, "23c-get-status-after-restart").await;
    replay(&worker, "23d-post-restart-onlyFailed-202").await;
    replay(&worker, "23e-post-task-restart-204").await;
    replay_eventually(&worker, "23c-get-status-after-restart").await;
    replay(&worker, "24-put-topics-reset-202").await;
    for file in ["30d-put-validate-class-mismatch", "30e-put-validate-unknown-plugin", "31b-get-plugin-config-404"] {
        replay(&worker, file).await;
    }
    replay_missing(&worker).await;
    replay(&worker, "52-post-connectors-initial-state-stopped").await;
    replay(&worker, "52b-get-offsets-empty").await;
    replay(&worker, "53-delete-offsets-200").await;
    replay(&worker, "54-delete-204").await;
    replay(&worker, "54b-delete-again-404").await;
    replay(&worker, "55-put-config-create-201").await;
    replay(&worker, "55b-delete-204").await;
    worker.stop().await;
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
