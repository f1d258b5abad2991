//! The registry as a process, on a real Kafka.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod api;
mod durability;
mod golden;

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::Binary;

const DEADLINE: Duration = Duration::from_secs(60);

/// A running registry on a topic.
struct Registry {
    binary: Binary,
    port: u16,
    http: reqwest::Client,
}

/// Status, content type and body of an answer.
#[derive(Debug)]
struct Answered {
    status: u16,
    content_type: String,
    body: Value,
}

impl Registry {
    async fn start(topic: &str) -> Self {
        Self::start_on(topic, testkit::free_port()).await
    }

    async fn start_on(topic: &str, port: u16) -> Self {
        let bootstrap = &testkit::kafka().await.bootstrap;
        let port_text = port.to_string();
        let env = [
            ("KAFKA_BOOTSTRAP_SERVERS", bootstrap.as_str()),
            ("REGISTRY_PORT", port_text.as_str()),
            ("REGISTRY_TOPIC", topic),
            ("HAUS_BIND", "127.0.0.1"),
        ];
        let mut binary = Binary::spawn("registry", &env);
        let http = reqwest::Client::new();
        let health = format!("http://127.0.0.1:{port}/health");
        binary
            .wait_ready(DEADLINE, async || match http.get(&health).send().await {
                Ok(answer) => answer.status().is_success(),
                Err(_) => false,
            })
            .await;
        Self { binary, port, http }
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answered {
        let mut request = self.http.request(method, format!("http://127.0.0.1:{}{path}", self.port));
        if let Some(body) = body {
            request = request.header("content-type", "application/vnd.schemaregistry.v1+json").body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let content_type = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap()).to_owned();
        let text = answer.text().await.unwrap();
        Answered { status, content_type, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    async fn get(&self, path: &str) -> Answered {
        self.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answered {
        self.ask(Method::POST, path, Some(body)).await
    }

    async fn register(&self, subject: &str, schema: &str) -> Answered {
        self.post(&format!("/subjects/{subject}/versions"), json!({ "schema": schema })).await
    }
}

fn golden(path: &str) -> Vec<Value> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The `number`th of a row of schemas that may follow each other.
fn schema(number: usize) -> String {
    let fields: Vec<_> =
        (0..number).map(|field| json!({"name": format!("f{field}"), "type": "int", "default": 0})).collect();
    json!({"type": "record", "name": "R", "fields": fields}).to_string()
}
