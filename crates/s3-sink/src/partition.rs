//! One assigned partition: its planner and its files.
//!
//! In a layout by Kafka partition one file is open, and it is the object. In every other layout a range of offsets goes
//! into several files at once, one for each folder and schema: late records find their file still open.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use objects::OffsetRun;
use tokio_util::sync::CancellationToken;
use topics::TopicPartition;

use crate::evolution::{Evolution, Unfit};
use crate::format::Body;
use crate::group::GroupPlan;
use crate::intake::Taken;
use crate::plan::{FilePlan, PartitionPlan, Resume, Seen, Step};
use crate::rotation::{Millis, Rotation};
use crate::shape::Shape;

/// What an open file costs beside its records.
const FILE_BYTES: usize = 1 << 10;

/// A file with its records.
#[derive(Debug)]
pub struct OpenFile {
    /// Folder below the topic's.
    pub folder: String,
    /// Offset of its first record.
    pub first: i64,
    /// Offset after its last record.
    pub next: i64,
    /// Its records.
    pub records: u64,
    /// Schema of values, 0 when they have none.
    pub value_schema: u32,
    /// Schema of keys, 0 when they have none.
    pub key_schema: u32,
    /// Offsets of its records.
    pub runs: Vec<OffsetRun>,
    /// Values; none in a file of tombstones.
    pub values: Option<Body>,
    /// Keys, when they are stored.
    pub keys: Option<Body>,
    /// Headers, when they are stored.
    pub headers: Option<Body>,
}

/// What is published at once: a range of offsets and its files.
#[derive(Debug)]
pub struct Batch {
    /// The range.
    pub plan: FilePlan,
    /// Its files.
    pub files: Vec<OpenFile>,
    /// The files are written down already.
    pub pinned: Option<Arc<GroupPlan>>,
}

/// See the module documentation.
pub struct Partition {
    /// Which.
    pub at: TopicPartition,
    /// Cancelled when it is lost, so that its upload does not linger.
    pub stop: CancellationToken,
    shape: Arc<Shape>,
    plan: PartitionPlan,
    open: Vec<OpenFile>,
    by_folder: HashMap<String, Vec<usize>>,
    sealed: VecDeque<(Vec<OpenFile>, Option<Arc<GroupPlan>>)>,
    pinned: Option<Arc<GroupPlan>>,
    /// Time of the first record of the open files.
    base: Option<Millis>,
}

impl Partition {
    /// Begin where `resume` says.
    pub fn new(at: TopicPartition, resume: Resume, pinned: Option<Arc<GroupPlan>>, shape: Arc<Shape>) -> Self {
        Self {
            at,
            stop: CancellationToken::new(),
            shape,
            plan: PartitionPlan::new(resume),
            open: Vec::new(),
            by_folder: HashMap::new(),
            sealed: VecDeque::new(),
            pinned,
            base: None,
        }
    }

    /// Pass over a record without a value.
    pub fn pass(&mut self, offset: i64, rotation: &Rotation, now: Millis) {
        let seen = Seen { offset, schema_id: None, bytes: 0 };
        match self.plan.step(&seen) {
            Step::Skip => return,
            Step::SealThenAppend => self.seal(offset),
            Step::Append => {}
        }
        self.plan.append(&seen, rotation, now);
    }

    /// Take a record; the bytes its files grew by.
    ///
    /// # Errors
    /// See [`Unfit`]; the record is not taken then.
    pub fn take(
        &mut self,
        taken: &Taken<'_>,
        rotation: &Rotation,
        now: Millis,
        evolution: &mut Evolution,
    ) -> Result<usize, Unfit> {
        let schema_id = Some(self.file_schema(taken, evolution));
        let step = self.plan.step(&Seen { offset: taken.offset, schema_id, bytes: 0 });
        if step == Step::Skip {
            return Ok(0);
        }
        if step == Step::SealThenAppend || self.due_by_record(taken, rotation, evolution) {
            self.seal(taken.offset);
        }
        let Some(index) = self.file(taken, evolution) else {
            // The range is written down, and not with this record.
            self.pass(taken.offset, rotation, now);
            return Ok(0);
        };
        let value = evolution.project(taken, self.open[index].value_schema)?;
        let bytes = taken.bytes(value);
        // Asked again: a file that was ended left its schema behind.
        let schema_id = Some(if self.shape.planned { 0 } else { self.open[index].value_schema });
        let full = self.plan.append(&Seen { offset: taken.offset, schema_id, bytes }, rotation, now);
        self.base = self.base.or(taken.time);
        self.open[index].append(taken, value);
        if full {
            self.seal(taken.offset + 1);
        }
        if let (Some(end), Some(group)) = (self.plan.pinned(), &self.pinned)
            && self.plan.open().records >= group.records
        {
            self.seal(end);
        }
        Ok(bytes)
    }

    /// Schema of the file that a record would go into where there is one file, else 0: schemas share a range of files
    /// where files are apart by schema anyway.
    fn file_schema(&self, taken: &Taken<'_>, evolution: &Evolution) -> u32 {
        if self.shape.planned {
            return 0;
        }
        let open = self.plan.open().schema_id;
        open.filter(|file| evolution.takes(&self.at.topic, *file, taken.value_schema)).unwrap_or(taken.value_schema)
    }

