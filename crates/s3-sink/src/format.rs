//! What objects are made of: Avro, JSON, Parquet or the bytes as they are.
//!
//! A [`Body`] collects records as they come; [`Body::finish`] makes the object of it. That may cost time and belongs
//! into the task that uploads. Avro and Parquet bodies hold datums, JSON and byte bodies the text itself.

mod lines;
mod parquet;

use bytes::Bytes;
use objects::RawMetadata;

pub use lines::Gzip;
pub use parquet::{ParquetCodec, codec_of as parquet_codec};

use crate::container::{self, Codec, Header};
use lines::Lines;

/// `format.class` and what belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// Object containers.
    Avro(Codec),
    /// A JSON value a line.
    Json(Gzip),
    /// Parquet files.
    Parquet(ParquetCodec),
    /// Values as they are, each with the separator behind it.
    Bytes {
        /// `format.bytearray.extension`, without its dot.
        extension: String,
        /// `format.bytearray.separator`.
        separator: Vec<u8>,
        /// `s3.compression.type`.
        gzip: Gzip,
    },
}

/// An object that cannot be made of these records.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(pub String);

impl Format {
    /// Extension of object names, without the first dot.
    pub fn extension(&self) -> String {
        match self {
            Self::Avro(_) => "avro".into(),
            Self::Json(gzip) => format!("json{}", gzip.extension()),
            Self::Parquet(codec) => parquet::extension(codec),
            Self::Bytes { extension, gzip, .. } => format!("{extension}{}", gzip.extension()),
        }
    }

    /// Whether records are Avro datums until the object is made.
    pub fn takes_avro(&self) -> bool {
        matches!(self, Self::Avro(_) | Self::Parquet(_))
    }

    /// A body without records. The place makes the same records give the same bytes.
    pub fn body(&self, topic: &str, partition: i32, start: i64) -> Body {
        match self {
            Self::Avro(_) | Self::Parquet(_) => Body::Avro(container::Body::new(topic, partition, start)),
            Self::Json(_) => Body::Lines(Lines::new(b"\n".to_vec())),
            Self::Bytes { separator, .. } => Body::Lines(Lines::new(separator.clone())),
        }
    }
}

/// Records of one object.
#[derive(Debug)]
pub enum Body {
    /// Avro datums.
    Avro(container::Body),
    /// Text or bytes.
    Lines(Lines),
}

impl Body {
    /// Add one record.
    pub fn append(&mut self, record: &[u8]) {
        match self {
            Self::Avro(body) => body.append(record),
            Self::Lines(lines) => lines.append(record),
        }
    }

    /// Make the object; its pieces, and the metadata with their checksum.
    ///
    /// # Errors
    /// When the records do not fit the format.
    pub fn finish(
        self,
        format: &Format,
        schema: &str,
        metadata: RawMetadata,
        runs: Option<String>,
    ) -> Result<(Vec<Bytes>, RawMetadata), FormatError> {
        let failed = |error: std::io::Error| FormatError(format!("compressing an object: {error}"));
        let pieces = match (self, format) {
            (Self::Avro(body), Format::Avro(codec)) => {
                body.finish(&Header::new(schema, *codec, &metadata, runs)).map_err(failed)?
            }
            (Self::Avro(body), Format::Parquet(codec)) => {
                let plain = Header { schema, codec: Codec::Null, entries: Vec::new() };
                parquet::from_container(body.finish(&plain).map_err(failed)?, *codec)?
            }
            (Self::Lines(lines), Format::Json(gzip) | Format::Bytes { gzip, .. }) => {
                lines.finish(*gzip).map_err(failed)?
            }
            (Self::Avro(_), _) | (Self::Lines(_), _) => {
                return Err(FormatError("a file was begun in another format".into()));
            }
        };
        let crc = pieces.iter().fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        Ok((pieces, RawMetadata { crc32c: Some(crc), ..metadata }))
    }
}
