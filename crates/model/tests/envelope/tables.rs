//! The tables of `tests/golden/00-schema.sql` and `01-before-snapshot.sql`, as the catalog describes them.

use model::table::{Column, TableId, TableSchema};

/// `numeric(10,2)`
const NUMERIC_10_2: i32 = (10 << 16 | 2) + 4;

fn column(name: &str, type_name: &str) -> Column {
    Column { name: name.into(), type_name: type_name.into(), typmod: -1, nullable: true, ..Column::default() }
}

fn typmod(mut column: Column, typmod: i32) -> Column {
    column.typmod = typmod;
    column
}

fn not_null(mut column: Column) -> Column {
    column.nullable = false;
    column
}

fn default(mut column: Column, expression: &str) -> Column {
    column.default = Some(expression.into());
    column
}

fn serial(table: &str) -> Column {
    let mut id = default(not_null(column("id", "int4")), &format!("nextval('{table}_id_seq'::regclass)"));
    id.identity_or_serial = true;
    id
}

fn varchar(name: &str, length: i32) -> Column {
    typmod(column(name, "varchar"), length + 4)
}

fn now(name: &str) -> Column {
    default(not_null(column(name, "timestamp")), "now()")
}

fn money(name: &str) -> Column {
    typmod(not_null(column(name, "numeric")), NUMERIC_10_2)
}

fn table(name: &str, key: &[usize], columns: Vec<Column>) -> TableSchema {
    TableSchema { id: TableId(1), schema: "public".into(), name: name.into(), columns, key: key.to_vec() }
}

/// Every table of the reference data, by the last part of its topic.
pub fn all() -> Vec<(&'static str, TableSchema)> {
    vec![
        ("customers", customers()),
        ("products", products()),
        ("orders", orders()),
        ("order_items", order_items()),
        ("payments", payments()),
        ("all_types", all_types()),
        ("toasty", toasty(true)),
        ("toasty_full", toasty(false)),
        ("ri_full", ri_full()),
        ("composite_pk", composite_pk()),
        ("no_pk", table("no_pk", &[], vec![column("a", "int4"), column("b", "text")])),
        ("WeirdTable_1", weird()),
    ]
}

pub fn customers() -> TableSchema {
    let columns = vec![
        serial("customers"),
        not_null(varchar("email", 255)),
        not_null(varchar("first_name", 100)),
        not_null(varchar("last_name", 100)),
        varchar("phone", 32),
        column("address", "text"),
        now("created_at"),
        now("updated_at"),
    ];
    table("customers", &[0], columns)
}

/// As Debezium saw it between `ADD COLUMN loyalty int DEFAULT 5` and the column's removal: it asked the catalog for the
/// default when the column was gone already.
pub fn customers_with_loyalty() -> TableSchema {
    let mut customers = customers();
    customers.columns.push(column("loyalty", "int4"));
    customers
}

fn products() -> TableSchema {
    let columns = vec![
        serial("products"),
        not_null(varchar("name", 255)),
        varchar("category", 100),
        column("description", "text"),
        money("price"),
        default(not_null(column("stock", "int4")), "0"),
        now("created_at"),
        now("updated_at"),
    ];
    table("products", &[0], columns)
}

pub fn orders() -> TableSchema {
    let columns = vec![
        serial("orders"),
        not_null(column("customer_id", "int4")),
        default(not_null(varchar("status", 20)), "'pending'::character varying"),
        money("total"),
        now("created_at"),
        now("updated_at"),
    ];
    table("orders", &[0], columns)
}

fn order_items() -> TableSchema {
    let columns = vec![
        serial("order_items"),
        not_null(column("order_id", "int4")),
        not_null(column("product_id", "int4")),
        not_null(column("quantity", "int4")),
        money("unit_price"),
    ];
    table("order_items", &[0], columns)
}

