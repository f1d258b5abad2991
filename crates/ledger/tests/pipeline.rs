//! A pipeline in slow motion: a test changes orders in Postgres, and the same changes are carried by hand through real
//! Kafka and a real object store into the lake's answers, where the test then spoils one thing.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use ledger::report::Report;
use ledger::source::SourceSettings;
use ledger::verify::{VerifySettings, verify};
use model::cell::Cell;
use model::envelope::{EnvelopeCodec, Op, SnapshotMark, Source};
use model::names::RawObject;
use model::secret::Secret;
use model::table::{Column, TableSchema};
use objects::{RawMetadata, Store, StoreSettings};
use serde_json::{Value, json};
use testkit::Binary;
use tokio_postgres::Client;
use topics::{Admin, Cluster, Partition, Producer, ProducerSettings, RecordOut, TopicPlan};

use crate::lake::{LakeContent, Shared, SharedContent, serve};

const PARTITIONS: i32 = 2;

/// `id, customer_id, status, total, created_at` as Postgres prints them.
pub(crate) type OrderRow = [String; 5];

/// A change of an order.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    op: Op,
    row: OrderRow,
    xid: i64,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

pub(crate) struct Pipeline {
    pub(crate) client: Client,
    pub(crate) store: Store,
    pub(crate) settings: VerifySettings,
    pub(crate) changes: Vec<Change>,
    shared: SharedContent,
    producer: Producer,
    codec: EnvelopeCodec,
    topic: String,
    /// Offset at which each partition's next object begins.
    raw_next: BTreeMap<i32, i64>,
    _object_server: Binary,
    _folder: tempfile::TempDir,
}

