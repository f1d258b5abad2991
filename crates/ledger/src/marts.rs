//! The marts of `serve`, computed again by other SQL than the models', and compared to the cent.
//!
//! When nothing has changed since the ledger's snapshot, a mart is compared with Postgres. Under traffic the mart has
//! moved on and Postgres cannot be asked about that moment any more, so it is compared with the lake's own `shape`
//! instead, both read by one statement. A pass of the lake moves `shape` a little before `serve`, so a difference is
//! looked at again until the time is up; equality at one moment is the proof.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::canonical::Kind;
use crate::error::{LedgerError, Result};
use crate::lake::Lake;
use crate::rows::Row;

/// Pause between two looks at a mart.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Rows named of a mart that differs.
const DIFFERENCES_MAX: usize = 20;

/// A mart and two other ways to compute it.
#[derive(Debug)]
pub struct Mart {
    pub name: &'static str,
    /// Name and kind of each column; the first is the key.
    pub columns: &'static [(&'static str, Kind)],
    postgres: &'static str,
    shape: &'static str,
}

/// The marts that the ledger knows.
pub const MARTS: [Mart; 3] = [
    Mart {
        name: "daily_revenue",
        columns: &[("day", Kind::Date), ("orders", Kind::Integer), ("revenue", Kind::Decimal)],
        postgres: "SELECT o.created_at::date, count(*), coalesce(sum(i.revenue), 0)::numeric(18, 2)
            FROM orders o CROSS JOIN LATERAL
                (SELECT sum(quantity * price_at_purchase) AS revenue FROM order_items WHERE order_id = o.id) i
            WHERE o.status IN ('pending', 'shipped', 'delivered') GROUP BY 1",
        shape: "SELECT day, COUNT(*) AS orders, CAST(COALESCE(SUM(revenue), 0) AS DECIMAL(18, 2)) AS revenue
            FROM (SELECT o.id, CAST(o.created_at AS DATE) AS day, SUM(i.quantity * i.price_at_purchase) AS revenue
                  FROM shape.orders o LEFT JOIN shape.order_items i ON i.order_id = o.id
                  WHERE o.status IN ('pending', 'shipped', 'delivered') GROUP BY o.id, CAST(o.created_at AS DATE)) AS per_order
            GROUP BY day",
    },
    Mart {
        name: "order_funnel",
        columns: &[("status", Kind::Text), ("orders", Kind::Integer), ("total", Kind::Decimal)],
        postgres: "SELECT s.status, count(*), coalesce(sum(o.total), 0)::numeric(18, 2)
            FROM (SELECT DISTINCT status FROM orders) s JOIN orders o USING (status) GROUP BY s.status",
        shape: "SELECT status, COUNT(id) AS orders, CAST(COALESCE(SUM(total), 0) AS DECIMAL(18, 2)) AS total
            FROM (SELECT id, status, total FROM shape.orders) AS o GROUP BY status",
    },
    Mart {
        name: "product_sales",
        columns: &[
            ("product_id", Kind::Integer),
            ("name", Kind::Text),
            ("category", Kind::Text),
            ("units", Kind::Integer),
            ("revenue", Kind::Decimal),
            ("orders", Kind::Integer),
        ],
        postgres: "SELECT p.id, p.name, p.category, coalesce(s.units, 0), coalesce(s.revenue, 0)::numeric(18, 2),
                coalesce(s.orders, 0)
            FROM products p LEFT JOIN
                (SELECT product_id, sum(quantity) AS units, sum(quantity * price_at_purchase) AS revenue,
                    count(DISTINCT order_id) AS orders
                 FROM order_items i
                 WHERE NOT EXISTS (SELECT FROM orders o WHERE o.id = i.order_id AND o.status = 'cancelled')
                 GROUP BY product_id) s ON s.product_id = p.id",
        shape: "SELECT p.id AS product_id, p.name, p.category, CAST(COALESCE(s.units, 0) AS BIGINT) AS units,
                CAST(COALESCE(s.revenue, 0) AS DECIMAL(18, 2)) AS revenue, COALESCE(s.orders, 0) AS orders
            FROM shape.products p LEFT JOIN
                (SELECT i.product_id, SUM(i.quantity) AS units, SUM(i.quantity * i.price_at_purchase) AS revenue,
                    COUNT(DISTINCT i.order_id) AS orders
                 FROM shape.order_items i LEFT JOIN shape.orders o ON o.id = i.order_id AND o.status = 'cancelled'
                 WHERE o.id IS NULL GROUP BY i.product_id) AS s ON s.product_id = p.id",
    },
];

