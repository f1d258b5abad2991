//! One relay with its registry, on topics, a database and a slot of its own.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use cdc_relay::failpoint::Failpoint;
use serde_json::{Value, json};
use testkit::{Binary, Kafka, Postgres, free_port, fresh_name, kafka, postgres, wait_until};
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;
use topics::{Admin, Cluster, OwnedRecord, RegistryClient, read_to_end};

/// Long enough for a loaded machine; nothing waits this long when it works.
pub const LONG: Duration = Duration::from_secs(90);

pub struct Rig {
    pub database: String,
    pub prefix: String,
    pub slot: String,
    pub connector: String,
    pub sql: Client,
    pub server: Postgres,
    pub relay: Binary,
    pub registry: RegistryClient,
    pub cluster: Cluster,
    pub registry_process: Binary,
    registry_env: Vec<(String, String)>,
    relay_env: Vec<(String, String)>,
    relay_port: u16,
    http: reqwest::Client,
}

impl Rig {
    /// Starts registry and relay on an empty database; no connector yet.
    pub async fn start() -> Self {
        Self::start_on(kafka().await, postgres().await, &[]).await
    }

    /// As [`Self::start`], with a relay that reaches Kafka at this address.
    pub async fn start_through(relay_bootstrap: &str) -> Self {
        Self::start_with(kafka().await, postgres().await, relay_bootstrap, &[]).await
    }

    /// As [`Self::start`], on servers of the test's own and with more settings of the relay's worker.
    pub async fn start_on(kafka: &Kafka, postgres: &Postgres, worker: &[(&str, &str)]) -> Self {
        Self::start_with(kafka, postgres, &kafka.bootstrap, worker).await
    }

