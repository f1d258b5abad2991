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
    /// Name and kind of each column; rows that differ are named by the first.
    pub columns: &'static [(&'static str, Kind)],
    postgres: &'static str,
    shape: &'static str,
}

/// A mart by the name of its two files.
macro_rules! mart {
    ($name:literal, $($column:literal: $kind:ident),+) => {
        Mart {
            name: $name,
            columns: &[$(($column, Kind::$kind)),+],
            postgres: include_str!(concat!("../marts/", $name, ".postgres.sql")),
            shape: include_str!(concat!("../marts/", $name, ".shape.sql")),
        }
    };
}

/// The marts that the ledger knows: all that the repository declares.
pub const MARTS: [Mart; 8] = [
    mart!("daily_revenue", "day": Date, "orders": Integer, "revenue": Decimal),
    mart!("order_funnel", "status": Text, "orders": Integer, "total": Decimal),
    mart!(
        "product_sales",
        "product_id": Integer, "name": Text, "category": Text, "units": Integer, "revenue": Decimal, "orders": Integer
    ),
    mart!(
        "customer_lifetime_value",
        "customer_id": Integer, "country": Text, "orders": Integer, "units": Integer, "revenue": Decimal,
        "first_day": Date, "last_day": Date
    ),
    mart!(
        "cohort_retention",
        "cohort": Date, "months_since": Integer, "cohort_customers": Integer, "customers": Integer, "revenue": Decimal
    ),
    mart!(
        "payment_health",
        "payment_method": Text, "payments": Integer, "paid": Integer, "pending": Integer, "failed": Integer,
        "paid_amount": Decimal, "pending_amount": Decimal, "failed_amount": Decimal
    ),
    mart!(
        "inventory_risk",
        "product_id": Integer, "name": Text, "stock_quantity": Integer, "units_30_days": Integer, "risk": Text
    ),
    mart!("category_trend", "month": Date, "category": Text, "units": Integer, "revenue": Decimal, "orders": Integer),
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
    let sorted = |mut rows: Vec<_>| {
        rows.sort_unstable();
        rows
    };
    let rows = rows.into_iter().map(|(key, (expected, found))| (key, (sorted(expected), sorted(found))));
    let differing = rows.filter(|(_, (expected, found))| expected != found);
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
        let expected = [row(&["1", "a"]), row(&["1", "b"])];
        assert!(differences(&expected, &[row(&["1", "b"]), row(&["1", "a"])]).is_empty(), "rows with one first column");
    }
}
