//! Which Avro field a column becomes: Debezium's mapping of Postgres types under its default settings (decimals precise,
//! times adaptive, intervals numeric, `hstore` as JSON), and the bytes that stand for "no value".

use super::{
    UNAVAILABLE_VALUE,
    avro::{self, Primitive},
    default, naming, nested, text,
};
use crate::table::Column;

/// The Avro type of a field, as far as encoding and schema need it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FieldType {
    /// `bool`, and bit strings of length 1.
    Boolean,
    Int2,
    Int4,
    /// `int8` and `oid`.
    Int8,
    Float4,
    Float8,
    /// `numeric(precision, scale)`.
    Decimal {
        precision: i32,
        scale: i32,
    },
    /// `numeric` without precision.
    VariableDecimal,
    Money,
    /// Everything whose text is the value.
    String(Text),
    Bytea,
    Date,
    /// `time(0..3)`
    TimeMillis,
    TimeMicros,
    TimeTz,
    /// `timestamp(0..3)`
    TimestampMillis,
    TimestampMicros,
    /// Decimals of a second to write; 0: as many as needed.
    TimestampTz {
        digits: u8,
    },
    Interval,
    /// Length of the bit string.
    Bits {
        length: u32,
    },
    Hstore,
    Point,
    Array {
        item: Box<Self>,
        items_nullable: bool,
    },
}

/// What a string field means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    Plain,
    /// A Debezium semantic type, version 1.
    Named(&'static str),
    /// Labels, comma separated.
    Enum(String),
}

impl FieldType {
    /// The type of a column; `None` for types that Debezium leaves out of its records.
    pub(super) fn of(column: &Column) -> Option<Self> {
        if let Some(item) = column.type_name.strip_prefix('_') {
            return Self::array_of(item, column);
        }
        Self::scalar(&column.type_name, column)
    }

    fn array_of(item: &str, column: &Column) -> Option<Self> {
        let enumeration = !column.enum_labels.is_empty();
        let supported = matches!(
            item,
            "int2"
                | "int4"
                | "int8"
                | "oid"
                | "char"
                | "varchar"
                | "text"
                | "bpchar"
                | "inet"
                | "cidr"
                | "macaddr"
                | "macaddr8"
                | "tsrange"
                | "tstzrange"
                | "daterange"
                | "int4range"
                | "numrange"
                | "int8range"
                | "numeric"
                | "float4"
                | "float8"
                | "bool"
                | "date"
                | "uuid"
                | "jsonb"
                | "json"
                | "time"
                | "timetz"
                | "timestamp"
                | "timestamptz"
                | "bytea"
                | "hstore"
                | "citext"
                | "ltree"
        );
        if !enumeration && !supported {
            return None;
        }
        let item = Self::scalar(item, column)?;
        // Debezium's arrays of enums have items that are not nullable; all others are.
        Some(Self::Array { item: Box::new(item), items_nullable: !enumeration })
    }

    fn scalar(type_name: &str, column: &Column) -> Option<Self> {
        if !column.enum_labels.is_empty() {
            return Some(Self::String(Text::Enum(column.enum_labels.join(","))));
        }
        let typmod = column.typmod;
        Some(match type_name {
            "bool" => Self::Boolean,
            "int2" => Self::Int2,
            "int4" => Self::Int4,
            "int8" | "oid" => Self::Int8,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "numeric" => Self::numeric(typmod),
            "money" => Self::Money,
            "text" | "varchar" | "bpchar" | "char" | "name" | "citext" | "inet" | "cidr" | "macaddr" | "macaddr8"
            | "int4range" | "int8range" | "numrange" | "tsrange" | "tstzrange" | "daterange" | "isbn" => {
                Self::String(Text::Plain)
            }
            "uuid" => Self::String(Text::Named("io.debezium.data.Uuid")),
            "json" | "jsonb" => Self::String(Text::Named("io.debezium.data.Json")),
            "xml" => Self::String(Text::Named("io.debezium.data.Xml")),
            "tsvector" => Self::String(Text::Named("io.debezium.data.TsVector")),
            "ltree" => Self::String(Text::Named("io.debezium.data.Ltree")),
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            "time" if (0..=3).contains(&typmod) => Self::TimeMillis,
            "time" => Self::TimeMicros,
            "timetz" => Self::TimeTz,
            "timestamp" if (0..=3).contains(&typmod) => Self::TimestampMillis,
            "timestamp" => Self::TimestampMicros,
            "timestamptz" => Self::TimestampTz { digits: u8::try_from(typmod).unwrap_or(6) },
            "interval" => Self::Interval,
            "bit" | "varbit" if typmod == 1 => Self::Boolean,
            "bit" if typmod < 1 => Self::Boolean,
            "bit" | "varbit" => Self::Bits { length: u32::try_from(typmod).unwrap_or(i32::MAX.unsigned_abs()) },
            "hstore" => Self::Hstore,
            "point" => Self::Point,
            _ => return None,
        })
    }

