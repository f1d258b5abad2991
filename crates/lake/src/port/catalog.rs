//! `pg_catalog`, as far as clients ask it for databases, schemas, tables, columns and types: tables in memory, made anew for
//! each statement that reads them. Everything else PostgreSQL keeps there is empty.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Int16Array, Int32Array, Int64Array, StringArray},
    datatypes::{DataType, SchemaRef},
    record_batch::RecordBatch,
};
use datafusion::{
    catalog::{MemorySchemaProvider, SchemaProvider},
    datasource::MemTable,
    logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf},
};

use super::types;
use crate::{
    error::Result,
    layers,
    sql::LAYERS,
    tables::{Tables, schema},
};

/// Tables whose rows nobody here has; in [`tables`] are those that others are joined with from the left.
const EMPTY: [&str; 35] = [
    "pg_aggregate",
    "pg_attrdef",
    "pg_auth_members",
    "pg_cast",
    "pg_collation",
    "pg_constraint",
    "pg_conversion",
    "pg_default_acl",
    "pg_depend",
    "pg_description",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_inherits",
    "pg_language",
    "pg_matviews",
    "pg_opclass",
    "pg_operator",
    "pg_partitioned_table",
    "pg_policy",
    "pg_proc",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_range",
    "pg_rewrite",
    "pg_sequence",
    "pg_shdescription",
    "pg_statistic_ext",
    "pg_trigger",
    "pg_views",
];

/// Oids of schemas; those of the layers follow from their names.
const OF_CATALOG: i64 = 11;
const OF_INFORMATION: i64 = 13_000;
/// `pg_class` in itself, which descriptions refer to.
const PG_CLASS: i64 = 1259;
const OWNER: i64 = 10;

/// Whether a table of the catalog never has rows.
#[must_use]
pub fn is_empty(name: &str) -> bool {
    EMPTY.contains(&name)
}

/// Oid of a table or schema by its name; the same in every process.
#[must_use]
pub fn oid_of(name: &str) -> i64 {
    match name.strip_prefix("pg_catalog.").unwrap_or(name) {
        "pg_class" => PG_CLASS,
        "pg_namespace" => 2615,
        "pg_type" => 1247,
        "pg_attribute" => 1249,
        "pg_proc" => 1255,
        "pg_database" => 1262,
        "pg_catalog" => OF_CATALOG,
        "information_schema" => OF_INFORMATION,
        // Above those that PostgreSQL keeps for itself.
        name => 16_384 + i64::try_from(xxhash_rust::xxh3::xxh3_64(name.as_bytes()) % 2_000_000_000).unwrap_or(0),
    }
}

/// A table or column of the lake.
struct Table {
    schema: &'static str,
    name: String,
    columns: SchemaRef,
}

async fn lake(tables: &Tables) -> Result<Vec<Table>> {
    let mut found = Vec::new();
    for layer in LAYERS {
        for ident in tables.list(layer).await? {
            // One that is dropped meanwhile is not there; one that cannot be read does not hide the others.
            if let Ok(Some(state)) = tables.cached(&ident).await
                && let Ok(columns) = schema::arrow_schema(state.metadata().current_schema())
            {
                found.push(Table { schema: layer, name: ident.name().to_owned(), columns });
            }
        }
    }
    // Two source databases may have tables of one name: SQL reaches the first.
    let mut seen = std::collections::HashSet::new();
    found.retain(|table| seen.insert((table.schema, table.name.clone())));
    Ok(found)
}

