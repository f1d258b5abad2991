//! What the seeder has done since it started: the facts behind `GET /status`.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::simulation::population::Counts;

/// The storefront's tables, parents first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Customers,
    Products,
    Orders,
    OrderItems,
    Payments,
}

/// Rows written to one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct RowCounts {
    pub inserted: u64,
    pub updated: u64,
    pub deleted: u64,
}

/// Rows written, by table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct RowsWritten {
    pub customers: RowCounts,
    pub products: RowCounts,
    pub orders: RowCounts,
    pub order_items: RowCounts,
    pub payments: RowCounts,
}

impl RowsWritten {
    fn of(&mut self, table: Table) -> &mut RowCounts {
        match table {
            Table::Customers => &mut self.customers,
            Table::Products => &mut self.products,
            Table::Orders => &mut self.orders,
            Table::OrderItems => &mut self.order_items,
            Table::Payments => &mut self.payments,
        }
    }

    /// Adds inserted rows.
    pub fn insert(&mut self, table: Table, rows: u64) {
        self.of(table).inserted += rows;
    }

    /// Adds updated rows.
    pub fn update(&mut self, table: Table, rows: u64) {
        self.of(table).updated += rows;
    }

    /// Adds deleted rows.
    pub fn delete(&mut self, table: Table, rows: u64) {
        self.of(table).deleted += rows;
    }

    /// Adds inserted rows of all tables.
    pub fn insert_counts(&mut self, counts: &Counts) {
        self.insert(Table::Customers, counts.customers as u64);
        self.insert(Table::Products, counts.products as u64);
        self.insert(Table::Orders, counts.orders as u64);
        self.insert(Table::OrderItems, counts.order_items as u64);
        self.insert(Table::Payments, counts.payments as u64);
    }

    /// Whether no row was written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.customers, other.customers),
            (&mut self.products, other.products),
            (&mut self.orders, other.orders),
            (&mut self.order_items, other.order_items),
            (&mut self.payments, other.payments),
        ];
        for (sum, part) in pairs {
            sum.inserted += part.inserted;
            sum.updated += part.updated;
            sum.deleted += part.deleted;
        }
    }
}

/// Something that went wrong, and when.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Failure {
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub at: DateTime<Utc>,
    pub error: String,
}

/// The answer of `GET /status`.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Status {
    /// Whether traffic is running.
    pub running: bool,
    /// Transactions a second asked for; null when no traffic runs.
    pub rate: Option<f64>,
    /// Since when the traffic runs (RFC 3339, UTC); null when none runs.
    #[schema(value_type = Option<String>)]
    pub since: Option<DateTime<Utc>>,
    /// Transactions that traffic has committed since the seeder started.
    pub transactions: u64,
    /// Of these, how many found nothing to do (nothing in stock, order gone).
    pub without_effect: u64,
    /// Transactions that met a concurrent change and were given up; normal at high rates.
    pub conflicts: u64,
    /// Transactions left out because the database was away or too slow for the rate.
    pub left_out: u64,
    /// Transactions and connections that failed.
    pub errors: u64,
    pub last_error: Option<Failure>,
    /// Rows written since the seeder started, by full seeds and traffic.
    pub rows: RowsWritten,
    /// The running full seed, or the last one.
    pub full: Option<FullStatus>,
}

/// Progress of a full seed.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct FullStatus {
    pub running: bool,
    /// Customers asked for.
    pub count: usize,
    pub batch_size: usize,
    pub seed: u64,
    /// RFC 3339, UTC.
    #[schema(value_type = String)]
    pub since: DateTime<Utc>,
    pub rows_total: u64,
    pub rows_written: u64,
    /// How long it took; null while it runs.
    pub seconds: Option<f64>,
    /// Why it stopped early.
    pub error: Option<String>,
}

/// The shared record. Written by tasks, read by the API.
#[derive(Debug, Default)]
pub struct Activity(Mutex<Status>);

impl Activity {
    /// A copy of the facts.
    #[must_use]
    pub fn status(&self) -> Status {
        self.lock().clone()
    }

    /// Traffic runs from now on, at this rate.
    pub fn traffic_started(&self, rate: f64) {
        let mut status = self.lock();
        status.running = true;
        status.rate = Some(rate);
        status.since = Some(Utc::now());
    }

    /// Traffic no longer runs.
    pub fn traffic_stopped(&self) {
        let mut status = self.lock();
        status.running = false;
        status.rate = None;
        status.since = None;
    }

    /// A transaction of the traffic was committed.
    pub fn committed(&self, rows: &RowsWritten) {
        let mut status = self.lock();
        status.transactions += 1;
        status.without_effect += u64::from(rows.is_empty());
        status.rows.add(rows);
        drop(status);
        metrics::counter!("seeder_transactions_total").increment(1);
    }

    /// A transaction gave way to a concurrent one.
    pub fn conflicted(&self) {
        self.lock().conflicts += 1;
        metrics::counter!("seeder_conflicts_total").increment(1);
    }

    /// Transactions were left out of the schedule.
    pub fn left_out(&self, transactions: u64) {
        self.lock().left_out += transactions;
    }

    /// Something failed.
    pub fn failed(&self, error: String) {
        let mut status = self.lock();
        status.errors += 1;
        status.last_error = Some(Failure { at: Utc::now(), error });
        drop(status);
        metrics::counter!("seeder_errors_total").increment(1);
    }

    /// A full seed begins. False, and nothing is changed, when one is running.
    pub fn full_started(&self, count: usize, batch_size: usize, seed: u64) -> bool {
        let mut status = self.lock();
        if status.full.as_ref().is_some_and(|full| full.running) {
            return false;
        }
        status.full = Some(FullStatus {
            running: true,
            count,
            batch_size,
            seed,
            since: Utc::now(),
            rows_total: 0,
            rows_written: 0,
            seconds: None,
            error: None,
        });
        true
    }

    /// The size of the running full seed is known.
    pub fn full_sized(&self, rows: usize) {
        if let Some(full) = &mut self.lock().full {
            full.rows_total = rows as u64;
        }
    }

    /// The full seed has committed rows.
    pub fn full_wrote(&self, counts: &Counts) {
        let mut status = self.lock();
        status.rows.insert_counts(counts);
        if let Some(full) = &mut status.full {
            full.rows_written += counts.total() as u64;
        }
        drop(status);
        metrics::counter!("seeder_seeded_rows_total").increment(counts.total() as u64);
    }

    /// The full seed is over.
    pub fn full_ended(&self, error: Option<String>) {
        if let Some(full) = &mut self.lock().full {
            full.running = false;
            full.seconds = Some((Utc::now() - full.since).as_seconds_f64());
            full.error = error;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        // Counters stay meaningful whatever a task did while it held the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
