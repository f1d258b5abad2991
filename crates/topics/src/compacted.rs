//! Reading compacted state topics: all of it up to the end that stood when asked, then optionally onward.

use std::collections::HashMap;

use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::consumer::{Consumer, ConsumerSettings, Event, StartAt};
use crate::error::{AdminError, ConsumeError};
use crate::record::{Offset, OwnedRecord, Partition};

/// Reads a whole topic in order of offsets per partition, committed records only.
pub struct CompactedReader {
    consumer: Consumer,
    /// Partitions not yet read to the end that stood when they were asked for, with that end.
    remaining: HashMap<Partition, Offset>,
}

impl CompactedReader {
    /// Asks for the end of every partition and prepares to read from the beginning. The end is the last stable
    /// offset: fence a former writer first (`TransactionalProducer::init`), or its open transaction hides what
    /// comes behind it.
    ///
    /// # Errors
    /// `Retry` when the broker is away, `Refused` when the topic does not exist.
    pub async fn open(cluster: &Cluster, topic: &str) -> Result<Self, ConsumeError> {
        let partitions = match Admin::new(cluster) {
            Ok(admin) => admin.watermarks(topic).await,
            Err(error) => Err(error),
        }
        .map_err(admin_as_consume)?;
        let starts: Vec<_> = partitions.iter().map(|(at, _)| (at.clone(), StartAt::Earliest)).collect();
        let settings = ConsumerSettings { tell_end: true, ..ConsumerSettings::default() };
        let consumer = Consumer::assign(cluster, &starts, &settings)?;
        let remaining = partitions
            .into_iter()
            .filter(|(_, marks)| marks.high > marks.low)
            .map(|(at, marks)| (at.partition, marks.high))
            .collect();
        Ok(Self { consumer, remaining })
    }

    /// True when everything that stood at [`open`](Self::open) has been returned.
    pub fn at_end(&self) -> bool {
        self.remaining.is_empty()
    }

    /// The next record up to the end that stood at `open`; `None` when that is reached.
    ///
    /// # Errors
    /// See [`ConsumeError`]; after `Retry` call again.
    pub async fn next_to_end(&mut self) -> Result<Option<OwnedRecord>, ConsumeError> {
        while !self.at_end() {
            match self.consumer.next().await? {
                Event::Record(record) => {
                    let record = record.to_owned();
                    self.passed(record.partition, record.offset.next());
                    return Ok(Some(record));
                }
                // Markers and compacted offsets at the end are not records; the end event covers them.
                Event::End(partition) => {
                    self.remaining.remove(&partition);
                }
                Event::Assigned(_) | Event::Revoked { .. } => {}
            }
        }
        Ok(None)
    }

    /// The next record, waiting for new ones beyond the end.
    ///
    /// # Errors
    /// See [`ConsumeError`]; after `Retry` call again.
    pub async fn follow(&mut self) -> Result<OwnedRecord, ConsumeError> {
        loop {
            match self.consumer.next().await? {
                Event::Record(record) => {
                    let record = record.to_owned();
                    self.passed(record.partition, record.offset.next());
                    return Ok(record);
                }
                Event::End(partition) => {
                    self.remaining.remove(&partition);
                }
                Event::Assigned(_) | Event::Revoked { .. } => {}
            }
        }
    }

    fn passed(&mut self, partition: Partition, next: Offset) {
        if self.remaining.get(&partition).is_some_and(|end| next >= *end) {
            self.remaining.remove(&partition);
        }
    }
}

/// Everything a topic holds now, committed records only, in order of offsets per partition.
///
/// # Errors
/// As [`CompactedReader::open`]; a broker lost on the way is waited for.
pub async fn read_to_end(cluster: &Cluster, topic: &str) -> Result<Vec<OwnedRecord>, ConsumeError> {
    let mut reader = CompactedReader::open(cluster, topic).await?;
    let mut records = Vec::new();
    loop {
        match reader.next_to_end().await {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return Ok(records),
            Err(ConsumeError::Retry { reason }) => tracing::debug!(topic, reason, "reading again"),
            Err(error) => return Err(error),
        }
    }
}

fn admin_as_consume(error: AdminError) -> ConsumeError {
    let reason = error.to_string();
    match error {
        AdminError::Retry { .. } => ConsumeError::Retry { reason },
        AdminError::UnknownTopic { .. }
        | AdminError::TopicDiffers { .. }
        | AdminError::GroupActive { .. }
        | AdminError::Refused { .. } => ConsumeError::Refused { reason },
    }
}
