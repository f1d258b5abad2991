//! Where records wait before they are sent: one open batch for each partition, and those that are full.
//!
//! Pure; the caller's thread puts records in under a lock, the sender's takes batches out. Promise: what waits and what is
//! under way together stay within the settings' bytes and records; a record that is taken costs one copy of its bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::batch::{Batch, payload_len};
use super::codes::Failure;
use super::murmur2;
use crate::error::{Next, ProduceError};
use crate::record::RecordOut;
use crate::transaction::{SendOutcome, TransactionSettings};

/// Of a record in a batch, beside key, value and headers: its length, time and place, at most.
const RECORD_HEAD_BYTES: usize = 22;
/// Memory of sent batches that is kept for the next ones, as a part of the queue's.
const SPARE_PART: usize = 4;

/// A place among [`Intake::topics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TopicIndex(usize);

/// One partition of a topic that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Target {
    pub topic: TopicIndex,
    pub partition: i32,
}

/// Where the transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// `init` has not succeeded.
    New,
    Idle,
    Open,
    /// Commit or abort was asked for and has not been answered.
    Ending,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Knowledge {
    Unknown,
    Partitions(i32),
    Refused(String),
}

/// A partition was named that the topic is not known to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doubt {
    No,
    Asked,
    Confirmed,
}

struct Topic {
    name: Arc<str>,
    known: Knowledge,
    doubt: Doubt,
    open: Vec<Slot>,
    /// Where records without a key go until the batch there is full.
    sticky: usize,
}

#[derive(Default)]
struct Slot {
    batch: Option<Batch>,
    /// It is in [`Intake::opened`].
    listed: bool,
}

/// See the module documentation.
pub(super) struct Intake {
    settings: Arc<TransactionSettings>,
    topics: Vec<Topic>,
    by_name: HashMap<Arc<str>, usize>,
    last: usize,
    full: Vec<(Target, Batch)>,
    opened: Vec<Target>,
    queued_bytes: usize,
    queued_records: usize,
    spare: Vec<Vec<u8>>,
    spare_bytes: usize,
    random: u64,
    /// Topics whose partitions are not known are waited with.
    wanted: bool,
    pub phase: Phase,
    pub failure: Option<Failure>,
}

/// What became of a record, and whether the sender has something to do that it does not know of.
pub(super) struct Offered {
    pub outcome: SendOutcome,
    pub wake: bool,
}

const FULL: Offered = Offered { outcome: SendOutcome::Full, wake: false };
const ASK: Offered = Offered { outcome: SendOutcome::Full, wake: true };

impl Intake {
    pub(super) fn new(settings: Arc<TransactionSettings>, seed: u64) -> Self {
        Self {
            settings,
            topics: Vec::new(),
            by_name: HashMap::new(),
            last: 0,
            full: Vec::new(),
            opened: Vec::new(),
            queued_bytes: 0,
            queued_records: 0,
            spare: Vec::new(),
            spare_bytes: 0,
            random: seed | 1,
            wanted: false,
            phase: Phase::New,
            failure: None,
        }
    }

    /// Takes a record if there is room. `now_ms`: for records without a time of their own.
    pub(super) fn offer(&mut self, record: &RecordOut<'_>, now_ms: i64) -> Result<Offered, ProduceError> {
        if let Some(failure) = &self.failure {
            return Err(failure.to_error(&self.settings.transactional_id));
        }
        if self.phase != Phase::Open {
            return Err(refused("no transaction is open"));
        }
        let bytes = payload_len(record) + RECORD_HEAD_BYTES;
        if bytes > self.settings.record_bytes_max {
            let max = self.settings.record_bytes_max;
            return Err(refused(&format!("a record of {bytes} bytes to {}, {max} are taken", record.topic)));
        }
        let no_room = self.queued_bytes + bytes > self.settings.queue_bytes_max
            || self.queued_records >= self.settings.queue_records_max;
        // One that is larger than the whole queue goes alone.
        if no_room && self.queued_records > 0 {
            return Ok(FULL);
        }
        let index = self.topic(record.topic);
        let Some(partition) = self.choose(index, record)? else {
            self.wanted = true;
            return Ok(ASK);
        };
        let wake = self.put(index, partition, record, bytes, record.timestamp_ms.unwrap_or(now_ms));
        self.queued_records += 1;
        Ok(Offered { outcome: SendOutcome::Queued, wake })
    }

