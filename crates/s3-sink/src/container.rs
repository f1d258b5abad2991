//! Avro object container files, made of record bytes that are already Avro.
//!
//! Pure. Kafka's values carry `0, schema id (4 bytes), Avro datum`; the datum goes into a container block
//! unchanged, nothing is decoded. Source of the format: Avro 1.12 specification, "Object Container Files". The
//! result is readable by Java Avro, fastavro, Spark and DuckDB; its header repeats the facts of
//! [`objects::RawMetadata`] under `haus.…`.
//!
//! Blocks are compressed when the file ends, by the task that uploads it. The same records from the same position
//! give the same bytes: the sync marker is derived from the place, so a file that is written again can be compared
//! with the first.

use std::io::Write as _;

use bytes::Bytes;
use objects::{OFFSET_RUNS, RawMetadata};

/// A block is closed at this size. Readers hold one block in memory.
const BLOCK_BYTES: usize = 128 << 10;
const MAGIC: &[u8; 4] = b"Obj\x01";
/// Zstandard's own default.
const ZSTANDARD_LEVEL: i32 = 3;

/// `avro.codec`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Not compressed.
    Null,
    /// Raw deflate.
    Deflate,
    /// Snappy with a CRC-32.
    Snappy,
    /// Zstandard.
    Zstandard,
}

impl Codec {
    /// All, as the setting names them.
    pub const ALL: [Self; 4] = [Self::Null, Self::Deflate, Self::Snappy, Self::Zstandard];

    /// As the setting and the container's header name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Zstandard => "zstandard",
        }
    }

    fn compress(self, block: Vec<u8>) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Null => Ok(block),
            Self::Deflate => {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(&block)?;
                encoder.finish()
            }
            Self::Snappy => {
                let mut out = snap::raw::Encoder::new().compress_vec(&block).map_err(std::io::Error::other)?;
                out.extend_from_slice(&crc32fast::hash(&block).to_be_bytes());
                Ok(out)
            }
            Self::Zstandard => zstd::bulk::compress(&block, ZSTANDARD_LEVEL),
        }
    }
}

/// A value that is not Confluent-framed Avro.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value does not begin with a 0 byte and a schema id, so no AvroConverter wrote it")]
pub struct NotFramed;

/// Splits a Kafka value into schema id and Avro datum.
///
/// # Errors
/// [`NotFramed`] when it is shorter than five bytes or has another first byte.
pub fn unframe(value: &[u8]) -> Result<(u32, &[u8]), NotFramed> {
    match value {
        [0, a, b, c, d, datum @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum)),
        _ => Err(NotFramed),
    }
}

/// A container's records, growing block by block.
#[derive(Debug)]
pub struct Body {
    sync: [u8; 16],
    blocks: Vec<Block>,
    block: Block,
}

#[derive(Debug, Default)]
struct Block {
    records: u64,
    data: Vec<u8>,
}

/// What stands in a container's header.
#[derive(Debug)]
pub struct Header<'a> {
    /// Writer schema, kept verbatim.
    pub schema: &'a str,
    /// Compression of the blocks.
    pub codec: Codec,
    /// Further entries.
    pub entries: Vec<(String, String)>,
}

impl<'a> Header<'a> {
    /// The header of an object that says what it covers. `runs` is [`objects::offset_runs_text`].
    pub fn new(schema: &'a str, codec: Codec, metadata: &RawMetadata, runs: Option<String>) -> Self {
        let mut entries = metadata.to_container_entries();
        entries.extend(runs.map(|runs| (OFFSET_RUNS.to_owned(), runs)));
        Self { schema, codec, entries }
    }
}

impl Body {
    /// An empty body for a file of this place.
    pub fn new(topic: &str, partition: i32, start_offset: i64) -> Self {
        let sync = sync_marker(topic, partition, start_offset);
        Self { sync, blocks: Vec::new(), block: Block::default() }
    }

    /// Add one record's Avro bytes.
    pub fn append(&mut self, datum: &[u8]) {
        self.block.data.extend_from_slice(datum);
        self.block.records += 1;
        if self.block.data.len() >= BLOCK_BYTES {
            self.blocks.push(std::mem::take(&mut self.block));
        }
    }

    /// The whole file in pieces. Costs time when it is compressed.
    ///
    /// # Errors
    /// When compressing fails.
    pub fn finish(mut self, header: &Header<'_>) -> std::io::Result<Vec<Bytes>> {
        if self.block.records > 0 {
            self.blocks.push(std::mem::take(&mut self.block));
        }
        let mut pieces = Vec::with_capacity(self.blocks.len() * 2 + 1);
        pieces.push(header_bytes(header, &self.sync));
        for Block { records, data } in self.blocks {
            let mut data = header.codec.compress(data)?;
            let mut head = Vec::with_capacity(20);
            put_long(&mut head, i64::try_from(records).unwrap_or(i64::MAX));
            put_long(&mut head, i64::try_from(data.len()).unwrap_or(i64::MAX));
            data.extend_from_slice(&self.sync);
            pieces.extend([head.into(), data.into()]);
        }
        Ok(pieces)
    }
}

