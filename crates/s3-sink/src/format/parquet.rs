//! Avro datums to a Parquet file, by way of Arrow.

use std::io::Cursor;

use arrow_avro::reader::ReaderBuilder;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::FormatError;

/// Rows decoded at once.
const BATCH_ROWS: usize = 8192;

/// `parquet.codec`.
pub type ParquetCodec = Compression;

/// The codec of a setting's value.
pub fn codec_of(name: &str) -> Option<ParquetCodec> {
    Some(match name {
        "none" => Compression::UNCOMPRESSED,
        "snappy" => Compression::SNAPPY,
        "gzip" => Compression::GZIP(GzipLevel::default()),
        "brotli" => Compression::BROTLI(BrotliLevel::default()),
        "lz4" => Compression::LZ4,
        "zstd" => Compression::ZSTD(ZstdLevel::default()),
        "lz4_raw" => Compression::LZ4_RAW,
        _ => return None,
    })
}

/// Parquet's own names, as Confluent's sink takes them for its extensions.
pub(super) fn extension(codec: &ParquetCodec) -> String {
    let codec = match codec {
        Compression::SNAPPY => "snappy.",
        Compression::GZIP(_) => "gz.",
        Compression::BROTLI(_) => "br.",
        Compression::LZ4 => "lz4hadoop.",
        Compression::LZ4_RAW => "lz4raw.",
        Compression::ZSTD(_) => "zstd.",
        _ => "",
    };
    format!("{codec}parquet")
}

/// A Parquet file of the records of an uncompressed container.
pub(super) fn from_container(pieces: Vec<Bytes>, codec: ParquetCodec) -> Result<Vec<Bytes>, FormatError> {
    let failed = |what: &str, error: &dyn std::fmt::Display| FormatError(format!("{what}: {error}"));
    let container = pieces.concat();
    drop(pieces);
    let reader = ReaderBuilder::new().with_batch_size(BATCH_ROWS).build(Cursor::new(container));
    let reader = reader.map_err(|error| failed("the writer schema has no form in Parquet", &error))?;
    let properties = WriterProperties::builder().set_compression(codec).build();
    let writer = ArrowWriter::try_new(Vec::new(), reader.schema(), Some(properties));
    let mut writer = writer.map_err(|error| failed("the writer schema has no form in Parquet", &error))?;
    for batch in reader {
        let batch = batch.map_err(|error| failed("a value does not fit the schema it names", &error))?;
        writer.write(&batch).map_err(|error| failed("writing Parquet", &error))?;
    }
    let file = writer.into_inner().map_err(|error| failed("writing Parquet", &error))?;
    Ok(vec![file.into()])
}
