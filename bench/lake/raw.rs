//! Raw objects of the lake's benchmark: change events of the shop, encoded as the relay does, laid out as the sink does.
//!
//!   bench-lake-raw events DIR EVENTS OBJECTS             the shop's mix: five tables, 70 % new rows, 25 % updates, 5 % deletes
//!   bench-lake-raw rows DIR ROWS                         `orders`, each row once
//!   bench-lake-raw changes DIR ROWS CHANGES spread|recent   80 % updates, 10 % deletes, 10 % new rows on top of `rows`, of keys
//!                                                        over the whole table or of its newest tenth; a key at most once
//!   bench-lake-raw upload DIR S3_ENDPOINT                what lies in DIR into the bucket `raw`
//!
//! The same arguments make the same bytes. Objects have no header keys of ours, so that they are Confluent's to the letter.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use model::{
    cell::Cell,
    envelope::{EnvelopeCodec, Op, SnapshotMark, Source},
    lsn::Lsn,
    names::RawObject,
    secret::Secret,
    table::{Column, TableId, TableSchema},
};
use objects::{Metadata, Store};

const PARTITIONS: i64 = 3;
const TOPICS_DIR: &str = "kafka";
/// Records of one object that are between two sync marks: some 64 KB, as Java's writer has it.
const BLOCK_RECORDS: usize = 250;
/// Records per object of `rows` and `changes`.
const OBJECT_RECORDS: i64 = 20_000;
/// 2026-01-01T00:00:00Z; a week of events follows.
const START_US: i64 = 1_767_225_600_000_000;
const SPAN_US: i64 = 7 * 86_400_000_000;
const UPLOADS_AT_ONCE: usize = 8;
/// `numeric(10, 2)`.
const AMOUNT: i32 = ((10 << 16) | 2) + 4;

/// A column by name, type oid, type name, typmod and nullability.
type ColumnSpec = (&'static str, u32, &'static str, i32, bool);

const ID: ColumnSpec = ("id", 23, "int4", -1, false);
const CREATED_AT: ColumnSpec = ("created_at", 1114, "timestamp", -1, true);

/// The shop's tables with their part of the rows, out of 101: what the seeder makes of 10,000 customers.
const TABLES: [(&str, i64, &[ColumnSpec]); 5] = [
    (
        "customers",
        10,
        &[
            ID,
            ("full_name", 25, "text", -1, false),
            ("email", 25, "text", -1, false),
            ("address", 25, "text", -1, true),
            ("city", 25, "text", -1, true),
            ("country", 25, "text", -1, true),
            CREATED_AT,
        ],
    ),
    (
        "products",
        1,
        &[
            ID,
            ("name", 25, "text", -1, false),
            ("category", 25, "text", -1, true),
            ("price", 1700, "numeric", AMOUNT, false),
            ("stock_quantity", 23, "int4", -1, false),
            CREATED_AT,
        ],
    ),
    ("orders", 20, ORDERS),
    (
        "order_items",
        50,
        &[
            ID,
            ("order_id", 23, "int4", -1, false),
            ("product_id", 23, "int4", -1, false),
            ("quantity", 23, "int4", -1, false),
            ("price_at_purchase", 1700, "numeric", AMOUNT, false),
        ],
    ),
    (
        "payments",
        20,
        &[
            ID,
            ("order_id", 23, "int4", -1, false),
            ("payment_method", 25, "text", -1, false),
            ("paid_at", 1114, "timestamp", -1, true),
            ("amount", 1700, "numeric", AMOUNT, true),
            ("status", 25, "text", -1, true),
        ],
    ),
];
const ORDERS: &[ColumnSpec] = &[
    ID,
    ("customer_id", 23, "int4", -1, false),
    ("status", 25, "text", -1, false),
    ("total", 1700, "numeric", AMOUNT, true),
    CREATED_AT,
];
const PARTS: i64 = 101;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["events", dir, events, objects] => make_events(Path::new(dir), events.parse()?, objects.parse()?),
        ["rows", dir, rows] => make_rows(Path::new(dir), rows.parse()?),
        ["changes", dir, rows, changes, which] => {
            make_changes(Path::new(dir), rows.parse()?, changes.parse()?, which == "recent")
        }
        ["upload", dir, endpoint] => upload(Path::new(dir), endpoint).await,
        _ => anyhow::bail!(
            "asked for {args:?}; there are: events DIR EVENTS OBJECTS, rows DIR ROWS, changes DIR ROWS CHANGES \
             recent|spread, upload DIR ENDPOINT"
        ),
    }
}

/// splitmix64: numbers that repeat with their seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit.max(1).cast_unsigned()) as i64
    }
}

