//! Which snapshots and refs a table no longer needs. Pure.
//!
//! By the retention rules of the Iceberg specification ("Snapshot Retention Policy"), with one thing stricter: a snapshot's
//! age counts from when it was replaced, not from when it was made. So whoever began to read what was current has the
//! whole age to end, however long the table had been quiet before; and every moment within the age can be travelled to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use iceberg::spec::{MAIN_BRANCH, SnapshotReference, SnapshotRetention, TableMetadata};

use crate::error::{LakeError, Result};

/// How long snapshots are kept unless the table or a ref says otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// `history.expire.max-snapshot-age-ms`.
    pub age_ms: i64,
    /// `history.expire.min-snapshots-to-keep`.
    pub snapshots_min: usize,
    /// `history.expire.max-ref-age-ms`.
    pub ref_age_ms: i64,
}

impl Retention {
    /// The lake's own; refs are kept for ever.
    #[must_use]
    pub fn new(age: Duration, snapshots_min: usize) -> Self {
        let age_ms = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Self { age_ms, snapshots_min: snapshots_min.max(1), ref_age_ms: i64::MAX }
    }

    /// With what the table's properties say.
    #[must_use]
    pub fn of(self, metadata: &TableMetadata) -> Self {
        let number = |name: &str| metadata.properties().get(name).and_then(|text| text.parse::<i64>().ok());
        let snapshots_min =
            number("history.expire.min-snapshots-to-keep").and_then(|number| usize::try_from(number).ok());
        Self {
            age_ms: number("history.expire.max-snapshot-age-ms").unwrap_or(self.age_ms),
            snapshots_min: snapshots_min.unwrap_or(self.snapshots_min).max(1),
            ref_age_ms: number("history.expire.max-ref-age-ms").unwrap_or(self.ref_age_ms),
        }
    }
}

/// What goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    pub refs: Vec<String>,
    pub snapshots: BTreeSet<i64>,
}

/// Branches and tags of a table by name.
pub type Refs = BTreeMap<String, SnapshotReference>;

/// Reads a table's refs; iceberg-rust keeps them to itself, but for their text.
///
/// # Errors
/// When the metadata have no such text.
pub fn refs(metadata: &TableMetadata) -> Result<Refs> {
    let unreadable = |error: serde_json::Error| LakeError::definite(format!("refs of a table: {error}"));
    let mut text = serde_json::to_value(metadata).map_err(unreadable)?;
    match text.get_mut("refs").map(serde_json::Value::take) {
        Some(refs) if !refs.is_null() => serde_json::from_value(refs).map_err(unreadable),
        _ => Ok(Refs::new()),
    }
}

/// Plans what to expire at `now_ms`.
#[must_use]
pub fn plan(metadata: &TableMetadata, refs: &Refs, retention: Retention, now_ms: i64) -> Expiry {
    let retention = retention.of(metadata);
    let mut expiry = Expiry::default();
    let mut kept = BTreeSet::new();
    for (name, reference) in refs {
        let Some(snapshot) = metadata.snapshot_by_id(reference.snapshot_id) else {
            expiry.refs.push(name.clone());
            continue;
        };
        let (branch, ref_age) = of_ref(&reference.retention, retention);
        if name != MAIN_BRANCH && now_ms.saturating_sub(snapshot.timestamp_ms()) > ref_age {
            expiry.refs.push(name.clone());
            continue;
        }
        kept.insert(reference.snapshot_id);
        if let Some(branch) = branch {
            keep_branch(metadata, reference.snapshot_id, branch, now_ms, &mut kept);
        }
    }
    // What was rolled back may be wanted back: it is kept for the age.
    let expired = |id: i64, made_ms: i64| !kept.contains(&id) && now_ms.saturating_sub(made_ms) > retention.age_ms;
    let mut referenced = BTreeSet::new();
    for reference in refs.values() {
        let mut id = Some(reference.snapshot_id);
        while let Some(snapshot) = id.and_then(|id| metadata.snapshot_by_id(id)) {
            referenced.insert(snapshot.snapshot_id());
            id = snapshot.parent_snapshot_id();
        }
    }
    for snapshot in metadata.snapshots() {
        let id = snapshot.snapshot_id();
        if kept.contains(&id) {
            continue;
        }
        if referenced.contains(&id) || expired(id, snapshot.timestamp_ms()) {
            expiry.snapshots.insert(id);
        }
    }
    expiry
}

/// A branch's own retention of snapshots (none for a tag), and the age at which the ref itself goes.
fn of_ref(own: &SnapshotRetention, table: Retention) -> (Option<Retention>, i64) {
    match own {
        SnapshotRetention::Branch { min_snapshots_to_keep, max_snapshot_age_ms, max_ref_age_ms } => {
            let snapshots_min = min_snapshots_to_keep.and_then(|number| usize::try_from(number).ok());
            let branch = Retention {
                age_ms: max_snapshot_age_ms.unwrap_or(table.age_ms),
                snapshots_min: snapshots_min.unwrap_or(table.snapshots_min).max(1),
                ref_age_ms: table.ref_age_ms,
            };
            (Some(branch), max_ref_age_ms.unwrap_or(table.ref_age_ms))
        }
        SnapshotRetention::Tag { max_ref_age_ms } => (None, max_ref_age_ms.unwrap_or(table.ref_age_ms)),
    }
}

