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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::{
        array::{ArrayRef, AsArray, Int32Array},
        datatypes::Int32Type,
    };
    use iceberg::spec::{FormatVersion, PartitionSpec, PrimitiveType, SortOrder, TableMetadataBuilder};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::tables::schema::{Wanted, arrow_schema, build};

    fn table() -> TableMetadata {
        let schema = build(&[Wanted::new("n", PrimitiveType::Int, false)], &[]).unwrap();
        let (spec, order) = (PartitionSpec::unpartition_spec(), SortOrder::unsorted_order());
        let location = "memory:/table".to_owned();
        TableMetadataBuilder::new(schema, spec, order, location, FormatVersion::V2, Default::default())
            .unwrap()
            .build()
            .unwrap()
            .metadata
    }

    async fn rows(io: &FileIO, file: &DataFile) -> Vec<i32> {
        let bytes = io.new_input(file.file_path()).unwrap().read().await.unwrap();
        let batches = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        batches.flat_map(|batch| batch.unwrap().column(0).as_primitive::<Int32Type>().values().to_vec()).collect()
    }

    #[tokio::test]
    async fn files_have_equal_numbers_of_rows_and_stay_in_their_order() {
        let (metadata, io) = (table(), FileIO::new_with_memory());
        let schema = arrow_schema(metadata.current_schema()).unwrap();
        let mut files = EqualFiles::new(&metadata, &io, 10);
        // More files than writers; batches smaller and larger than a file, and an empty one.
        let mut next = 0;
        for size in [3, 0, 9, 47, 1, 35] {
            let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(next..next + size));
            files.write(RecordBatch::try_new(schema.clone(), vec![numbers]).unwrap()).await.unwrap();
            next += size;
        }
        let files = files.close().await.unwrap();
        let counts: Vec<u64> = files.iter().map(DataFile::record_count).collect();
        assert_eq!(counts, [10, 10, 10, 10, 10, 10, 10, 10, 10, 5]);
        let mut all = Vec::new();
        for file in &files {
            all.extend(rows(&io, file).await);
        }
        assert_eq!(all, (0..95).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_written_is_an_error() {
        let metadata = table();
        let schema = arrow_schema(metadata.current_schema()).unwrap();
        let nowhere = std::env::temp_dir().join(uuid::Uuid::now_v7().to_string());
        std::fs::write(&nowhere, b"a file where a folder has to be").unwrap();
        let location = format!("file://{}", nowhere.display());
        let metadata = metadata.into_builder(None).set_location(location).build().unwrap().metadata;
        let mut files = EqualFiles::new(&metadata, &FileIO::new_with_fs(), 1);
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(0..9));
        let written = files.write(RecordBatch::try_new(schema, vec![numbers]).unwrap()).await;
        assert!(written.is_err() || files.close().await.is_err());
        std::fs::remove_file(&nowhere).unwrap();
    }

    #[tokio::test]
    async fn no_rows_are_no_files() {
        let files = EqualFiles::new(&table(), &FileIO::new_with_memory(), 10);
        assert!(files.close().await.unwrap().is_empty());
    }
}
