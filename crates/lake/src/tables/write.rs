//! Writes rows as Parquet data files: zstd, one row group per file, statistics for every column, bloom filters where the
//! table's properties want them, and the table's sort order where the rows kept it.

use arrow::record_batch::RecordBatch;
use iceberg::{
    arrow::RecordBatchPartitionSplitter,
    io::FileIO,
    spec::{DataContentType, DataFile, DataFileFormat, PartitionKey, PrimitiveType, TableMetadata, Type},
    writer::file_writer::{
        ParquetWriterBuilder,
        location_generator::{DefaultFileNameGenerator, DefaultLocationGenerator},
        rolling_writer::{RollingFileWriter, RollingFileWriterBuilder},
    },
};
use parquet::{
    basic::{Compression, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
    schema::types::ColumnPath,
};

use super::order::InOrder;
use crate::error::{LakeError, Result};

/// A data file is ended beyond this many bytes.
pub const FILE_BYTES_MAX: usize = 128 << 20;
/// One row group per file, so that bounds of the file are bounds of its only group (iceberg-rust skips inexact
/// statistics group by group, which would make bounds over several groups wrong).
const ROW_GROUP_ROWS_MAX: usize = 1 << 20;
/// Table property by which a column has bloom filters.
const BLOOM_FILTER: &str = "write.parquet.bloom-filter-enabled.column.";

type ParquetFiles = RollingFileWriter<ParquetWriterBuilder, DefaultLocationGenerator, DefaultFileNameGenerator>;

/// Writes the rows of one partition to one or more data files.
pub struct Files {
    writer: Box<ParquetFiles>,
    partition: Option<PartitionKey>,
    order: Option<InOrder>,
}

impl Files {
    /// Starts writing; `partition` is `None` for an unpartitioned table.
    ///
    /// # Errors
    /// When the table's locations cannot be made.
    pub fn create(metadata: &TableMetadata, io: &FileIO, partition: Option<PartitionKey>) -> Result<Self> {
        Self::of_rows(metadata, io, partition, ROW_GROUP_ROWS_MAX)
    }

    /// As [`Self::create`], for `rows_max` rows in all: bloom filters begin no larger than these need, so that they stay in the
    /// processor's caches.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn of_rows(
        metadata: &TableMetadata,
        io: &FileIO,
        partition: Option<PartitionKey>,
        rows_max: usize,
    ) -> Result<Self> {
        let parquet = ParquetWriterBuilder::new(properties(metadata, rows_max), metadata.current_schema().clone());
        let names = DefaultFileNameGenerator::new(uuid::Uuid::now_v7().to_string(), None, DataFileFormat::Parquet);
        let locations = DefaultLocationGenerator::new(metadata)?;
        let rolling = RollingFileWriterBuilder::new(parquet, FILE_BYTES_MAX, io.clone(), locations, names);
        Ok(Self { writer: Box::new(rolling.build()), partition, order: InOrder::of(metadata)? })
    }

    /// Adds rows; the batch has the table's columns in order, with field ids.
    ///
    /// # Errors
    /// When the batch does not fit the schema, or storage fails.
    pub async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        if let Some(order) = &mut self.order {
            order.see(&batch)?;
        }
        Box::pin(self.writer.write(&self.partition, &batch)).await?;
        Ok(())
    }

    /// Ends the files and describes them.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn close(self) -> Result<Vec<DataFile>> {
        let order = self.order.as_ref().and_then(InOrder::id);
        let mut files = Vec::new();
        for mut file in Box::pin(self.writer.close()).await? {
            file.content(DataContentType::Data);
            if let Some(partition) = &self.partition {
                file.partition(partition.data().clone());
                file.partition_spec_id(partition.spec().spec_id());
            }
            if let Some(order) = order {
                file.sort_order_id(order);
            }
            files.push(file.build().map_err(|error| LakeError::definite(format!("describe a data file: {error}")))?);
        }
        Ok(files)
    }
}

/// Properties that ask for bloom filters on these columns, under the name every engine knows.
pub fn bloom_filters(columns: &[String]) -> impl Iterator<Item = (String, String)> {
    columns.iter().map(|column| (format!("{BLOOM_FILTER}{column}"), "true".to_owned()))
}

/// Files of a keyed table are rewritten often: what costs time and helps little is left out. Dictionaries pay for text
/// (few distinct values); numbers are mostly keys and times, which zstd packs as well. Statistics are per file.
fn properties(metadata: &TableMetadata, rows_max: usize) -> WriterProperties {
    let distinct_max = rows_max.clamp(1, ROW_GROUP_ROWS_MAX) as u64;
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
    for (name, value) in metadata.properties() {
        if let Some(column) = name.strip_prefix(BLOOM_FILTER) {
            // Its size follows from the file's values: the writer folds it when the row group ends.
            properties = properties.set_column_bloom_filter_enabled(ColumnPath::from(column), value == "true");
            if value == "true" {
                properties = properties.set_column_bloom_filter_ndv(ColumnPath::from(column), distinct_max);
            }
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
    let batches: Vec<RecordBatch> = batches.into_iter().filter(|batch| batch.num_rows() > 0).collect();
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let mut files = Files::of_rows(metadata, io, None, batches.iter().map(RecordBatch::num_rows).sum())?;
    for batch in batches {
        files.write(batch).await?;
    }
    files.close().await
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
        let mut files = Files::of_rows(metadata, io, Some(key), rows.num_rows())?;
        files.write(rows).await?;
        written.extend(files.close().await?);
    }
    Ok(written)
}
