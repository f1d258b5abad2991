//! A topic with numbered records, an object server, a registry, sinks as processes; and the final check.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::TryStreamExt;
use model::names::RawObject;
use model::secret::Secret;
use objects::{RawMetadata, Store};
use s3_sink::failpoint::{self, Failpoint};
use serde_json::{Value, json};
use testkit::{Binary, free_port, fresh_name, wait_until};
use tokio_util::sync::CancellationToken;
use topics::{Admin, Cluster, Partition, RecordOut, TopicPlan, TransactionSettings, TransactionalProducer};

use crate::object_store::ObjectStore;
pub use crate::values::{FIRST_HOUR_MS, HEAVY, HOURS, WITH_TIME, avro_ids, json_ids, kind_of, time_of};
use crate::values::{framed, id_of, read, registry};

pub const PARTITIONS: i32 = 3;

pub struct World {
    pub topic: String,
    pub connector: String,
    pub store: Store,
    pub s3_url: String,
    pub registry_url: String,
    state: String,
    pub http: reqwest::Client,
    cluster: Cluster,
    producer: TransactionalProducer,
    sent: BTreeMap<i32, Vec<i64>>,
    next_id: i64,
    _registry: tokio::task::JoinHandle<()>,
    objects: ObjectStore,
}

/// A sink process.
pub struct Sink {
    pub binary: Binary,
    pub url: String,
}

impl World {
    pub async fn new() -> Self {
        let objects = ObjectStore::start().await;
        let (registry_binary, registry_url) = registry().await;
        let s3_url = format!("http://127.0.0.1:{}", objects.port);
        let store = Store::new(&s3_url, "us-east-1", "minio", &Secret::new("minio123"), "raw").unwrap();
        let topic = fresh_name("sink");
        let cluster = Cluster::new(&testkit::kafka().await.bootstrap, "sink-test");
        create_topic(&cluster, &topic, PARTITIONS).await;
        let settings = TransactionSettings::new(topic.as_str());
        let producer = TransactionalProducer::new(&cluster, settings, CancellationToken::new()).unwrap();
        tokio::task::block_in_place(|| producer.init()).unwrap();
        Self {
            connector: fresh_name("s3"),
            state: fresh_name("connect"),
            topic,
            store,
            s3_url,
            registry_url,
            _registry: registry_binary,
            http: reqwest::Client::new(),
            cluster,
            producer,
            sent: BTreeMap::new(),
            next_id: 0,
            objects,
        }
    }

    /// One transaction of `count` records spread over the partitions, committed or aborted.
    pub fn send(&mut self, count: i64, schema: usize, commit: bool) {
        tokio::task::block_in_place(|| {
            self.producer.begin().unwrap();
            for _ in 0..count {
                let id = self.next_id;
                self.next_id += 1;
                let partition = i32::try_from(id % i64::from(PARTITIONS)).unwrap();
                let value = framed(id, schema);
                let key = format!("key {id}");
                let headers = topics::Headers::new().with("h", Some(key.as_bytes()));
                let mut record = RecordOut::to(&self.topic).partition(Partition(partition)).value(&value);
                if schema == WITH_TIME {
                    record = record.key(key.as_bytes()).headers(&headers);
                }
                self.producer.send(record).unwrap();
                if commit {
                    self.sent.entry(partition).or_default().push(id);
                }
            }
            if commit { self.producer.commit() } else { self.producer.abort() }.unwrap();
        });
    }

    /// Kill the object server.
    pub async fn stop_objects(&mut self) {
        self.objects.kill().await;
    }

    /// Start it again where it was.
    pub async fn start_objects(&mut self) {
        self.objects.start_again().await;
    }

    /// One record without a value in partition 0.
    pub fn send_tombstone(&mut self) {
        tokio::task::block_in_place(|| {
            self.producer.begin().unwrap();
            let record = RecordOut::to(&self.topic).partition(Partition(0)).key(b"k").tombstone();
            self.producer.send(record).unwrap();
            self.producer.commit().unwrap();
        });
    }

    /// A sink process on the shared state.
    pub async fn sink(&self, environment: &[(&str, &str)]) -> Sink {
        self.program("s3-sink", environment).await
    }

