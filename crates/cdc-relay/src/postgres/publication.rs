//! The publication: which tables' changes the server sends at all.

use super::{PgError, connection::Connection, quote_identifier, quote_literal};
use crate::{selection::TableSelection, settings::PublicationMode};

/// The publication cannot be made what it has to be.
#[derive(Debug, thiserror::Error)]
pub enum PublicationError {
    #[error(transparent)]
    Postgres(#[from] PgError),
    /// It is missing and must not be made.
    #[error(
        "publication \"{0}\" does not exist and publication.autocreate.mode=disabled; \
         create it (CREATE PUBLICATION \"{0}\" FOR ALL TABLES) or change the mode"
    )]
    Missing(String),
    /// The role may not make it.
    #[error(
        "publication \"{name}\" cannot be made: {reason}; create it as its owner or a superuser, then restart the connector"
    )]
    Refused { name: String, reason: String },
    /// No table passes the include and exclude lists.
    #[error(
        "no table passes the include and exclude lists, so publication \"{0}\" cannot be made from them; correct the lists"
    )]
    NoTable(String),
}

/// Makes sure that the publication is there, as `mode` says.
///
/// # Errors
/// When it is missing and cannot or must not be made.
pub async fn ensure(
    connection: &mut Connection,
    name: &str,
    mode: PublicationMode,
    tables: &TableSelection,
    via_partition_root: bool,
) -> Result<(), PublicationError> {
    let root = if via_partition_root { " WITH (publish_via_partition_root = true)" } else { "" };
    let sql = format!("SELECT puballtables FROM pg_publication WHERE pubname = {}", quote_literal(name));
    let found = connection.query_one(&sql).await?;
    let identifier = quote_identifier(name);
    let statement = match (found, mode) {
        (Some(row), PublicationMode::Filtered) if !row.flag(0) => {
            let list = table_list(connection, name, tables).await?;
            format!("ALTER PUBLICATION {identifier} SET TABLE {list}")
        }
        (Some(_), _) => return Ok(()),
        (None, PublicationMode::Disabled) => return Err(PublicationError::Missing(name.to_owned())),
        (None, PublicationMode::AllTables) => format!("CREATE PUBLICATION {identifier} FOR ALL TABLES{root}"),
        (None, PublicationMode::NoTables) => format!("CREATE PUBLICATION {identifier}{root}"),
        (None, PublicationMode::Filtered) => {
            let list = table_list(connection, name, tables).await?;
            format!("CREATE PUBLICATION {identifier} FOR TABLE {list}{root}")
        }
    };
    match connection.query(&statement).await {
        Ok(_) => {
            tracing::info!(publication = name, "publication made: {statement}");
            Ok(())
        }
        Err(error) if error.passes_by_itself() => Err(error.into()),
        Err(error) => Err(PublicationError::Refused { name: name.to_owned(), reason: error.to_string() }),
    }
}

async fn table_list(
    connection: &mut Connection,
    name: &str,
    tables: &TableSelection,
) -> Result<String, PublicationError> {
    let sql = "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND NOT c.relispartition \
               AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 1, 2";
    let mut list = Vec::new();
    for row in connection.query(sql).await? {
        let (schema, table) = (row.text(0)?, row.text(1)?);
        if tables.includes(&schema, &table) {
            list.push(format!("{}.{}", quote_identifier(&schema), quote_identifier(&table)));
        }
    }
    if list.is_empty() { Err(PublicationError::NoTable(name.to_owned())) } else { Ok(list.join(", ")) }
}
