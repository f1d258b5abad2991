//! Writes rows as Parquet data files: zstd, one row group per file, statistics for every column.

use arrow::record_batch::RecordBatch;
use iceberg::{
    arrow::RecordBatchPartitionSplitter,
    io::FileIO,
    spec::{DataFile, DataFileFormat, PartitionKey, PrimitiveType, TableMetadata, Type},
    writer::{
        IcebergWriter, IcebergWriterBuilder,
        base_writer::data_file_writer::DataFileWriterBuilder,
        file_writer::{
            ParquetWriterBuilder,
            location_generator::{DefaultFileNameGenerator, DefaultLocationGenerator},
            rolling_writer::RollingFileWriterBuilder,
        },
    },
};
use parquet::{
    basic::{Compression, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};

use crate::error::Result;

/// A data file is ended beyond this many bytes.
pub const FILE_BYTES_MAX: usize = 128 << 20;
/// One row group per file, so that bounds of the file are bounds of its only group (iceberg-rust skips inexact
/// statistics group by group, which would make bounds over several groups wrong).
const ROW_GROUP_ROWS_MAX: usize = 1 << 20;

type ParquetFiles = iceberg::writer::base_writer::data_file_writer::DataFileWriter<
    ParquetWriterBuilder,
    DefaultLocationGenerator,
    DefaultFileNameGenerator,
>;

/// Writes the rows of one partition to one or more data files.
pub struct Files {
    writer: Box<ParquetFiles>,
}

impl Files {
    /// Starts writing; `partition` is `None` for an unpartitioned table.
    ///
    /// # Errors
    /// When the table's locations cannot be made.
    pub async fn create(metadata: &TableMetadata, io: &FileIO, partition: Option<PartitionKey>) -> Result<Self> {
        let parquet = ParquetWriterBuilder::new(properties(metadata), metadata.current_schema().clone());
        let names = DefaultFileNameGenerator::new(uuid::Uuid::now_v7().to_string(), None, DataFileFormat::Parquet);
        let locations = DefaultLocationGenerator::new(metadata)?;
        let rolling = RollingFileWriterBuilder::new(parquet, FILE_BYTES_MAX, io.clone(), locations, names);
        let writer = Box::new(Box::pin(DataFileWriterBuilder::new(rolling).build(partition)).await?);
        Ok(Self { writer })
    }

    /// Adds rows; the batch has the table's columns in order, with field ids.
    ///
    /// # Errors
    /// When the batch does not fit the schema, or storage fails.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        Box::pin(self.writer.write(batch)).await?;
        Ok(())
    }

    /// Ends the files and describes them.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn close(mut self) -> Result<Vec<DataFile>> {
        Ok(Box::pin(self.writer.close()).await?)
    }
}

/// Files of a keyed table are rewritten often: what costs time and helps little is left out. Dictionaries pay for text
/// (few distinct values); numbers are mostly keys and times, which zstd packs as well. Statistics are per file.
fn properties(metadata: &TableMetadata) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(false)
        .set_created_by("haus-am-see lake".to_owned());
    for field in metadata.current_schema().as_struct().fields() {
        if *field.field_type == Type::Primitive(PrimitiveType::String) {
            properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name.as_str()), true);
        }
    }
    properties.build()
}

/// Writes batches of an unpartitioned table to files.
///
/// # Errors
/// As [`Files::write`].
pub async fn write_batches(
    metadata: &TableMetadata,
    io: &FileIO,
    batches: impl IntoIterator<Item = RecordBatch>,
) -> Result<Vec<DataFile>> {
    let mut files: Option<Files> = None;
    for batch in batches.into_iter().filter(|batch| batch.num_rows() > 0) {
        if files.is_none() {
            files = Some(Files::create(metadata, io, None).await?);
        }
        if let Some(files) = &mut files {
            files.write(batch).await?;
        }
    }
    match files {
        Some(files) => files.close().await,
        None => Ok(Vec::new()),
    }
}

/// Writes rows to files of the default partition spec, whatever it is; their order is kept within each partition.
///
/// # Errors
/// As [`Files::write`].
pub async fn write_partitioned(metadata: &TableMetadata, io: &FileIO, rows: &RecordBatch) -> Result<Vec<DataFile>> {
    let spec = metadata.default_partition_spec();
    if spec.is_unpartitioned() {
        return write_batches(metadata, io, [rows.clone()]).await;
    }
    if rows.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let schema = metadata.current_schema().clone();
    let splitter = RecordBatchPartitionSplitter::try_new_with_computed_values(schema, spec.clone())?;
    let mut written = Vec::new();
    for (key, rows) in splitter.split(rows)? {
        let mut files = Files::create(metadata, io, Some(key)).await?;
        files.write(rows).await?;
        written.extend(files.close().await?);
    }
    Ok(written)
}