/// The schema `pg_catalog` as of now.
///
/// # Errors
/// When the lake's tables cannot be listed.
pub async fn schema(tables: &Tables) -> Result<Arc<dyn SchemaProvider>> {
    let all = lake(tables).await?;
    let provider = MemorySchemaProvider::new();
    let classes = pg_class(&all);
    for (name, columns) in [
        ("pg_namespace", namespaces()),
        ("pg_class", classes),
        ("pg_tables", pg_tables(&all)),
        ("pg_attribute", attributes(&all)),
        ("pg_type", pg_type()),
        ("pg_database", databases()),
        ("pg_roles", roles()),
        ("pg_user", roles()),
        ("pg_settings", settings()),
        ("pg_am", vec![longs("oid", [2]), texts("amname", ["iceberg"])]),
        (
            "pg_description",
            vec![longs("objoid", []), longs("classoid", []), ints("objsubid", []), texts("description", NONE)],
        ),
        ("pg_shdescription", vec![longs("objoid", []), longs("classoid", []), texts("description", NONE)]),
        ("pg_attrdef", vec![longs("oid", []), longs("adrelid", []), shorts("adnum", []), texts("adbin", NONE)]),
        (
            "pg_index",
            vec![longs("indexrelid", []), longs("indrelid", []), flags("indisprimary", []), flags("indisunique", [])],
        ),
        (
            "pg_constraint",
            vec![longs("oid", []), longs("conrelid", []), texts("conname", NONE), texts("contype", NONE)],
        ),
        ("pg_inherits", vec![longs("inhrelid", []), longs("inhparent", []), ints("inhseqno", [])]),
        ("pg_proc", vec![longs("oid", []), texts("proname", NONE), longs("pronamespace", [])]),
        ("pg_enum", vec![longs("oid", []), longs("enumtypid", []), texts("enumlabel", NONE)]),
        ("pg_range", vec![longs("rngtypid", []), longs("rngsubtype", [])]),
        ("pg_collation", vec![longs("oid", []), texts("collname", NONE)]),
        ("pg_tablespace", vec![longs("oid", []), texts("spcname", NONE)]),
    ] {
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))?;
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        provider.register_table(name.to_owned(), Arc::new(table))?;
    }
    Ok(Arc::new(provider))
}

type Column = (&'static str, ArrayRef);
const NONE: [&str; 0] = [];

fn texts<'a>(name: &'static str, values: impl IntoIterator<Item = &'a str>) -> Column {
    (name, Arc::new(values.into_iter().map(Some).collect::<StringArray>()))
}

fn longs(name: &'static str, values: impl IntoIterator<Item = i64>) -> Column {
    (name, Arc::new(values.into_iter().map(Some).collect::<Int64Array>()))
}

fn ints(name: &'static str, values: impl IntoIterator<Item = i32>) -> Column {
    (name, Arc::new(values.into_iter().map(Some).collect::<Int32Array>()))
}

fn shorts(name: &'static str, values: impl IntoIterator<Item = i16>) -> Column {
    (name, Arc::new(values.into_iter().map(Some).collect::<Int16Array>()))
}

fn flags(name: &'static str, values: impl IntoIterator<Item = bool>) -> Column {
    (name, Arc::new(values.into_iter().map(Some).collect::<BooleanArray>()))
}

fn nulls(name: &'static str, kind: &DataType, rows: usize) -> Column {
    (name, arrow::array::new_null_array(kind, rows))
}

/// The same value in every row.
fn every<T: Copy>(value: T, rows: usize) -> impl Iterator<Item = T> {
    std::iter::repeat_n(value, rows)
}

fn namespaces() -> Vec<Column> {
    let names = ["pg_catalog", "information_schema"].into_iter().chain(LAYERS);
    let names: Vec<&str> = names.collect();
    vec![
        longs("oid", names.iter().map(|name| oid_of(name))),
        texts("nspname", names.iter().copied()),
        longs("nspowner", every(OWNER, names.len())),
        nulls("nspacl", &DataType::Utf8, names.len()),
    ]
}

fn pg_class(all: &[Table]) -> Vec<Column> {
    let rows = all.len() + 1;
    let oids = all.iter().map(|table| oid_of(&format!("{}.{}", table.schema, table.name)));
    let names = all.iter().map(|table| table.name.as_str());
    let schemas = all.iter().map(|table| oid_of(table.schema));
    let columns = all.iter().map(|table| i16::try_from(table.columns.fields().len()).unwrap_or(i16::MAX));
    let mut out = vec![
        longs("oid", oids.chain([PG_CLASS])),
        texts("relname", names.chain(["pg_class"])),
        longs("relnamespace", schemas.chain([OF_CATALOG])),
        shorts("relnatts", columns.chain([33])),
        texts("relkind", every("r", rows)),
        texts("relpersistence", every("p", rows)),
        texts("relreplident", every("d", rows)),
        longs("relowner", every(OWNER, rows)),
        longs("relam", every(2, rows)),
        shorts("relchecks", every(0, rows)),
        ints("relpages", every(0, rows)),
        (("reltuples"), Arc::new(arrow::array::Float32Array::from(vec![-1.0; rows]))),
    ];
    let zero = ["reltype", "reloftype", "relfilenode", "reltablespace", "reltoastrelid", "relfrozenxid"];
    out.extend(zero.map(|name| longs(name, every(0, rows))));
    let no = [
        "relhasindex",
        "relisshared",
        "relhasrules",
        "relhastriggers",
        "relhassubclass",
        "relrowsecurity",
        "relforcerowsecurity",
        "relispartition",
        "relhasoids",
    ];
    out.extend(no.map(|name| flags(name, every(false, rows))));
    out.push(flags("relispopulated", every(true, rows)));
    out.extend(["relacl", "reloptions", "relpartbound"].map(|name| nulls(name, &DataType::Utf8, rows)));
    out
}

