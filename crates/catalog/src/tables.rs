//! Rows of tables and views: name to metadata location. All but commits, which are in `commit` and `views`.

use iceberg::spec::TableMetadata;
use tokio_postgres::{Transaction, error::SqlState};

use crate::{
    database::Database,
    error::CatalogError,
    names::{Namespace, TableName},
    namespaces::{self, Mode},
};

/// Which rows are meant: tables and views share their names, and neither is shown as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Table,
    View,
}

impl Kind {
    /// `iceberg_type` of the row.
    fn stored(self) -> &'static str {
        match self {
            Self::Table => "TABLE",
            Self::View => "VIEW",
        }
    }

    /// The condition in SQL; rows of tables in older JDBC catalogs have no type.
    fn is(self) -> &'static str {
        match self {
            Self::Table => "(iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
            Self::View => "iceberg_type = 'VIEW'",
        }
    }

    fn missing(self, name: &TableName) -> CatalogError {
        match self {
            Self::Table => CatalogError::NoSuchTable(name.to_string()),
            Self::View => CatalogError::NoSuchView(name.to_string()),
        }
    }
}

/// The tables, or the views, of one catalog.
#[derive(Clone)]
pub struct Tables {
    pub database: Database,
    /// `catalog_name` in the tables.
    pub catalog: String,
    pub kind: Kind,
}

