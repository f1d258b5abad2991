//! Namespaces in the JDBC catalog's tables.
//!
//! As there, a namespace exists when it has a property, or a table, or a namespace below it; an empty one without
//! properties is kept by the property `exists`, which is not shown.

use std::collections::{BTreeSet, HashMap};

use tokio_postgres::Transaction;

use crate::{database::Database, error::CatalogError, names::Namespace};

/// The JDBC catalogs' mark of an empty namespace.
const EXISTS: &str = "exists";

/// The namespaces of one catalog.
#[derive(Clone)]
pub struct Namespaces {
    pub database: Database,
    /// `catalog_name` in the tables.
    pub catalog: String,
}

/// What an update of properties did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct PropertiesChanged {
    pub updated: Vec<String>,
    pub removed: Vec<String>,
    pub missing: Vec<String>,
}

impl Namespaces {
    /// The namespaces one level below `parent` (or at the top), in order.
    ///
    /// # Errors
    /// `NoSuchNamespace` for the parent.
    pub async fn list(&self, parent: Option<&Namespace>) -> Result<Vec<Namespace>, CatalogError> {
        let sql = "SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = $1
                   UNION SELECT table_namespace FROM iceberg_tables WHERE catalog_name = $1";
        let rows = self.database.read(sql, &[&self.catalog]).await?;
        let all: Vec<_> = rows.iter().map(|row| Namespace::from_stored(row.get(0))).collect();
        if let Some(parent) = parent
            && !all.iter().any(|namespace| namespace.levels().starts_with(parent.levels()))
        {
            return Err(CatalogError::NoSuchNamespace(parent.to_string()));
        }
        let shown: BTreeSet<_> = all.iter().filter_map(|namespace| namespace.child_of(parent)).collect();
        Ok(shown.into_iter().collect())
    }

    /// # Errors
    /// `AlreadyExists`.
    pub async fn create(
        &self,
        namespace: &Namespace,
        properties: &HashMap<String, String>,
    ) -> Result<(), CatalogError> {
        let mut client = self.database.connection().await?;
        let transaction = client.transaction().await?;
        lock(&transaction, &self.catalog, namespace, Mode::Alone).await?;
        if exists(&transaction, &self.catalog, namespace).await? {
            return Err(CatalogError::AlreadyExists(format!("the namespace {namespace}")));
        }
        let mut stored = properties.clone();
        stored.insert(EXISTS.to_owned(), "true".to_owned());
        self.upsert(&transaction, namespace, &stored).await?;
        Ok(transaction.commit().await?)
    }

    /// # Errors
    /// `NoSuchNamespace`.
    pub async fn load(&self, namespace: &Namespace) -> Result<HashMap<String, String>, CatalogError> {
        let sql = "SELECT property_key, property_value FROM iceberg_namespace_properties
                   WHERE catalog_name = $1 AND namespace = $2 AND property_value IS NOT NULL";
        let rows = self.database.read(sql, &[&self.catalog, &namespace.stored()]).await?;
        if rows.is_empty() {
            self.require(namespace).await?;
        }
        Ok(rows
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .filter(|(key, _): &(String, String)| key != EXISTS)
            .collect())
    }

    /// # Errors
    /// `NoSuchNamespace` when it does not exist.
    pub async fn require(&self, namespace: &Namespace) -> Result<(), CatalogError> {
        let rows = self.database.read(EXISTS_SQL, &[&self.catalog, &namespace.stored()]).await?;
        if rows.first().is_some_and(|row| row.get(0)) {
            Ok(())
        } else {
            Err(CatalogError::NoSuchNamespace(namespace.to_string()))
        }
    }