fn keep_branch(metadata: &TableMetadata, head: i64, retention: Retention, now_ms: i64, kept: &mut BTreeSet<i64>) {
    let mut replaced_ms = now_ms;
    let (mut next, mut number) = (Some(head), 0);
    while let Some(snapshot) = next.and_then(|id| metadata.snapshot_by_id(id)) {
        if number >= retention.snapshots_min && now_ms.saturating_sub(replaced_ms) > retention.age_ms {
            return;
        }
        kept.insert(snapshot.snapshot_id());
        replaced_ms = snapshot.timestamp_ms();
        number += 1;
        next = snapshot.parent_snapshot_id();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use iceberg::{
        TableCreation,
        spec::{NestedField, Operation, PrimitiveType, Schema, Snapshot, Summary, TableMetadataBuilder, Type},
    };
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;

    /// Snapshots by id: (parent, minutes after the start); `main` is at `head`.
    fn table(
        snapshots: &[(i64, Option<i64>, i64)],
        head: i64,
        refs: &[(&str, i64, SnapshotRetention)],
    ) -> TableMetadata {
        let field = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Int)).into();
        let creation = TableCreation::builder()
            .name("t".into())
            .location("memory:/t".into())
            .schema(Schema::builder().with_fields([field]).build().unwrap())
            .build();
        let mut metadata = TableMetadataBuilder::from_table_creation(creation).unwrap().build().unwrap().metadata;
        let start = metadata.last_updated_ms();
        for (number, (id, parent, minutes)) in snapshots.iter().enumerate() {
            let snapshot = Snapshot::builder()
                .with_snapshot_id(*id)
                .with_parent_snapshot_id(*parent)
                .with_sequence_number(number as i64 + 1)
                .with_timestamp_ms(start + minutes * 60_000)
                .with_manifest_list(format!("memory:/t/{id}"))
                .with_summary(Summary { operation: Operation::Append, additional_properties: HashMap::new() })
                .with_schema_id(0)
                .build();
            metadata = metadata.into_builder(None).add_snapshot(snapshot).unwrap().build().unwrap().metadata;
        }
        let main = ("main", head, SnapshotRetention::branch(None, None, None));
        for (name, id, retention) in std::iter::once(&main).chain(refs) {
            let reference = SnapshotReference::new(*id, retention.clone());
            metadata = metadata.into_builder(None).set_ref(name, reference).unwrap().build().unwrap().metadata;
        }
        metadata
    }

    fn expired(metadata: &TableMetadata, age_ms: i64, snapshots_min: usize, minutes: i64) -> (Vec<i64>, Vec<String>) {
        let start = metadata.snapshots().map(|snapshot| snapshot.timestamp_ms()).min().unwrap();
        let retention = Retention { age_ms, snapshots_min, ref_age_ms: i64::MAX };
        let plan = plan(metadata, &refs(metadata).unwrap(), retention, start + minutes * 60_000);
        (plan.snapshots.into_iter().collect(), plan.refs)
    }

    fn chain(number: i64) -> Vec<(i64, Option<i64>, i64)> {
        (1..=number).map(|id| (id, (id > 1).then(|| id - 1), (id - 1) * 60)).collect()
    }

    #[test]
    fn what_was_current_within_the_age_is_kept_and_so_is_the_least_number() {
        // Five snapshots, an hour apart; it is half an hour after the last.
        let metadata = table(&chain(5), 5, &[]);
        assert_eq!(expired(&metadata, 2 * HOUR, 1, 270).0, vec![1, 2], "the third was current two hours ago");
        assert_eq!(expired(&metadata, 2 * HOUR, 4, 270).0, vec![1]);
        assert_eq!(expired(&metadata, 0, 1, 270).0, vec![1, 2, 3, 4], "the current one never goes");
        // A quiet table: what is current was made long ago, and what it replaced goes.
        assert_eq!(expired(&metadata, HOUR, 1, 100_000).0, vec![1, 2, 3, 4]);
    }

    #[test]
    fn tags_and_branches_keep_what_they_point_to() {
        let tag = ("v1", 2, SnapshotRetention::Tag { max_ref_age_ms: None });
        let branch = ("audit", 4, SnapshotRetention::branch(Some(2), Some(0), None));
        let mut snapshots = chain(3);
        snapshots.push((4, Some(1), 300));
        snapshots.push((5, Some(3), 400));
        let metadata = table(&snapshots, 5, &[tag, branch]);
        assert_eq!(expired(&metadata, 0, 1, 100_000), (vec![3], vec![]), "audit keeps 4 and 1, the tag 2");
    }

    #[test]
    fn a_ref_goes_when_it_is_older_than_it_says() {
        let tag = ("v1", 1, SnapshotRetention::Tag { max_ref_age_ms: Some(200 * 60_000) });
        let metadata = table(&chain(3), 3, &[tag]);
        assert_eq!(expired(&metadata, 0, 1, 199), (vec![2], vec![]));
        assert_eq!(expired(&metadata, 0, 1, 201), (vec![1, 2], vec!["v1".to_owned()]));
    }

    #[test]
    fn what_was_rolled_back_is_kept_for_the_age() {
        let metadata = table(&chain(3), 2, &[]);
        assert_eq!(expired(&metadata, 2 * HOUR, 1, 150).0, Vec::<i64>::new());
        assert_eq!(expired(&metadata, 2 * HOUR, 1, 300).0, vec![1, 3]);
    }

    proptest! {
        #[test]
        fn main_is_always_kept_in_one_piece(number in 1_i64..20, head in 1_i64..20, age in 0_i64..30, min in 0_usize..6, now in 0_i64..2000) {
            let head = head.min(number);
            let metadata = table(&chain(number), head, &[]);
            let (gone, _) = expired(&metadata, age * HOUR, min, now);
            // What is left of main's ancestors is an unbroken row from the head down.
            let left: Vec<i64> = (1..=head).filter(|id| !gone.contains(id)).collect();
            prop_assert!(left.contains(&head));
            prop_assert!(left.windows(2).all(|pair| pair[1] == pair[0] + 1));
            prop_assert!(left.len() >= min.min(head as usize));
        }
    }
}