impl Tables {
    /// Names in a namespace behind `after`, in order, at most `max`.
    ///
    /// # Errors
    /// Postgres'.
    pub async fn list(&self, namespace: &Namespace, after: &str, max: i64) -> Result<Vec<String>, CatalogError> {
        let sql = format!(
            "SELECT table_name FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 AND {}
             AND table_name COLLATE \"C\" > $3 ORDER BY table_name COLLATE \"C\" LIMIT $4",
            self.kind.is()
        );
        let rows = self.database.read(&sql, &[&self.catalog, &namespace.stored(), &after, &max]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Where a table's metadata is; none when there is no such table.
    ///
    /// # Errors
    /// Postgres'.
    pub async fn find(&self, table: &TableName) -> Result<Option<String>, CatalogError> {
        let sql = format!(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND {}",
            self.kind.is()
        );
        let rows = self.database.read(&sql, &[&self.catalog, &table.namespace.stored(), &table.name]).await?;
        Ok(rows.first().and_then(|row| row.get(0)))
    }

    /// # Errors
    /// `NoSuchTable` or `NoSuchView`.
    pub async fn location(&self, table: &TableName) -> Result<String, CatalogError> {
        self.find(table).await?.ok_or_else(|| self.kind.missing(table))
    }

    /// Adds a table in a transaction of the caller; its namespace must exist.
    ///
    /// # Errors
    /// `NoSuchNamespace`, `AlreadyExists` (also for a view of this name).
    pub async fn insert(
        &self,
        transaction: &Transaction<'_>,
        table: &TableName,
        location: &str,
    ) -> Result<(), CatalogError> {
        namespaces::lock(transaction, &self.catalog, &table.namespace, Mode::Shared).await?;
        if !namespaces::exists(transaction, &self.catalog, &table.namespace).await? {
            return Err(CatalogError::NoSuchNamespace(table.namespace.to_string()));
        }
        let sql =
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
                   VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&self.catalog, &table.namespace.stored(), &table.name, &location, &self.kind.stored()];
        let added = transaction.execute(sql, &parameters).await?;
        if added == 1 { Ok(()) } else { Err(CatalogError::AlreadyExists(format!("a table or view {table}"))) }
    }

    /// Points a table to new metadata if it still has the old: the compare-and-swap of a commit.
    ///
    /// # Errors
    /// `CommitFailed` when it has not.
    pub async fn swap(
        &self,
        transaction: &Transaction<'_>,
        table: &TableName,
        old: &str,
        new: &str,
    ) -> Result<(), CatalogError> {
        let sql = format!(
            "UPDATE iceberg_tables SET metadata_location = $5, previous_metadata_location = $4
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND metadata_location = $4 AND {}",
            self.kind.is()
        );
        let swapped =
            transaction.execute(&sql, &[&self.catalog, &table.namespace.stored(), &table.name, &old, &new]).await?;
        if swapped == 1 {
            Ok(())
        } else {
            Err(CatalogError::CommitFailed(format!("the table {table} was changed by another commit")))
        }
    }

    /// The location a table has once every transaction that is about to change it has ended.
    ///
    /// # Errors
    /// Postgres'.
    pub async fn settled_location(&self, table: &TableName) -> Result<Option<String>, CatalogError> {
        let mut client = self.database.connection().await?;
        let transaction = client.transaction().await?;
        let sql = "SELECT metadata_location FROM iceberg_tables
                   WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 FOR UPDATE";
        let row = transaction.query_opt(sql, &[&self.catalog, &table.namespace.stored(), &table.name]).await?;
        Ok(row.and_then(|row| row.get(0)))
    }

    /// # Errors
    /// `NoSuchTable` or `NoSuchView`.
    pub async fn drop(&self, table: &TableName) -> Result<String, CatalogError> {
        let client = self.database.connection().await?;
        let sql = format!(
            "DELETE FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND {}
             RETURNING metadata_location",
            self.kind.is()
        );
        let row = client.query_opt(&sql, &[&self.catalog, &table.namespace.stored(), &table.name]).await?;
        row.map(|row| row.get(0)).ok_or_else(|| self.kind.missing(table))
    }

    /// # Errors
    /// `NoSuchTable` or `NoSuchView`, `NoSuchNamespace` of the new name, `AlreadyExists`.
    pub async fn rename(&self, from: &TableName, to: &TableName) -> Result<(), CatalogError> {
        let mut client = self.database.connection().await?;
        let transaction = client.transaction().await?;
        namespaces::lock(&transaction, &self.catalog, &to.namespace, Mode::Shared).await?;
        if !namespaces::exists(&transaction, &self.catalog, &to.namespace).await? {
            return Err(CatalogError::NoSuchNamespace(to.namespace.to_string()));
        }
        let sql = format!(
            "UPDATE iceberg_tables SET table_namespace = $4, table_name = $5
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND {}",
            self.kind.is()
        );
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 5] =
            [&self.catalog, &from.namespace.stored(), &from.name, &to.namespace.stored(), &to.name];
        match transaction.execute(&sql, &parameters).await {
            Ok(0) => return Err(self.kind.missing(from)),
            Ok(_) => {}
            Err(error) if error.code() == Some(&SqlState::UNIQUE_VIOLATION) => {
                return Err(CatalogError::AlreadyExists(format!("a table or view {to}")));
            }
            Err(error) => return Err(error.into()),
        }
        Ok(transaction.commit().await?)
    }

    /// Points a name to given metadata, whatever it pointed to.
    ///
    /// # Errors
    /// `NoSuchNamespace`; `AlreadyExists` unless `overwrite`.
    pub async fn register(&self, table: &TableName, location: &str, overwrite: bool) -> Result<(), CatalogError> {
        let mut client = self.database.connection().await?;
        let transaction = client.transaction().await?;
        match self.insert(&transaction, table, location).await {
            Err(CatalogError::AlreadyExists(_)) if overwrite => {
                let sql = format!(
                    "UPDATE iceberg_tables SET previous_metadata_location = metadata_location, metadata_location = $4
                     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND {}",
                    self.kind.is()
                );
                let changed = transaction
                    .execute(&sql, &[&self.catalog, &table.namespace.stored(), &table.name, &location])
                    .await?;
                if changed == 0 {
                    return Err(CatalogError::AlreadyExists(format!("a view named {table}")));
                }
            }
            other => other?,
        }
        Ok(transaction.commit().await?)
    }
}

/// Whether metadata at `location` is what a table has now, or an ancestor of it.
pub fn is_ancestor(location: &str, now_at: &str, now: &TableMetadata) -> bool {
    location == now_at || now.metadata_log().iter().any(|entry| entry.metadata_file == location)
}
