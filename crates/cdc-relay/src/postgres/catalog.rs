//! What the catalog says about tables: their columns and key, and which of them a publication has.

use model::table::{Column, TableId, TableSchema};

use super::{
    PgError,
    connection::{Connection, Row},
    quote_literal,
};

/// A table of the publication that a snapshot has to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTable {
    pub id: TableId,
    pub schema: String,
    pub name: String,
    /// Columns that are published, in attribute order.
    pub columns: Vec<String>,
    /// Condition of the publication on rows, SQL text.
    pub row_filter: Option<String>,
    /// The heaps that hold its rows: itself, or the leaves of a partitioned table.
    pub heaps: Vec<Heap>,
}

/// One file of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heap {
    pub oid: u32,
    /// To read from, quoted as needed.
    pub name: String,
    /// Changes when the rows are moved (VACUUM FULL, CLUSTER, TRUNCATE, some ALTER TABLE).
    pub filenode: u32,
    pub pages: u32,
    /// Rows the server supposes in it; below zero when it never counted.
    pub rows: i64,
}

/// A table with the types its columns were declared with, where the schema has the root types of domains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogTable {
    pub schema: TableSchema,
    /// `atttypid` and `atttypmod` per column.
    pub declared: Vec<(u32, i32)>,
}

/// Columns and key of one table as they are now, without dropped and generated columns. `None`: there is no such table.
///
/// # Errors
/// When the server cannot be asked.
pub async fn table(connection: &mut Connection, id: TableId) -> Result<Option<CatalogTable>, PgError> {
    let sql = format!(
        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = {id}"
    );
    let Some(names) = connection.query_one(&sql).await? else { return Ok(None) };
    let (columns, declared): (Vec<_>, Vec<_>) = columns(connection, id).await?.into_iter().unzip();
    // Without a primary key the first unique index over columns that are never NULL, as Debezium takes it.
    let sql = format!(
        "SELECT a.attname FROM (SELECT i.* FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
           WHERE i.indrelid = {id} AND (i.indisprimary OR i.indisunique AND i.indisvalid AND i.indimmediate \
             AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT EXISTS (SELECT 1 FROM pg_attribute n \
               WHERE n.attrelid = i.indrelid AND n.attnum = ANY (i.indkey) AND NOT n.attnotnull)) \
           ORDER BY i.indisprimary DESC, c.relname LIMIT 1) i \
         CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY k(attnum, place) \
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
         WHERE k.place <= i.indnkeyatts ORDER BY k.place"
    );
    let mut key = Vec::new();
    for row in connection.query(&sql).await? {
        let name = row.text(0)?;
        key.extend(columns.iter().position(|column: &Column| column.name == name));
    }
    let schema = TableSchema { id, schema: names.text(0)?, name: names.text(1)?, columns, key };
    Ok(Some(CatalogTable { schema, declared }))
}

/// Follows a declared type (`t.type`, `t.typmod`) from a domain to its root; the first modifier on the way counts.
const ROOT_TYPE: &str = "WITH RECURSIVE chain AS ( \
     SELECT t.oid, t.typname, t.typtype, t.typbasetype, t.typelem, t.typcategory, t.typnotnull AS notnull, \
       CASE WHEN t.typtype = 'd' AND d.typmod = -1 THEN t.typtypmod ELSE d.typmod END AS typmod, 0 AS depth \
     FROM pg_type t WHERE t.oid = d.type \
     UNION ALL \
     SELECT t.oid, t.typname, t.typtype, t.typbasetype, t.typelem, t.typcategory, c.notnull OR t.typnotnull, \
       CASE WHEN t.typtype = 'd' AND c.typmod = -1 THEN t.typtypmod ELSE c.typmod END, c.depth + 1 \
     FROM chain c JOIN pg_type t ON t.oid = c.typbasetype WHERE c.typtype = 'd') \
   SELECT * FROM chain ORDER BY depth DESC LIMIT 1";

/// Labels of an enum, or of the elements of an array of one, as a JSON array.
const ENUM_LABELS: &str = "(SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e \
     WHERE e.enumtypid IN (b.oid, CASE WHEN b.typcategory = 'A' THEN b.typelem ELSE 0 END))";