impl Pipeline {
    /// A migrated database with customers and a product, a slot, an empty topic, an empty bucket.
    pub(crate) async fn open() -> Self {
        let server = testkit::postgres().await;
        let database = testkit::fresh_database().await;
        let mut client = server.connect(&database).await;
        let placeholders = [
            ("debezium_user", testkit::fresh_name("debezium")),
            ("debezium_password", "debezium".to_owned()),
            ("debezium_storefront_publication_name", "storefront_publication".to_owned()),
        ];
        let placeholders = placeholders.map(|(name, value)| (name.to_owned(), value)).into();
        let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../migrations");
        migrate::run(&mut client, &migrations, &placeholders).await.unwrap();
        let slot = testkit::fresh_name("slot");
        let customer = "INSERT INTO customers (full_name, email) VALUES ('Ada', 'ada@example.com')";
        client.batch_execute(customer).await.unwrap();
        // In a transaction of its own, as Postgres demands.
        client.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&slot]).await.unwrap();

        let prefix = testkit::fresh_name("ledger");
        let topic = format!("{prefix}.public.orders");
        let bootstrap = testkit::kafka().await.bootstrap.clone();
        let cluster = Cluster::new(&bootstrap, "test");
        Admin::new(&cluster).unwrap().create_topic(&TopicPlan::new(topic.as_str(), PARTITIONS)).await.unwrap();
        let codec = EnvelopeCodec::new(&prefix, &database, &orders()).unwrap();
        let shared = SharedContent::default();
        *shared.lock().unwrap() =
            Shared { topic: topic.clone(), schema: codec.value_schema().to_owned(), content: LakeContent::default() };
        let url = serve(shared.clone()).await;
        let (object_server, folder, store_settings) = object_server().await;

        let settings = VerifySettings {
            source: SourceSettings {
                host: server.host.clone(),
                port: server.port,
                user: server.user.clone(),
                password: Secret::new(server.password.as_str()),
                database,
                slot,
            },
            bootstrap,
            registry_url: url.clone(),
            store: store_settings.clone(),
            topics_dir: "kafka".to_owned(),
            lake_url: url,
            topics: vec![topic.clone()],
            patience: Duration::from_secs(2),
        };
        Self {
            client,
            store: Store::open(&store_settings).unwrap(),
            settings,
            changes: Vec::new(),
            shared,
            producer: Producer::new(&cluster, &ProducerSettings::default()).unwrap(),
            codec,
            topic,
            raw_next: BTreeMap::new(),
            _object_server: object_server,
            _folder: folder,
        }
    }

    /// Orders 1 to 6: made, changed, deleted, through all hops, so that everything is equal.
    pub(crate) async fn with_orders() -> Self {
        let mut pipeline = Self::open().await;
        for id in 1..=6 {
            pipeline.insert(id, &format!("{id}0.50")).await;
        }
        pipeline.publish().await;
        pipeline.update(2, "shipped").await;
        pipeline.update(3, "cancelled").await;
        pipeline.delete(4).await;
        pipeline.publish().await;
        pipeline.fill_lake().await;
        pipeline
    }

    pub(crate) async fn insert(&mut self, id: i32, total: &str) {
        let sql = format!(
            "INSERT INTO orders VALUES ({id}, 1, 'pending', {total}, '2024-02-29 10:00:00.5') RETURNING {COLUMNS}"
        );
        self.change(Op::Create, &sql).await;
    }

    pub(crate) async fn update(&mut self, id: i32, status: &str) {
        let sql = format!("UPDATE orders SET status = '{status}' WHERE id = {id} RETURNING {COLUMNS}");
        self.change(Op::Update, &sql).await;
    }

    pub(crate) async fn delete(&mut self, id: i32) {
        self.change(Op::Delete, &format!("DELETE FROM orders WHERE id = {id} RETURNING {COLUMNS}")).await;
    }

    async fn change(&mut self, op: Op, sql: &str) {
        let change = changed_by(&self.client, op, sql).await;
        self.send(change).await;
    }

    /// Sends a change to the topic.
    pub(crate) async fn send(&mut self, mut change: Change) {
        change.partition = change.row[0].parse::<i32>().unwrap() % PARTITIONS;
        let value = [vec![0, 0, 0, 0, 1], self.datum(&change)].concat();
        let record = RecordOut::to(&self.topic).partition(Partition(change.partition)).value(&value);
        change.offset = self.producer.send(record).await.unwrap().offset.0;
        self.changes.push(change);
    }

    fn datum(&self, change: &Change) -> Vec<u8> {
        let cells: Vec<Cell<'_>> = change.row.iter().map(|text| Cell::Text(text.as_bytes())).collect();
        let (before, after) = if change.op == Op::Delete { (Some(&*cells), None) } else { (None, Some(&*cells)) };
        let source = Source {
            snapshot: SnapshotMark::False,
            ts_us: 1_700_000_000_000_000,
            tx_id: Some(change.xid),
            lsn: None,
            sequence: (None, None),
            origin: None,
        };
        let mut value = Vec::new();
        self.codec.encode_value(1, change.op, before, after, &source, 1_700_000_000_000_000_000, &mut value).unwrap();
        value.split_off(5)
    }

    /// What the sink does: an object per partition with everything since the last one. And the relay: the slot moves on.
    pub(crate) async fn publish(&mut self) {
        for partition in 0..PARTITIONS {
            let start = self.raw_next.get(&partition).copied().unwrap_or_default();
            let new: Vec<_> =
                self.changes.iter().filter(|change| change.partition == partition && change.offset >= start).collect();
            if let Some(last) = new.last() {
                let next = last.offset + 1;
                let data: Vec<u8> = new.iter().flat_map(|change| self.datum(change)).collect();
                let object = container(self.codec.value_schema(), start, next, new.len(), &data);
                let metadata = RawMetadata {
                    start_offset: start,
                    next_offset: next,
                    record_count: new.len() as u64,
                    tombstone_count: 0,
                    schema_id: 1,
                    crc32c: None,
                };
                self.store.put(&self.object(partition, start), object, metadata.to_metadata()).await.unwrap();
                self.raw_next.insert(partition, next);
            }
        }
        // The nudge of the ledger lies beyond what this confirms; a slot without a reader is moved by hand.
        let slot = &self.settings.source.slot;
        let far = format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())");
        self.client.execute(&far, &[]).await.unwrap();
    }

    pub(crate) fn object(&self, partition: i32, start_offset: i64) -> String {
        let (topics_dir, topic, extension) = ("kafka".to_owned(), self.topic.clone(), "avro".to_owned());
        RawObject { topics_dir, topic, partition, start_offset, extension }.to_string()
    }

    /// What the lake does with everything that was published.
    pub(crate) async fn fill_lake(&mut self) {
        let mut content = LakeContent::default();
        let mut current: BTreeMap<&str, Option<&OrderRow>> = BTreeMap::new();
        for change in &self.changes {
            let op = ["r", "c", "u", "d"][change.op as usize];
            let place = [json!(op), json!(change.xid), json!(change.partition), json!(change.offset)];
            content.stage.push([lake_row(&change.row), place.to_vec()].concat());
            current.insert(&change.row[0], (change.op != Op::Delete).then_some(&change.row));
            content.stage_next.insert(change.partition.to_string(), change.offset + 1);
        }
        content.shape = current.into_values().flatten().map(lake_row).collect();
        content.shape_next = content.stage_next.clone();
        content.marts = self.marts().await;
        self.shared.lock().unwrap().content = content;
    }

    /// What the lake's marts hold: there is one customer, there are no products and payments, all orders are of one day.
    async fn marts(&self) -> BTreeMap<&'static str, Vec<Vec<Value>>> {
        let mut marts = BTreeMap::new();
        for (mart, query) in [
            (
                "daily_revenue",
                "json_build_array('2024-02-29', count(*), '0.00') FROM orders WHERE status <> 'cancelled'",
            ),
            ("order_funnel", "json_build_array(status, count(*), sum(total)::text) FROM orders GROUP BY status"),
            (
                "customer_lifetime_value",
                "json_build_array(1, NULL, count(*), 0, '0.00', '2024-02-29', '2024-02-29') FROM orders WHERE status <> 'cancelled'",
            ),
            ("cohort_retention", "json_build_array('2024-02-01', 0, 1, 1, '0.00')"),
        ] {
            let query = format!("SELECT cells::text FROM (SELECT {query}) AS mart(cells)");
            let rows = self.client.query(&query, &[]).await.unwrap();
            let cells = |row: &tokio_postgres::Row| -> Vec<Value> { serde_json::from_str(row.get(0)).unwrap() };
            marts.insert(mart, rows.iter().map(cells).collect());
        }
        for without_rows in ["product_sales", "payment_health", "inventory_risk", "category_trend"] {
            marts.insert(without_rows, Vec::new());
        }
        marts
    }

    /// Changes what the lake says.
    pub(crate) fn spoil(&self, spoil: impl FnOnce(&mut LakeContent)) {
        spoil(&mut self.shared.lock().unwrap().content);
    }

    pub(crate) async fn verify(&self) -> Report {
        let slot = self.settings.source.slot.clone();
        // The relay goes on confirming while the ledger waits.
        let relay = async {
            loop {
                let far = format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())");
                self.client.execute(&far, &[]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            report = verify(&self.settings) => report,
            () = relay => unreachable!(),
        }
    }

    /// A second connection, for transactions that stay open.
    pub(crate) async fn second_client(&self) -> Client {
        testkit::postgres().await.connect(&self.settings.source.database).await
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // A slot that stays would hold back the log of the shared server.
        let slot = self.settings.source.slot.clone();
        let source = self.settings.source.clone();
        let drop_slot = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let url = format!(
                    "postgresql://{}:{}@{}:{}/{}",
                    source.user,
                    source.password.expose(),
                    source.host,
                    source.port,
                    source.database
                );
                let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
                tokio::spawn(connection);
                let _ = client.execute("SELECT pg_drop_replication_slot($1)", &[&slot]).await;
            });
        });
        let _ = drop_slot.join();
    }
}

