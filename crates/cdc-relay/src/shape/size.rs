//! Length and scale of a column as the JDBC driver tells them, which Debezium goes by.

use model::table::Column;

/// What the driver says of a type without limit.
const UNLIMITED: usize = i32::MAX.unsigned_abs() as usize;

/// Whether JDBC takes the type for a string.
pub(super) fn is_text(column: &Column) -> bool {
    let array = column.type_name.starts_with('_');
    matches!(column.type_name.as_str(), "text" | "varchar" | "bpchar" | "char" | "name")
        || !array && !column.enum_labels.is_empty()
}

/// Characters, digits or bits the column holds; of times, the length of their text.
pub(super) fn length(column: &Column) -> usize {
    let typmod = usize::try_from(column.typmod).ok();
    // A dot and the digits behind it.
    let seconds = match column.typmod {
        -1 => 7,
        0 => 0,
        digits => usize::try_from(digits).unwrap_or(6) + 1,
    };
    match column.type_name.as_str() {
        "int2" => 5,
        "int4" | "oid" => 10,
        "int8" => 19,
        "float4" => 8,
        "float8" => 17,
        "bool" => 1,
        "numeric" => typmod.map_or(0, |packed| packed.saturating_sub(4) >> 16),
        "varchar" | "bpchar" => typmod.map_or(UNLIMITED, |length| length.saturating_sub(4)),
        "bit" => typmod.unwrap_or(1),
        "varbit" => typmod.unwrap_or(UNLIMITED),
        "date" => 13,
        "time" => 8 + seconds,
        "timetz" => 14 + seconds,
        "timestamp" => 22 + seconds,
        "timestamptz" => 28 + seconds,
        "interval" => 49,
        _ => UNLIMITED,
    }
}

/// Digits behind the point.
pub(super) fn scale(column: &Column) -> i32 {
    match column.type_name.as_str() {
        "float4" => 8,
        "float8" => 17,
        "numeric" if column.typmod >= 4 => (((column.typmod - 4) & 0x7FF) ^ 1024) - 1024,
        "time" | "timetz" | "timestamp" | "timestamptz" | "interval" if column.typmod < 0 => 6,
        "time" | "timetz" | "timestamp" | "timestamptz" => column.typmod,
        "interval" => column.typmod & 0xFFFF,
        _ => 0,
    }
}