fn payments() -> TableSchema {
    let columns = vec![
        serial("payments"),
        not_null(column("order_id", "int4")),
        not_null(varchar("method", 20)),
        money("amount"),
        default(not_null(varchar("status", 20)), "'pending'::character varying"),
        now("created_at"),
    ];
    table("payments", &[0], columns)
}

fn all_types() -> TableSchema {
    let labels = |mut column: Column| {
        column.enum_labels = ["sad", "ok", "happy"].map(str::to_owned).to_vec();
        column
    };
    let mut columns = vec![default(not_null(column("id", "int8")), "nextval('all_types_id_seq'::regclass)")];
    for (name, type_name, modifier) in [
        ("c_bool", "bool", -1),
        ("c_int2", "int2", -1),
        ("c_int4", "int4", -1),
        ("c_int8", "int8", -1),
        ("c_float4", "float4", -1),
        ("c_float8", "float8", -1),
        ("c_num102", "numeric", NUMERIC_10_2),
        ("c_num5", "numeric", (5 << 16) + 4),
        ("c_num", "numeric", -1),
        ("c_text", "text", -1),
        ("c_varchar", "varchar", 24),
        ("c_char", "bpchar", 9),
        ("c_bytea", "bytea", -1),
        ("c_date", "date", -1),
        ("c_time", "time", -1),
        ("c_time3", "time", 3),
        ("c_timetz", "timetz", -1),
        ("c_ts", "timestamp", -1),
        ("c_ts3", "timestamp", 3),
        ("c_ts0", "timestamp", 0),
        ("c_tstz", "timestamptz", -1),
        ("c_interval", "interval", -1),
        ("c_uuid", "uuid", -1),
        ("c_json", "json", -1),
        ("c_jsonb", "jsonb", -1),
        ("c_xml", "xml", -1),
        ("c_inet", "inet", -1),
        ("c_cidr", "cidr", -1),
        ("c_macaddr", "macaddr", -1),
        ("c_intarr", "_int4", -1),
        ("c_textarr", "_text", -1),
        ("c_numarr", "_numeric", (6 << 16 | 2) + 4),
        ("c_mood", "mood", -1),
        ("c_moodarr", "_mood", -1),
        ("c_money", "money", -1),
        ("c_bit1", "bit", 1),
        ("c_bit8", "bit", 8),
        ("c_varbit", "varbit", 12),
        ("c_hstore", "hstore", -1),
        ("c_point", "point", -1),
        ("c_int4range", "int4range", -1),
        ("c_tsrange", "tsrange", -1),
        ("c_oid", "oid", -1),
    ] {
        let column = typmod(column(name, type_name), modifier);
        columns.push(if type_name.ends_with("mood") { labels(column) } else { column });
    }
    columns.push(default(not_null(column("c_nn", "int4")), "7"));
    columns.push(default(column("c_def", "text"), "'dflt'::text"));
    columns.push(default(not_null(column("c_defnn", "text")), "'x'::text"));
    table("all_types", &[0], columns)
}

fn toasty(with_array: bool) -> TableSchema {
    let mut columns = vec![not_null(column("id", "int4")), column("small", "text"), column("big", "text")];
    if with_array {
        columns.push(column("bigarr", "_text"));
        return table("toasty", &[0], columns);
    }
    table("toasty_full", &[0], columns)
}

fn ri_full() -> TableSchema {
    let columns =
        vec![not_null(column("id", "int4")), column("a", "text"), typmod(column("b", "numeric"), NUMERIC_10_2)];
    table("ri_full", &[0], columns)
}

fn composite_pk() -> TableSchema {
    let columns = vec![not_null(column("a", "int4")), not_null(column("b", "text")), column("v", "text")];
    table("composite_pk", &[1, 0], columns)
}

fn weird() -> TableSchema {
    let columns = vec![
        not_null(column("Id Col", "int4")),
        column("select", "text"),
        column("héé", "int4"),
        column("9lives", "int4"),
    ];
    table("WeirdTable$1", &[0], columns)
}
