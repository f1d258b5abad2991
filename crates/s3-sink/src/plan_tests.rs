//! Tests of the planner: a model of topic, store and crashing writers.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::zone::Zone;

fn rotation(records_max: u64) -> Rotation {
    Rotation { records_max, file_bytes_max: 1000, interval_ms: Some(100), schedule_ms: None, zone: Zone::UTC }
}

fn record(offset: i64, schema: u32) -> Seen {
    Seen { offset, schema_id: Some(schema), bytes: 10 }
}

fn begin(position: i64) -> PartitionPlan {
    PartitionPlan::new(Resume { position, barrier: None, pinned: false })
}

#[test]
fn a_file_ends_at_flush_size_and_the_next_begins_where_it_ended() {
    let mut plan = begin(5);
    assert!(!plan.append(&record(6, 1), &rotation(2), 0));
    assert!(plan.append(&record(8, 1), &rotation(2), 0));
    assert!(plan.seal(0));
    let file = plan.start_publishing().unwrap().clone();
    assert_eq!((file.start, file.next, file.records), (5, 9, 2));
    assert_eq!(objects::offset_runs_text(file.start, &file.runs).as_deref(), Some("6+1,8+1"));
    assert_eq!(plan.open().start, 9);
    assert!(plan.start_publishing().is_none(), "one at a time");
}

#[test]
fn a_new_schema_begins_a_new_file() {
    let mut plan = begin(0);
    plan.append(&record(0, 1), &rotation(9), 0);
    assert_eq!(plan.step(&record(3, 2)), Step::SealThenAppend);
    assert!(plan.seal(3));
    assert_eq!(plan.open().start, 3);
    assert_eq!(plan.step(&record(3, 2)), Step::Append);
}

#[test]
fn tombstones_lie_inside_a_files_range_and_alone_make_no_file() {
    let mut plan = begin(0);
    let tombstone = |offset| Seen { offset, schema_id: None, bytes: 0 };
    plan.append(&tombstone(0), &rotation(9), 0);
    assert!(!plan.seal(1));
    assert_eq!(plan.deadline(), None);
    plan.append(&record(1, 1), &rotation(9), 7);
    plan.append(&tombstone(2), &rotation(9), 8);
    assert_eq!(plan.deadline(), Some(107));
    assert!(plan.seal(5));
    let file = plan.start_publishing().unwrap();
    assert_eq!((file.start, file.next, file.records, file.tombstones), (0, 5, 1, 2));
}

#[test]
fn a_file_ends_before_an_object_that_is_there() {
    let mut plan = PartitionPlan::new(Resume { position: 0, barrier: Some(3), pinned: false });
    plan.append(&record(1, 1), &rotation(9), 0);
    assert_eq!(plan.step(&record(5, 1)), Step::SealThenAppend);
    assert!(plan.seal(5));
    assert_eq!(plan.start_publishing().map(|file| (file.start, file.next)), Some((0, 3)));
    assert_eq!(plan.open().start, 3);
    assert_eq!(plan.step(&record(5, 1)), Step::Append);
}

#[test]
fn what_is_pinned_ends_where_it_is_written_down_whatever_rotation_says() {
    let mut plan = PartitionPlan::new(Resume { position: 0, barrier: Some(4), pinned: true });
    for offset in 0..3 {
        assert!(!plan.append(&record(offset, 1), &rotation(2), 0));
    }
    assert!(!plan.seal(3), "neither pressure nor the clock end it");
    assert_eq!((plan.deadline(), plan.pinned()), (None, Some(4)));
    assert!(plan.seal(4));
    assert_eq!(plan.start_publishing().map(|file| (file.start, file.next)), Some((0, 4)));
    assert_eq!(plan.pinned(), None);
}

/// A step of the model.
#[derive(Debug, Clone)]
enum Action {
    Read,
    Tick,
    Publish,
    /// The object is written, its writer dies before it commits.
    PublishAndDie,
    Die,
    /// Another writer publishes from the same commit, and does not get to commit itself.
    OtherWriter(u64),
    /// A person deletes an object and resets the group.
    DeleteAndReset(usize),
    /// A person sets the group somewhere into what is published.
    ResetInto(i64),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        12 => Just(Action::Read),
        2 => Just(Action::Tick),
        4 => Just(Action::Publish),
        1 => Just(Action::PublishAndDie),
        1 => Just(Action::Die),
        1 => (1..5_u64).prop_map(Action::OtherWriter),
        1 => (0..9_usize).prop_map(Action::DeleteAndReset),
        1 => (0..60_i64).prop_map(Action::ResetInto),
    ];
    prop::collection::vec(action, 0..200)
}

/// A topic partition as offsets: records with schema, tombstones, markers (`None`).
type Log = Vec<Option<Seen>>;

fn log() -> impl Strategy<Value = Log> {
    let entry = prop_oneof![6 => Just(1), 2 => Just(2), 1 => Just(0), 2 => Just(-1)];
    prop::collection::vec(entry, 0..60).prop_map(|kinds| {
        let seen = |(offset, kind): (usize, i32)| match kind {
            -1 => None,
            0 => Some(Seen { offset: offset as i64, schema_id: None, bytes: 0 }),
            schema => Some(record(offset as i64, schema as u32)),
        };
        kinds.into_iter().enumerate().map(seen).collect()
    })
}