const COLUMNS: &str = "id::text, customer_id::text, status, total::text, created_at::text, pg_current_xact_id()::text";

/// Makes a change in Postgres and says what it was.
pub(crate) async fn changed_by(client: &Client, op: Op, sql: &str) -> Change {
    let row = client.query_one(sql, &[]).await.unwrap();
    let xid = row.get::<_, String>(5).parse::<i64>().unwrap();
    let row = std::array::from_fn(|column| row.get(column));
    Change { op, row, xid, partition: 0, offset: 0 }
}

/// Makes an order on another connection, whose transaction the test controls.
pub(crate) async fn insert_on(client: &Client, id: i32) -> Change {
    let sql =
        format!("INSERT INTO orders VALUES ({id}, 1, 'pending', 1.00, '2024-02-29 11:00:00') RETURNING {COLUMNS}");
    changed_by(client, Op::Create, &sql).await
}

fn lake_row(row: &OrderRow) -> Vec<Value> {
    let number = |text: &str| json!(text.parse::<i64>().unwrap());
    vec![number(&row[0]), number(&row[1]), json!(row[2]), json!(row[3]), json!(row[4].replace(' ', "T"))]
}

fn orders() -> TableSchema {
    let column = |name: &str, type_oid, type_name: &str, typmod, nullable| Column {
        name: name.to_owned(),
        type_oid,
        type_name: type_name.to_owned(),
        typmod,
        nullable,
        ..Column::default()
    };
    TableSchema {
        schema: "public".to_owned(),
        name: "orders".to_owned(),
        columns: vec![
            column("id", 23, "int4", -1, false),
            column("customer_id", 23, "int4", -1, false),
            column("status", 25, "text", -1, false),
            // numeric(10, 2): precision and scale packed as Postgres packs them.
            column("total", 1700, "numeric", (10 << 16 | 2) + 4, true),
            column("created_at", 1114, "timestamp", -1, true),
        ],
        key: vec![0],
        ..TableSchema::default()
    }
}

