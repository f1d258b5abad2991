//! A source table's topic as the sink leaves it in the landing zone, for tests.

use std::collections::BTreeMap;

use bytes::Bytes;
use model::{
    cell::Cell,
    envelope::{EnvelopeCodec, Op, SnapshotMark, Source},
    lsn::Lsn,
    names::RawObject,
    table::{Column, TableId, TableSchema},
};

/// A source table's topic, and what was written to it.
pub struct Topic {
    pub name: String,
    codec: EnvelopeCodec,
    next: BTreeMap<i32, i64>,
    open: BTreeMap<i32, Vec<Vec<u8>>>,
    clock_us: i64,
}

/// A column by name, type oid, type name, typmod and nullability.
pub type ColumnSpec = (&'static str, u32, &'static str, i32, bool);

/// `numeric(10,2)`'s typmod.
pub const NUMERIC_10_2: i32 = ((10 << 16) | 2) + 4;

/// 2024-05-05T00:00:00Z.
const START_US: i64 = 1_714_867_200_000_000;

impl Topic {
    /// A topic of a table whose first column is the key.
    pub fn new(table: &str, columns: &[ColumnSpec]) -> Self {
        let columns = columns.iter().map(|(name, type_oid, type_name, typmod, nullable)| Column {
            name: (*name).to_owned(),
            type_oid: *type_oid,
            type_name: (*type_name).to_owned(),
            typmod: *typmod,
            nullable: *nullable,
            ..Column::default()
        });
        let table = TableSchema {
            id: TableId(1),
            schema: "public".into(),
            name: table.to_owned(),
            columns: columns.collect(),
            key: vec![0],
        };
        let codec = EnvelopeCodec::new("storefront", "storefront", &table).unwrap();
        let name = codec.topic().to_owned();
        Self { name, codec, next: BTreeMap::new(), open: BTreeMap::new(), clock_us: START_US }
    }

    /// The same topic, its table altered.
    pub fn altered(self, columns: &[ColumnSpec]) -> Self {
        let table = self.name.rsplit('.').next().unwrap().to_owned();
        Self { next: self.next, open: self.open, clock_us: self.clock_us, ..Self::new(&table, columns) }
    }

    /// Adds an event; each is a second after the one before.
    pub fn event(&mut self, partition: i32, op: Op, before: Option<&[Cell<'_>]>, after: Option<&[Cell<'_>]>) {
        self.clock_us += 1_000_000;
        let lsn = Some(Lsn(self.clock_us as u64));
        let snapshot = if op == Op::Read { SnapshotMark::True } else { SnapshotMark::False };
        let source =
            Source { snapshot, ts_us: self.clock_us, tx_id: Some(7), lsn, sequence: (None, lsn), origin: None };
        let mut bytes = Vec::new();
        self.codec.encode_value(1, op, before, after, &source, i128::from(self.clock_us) * 1000, &mut bytes).unwrap();
        self.open.entry(partition).or_default().push(bytes[5..].to_vec());
    }

    /// What is open as one object per partition, as the sink writes it, by key; `markers` offsets follow each.
    pub fn flush(&mut self, markers: i64) -> Vec<(String, Bytes)> {
        let mut objects = Vec::new();
        for (partition, records) in std::mem::take(&mut self.open) {
            let start = self.next.get(&partition).copied().unwrap_or(0);
            let next = start + records.len() as i64 + markers;
            self.next.insert(partition, next);
            let key = self.key(partition, start);
            let header = [
                ("avro.schema", self.codec.value_schema().to_owned()),
                ("haus.start-offset", start.to_string()),
                ("haus.next-offset", next.to_string()),
                ("haus.record-count", records.len().to_string()),
            ];
            objects.push((key, container(&header, &records)));
        }
        objects
    }

    /// Key of the object that starts at an offset.
    pub fn key(&self, partition: i32, start_offset: i64) -> String {
        let (topics_dir, topic) = ("kafka".to_owned(), self.name.clone());
        RawObject { topics_dir, topic, partition, start_offset, extension: "avro".into() }.to_string()
    }
}

/// An Avro object container (specification 1.11, "Object Container Files").
pub fn container(header: &[(&str, String)], records: &[Vec<u8>]) -> Bytes {
    fn long(out: &mut Vec<u8>, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)) as u64;
        while rest >= 0x80 {
            out.push((rest as u8) | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    fn text(out: &mut Vec<u8>, text: &[u8]) {
        long(out, text.len() as i64);
        out.extend_from_slice(text);
    }
    let sync = [7_u8; 16];
    let mut out = b"Obj\x01".to_vec();
    long(&mut out, header.len() as i64);
    for (name, value) in header {
        text(&mut out, name.as_bytes());
        text(&mut out, value.as_bytes());
    }
    long(&mut out, 0);
    out.extend_from_slice(&sync);
    for block in records.chunks(3) {
        long(&mut out, block.len() as i64);
        text(&mut out, &block.concat());
        out.extend_from_slice(&sync);
    }
    out.into()
}
