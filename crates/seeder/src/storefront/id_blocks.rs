//! Blocks of ids, so that a full seed knows every id before it writes a row, whatever else is being written.

use tokio_postgres::Client;

use super::{Database, StorefrontError};
use crate::simulation::population::{Counts, FirstIds};

/// Takes as many ids of each table as `counts` says.
pub(super) async fn reserve(
    database: &Database,
    client: &Client,
    counts: &Counts,
) -> Result<FirstIds, StorefrontError> {
    let block = |table, count| reserve_block(database, client, table, count);
    Ok(FirstIds {
        customers: block("customers", counts.customers).await?,
        products: block("products", counts.products).await?,
        orders: block("orders", counts.orders).await?,
        order_items: block("order_items", counts.order_items).await?,
        payments: block("payments", counts.payments).await?,
    })
}

/// Takes `count` ids that follow each other and returns the first.
///
/// ALTER SEQUENCE holds off every `nextval` until the transaction ends, which makes reading the sequence and setting
/// it one step. One transaction for each table, so that nobody waits for two of them.
pub(super) async fn reserve_block(
    database: &Database,
    client: &Client,
    table: &str,
    count: usize,
) -> Result<i32, StorefrontError> {
    let sequence = format!("{table}_id_seq");
    let reserved = async {
        client.batch_execute(&format!("BEGIN; ALTER SEQUENCE {sequence} INCREMENT BY 1")).await?;
        let next = client
            .query_one(&format!("SELECT last_value + is_called::int FROM {sequence}"), &[])
            .await?
            .get::<_, i64>(0);
        if count > 0 {
            // Refused by Postgres when it goes beyond the column's type.
            client.execute(&format!("SELECT setval('{sequence}', $1)"), &[&(next + count as i64 - 1)]).await?;
        }
        client.batch_execute("COMMIT").await?;
        Ok(next)
    };
    match reserved.await {
        Ok(next) => i32::try_from(next).map_err(|_| StorefrontError::Refused {
            address: database.address.clone(),
            reason: format!("table {table} has used up its ids"),
        }),
        Err(error) => {
            let _ = client.batch_execute("ROLLBACK").await;
            Err(database.error(&error))
        }
    }
}
