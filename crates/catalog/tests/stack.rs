//! A catalog of a test, with the servers behind it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use testkit::Binary;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// Catalog, object server, a database of its own, and a gate before Postgres that can be shut.
pub struct Stack {
    pub http: reqwest::Client,
    pub port: u16,
    pub s3_port: u16,
    pub database: String,
    pub gate: Gate,
    more: Vec<(&'static str, &'static str)>,
    catalog: Binary,
    _objects: Binary,
    _dir: tempfile::TempDir,
}

impl Stack {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With settings of its own.
    pub async fn start_with(more: &[(&'static str, &'static str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (port, s3_port) = (testkit::free_port(), testkit::free_port());
        let settings = [("S3_PORT", &*s3_port.to_string()), ("OBJECT_SERVER_DIR", dir.path().to_str().unwrap())];
        let mut objects = Binary::spawn("object-server", &settings);
        objects.wait_port(s3_port).await;
        let database = testkit::fresh_name("catalog");
        let gate = Gate::open(testkit::postgres().await.port).await;
        let catalog = spawn(port, s3_port, gate.port, &database, more);
        let (http, more) = (reqwest::Client::new(), more.to_vec());
        let mut stack = Self { http, port, s3_port, database, gate, more, catalog, _objects: objects, _dir: dir };
        stack.wait_healthy().await;
        stack
    }

    pub async fn wait_healthy(&mut self) {
        let (url, http) = (self.url("/health"), self.http.clone());
        let healthy = async || http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
        self.catalog.wait_ready(Duration::from_secs(60), healthy).await;
    }

    pub async fn kill(&mut self) {
        self.catalog.kill().await;
    }

    pub async fn restart(&mut self) {
        self.catalog = spawn(self.port, self.s3_port, self.gate.port, &self.database, &self.more);
        self.wait_healthy().await;
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Status and body of a POST.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        answer(self.http.post(self.url(path)).json(body).send().await.unwrap()).await
    }

    /// Status and body of a GET.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.http.get(self.url(path)).send().await.unwrap()).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        answer(self.http.delete(self.url(path)).send().await.unwrap()).await
    }

    /// Makes `shape` and in it a table with a column `id`.
    pub async fn create_table(&self, name: &str, properties: Value) -> Value {
        self.post("/v1/namespaces", &json!({ "namespace": ["shape"] })).await;
        let body = json!({ "name": name, "schema": schema(), "properties": properties });
        let (status, table) = self.post("/v1/namespaces/shape/tables", &body).await;
        assert_eq!(status, 200, "{table}");
        table
    }

    pub async fn load(&self, name: &str) -> Value {
        let (status, table) = self.get(&format!("/v1/namespaces/shape/tables/{name}")).await;
        assert_eq!(status, 200, "{table}");
        table
    }

    /// Whether the object store has a file.
    pub async fn has_file(&self, location: &str) -> bool {
        let path = location.strip_prefix("s3://").unwrap();
        // The bucket is readable without credentials.
        let answer = self.http.get(format!("http://127.0.0.1:{}/{path}", self.s3_port)).send().await.unwrap();
        answer.status().is_success()
    }
}

pub fn schema() -> Value {
    json!({ "type": "struct", "fields": [{ "id": 1, "name": "id", "type": "long", "required": true }] })
}

/// A commit of a snapshot on top of the one that `metadata` says is current; refused when that is so no more.
pub fn snapshot_commit(metadata: &Value, id: i64) -> Value {
    let parent = metadata["current-snapshot-id"].as_i64().filter(|id| *id >= 0);
    let mut snapshot = json!({
        "snapshot-id": id,
        "sequence-number": metadata["last-sequence-number"].as_i64().unwrap() + 1,
        "timestamp-ms": metadata["last-updated-ms"].as_i64().unwrap() + 1,
        "manifest-list": format!("s3://lakehouse/snap-{id}.avro"),
        "summary": { "operation": "append" },
        "schema-id": 0,
    });
    if let Some(parent) = parent {
        snapshot["parent-snapshot-id"] = json!(parent);
    }
    json!({
        "requirements": [{ "type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": parent }],
        "updates": [
            { "action": "add-snapshot", "snapshot": snapshot },
            { "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": id },
        ],
    })
}

async fn answer(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn spawn(port: u16, s3_port: u16, postgres_port: u16, database: &str, more: &[(&str, &str)]) -> Binary {
    let settings = [
        ("CATALOG_PORT", port.to_string()),
        ("S3_ENDPOINT", format!("http://127.0.0.1:{s3_port}")),
        ("POSTGRES_PORT", postgres_port.to_string()),
        ("CATALOG_DB", database.to_owned()),
        ("AWS_ACCESS_KEY_ID", "minio".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "minio123".to_owned()),
    ];
    let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
    let settings: Vec<_> = settings.chain(more.iter().copied()).collect();
    Binary::spawn("catalog", &settings)
}

/// A TCP forwarder whose connections can be cut.
pub struct Gate {
    pub port: u16,
    shut: Arc<AtomicBool>,
    cut: Arc<Notify>,
}

impl Gate {
    async fn open(target: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let gate = Self { port: listener.local_addr().unwrap().port(), shut: Arc::default(), cut: Arc::default() };
        let (shut, cut) = (gate.shut.clone(), gate.cut.clone());
        tokio::spawn(async move {
            loop {
                let (mut inner, _) = listener.accept().await.unwrap();
                if shut.load(Ordering::SeqCst) {
                    continue;
                }
                let cut = cut.clone();
                tokio::spawn(async move {
                    let cut = cut.notified();
                    let Ok(mut outer) = TcpStream::connect(("127.0.0.1", target)).await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut inner, &mut outer) => {}
                        () = cut => {}
                    }
                });
            }
        });
        gate
    }

    /// Cuts every connection and takes no new ones.
    pub fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
        self.cut.notify_waiters();
    }

    /// Cuts every connection once.
    pub fn cut(&self) {
        self.cut.notify_waiters();
    }

    pub fn reopen(&self) {
        self.shut.store(false, Ordering::SeqCst);
    }
}
