//! `serve._runs`: what runs did, and `serve._rejected`: rows that failed a model's tests.
//!
//! Reports for people and for SQL; nothing reads them back. Builds of a model that follow each other are added up until they
//! are written, so that a lake that works in short passes writes a few rows a minute. What waits when the process ends by
//! force is lost. Of each model the rows of its last rejection are kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray},
    compute::filter_record_batch,
    record_batch::RecordBatch,
};
use iceberg::{TableIdent, spec::PrimitiveType};

use super::{Served, build::Rejection};
use crate::{
    catalog::Creation,
    error::{LakeError, Result},
    layers,
    tables::{
        TableState, Tables,
        commit::{Basis, Change, now_ms},
        read::collect_files,
        schema::{self, Wanted, arrow_schema, conform},
        write::write_batches,
    },
};

/// Column of `serve._runs` by which rows are forgotten.
pub const ENDED_AT: &str = "ended_at";
/// Records that wait to be written; beyond that the oldest are forgotten.
const RECORDS_MAX: usize = 1000;
/// How long they wait.
const WRITE_PERIOD: Duration = Duration::from_secs(30);
/// Times a change of `serve._rejected` is planned again.
const ATTEMPTS_MAX: usize = 5;

/// What a run, or several that follow each other, did with a model.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    model: String,
    outcome: &'static str,
    how: Option<&'static str>,
    reason: Option<String>,
    started_ms: i64,
    ended_ms: i64,
    runs: i64,
    rows: i64,
    took_ms: i64,
    snapshot_id: Option<i64>,
}

/// Keeps both tables. Clones share it.
#[derive(Clone)]
pub struct History {
    tables: Tables,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Record>,
    written: Option<Instant>,
}

impl History {
    /// A history in these tables.
    #[must_use]
    pub fn new(tables: Tables) -> Self {
        Self { tables, inner: Arc::default() }
    }

    /// Notes what a run did; models it left alone are not worth a word.
    pub fn note(&self, served: &Served, started_ms: i64) {
        let ended_ms = now_ms();
        let blank = |model: &str, outcome| Record {
            model: model.to_owned(),
            outcome,
            how: None,
            reason: None,
            started_ms,
            ended_ms,
            runs: 1,
            rows: 0,
            took_ms: 0,
            snapshot_id: None,
        };
        let mut inner = self.lock();
        for (model, built) in &served.built {
            inner.add(Record {
                how: Some(built.how.word()),
                reason: Some(built.why.to_string()),
                rows: i64::try_from(built.rows).unwrap_or(i64::MAX),
                took_ms: ms(built.took),
                snapshot_id: built.snapshot_id,
                ..blank(model, "built")
            });
        }
        for (model, rejection) in &served.rejected {
            let (reason, took_ms) = (Some(rejection.reason()), ms(rejection.took));
            let snapshot_id = Some(rejection.snapshot_id);
            inner.add(Record { reason, took_ms, snapshot_id, ..blank(model, "rejected") });
        }
        for (model, error) in &served.failed {
            inner.add(Record { reason: Some(error.to_string()), ..blank(model, "failed") });
        }
        for (model, reason) in &served.skipped {
            inner.add(Record { reason: Some(reason.clone()), ..blank(model, "skipped") });
        }
    }

    /// Writes what waits, if it is time to.
    ///
    /// # Errors
    /// When catalog or storage fail; what waits goes on waiting.
    pub async fn write_if_due(&self) -> Result<()> {
        let due = self.lock().written.is_none_or(|at| at.elapsed() >= WRITE_PERIOD);
        if due { self.write().await } else { Ok(()) }
    }

