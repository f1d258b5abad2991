//! A worker in this process with a plugin made for tests.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use connect::errors::{FailedRecord, Failure, RecordErrors};
use connect::{Config, ConnectorKind, FieldError, Moved, Plugin, TaskContext, TaskError, WorkerSettings};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// Topics that a run says it uses: those of the recorded connector.
const TOPICS: &str = "storefront.public.toasty storefront.public.products storefront.public.no_pk \
    storefront.public.WeirdTable_1 storefront.public.ri_full storefront.public.composite_pk storefront.public.toasty_full \
    storefront.public.payments storefront.public.orders storefront.public.customers storefront.public.all_types \
    storefront.message storefront.public.order_items";

/// How runs of a task end, one after the other; the last is repeated.
#[derive(Clone, Debug)]
pub enum End {
    Runs,
    Retries(&'static str),
    Fails(String),
    Panics,
    /// Meets a record that it cannot process, then runs.
    MeetsBadRecord,
}

/// A plugin under Debezium's or Confluent's name whose tasks do as told.
pub struct Scripted {
    class: &'static [&'static str],
    kind: ConnectorKind,
    ends: Mutex<Vec<End>>,
    pub starts: Arc<Mutex<Vec<Config>>>,
}

impl Scripted {
    pub fn source(ends: Vec<End>) -> Arc<Self> {
        let class = &["io.debezium.connector.postgresql.PostgresConnector", "PostgresConnector"];
        Arc::new(Self { class, kind: ConnectorKind::Source, ends: Mutex::new(ends), starts: Arc::default() })
    }

    pub fn sink(ends: Vec<End>) -> Arc<Self> {
        let class = &["io.confluent.connect.s3.S3SinkConnector"];
        Arc::new(Self { class, kind: ConnectorKind::Sink, ends: Mutex::new(ends), starts: Arc::default() })
    }

    pub fn start_count(&self) -> usize {
        self.starts.lock().unwrap().len()
    }
}

#[async_trait]
impl Plugin for Scripted {
    fn classes(&self) -> &'static [&'static str] {
        self.class
    }

    fn kind(&self) -> ConnectorKind {
        self.kind
    }

    fn version(&self) -> &'static str {
        "3.6.3.Final"
    }

    fn validate(&self, config: &Config) -> Vec<FieldError> {
        let required = if self.kind == ConnectorKind::Source {
            ["topic.prefix", "database.hostname"]
        } else {
            ["s3.bucket.name"; 2]
        };
        let missing = required.iter().filter(|field| !config.contains_key(**field));
        missing
            .map(|field| FieldError::new(field, None, format!("The '{field}' value is invalid: A value is required")))
            .collect()
    }

    fn tasks(&self, config: &Config) -> Vec<Config> {
        vec![config.clone(); config.get("tasks.max").map_or(1, |tasks| tasks.parse().unwrap())]
    }

    async fn run(&self, task: TaskContext) -> Result<(), TaskError> {
        self.starts.lock().unwrap().push(task.config.clone());
        TOPICS.split(' ').for_each(|topic| task.report.active_topic(topic));
        let end = {
            let mut ends = self.ends.lock().unwrap();
            if ends.len() > 1 { ends.remove(0) } else { ends.first().cloned().unwrap_or(End::Runs) }
        };
        match end {
            End::Runs => {
                let mut messages = task.messages;
                loop {
                    tokio::select! {
                        () = task.stop.cancelled() => return Ok(()),
                        Some(message) = messages.recv() => match message.body.get("refuse") {
                            Some(_) => message.answer(Err("it cannot be".into())),
                            None => {
                                let body = Value::Object(message.body.clone());
                                message.answer(Ok(body));
                            }
                        },
                    }
                }
            }
            End::Retries(reason) => Err(TaskError::Retry(reason.into())),
            End::Fails(reason) => Err(TaskError::Fail(reason)),
            End::Panics => panic!("index out of bounds"),
            End::MeetsBadRecord => {
                let errors = RecordErrors::open(&task).await?;
                let headers = [("trace".to_owned(), Some(b"7".to_vec()))];
                let record = FailedRecord {
                    topic: "t",
                    partition: 3,
                    offset: 14,
                    timestamp_ms: Some(1_700_000_000_000),
                    key: Some(b"k"),
                    value: Some(b"not avro"),
                    headers: &headers,
                };
                errors.report(&record, &Failure::avro_value("no magic byte")).await?;
                task.report.moved(Moved::Read, 1);
                task.report.progress("met", 1);
                task.stop.cancelled().await;
                Ok(())
            }
        }
    }
}

/// A worker that serves on its own port.
pub struct Worker {
    pub url: String,
    pub http: reqwest::Client,
    stop: CancellationToken,
    tasks: service::Tasks,
}

/// Names of one set of state topics.
pub fn state_topics() -> String {
    testkit::fresh_name("connect")
}

impl Worker {
    /// Start on `topics`; `worker_id` is what statuses show, its address when empty.
    pub async fn start(topics: &str, worker_id: &str, plugins: Vec<Arc<dyn Plugin>>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let worker_id = if worker_id.is_empty() { &address } else { worker_id };
        let settings = WorkerSettings {
            bootstrap: testkit::kafka().await.bootstrap.clone(),
            registry_url: "http://127.0.0.1:1".into(),
            config_topic: format!("{topics}_configs"),
            offset_topic: format!("{topics}_offsets"),
            status_topic: format!("{topics}_statuses"),
            worker_id: worker_id.into(),
            bind: "127.0.0.1".into(),
            port: 0,
            providers: connect::providers::Process::default(),
            group: None,
            clients: Default::default(),
        };
        let stop = CancellationToken::new();
        let tasks = service::Tasks::new(stop.clone());
        let health = service::Health::new("connect");
        let routes = connect::spawn(plugins, settings, &tasks, &health, &stop).unwrap();
        let url = format!("http://{address}");
        let until = stop.clone();
        tasks.spawn("rest", async move {
            axum::serve(listener, routes).with_graceful_shutdown(until.cancelled_owned()).await?;
            Ok(())
        });
        let worker = Self { url, http: reqwest::Client::new(), stop, tasks };
        testkit::wait_until("the worker has read its topics", Duration::from_secs(30), async || {
            worker.get("/connectors").await.0 == 200
        })
        .await;
        worker
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<&str>, content_type: &str) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.header("Content-Type", content_type).body(body.to_owned());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (
            status,
            if text.is_empty() {
                Value::Null
            } else {
                serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
            },
        )
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, None, "").await
    }

    pub async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call("PUT", path, Some(&body.to_string()), "application/json").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.call("POST", path, Some(&body.to_string()), "application/json").await
    }

    pub async fn task_state(&self, connector: &str, task: u32) -> String {
        let (_, body) = self.get(&format!("/connectors/{connector}/tasks/{task}/status")).await;
        body["state"].as_str().unwrap_or_default().to_owned()
    }

    pub async fn wait_task(&self, connector: &str, task: u32, state: &str) {
        let what = format!("task {connector}-{task} is {state}");
        testkit::wait_until(&what, Duration::from_secs(20), async || self.task_state(connector, task).await == state)
            .await;
    }

    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Its address answers nobody any more and it says nothing more.
    pub fn vanish(self) {
        self.stop.cancel();
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.join().await.unwrap();
    }
}