    /// One that dies when it passes this place the n-th time.
    pub async fn failing_sink(&self, point: Failpoint, turn: u64) -> Sink {
        let armed = format!("{}:{turn}", point.0);
        self.program("s3-sink-failpoints", &[(failpoint::VARIABLE, &armed)]).await
    }

    async fn program(&self, name: &str, environment: &[(&str, &str)]) -> Sink {
        let port = free_port().to_string();
        let bootstrap = self.cluster.bootstrap().to_owned();
        let topic = |name: &str| format!("{}_{name}", self.state);
        let (configs, offsets, statuses) = (topic("configs"), topic("offsets"), topic("statuses"));
        let mut all = vec![
            ("S3_SINK_PORT", port.as_str()),
            ("KAFKA_BOOTSTRAP_SERVERS", &bootstrap),
            ("SCHEMA_REGISTRY_URL", &self.registry_url),
            ("CONNECT_CONFIG_TOPIC", &configs),
            ("CONNECT_OFFSET_TOPIC", &offsets),
            ("CONNECT_STATUS_TOPIC", &statuses),
        ];
        if !environment.iter().any(|(name, _)| name.starts_with("AWS_")) {
            all.extend([("AWS_ACCESS_KEY_ID", "minio"), ("AWS_SECRET_ACCESS_KEY", "minio123")]);
        }
        all.extend(environment);
        let mut binary = Binary::spawn(name, &all);
        let url = format!("http://127.0.0.1:{port}");
        let ready =
            async || self.http.get(format!("{url}/connectors")).send().await.is_ok_and(|answer| answer.status() == 200);
        binary.wait_ready(Duration::from_secs(90), ready).await;
        Sink { binary, url }
    }

    pub fn config(&self, changes: &[(&str, &str)]) -> Value {
        let mut config = json!({
            "connector.class": "io.confluent.connect.s3.S3SinkConnector", "tasks.max": "2", "topics": self.topic,
            "s3.bucket.name": "raw", "s3.region": "us-east-1", "store.url": self.s3_url,
            "s3.credentials.provider.class": "com.amazonaws.auth.EnvironmentVariableCredentialsProvider",
            "format.class": "io.confluent.connect.s3.format.avro.AvroFormat", "topics.dir": "kafka",
            "flush.size": "10", "rotate.schedule.interval.ms": "500", "timezone": "UTC",
            "value.converter": "io.confluent.connect.avro.AvroConverter",
        });
        for (name, value) in changes {
            config[*name] = (*value).into();
        }
        config
    }

    pub async fn register(&self, sink: &Sink, changes: &[(&str, &str)]) {
        self.register_as(sink, &self.connector, changes).await;
    }

    /// Another connector on the same topic.
    pub async fn register_as(&self, sink: &Sink, name: &str, changes: &[(&str, &str)]) {
        let name = if name == self.connector { name.to_owned() } else { format!("{}-{name}", self.connector) };
        let body = json!({ "name": name, "config": self.config(changes) });
        let answer = self.http.post(format!("{}/connectors", sink.url)).json(&body).send().await.unwrap();
        let status = answer.status();
        assert!(status == 201 || status == 409, "{status}: {}", answer.text().await.unwrap());
    }

