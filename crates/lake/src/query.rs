//! One query from text to bytes: limits and formats, for the HTTP interface and the command line.

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    error::{LakeError, Result},
    sql::{Engine, QUERY_TIME_MAX, format},
};

/// Rows of an answer that is not streamed, unless asked otherwise.
pub const ROWS_DEFAULT: usize = 10_000;
/// Rows of an answer that is not streamed, at most.
pub const ROWS_MAX: usize = 200_000;

/// How a result is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Json,
    Ndjson,
    Table,
    Csv,
}

impl Format {
    /// Media type of the answer.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Table => "text/plain; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8",
        }
    }
}

/// A whole result.
#[derive(Debug)]
pub struct Answer {
    pub columns: Value,
    pub rows: Vec<Value>,
    /// There were more rows than the limit.
    pub truncated: bool,
}

impl Answer {
    /// The result as text.
    #[must_use]
    pub fn text(&self, as_format: Format) -> String {
        match as_format {
            Format::Json => {
                let mut body = json!({"columns": self.columns, "rows": self.rows});
                if self.truncated {
                    body["truncated"] = Value::Bool(true);
                }
                body.to_string()
            }
            Format::Ndjson => {
                let lines = std::iter::once(&self.columns).chain(&self.rows);
                lines.map(|line| format!("{line}\n")).collect()
            }
            Format::Csv => {
                let header: Value =
                    self.columns.as_array().into_iter().flatten().map(|column| column["name"].clone()).collect();
                std::iter::once(&header).chain(&self.rows).map(format::csv_line).collect()
            }
            Format::Table => {
                let rest = if self.truncated { "... more rows follow\n" } else { "" };
                format!("{}{rest}", format::table(&self.columns, &self.rows))
            }
        }
    }
}

/// Runs a query to its end or to `rows_max` rows.
///
/// # Errors
/// When the query cannot run or takes longer than [`QUERY_TIME_MAX`].
pub async fn answer(engine: &Engine, sql: &str, rows_max: usize) -> Result<Answer> {
    let run = async {
        let mut stream = engine.query(sql).await?;
        let columns = format::columns(&stream.schema());
        let mut rows = Vec::new();
        while rows.len() <= rows_max
            && let Some(batch) = stream.try_next().await?
        {
            rows.extend(format::rows(&batch)?);
        }
        let truncated = rows.len() > rows_max;
        rows.truncate(rows_max);
        Ok(Answer { columns, rows, truncated })
    };
    tokio::time::timeout(QUERY_TIME_MAX, run).await.map_err(|_| too_long())?
}

/// Runs a query as a stream of NDJSON lines: first the columns, then a line per row. An error after the first line ends
/// the stream.
///
/// # Errors
/// When the query cannot start.
pub async fn lines(
    engine: &Engine,
    sql: &str,
    rows_max: Option<usize>,
) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
    let stream = tokio::time::timeout(QUERY_TIME_MAX, engine.query(sql)).await.map_err(|_| too_long())??;
    let schema: SchemaRef = stream.schema();
    let head = stream::iter([Ok(Bytes::from(format!("{}\n", format::columns(&schema))))]);
    let mut left = rows_max.unwrap_or(usize::MAX);
    let rows = stream.map_err(LakeError::from).map(move |batch| {
        let batch = batch?;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        let text: String = format::rows(&batch)?.iter().map(|row| format!("{row}\n")).collect();
        Ok(Bytes::from(text))
    });
    let deadline = tokio::time::Instant::now() + QUERY_TIME_MAX;
    let bounded = stream::try_unfold(Box::pin(rows), move |mut rows| async move {
        match tokio::time::timeout_at(deadline, rows.next()).await {
            Ok(next) => next.transpose().map(|line| line.map(|line| (line, rows))),
            Err(_) => Err(too_long()),
        }
    });
    Ok(head.chain(bounded))
}

fn too_long() -> LakeError {
    LakeError::Query(format!("the query took longer than {} s and was ended", QUERY_TIME_MAX.as_secs()))
}