/// Writes one table's topic, an object at a time.
struct Topic {
    dir: PathBuf,
    codec: EnvelopeCodec,
    columns: &'static [ColumnSpec],
    object_records: i64,
    open: BTreeMap<i64, Open>,
    numbers: Numbers,
    count: i64,
    of: i64,
    objects: i64,
}

#[derive(Default)]
struct Open {
    start: i64,
    blocks: Vec<u8>,
    records: i64,
    block: Vec<u8>,
    block_records: usize,
}

impl Topic {
    fn new(
        dir: &Path,
        table: &str,
        columns: &'static [ColumnSpec],
        of: i64,
        object_records: i64,
    ) -> anyhow::Result<Self> {
        let described = columns.iter().map(|(name, type_oid, type_name, typmod, nullable)| Column {
            name: (*name).to_owned(),
            type_oid: *type_oid,
            type_name: (*type_name).to_owned(),
            typmod: *typmod,
            nullable: *nullable,
            ..Column::default()
        });
        let schema = TableSchema {
            id: TableId(1),
            schema: "public".into(),
            name: table.to_owned(),
            columns: described.collect(),
            key: vec![0],
        };
        let codec = EnvelopeCodec::new("storefront", "storefront", &schema)?;
        let numbers = Numbers(table.bytes().map(u64::from).sum());
        let dir = dir.to_owned();
        Ok(Self { dir, codec, columns, object_records, open: BTreeMap::new(), numbers, count: 0, of, objects: 0 })
    }

    /// Adds an event of a key; updates differ from what was there by `version`.
    fn event(&mut self, op: Op, key: i64, version: i64) -> anyhow::Result<()> {
        let ts_us = START_US + SPAN_US / self.of.max(1) * self.count;
        let text: Vec<String> = self.columns.iter().map(|column| value(column, key, version, ts_us)).collect();
        let mut row: Vec<Cell<'_>> = text.iter().map(|text| Cell::Text(text.as_bytes())).collect();
        if op == Op::Delete {
            // As under replica identity DEFAULT: the key alone.
            row[1..].fill(Cell::Null);
        }
        let image = Some(row.as_slice());
        let (before, after) = if op == Op::Delete { (image, None) } else { (None, image) };
        let lsn = Some(Lsn(0x16B_3748 + 120 * self.count as u64));
        let snapshot = if op == Op::Read { SnapshotMark::True } else { SnapshotMark::False };
        let source =
            Source { snapshot, ts_us, tx_id: Some(700 + self.count / 3), lsn, sequence: (None, lsn), origin: None };
        let open = self.open.entry(key % PARTITIONS).or_default();
        let mut framed = Vec::new();
        self.codec.encode_value(1, op, before, after, &source, i128::from(ts_us + 300_000) * 1000, &mut framed)?;
        open.block.extend_from_slice(&framed[5..]);
        open.block_records += 1;
        open.records += 1;
        if open.block_records == BLOCK_RECORDS {
            open.end_block();
        }
        if open.records == self.object_records {
            self.write(key % PARTITIONS)?;
        }
        self.count += 1;
        Ok(())
    }

    /// Begins where another run ended.
    fn at_offset(mut self, partition: i64, offset: i64) -> Self {
        self.open.entry(partition).or_default().start = offset;
        self
    }