fn header_bytes(header: &Header<'_>, sync: &[u8; 16]) -> Bytes {
    let count = header.entries.len() + 2;
    let mut out = MAGIC.to_vec();
    put_long(&mut out, i64::try_from(count).unwrap_or(i64::MAX));
    let own = [("avro.schema", header.schema), ("avro.codec", header.codec.name())];
    let entries = header.entries.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own.into_iter().chain(entries) {
        put_bytes(&mut out, name.as_bytes());
        put_bytes(&mut out, value.as_bytes());
    }
    put_long(&mut out, 0);
    out.extend_from_slice(sync);
    out.into()
}

/// Avro's bytes and strings: their length, then they.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.extend_from_slice(bytes);
}

/// Avro's long: zigzag, seven bits a byte, low bits first.
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn sync_marker(topic: &str, partition: i32, start_offset: i64) -> [u8; 16] {
    let place = format!("{topic}/{partition}/{start_offset}");
    let mut marker = [0; 16];
    let mut crc = 0x6861_7573;
    for word in marker.chunks_exact_mut(4) {
        crc = crc32c::crc32c_append(crc, place.as_bytes());
        word.copy_from_slice(&crc.to_be_bytes());
    }
    marker
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use apache_avro::types::Value;
    use apache_avro::{Reader, Schema, to_avro_datum};
    use proptest::prelude::*;

    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"Key","namespace":"s.p.t","fields":[{"name":"id","type":"long"},{"name":"s","type":["null","string"],"default":null}],"connect.name":"s.p.t.Key"}"#;

    fn file(values: &[(i64, Option<String>)], codec: Codec) -> Vec<u8> {
        let schema = Schema::parse_str(SCHEMA).unwrap();
        let mut body = Body::new("t", 0, 7);
        for (id, text) in values {
            let text = match text {
                Some(text) => Value::Union(1, Box::new(Value::String(text.clone()))),
                None => Value::Union(0, Box::new(Value::Null)),
            };
            let record = Value::Record(vec![("id".into(), Value::Long(*id)), ("s".into(), text)]);
            body.append(&to_avro_datum(&schema, record).unwrap());
        }
        let metadata = RawMetadata {
            start_offset: 7,
            next_offset: 7 + values.len() as i64 + 1,
            record_count: values.len() as u64,
            tombstone_count: 0,
            schema_id: 3,
            crc32c: None,
        };
        body.finish(&Header::new(SCHEMA, codec, &metadata, None)).unwrap().concat()
    }

    fn read(bytes: &[u8]) -> Vec<(i64, Option<String>)> {
        let reader = Reader::new(bytes).unwrap();
        assert_eq!(reader.user_metadata()["haus.start-offset"], b"7");
        let row = |value: Value| {
            let Value::Record(fields) = value else { unreachable!() };
            let mut fields = fields.into_iter().map(|(_, value)| value);
            let (Some(Value::Long(id)), Some(Value::Union(_, text))) = (fields.next(), fields.next()) else {
                unreachable!()
            };
            (id, if let Value::String(text) = *text { Some(text) } else { None })
        };
        reader.map(|value| row(value.unwrap())).collect()
    }

    #[test]
    fn the_writer_schema_is_kept_verbatim_in_the_header() {
        let bytes = file(&[(1, None)], Codec::Snappy);
        assert!(bytes.windows(SCHEMA.len()).any(|window| window == SCHEMA.as_bytes()));
    }

    #[test]
    fn a_file_of_many_blocks_is_read_by_another_implementation() {
        let values: Vec<_> = (0..5000).map(|id| (id, Some("x".repeat(100)))).collect();
        for codec in Codec::ALL {
            let bytes = file(&values, codec);
            assert_eq!(bytes.len() > 3 * BLOCK_BYTES, codec == Codec::Null, "{codec:?}");
            assert_eq!(read(&bytes), values, "{codec:?}");
        }
    }

    #[test]
    fn the_same_records_give_the_same_bytes() {
        let values = [(1, Some("a".to_owned())), (2, None)];
        for codec in Codec::ALL {
            assert_eq!(file(&values, codec), file(&values, codec));
        }
    }

    #[test]
    fn a_value_without_framing_is_refused() {
        assert_eq!(unframe(&[0, 0, 0, 0, 9, 1, 2]), Ok((9, &[1, 2][..])));
        assert_eq!(unframe(&[0, 0, 0]), Err(NotFramed));
        assert_eq!(unframe(b"{\"a\":1}"), Err(NotFramed));
    }

    proptest! {
        #[test]
        fn every_record_comes_back_in_order(values in prop::collection::vec((any::<i64>(), prop::option::of("[a-z]{0,300}")), 0..200), codec in 0..Codec::ALL.len()) {
            prop_assert_eq!(read(&file(&values, Codec::ALL[codec])), values);
        }

        #[test]
        fn any_bytes_are_unframed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = unframe(&bytes);
        }
    }
}