/// The verdict on one mart.
#[derive(Debug, Clone, Serialize)]
pub struct MartReport {
    pub mart: &'static str,
    /// Rows of the mart.
    pub rows: usize,
    /// `postgres` or `shape`.
    pub compared_with: &'static str,
    /// `equal` or `different`.
    pub verdict: &'static str,
    /// First differing rows, in words.
    pub differences: Vec<String>,
}

impl Mart {
    /// The query for Postgres.
    #[must_use]
    pub fn postgres_query(&self) -> &'static str {
        self.postgres
    }

    /// Kinds of the columns.
    #[must_use]
    pub fn kinds(&self) -> Vec<Kind> {
        self.columns.iter().map(|(_, kind)| *kind).collect()
    }

    fn column_list(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// Compares the lake's mart with `expected` (Postgres' rows at the snapshot), or, once `moved_on` says that the
    /// lake holds more than that snapshot, with its `shape`.
    ///
    /// # Errors
    /// When the lake is away or has no such mart.
    pub async fn verify(
        &self,
        lake: &Lake,
        expected: &[Row],
        deadline: Instant,
        moved_on: impl AsyncFn() -> Result<bool>,
    ) -> Result<MartReport> {
        loop {
            let sql = format!("SELECT {} FROM serve.{}", self.column_list(), self.name);
            let found = match lake.query(&sql, &self.kinds()).await {
                Ok(found) => found,
                // The first pass over a new lake may not have made it yet.
                Err(LedgerError::Broken(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut report = self.report("postgres", expected, &found);
            if report.verdict != "equal" && moved_on().await? {
                let (mart, again) = self.mart_and_shape(lake).await?;
                report = self.report("shape", &again, &mart);
            }
            if report.verdict == "equal" || Instant::now() >= deadline {
                return Ok(report);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// The mart and its recomputation from `shape`, by one statement.
    async fn mart_and_shape(&self, lake: &Lake) -> Result<(Vec<Row>, Vec<Row>)> {
        let columns = self.column_list();
        let sql = format!(
            "SELECT 0 AS side, {columns} FROM serve.{} UNION ALL SELECT 1 AS side, {columns} FROM ({}) AS again",
            self.name, self.shape
        );
        let kinds: Vec<Kind> = std::iter::once(Kind::Integer).chain(self.kinds()).collect();
        let (mut mart, mut again) = (Vec::new(), Vec::new());
        for mut row in lake.query(&sql, &kinds).await? {
            let side = row.remove(0);
            if side.as_deref() == Some("0") { mart.push(row) } else { again.push(row) }
        }
        Ok((mart, again))
    }

    fn report(&self, compared_with: &'static str, expected: &[Row], found: &[Row]) -> MartReport {
        let differences = differences(expected, found);
        let verdict = if differences.is_empty() { "equal" } else { "different" };
        let shown = differences.len().min(DIFFERENCES_MAX);
        let differences = differences[..shown].to_vec();
        MartReport { mart: self.name, rows: found.len(), compared_with, verdict, differences }
    }
}

/// Rows that are not the same on both sides, by key. A row that comes twice differs from one that comes once.
fn differences(expected: &[Row], found: &[Row]) -> Vec<String> {
    let mut rows: BTreeMap<&str, (Vec<&Row>, Vec<&Row>)> = BTreeMap::new();
    for row in expected {
        rows.entry(key(row)).or_default().0.push(row);
    }
    for row in found {
        rows.entry(key(row)).or_default().1.push(row);
    }
    let differing = rows.into_iter().filter(|(_, (expected, found))| expected != found);
    differing
        .map(|(key, (expected, found))| format!("{key}: expected {}, found {}", words(&expected), words(&found)))
        .collect()
}

fn key(row: &Row) -> &str {
    row.first().and_then(Option::as_deref).unwrap_or("NULL")
}

fn words(rows: &[&Row]) -> String {
    let row = |row: &&Row| row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect::<Vec<_>>().join(" | ");
    if rows.is_empty() { "nothing".to_owned() } else { rows.iter().map(row).collect::<Vec<_>>().join(" and ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Row {
        cells.iter().map(|cell| Some((*cell).to_owned())).collect()
    }

    #[test]
    fn a_cent_is_a_difference_and_order_is_none() {
        let expected = [row(&["1", "10.00"]), row(&["2", "5.00"])];
        assert!(differences(&expected, &[row(&["2", "5.00"]), row(&["1", "10.00"])]).is_empty());
        assert_eq!(
            differences(&expected, &[row(&["1", "10.01"]), row(&["2", "5.00"]), row(&["3", "0.00"])]),
            ["1: expected 1 | 10.00, found 1 | 10.01", "3: expected nothing, found 3 | 0.00"]
        );
        assert_eq!(differences(&expected, &[row(&["1", "10.00"]), row(&["2", "5.00"]), row(&["2", "5.00"])]).len(), 1);
    }
}
