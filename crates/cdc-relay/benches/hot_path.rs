//! Decoding and encoding alone, on one core and without I/O: what `pgoutput` sends for a row of an order becomes the Avro
//! key and envelope that go to Kafka. Rows per second come as `elem/s`: `cargo bench -p cdc-relay`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{hint::black_box, time::Duration};

use cdc_relay::{
    records::{CapturedTable, Encoded, RecordRules, RowChange},
    settings::RelaySettings,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::{
    cell::Cell,
    envelope::{EnvelopeCodec, SnapshotMark, Source},
    lsn::Lsn,
    table::{Column, TableId, TableSchema},
};
use pgoutput::Message;

/// A row of an order: name, OID and name of the type, modifier, value as text.
const ORDER: [(&str, u32, &str, i32, &str); 9] = [
    ("id", 20, "int8", -1, "4711231"),
    ("customer_id", 20, "int8", -1, "90210"),
    ("status", 1043, "varchar", 24, "shipped"),
    ("total", 1700, "numeric", 655_366, "1299.95"),
    ("discount", 701, "float8", -1, "0.15"),
    ("express", 16, "bool", -1, "t"),
    ("note", 25, "text", -1, "leave it at the neighbour's door, the one with the blue boat in front"),
    ("ordered_at", 1184, "timestamptz", -1, "2026-05-14 09:31:07.123456+00"),
    ("updated_at", 1114, "timestamp", -1, "2026-05-14 09:31:07.123456"),
];

fn table() -> CapturedTable {
    let columns = ORDER.iter().map(|(name, oid, type_name, typmod, _)| Column {
        name: (*name).into(),
        type_oid: *oid,
        type_name: (*type_name).into(),
        typmod: *typmod,
        ..Column::default()
    });
    let schema = TableSchema {
        id: TableId(1),
        schema: "public".into(),
        name: "orders".into(),
        columns: columns.collect(),
        key: vec![0],
    };
    let codec = EnvelopeCodec::new("storefront", "storefront", &schema).unwrap();
    CapturedTable { schema, name: "public.orders".into(), codec, written: None, key_schema_id: 1, value_schema_id: 2 }
}

/// An Insert, or an Update that carries the whole old row (manual, "Logical Replication Message Formats").
fn message(old: bool) -> Vec<u8> {
    let tuple = |mark: u8, out: &mut Vec<u8>| {
        out.push(mark);
        out.extend((ORDER.len() as u16).to_be_bytes());
        for (.., value) in ORDER {
            out.push(b't');
            out.extend((value.len() as u32).to_be_bytes());
            out.extend(value.as_bytes());
        }
    };
    let mut out = vec![if old { b'U' } else { b'I' }];
    out.extend(16384_u32.to_be_bytes());
    if old {
        tuple(b'O', &mut out);
    }
    tuple(b'N', &mut out);
    out
}

fn hot_path(criterion: &mut Criterion) {
    let least = ["database.hostname", "database.user", "database.password", "database.dbname", "topic.prefix"];
    let config = least.map(|name| (name.to_owned(), "storefront".to_owned())).into();
    let rules = RecordRules::new(&RelaySettings::parse(&config).unwrap(), "run");
    let table = table();
    let source = Source {
        snapshot: SnapshotMark::False,
        ts_us: 1_778_750_000_000_000,
        tx_id: Some(771),
        lsn: Some(Lsn(0x0158_A2C0)),
        sequence: (Some(Lsn(0x0158_A000)), Some(Lsn(0x0158_A2C0))),
        origin: None,
    };
    let mut group = criterion.benchmark_group("rows");
    group.throughput(Throughput::Elements(1)).warm_up_time(Duration::from_secs(1));
    for (name, bytes) in [("insert", message(false)), ("update, old row sent", message(true))] {
        group.bench_function(format!("decode, {name}"), |bencher| {
            bencher.iter(|| match pgoutput::parse(black_box(&bytes)).unwrap() {
                Message::Insert(row) => row.new.cells().count(),
                Message::Update(row) => row.new.cells().count() + row.old.map_or(0, |old| old.cells().count()),
                _ => 0,
            });
        });
        let mut out = Encoded::default();
        group.bench_function(format!("decode and encode, {name}"), |bencher| {
            let (mut before, mut after): (Vec<Cell<'_>>, Vec<Cell<'_>>) = (Vec::new(), Vec::new());
            bencher.iter(|| {
                out.clear();
                before.clear();
                after.clear();
                let change = match pgoutput::parse(black_box(&bytes)).unwrap() {
                    Message::Insert(row) => {
                        after.extend(row.new.cells());
                        RowChange::Insert(&after)
                    }
                    Message::Update(row) => {
                        after.extend(row.new.cells());
                        before.extend(row.old.iter().flat_map(|old| old.cells()));
                        RowChange::Update { before: Some(&before), after: &mut after }
                    }
                    _ => RowChange::Truncate,
                };
                rules.encode(&table, change, &source, None, 1_778_750_000_000_000_000, &mut out).unwrap();
                out.bytes.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