    /// `typmod` of a numeric is `(precision << 16 | scale) + 4`, the scale in 11 bits with sign.
    fn numeric(typmod: i32) -> Self {
        if typmod < 4 {
            return Self::VariableDecimal;
        }
        let packed = typmod - 4;
        Self::Decimal { precision: packed >> 16 & 0xFFFF, scale: ((packed & 0x7FF) ^ 1024) - 1024 }
    }

    /// How the value is written when it is a primitive.
    pub(super) fn primitive(&self) -> Option<Primitive> {
        Some(match self {
            Self::Boolean => Primitive::Boolean,
            Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Date
            | Self::TimeMillis
            | Self::TimeMicros
            | Self::TimestampMillis
            | Self::TimestampMicros
            | Self::Interval => Primitive::Integer,
            Self::Float4 => Primitive::Float,
            Self::Float8 => Primitive::Double,
            Self::Decimal { .. } | Self::Money | Self::Bytea | Self::Bits { .. } => Primitive::Bytes,
            Self::String(_) | Self::TimeTz | Self::TimestampTz { .. } | Self::Hstore => Primitive::String,
            Self::VariableDecimal | Self::Point | Self::Array { .. } => return None,
        })
    }

    /// The value Debezium writes for a column that is `NOT NULL`, has no default, and yet no value: every column outside
    /// the key in the old row of a delete under the default replica identity.
    fn fallback(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Float4 => out.extend_from_slice(&0f32.to_le_bytes()),
            Self::Float8 => out.extend_from_slice(&0f64.to_le_bytes()),
            Self::Decimal { .. } | Self::Money => avro::integer_bytes(&mut out, 0),
            Self::VariableDecimal => {
                avro::long(&mut out, 0);
                avro::integer_bytes(&mut out, 0);
            }
            Self::TimeTz => avro::bytes(&mut out, b"00:00:00Z"),
            Self::TimestampTz { .. } => avro::bytes(&mut out, b"1970-01-01T00:00:00Z"),
            Self::Hstore => avro::bytes(&mut out, b"{}"),
            Self::Point => nested::push_point(0.0, 0.0, &mut out),
            // false, 0, "", no bytes, an empty array: one zero byte each.
            _ => out.push(0),
        }
        out
    }

    /// Debezium's stand-in for an unchanged TOASTed value of this type, where it has one.
    fn unavailable(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::String(_) | Self::Bytea => avro::bytes(&mut out, UNAVAILABLE_VALUE.as_bytes()),
            Self::Hstore => {
                let json = format!("{{\"{UNAVAILABLE_VALUE}\":\"{UNAVAILABLE_VALUE}\"}}");
                avro::bytes(&mut out, json.as_bytes());
            }
            Self::Array { item, items_nullable } => {
                let items = Self::unavailable_items(item)?;
                avro::long(&mut out, avro::length(items.len()));
                for item in items {
                    if *items_nullable {
                        out.push(2);
                    }
                    out.extend(item);
                }
                out.push(0);
            }
            _ => return None,
        }
        Some(out)
    }

    fn unavailable_items(item: &Self) -> Option<Vec<Vec<u8>>> {
        /// Version 3 UUID of the placeholder's bytes, as Java's `UUID.nameUUIDFromBytes` makes it.
        const UNAVAILABLE_UUID: &str = "b68a35a7-17ad-35b3-af2a-ae46edb4545a";
        let encoded = |bytes: &[u8]| {
            let mut out = Vec::new();
            avro::bytes(&mut out, bytes);
            out
        };
        Some(match item {
            Self::String(Text::Named("io.debezium.data.Uuid")) => vec![encoded(UNAVAILABLE_UUID.as_bytes())],
            Self::String(_) | Self::Bytea => vec![encoded(UNAVAILABLE_VALUE.as_bytes())],
            // One number per character.
            Self::Int4 | Self::Int8 | Self::Date => UNAVAILABLE_VALUE
                .bytes()
                .map(|byte| {
                    let mut out = Vec::new();
                    avro::long(&mut out, byte.into());
                    out
                })
                .collect(),
            _ => return None,
        })
    }
}

