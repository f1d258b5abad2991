//! One query from text to bytes: limits and formats, for the HTTP interface and the command line.
//!
//! JSON and the table are collected, up to a number of rows; NDJSON, CSV and Parquet are streamed, whole.

use std::{
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    error::{LakeError, Result},
    sql::{Engine, format},
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
    Parquet,
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
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// Whether results go out as they come, without a limit of rows.
    #[must_use]
    pub fn streams(self) -> bool {
        matches!(self, Self::Ndjson | Self::Csv | Self::Parquet)
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
    /// The result as JSON or as a table; what is streamed does not come by here.
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
            Format::Table | Format::Ndjson | Format::Csv | Format::Parquet => {
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
    tokio::time::timeout(engine.time_max(), run).await.map_err(|_| too_long(engine))?
}

/// Runs a query as a stream of bytes: NDJSON (first the columns, then a line per row), CSV or Parquet. An error after
/// the first bytes ends the stream.
///
/// # Errors
/// When the query cannot start.
pub async fn streamed(
    engine: &Engine,
    sql: &str,
    as_format: Format,
    rows_max: Option<usize>,
) -> Result<impl Stream<Item = Result<Bytes>> + Send + use<>> {
    let deadline = tokio::time::Instant::now() + engine.time_max();
    let engine = engine.clone();
    let stream = tokio::time::timeout_at(deadline, engine.query(sql)).await.map_err(|_| too_long(&engine))??;
    let schema: SchemaRef = stream.schema();
    let mut writer = Writer::new(as_format, &schema)?;
    let head = stream::iter([Ok(writer.head(&schema))]);
    let mut left = rows_max.unwrap_or(usize::MAX);
    let rows = stream.map_err(LakeError::from).map(Some).chain(stream::iter([None])).map(move |batch| {
        let Some(batch) = batch else { return writer.end() };
        let batch = batch?;
        let batch = batch.slice(0, batch.num_rows().min(left));
        left -= batch.num_rows();
        writer.rows(&batch)
    });
    let bounded = stream::try_unfold(Box::pin(rows), move |mut rows| {
        let engine = engine.clone();
        async move {
            match tokio::time::timeout_at(deadline, rows.next()).await {
                Ok(next) => next.transpose().map(|bytes| bytes.map(|bytes| (bytes, rows))),
                Err(_) => Err(too_long(&engine)),
            }
        }
    });
    Ok(head.chain(bounded).try_filter(|bytes| std::future::ready(!bytes.is_empty())))
}

/// Batches to bytes of one format.
enum Writer {
    Lines,
    Csv,
    Parquet { schema: SchemaRef, sink: Sink, rows: Option<Box<ArrowWriter<Sink>>> },
}

impl Writer {
    fn new(as_format: Format, schema: &SchemaRef) -> Result<Self> {
        Ok(match as_format {
            Format::Csv => Self::Csv,
            Format::Parquet => {
                let (schema, sink) = (storable(schema), Sink::default());
                let properties = WriterProperties::builder().set_compression(Compression::ZSTD(Default::default()));
                let rows =
                    ArrowWriter::try_new(sink.clone(), schema.clone(), Some(properties.build())).map_err(unwritable)?;
                Self::Parquet { schema, sink, rows: Some(Box::new(rows)) }
            }
            _ => Self::Lines,
        })
    }

    fn head(&self, schema: &SchemaRef) -> Bytes {
        match self {
            Self::Lines => Bytes::from(format!("{}\n", format::columns(schema))),
            Self::Csv => {
                let header = schema.fields().iter().map(|field| Value::String(field.name().clone())).collect();
                Bytes::from(format::csv_line(&header))
            }
            Self::Parquet { .. } => Bytes::new(),
        }
    }

    fn rows(&mut self, batch: &RecordBatch) -> Result<Bytes> {
        match self {
            Self::Lines => Ok(format::rows(batch)?.iter().map(|row| format!("{row}\n")).collect::<String>().into()),
            Self::Csv => Ok(format::rows(batch)?.iter().map(format::csv_line).collect::<String>().into()),
            Self::Parquet { schema, sink, rows } => {
                let columns = batch.columns().iter().zip(schema.fields());
                let columns = columns.map(|(column, field)| arrow::compute::cast(column, field.data_type()));
                let columns = columns.collect::<Result<Vec<_>, _>>()?;
                let options = arrow::record_batch::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
                let batch = RecordBatch::try_new_with_options(schema.clone(), columns, &options)?;
                if let Some(rows) = rows {
                    rows.write(&batch).map_err(unwritable)?;
                    if rows.in_progress_size() > ROW_GROUP_BYTES {
                        rows.flush().map_err(unwritable)?;
                    }
                }
                Ok(sink.take())
            }
        }
    }

    fn end(&mut self) -> Result<Bytes> {
        match self {
            Self::Parquet { sink, rows, .. } => {
                if let Some(rows) = rows.take() {
                    rows.close().map_err(unwritable)?;
                }
                Ok(sink.take())
            }
            _ => Ok(Bytes::new()),
        }
    }
}

/// Encoded bytes after which a row group of a streamed Parquet file ends.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// A schema as Parquet can hold it: without the null type, and nullable throughout.
fn storable(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let kind = if *field.data_type() == DataType::Null { DataType::Utf8 } else { field.data_type().clone() };
        Field::new(field.name(), kind, true)
    };
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Where Parquet is written to and taken from, piece by piece.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn unwritable(error: parquet::errors::ParquetError) -> LakeError {
    LakeError::Query(format!("the result cannot be written as Parquet: {error}"))
}

fn too_long(engine: &Engine) -> LakeError {
    LakeError::Query(format!("the query took longer than {} s and was ended", engine.time_max().as_secs_f64()))
}