    /// Writes what waits.
    ///
    /// # Errors
    /// As [`Self::write_if_due`].
    pub async fn write(&self) -> Result<()> {
        let records: Vec<Record> = {
            let mut inner = self.lock();
            inner.written = Some(Instant::now());
            inner.waiting.drain(..).collect()
        };
        if records.is_empty() {
            return Ok(());
        }
        let appended = self.append(&records).await;
        if appended.is_err() {
            let mut inner = self.lock();
            for record in records.into_iter().rev() {
                inner.waiting.push_front(record);
            }
            let too_many = inner.waiting.len().saturating_sub(RECORDS_MAX);
            inner.waiting.drain(..too_many);
        }
        appended
    }

    async fn append(&self, records: &[Record]) -> Result<()> {
        let state = self.table(&layers::serve_table(layers::RUNS), run_columns()).await?;
        let rows = conform(&run_rows(records)?, &arrow_schema(state.metadata().current_schema())?)?;
        let add = write_batches(state.metadata(), self.tables.file_io(), [rows]).await?;
        let change = Change { add, basis: Basis::Files, ..Change::default() };
        match self.tables.commit(&state, change).await {
            Ok(_) => Ok(()),
            Err(error) => {
                self.tables.load(state.table.identifier()).await?;
                Err(error)
            }
        }
    }

    /// Keeps the rows of a rejection in the place of those of the model's last one.
    ///
    /// # Errors
    /// When catalog or storage fail.
    pub async fn keep_rejected(&self, model: &str, rejection: &Rejection) -> Result<()> {
        let ident = layers::serve_table(layers::REJECTED);
        for _ in 0..ATTEMPTS_MAX {
            let state = self.table(&ident, rejected_columns()).await?;
            let schema = arrow_schema(state.metadata().current_schema())?;
            let mut rows = vec![conform(&rejected_rows(model, rejection)?, &schema)?];
            for batch in collect_files(&state, &state.files, None).await? {
                let batch = conform(&batch, &schema)?;
                rows.push(filter_record_batch(&batch, &of_others(&batch, model))?);
            }
            let change = Change {
                remove: state.live().map(|file| file.path.to_owned()).collect(),
                add: write_batches(state.metadata(), self.tables.file_io(), rows).await?,
                ..Change::default()
            };
            match self.tables.commit(&state, change).await {
                Err(LakeError::Conflict { .. }) => drop(self.tables.load(&ident).await?),
                done => return done.map(drop),
            }
        }
        Err(LakeError::Conflict { table: ident.to_string() })
    }

    async fn table(&self, ident: &TableIdent, columns: Vec<Wanted>) -> Result<Arc<TableState>> {
        if let Some(state) = self.tables.cached(ident).await? {
            return Ok(state);
        }
        let (schema, properties) = (schema::build(&columns, &[])?, layers::table_properties());
        let creation = Creation { schema, partition_spec: None, sort_order: None, properties };
        self.tables.create(ident, creation).await
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, record: Record) {
        let last = self.waiting.iter_mut().rev().find(|known| known.model == record.model);
        if let Some(last) = last
            && last.outcome == record.outcome
        {
            last.ended_ms = record.ended_ms;
            last.runs += 1;
            last.rows += record.rows;
            last.took_ms += record.took_ms;
            (last.how, last.reason, last.snapshot_id) = (record.how, record.reason, record.snapshot_id);
            return;
        }
        if self.waiting.len() >= RECORDS_MAX {
            self.waiting.pop_front();
        }
        self.waiting.push_back(record);
    }
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn run_columns() -> Vec<Wanted> {
    use PrimitiveType::{Long, String, Timestamptz};
    [
        ("model", String),
        ("outcome", String),
        ("how", String),
        ("reason", String),
        ("started_at", Timestamptz),
        (ENDED_AT, Timestamptz),
        ("runs", Long),
        ("rows", Long),
        ("took_ms", Long),
        ("snapshot_id", Long),
    ]
    .into_iter()
    .map(|(name, kind)| Wanted::new(name, kind, false))
    .collect()
}

fn run_rows(records: &[Record]) -> Result<RecordBatch> {
    let text =
        |of: fn(&Record) -> Option<&str>| -> ArrayRef { Arc::new(StringArray::from_iter(records.iter().map(of))) };
    let number =
        |of: fn(&Record) -> Option<i64>| -> ArrayRef { Arc::new(Int64Array::from_iter(records.iter().map(of))) };
    let time = |of: fn(&Record) -> i64| -> ArrayRef {
        let times = records.iter().map(|record| of(record) * 1000);
        Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00"))
    };
    let columns: [(&str, ArrayRef); 10] = [
        ("model", text(|record| Some(&record.model))),
        ("outcome", text(|record| Some(record.outcome))),
        ("how", text(|record| record.how)),
        ("reason", text(|record| record.reason.as_deref())),
        ("started_at", time(|record| record.started_ms)),
        (ENDED_AT, time(|record| record.ended_ms)),
        ("runs", number(|record| Some(record.runs))),
        ("rows", number(|record| Some(record.rows))),
        ("took_ms", number(|record| Some(record.took_ms))),
        ("snapshot_id", number(|record| record.snapshot_id)),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))?)
}

