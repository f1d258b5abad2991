//! The relay's part of the recorded REST answers: which settings the connector has, and what it says of them.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{Binary, free_port, fresh_name, kafka, wait_until};

const FIXED: &str = "io.debezium.connector.postgresql.PostgresConnector";
/// Defaults of ours that are not Debezium's, and settings that name versions and what is installed.
const OURS: [&str; 7] = [
    "plugin.name",
    "snapshot.max.threads",
    "connector.plugin.version",
    "key.converter.plugin.version",
    "value.converter.plugin.version",
    "header.converter.plugin.version",
    "commit.interval.ms",
];

struct Relay {
    url: String,
    http: reqwest::Client,
    _process: Binary,
}

impl Relay {
    async fn start() -> Self {
        let (port, topics) = (free_port(), fresh_name("connect"));
        let process = Binary::spawn(
            "cdc-relay",
            &[
                ("CDC_RELAY_PORT", &port.to_string()),
                ("KAFKA_BOOTSTRAP_SERVERS", &kafka().await.bootstrap),
                ("CONNECT_CONFIG_TOPIC", &format!("{topics}_configs")),
                ("CONNECT_OFFSET_TOPIC", &format!("{topics}_offsets")),
                ("CONNECT_STATUS_TOPIC", &format!("{topics}_statuses")),
            ],
        );
        let relay = Self { url: format!("http://127.0.0.1:{port}"), http: reqwest::Client::new(), _process: process };
        wait_until("the relay is ready", Duration::from_secs(60), async || {
            let answer = relay.http.get(format!("{}/connectors", relay.url)).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        relay
    }

    /// Our answer to a recorded request, and the recorded answer; the statuses are the same.
    async fn both(&self, file: &str) -> (Value, Value) {
        let path = format!("{}/../../tests/golden/connect-rest/{file}.http", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).expect(&path);
        let (request, answer) = text.split_once("\nHTTP/1.1 ").unwrap();
        let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
        let mut words = head.split_whitespace();
        let method = reqwest::Method::from_bytes(words.next().unwrap().as_bytes()).unwrap();
        let mut call = self.http.request(method, format!("{}{}", self.url, words.next().unwrap()));
        if !body.trim().is_empty() {
            // The check connects to the database of the recording: to none, here.
            let body =
                body.replace("\"127.0.0.1\", \"database.port\": \"4444\"", "\"127.0.0.1\", \"database.port\": \"1\"");
            call = call.header("Content-Type", "application/json").body(body);
        }
        let ours = call.send().await.unwrap();
        let (status, expected) = answer.split_once("\n\n").unwrap();
        assert_eq!(ours.status().as_u16().to_string(), status[..3], "{file}");
        (ours.json().await.unwrap(), serde_json::from_str(expected).unwrap())
    }
}

/// The settings of a list of definitions or of validated settings, in their order, without what is ours alone.
fn comparable(list: &Value, of: &Value) -> Vec<Value> {
    let name = |entry: &Value| entry.get("definition").unwrap_or(entry)["name"].as_str().unwrap().to_owned();
    let known: Vec<String> = of.as_array().unwrap().iter().map(name).collect();
    let entries = list.as_array().unwrap().iter().filter(|entry| known.contains(&name(entry)));
    entries
        .cloned()
        .map(|mut entry| {
            let name = name(&entry);
            let value = entry["value"].as_object_mut();
            if let Some(value) = value.filter(|_| name.ends_with("converter") || name.ends_with("version")) {
                value.remove("recommended_values");
            }
            if OURS.contains(&name.as_str()) { json!(name) } else { entry }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_their_checks_are_debeziums() {
    let relay = Relay::start().await;
    let (ours, theirs) = relay.both("31-get-plugin-config").await;
    assert_eq!(comparable(&ours, &theirs), comparable(&theirs, &theirs));
    let further = ours.as_array().unwrap().iter().filter(|entry| entry["name"] == "batch.bytes.max");
    assert_eq!(further.count(), 1, "our own settings are shown too");

    let (ours, theirs) = relay.both("30b-put-validate-errors").await;
    assert_eq!((&ours["name"], &ours["error_count"]), (&theirs["name"], &theirs["error_count"]));
    assert_eq!(comparable(&ours["configs"], &theirs["configs"]), comparable(&theirs["configs"], &theirs["configs"]));
    let groups = |answer: &Value| answer["groups"].as_array().unwrap()[..10].to_vec();
    assert_eq!(groups(&ours), groups(&theirs));

    for file in ["30-put-validate-ok", "30c-put-validate-short-name"] {
        let (mut ours, theirs) = relay.both(file).await;
        assert_eq!((&ours["name"], &ours["error_count"]), (&json!(FIXED), &json!(1)), "the database is away");
        for config in ours["configs"].as_array_mut().unwrap() {
            if config["value"]["name"] == "database.hostname" {
                config["value"]["value"] = Value::Null;
                assert_eq!(config["value"]["errors"].as_array_mut().unwrap().drain(..).len(), 1);
            }
        }
        assert_eq!(
            comparable(&ours["configs"], &theirs["configs"]),
            comparable(&theirs["configs"], &theirs["configs"]),
            "{file}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_does_not_answer_is_told_when_the_connector_is_posted() {
    let relay = Relay::start().await;
    let (ours, theirs) = relay.both("07b-post-connectors-400-unreachable-db").await;
    assert_eq!(ours, theirs);
    let names: Value = relay.http.get(format!("{}/connectors", relay.url)).send().await.unwrap().json().await.unwrap();
    assert_eq!(names, json!([]));
}