    fn write(&mut self, partition: i64) -> anyhow::Result<()> {
        let Some(open) = self.open.get_mut(&partition).filter(|open| open.records > 0) else { return Ok(()) };
        open.end_block();
        let key = RawObject {
            topics_dir: TOPICS_DIR.into(),
            topic: self.codec.topic().to_owned(),
            partition: partition as i32,
            start_offset: open.start,
            extension: "avro".into(),
        };
        let path = self.dir.join(key.to_string());
        std::fs::create_dir_all(path.parent().unwrap_or(&self.dir))?;
        let mut bytes = header(self.codec.value_schema());
        bytes.extend_from_slice(&open.blocks);
        std::fs::write(path, bytes)?;
        *open = Open { start: open.start + open.records, ..Open::default() };
        self.objects += 1;
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<(i64, i64)> {
        for partition in 0..PARTITIONS {
            self.write(partition)?;
        }
        Ok((self.count, self.objects))
    }
}

const SYNC: [u8; 16] = *b"bench/lake/sync!";

impl Open {
    fn end_block(&mut self) {
        if self.block_records > 0 {
            long(&mut self.blocks, self.block_records as i64);
            long(&mut self.blocks, self.block.len() as i64);
            self.blocks.append(&mut self.block);
            self.blocks.extend_from_slice(&SYNC);
            self.block_records = 0;
        }
    }
}

fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn header(schema: &str) -> Vec<u8> {
    let mut out = b"Obj\x01".to_vec();
    long(&mut out, 2);
    for text in ["avro.schema", schema, "avro.codec", "null"] {
        long(&mut out, text.len() as i64);
        out.extend_from_slice(text.as_bytes());
    }
    long(&mut out, 0);
    out.extend_from_slice(&SYNC);
    out
}

/// A column's value of a version of a row, as Postgres writes it.
fn value(column: &ColumnSpec, key: i64, version: i64, ts_us: i64) -> String {
    match *column {
        ("id", ..) => key.to_string(),
        ("order_id", ..) => (1 + key / 2).to_string(),
        ("customer_id", ..) => (1 + key % 50_000).to_string(),
        ("product_id", ..) => (1 + key * 7 % 2_000).to_string(),
        ("quantity" | "stock_quantity", ..) => (1 + (key + version) % 5).to_string(),
        ("status", ..) => ["pending", "shipped", "delivered", "cancelled"][(version % 4) as usize].to_owned(),
        ("payment_method", ..) => ["card", "paypal", "invoice"][(key % 3) as usize].to_owned(),
        ("category" | "country" | "city", ..) => format!("{} {}", column.0, key % 40),
        (_, 1700, ..) => format!("{}.{:02}", (key * 7919 + version) % 1000, key % 100),
        (_, 1114, ..) => {
            let time = chrono::DateTime::from_timestamp_micros(ts_us).unwrap_or_default();
            time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
        }
        (name, ..) => format!("{name} of {key}, {version}"),
    }
}

fn make_events(dir: &Path, events: i64, objects: i64) -> anyhow::Result<()> {
    for (table, part, columns) in TABLES {
        let of = events * part / PARTS;
        let of_objects = (objects * part / PARTS).max(PARTITIONS);
        let mut topic = Topic::new(dir, table, columns, of, (of / of_objects).max(1))?;
        let mut next = 1;
        for _ in 0..of {
            let dice = topic.numbers.below(100);
            if dice < 70 || next == 1 {
                topic.event(Op::Create, next, 0)?;
                next += 1;
            } else {
                // Newer rows change more often.
                let back = topic.numbers.below(next - 1).min(topic.numbers.below(next - 1));
                let op = if dice < 95 { Op::Update } else { Op::Delete };
                let version = 1 + topic.numbers.below(1_000);
                topic.event(op, next - 1 - back, version)?;
            }
        }
        let (events, objects) = topic.end()?;
        println!("{table}: {events} events in {objects} objects");
    }
    Ok(())
}

fn make_rows(dir: &Path, rows: i64) -> anyhow::Result<()> {
    let mut topic = Topic::new(dir, "orders", ORDERS, rows, OBJECT_RECORDS)?;
    for key in 1..=rows {
        topic.event(Op::Read, key, 0)?;
    }
    println!("orders: {rows} rows in {} objects", topic.end()?.1);
    Ok(())
}

fn make_changes(dir: &Path, rows: i64, changes: i64, recent: bool) -> anyhow::Result<()> {
    let mut topic = Topic::new(dir, "orders", ORDERS, changes, OBJECT_RECORDS)?;
    for partition in 0..PARTITIONS {
        // Keys from 1 to `rows` of this partition.
        let before = (rows - partition) / PARTITIONS + i64::from(partition > 0 && rows >= partition);
        topic = topic.at_offset(partition, before);
    }
    let (first, span) = if recent { (rows - rows / 10, rows / 10) } else { (0, rows) };
    let old = changes - changes / 10;
    anyhow::ensure!(0 < span && old <= span, "more changes than keys");
    // A stride that has no divisor in common with the span meets each key once.
    let stride = (span / old.max(1) + 1..).find(|stride| gcd(*stride, span) == 1).unwrap_or(1);
    for change in 0..changes {
        let key = first + 1 + change * stride % span;
        match change {
            change if change >= old => topic.event(Op::Create, rows + 1 + change - old, 0)?,
            change if change % 9 == 0 => topic.event(Op::Delete, key, 0)?,
            _ => topic.event(Op::Update, key, 1)?,
        }
    }
    println!("orders: {changes} changes in {} objects", topic.end()?.1);
    Ok(())
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

async fn upload(dir: &Path, endpoint: &str) -> anyhow::Result<()> {
    let store = Store::new(endpoint, "us-east-1", "minio", &Secret::new("minio123"), "raw")?;
    let mut folders = vec![dir.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let uploads = files.iter().map(|path| {
        let store = &store;
        async move {
            let key = path.strip_prefix(dir)?.to_string_lossy();
            store.put_if_absent(&key, std::fs::read(path)?, Metadata::new()).await?;
            anyhow::Ok(())
        }
    });
    stream::iter(uploads).buffer_unordered(UPLOADS_AT_ONCE).try_collect::<Vec<()>>().await?;
    println!("{} objects uploaded", files.len());
    Ok(())
}
