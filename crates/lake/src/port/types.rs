//! Which type of PostgreSQL stands for which of Arrow, and to which few kinds all results are brought. Pure.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

pub const BOOL: u32 = 16;
pub const BYTEA: u32 = 17;
pub const NAME: u32 = 19;
pub const INT8: u32 = 20;
pub const INT2: u32 = 21;
pub const INT4: u32 = 23;
pub const TEXT: u32 = 25;
pub const OID: u32 = 26;
pub const JSON: u32 = 114;
pub const FLOAT4: u32 = 700;
pub const FLOAT8: u32 = 701;
pub const BPCHAR: u32 = 1042;
pub const VARCHAR: u32 = 1043;
pub const DATE: u32 = 1082;
pub const TIME: u32 = 1083;
pub const TIMESTAMP: u32 = 1114;
pub const TIMESTAMPTZ: u32 = 1184;
pub const NUMERIC: u32 = 1700;
pub const UUID: u32 = 2950;
pub const JSONB: u32 = 3802;

/// A type of ours: oid, name, length, oid of its array, category, name as SQL writes it.
pub type Known = (u32, &'static str, i16, u32, &'static str, &'static str);

/// The types results have, and those parameters may have.
pub const KNOWN: [Known; 20] = [
    (BOOL, "bool", 1, 1000, "B", "boolean"),
    (BYTEA, "bytea", -1, 1001, "U", "bytea"),
    (NAME, "name", 64, 1003, "S", "name"),
    (INT8, "int8", 8, 1016, "N", "bigint"),
    (INT2, "int2", 2, 1005, "N", "smallint"),
    (INT4, "int4", 4, 1007, "N", "integer"),
    (TEXT, "text", -1, 1009, "S", "text"),
    (OID, "oid", 4, 1028, "N", "oid"),
    (JSON, "json", -1, 199, "U", "json"),
    (FLOAT4, "float4", 4, 1021, "N", "real"),
    (FLOAT8, "float8", 8, 1022, "N", "double precision"),
    (BPCHAR, "bpchar", -1, 1014, "S", "character"),
    (VARCHAR, "varchar", -1, 1015, "S", "character varying"),
    (DATE, "date", 4, 1182, "D", "date"),
    (TIME, "time", 8, 1183, "D", "time without time zone"),
    (TIMESTAMP, "timestamp", 8, 1115, "D", "timestamp without time zone"),
    (TIMESTAMPTZ, "timestamptz", 8, 1185, "D", "timestamp with time zone"),
    (NUMERIC, "numeric", -1, 1231, "N", "numeric"),
    (UUID, "uuid", 16, 2951, "U", "uuid"),
    (JSONB, "jsonb", -1, 3807, "U", "jsonb"),
];

/// What is known of a type.
#[must_use]
pub fn known(oid: u32) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.0 == oid)
}

/// Name of a type as SQL writes it, with what a column's `typmod` says.
#[must_use]
pub fn sql_name(oid: u32, typmod: i32) -> String {
    if let Some(element) = KNOWN.iter().find(|known| known.3 == oid) {
        return format!("{}[]", sql_name(element.0, typmod));
    }
    match known(oid) {
        Some(_) if oid == NUMERIC && typmod >= 4 => {
            format!("numeric({},{})", (typmod - 4) >> 16, (typmod - 4) & 0xffff)
        }
        Some(known) => known.5.to_owned(),
        None => "???".to_owned(),
    }
}

/// The kind to which values of an Arrow type are brought before they are written; what is none of them goes as text.
#[must_use]
pub fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::Boolean
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(_, _) => kind.clone(),
        DataType::Int8 | DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Date32 | DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Microsecond),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::Dictionary(_, values) => plain(values),
        DataType::List(element) | DataType::LargeList(element) | DataType::FixedSizeList(element, _) => {
            match plain(element.data_type()) {
                // A list of lists is text: PostgreSQL's arrays have all rows of one length.
                DataType::List(_) => DataType::Utf8,
                plain => DataType::List(Arc::new(Field::new("item", plain, true))),
            }
        }
        _ => DataType::Utf8,
    }
}

/// Function of PostgreSQL that reads a type's binary form: by its name the ADBC driver knows the type.
#[must_use]
pub fn receives(oid: u32) -> &'static str {
    match oid {
        BOOL => "boolrecv",
        BYTEA => "bytearecv",
        NAME => "namerecv",
        INT8 => "int8recv",
        INT2 => "int2recv",
        INT4 => "int4recv",
        OID => "oidrecv",
        JSON => "json_recv",
        FLOAT4 => "float4recv",
        FLOAT8 => "float8recv",
        BPCHAR => "bpcharrecv",
        VARCHAR => "varcharrecv",
        DATE => "date_recv",
        TIME => "time_recv",
        TIMESTAMP => "timestamp_recv",
        TIMESTAMPTZ => "timestamptz_recv",
        NUMERIC => "numeric_recv",
        UUID => "uuid_recv",
        JSONB => "jsonb_recv",
        _ => "textrecv",
    }
}

/// Type of PostgreSQL, its length and typmod, for a kind that [`plain`] gives.
#[must_use]
pub fn described(kind: &DataType) -> (u32, i16, i32) {
    let (oid, typmod) = match kind {
        DataType::Boolean => (BOOL, -1),
        DataType::Int16 => (INT2, -1),
        DataType::Int32 => (INT4, -1),
        DataType::Int64 => (INT8, -1),
        DataType::Float32 => (FLOAT4, -1),
        DataType::Float64 => (FLOAT8, -1),
        DataType::Decimal128(precision, scale) => {
            (NUMERIC, ((i32::from(*precision) << 16) | (i32::from(*scale) & 0xffff)) + 4)
        }
        DataType::Binary => (BYTEA, -1),
        DataType::Date32 => (DATE, -1),
        DataType::Time64(_) => (TIME, -1),
        DataType::Timestamp(_, None) => (TIMESTAMP, -1),
        DataType::Timestamp(_, Some(_)) => (TIMESTAMPTZ, -1),
        DataType::List(element) => {
            let (element, _, typmod) = described(element.data_type());
            return (known(element).map_or(1009, |known| known.3), -1, typmod);
        }
        _ => (TEXT, -1),
    };
    (oid, known(oid).map_or(-1, |known| known.2), typmod)
}

/// The Arrow type a parameter of a type of PostgreSQL has.
#[must_use]
pub fn arrow(oid: u32) -> Option<DataType> {
    Some(match oid {
        BOOL => DataType::Boolean,
        INT2 => DataType::Int16,
        INT4 => DataType::Int32,
        INT8 | OID => DataType::Int64,
        FLOAT4 => DataType::Float32,
        FLOAT8 => DataType::Float64,
        NUMERIC => DataType::Decimal128(38, 10),
        BYTEA => DataType::Binary,
        DATE => DataType::Date32,
        TIME => DataType::Time64(TimeUnit::Microsecond),
        TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        TEXT | VARCHAR | BPCHAR | NAME | UUID | JSON | JSONB => DataType::Utf8,
        _ => return None,
    })
}
