//! The schemas' JSON text, to the byte what Confluent's `AvroConverter` posts for Debezium's Connect schemas.
//!
//! Registries compare text or its canonical form; the same text gives the same schema id whichever engine came first. So
//! the order of properties is the converter's: `type`, `name`, `namespace`, `fields`, then `connect.*`.

use std::fmt::Write as _;

use super::{
    avro::{json_string, to_json},
    field::{Field, FieldType, Text},
};

/// Allowed values of `source.snapshot`.
const SNAPSHOT_ENUM: &str = r#"{"type":"string","connect.version":1,"connect.parameters":{"allowed":"true,first,first_in_data_collection,last_in_data_collection,last,false,incremental"},"connect.default":"false","connect.name":"io.debezium.data.Enum"}"#;
/// The transaction block, present with `provide.transaction.metadata` only, but always in the schema.
pub(super) const TRANSACTION: &str = r#"["null",{"type":"record","name":"block","namespace":"event","fields":[{"name":"id","type":"string"},{"name":"total_order","type":"long"},{"name":"data_collection_order","type":"long"}],"connect.version":1,"connect.name":"event.block"}]"#;

/// The `source` block.
pub(super) fn source() -> String {
    let optional = |name: &str, kind: &str| format!(r#"{{"name":"{name}","type":["null","{kind}"],"default":null}}"#);
    let fields = [
        r#"{"name":"version","type":"string"}"#.to_owned(),
        r#"{"name":"connector","type":"string"}"#.to_owned(),
        r#"{"name":"name","type":"string"}"#.to_owned(),
        r#"{"name":"ts_ms","type":"long"}"#.to_owned(),
        format!(r#"{{"name":"snapshot","type":[{SNAPSHOT_ENUM},"null"],"default":"false"}}"#),
        r#"{"name":"db","type":"string"}"#.to_owned(),
        optional("sequence", "string"),
        optional("ts_us", "long"),
        optional("ts_ns", "long"),
        r#"{"name":"schema","type":"string"}"#.to_owned(),
        r#"{"name":"table","type":"string"}"#.to_owned(),
        optional("txId", "long"),
        optional("lsn", "long"),
        optional("xmin", "long"),
        optional("origin", "string"),
        optional("origin_lsn", "long"),
    ];
    format!(
        r#"{{"type":"record","name":"Source","namespace":"io.debezium.connector.postgresql","fields":[{}],"connect.version":1,"connect.name":"io.debezium.connector.postgresql.Source"}}"#,
        fields.join(",")
    )
}

/// Schema of the value: the envelope around the table's record. `namespace` is that of both.
pub(super) fn value(namespace: &str, fields: &[Field]) -> String {
    let row = Fields::default().render(fields.iter());
    let source = source();
    let optional_long = |name: &str| format!(r#"{{"name":"{name}","type":["null","long"],"default":null}}"#);
    format!(
        concat!(
            r#"{{"type":"record","name":"Envelope","namespace":"{namespace}","fields":["#,
            r#"{{"name":"before","type":["null",{{"type":"record","name":"Value","fields":{row},"connect.name":"{namespace}.Value"}}],"default":null}},"#,
            r#"{{"name":"after","type":["null","Value"],"default":null}},"#,
            r#"{{"name":"source","type":{source}}},"#,
            r#"{{"name":"transaction","type":{transaction},"default":null}},"#,
            r#"{{"name":"op","type":"string"}},"#,
            r#"{ts_ms},{ts_us},{ts_ns}],"connect.version":2,"connect.name":"{namespace}.Envelope"}}"#
        ),
        namespace = namespace,
        row = row,
        source = source,
        transaction = TRANSACTION,
        ts_ms = optional_long("ts_ms"),
        ts_us = optional_long("ts_us"),
        ts_ns = optional_long("ts_ns"),
    )
}

/// Schema of the key: the key's columns in the key's order.
pub(super) fn key(namespace: &str, fields: &[Field]) -> String {
    let fields = Fields::default().render(fields.iter());
    format!(
        r#"{{"type":"record","name":"Key","namespace":"{namespace}","fields":{fields},"connect.name":"{namespace}.Key"}}"#
    )
}

/// Renders the fields of one record; remembers which named types have been spelled out, for Avro defines a name once.
#[derive(Default)]
struct Fields {
    defined: Vec<&'static str>,
}

impl Fields {
    fn render<'a>(mut self, fields: impl Iterator<Item = &'a Field>) -> String {
        let rendered: Vec<String> = fields.map(|field| self.field(field)).collect();
        format!("[{}]", rendered.join(","))
    }

    fn field(&mut self, field: &Field) -> String {
        let default = field.default.as_ref().and_then(|encoded| to_json(field.kind.primitive()?, encoded));
        let kind = self.kind(&field.kind, default.as_deref(), &field.parameters);
        // Avro wants the branch of the default first.
        let kind = match (field.nullable, &default) {
            (false, _) => kind,
            (true, None) => format!(r#"["null",{kind}]"#),
            (true, Some(_)) => format!(r#"[{kind},"null"]"#),
        };
        let name = &field.name;
        match default.as_deref().or_else(|| field.nullable.then_some("null")) {
            Some(default) => format!(r#"{{"name":"{name}","type":{kind},"default":{default}}}"#),
            None => format!(r#"{{"name":"{name}","type":{kind}}}"#),
        }
    }

    fn kind(&mut self, kind: &FieldType, default: Option<&str>, more: &Parameters) -> String {
        match kind {
            FieldType::Boolean => plain("boolean", default, more),
            FieldType::Int2 => Properties::new("int")
                .parameters(&[], more)
                .default(default)
                .text("connect.type", "int16")
                .end(),
            FieldType::Int4 => plain("int", default, more),
            FieldType::Int8 => plain("long", default, more),
            FieldType::Float4 => plain("float", default, more),
            FieldType::Float8 => plain("double", default, more),
            FieldType::Decimal { precision, scale } => decimal(*precision, *scale, true, default, more),
            FieldType::Money { digits } => decimal(64, i32::from(*digits), false, default, more),
            FieldType::DecimalText { .. } | FieldType::MoneyText { .. } => plain("string", default, more),
            FieldType::MoneyDouble => plain("double", default, more),
            FieldType::ByteaText(_) | FieldType::UnknownText(_) => plain("string", default, more),
            FieldType::String(Text::Plain) => plain("string", default, more),
            FieldType::String(Text::Named(name)) => semantic("string", name, default, more),
            FieldType::String(Text::Enum(labels)) => Properties::new("string")
                .raw("connect.version", "1")
                .parameters(&[("allowed", labels.clone())], more)
                .default(default)
                .text("connect.name", "io.debezium.data.Enum")
                .end(),
            FieldType::Bytea | FieldType::Unknown => plain("bytes", default, more),
            FieldType::Date => semantic("int", "io.debezium.time.Date", default, more),
            FieldType::IsoDate => semantic("string", "io.debezium.time.IsoDate", default, more),
            FieldType::ConnectDate => logical("int", "org.apache.kafka.connect.data.Date", "date", default, more),
            FieldType::TimeNanos => semantic("long", "io.debezium.time.NanoTime", default, more),
            FieldType::IsoTime => semantic("string", "io.debezium.time.IsoTime", default, more),
            FieldType::ConnectTime => logical("int", "org.apache.kafka.connect.data.Time", "time-millis", default, more),
            FieldType::TimestampNanos => semantic("long", "io.debezium.time.NanoTimestamp", default, more),
            FieldType::IsoTimestamp => semantic("string", "io.debezium.time.IsoTimestamp", default, more),
            FieldType::ConnectTimestamp => {
                logical("long", "org.apache.kafka.connect.data.Timestamp", "timestamp-millis", default, more)
            }
            FieldType::TimeMillis => semantic("int", "io.debezium.time.Time", default, more),
            FieldType::TimeMicros => semantic("long", "io.debezium.time.MicroTime", default, more),
            FieldType::TimeTz => semantic("string", "io.debezium.time.ZonedTime", default, more),
            FieldType::TimestampMillis => semantic("long", "io.debezium.time.Timestamp", default, more),
            FieldType::TimestampMicros => semantic("long", "io.debezium.time.MicroTimestamp", default, more),
            FieldType::TimestampTz { .. } => semantic("string", "io.debezium.time.ZonedTimestamp", default, more),
            FieldType::Interval => semantic("long", "io.debezium.time.MicroDuration", default, more),
            FieldType::IntervalText => semantic("string", "io.debezium.time.Interval", default, more),
            FieldType::Bits { length } => Properties::new("bytes")
                .raw("connect.version", "1")
                .parameters(&[("length", length.to_string())], more)
                .default(default)
                .text("connect.name", "io.debezium.data.Bits")
                .end(),
            FieldType::Hstore => semantic("string", "io.debezium.data.Json", default, more),
            FieldType::HstoreMap => r#"{"type":"map","values":["null","string"]}"#.to_owned(),
            FieldType::VariableDecimal => self.named(
                "io.debezium.data.VariableScaleDecimal",
                r#"{"type":"record","name":"VariableScaleDecimal","namespace":"io.debezium.data","fields":[{"name":"scale","type":"int"},{"name":"value","type":"bytes"}],"connect.doc":"Variable scaled decimal","connect.version":1,"connect.name":"io.debezium.data.VariableScaleDecimal"}"#,
            ),
            FieldType::Point => self.named(
                "io.debezium.data.geometry.Point",
                r#"{"type":"record","name":"Point","namespace":"io.debezium.data.geometry","fields":[{"name":"x","type":"double"},{"name":"y","type":"double"},{"name":"wkb","type":["null","bytes"],"default":null},{"name":"srid","type":["null","int"],"default":null}],"connect.doc":"Geometry (POINT)","connect.version":1,"connect.name":"io.debezium.data.geometry.Point"}"#,
            ),
            FieldType::Array { item, items_nullable } => {
                let item = self.kind(item, None, &[]);
                if *items_nullable {
                    format!(r#"{{"type":"array","items":["null",{item}]}}"#)
                } else {
                    format!(r#"{{"type":"array","items":{item}}}"#)
                }
            }
        }
    }

    /// The definition at the name's first use, the name afterwards.
    fn named(&mut self, name: &'static str, definition: &str) -> String {
        if self.defined.contains(&name) {
            return format!("\"{name}\"");
        }
        self.defined.push(name);
        definition.to_owned()
    }
}

/// Parameters of a schema beside the type's own.
type Parameters = [(&'static str, String)];

fn plain(kind: &str, default: Option<&str>, more: &Parameters) -> String {
    if default.is_none() && more.is_empty() {
        return format!("\"{kind}\"");
    }
    Properties::new(kind).parameters(&[], more).default(default).end()
}

fn semantic(kind: &str, name: &str, default: Option<&str>, more: &Parameters) -> String {
    let kind = Properties::new(kind).raw("connect.version", "1").parameters(&[], more);
    kind.default(default).text("connect.name", name).end()
}

/// One of Connect's own types, which have an Avro logical type.
fn logical(kind: &str, name: &str, logical: &str, default: Option<&str>, more: &Parameters) -> String {
    Properties::new(kind)
        .raw("connect.version", "1")
        .parameters(&[], more)
        .default(default)
        .text("connect.name", name)
        .text("logicalType", logical)
        .end()
}

/// `declared`: the precision is the column's own, so Debezium names it in the parameters too.
fn decimal(precision: i32, scale: i32, declared: bool, default: Option<&str>, more: &Parameters) -> String {
    let mut parameters = vec![("scale", scale.to_string())];
    if declared {
        parameters.push(("connect.decimal.precision", precision.to_string()));
    }
    Properties::new("bytes")
        .raw("scale", &scale.to_string())
        .raw("precision", &precision.to_string())
        .raw("connect.version", "1")
        .parameters(&parameters, more)
        .default(default)
        .text("connect.name", "org.apache.kafka.connect.data.Decimal")
        .text("logicalType", "decimal")
        .end()
}

/// A type with properties, in the order given.
struct Properties(String);

impl Properties {
    fn new(kind: &str) -> Self {
        Self(format!(r#"{{"type":"{kind}""#))
    }

    fn raw(mut self, name: &str, json: &str) -> Self {
        // Writing into a String cannot fail.
        let _ = write!(self.0, r#","{name}":{json}"#);
        self
    }

    fn parameters(self, own: &Parameters, more: &Parameters) -> Self {
        if own.is_empty() && more.is_empty() {
            return self;
        }
        let pair = |(name, value): &(&str, String)| format!("{}:{}", json_string(name), json_string(value));
        let pairs: Vec<String> = own.iter().chain(more).map(pair).collect();
        self.raw("connect.parameters", &format!("{{{}}}", pairs.join(",")))
    }

    fn text(self, name: &str, value: &str) -> Self {
        self.raw(name, &json_string(value))
    }

    fn default(self, json: Option<&str>) -> Self {
        match json {
            Some(json) => self.raw("connect.default", json),
            None => self,
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
