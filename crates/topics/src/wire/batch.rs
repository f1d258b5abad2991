//! Record batches (format version 2): records are written into them as they come, and sealed when they are sent.
//!
//! Pure. Promise: appending a record copies its bytes once and allocates nothing but room that the batch keeps.

use std::io::Write as _;
use std::time::Instant;

use bytes::Bytes;

use super::varint;
use crate::record::{Headers, RecordOut};
use crate::transaction::Compression;

/// Bytes of a batch before its first record.
const HEAD_BYTES: usize = 61;
/// Of the head, before what the checksum is made of.
const CHECKED_FROM: usize = 21;
/// Of the head, before what its own length counts.
const COUNTED_FROM: usize = 12;
const TRANSACTIONAL: i16 = 1 << 4;

/// Records of one partition, being collected.
#[derive(Debug)]
pub(super) struct Batch {
    records: Vec<u8>,
    count: i32,
    first_timestamp: i64,
    last_timestamp: i64,
    opened_at: Instant,
}

/// Who sends a batch, and its place among those of the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub producer_id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

impl Batch {
    /// An empty one; `room` is memory it may use.
    pub(super) fn new(room: Vec<u8>, first_timestamp: i64, opened_at: Instant) -> Self {
        Self { records: room, count: 0, first_timestamp, last_timestamp: first_timestamp, opened_at }
    }

    pub(super) fn append(&mut self, record: &RecordOut<'_>, timestamp: i64) {
        let (time, place) = (timestamp - self.first_timestamp, i64::from(self.count));
        let headers = record.headers.map_or((0, &[] as &[u8]), Headers::wire);
        let length = 1 + varint::len(time) + varint::len(place) + payload_len(record);
        let out = &mut self.records;
        out.reserve(length + 5);
        varint::put(out, signed(length));
        out.push(0);
        varint::put(out, time);
        varint::put(out, place);
        put_bytes(out, record.key);
        put_bytes(out, record.value);
        varint::put(out, i64::from(headers.0));
        out.extend_from_slice(headers.1);
        self.count += 1;
        self.last_timestamp = self.last_timestamp.max(timestamp);
    }

    /// Bytes of the records, before they are compressed.
    pub(super) fn bytes(&self) -> usize {
        self.records.len()
    }

    pub(super) fn count(&self) -> i32 {
        self.count
    }

    pub(super) fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// The batch as the broker takes it.
    pub(super) fn seal(&self, stamp: Stamp, compression: Compression) -> Bytes {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.records.len() / 2);
        out.resize(HEAD_BYTES, 0);
        let kind = match compression {
            Compression::None => {
                out.extend_from_slice(&self.records);
                0
            }
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::default());
                // Writing to memory does not fail.
                let _ = encoder.write_all(&self.records).and_then(|()| encoder.finish().map(drop));
                1
            }
            Compression::Lz4 => {
                // Writing to memory does not fail.
                let _ = lz4_frames().build(&mut out).and_then(|mut encoder| {
                    encoder.write_all(&self.records)?;
                    encoder.finish().1
                });
                3
            }
        };
        let length = int(out.len() - COUNTED_FROM);
        let mut head = Head { out: &mut out, at: 0 };
        head.put(&0_i64.to_be_bytes());
        head.put(&length.to_be_bytes());
        // The leader's epoch is the broker's to fill in.
        head.put(&(-1_i32).to_be_bytes());
        head.put(&[2]);
        head.put(&[0; 4]);
        head.put(&(kind | TRANSACTIONAL).to_be_bytes());
        head.put(&(self.count - 1).to_be_bytes());
        head.put(&self.first_timestamp.to_be_bytes());
        head.put(&self.last_timestamp.to_be_bytes());
        head.put(&stamp.producer_id.to_be_bytes());
        head.put(&stamp.epoch.to_be_bytes());
        head.put(&stamp.sequence.to_be_bytes());
        head.put(&self.count.to_be_bytes());
        let checksum = crc32c::crc32c(&out[CHECKED_FROM..]);
        out[CHECKED_FROM - 4..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
        Bytes::from(out)
    }

    /// Its memory, to be used again.
    pub(super) fn into_room(mut self) -> Vec<u8> {
        self.records.clear();
        self.records
    }
}

/// LZ4 frames as Java's client reads them: of blocks that stand alone.
fn lz4_frames() -> lz4::EncoderBuilder {
    let mut builder = lz4::EncoderBuilder::new();
    builder.block_mode(lz4::BlockMode::Independent).block_size(lz4::BlockSize::Max64KB);
    builder.checksum(lz4::ContentChecksum::NoChecksum);
    builder
}