fn rejected_columns() -> Vec<Wanted> {
    use PrimitiveType::{Long, String, Timestamptz};
    [("model", String), ("test", String), ("row", String), ("at", Timestamptz), ("snapshot_id", Long)]
        .into_iter()
        .map(|(name, kind)| Wanted::new(name, kind, false))
        .collect()
}

/// The rows that failed, a row each; a test that no single row fails has one without.
fn rejected_rows(model: &str, rejection: &Rejection) -> Result<RecordBatch> {
    let mut lines: Vec<(&str, Option<&str>)> = Vec::new();
    for verdict in &rejection.verdicts {
        if verdict.rows.is_empty() {
            lines.push((&verdict.reason, None));
        }
        lines.extend(verdict.rows.iter().map(|row| (verdict.check.as_str(), Some(row.as_str()))));
    }
    let count = lines.len();
    let at = TimestampMicrosecondArray::from_value(now_ms() * 1000, count).with_timezone("+00:00");
    let columns: [(&str, ArrayRef); 5] = [
        ("model", Arc::new(StringArray::from_iter_values(std::iter::repeat_n(model, count)))),
        ("test", Arc::new(StringArray::from_iter_values(lines.iter().map(|(test, _)| *test)))),
        ("row", Arc::new(StringArray::from_iter(lines.iter().map(|(_, row)| *row)))),
        ("at", Arc::new(at)),
        ("snapshot_id", Arc::new(Int64Array::from_value(rejection.snapshot_id, count))),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))?)
}

fn of_others(batch: &RecordBatch, model: &str) -> BooleanArray {
    let models = batch.column_by_name("model").and_then(|column| column.as_string_opt::<i32>());
    match models {
        Some(models) => (0..models.len()).map(|row| Some(models.is_null(row) || models.value(row) != model)).collect(),
        None => BooleanArray::from(vec![true; batch.num_rows()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(model: &str, outcome: &'static str) -> Record {
        Record {
            model: model.into(),
            outcome,
            how: None,
            reason: None,
            started_ms: 1,
            ended_ms: 2,
            runs: 1,
            rows: 10,
            took_ms: 5,
            snapshot_id: None,
        }
    }

    #[test]
    fn builds_that_follow_each_other_are_added_up_and_what_differs_stays_apart() {
        let mut inner = Inner::default();
        for (model, outcome) in [("a", "built"), ("b", "built"), ("a", "built"), ("a", "rejected"), ("a", "built")] {
            inner.add(record(model, outcome));
        }
        let found: Vec<_> =
            inner.waiting.iter().map(|record| (record.model.as_str(), record.outcome, record.runs)).collect();
        assert_eq!(found, [("a", "built", 2), ("b", "built", 1), ("a", "rejected", 1), ("a", "built", 1)]);
        for number in 0..2 * RECORDS_MAX {
            inner.add(record(&number.to_string(), "built"));
        }
        assert_eq!(inner.waiting.len(), RECORDS_MAX);
    }
}