/// Start offset to next offset and records.
type Objects = BTreeMap<i64, (i64, Vec<i64>)>;

/// What `resume` finds in the bucket.
fn look_up(objects: &Objects, committed: i64) -> Resume {
    let over = objects.range(..committed).next_back().map_or(committed, |(_, (next, _))| *next);
    let mut position = over.max(committed);
    while let Some((next, _)) = objects.get(&position) {
        position = *next;
    }
    Resume { position, barrier: objects.range(position..).next().map(|(start, _)| *start), pinned: false }
}

/// One writer over the log, as `session` drives the planner.
struct Writer {
    plan: PartitionPlan,
    read: usize,
    open: Vec<i64>,
    sealed: VecDeque<Vec<i64>>,
    rotation: Rotation,
}

impl Writer {
    fn new(objects: &Objects, committed: i64, records_max: u64) -> Self {
        let resume = look_up(objects, committed);
        Self {
            plan: PartitionPlan::new(resume),
            read: resume.position as usize,
            open: vec![],
            sealed: VecDeque::new(),
            rotation: rotation(records_max),
        }
    }

    fn seal(&mut self, next: i64) {
        if self.plan.seal(next) {
            self.sealed.push_back(std::mem::take(&mut self.open));
        }
    }

    fn read(&mut self, log: &Log) {
        let Some(entry) = log.get(self.read) else { return };
        self.read += 1;
        let Some(seen) = entry else { return };
        match self.plan.step(seen) {
            Step::Skip => return,
            Step::SealThenAppend => self.seal(seen.offset),
            Step::Append => {}
        }
        let full = self.plan.append(seen, &self.rotation, 0);
        if seen.schema_id.is_some() {
            self.open.push(seen.offset);
        }
        if full {
            self.seal(seen.offset + 1);
        }
    }

    /// Publish one file; the committed position afterwards.
    fn publish(&mut self, objects: &mut Objects) -> Option<i64> {
        let file = self.plan.start_publishing()?.clone();
        let records = self.sealed.pop_front().unwrap_or_default();
        if let Some((next, _)) = objects.get(&file.start) {
            *self = Self::new(objects, *next, self.rotation.records_max);
            return Some(self.plan.open().start);
        }
        objects.insert(file.start, (file.next, records));
        self.plan.published();
        Some(file.next)
    }
}

fn finish(log: &Log, objects: &mut Objects, committed: i64) {
    let mut writer = Writer::new(objects, committed, 3);
    loop {
        for _ in 0..=log.len() {
            writer.read(log);
        }
        writer.seal(log.len() as i64);
        if writer.publish(objects).is_none() {
            return;
        }
    }
}

fn check(log: &Log, objects: &Objects, deleted: bool) -> Result<(), TestCaseError> {
    let mut expected_start = 0;
    let mut published: Vec<i64> = Vec::new();
    for (start, (next, records)) in objects {
        prop_assert!(*start >= expected_start, "objects overlap at {}", start);
        let mut between = log[expected_start as usize..*start as usize].iter().flatten();
        // Where a person deleted an object, a hole of tombstones and markers alone may stay before the next one.
        let hole = deleted && *start > expected_start && between.all(|seen| seen.schema_id.is_none());
        prop_assert!(*start == expected_start || hole, "objects chain: {} after {}", start, expected_start);
        expected_start = *next;
        let schemas: Vec<_> = records.iter().map(|offset| log[*offset as usize].unwrap().schema_id).collect();
        prop_assert!(schemas.windows(2).all(|pair| pair[0] == pair[1]), "one schema a file");
        published.extend(records);
    }
    let all: Vec<i64> = log.iter().flatten().filter(|seen| seen.schema_id.is_some()).map(|seen| seen.offset).collect();
    prop_assert_eq!(published, all, "every record once, in order");
    Ok(())
}

proptest! {
    #[test]
    fn every_record_is_in_exactly_one_object_whoever_dies_when(log in log(), actions in actions()) {
        let mut objects = Objects::new();
        let mut committed = 0_i64;
        let mut deleted = false;
        let mut writer = Writer::new(&objects, 0, 3);
        for action in actions {
            match action {
                Action::Read => writer.read(&log),
                Action::Tick => writer.seal(writer.read as i64),
                Action::Publish => committed = writer.publish(&mut objects).unwrap_or(committed),
                Action::PublishAndDie => {
                    writer.publish(&mut objects);
                    writer = Writer::new(&objects, committed, 3);
                }
                Action::Die => writer = Writer::new(&objects, committed, 3),
                Action::OtherWriter(records_max) => {
                    let mut other = Writer::new(&objects, committed, records_max);
                    (0..8).for_each(|_| other.read(&log));
                    other.seal(other.read as i64);
                    other.publish(&mut objects);
                }
                Action::DeleteAndReset(index) => {
                    if let Some(start) = objects.keys().nth(index).copied() {
                        objects.remove(&start);
                        deleted = true;
                        committed = 0;
                        writer = Writer::new(&objects, committed, 3);
                    }
                }
                Action::ResetInto(offset) => {
                    committed = committed.min(offset);
                    writer = Writer::new(&objects, committed, 3);
                }
            }
        }
        // Objects that were deleted come back only after a reset.
        finish(&log, &mut objects, 0);
        check(&log, &objects, deleted)?;
    }
}