async fn object_server() -> (Binary, tempfile::TempDir, StoreSettings) {
    let folder = tempfile::tempdir().unwrap();
    let port = testkit::free_port();
    let mut server = Binary::spawn(
        "object-server",
        &[
            ("HAUS_BIND", "127.0.0.1"),
            ("S3_PORT", &port.to_string()),
            ("OBJECT_SERVER_DIR", &folder.path().to_string_lossy()),
        ],
    );
    server.wait_port(port).await;
    let settings = StoreSettings {
        endpoint: format!("http://127.0.0.1:{port}"),
        region: "us-east-1".to_owned(),
        access_key_id: "minio".to_owned(),
        secret_access_key: Secret::new("minio123"),
        bucket: "raw".to_owned(),
    };
    (server, folder, settings)
}

/// An Avro container with the sink's header and one block.
fn container(schema: &str, start: i64, next: i64, count: usize, data: &[u8]) -> Vec<u8> {
    let long = |out: &mut Vec<u8>, number: i64| {
        out.extend(
            apache_avro::to_avro_datum(&apache_avro::Schema::Long, apache_avro::types::Value::Long(number)).unwrap(),
        );
    };
    let entries = [
        ("avro.schema", schema.to_owned()),
        ("avro.codec", "null".to_owned()),
        ("haus.start-offset", start.to_string()),
        ("haus.next-offset", next.to_string()),
        ("haus.record-count", count.to_string()),
    ];
    let mut out = b"Obj\x01".to_vec();
    long(&mut out, entries.len() as i64);
    for (name, value) in entries {
        for text in [name, value.as_str()] {
            long(&mut out, text.len() as i64);
            out.extend(text.as_bytes());
        }
    }
    long(&mut out, 0);
    out.extend([7; 16]);
    long(&mut out, count as i64);
    long(&mut out, data.len() as i64);
    out.extend(data);
    out.extend([7; 16]);
    out
}