    /// The partition for a record; none when more has to be known first.
    fn choose(&mut self, index: usize, record: &RecordOut<'_>) -> Result<Option<usize>, ProduceError> {
        let topic = &mut self.topics[index];
        let count = match &topic.known {
            Knowledge::Partitions(count) => *count,
            Knowledge::Unknown => return Ok(None),
            Knowledge::Refused(reason) => {
                let error = refused(reason);
                // It may have been made, or allowed, when it is tried again.
                topic.known = Knowledge::Unknown;
                return Err(error);
            }
        };
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition.0,
            (None, Some(key)) => murmur2::partition(key, count),
            (None, None) => return Ok(Some(topic.sticky)),
        };
        if (0..count).contains(&partition) {
            return Ok(usize::try_from(partition).ok());
        }
        match topic.doubt {
            Doubt::Confirmed => {
                topic.doubt = Doubt::No;
                Err(refused(&format!("{} has {count} partitions, there is none numbered {partition}", topic.name)))
            }
            Doubt::No | Doubt::Asked => {
                topic.doubt = Doubt::Asked;
                Ok(None)
            }
        }
    }

    /// True when the sender has to be woken.
    #[inline]
    fn put(&mut self, index: usize, partition: usize, record: &RecordOut<'_>, bytes: usize, timestamp: i64) -> bool {
        let target = Target { topic: TopicIndex(index), partition: i32::try_from(partition).unwrap_or(i32::MAX) };
        let topic = &mut self.topics[index];
        let partitions = topic.open.len();
        let slot = &mut topic.open[partition];
        let mut wake = false;
        if let Some(batch) = slot.batch.take_if(|batch| batch.bytes() + bytes > self.settings.batch_bytes_max) {
            self.full.push((target, batch));
            wake = true;
            if record.key.is_none() && record.partition.is_none() {
                topic.sticky = random_below(&mut self.random, partitions);
            }
        }
        let batch = slot.batch.get_or_insert_with(|| {
            let room = self.spare.pop().unwrap_or_default();
            self.spare_bytes -= room.capacity();
            // It has to know when the oldest of them is due.
            wake |= self.opened.is_empty();
            if !slot.listed {
                slot.listed = true;
                self.opened.push(target);
            }
            Batch::new(room, timestamp, Instant::now())
        });
        let before = batch.bytes();
        batch.append(record, timestamp);
        self.queued_bytes += batch.bytes() - before;
        wake
    }

    fn topic(&mut self, name: &str) -> usize {
        if self.topics.get(self.last).is_none_or(|topic| *topic.name != *name) {
            self.last = match self.by_name.get(name) {
                Some(index) => *index,
                None => {
                    let name: Arc<str> = name.into();
                    self.by_name.insert(Arc::clone(&name), self.topics.len());
                    let (known, doubt) = (Knowledge::Unknown, Doubt::No);
                    self.topics.push(Topic { name, known, doubt, open: Vec::new(), sticky: 0 });
                    self.topics.len() - 1
                }
            };
        }
        self.last
    }

    /// Batches that are full, and the others that are older than `linger`; all of them if there is none.
    pub(super) fn take(&mut self, linger: Option<Duration>, taken: &mut Vec<(Target, Batch)>) {
        taken.append(&mut self.full);
        let topics = &mut self.topics;
        self.opened.retain(|target| {
            let slot = slot(topics, *target);
            let due = |batch: &mut Batch| linger.is_none_or(|linger| batch.opened_at().elapsed() >= linger);
            if let Some(batch) = slot.batch.take_if(due) {
                taken.push((*target, batch));
            }
            slot.listed = slot.batch.is_some();
            slot.listed
        });
    }

    /// The transactional id was taken over: whatever was not committed is gone.
    pub(super) fn start_anew(&mut self) {
        self.take(None, &mut Vec::new());
        (self.queued_records, self.queued_bytes) = (0, 0);
        (self.phase, self.failure) = (Phase::Idle, None);
    }

    /// Full batches only.
    pub(super) fn take_full(&mut self, taken: &mut Vec<(Target, Batch)>) {
        taken.append(&mut self.full);
    }

    /// When the oldest open batch was opened.
    pub(super) fn oldest(&mut self) -> Option<Instant> {
        let topics = &mut self.topics;
        self.opened.iter().filter_map(|target| slot(topics, *target).batch.as_ref().map(Batch::opened_at)).min()
    }

    /// Records that were sent, or thrown away, make room; `bytes` as their batch counts them.
    pub(super) fn release(&mut self, records: usize, bytes: usize) {
        self.queued_records = self.queued_records.saturating_sub(records);
        self.queued_bytes = self.queued_bytes.saturating_sub(bytes);
    }

    /// Memory of a batch that was sealed, for the next ones.
    pub(super) fn give_back(&mut self, room: Vec<u8>) {
        let capacity = room.capacity();
        if self.spare_bytes + capacity <= self.settings.queue_bytes_max / SPARE_PART {
            self.spare_bytes += capacity;
            self.spare.push(room);
        }
    }

    pub(super) fn queued_records(&self) -> usize {
        self.queued_records
    }

    /// Topics to ask for because records wait for them.
    pub(super) fn wanted_topics(&mut self) -> Vec<(TopicIndex, Arc<str>)> {
        if !std::mem::take(&mut self.wanted) {
            return Vec::new();
        }
        let waits = |topic: &Topic| topic.known == Knowledge::Unknown || topic.doubt == Doubt::Asked;
        let all = self.topics.iter().enumerate().filter(|(_, topic)| waits(topic));
        all.map(|(index, topic)| (TopicIndex(index), Arc::clone(&topic.name))).collect()
    }

    pub(super) fn known_topics(&self) -> Vec<(TopicIndex, Arc<str>)> {
        let known = |topic: &Topic| matches!(topic.known, Knowledge::Partitions(_));
        let all = self.topics.iter().enumerate().filter(|(_, topic)| known(topic));
        all.map(|(index, topic)| (TopicIndex(index), Arc::clone(&topic.name))).collect()
    }

    pub(super) fn name(&self, topic: TopicIndex) -> Arc<str> {
        Arc::clone(&self.topics[topic.0].name)
    }

    /// The broker told how many partitions a topic has.
    pub(super) fn has_partitions(&mut self, topic: TopicIndex, count: i32) {
        let topic = &mut self.topics[topic.0];
        let length = usize::try_from(count).unwrap_or(0);
        if topic.doubt == Doubt::Asked {
            topic.doubt = Doubt::Confirmed;
        }
        // A topic that was made anew with fewer: what waits for the others fails when it is sent.
        if length > topic.open.len() {
            topic.open.resize_with(length, Slot::default);
        }
        let known = std::mem::replace(&mut topic.known, Knowledge::Partitions(count));
        if known != topic.known {
            topic.sticky = random_below(&mut self.random, length.max(1));
        }
    }

    /// The broker will not take records for a topic.
    pub(super) fn is_refused(&mut self, topic: TopicIndex, reason: &str) {
        self.topics[topic.0].known = Knowledge::Refused(reason.to_owned());
    }
}