fn pg_tables(all: &[Table]) -> Vec<Column> {
    let rows = all.len();
    let mut out = vec![
        texts("schemaname", all.iter().map(|table| table.schema)),
        texts("tablename", all.iter().map(|table| table.name.as_str())),
        texts("tableowner", every(super::USER, rows)),
        nulls("tablespace", &DataType::Utf8, rows),
    ];
    out.extend(["hasindexes", "hasrules", "hastriggers", "rowsecurity"].map(|name| flags(name, every(false, rows))));
    out
}

fn attributes(all: &[Table]) -> Vec<Column> {
    let each: Vec<_> = all
        .iter()
        .flat_map(|table| {
            let oid = oid_of(&format!("{}.{}", table.schema, table.name));
            table.columns.fields().iter().enumerate().map(move |(at, field)| {
                let described = types::described(&types::plain(field.data_type()));
                (oid, i16::try_from(at + 1).unwrap_or(i16::MAX), field, described)
            })
        })
        .collect();
    let rows = each.len();
    let mut out = vec![
        longs("attrelid", each.iter().map(|(table, ..)| *table)),
        texts("attname", each.iter().map(|(_, _, field, _)| field.name().as_str())),
        longs("atttypid", each.iter().map(|(.., described)| i64::from(described.0))),
        shorts("attlen", each.iter().map(|(.., described)| described.1)),
        shorts("attnum", each.iter().map(|(_, at, ..)| *at)),
        ints("atttypmod", each.iter().map(|(.., described)| described.2)),
        flags("attnotnull", each.iter().map(|(_, _, field, _)| !field.is_nullable())),
        texts("attidentity", every("", rows)),
        texts("attgenerated", every("", rows)),
        texts("attstorage", every("p", rows)),
        texts("attcompression", every("", rows)),
        texts("attalign", every("i", rows)),
        ints("attstattarget", every(-1, rows)),
        ints("attndims", every(0, rows)),
        ints("attcacheoff", every(-1, rows)),
        ints("attinhcount", every(0, rows)),
        longs("attcollation", every(0, rows)),
        flags("attislocal", every(true, rows)),
    ];
    let no = ["atthasdef", "atthasmissing", "attisdropped", "attbyval"];
    out.extend(no.map(|name| flags(name, every(false, rows))));
    out.extend(["attacl", "attoptions", "attfdwoptions"].map(|name| nulls(name, &DataType::Utf8, rows)));
    out
}

fn pg_type() -> Vec<Column> {
    let arrays: Vec<(u32, String)> = types::KNOWN.iter().map(|known| (known.3, format!("_{}", known.1))).collect();
    let plain = || types::KNOWN.iter();
    let sends: Vec<String> = plain().map(|known| types::receives(known.0).replace("recv", "send")).collect();
    let rows = arrays.len() * 2;
    let of = |known: u32, array: u32| i64::from(if array == 0 { known } else { array });
    let mut out = vec![
        longs("oid", plain().map(|known| of(known.0, 0)).chain(arrays.iter().map(|(oid, _)| i64::from(*oid)))),
        texts("typname", plain().map(|known| known.1).chain(arrays.iter().map(|(_, name)| name.as_str()))),
        shorts("typlen", plain().map(|known| known.2).chain(every(-1, arrays.len()))),
        texts("typcategory", plain().map(|known| known.4).chain(every("A", arrays.len()))),
        longs("typelem", every(0, arrays.len()).chain(plain().map(|known| i64::from(known.0)))),
        longs("typarray", plain().map(|known| i64::from(known.3)).chain(every(0, arrays.len()))),
        texts("typinput", plain().map(|known| known.1).chain(every("array_in", arrays.len()))),
        texts("typreceive", plain().map(|known| types::receives(known.0)).chain(every("array_recv", arrays.len()))),
        texts("typsend", sends.iter().map(String::as_str).chain(every("array_send", arrays.len()))),
        longs("typnamespace", every(OF_CATALOG, rows)),
        longs("typowner", every(OWNER, rows)),
        texts("typtype", every("b", rows)),
        texts("typdelim", every(",", rows)),
        ints("typtypmod", every(-1, rows)),
        ints("typndims", every(0, rows)),
        flags("typnotnull", every(false, rows)),
        flags("typisdefined", every(true, rows)),
        flags("typbyval", every(false, rows)),
        flags("typispreferred", every(false, rows)),
        nulls("typdefault", &DataType::Utf8, rows),
    ];
    out.extend(["typrelid", "typbasetype", "typcollation"].map(|name| longs(name, every(0, rows))));
    out
}