struct Head<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Head<'_> {
    fn put(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

/// Bytes of key, value and headers as they stand in a batch.
#[inline]
pub(super) fn payload_len(record: &RecordOut<'_>) -> usize {
    let part = |bytes: Option<&[u8]>| bytes.map_or(1, |bytes| varint::len(signed(bytes.len())) + bytes.len());
    let headers = record.headers.map_or((0, &[] as &[u8]), Headers::wire);
    part(record.key) + part(record.value) + varint::len(i64::from(headers.0)) + headers.1.len()
}

#[inline]
fn put_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, signed(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}

/// Lengths of what is in memory.
#[inline]
fn signed(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// Batches are bounded far below two gigabytes.
fn int(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Read as _;

    use kafka_protocol::records::{Compression as Kind, RecordBatchDecoder};
    use proptest::prelude::*;

    use super::*;

    const STAMP: Stamp = Stamp { producer_id: 4_000, epoch: 7, sequence: 41 };

    fn inflate(packed: &mut Bytes, kind: Kind) -> anyhow::Result<Bytes> {
        let mut out = Vec::new();
        match kind {
            Kind::Gzip => flate2::read::GzDecoder::new(&**packed).read_to_end(&mut out).map(drop)?,
            Kind::Lz4 => lz4_flex::frame::FrameDecoder::new(&**packed).read_to_end(&mut out).map(drop)?,
            _ => out.extend_from_slice(packed),
        }
        Ok(out.into())
    }

    fn decode(sealed: Bytes) -> Vec<kafka_protocol::records::Record> {
        RecordBatchDecoder::decode_with_custom_compression(&mut sealed.clone(), Some(inflate)).unwrap().records
    }

    #[test]
    fn a_batch_has_the_bytes_java_writes() {
        let mut batch = Batch::new(Vec::new(), 1_000, Instant::now());
        let headers = Headers::new().with("h", Some(b"1")).with("n", None);
        batch.append(&RecordOut::to("t").key(b"k").value(b"value").headers(&headers), 1_000);
        batch.append(&RecordOut::to("t").key(b"k").tombstone(), 999);
        let sealed = batch.seal(STAMP, Compression::None);
        #[rustfmt::skip]
        let records = [
            // length, attributes, time, place, key, value, two headers
            38, 0, 0, 0, 2, b'k', 10, b'v', b'a', b'l', b'u', b'e', 4, 2, b'h', 2, b'1', 2, b'n', 1,
            14, 0, 1, 2, 2, b'k', 1, 0,
        ];
        assert_eq!(sealed[HEAD_BYTES..], records);
        assert_eq!(sealed[8..12], (49 + records.len() as i32).to_be_bytes());
        assert_eq!(sealed[16], 2);
        assert_eq!(sealed[21..23], [0, 0x10], "transactional, created by us, not compressed");
        assert_eq!(sealed[23..27], [0, 0, 0, 1]);
        assert_eq!(sealed[27..35], 1_000_i64.to_be_bytes());
        assert_eq!(sealed[35..43], 1_000_i64.to_be_bytes());
        assert_eq!(sealed[43..51], 4_000_i64.to_be_bytes());
        assert_eq!(sealed[51..53], [0, 7]);
        assert_eq!(sealed[53..57], [0, 0, 0, 41]);
        assert_eq!(sealed[57..61], [0, 0, 0, 2]);
    }

    proptest! {
        #[test]
        fn another_decoder_reads_what_went_in(
            records in prop::collection::vec(
                (any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>(), -1_000_000_i64..2_000_000_000_000, 0_usize..4),
                1..60,
            ),
            compression in prop::sample::select(vec![Compression::None, Compression::Gzip, Compression::Lz4]),
        ) {
            let mut batch = Batch::new(Vec::new(), records[0].2, Instant::now());
            let headers: Vec<_> = (0..4)
                .scan(Headers::new(), |all, at| {
                    let now = all.clone();
                    *all = now.clone().with(&format!("h{at}"), (at != 1).then_some(&b"some"[..at]));
                    Some(now)
                })
                .collect();
            for (key, value, time, with) in &records {
                let mut out = RecordOut::to("t").headers(&headers[*with]);
                (out.key, out.value) = (key.as_deref(), value.as_deref());
                batch.append(&out, *time);
            }
            let read = decode(batch.seal(STAMP, compression));
            prop_assert_eq!(read.len(), records.len());
            for (at, (read, (key, value, time, with))) in read.iter().zip(&records).enumerate() {
                prop_assert_eq!(read.key.as_deref(), key.as_deref());
                prop_assert_eq!(read.value.as_deref(), value.as_deref());
                prop_assert_eq!(read.timestamp, *time);
                prop_assert_eq!(read.offset, at as i64);
                prop_assert_eq!(read.sequence, 41 + at as i32);
                prop_assert_eq!((read.producer_id, read.producer_epoch, read.transactional), (4_000, 7, true));
                prop_assert_eq!(read.headers.len(), *with);
                for (header, (name, value)) in read.headers.iter().enumerate() {
                    prop_assert_eq!(name.as_str(), format!("h{header}"));
                    prop_assert_eq!(value.as_deref(), (header != 1).then_some(&b"some"[..header]));
                }
            }
        }
    }
}
