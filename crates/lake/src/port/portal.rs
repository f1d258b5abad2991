//! A query that gives its rows piece by piece.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arrow::array::ArrayRef;
use bytes::BytesMut;
use datafusion::{execution::SendableRecordBatchStream, scalar::ScalarValue};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{
    answers::Fault,
    commands::Command,
    encode::Layout,
    plan::{self, Parameter, Source},
};
use crate::{error::LakeError, sql::Engine};

/// A prepared statement.
pub struct Prepared {
    pub command: Command,
    pub parameters: Vec<Parameter>,
    /// Its columns; `None`: it gives no rows.
    pub layout: Option<Layout>,
    /// The columns of the cursor it declares, or of the query it copies, which are not described to the client.
    pub inner: Option<Layout>,
}

/// A statement with its parameters, begun or not.
pub struct Portal {
    pub prepared: Arc<Prepared>,
    pub layout: Option<Layout>,
    state: State,
    /// How long it has worked; waiting for the client does not count.
    used: Duration,
    pub sent: u64,
}

enum State {
    Ready(Option<Source>, Vec<ScalarValue>),
    Running { stream: SendableRecordBatchStream, batch: Vec<ArrayRef>, next: usize, rows: usize },
    Done,
}

/// What ends a query before its end.
pub struct Ends<'a> {
    pub cancelled: &'a CancellationToken,
    pub gone: &'a CancellationToken,
    pub stop: &'a CancellationToken,
}

impl Ends<'_> {
    /// Waits for `work`, for at most `left`, unless the query shall end.
    ///
    /// # Errors
    /// `57014` and its like, or the work's own.
    pub async fn or<T>(
        &self,
        engine: &Engine,
        left: Duration,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => Err(Fault::new("57014", "canceling statement due to user request")),
            () = self.gone.cancelled() => Err(Fault::new("08006", "the client is gone")),
            () = self.stop.cancelled() => Err(Fault::new("57P01", "the lake is stopping")),
            done = tokio::time::timeout(left, work) => done.unwrap_or_else(|_| {
                let limit = engine.time_max().as_secs_f64();
                Err(Fault::new("57014", format!("the query took longer than {limit} s (LAKE_SQL_TIME_MAX_S)")))
            }),
        }
    }
}

impl Portal {
    /// Of a statement; without a source the query is planned when it begins, on the tables as they are then.
    pub fn new(
        prepared: Arc<Prepared>,
        layout: Option<Layout>,
        source: Option<Source>,
        values: Vec<ScalarValue>,
    ) -> Self {
        Self { prepared, layout, state: State::Ready(source, values), used: Duration::ZERO, sent: 0 }
    }

    /// What it would begin with, for another portal to begin.
    pub fn take_ready(&mut self) -> (Option<Source>, Vec<ScalarValue>) {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Ready(source, values) => (source, values),
            _ => (None, Vec::new()),
        }
    }

    /// Makes the next rows ready; `false` at the end.
    ///
    /// # Errors
    /// When the query fails or is ended.
    pub async fn advance(&mut self, engine: &Engine, ends: &Ends<'_>) -> Result<bool, Fault> {
        let began = Instant::now();
        let left = engine.time_max().saturating_sub(self.used);
        let found = ends.or(engine, left, self.next_batch(engine)).await;
        self.used += began.elapsed();
        if !matches!(found, Ok(true)) {
            self.state = State::Done;
        }
        found
    }

    async fn next_batch(&mut self, engine: &Engine) -> Result<bool, Fault> {
        loop {
            match &mut self.state {
                State::Done => return Ok(false),
                State::Ready(source, values) => {
                    let (source, values) = (source.take(), std::mem::take(values));
                    let source = match (source, &self.prepared.command) {
                        (Some(source), _) => source,
                        (None, Command::Query(sql) | Command::Copy { query: sql, .. }) => {
                            plan::query(engine, sql).await?
                        }
                        (None, _) => return Err(Fault::new("XX000", "a portal without a query")),
                    };
                    let stream = source.run(values).await?;
                    self.state = State::Running { stream, batch: Vec::new(), next: 0, rows: 0 };
                }
                State::Running { next, rows, .. } if *next < *rows => return Ok(true),
                State::Running { stream, batch, next, rows } => {
                    let Some(found) = stream.next().await else { return Ok(false) };
                    let found = found.map_err(|error| plan::fault(LakeError::from(error)))?;
                    let described = self.layout.as_ref().map_or(0, |layout| layout.columns.len());
                    if described != found.num_columns() {
                        return Err(Fault::new("0A000", "cached plan must not change result type"));
                    }
                    if let Some(layout) = &self.layout {
                        *batch = layout.bring(&found).map_err(plan::fault)?;
                    }
                    (*next, *rows) = (0, found.num_rows());
                }
            }
        }
    }

    /// Appends rows that are ready: at most `rows_max`, and not much more than `bytes_max`. How many.
    pub fn take(&mut self, rows_max: u64, bytes_max: usize, out: &mut BytesMut) -> u64 {
        let prepared = self.prepared.clone();
        let (State::Running { batch, next, rows, .. }, Some(layout)) = (&mut self.state, &self.layout) else {
            return 0;
        };
        let start = *next;
        while *next < *rows && ((*next - start) as u64) < rows_max && out.len() < bytes_max {
            match &prepared.command {
                Command::Copy { how, .. } => how.row(layout, batch, *next, self.sent == 0 && *next == start, out),
                _ => layout.row(batch, *next, out),
            }
            *next += 1;
        }
        let taken = (*next - start) as u64;
        self.sent += taken;
        taken
    }
}