    async fn start_with(kafka: &Kafka, postgres: &Postgres, relay_bootstrap: &str, worker: &[(&str, &str)]) -> Self {
        let database = fresh_name("test");
        let make = format!("CREATE DATABASE {database}");
        postgres.connect("postgres").await.batch_execute(&make).await.unwrap();
        let sql = postgres.connect(&database).await;
        let (registry_port, relay_port) = (free_port(), free_port());
        let registry_url = format!("http://127.0.0.1:{registry_port}");
        let registry_env: Vec<(String, String)> = [
            ("REGISTRY_PORT", registry_port.to_string()),
            ("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap.clone()),
            ("REGISTRY_TOPIC", fresh_name("schemas")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let registry = spawn("registry", &registry_env, registry_port).await;
        let group = fresh_name("connect");
        let mut relay_env: Vec<(String, String)> = [
            ("CDC_RELAY_PORT", relay_port.to_string()),
            ("KAFKA_BOOTSTRAP_SERVERS", relay_bootstrap.to_owned()),
            ("SCHEMA_REGISTRY_URL", registry_url.clone()),
            ("CONNECT_CONFIG_TOPIC", format!("{group}_configs")),
            ("CONNECT_OFFSET_TOPIC", format!("{group}_offsets")),
            ("CONNECT_STATUS_TOPIC", format!("{group}_statuses")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        relay_env.extend(worker.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let relay = spawn_relay(&relay_env, relay_port).await;
        Self {
            prefix: fresh_name("p"),
            slot: fresh_name("slot"),
            connector: fresh_name("source"),
            sql,
            server: postgres.clone(),
            relay,
            registry: RegistryClient::new(&registry_url),
            cluster: Cluster::new(&kafka.bootstrap, "cdc-relay-test"),
            registry_process: registry,
            registry_env,
            relay_env,
            relay_port,
            http: reqwest::Client::new(),
            database,
        }
    }

    /// The least configuration, with changes.
    pub async fn config(&self, changes: &[(&str, &str)]) -> BTreeMap<String, String> {
        let postgres = &self.server;
        let mut config: BTreeMap<String, String> = [
            ("connector.class", "io.debezium.connector.postgresql.PostgresConnector"),
            ("database.hostname", &postgres.host),
            ("database.port", &postgres.port.to_string()),
            ("database.user", &postgres.user),
            ("database.password", &postgres.password),
            ("database.dbname", &self.database),
            ("topic.prefix", &self.prefix),
            ("plugin.name", "pgoutput"),
            ("slot.name", &self.slot),
            ("publication.name", "everything"),
            ("topic.creation.default.partitions", "3"),
            ("topic.creation.default.replication.factor", "1"),
            ("heartbeat.interval.ms", "300"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        config.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        config
    }

    /// Registers the connector, or changes it.
    pub async fn connect(&self, changes: &[(&str, &str)]) {
        let config = self.config(changes).await;
        let url = format!("{}/config", self.connector_url());
        wait_until("the connector is accepted", LONG, async || {
            let answer = self.http.put(&url).json(&config).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Registers a connector that cannot work: what the answer says of it, or else the trace of its task.
    pub async fn refusal(&self, changes: &[(&str, &str)]) -> String {
        let (url, config) = (format!("{}/config", self.connector_url()), self.config(changes).await);
        let answer = wait_until("the worker takes or refuses the connector", LONG, async || {
            // Before it has read its topics it does neither.
            let answer = self.http.put(&url).json(&config).send().await.ok()?;
            (answer.status().is_success() || answer.status() == 400).then_some(answer)
        })
        .await;
        if answer.status() == 400 { answer.text().await.unwrap() } else { self.failure().await }
    }

    /// As [`Self::connect`], to a relay that is about to die of it.
    pub async fn connect_and_die(&mut self, changes: &[(&str, &str)]) {
        let config = self.config(changes).await;
        let url = format!("{}/config", self.connector_url());
        // Accepted once: each time the task would start anew.
        wait_until("the connector is accepted, or the relay dead", LONG, async || {
            let answer = self.http.put(&url).json(&config).send().await;
            answer.is_ok_and(|answer| answer.status().is_success()) || self.relay.ended().is_some()
        })
        .await;
        wait_until("the relay dies", LONG, async || self.relay.ended().is_some()).await;
    }

    /// Deletes the connector.
    pub async fn delete(&self) {
        let answer = self.http.delete(self.connector_url()).send().await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    /// Registers a further connector under a name of its own, which is also its topic prefix and its slot.
    pub async fn connect_as(&self, connector: &str, changes: &[(&str, &str)]) {
        let mut config = self.config(&[("topic.prefix", connector), ("slot.name", connector)]).await;
        config.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let url = format!("http://127.0.0.1:{}/connectors/{connector}", self.relay_port);
        wait_until(&format!("{connector} is accepted"), LONG, async || {
            let answer = self.http.put(format!("{url}/config")).json(&config).send().await;
            answer.is_ok_and(|answer| answer.status().is_success())
        })
        .await;
        wait_until(&format!("{connector} streams"), LONG, async || {
            let progress: Value =
                self.http.get(format!("{url}/tasks/0/progress")).send().await.ok()?.json().await.ok()?;
            let status: Value = self.http.get(format!("{url}/status")).send().await.ok()?.json().await.ok()?;
            let trace = &status["tasks"][0]["trace"];
            assert!(trace.is_null(), "{connector}: {trace}");
            progress.get("last_commit_lsn").map(|_| ())
        })
        .await;
    }

    /// State and trace of the task, once there is one.
    pub async fn task_state(&self) -> Option<(String, String)> {
        let answer = self.http.get(format!("{}/status", self.connector_url())).send().await.ok()?;
        let status: Value = answer.json().await.ok()?;
        let task = status["tasks"].get(0)?;
        Some((task["state"].as_str()?.to_owned(), task["trace"].as_str().unwrap_or_default().to_owned()))
    }

    /// Waits until the task has failed and returns its trace.
    pub async fn failure(&self) -> String {
        wait_until("the task fails", LONG, async || {
            self.task_state().await.filter(|(state, _)| state == "FAILED").map(|(_, trace)| trace)
        })
        .await
    }

    /// `kill -9` and a new process.
    pub async fn kill_and_restart(&mut self) {
        self.relay.kill().await;
        self.relay = spawn_relay(&self.relay_env, self.relay_port).await;
    }

    /// As [`Self::kill_and_restart`], with the binary that dies when it comes by a failpoint for the `turn`-th time.
    pub async fn kill_and_arm(&mut self, point: Failpoint, turn: u64) {
        self.relay.kill().await;
        let armed = format!("{}:{turn}", point.0);
        let mut env = self.relay_env.clone();
        env.push((cdc_relay::failpoint::VARIABLE.to_owned(), armed));
        let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // Not waited for: it may die before it listens.
        self.relay = Binary::spawn("cdc-relay-failpoints", &env);
    }

    /// Goes on as another connector, on tables of the same database.
    pub fn rename(&mut self) {
        (self.prefix, self.slot, self.connector) = (fresh_name("p"), fresh_name("slot"), fresh_name("source"));
    }

    /// A new registry on the port and topic of the one that was killed.
    pub async fn restart_registry(&mut self) {
        let port = self.registry_env[0].1.parse().unwrap();
        self.registry_process = spawn("registry", &self.registry_env, port).await;
    }

    /// Whether the end of the relay's log has this.
    pub fn relay_says(&self, text: &str) -> bool {
        self.relay.log_tail().contains(text)
    }

    /// A second relay process on the same topics.
    pub async fn second_relay(&self) -> Binary {
        let port = free_port();
        let mut env = self.relay_env.clone();
        for (name, value) in &mut env {
            if name == "CDC_RELAY_PORT" {
                *value = port.to_string();
            }
        }
        spawn_relay(&env, port).await
    }

    /// What the relay was given in its environment.
    pub fn setting(&self, variable: &str) -> String {
        self.relay_env.iter().find(|(name, _)| name == variable).unwrap().1.clone()
    }

    /// Asks the relay to stop, and waits until it did.
    pub async fn stop_relay(&mut self) {
        let status = std::process::Command::new("kill").arg(self.relay.pid().to_string()).status().unwrap();
        assert!(status.success());
        wait_until("the relay stops", LONG, async || self.relay.ended().is_some()).await;
    }

    /// What the relay's REST API answers.
    pub async fn get(&self, path: &str) -> Value {
        let url = format!("http://127.0.0.1:{}{path}", self.relay_port);
        match self.http.get(url).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => Value::Null,
        }
    }

    /// The most memory the relay has had, kB.
    pub fn peak_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.relay.pid())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn topic(&self, table: &str) -> String {
        format!("{}.public.{table}", self.prefix)
    }

    /// Everything committed in a table's topic, partition by partition in order; nothing while there is no topic.
    pub async fn records(&self, table: &str) -> Vec<OwnedRecord> {
        self.topic_records(&self.topic(table)).await
    }

    /// As [`Self::records`], for any topic.
    pub async fn topic_records(&self, topic: &str) -> Vec<OwnedRecord> {
        wait_until("the topic can be read", LONG, async || {
            match Admin::new(&self.cluster).unwrap().topic(topic).await {
                // A topic just made may not have its leaders yet.
                Ok(Some(_)) => read_to_end(&self.cluster, topic).await.ok(),
                Ok(None) => Some(Vec::new()),
                Err(_) => None,
            }
        })
        .await
    }

    /// Offsets used in a table's topic: records and transaction markers. Much cheaper than reading them.
    pub async fn offsets(&self, table: &str) -> i64 {
        let marks = Admin::new(&self.cluster).unwrap().watermarks(&self.topic(table)).await;
        marks.map_or(0, |marks| marks.iter().map(|(_, marks)| marks.high.0).sum())
    }

    /// Waits until a table's topic holds so many records.
    pub async fn wait_for_records(&self, table: &str, count: usize) -> Vec<OwnedRecord> {
        let mut last = 0;
        wait_until(&format!("{count} records of {table}"), LONG, async || {
            let records = self.records(table).await;
            last = records.len();
            (records.len() >= count).then_some(records)
        })
        .await
    }

    /// Waits until the relay streams. That the slot is active says less: it is so already while it is being made.
    pub async fn wait_until_streaming(&self) {
        wait_until("streaming", LONG, async || self.progress().await.get("last_commit_lsn").is_some()).await;
    }

    /// Waits until the slot has confirmed everything written so far.
    pub async fn wait_until_drained(&self) {
        self.wait_until_slot_drained(&self.slot).await;
    }

    /// As [`Self::wait_until_drained`], for the slot of any connector.
    pub async fn wait_until_slot_drained(&self, slot: &str) {
        let now: String = self.sql.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.unwrap().get(0);
        let question = format!(
            "SELECT coalesce(confirmed_flush_lsn >= '{now}'::pg_lsn, false) FROM pg_replication_slots WHERE slot_name = '{slot}'"
        );
        wait_until("the slot is drained", LONG, async || {
            let state = self.task_state().await;
            assert!(state.as_ref().is_none_or(|(state, _)| state != "FAILED"), "{state:?}");
            self.sql.query_opt(&question, &[]).await.unwrap().is_some_and(|row| row.get(0))
        })
        .await;
    }

    /// Stops the relay and drops the database's slots, for servers that outlive the test.
    pub async fn clean(mut self) {
        self.relay.kill().await;
        let slots = "FROM pg_replication_slots WHERE database = current_database()";
        let drop = format!("SELECT pg_drop_replication_slot(slot_name) {slots} AND NOT active");
        wait_until("the slots are dropped", LONG, async || {
            let _ = self.sql.simple_query(&drop).await;
            let left = format!("SELECT 1 {slots} LIMIT 1");
            self.sql.query_opt(&left, &[]).await.unwrap().is_none()
        })
        .await;
    }

    /// Sends a signal by the REST API; status and body of the answer.
    pub async fn signal(&self, body: Value) -> (u16, Value) {
        let answer = self.http.post(format!("{}/signals", self.connector_url())).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or_default())
    }

    /// Waits until a fact of the task's progress has this value.
    pub async fn wait_for_progress(&self, name: &str, value: &str) {
        wait_until(&format!("{name} is {value}"), LONG, async || self.progress().await[name] == value).await;
    }

    fn connector_url(&self) -> String {
        format!("http://127.0.0.1:{}/connectors/{}", self.relay_port, self.connector)
    }

    pub async fn progress(&self) -> Value {
        let url = format!("{}/tasks/0/progress", self.connector_url());
        match self.http.get(url).send().await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(_) => json!({}),
        }
    }
}

async fn spawn_relay(env: &[(String, String)], port: u16) -> Binary {
    spawn("cdc-relay", env, port).await
}

async fn spawn(program: &str, env: &[(String, String)], port: u16) -> Binary {
    let env: Vec<(&str, &str)> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut process = Binary::spawn(program, &env);
    process.wait_port(port).await;
    process
}

/// Waits until what the database's slots have not confirmed is less than this, or it is told to stop: a writer that calls
/// it goes as fast as it is read.
pub async fn wait_until_read(client: &Client, behind_bytes_max: i64, deadline: Duration, stop: &CancellationToken) {
    let near = format!(
        "SELECT coalesce(max(pg_current_wal_insert_lsn() - confirmed_flush_lsn), 0) < {behind_bytes_max} \
         FROM pg_replication_slots WHERE database = current_database()"
    );
    // By hand: what `wait_until` borrows from here could not be moved to a task of its own.
    let begun = Instant::now();
    while !stop.is_cancelled() && !client.query_one(&near, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(begun.elapsed() < deadline, "nobody caught up with the writer in {deadline:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