async fn columns(connection: &mut Connection, id: TableId) -> Result<Vec<(Column, (u32, i32))>, PgError> {
    let sql = format!(
        "SELECT a.attname, b.oid, b.typname, b.typmod, {ENUM_LABELS}, a.atttypid, a.atttypmod, \
         NOT (a.attnotnull OR b.notnull), pg_get_expr(f.adbin, f.adrelid), \
         a.attidentity <> '' OR pg_get_serial_sequence(a.attrelid::regclass::text, a.attname) IS NOT NULL \
         FROM pg_attribute a CROSS JOIN LATERAL (SELECT a.atttypid AS type, a.atttypmod AS typmod) d \
         CROSS JOIN LATERAL ({ROOT_TYPE}) b \
         LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum \
         WHERE a.attrelid = {id} AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum"
    );
    let mut columns = Vec::new();
    for row in connection.query(&sql).await? {
        let column = Column {
            nullable: row.flag(7),
            default: row.get(8).map(str::to_owned),
            identity_or_serial: row.flag(9),
            ..typed_column(&row)?
        };
        columns.push((column, (row.parse(5)?, row.parse(6)?)));
    }
    Ok(columns)
}

/// A nullable column of a type, for columns whose table does not have them any more. A type that is gone is taken as
/// `text`, for text is what the stream carries.
///
/// # Errors
/// When the server cannot be asked.
pub async fn column_of_type(
    connection: &mut Connection,
    name: &str,
    type_oid: u32,
    typmod: i32,
) -> Result<Column, PgError> {
    let sql = format!(
        "SELECT {}::text, b.oid, b.typname, b.typmod, {ENUM_LABELS} \
         FROM (SELECT {type_oid}::oid AS type, {typmod}::int AS typmod) d CROSS JOIN LATERAL ({ROOT_TYPE}) b",
        quote_literal(name)
    );
    match connection.query_one(&sql).await? {
        Some(row) => typed_column(&row),
        None => Ok(Column {
            name: name.to_owned(),
            type_oid: 25,
            type_name: "text".into(),
            typmod: -1,
            nullable: true,
            ..Column::default()
        }),
    }
}

/// Reads name, type, modifier and labels from the first five columns of an answer.
fn typed_column(row: &Row) -> Result<Column, PgError> {
    let labels = row.get(4).map(serde_json::from_str).transpose();
    Ok(Column {
        name: row.text(0)?,
        type_oid: row.parse(1)?,
        type_name: row.text(2)?,
        typmod: row.parse(3)?,
        nullable: true,
        default: None,
        identity_or_serial: false,
        enum_labels: labels.map_err(|error| PgError::Protocol(format!("enum labels: {error}")))?.unwrap_or_default(),
    })
}

/// The tables of a publication, by name.
///
/// # Errors
/// When the server cannot be asked.
pub async fn published_tables(connection: &mut Connection, publication: &str) -> Result<Vec<PublishedTable>, PgError> {
    // Through jsonb, because column lists and row filters came with Postgres 15.
    let sql = format!(
        "SELECT c.oid, p.schemaname, p.tablename, to_jsonb(p)->>'attnames', to_jsonb(p)->>'rowfilter', \
         (SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a \
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') \
         FROM pg_publication_tables p JOIN pg_namespace n ON n.nspname = p.schemaname \
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
         WHERE p.pubname = {} ORDER BY 2, 3",
        quote_literal(publication)
    );
    let mut tables = Vec::new();
    for row in connection.query(&sql).await? {
        let names = |index: usize| {
            row.get(index)
                .map(serde_json::from_str::<Vec<String>>)
                .transpose()
                .map_err(|error| PgError::Protocol(format!("column names: {error}")))
        };
        let all = names(5)?.unwrap_or_default();
        let listed = names(3)?;
        tables.push(PublishedTable {
            id: TableId(row.parse(0)?),
            schema: row.text(1)?,
            name: row.text(2)?,
            columns: match listed {
                Some(listed) => all.into_iter().filter(|name| listed.contains(name)).collect(),
                None => all,
            },
            row_filter: row.get(4).map(str::to_owned),
            heaps: Vec::new(),
        });
    }
    for table in &mut tables {
        table.heaps = heaps(connection, table.id).await?;
    }
    Ok(tables)
}

async fn heaps(connection: &mut Connection, id: TableId) -> Result<Vec<Heap>, PgError> {
    let sql = format!(
        "SELECT c.oid, c.oid::regclass, pg_relation_filenode(c.oid), pg_relation_size(c.oid) / current_setting('block_size')::int, \
         c.reltuples::bigint FROM pg_class c WHERE c.relkind = 'r' AND (c.oid = {id} \
         OR c.oid IN (SELECT relid FROM pg_partition_tree({id}) WHERE isleaf)) ORDER BY c.oid"
    );
    let rows = connection.query(&sql).await?;
    rows.iter()
        .map(|row| {
            let (filenode, pages, rows) = (row.parse(2)?, row.parse(3)?, row.parse(4)?);
            Ok(Heap { oid: row.parse(0)?, name: row.text(1)?, filenode, pages, rows })
        })
        .collect()
}