/// One column's place in the Avro record of its table.
#[derive(Debug)]
pub(super) struct Field {
    /// Index into the row.
    pub(super) column: usize,
    /// Name in the Avro schema.
    pub(super) name: String,
    pub(super) kind: FieldType,
    /// The column may be `NULL`, so the field is a union.
    pub(super) nullable: bool,
    /// The column's default as Debezium evaluates it, Avro-encoded.
    pub(super) default: Option<Vec<u8>>,
    /// Union branch in front of a value.
    branch: Option<u8>,
    /// What is written for `NULL`.
    null: Vec<u8>,
    /// What is written for an unchanged TOASTed value.
    unchanged: Option<Vec<u8>>,
}

impl Field {
    /// `None` when the column's type has no place in Debezium's records.
    pub(super) fn new(index: usize, column: &Column) -> Option<Self> {
        let kind = FieldType::of(column)?;
        let default = default::evaluate(column, &kind);
        // A nullable field is a union; the default's branch must come first, so with a default that is the value's.
        let branch = column.nullable.then_some(if default.is_some() { 0 } else { 2 });
        let with_branch = |value: Vec<u8>| branch.into_iter().chain(value).collect::<Vec<u8>>();
        let null = match (&default, column.nullable) {
            // Connect's Struct.get hands out the default for a null: a NULL in such a column is lost. Debezium's way.
            (Some(default), _) => with_branch(default.clone()),
            (None, true) => vec![0],
            (None, false) => kind.fallback(),
        };
        let unchanged = match kind.unavailable() {
            Some(value) => Some(with_branch(value)),
            None if column.nullable => Some(null.clone()),
            None => None,
        };
        let name = naming::field_name(&column.name);
        Some(Self { column: index, name, kind, nullable: column.nullable, default, branch, null, unchanged })
    }

    /// Appends a value with its union branch.
    #[inline]
    pub(super) fn encode_text(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        if let Some(branch) = self.branch {
            out.push(branch);
        }
        text::encode(&self.kind, text, out)
    }

    /// Appends what stands for `NULL`.
    #[inline]
    pub(super) fn encode_null(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.null);
    }

    /// Appends what stands for an unchanged TOASTed value.
    pub(super) fn encode_unchanged(&self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let unchanged = self.unchanged.as_ref().ok_or(
            "an unchanged TOASTed value, for which this type has no placeholder; set REPLICA IDENTITY FULL on the table",
        )?;
        out.extend_from_slice(unchanged);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn column(type_name: &str, typmod: i32) -> Column {
        Column { name: "c".into(), type_name: type_name.into(), typmod, nullable: true, ..Column::default() }
    }

    #[test]
    fn precision_chooses_the_type() {
        assert_eq!(FieldType::of(&column("numeric", 655_366)).unwrap(), FieldType::Decimal { precision: 10, scale: 2 });
        assert_eq!(
            FieldType::of(&column("numeric", (3 << 16 | 0x7FE) + 4)).unwrap(),
            FieldType::Decimal { precision: 3, scale: -2 }
        );
        assert_eq!(FieldType::of(&column("numeric", -1)).unwrap(), FieldType::VariableDecimal);
        assert_eq!(FieldType::of(&column("time", 3)).unwrap(), FieldType::TimeMillis);
        assert_eq!(FieldType::of(&column("timestamp", -1)).unwrap(), FieldType::TimestampMicros);
        assert_eq!(FieldType::of(&column("timestamptz", 3)).unwrap(), FieldType::TimestampTz { digits: 3 });
        assert_eq!(FieldType::of(&column("bit", 1)).unwrap(), FieldType::Boolean);
        assert_eq!(FieldType::of(&column("varbit", 12)).unwrap(), FieldType::Bits { length: 12 });
    }

    #[test]
    fn types_debezium_leaves_out_are_left_out() {
        for name in ["tsquery", "pg_lsn", "_interval", "_xml", "_point", "int4multirange"] {
            assert_eq!(FieldType::of(&column(name, -1)), None, "{name}");
        }
    }
}
