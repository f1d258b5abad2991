//! Writes a stream of rows to files of equal numbers of rows, several at once: each is encoded and uploaded by a task of its
//! own, so that neither one core nor one upload is waited for.

use std::{collections::BTreeMap, sync::Arc};

use arrow::record_batch::RecordBatch;
use iceberg::{
    io::FileIO,
    spec::{DataFile, TableMetadata},
};
use tokio::task::JoinSet;

use super::write::write_batches;
use crate::error::{LakeError, Result};

/// Files under way; each holds its rows in memory.
const WRITERS_MAX: usize = 4;

/// Files of an unpartitioned table, in the order of their rows.
pub struct EqualFiles {
    metadata: Arc<TableMetadata>,
    io: FileIO,
    /// Rows of a file.
    rows_max: usize,
    held: Vec<RecordBatch>,
    held_rows: usize,
    started: usize,
    /// Ended, and with it what they write, when this is dropped.
    writers: JoinSet<Result<(usize, Vec<DataFile>)>>,
    written: BTreeMap<usize, Vec<DataFile>>,
}

impl EqualFiles {
    /// Files of `rows_max` rows, the last of fewer.
    #[must_use]
    pub fn new(metadata: &TableMetadata, io: &FileIO, rows_max: usize) -> Self {
        Self {
            metadata: Arc::new(metadata.clone()),
            io: io.clone(),
            rows_max: rows_max.max(1),
            held: Vec::new(),
            held_rows: 0,
            started: 0,
            writers: JoinSet::new(),
            written: BTreeMap::new(),
        }
    }

    /// Adds rows; the batch has the table's columns in order, with field ids.
    ///
    /// # Errors
    /// When a file could not be written.
    pub async fn write(&mut self, mut batch: RecordBatch) -> Result<()> {
        while batch.num_rows() > 0 {
            let fits = batch.num_rows().min(self.rows_max - self.held_rows);
            self.held.push(batch.slice(0, fits));
            self.held_rows += fits;
            batch = batch.slice(fits, batch.num_rows() - fits);
            if self.held_rows == self.rows_max {
                self.start().await?;
            }
        }
        Ok(())
    }

    /// Waits for all files and describes them.
    ///
    /// # Errors
    /// When one could not be written.
    pub async fn close(mut self) -> Result<Vec<DataFile>> {
        if self.held_rows > 0 {
            self.start().await?;
        }
        while !self.writers.is_empty() {
            self.wait().await?;
        }
        Ok(self.written.into_values().flatten().collect())
    }

    async fn start(&mut self) -> Result<()> {
        while self.writers.len() >= WRITERS_MAX {
            self.wait().await?;
        }
        let (rows, number) = (std::mem::take(&mut self.held), self.started);
        (self.held_rows, self.started) = (0, number + 1);
        let (metadata, io) = (self.metadata.clone(), self.io.clone());
        self.writers.spawn(async move { Ok((number, write_batches(&metadata, &io, rows).await?)) });
        Ok(())
    }

    async fn wait(&mut self) -> Result<()> {
        if let Some(ended) = self.writers.join_next().await {
            let ended = ended.map_err(|error| LakeError::definite(format!("a file's writer ended: {error}")));
            let (number, files) = ended??;
            self.written.insert(number, files);
        }
        Ok(())
    }
}