    /// # Errors
    /// `NoSuchNamespace`, or `NamespaceNotEmpty` when it has tables or namespaces.
    pub async fn drop(&self, namespace: &Namespace) -> Result<(), CatalogError> {
        let mut client = self.database.connection().await?;
        let transaction = client.transaction().await?;
        lock(&transaction, &self.catalog, namespace, Mode::Alone).await?;
        let sql = "SELECT EXISTS (SELECT FROM iceberg_tables WHERE catalog_name = $1
                                  AND (table_namespace = $2 OR starts_with(table_namespace, $2 || '.')))
                       OR EXISTS (SELECT FROM iceberg_namespace_properties WHERE catalog_name = $1
                                  AND starts_with(namespace, $2 || '.'))";
        let stored = namespace.stored();
        if transaction.query_one(sql, &[&self.catalog, &stored]).await?.get(0) {
            return Err(CatalogError::NamespaceNotEmpty(stored));
        }
        let sql = "DELETE FROM iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2";
        if transaction.execute(sql, &[&self.catalog, &stored]).await? == 0 {
            return Err(CatalogError::NoSuchNamespace(stored));
        }
        Ok(transaction.commit().await?)
    }

    /// Sets and removes properties in one transaction.
    ///
    /// # Errors
    /// `NoSuchNamespace`; `Unprocessable` when a property shall be both set and removed.
    pub async fn change(
        &self,
        namespace: &Namespace,
        updates: &HashMap<String, String>,
        removals: &[String],
    ) -> Result<PropertiesChanged, CatalogError> {
        if let Some(key) = removals.iter().find(|key| updates.contains_key(*key)) {
            return Err(CatalogError::Unprocessable(format!("the property '{key}' cannot be both set and removed")));
        }
        let mut client = self.database.connection().await?;
        let transaction = client.transaction().await?;
        lock(&transaction, &self.catalog, namespace, Mode::Alone).await?;
        if !exists(&transaction, &self.catalog, namespace).await? {
            return Err(CatalogError::NoSuchNamespace(namespace.to_string()));
        }
        let kept: Vec<&String> = removals.iter().filter(|key| *key != EXISTS).collect();
        let sql = "DELETE FROM iceberg_namespace_properties
                   WHERE catalog_name = $1 AND namespace = $2 AND property_key = ANY($3) RETURNING property_key";
        let removed: BTreeSet<String> = transaction
            .query(sql, &[&self.catalog, &namespace.stored(), &kept])
            .await?
            .iter()
            .map(|row| row.get(0))
            .collect();
        // A namespace must not vanish with its last property.
        let mut stored = updates.clone();
        stored.insert(EXISTS.to_owned(), "true".to_owned());
        self.upsert(&transaction, namespace, &stored).await?;
        transaction.commit().await?;
        let missing = removals.iter().filter(|key| !removed.contains(*key)).cloned().collect();
        let mut updated: Vec<_> = updates.keys().cloned().collect();
        updated.sort();
        Ok(PropertiesChanged { updated, removed: removed.into_iter().collect(), missing })
    }

    async fn upsert(
        &self,
        transaction: &Transaction<'_>,
        namespace: &Namespace,
        properties: &HashMap<String, String>,
    ) -> Result<(), CatalogError> {
        let (keys, values): (Vec<&String>, Vec<&String>) = properties.iter().unzip();
        let sql = "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)
                   SELECT $1, $2, * FROM unnest($3::text[], $4::text[])
                   ON CONFLICT (catalog_name, namespace, property_key) DO UPDATE SET property_value = excluded.property_value";
        transaction.execute(sql, &[&self.catalog, &namespace.stored(), &keys, &values]).await?;
        Ok(())
    }
}

const EXISTS_SQL: &str = "SELECT EXISTS (SELECT FROM iceberg_namespace_properties WHERE catalog_name = $1
                                         AND (namespace = $2 OR starts_with(namespace, $2 || '.')))
                              OR EXISTS (SELECT FROM iceberg_tables WHERE catalog_name = $1
                                         AND (table_namespace = $2 OR starts_with(table_namespace, $2 || '.')))";

/// Whether a namespace exists, as the transaction sees it.
///
/// # Errors
/// Postgres'.
pub async fn exists(transaction: &Transaction<'_>, catalog: &str, namespace: &Namespace) -> Result<bool, CatalogError> {
    Ok(transaction.query_one(EXISTS_SQL, &[&catalog, &namespace.stored()]).await?.get(0))
}

/// How a namespace is held until the end of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// While a table is put into it.
    Shared,
    /// While it is made, dropped or changed.
    Alone,
}

/// Keeps a namespace from being dropped while a table is put into it. JDBC's tables have no row to lock for that.
///
/// # Errors
/// Postgres'.
pub async fn lock(
    transaction: &Transaction<'_>,
    catalog: &str,
    namespace: &Namespace,
    mode: Mode,
) -> Result<(), CatalogError> {
    let sql = match mode {
        Mode::Shared => "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))",
        Mode::Alone => "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
    };
    // The top level stands for all below it: dropping looks at the whole tree.
    let top = namespace.levels().first().map_or("", String::as_str);
    transaction.execute(sql, &[&format!("{catalog}/{top}")]).await?;
    Ok(())
}