    pub async fn status(&self, sink: &Sink) -> Value {
        let url = format!("{}/connectors/{}/status", sink.url, self.connector);
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    pub async fn call(&self, sink: &Sink, method: reqwest::Method, path: &str) -> u16 {
        let url = format!("{}/connectors/{}{path}", sink.url, self.connector);
        self.http.request(method, url).send().await.unwrap().status().as_u16()
    }

    /// Create another topic.
    pub async fn topic_appears(&self, name: &str) {
        create_topic(&self.cluster, name, 1).await;
    }

    /// All keys below the topic's folder.
    pub async fn keys(&self) -> Vec<String> {
        let prefix = RawObject::topic_prefix("kafka", &self.topic);
        let listed: Vec<_> = self.store.list_after(&prefix, "").try_collect().await.unwrap();
        listed.into_iter().map(|object| object.key).collect()
    }

    /// Wait until `records` are in the topic's objects below `topics_dir`, and copy these into a folder.
    pub async fn download(&self, topics_dir: &str, extension: &str, records: u64, folder: &std::path::Path) {
        let prefix = RawObject::topic_prefix(topics_dir, &self.topic);
        let objects = wait_until("the records are in objects", Duration::from_secs(120), async || {
            let listed: Vec<_> = self.store.list_after(&prefix, "").try_collect().await.unwrap();
            let mut sum = 0;
            for object in &listed {
                let head = self.store.head(&object.key).await.unwrap().unwrap();
                sum += RawMetadata::from_metadata(&head.metadata).unwrap().record_count;
            }
            (sum >= records).then_some(listed)
        })
        .await;
        std::fs::create_dir_all(folder).unwrap();
        for object in objects {
            let name = object.key.rsplit('/').next().unwrap();
            assert!(name.ends_with(extension), "{name}");
            std::fs::write(folder.join(name), self.store.get(&object.key).await.unwrap()).unwrap();
        }
    }

    /// Multipart uploads that were neither completed nor aborted.
    pub fn uploads(&self) -> usize {
        self.objects.uploads()
    }

    /// Port of the object server.
    pub fn objects_port(&self) -> u16 {
        self.objects.port
    }

    /// Wait until each record's id is in an object, then check that each is there once and in the folder it belongs to.
    /// `ids` reads an object's ids, `folder` says where an id belongs; none: anywhere.
    pub async fn check_layout(&self, ids: impl Fn(&[u8]) -> Vec<i64>, folder: impl Fn(i64) -> Option<String>) {
        let sent: std::collections::BTreeSet<i64> = self.sent.values().flatten().copied().collect();
        wait_until("every record is in an object", Duration::from_secs(180), async || {
            let mut records = 0;
            for key in self.keys().await.iter().filter(|key| is_values(key)) {
                let head = self.store.head(key).await.unwrap().unwrap();
                records += RawMetadata::from_metadata(&head.metadata).unwrap().record_count;
            }
            records >= sent.len() as u64
        })
        .await;
        let mut found = Vec::new();
        for key in self.keys().await.iter().filter(|key| is_values(key)) {
            let bytes = self.store.get(key).await.unwrap();
            let head = self.store.head(key).await.unwrap().unwrap();
            let metadata = RawMetadata::from_metadata(&head.metadata).unwrap();
            assert_eq!(metadata.crc32c, Some(crc32c::crc32c(&bytes)), "{key}");
            let held = ids(&bytes);
            assert_eq!(metadata.record_count, held.len() as u64, "{key}");
            for id in &held {
                if let Some(folder) = folder(*id) {
                    assert!(key.contains(&format!("/{folder}/")), "{id} is in {key}, not in {folder}");
                }
            }
            found.extend(held);
        }
        found.sort_unstable();
        let sent: Vec<i64> = sent.into_iter().collect();
        assert_eq!(found, sent, "every record once");
    }

    /// Wait until the group has committed the end of each partition's last plan, and check that plans chain.
    pub async fn check_plans(&self) {
        let prefix = RawObject::topic_prefix("kafka/_haus_plans", &self.topic);
        let mut ends = BTreeMap::new();
        let listed: Vec<_> = self.store.list_after(&prefix, "").try_collect().await.unwrap();
        for object in listed {
            let head = self.store.head(&object.key).await.unwrap().unwrap();
            let metadata = RawMetadata::from_metadata(&head.metadata).unwrap();
            let raw = RawObject::parse(&object.key).unwrap();
            let expected = ends.insert(raw.partition, metadata.next_offset).unwrap_or(0);
            assert_eq!(metadata.start_offset, expected, "plans chain: {}", object.key);
        }
        self.wait_committed(&ends).await;
    }

    /// Another topic with many partitions, each with so many records of about so many bytes.
    pub async fn wide_topic(&self, partitions: i32, records: usize, bytes: usize) -> String {
        let name = fresh_name("wide");
        create_topic(&self.cluster, &name, partitions).await;
        tokio::task::block_in_place(|| {
            let mut value = framed(0, 0);
            value.resize(bytes, 0);
            // One transaction: each commit would write a marker into every partition.
            self.producer.begin().unwrap();
            for _ in 0..records {
                for partition in 0..partitions {
                    self.producer.send(RecordOut::to(&name).partition(Partition(partition)).value(&value)).unwrap();
                }
            }
            self.producer.commit().unwrap();
        });
        name
    }

    /// Number of records in objects so far.
    pub async fn record_count(&self) -> u64 {
        let mut count = 0;
        for object in self.objects().await {
            count += object.1.record_count;
        }
        count
    }

    pub fn sent_count(&self) -> u64 {
        self.sent.values().map(|ids| ids.len() as u64).sum()
    }

    /// All objects by key order, with what they say about themselves.
    pub async fn objects(&self) -> Vec<(RawObject, RawMetadata, String)> {
        let prefix = RawObject::topic_prefix("kafka", &self.topic);
        let listed: Vec<_> = self.store.list_after(&prefix, "").try_collect().await.unwrap();
        let mut all = Vec::new();
        for object in listed {
            let head = self.store.head(&object.key).await.unwrap().unwrap();
            let raw = RawObject::parse(&object.key).unwrap();
            all.push((raw, RawMetadata::from_metadata(&head.metadata).unwrap(), object.key));
        }
        all
    }

    /// Wait until every record is in an object, then check that each is there once, in order, in a gap-free chain.
    pub async fn check(&self) {
        wait_until("every record is in an object", Duration::from_secs(180), async || {
            self.record_count().await >= self.sent_count()
        })
        .await;
        let mut found: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
        let mut next: BTreeMap<i32, i64> = BTreeMap::new();
        for (raw, metadata, key) in self.objects().await {
            assert_eq!(metadata.start_offset, raw.start_offset, "{key}");
            let expected = next.insert(raw.partition, metadata.next_offset).unwrap_or(0);
            assert_eq!(metadata.start_offset, expected, "objects chain without gap or overlap: {key}");
            let bytes = self.store.get(&key).await.unwrap();
            assert_eq!(metadata.crc32c, Some(crc32c::crc32c(&bytes)), "{key}");
            let records = read(&bytes, raw.start_offset);
            assert_eq!(metadata.record_count, records.len() as u64, "{key}");
            found.entry(raw.partition).or_default().extend(records);
        }
        let mut expected: BTreeMap<i32, Vec<(i64, i64)>> = BTreeMap::new();
        for record in topics::read_to_end(&self.cluster, &self.topic).await.unwrap() {
            if let Some(value) = record.value {
                expected.entry(record.partition.0).or_default().push((record.offset.0, id_of(&value)));
            }
        }
        assert_eq!(found, expected, "every record once, in order, under its own offset");
        let ids = |partition: &Vec<(i64, i64)>| partition.iter().map(|(_, id)| *id).collect::<Vec<_>>();
        assert!(found.iter().all(|(partition, records)| ids(records) == self.sent[partition]), "and all that was sent");
    }

    /// Wait until the group has committed exactly the end of each partition's last object.
    pub async fn check_committed(&self) {
        let mut ends = BTreeMap::new();
        for (raw, metadata, _) in self.objects().await {
            ends.insert(raw.partition, metadata.next_offset);
        }
        self.wait_committed(&ends).await;
    }

    async fn wait_committed(&self, ends: &BTreeMap<i32, i64>) {
        let admin = Admin::new(&self.cluster).unwrap();
        let group = model::names::connector_group(&self.connector);
        wait_until("the group stands at the end of the objects", Duration::from_secs(60), async || {
            let offsets = admin.group_offsets(&group).await.unwrap();
            let committed: BTreeMap<_, _> =
                offsets.into_iter().map(|offset| (offset.partition.partition.0, offset.committed.0)).collect();
            committed == *ends
        })
        .await;
    }

    /// What `kafka-consumer-groups --reset-offsets --to-earliest` does; waits until the group is empty.
    pub async fn reset_group(&self) {
        let admin = Admin::new(&self.cluster).unwrap();
        let group = model::names::connector_group(&self.connector);
        let partitions = admin.partitions(&self.topic).await.unwrap();
        wait_until("the group's members have left", Duration::from_secs(60), async || {
            admin.reset_group(&group, partitions.clone(), topics::ResetTo::Earliest, true).await.is_ok()
        })
        .await;
    }
}

/// A broker under load takes its time to show a topic.
async fn create_topic(cluster: &Cluster, name: &str, partitions: i32) {
    let admin = Admin::new(cluster).unwrap();
    let plan = TopicPlan::new(name, partitions);
    wait_until("the topic is made", Duration::from_secs(60), async || admin.create_topic(&plan).await.is_ok()).await;
}

/// Whether a key is one of values, not of keys or headers beside them.
fn is_values(key: &str) -> bool {
    !key.contains(".keys.") && !key.contains(".headers.")
}
