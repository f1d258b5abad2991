//! Records beside those of tables: the bounds of transactions, messages of `pg_logical_emit_message`, heartbeats.
//!
//! Their schemas are the same for every connector.

use super::{
    CONNECTOR, DEBEZIUM_VERSION, Source, TransactionBlock, avro, schema,
    source::{self, push_frame, push_some},
};
use crate::lsn::Lsn;

/// Appends an event's place in its transaction, a nullable record.
pub(super) fn push_block(block: Option<&TransactionBlock>, out: &mut Vec<u8>) {
    let Some(block) = block else {
        out.push(0);
        return;
    };
    out.push(2);
    push_id(block.tx_id, block.lsn, out);
    for order in [block.total_order, block.data_collection_order] {
        avro::long(out, order.cast_signed());
    }
}

/// Debezium's name of a transaction at one of its events.
fn push_id(tx_id: i64, lsn: Lsn, out: &mut Vec<u8>) {
    avro::bytes(out, format!("{tx_id}:{}", lsn.0).as_bytes());
}

/// Records of the topic `<prefix>.transaction`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TransactionCodec;

impl TransactionCodec {
    /// Avro schema of the key.
    #[must_use]
    pub fn key_schema(self) -> &'static str {
        r#"{"type":"record","name":"TransactionMetadataKey","namespace":"io.debezium.connector.common","fields":[{"name":"id","type":"string"}],"connect.version":1,"connect.name":"io.debezium.connector.common.TransactionMetadataKey"}"#
    }

    /// Avro schema of the value.
    #[must_use]
    pub fn value_schema(self) -> &'static str {
        r#"{"type":"record","name":"TransactionMetadataValue","namespace":"io.debezium.connector.common","fields":[{"name":"status","type":"string"},{"name":"id","type":"string"},{"name":"event_count","type":["null","long"],"default":null},{"name":"data_collections","type":["null",{"type":"array","items":["null",{"type":"record","name":"collection","namespace":"event","fields":[{"name":"data_collection","type":"string"},{"name":"event_count","type":"long"}],"connect.version":1,"connect.name":"event.collection"}]}],"default":null},{"name":"ts_ms","type":"long"}],"connect.version":1,"connect.name":"io.debezium.connector.common.TransactionMetadataValue"}"#
    }

    /// Appends the key.
    pub fn encode_key(self, schema_id: u32, tx_id: i64, lsn: Lsn, out: &mut Vec<u8>) {
        push_frame(schema_id, out);
        push_id(tx_id, lsn, out);
    }

    /// Appends the value that says that a transaction begins.
    pub fn encode_begin(self, schema_id: u32, tx_id: i64, lsn: Lsn, ts_us: i64, out: &mut Vec<u8>) {
        push_frame(schema_id, out);
        avro::bytes(out, b"BEGIN");
        push_id(tx_id, lsn, out);
        out.extend_from_slice(&[0, 0]);
        avro::long(out, ts_us.div_euclid(1000));
    }

    /// Appends the value that says that a transaction is complete, with the number of events of each table.
    pub fn encode_end(
        self,
        schema_id: u32,
        tx_id: i64,
        lsn: Lsn,
        ts_us: i64,
        tables: &[(String, u64)],
        out: &mut Vec<u8>,
    ) {
        push_frame(schema_id, out);
        avro::bytes(out, b"END");
        push_id(tx_id, lsn, out);
        push_some(out, tables.iter().map(|(_, events)| events.cast_signed()).sum());
        out.push(2);
        if !tables.is_empty() {
            avro::long(out, avro::length(tables.len()));
        }
        for (table, events) in tables {
            out.push(2);
            avro::bytes(out, table.as_bytes());
            avro::long(out, events.cast_signed());
        }
        out.push(0);
        avro::long(out, ts_us.div_euclid(1000));
    }
}

/// Records of the topic `<prefix>.message`.
#[derive(Debug)]
pub struct MessageCodec {
    value_schema: String,
    /// version, connector, name
    head: Vec<u8>,
    db: Vec<u8>,
}

