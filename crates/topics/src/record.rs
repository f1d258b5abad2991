//! Records as they cross this crate's border: positions as own types, bytes raw, headers in order.

use std::fmt;
use std::sync::Arc;

use rdkafka::message::{BorrowedMessage, Header as RdHeader, Headers as _, Message as _, OwnedHeaders};

use crate::wire::varint;

/// Number of a partition inside its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub i32);

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Offset of a record in its partition; as a position: the offset that is read next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub i64);

impl Offset {
    /// The offset after this one.
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition of one topic. Cloning is cheap.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    pub topic: Arc<str>,
    pub partition: Partition,
}

impl TopicPartition {
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition: Partition(partition) }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Headers of records to send. Build once and reuse: they are kept as they stand in a record, so that sending copies bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    count: i32,
    encoded: Vec<u8>,
}

impl Headers {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one header; `None` is a header without value.
    #[must_use]
    pub fn with(mut self, key: &str, value: Option<&[u8]>) -> Self {
        let length = |bytes: &[u8]| i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        varint::put(&mut self.encoded, length(key.as_bytes()));
        self.encoded.extend_from_slice(key.as_bytes());
        varint::put(&mut self.encoded, value.map_or(-1, length));
        self.encoded.extend_from_slice(value.unwrap_or_default());
        self.count += 1;
        self
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many, and all of them as they stand in a record.
    pub(crate) fn wire(&self) -> (i32, &[u8]) {
        (self.count, &self.encoded)
    }

    /// For librdkafka.
    pub(crate) fn native(&self) -> Option<OwnedHeaders> {
        let mut rest = self.encoded.as_slice();
        let mut native = (!self.is_empty()).then(OwnedHeaders::new);
        while let Some((Some(key), after)) = counted(rest) {
            let Some((value, after)) = counted(after) else { break };
            let key = std::str::from_utf8(key).unwrap_or_default();
            native = native.map(|all| all.insert(RdHeader { key, value }));
            rest = after;
        }
        native
    }
}

/// Bytes behind their length, or none, and what follows them.
fn counted(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = varint::take(bytes)?;
    match usize::try_from(length) {
        Ok(length) => rest.split_at_checked(length).map(|(value, rest)| (Some(value), rest)),
        Err(_negative) => Some((None, rest)),
    }
}

impl FromIterator<(String, Option<Vec<u8>>)> for Headers {
    fn from_iter<I: IntoIterator<Item = (String, Option<Vec<u8>>)>>(headers: I) -> Self {
        headers.into_iter().fold(Self::new(), |all, (key, value)| all.with(&key, value.as_deref()))
    }
}

/// A record to send. `value: None` is a tombstone; an empty slice is an empty value.
#[derive(Debug, Clone, Copy)]
pub struct RecordOut<'a> {
    pub topic: &'a str,
    /// `None`: chosen by murmur2 of the key as Java's producer does it, at random without a key.
    pub partition: Option<Partition>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Option<&'a Headers>,
    /// Milliseconds since the Unix epoch; `None`: the time of sending.
    pub timestamp_ms: Option<i64>,
}

impl<'a> RecordOut<'a> {
    pub fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, headers: None, timestamp_ms: None }
    }

    #[must_use]
    pub fn key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    #[must_use]
    pub fn value(mut self, value: &'a [u8]) -> Self {
        self.value = Some(value);
        self
    }

    /// Makes the record delete its key in a compacted topic.
    #[must_use]
    pub fn tombstone(mut self) -> Self {
        self.value = None;
        self
    }

    #[must_use]
    pub fn headers(mut self, headers: &'a Headers) -> Self {
        self.headers = Some(headers);
        self
    }

    #[must_use]
    pub fn partition(mut self, partition: Partition) -> Self {
        self.partition = Some(partition);
        self
    }

    #[must_use]
    pub fn timestamp_ms(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = Some(timestamp_ms);
        self
    }
}

/// A record as consumed, still in librdkafka's memory. Copy what outlives the next poll.
pub struct Record<'a>(pub(crate) BorrowedMessage<'a>);

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record({}-{}@{})", self.topic(), self.partition(), self.offset())
    }
}

impl Record<'_> {
    pub fn topic(&self) -> &str {
        self.0.topic()
    }

    pub fn partition(&self) -> Partition {
        Partition(self.0.partition())
    }

    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(self.topic(), self.0.partition())
    }

    pub fn offset(&self) -> Offset {
        Offset(self.0.offset())
    }

    /// Milliseconds since the Unix epoch, by producer or by log append time, whichever the topic keeps.
    pub fn timestamp_ms(&self) -> Option<i64> {
        self.0.timestamp().to_millis()
    }

    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    /// `None` for a tombstone.
    pub fn value(&self) -> Option<&[u8]> {
        self.0.payload()
    }

    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.0
            .headers()
            .into_iter()
            .flat_map(|headers| headers.iter())
            .map(|header| Header { key: header.key, value: header.value })
    }

    /// Bytes of key and value, for accounting.
    pub fn bytes(&self) -> usize {
        self.key().map_or(0, <[u8]>::len) + self.value().map_or(0, <[u8]>::len)
    }

    pub fn to_owned(&self) -> OwnedRecord {
        OwnedRecord {
            topic: self.topic().into(),
            partition: self.partition(),
            offset: self.offset(),
            timestamp_ms: self.timestamp_ms(),
            key: self.key().map(<[u8]>::to_vec),
            value: self.value().map(<[u8]>::to_vec),
            headers: self.headers().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect(),
        }
    }
}

/// One header of a consumed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    pub key: &'a str,
    pub value: Option<&'a [u8]>,
}

/// A consumed record that owns its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedRecord {
    pub topic: Arc<str>,
    pub partition: Partition,
    pub offset: Offset,
    pub timestamp_ms: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn librdkafka_gets_the_same_headers() {
        let long = "k".repeat(300);
        let headers =
            Headers::new().with("a", Some(b"1")).with("a", Some(b"")).with("none", None).with(&long, Some(b"x"));
        let native = headers.native().unwrap();
        let read: Vec<_> = native.iter().map(|header| (header.key, header.value)).collect();
        assert_eq!(read, [("a", Some(&b"1"[..])), ("a", Some(b"")), ("none", None), (&long, Some(b"x"))]);
        assert!(Headers::new().native().is_none());
    }
}
