//! One object of the landing zone: an Avro object container of envelopes, read to stage rows.
//!
//! Pure over the object's bytes. Promise: a container that is cut off, or holds another number of records than it says,
//! is an error and never fewer rows.

use std::io::Cursor;

use arrow::{array::Int64Array, record_batch::RecordBatch};
use arrow_avro::{
    reader::{ReaderBuilder, read_header_info},
    schema::AvroSchema,
};
use bytes::Bytes;

use super::{
    columns::{SourceColumn, envelope_columns, read_schema},
    convert::stage_rows,
};
use crate::error::{LakeError, Result};

/// Rows per batch.
const BATCH_ROWS: usize = 8192;

/// Container header keys the sink writes beside Avro's own.
pub mod header {
    /// Offset at which the next object of the partition starts, decimal.
    pub const NEXT: &str = "haus.next-offset";
    /// Number of records, decimal.
    pub const COUNT: &str = "haus.record-count";
    /// Runs of consecutive offsets, `first+count` separated by commas; absent when there is one run from the start.
    pub const RUNS: &str = "haus.offset-runs";
}

/// What an object holds.
#[derive(Debug)]
pub struct Object {
    pub columns: Vec<SourceColumn>,
    pub batches: Vec<RecordBatch>,
    pub rows: usize,
    /// Offset at which the partition's next object starts.
    pub next_offset: i64,
}

/// Reads a container.
///
/// # Errors
/// [`LakeError::Definite`] with the reason when the object is damaged or no container of envelopes.
pub fn read(bytes: &Bytes, topic: &str, partition: i32, start_offset: i64) -> Result<Object> {
    let damaged = |reason: String| LakeError::definite(format!("damaged object: {reason}"));
    let info = read_header_info(Cursor::new(bytes.as_ref())).map_err(|error| damaged(error.to_string()))?;
    let schema = info.writer_schema().map_err(|error| damaged(error.to_string()))?.json_string;
    let columns = envelope_columns(&schema)?;
    let mut builder = ReaderBuilder::new().with_batch_size(BATCH_ROWS);
    if let Some(read) = read_schema(&schema) {
        builder = builder.with_reader_schema(AvroSchema::new(read));
    }
    let reader = builder.build(Cursor::new(bytes.as_ref())).map_err(|error| damaged(error.to_string()))?;
    let said =
        Said::read(|key| reader.avro_header().get(key).map(|value| String::from_utf8_lossy(value).into_owned()))?;
    let mut offsets = said.offsets(start_offset);
    let mut batches = Vec::new();
    let mut rows = 0;
    for batch in reader {
        let batch = batch.map_err(|error| damaged(error.to_string()))?;
        if batch.num_rows() == 0 {
            continue;
        }
        let of_batch = Int64Array::from_iter_values(offsets.by_ref().take(batch.num_rows()));
        if of_batch.len() != batch.num_rows() {
            return Err(damaged("it holds more records than its header names offsets for".to_owned()));
        }
        rows += batch.num_rows();
        batches.push(stage_rows(&batch, &columns, topic, partition, of_batch)?);
    }
    if let Some(count) = said.count
        && usize::try_from(count).ok() != Some(rows)
    {
        return Err(damaged(format!("its header says {count} records, it holds {rows}")));
    }
    let next_offset = said.next.unwrap_or(start_offset + rows as i64);
    Ok(Object { columns, batches, rows, next_offset })
}

/// What the container's header says about offsets.
#[derive(Debug, Default)]
struct Said {
    next: Option<i64>,
    count: Option<i64>,
    runs: Vec<(i64, i64)>,
}

impl Said {
    fn read(header: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let number = |key: &str| -> Result<Option<i64>> {
            let Some(text) = header(key) else { return Ok(None) };
            let number = text.parse().map_err(|_| LakeError::definite(format!("damaged object: {key} is '{text}'")))?;
            Ok(Some(number))
        };
        let mut runs = Vec::new();
        for run in header(header::RUNS).unwrap_or_default().split(',').filter(|run| !run.is_empty()) {
            let parsed =
                run.split_once('+').and_then(|(first, count)| Some((first.parse().ok()?, count.parse().ok()?)));
            runs.push(parsed.ok_or_else(|| LakeError::definite(format!("damaged object: offset run '{run}'")))?);
        }
        Ok(Self { next: number(header::NEXT)?, count: number(header::COUNT)?, runs })
    }

    /// Offsets of the records, in order.
    fn offsets(&self, start_offset: i64) -> Box<dyn Iterator<Item = i64> + '_> {
        if self.runs.is_empty() {
            return Box::new(start_offset..);
        }
        Box::new(self.runs.iter().flat_map(|(first, count)| *first..first.saturating_add(*count)))
    }
}