impl MessageCodec {
    /// `prefix` is the connector's `topic.prefix`.
    #[must_use]
    pub fn new(prefix: &str, database: &str) -> Self {
        let (mut head, mut db) = (Vec::new(), Vec::new());
        for part in [DEBEZIUM_VERSION, CONNECTOR, prefix] {
            avro::bytes(&mut head, part.as_bytes());
        }
        avro::bytes(&mut db, database.as_bytes());
        // In the namespace of the record around it the name of the source needs none of its own.
        let source = schema::source().replacen(r#","namespace":"io.debezium.connector.postgresql""#, "", 1);
        let value_schema = format!(
            concat!(
                r#"{{"type":"record","name":"MessageValue","namespace":"io.debezium.connector.postgresql","fields":["#,
                r#"{{"name":"op","type":"string"}},{{"name":"ts_ms","type":["null","long"],"default":null}},"#,
                r#"{{"name":"source","type":{source}}},{{"name":"transaction","type":{transaction},"default":null}},"#,
                r#"{{"name":"message","type":{{"type":"record","name":"Message","fields":[{{"name":"prefix","type":["null","string"],"default":null}},"#,
                r#"{{"name":"content","type":["null","bytes"],"default":null}}],"connect.version":1,"connect.name":"io.debezium.connector.postgresql.Message"}}}}],"#,
                r#""connect.version":1,"connect.name":"io.debezium.connector.postgresql.MessageValue"}}"#
            ),
            source = source,
            transaction = schema::TRANSACTION
        );
        Self { value_schema, head, db }
    }

    /// Avro schema of the key.
    #[must_use]
    pub fn key_schema(&self) -> &'static str {
        r#"{"type":"record","name":"MessageKey","namespace":"io.debezium.connector.postgresql","fields":[{"name":"prefix","type":["null","string"],"default":null}],"connect.version":1,"connect.name":"io.debezium.connector.postgresql.MessageKey"}"#
    }

    /// Avro schema of the value.
    #[must_use]
    pub fn value_schema(&self) -> &str {
        &self.value_schema
    }

    /// Appends the key.
    pub fn encode_key(&self, schema_id: u32, prefix: &str, out: &mut Vec<u8>) {
        push_frame(schema_id, out);
        out.push(2);
        avro::bytes(out, prefix.as_bytes());
    }

    /// Appends the value. `ts_ms` is the time of encoding, milliseconds since the Unix epoch.
    #[allow(clippy::too_many_arguments)]
    pub fn encode_value(
        &self,
        schema_id: u32,
        prefix: &str,
        content: &[u8],
        source: &Source<'_>,
        transaction: Option<&TransactionBlock>,
        ts_ms: i64,
        out: &mut Vec<u8>,
    ) {
        push_frame(schema_id, out);
        avro::bytes(out, b"m");
        push_some(out, ts_ms);
        // Schema and table are empty: it belongs to none.
        source::push(&self.head, &self.db, &[0, 0], source, out);
        push_block(transaction, out);
        out.push(2);
        avro::bytes(out, prefix.as_bytes());
        out.push(2);
        avro::bytes(out, content);
    }
}

/// Records of the topic `__debezium-heartbeat.<prefix>`.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeartbeatCodec;

impl HeartbeatCodec {
    /// Avro schema of the key.
    #[must_use]
    pub fn key_schema(self) -> &'static str {
        r#"{"type":"record","name":"ServerNameKey","namespace":"io.debezium.connector.common","fields":[{"name":"serverName","type":"string"}],"connect.version":1,"connect.name":"io.debezium.connector.common.ServerNameKey"}"#
    }

    /// Avro schema of the value.
    #[must_use]
    pub fn value_schema(self) -> &'static str {
        r#"{"type":"record","name":"Heartbeat","namespace":"io.debezium.connector.common","fields":[{"name":"ts_ms","type":"long"}],"connect.version":1,"connect.name":"io.debezium.connector.common.Heartbeat"}"#
    }

    /// Appends the key; `prefix` is the connector's `topic.prefix`.
    pub fn encode_key(self, schema_id: u32, prefix: &str, out: &mut Vec<u8>) {
        push_frame(schema_id, out);
        avro::bytes(out, prefix.as_bytes());
    }

    /// Appends the value.
    pub fn encode_value(self, schema_id: u32, ts_ms: i64, out: &mut Vec<u8>) {
        push_frame(schema_id, out);
        avro::long(out, ts_ms);
    }
}
