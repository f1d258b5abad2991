//! How far a snapshot is and when it will be done. Pure: the caller has the clock.
//!
//! Pages say how far, because the server's counts of rows may be old; rows are what people ask for. Where a table was
//! never counted, the density of the pages read so far stands for it.

use std::{collections::BTreeMap, time::Duration};

use super::plan::{ChunkId, Plan, Progress};

/// A snapshot's prospects at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// Rows read by this session.
    pub rows: u64,
    /// Those, and what is supposed to be left.
    pub rows_estimated: Option<u64>,
    pub eta: Option<Duration>,
    pub tables: usize,
    pub tables_done: usize,
}

/// Knows where a session began.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pages_before: f64,
}

impl Pace {
    /// A session begins with this behind it.
    #[must_use]
    pub fn new(plan: &Plan, progress: &BTreeMap<ChunkId, Progress>) -> Self {
        let done = (0..plan.tables.len()).map(|table| plan.pages_done(table, progress));
        Self { pages_before: done.sum() }
    }

    /// The prospects after `elapsed`, with `rows` read in it.
    #[must_use]
    pub fn outlook(
        &self,
        plan: &Plan,
        progress: &BTreeMap<ChunkId, Progress>,
        rows: u64,
        elapsed: Duration,
    ) -> Outlook {
        let done: Vec<f64> = (0..plan.tables.len()).map(|table| plan.pages_done(table, progress)).collect();
        let pages = done.iter().sum::<f64>() - self.pages_before;
        let left: f64 = plan.tables.iter().zip(&done).map(|(table, done)| table.weight() - done).sum();
        let density = (pages > 0.0).then(|| rows as f64 / pages);
        let rows_left = plan.tables.iter().zip(&done).try_fold(0.0, |sum, (table, done)| {
            let left = table.weight() - done;
            let supposed = match table.rows {
                ..0 => density.map(|density| density * left),
                known => Some(known as f64 * left / table.weight()),
            };
            // Nothing left needs no estimate.
            if left <= 0.0 { Some(sum) } else { supposed.map(|rows| sum + rows) }
        });
        let eta = if left <= 0.0 {
            Some(Duration::ZERO)
        } else {
            (pages > 0.0).then(|| elapsed.mul_f64((left / pages).min(1e6)))
        };
        Outlook {
            rows,
            rows_estimated: rows_left.map(|left| rows + left.round() as u64),
            eta,
            tables: done.len(),
            tables_done: plan.tables.iter().zip(&done).filter(|(table, done)| **done >= table.weight()).count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::plan::{PlannedTable, RowPlace};

    fn plan(tables: &[(u32, i64)]) -> Plan {
        let table = |(pages, rows): &(u32, i64)| PlannedTable { pages: *pages, rows: *rows, ..PlannedTable::default() };
        let tables = tables.iter().map(table).collect();
        Plan { consistent_lsn: 1, pg_snapshot: "1:1:".into(), ts_us: 0, chunk_pages: 10, tables, blocking: false }
    }

    fn at(table: usize, chunk: u32) -> ChunkId {
        ChunkId { table, chunk }
    }

    #[test]
    fn time_left_follows_the_pages() {
        let plan = plan(&[(20, 2000), (20, 1000)]);
        let mut progress = BTreeMap::new();
        let pace = Pace::new(&plan, &progress);
        assert_eq!(pace.outlook(&plan, &progress, 0, Duration::from_secs(1)).eta, None);
        progress.insert(at(0, 0), Progress::Done);
        let outlook = pace.outlook(&plan, &progress, 1000, Duration::from_secs(10));
        assert_eq!(outlook.eta, Some(Duration::from_secs(30)));
        assert_eq!((outlook.rows_estimated, outlook.tables_done), (Some(3000), 0));
        progress.insert(at(0, 1), Progress::Upto(RowPlace { page: 15, line: 1 }));
        assert_eq!(pace.outlook(&plan, &progress, 1500, Duration::from_secs(15)).eta, Some(Duration::from_secs(25)));
    }

    #[test]
    fn what_was_done_before_a_restart_counts_for_no_speed() {
        let plan = plan(&[(20, 2000)]);
        let mut progress = BTreeMap::from([(at(0, 0), Progress::Done)]);
        let pace = Pace::new(&plan, &progress);
        assert_eq!(pace.outlook(&plan, &progress, 0, Duration::from_secs(9)).eta, None);
        progress.insert(at(0, 1), Progress::Upto(RowPlace { page: 15, line: 1 }));
        assert_eq!(pace.outlook(&plan, &progress, 500, Duration::from_secs(4)).eta, Some(Duration::from_secs(4)));
    }

    #[test]
    fn a_table_that_was_never_counted_is_supposed_to_be_like_the_rest() {
        let plan = plan(&[(10, -1), (10, -1)]);
        let pace = Pace::new(&plan, &BTreeMap::new());
        assert_eq!(pace.outlook(&plan, &BTreeMap::new(), 0, Duration::ZERO).rows_estimated, None);
        let progress = BTreeMap::from([(at(0, 0), Progress::Done)]);
        assert_eq!(pace.outlook(&plan, &progress, 300, Duration::ZERO).rows_estimated, Some(600));
    }

    #[test]
    fn an_empty_table_is_done_when_its_end_is_recorded() {
        let plan = plan(&[(0, 0)]);
        let pace = Pace::new(&plan, &BTreeMap::new());
        let progress = BTreeMap::from([(at(0, 0), Progress::Done)]);
        let outlook = pace.outlook(&plan, &progress, 0, Duration::ZERO);
        assert_eq!((outlook.eta, outlook.tables_done), (Some(Duration::ZERO), 1));
    }
}