fn databases() -> Vec<Column> {
    vec![
        longs("oid", [1]),
        texts("datname", [super::DATABASE]),
        longs("datdba", [OWNER]),
        ints("encoding", [6]),
        texts("datcollate", ["C"]),
        texts("datctype", ["C"]),
        texts("datlocprovider", ["c"]),
        flags("datistemplate", [false]),
        flags("datallowconn", [true]),
        ints("datconnlimit", [-1]),
        longs("dattablespace", [0]),
        nulls("daticulocale", &DataType::Utf8, 1),
        nulls("datacl", &DataType::Utf8, 1),
    ]
}

fn roles() -> Vec<Column> {
    let mut out = vec![
        longs("oid", [OWNER]),
        longs("usesysid", [OWNER]),
        texts("rolname", [super::USER]),
        texts("usename", [super::USER]),
        flags("rolcanlogin", [true]),
        flags("rolinherit", [true]),
        ints("rolconnlimit", [-1]),
        nulls("rolvaliduntil", &DataType::Utf8, 1),
    ];
    let no = ["rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication", "rolbypassrls", "usesuper"];
    out.extend(no.map(|name| flags(name, [false])));
    out
}

fn settings() -> Vec<Column> {
    let names = [
        "server_version",
        "server_version_num",
        "timezone",
        "datestyle",
        "max_index_keys",
        "max_identifier_length",
        "transaction_read_only",
    ];
    vec![
        texts("name", names),
        texts("setting", names.iter().map(|name| super::commands::value(name).unwrap_or_default())),
    ]
}

/// Name of the function behind a cast of a parameter to `regclass`.
pub const OID_OF: &str = "haus_oid_of";

/// Oid of a table by its name as SQL writes it, quoted or not; without a schema it is of `shape`.
#[must_use]
pub fn oid_of_name() -> ScalarUDF {
    let found = |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let names = arrow::compute::cast(&arrays[0], &DataType::Utf8)?;
        let oid = |name: &str| {
            let plain = name.replace('"', "");
            let known = plain.contains('.') || plain.starts_with("pg_");
            oid_of(&if known { plain } else { format!("{}.{plain}", layers::SHAPE) })
        };
        let names = arrow::array::AsArray::as_string::<i32>(&names);
        let oids: Int64Array = names.iter().map(|name| name.map(oid)).collect();
        Ok(ColumnarValue::Array(Arc::new(oids)))
    };
    create_udf(OID_OF, vec![DataType::Utf8], DataType::Int64, Volatility::Immutable, Arc::new(found))
}

/// `format_type(oid, typmod)`.
#[must_use]
pub fn format_type() -> ScalarUDF {
    let shown = |arguments: &[ColumnarValue]| {
        let arrays = ColumnarValue::values_to_arrays(arguments)?;
        let (oids, typmods) = (&arrays[0], &arrays[1]);
        let long = |array: &ArrayRef| arrow::compute::cast(array, &DataType::Int64);
        let (oids, typmods) = (long(oids)?, long(typmods)?);
        let of = |array: &ArrayRef| arrow::array::AsArray::as_primitive::<arrow::datatypes::Int64Type>(array).clone();
        let pairs = of(&oids)
            .iter()
            .zip(of(&typmods).iter())
            .map(|(oid, typmod)| {
                let typmod = typmod.and_then(|typmod| i32::try_from(typmod).ok()).unwrap_or(-1);
                oid.and_then(|oid| u32::try_from(oid).ok()).map(|oid| types::sql_name(oid, typmod))
            })
            .collect::<Vec<_>>();
        Ok(ColumnarValue::Array(Arc::new(StringArray::from(pairs))))
    };
    create_udf(
        "format_type",
        vec![DataType::Int64, DataType::Int64],
        DataType::Utf8,
        Volatility::Immutable,
        Arc::new(shown),
    )
}
