//! Which Avro field a column becomes: Debezium's mapping of Postgres types under the connector's [`TypeModes`].

use super::{
    avro::Primitive,
    default,
    modes::{BinaryMode, DecimalMode, HstoreMode, IntervalMode, TimeMode, TypeModes},
    naming,
    plan::{ColumnPlan, ValueRule},
    rule, stand_in, text,
    time::BEYOND_NANOSECONDS,
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
    /// `numeric` as its text. `scale`: decimals of the column, where it has a precision.
    DecimalText {
        scale: Option<i32>,
    },
    /// `money` as Connect's decimal.
    Money {
        digits: u8,
    },
    MoneyText {
        digits: u8,
    },
    MoneyDouble,
    /// Everything whose text is the value.
    String(Text),
    Bytea,
    /// `bytea` as a string.
    ByteaText(BinaryText),
    /// A type without a mapping: the bytes of its text.
    Unknown,
    UnknownText(BinaryText),
    Date,
    IsoDate,
    ConnectDate,
    /// `time(0..3)`
    TimeMillis,
    TimeMicros,
    TimeNanos,
    IsoTime,
    ConnectTime,
    TimeTz,
    /// `timestamp(0..3)`
    TimestampMillis,
    TimestampMicros,
    TimestampNanos,
    IsoTimestamp,
    ConnectTimestamp,
    /// Decimals of a second to write; 0: as many as needed.
    TimestampTz {
        digits: u8,
    },
    Interval,
    IntervalText,
    /// Length of the bit string.
    Bits {
        length: u32,
    },
    Hstore,
    /// `hstore` as a map of strings.
    HstoreMap,
    Point,
    Array {
        item: Box<Self>,
        items_nullable: bool,
    },
}

/// How bytes are spelled as a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BinaryText {
    Base64,
    Base64UrlSafe,
    Hex,
}

impl BinaryText {
    fn of(mode: BinaryMode) -> Option<Self> {
        match mode {
            BinaryMode::Bytes => None,
            BinaryMode::Base64 => Some(Self::Base64),
            BinaryMode::Base64UrlSafe => Some(Self::Base64UrlSafe),
            BinaryMode::Hex => Some(Self::Hex),
        }
    }
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
    pub(super) fn of(column: &Column, modes: &TypeModes) -> Option<Self> {
        if let Some(item) = column.type_name.strip_prefix('_') {
            return Self::array_of(item, column, modes);
        }
        let known = Self::scalar(&column.type_name, column, modes);
        known.or_else(|| modes.include_unknown.then(|| Self::unknown(modes)))
    }

    fn unknown(modes: &TypeModes) -> Self {
        BinaryText::of(modes.binary).map_or(Self::Unknown, Self::UnknownText)
    }

    fn array_of(item: &str, column: &Column, modes: &TypeModes) -> Option<Self> {
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
        let item = Self::scalar(item, column, modes)?;
        // Debezium's arrays of enums have items that are not nullable; all others are.
        Some(Self::Array { item: Box::new(item), items_nullable: !enumeration })
    }