    /// Whether the open files end before this record: by its time, or because too many would be open.
    fn due_by_record(&self, taken: &Taken<'_>, rotation: &Rotation, evolution: &Evolution) -> bool {
        if self.plan.pinned().is_some() || self.plan.open().records == 0 {
            return false;
        }
        let by_time = match (rotation.interval_ms, self.base, taken.time) {
            (Some(interval), Some(base), Some(time)) if self.shape.layout.follows_record_time() => {
                time.saturating_sub(base) >= interval
            }
            _ => false,
        };
        let another = || {
            self.shape.open_files_max.is_some_and(|max| self.open.len() >= max) && self.find(taken, evolution).is_none()
        };
        by_time || another()
    }

    /// The open file that this record goes to: the latest of those that take it.
    fn find(&self, taken: &Taken<'_>, evolution: &Evolution) -> Option<usize> {
        let files = self.by_folder.get(taken.folder)?.iter().copied();
        files.rev().find(|index| {
            let file = &self.open[*index];
            evolution.takes(&self.at.topic, file.value_schema, taken.value_schema)
                && file.key_schema == taken.key_schema
                && file.values.is_some() == taken.value.is_some()
        })
    }

    /// Index of the file for a record, opened if need be; `None` when a plan that stands has no place for it.
    fn file(&mut self, taken: &Taken<'_>, evolution: &Evolution) -> Option<usize> {
        if self.plan.pinned().is_some()
            && let Some(group) = &self.pinned
        {
            let planned = group.file_of(taken.offset)?;
            let (folder, first) = (planned.folder.clone(), planned.first);
            let open = self.open.iter().position(|file| file.folder == folder && file.first == first);
            return Some(open.unwrap_or_else(|| self.open_file(folder, first, taken)));
        }
        let found = self.find(taken, evolution);
        Some(found.unwrap_or_else(|| {
            let first = if self.shape.planned { taken.offset } else { self.plan.open().start };
            self.open_file(taken.folder.to_owned(), first, taken)
        }))
    }

    fn open_file(&mut self, folder: String, first: i64, taken: &Taken<'_>) -> usize {
        let body = |format: &crate::format::Format| format.body(&self.at.topic, self.at.partition.0, first);
        let file = OpenFile {
            first,
            next: first,
            records: 0,
            value_schema: taken.value_schema,
            key_schema: taken.key_schema,
            runs: Vec::new(),
            values: taken.value.map(|_| body(&self.shape.format)),
            keys: self.shape.keys.as_ref().map(body),
            headers: self.shape.headers.as_ref().map(body),
            folder,
        };
        self.by_folder.entry(file.folder.clone()).or_default().push(self.open.len());
        self.open.push(file);
        self.open.len() - 1
    }

    /// End the open files at `next`, if they have records.
    pub fn seal(&mut self, next: i64) {
        let pinned = self.plan.pinned().is_some();
        if self.plan.seal(next) {
            let group = if pinned { self.pinned.take() } else { None };
            self.sealed.push_back((std::mem::take(&mut self.open), group));
            self.by_folder.clear();
            self.base = None;
        }
    }

    /// When the open files end by time.
    pub fn deadline(&self) -> Option<Millis> {
        self.plan.deadline()
    }

    /// Bytes of open files that may end now.
    pub fn sealable_bytes(&self) -> usize {
        if self.plan.pinned().is_some() { 0 } else { self.open_bytes() }
    }

    fn open_bytes(&self) -> usize {
        self.plan.open().bytes + self.open.len() * FILE_BYTES
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> usize {
        self.open_bytes() + self.plan.sealed_bytes()
    }

    /// Bytes of files that ended and are not durable yet.
    pub fn sealed_bytes(&self) -> usize {
        self.plan.sealed_bytes()
    }

    /// Whether an upload is on its way.
    pub fn on_its_way(&self) -> bool {
        self.plan.publishing()
    }

    /// Whether its files end where it is written down.
    pub fn pinned(&self) -> bool {
        self.plan.pinned().is_some()
    }

    /// The next files to upload, unless some are on their way.
    pub fn start_publishing(&mut self) -> Option<Batch> {
        let plan = self.plan.start_publishing()?.clone();
        let (files, pinned) = self.sealed.pop_front()?;
        Some(Batch { plan, files, pinned })
    }

    /// The upload is durable.
    pub fn published(&mut self) {
        self.plan.published();
    }
}

impl OpenFile {
    fn append(&mut self, taken: &Taken<'_>, value: Option<&[u8]>) {
        let parts = [(&mut self.values, value), (&mut self.keys, taken.key), (&mut self.headers, taken.headers)];
        for (body, bytes) in parts {
            if let (Some(body), Some(bytes)) = (body, bytes) {
                body.append(bytes);
            }
        }
        self.records += 1;
        self.next = taken.offset + 1;
        match self.runs.last_mut() {
            Some(run) if run.first + run.count == taken.offset => run.count += 1,
            _ => self.runs.push(OffsetRun { first: taken.offset, count: 1 }),
        }
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

    /// Bytes of all files that ended and are not durable yet.
    pub fn sealed_bytes(&self) -> usize {
        self.iter().map(Partition::sealed_bytes).sum()
    }

    /// Bytes held by all.
    pub fn bytes(&self) -> usize {
        self.iter().map(Partition::bytes).sum()
    }
}