fn slot(topics: &mut [Topic], target: Target) -> &mut Slot {
    let partition = usize::try_from(target.partition).unwrap_or(0);
    &mut topics[target.topic.0].open[partition]
}

fn refused(reason: &str) -> ProduceError {
    ProduceError::from_next(Next::GiveUp, "", reason.to_owned())
}

/// A number below `bound` (xorshift).
fn random_below(state: &mut u64, bound: usize) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 1).unwrap_or(0) % bound.max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::record::Partition;

    fn intake(change: impl FnOnce(&mut TransactionSettings)) -> Intake {
        let mut settings = TransactionSettings::new("t");
        change(&mut settings);
        let mut intake = Intake::new(Arc::new(settings), 7);
        intake.phase = Phase::Open;
        intake
    }

    fn offer(intake: &mut Intake, record: &RecordOut<'_>) -> SendOutcome {
        intake.offer(record, 1_000).unwrap().outcome
    }

    fn taken(intake: &mut Intake, linger: Option<Duration>) -> Vec<(i32, i32)> {
        let mut taken = Vec::new();
        intake.take(linger, &mut taken);
        taken.into_iter().map(|(target, batch)| (target.partition, batch.count())).collect()
    }

    /// With a topic `t` of `partitions` partitions.
    fn knowing(partitions: i32, change: impl FnOnce(&mut TransactionSettings)) -> Intake {
        let mut intake = intake(change);
        assert_eq!(offer(&mut intake, &RecordOut::to("t").value(b"v")), SendOutcome::Full);
        let wanted = intake.wanted_topics();
        assert_eq!(wanted.iter().map(|(_, name)| &**name).collect::<Vec<_>>(), ["t"]);
        intake.has_partitions(wanted[0].0, partitions);
        intake
    }

    #[test]
    fn records_go_to_the_partition_of_their_key_or_the_one_that_is_named() {
        let mut intake = knowing(3, |_| {});
        for _ in 0..2 {
            assert_eq!(offer(&mut intake, &RecordOut::to("t").key(b"abc")), SendOutcome::Queued);
        }
        assert_eq!(offer(&mut intake, &RecordOut::to("t").partition(Partition(1))), SendOutcome::Queued);
        assert_eq!(taken(&mut intake, Some(Duration::from_secs(60))), [], "they may wait for more");
        assert_eq!(taken(&mut intake, None), [(479_470_107 % 3, 2), (1, 1)]);
        assert_eq!(intake.queued_records(), 3, "until they are answered");
    }

    #[test]
    fn a_full_batch_is_sealed_before_the_one_behind_it() {
        let mut intake = knowing(1, |settings| settings.batch_bytes_max = 250);
        for _ in 0..5 {
            offer(&mut intake, &RecordOut::to("t").value(&[7; 80]));
        }
        let mut full = Vec::new();
        intake.take_full(&mut full);
        assert_eq!(full.iter().map(|(_, batch)| batch.count()).collect::<Vec<_>>(), [2, 2]);
        assert_eq!(taken(&mut intake, None), [(0, 1)]);
        assert_eq!(taken(&mut intake, None), []);
    }

    #[test]
    fn what_is_under_way_fills_the_queue_too() {
        let mut intake = knowing(1, |settings| settings.queue_bytes_max = 1_000);
        let record = RecordOut::to("t").value(&[7; 400]);
        assert_eq!(offer(&mut intake, &record), SendOutcome::Queued);
        assert_eq!(offer(&mut intake, &record), SendOutcome::Queued);
        let mut batches = Vec::new();
        intake.take(None, &mut batches);
        assert_eq!(offer(&mut intake, &record), SendOutcome::Full);
        intake.release(2, batches[0].1.bytes());
        assert_eq!((intake.queued_bytes, intake.queued_records()), (0, 0));
        let large = [7; 5_000];
        assert_eq!(offer(&mut intake, &RecordOut::to("t").value(&large)), SendOutcome::Queued, "alone it goes");
        assert_eq!(offer(&mut intake, &record), SendOutcome::Full);
    }

    #[test]
    fn a_record_or_partition_that_can_never_be_is_refused() {
        let mut intake = knowing(2, |settings| settings.record_bytes_max = 100);
        assert!(intake.offer(&RecordOut::to("t").value(&[7; 100]), 0).is_err());
        let nowhere = RecordOut::to("t").partition(Partition(2));
        assert_eq!(offer(&mut intake, &nowhere), SendOutcome::Full, "it may have more by now");
        let (topic, _) = intake.wanted_topics()[0];
        intake.has_partitions(topic, 2);
        assert!(intake.offer(&nowhere, 0).is_err());
        intake.is_refused(topic, "not authorised");
        assert!(intake.offer(&RecordOut::to("t").key(b"k"), 0).is_err());
        assert_eq!(offer(&mut intake, &RecordOut::to("t").key(b"k")), SendOutcome::Full, "it is asked again");
    }

    #[test]
    fn memory_is_used_again_and_bounded() {
        let mut intake = knowing(1, |settings| settings.queue_bytes_max = 4_000);
        for (capacity, kept) in [(600, 600), (600, 600), (300, 900)] {
            intake.give_back(Vec::with_capacity(capacity));
            assert_eq!(intake.spare_bytes, kept);
        }
        offer(&mut intake, &RecordOut::to("t").key(b"k"));
        assert_eq!(intake.spare_bytes, 600);
    }

    #[test]
    fn outside_a_transaction_nothing_is_taken() {
        let mut intake = knowing(1, |_| {});
        intake.phase = Phase::Idle;
        assert!(intake.offer(&RecordOut::to("t").key(b"k"), 0).is_err());
        intake.phase = Phase::Open;
        intake.failure = Some(Failure::new(Next::Abort, "lost"));
        let refused = intake.offer(&RecordOut::to("t").key(b"k"), 0);
        assert!(matches!(refused, Err(ProduceError::AbortRequired { .. })));
        intake.start_anew();
        assert_eq!(intake.phase, Phase::Idle);
        assert!(intake.failure.is_none());
    }
}