    fn scalar(type_name: &str, column: &Column, modes: &TypeModes) -> Option<Self> {
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
            "numeric" => Self::numeric(typmod, modes.decimals),
            "money" => Self::money(modes),
            "text" | "varchar" | "bpchar" | "char" | "name" | "citext" | "inet" | "cidr" | "macaddr" | "macaddr8"
            | "int4range" | "int8range" | "numrange" | "tsrange" | "tstzrange" | "daterange" | "isbn" => {
                Self::String(Text::Plain)
            }
            "uuid" => Self::String(Text::Named("io.debezium.data.Uuid")),
            "json" | "jsonb" => Self::String(Text::Named("io.debezium.data.Json")),
            "xml" => Self::String(Text::Named("io.debezium.data.Xml")),
            "tsvector" => Self::String(Text::Named("io.debezium.data.Tsvector")),
            "ltree" => Self::String(Text::Named("io.debezium.data.Ltree")),
            "bytea" => BinaryText::of(modes.binary).map_or(Self::Bytea, Self::ByteaText),
            "date" => Self::date(modes.times),
            "time" => Self::time(modes.times, (0..=3).contains(&typmod)),
            "timetz" => Self::TimeTz,
            "timestamp" => Self::timestamp(modes.times, (0..=3).contains(&typmod)),
            "timestamptz" => Self::TimestampTz { digits: u8::try_from(typmod).unwrap_or(6) },
            "interval" if modes.intervals == IntervalMode::String => Self::IntervalText,
            "interval" => Self::Interval,
            "bit" | "varbit" if typmod == 1 => Self::Boolean,
            "bit" if typmod < 1 => Self::Boolean,
            "bit" | "varbit" => Self::Bits { length: u32::try_from(typmod).unwrap_or(i32::MAX.unsigned_abs()) },
            "hstore" if modes.hstore == HstoreMode::Map => Self::HstoreMap,
            "hstore" => Self::Hstore,
            "point" => Self::Point,
            _ => return None,
        })
    }

    /// `typmod` of a numeric is `(precision << 16 | scale) + 4`, the scale in 11 bits with sign.
    fn numeric(typmod: i32, mode: DecimalMode) -> Self {
        let declared = (typmod >= 4).then(|| {
            let packed = typmod - 4;
            (packed >> 16 & 0xFFFF, ((packed & 0x7FF) ^ 1024) - 1024)
        });
        match (mode, declared) {
            (DecimalMode::Double, _) => Self::Float8,
            (DecimalMode::String, declared) => Self::DecimalText { scale: declared.map(|(_, scale)| scale) },
            (DecimalMode::Precise, Some((precision, scale))) => Self::Decimal { precision, scale },
            (DecimalMode::Precise, None) => Self::VariableDecimal,
        }
    }

    fn money(modes: &TypeModes) -> Self {
        let digits = modes.money_digits;
        match modes.decimals {
            DecimalMode::Precise => Self::Money { digits },
            DecimalMode::String => Self::MoneyText { digits },
            DecimalMode::Double => Self::MoneyDouble,
        }
    }

    fn date(mode: TimeMode) -> Self {
        match mode {
            TimeMode::IsoString => Self::IsoDate,
            TimeMode::Connect => Self::ConnectDate,
            TimeMode::Adaptive
            | TimeMode::AdaptiveTimeMicroseconds
            | TimeMode::Microseconds
            | TimeMode::Nanoseconds => Self::Date,
        }
    }

    /// `coarse`: the column keeps milliseconds at most.
    fn time(mode: TimeMode, coarse: bool) -> Self {
        match mode {
            TimeMode::Adaptive if coarse => Self::TimeMillis,
            TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds | TimeMode::Microseconds => Self::TimeMicros,
            TimeMode::Nanoseconds => Self::TimeNanos,
            TimeMode::IsoString => Self::IsoTime,
            TimeMode::Connect => Self::ConnectTime,
        }
    }

    fn timestamp(mode: TimeMode, coarse: bool) -> Self {
        match mode {
            TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds if coarse => Self::TimestampMillis,
            TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds | TimeMode::Microseconds => Self::TimestampMicros,
            TimeMode::Nanoseconds => Self::TimestampNanos,
            TimeMode::IsoString => Self::IsoTimestamp,
            TimeMode::Connect => Self::ConnectTimestamp,
        }
    }

    /// How the value is written when it is a primitive.
    pub(super) fn primitive(&self) -> Option<Primitive> {
        Some(match self {
            Self::Boolean => Primitive::Boolean,
            Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Date
            | Self::ConnectDate
            | Self::TimeMillis
            | Self::TimeMicros
            | Self::TimeNanos
            | Self::ConnectTime
            | Self::TimestampMillis
            | Self::TimestampMicros
            | Self::TimestampNanos
            | Self::ConnectTimestamp
            | Self::Interval => Primitive::Integer,
            Self::Float4 => Primitive::Float,
            Self::Float8 | Self::MoneyDouble => Primitive::Double,
            Self::Decimal { .. } | Self::Money { .. } | Self::Bytea | Self::Bits { .. } | Self::Unknown => {
                Primitive::Bytes
            }
            Self::String(_)
            | Self::DecimalText { .. }
            | Self::MoneyText { .. }
            | Self::ByteaText(_)
            | Self::UnknownText(_)
            | Self::IsoDate
            | Self::IsoTime
            | Self::IsoTimestamp
            | Self::TimeTz
            | Self::TimestampTz { .. }
            | Self::IntervalText
            | Self::Hstore => Primitive::String,
            Self::VariableDecimal | Self::Point | Self::HstoreMap | Self::Array { .. } => return None,
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
    /// What becomes of a value; boxed, for hardly any field has one.
    rule: Option<Box<ValueRule>>,
    /// Parameters of the schema beside the type's own.
    pub(super) parameters: Vec<(&'static str, String)>,
}

impl Field {
    /// `None` when the column's type has no place in Debezium's records.
    pub(super) fn new(index: usize, column: &Column, modes: &TypeModes, plan: &ColumnPlan) -> Option<Self> {
        let kind = FieldType::of(column, modes)?;
        let default = default::evaluate(column, &kind);
        // A nullable field is a union; the default's branch must come first, so with a default that is the value's.
        let branch = column.nullable.then_some(if default.is_some() { 0 } else { 2 });
        let with_branch = |value: Vec<u8>| branch.into_iter().chain(value).collect::<Vec<u8>>();
        let ruled = |mut value: Vec<u8>| {
            if let Some(rule) = &plan.rule {
                rule::apply(rule, kind.primitive(), 0, &mut value);
            }
            value
        };
        let null = match (&default, column.nullable) {
            _ if matches!(plan.rule, Some(ValueRule::Mask(_))) => with_branch(ruled(vec![0])),
            // Connect's Struct.get hands out the default for a null: a NULL in such a column is lost. Debezium's way.
            (Some(default), _) => with_branch(default.clone()),
            (None, true) => vec![0],
            (None, false) => ruled(stand_in::no_value(&kind)),
        };
        let unchanged = match stand_in::unavailable(&kind, &modes.unavailable) {
            Some(value) => Some(with_branch(ruled(value))),
            None if column.nullable => Some(null.clone()),
            None => None,
        };
        let name = naming::field_name(&column.name);
        Some(Self {
            column: index,
            name,
            kind,
            nullable: column.nullable,
            default,
            branch,
            null,
            unchanged,
            rule: plan.rule.clone().map(Box::new),
            parameters: plan.parameters.clone(),
        })
    }

    /// Appends a value with its union branch.
    #[inline]
    pub(super) fn encode_text(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        let start = out.len();
        if let Some(branch) = self.branch {
            out.push(branch);
        }
        match text::encode(&self.kind, text, out) {
            Err(BEYOND_NANOSECONDS) => {
                out.truncate(start);
                self.encode_null(out);
                return Ok(());
            }
            outcome => outcome?,
        }
        if let Some(rule) = &self.rule {
            rule::apply(rule, self.kind.primitive(), start + usize::from(self.branch.is_some()), out);
        }
        Ok(())
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

    fn kind(column: &Column) -> Option<FieldType> {
        FieldType::of(column, &TypeModes::default())
    }

    #[test]
    fn precision_chooses_the_type() {
        assert_eq!(kind(&column("numeric", 655_366)).unwrap(), FieldType::Decimal { precision: 10, scale: 2 });
        assert_eq!(
            kind(&column("numeric", (3 << 16 | 0x7FE) + 4)).unwrap(),
            FieldType::Decimal { precision: 3, scale: -2 }
        );
        assert_eq!(kind(&column("numeric", -1)).unwrap(), FieldType::VariableDecimal);
        assert_eq!(kind(&column("time", 3)).unwrap(), FieldType::TimeMillis);
        assert_eq!(kind(&column("timestamp", -1)).unwrap(), FieldType::TimestampMicros);
        assert_eq!(kind(&column("timestamptz", 3)).unwrap(), FieldType::TimestampTz { digits: 3 });
        assert_eq!(kind(&column("bit", 1)).unwrap(), FieldType::Boolean);
        assert_eq!(kind(&column("varbit", 12)).unwrap(), FieldType::Bits { length: 12 });
    }

    #[test]
    fn types_debezium_leaves_out_are_left_out() {
        for name in ["tsquery", "pg_lsn", "_interval", "_xml", "_point", "int4multirange"] {
            assert_eq!(kind(&column(name, -1)), None, "{name}");
        }
    }
}
