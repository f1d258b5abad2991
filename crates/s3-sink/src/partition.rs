//! One assigned partition: its planner and the bytes of its files.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio_util::sync::CancellationToken;
use topics::TopicPartition;

use crate::container::Body;
use crate::plan::{FilePlan, PartitionPlan, Resume, Seen, Step};
use crate::rotation::{Millis, Rotation};

/// See the module documentation.
pub struct Partition {
    /// Which.
    pub at: TopicPartition,
    /// Cancelled when it is lost, so that its upload does not linger.
    pub stop: CancellationToken,
    plan: PartitionPlan,
    open: Body,
    sealed: VecDeque<Body>,
}

impl Partition {
    /// Begin where `resume` says.
    pub fn new(at: TopicPartition, resume: Resume) -> Self {
        let open = Body::new(&at.topic, at.partition.0, resume.position);
        let plan = PartitionPlan::new(resume);
        Self { at, stop: CancellationToken::new(), plan, open, sealed: VecDeque::new() }
    }

    /// Take a record: its datum, or nothing for a tombstone.
    pub fn take(&mut self, seen: &Seen, datum: &[u8], rotation: &Rotation, now: Millis) {
        match self.plan.step(seen) {
            Step::Skip => return,
            Step::SealThenAppend => self.seal(seen.offset),
            Step::Append => {}
        }
        let full = self.plan.append(seen, rotation, now);
        if seen.schema_id.is_some() {
            self.open.append(datum);
        }
        if full {
            self.seal(seen.offset + 1);
        }
    }

    /// End the open file at `next`, if it has records.
    pub fn seal(&mut self, next: i64) {
        if self.plan.seal(next) {
            let following = Body::new(&self.at.topic, self.at.partition.0, self.plan.open().start);
            self.sealed.push_back(std::mem::replace(&mut self.open, following));
        }
    }

    /// When the open file ends by time.
    pub fn deadline(&self) -> Option<Millis> {
        self.plan.deadline()
    }

    /// Bytes of the open file.
    pub fn open_bytes(&self) -> usize {
        self.open.bytes()
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> usize {
        self.open.bytes() + self.plan.sealed_bytes()
    }

    /// Whether an upload is on its way.
    pub fn on_its_way(&self) -> bool {
        self.plan.publishing()
    }

    /// The next file to upload, unless one is on its way.
    pub fn start_publishing(&mut self) -> Option<(FilePlan, Body)> {
        let plan = self.plan.start_publishing()?.clone();
        Some((plan, self.sealed.pop_front()?))
    }

    /// The upload is durable.
    pub fn published(&mut self) {
        self.plan.published();
    }
}

/// The partitions of one task, found by topic and number without allocating.
#[derive(Default)]
pub struct Partitions(HashMap<String, BTreeMap<i32, Partition>>);

impl Partitions {
    /// The partition, when it is assigned.
    pub fn get_mut(&mut self, topic: &str, partition: i32) -> Option<&mut Partition> {
        self.0.get_mut(topic)?.get_mut(&partition)
    }

    /// Whether it is assigned.
    pub fn holds(&self, at: &TopicPartition) -> bool {
        self.0.get(&*at.topic).is_some_and(|partitions| partitions.contains_key(&at.partition.0))
    }

    /// Add one.
    pub fn insert(&mut self, partition: Partition) {
        self.0.entry(partition.at.topic.to_string()).or_default().insert(partition.at.partition.0, partition);
    }

    /// Forget one, with what it held; its upload is told to stop.
    pub fn remove(&mut self, at: &TopicPartition) {
        if let Some(partition) = self.0.get_mut(&*at.topic).and_then(|partitions| partitions.remove(&at.partition.0)) {
            partition.stop.cancel();
        }
    }

    /// All.
    pub fn iter(&self) -> impl Iterator<Item = &Partition> {
        self.0.values().flat_map(BTreeMap::values)
    }

    /// All.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Partition> {
        self.0.values_mut().flat_map(BTreeMap::values_mut)
    }

    /// Bytes held by all.
    pub fn bytes(&self) -> usize {
        self.iter().map(Partition::bytes).sum()
    }
}
