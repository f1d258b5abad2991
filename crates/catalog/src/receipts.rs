//! Receipts of commits: a client that lost the answer sends the commit again under the same `Idempotency-Key`, and is told
//! that it happened.
//!
//! A receipt is written in the transaction of its commit, so that there is one exactly if the commit happened.

use tokio_postgres::Transaction;
use uuid::Uuid;

use crate::{database::Database, error::CatalogError};

/// For how long a commit may be asked for again, as the configuration tells clients (ISO 8601; Postgres reads it, too).
pub const LIFETIME: &str = "PT24H";

/// The key of a request, and what was asked: path and body.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub key: Uuid,
    pub request: Vec<u8>,
}

impl Receipt {
    /// Whether the request happened already.
    ///
    /// # Errors
    /// `Unprocessable` when the key was used for another request.
    pub async fn is_known(&self, database: &Database, catalog: &str) -> Result<bool, CatalogError> {
        let sql =
            "SELECT request_sha256 = sha256($3) FROM catalog_receipts WHERE catalog_name = $1 AND idempotency_key = $2";
        match database.read(sql, &[&catalog, &self.key, &self.request]).await?.first() {
            None => Ok(false),
            Some(row) if row.get(0) => Ok(true),
            Some(_) => {
                Err(CatalogError::Unprocessable(format!("the idempotency key {} was another request's", self.key)))
            }
        }
    }

    /// Writes the receipt, and forgets those that are too old.
    ///
    /// # Errors
    /// `CommitFailed` when the same request was faster: look again.
    pub async fn write(&self, transaction: &Transaction<'_>, catalog: &str) -> Result<(), CatalogError> {
        let sql = "INSERT INTO catalog_receipts (catalog_name, idempotency_key, request_sha256)
                   VALUES ($1, $2, sha256($3)) ON CONFLICT DO NOTHING";
        if transaction.execute(sql, &[&catalog, &self.key, &self.request]).await? == 0 {
            return Err(CatalogError::CommitFailed("the same request is under way".into()));
        }
        let sql = "DELETE FROM catalog_receipts WHERE committed_at < now() - $1::text::interval";
        transaction.execute(sql, &[&LIFETIME]).await?;
        Ok(())
    }
}
