//! The state of a table rebuilt from its events, and the differences between two states.

use std::collections::HashMap;

use crate::rows::{Digest, RowHash};
use crate::visibility::Snapshot;

/// What an event says became of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub partition: i32,
    pub offset: i64,
    /// Read by a snapshot of the connector rather than streamed.
    pub read: bool,
    /// The source transaction's 32-bit id; snapshot reads may have none.
    pub xid: Option<u32>,
    pub key: Box<str>,
    /// The row after the event; `None` after a delete.
    pub row: Option<RowHash>,
}

impl Event {
    /// Whether the event belongs to the state that `snapshot` shows.
    #[must_use]
    pub fn shown_by(&self, snapshot: &Snapshot) -> bool {
        // A snapshot read happened before the connector streamed anything, so before any snapshot of the ledger's.
        self.read || self.xid.is_some_and(|xid| snapshot.shows(xid))
    }
}

/// Rows by key.
pub type RowsByKey = HashMap<Box<str>, RowHash>;

/// The last event of every key, whatever order events come in: a key's events share a partition, so its greatest
/// offset is its last event.
#[derive(Debug, Clone, Default)]
pub struct Rebuilt(HashMap<Box<str>, (i64, Option<RowHash>)>);

impl Rebuilt {
    /// Takes an event in.
    pub fn apply(&mut self, event: &Event) {
        match self.0.get_mut(&event.key) {
            Some(last) if last.0 < event.offset => *last = (event.offset, event.row),
            Some(_) => {}
            None => {
                self.0.insert(event.key.clone(), (event.offset, event.row));
            }
        }
    }

    /// The rows that are there after the last events.
    #[must_use]
    pub fn rows(self) -> RowsByKey {
        self.0.into_iter().filter_map(|(key, (_, row))| Some((key, row?))).collect()
    }
}

/// Count and digest of rows.
#[must_use]
pub fn digest(rows: &RowsByKey) -> Digest {
    let mut digest = Digest::default();
    rows.values().for_each(|row| digest.add(*row));
    digest
}

/// Keys that differ from what they should be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyDifferences {
    pub missing: Vec<Box<str>>,
    pub extra: Vec<Box<str>>,
    pub different: Vec<Box<str>>,
}

impl KeyDifferences {
    /// What differs in `found` from `expected`, keys in order.
    #[must_use]
    pub fn between(expected: &RowsByKey, found: &RowsByKey) -> Self {
        let mut differences = Self::default();
        for (key, row) in expected {
            match found.get(key) {
                None => differences.missing.push(key.clone()),
                Some(other) if other != row => differences.different.push(key.clone()),
                Some(_) => {}
            }
        }
        differences.extra.extend(found.keys().filter(|key| !expected.contains_key(*key)).cloned());
        for keys in [&mut differences.missing, &mut differences.extra, &mut differences.different] {
            keys.sort_by(|left, right| left.len().cmp(&right.len()).then_with(|| left.cmp(right)));
        }
        differences
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use proptest::prelude::*;

    use super::*;

    fn event(key: &str, offset: i64, row: Option<u128>) -> Event {
        Event { partition: 0, offset, read: false, xid: Some(1), key: key.into(), row: row.map(RowHash) }
    }

    #[test]
    fn a_deleted_key_is_gone_and_a_key_made_again_is_back() {
        let mut rebuilt = Rebuilt::default();
        for event in [event("a", 1, Some(1)), event("a", 2, None), event("b", 3, None), event("b", 4, Some(9))] {
            rebuilt.apply(&event);
        }
        assert_eq!(rebuilt.rows(), [("b".into(), RowHash(9))].into());
    }

    #[test]
    fn snapshot_reads_are_always_shown() {
        let snapshot: Snapshot = "5:5:".parse().unwrap();
        let read = Event { read: true, xid: None, ..event("a", 1, Some(1)) };
        assert!(read.shown_by(&snapshot));
        assert!(!Event { read: false, ..read.clone() }.shown_by(&snapshot));
        assert!(!Event { read: false, xid: Some(7), ..read }.shown_by(&snapshot));
    }

    #[test]
    fn differences_are_named_by_kind() {
        let rows = |rows: &[(&str, u128)]| rows.iter().map(|(key, row)| ((*key).into(), RowHash(*row))).collect();
        let expected: RowsByKey = rows(&[("id=1", 1), ("id=2", 2), ("id=10", 3)]);
        let found: RowsByKey = rows(&[("id=2", 9), ("id=11", 4)]);
        let differences = KeyDifferences::between(&expected, &found);
        assert_eq!(differences.missing, ["id=1".into(), "id=10".into()]);
        assert_eq!(differences.extra, ["id=11".into()]);
        assert_eq!(differences.different, ["id=2".into()]);
        assert_eq!(KeyDifferences::between(&found, &found), KeyDifferences::default());
    }

    proptest! {
        #[test]
        fn the_order_of_events_does_not_matter(mut events in prop::collection::vec((0u8..5, prop::option::of(0u128..3)), 1..40), seed: u64) {
            let numbered = |events: &[(usize, (u8, Option<u128>))]| {
                let mut rebuilt = Rebuilt::default();
                for (offset, (key, row)) in events {
                    rebuilt.apply(&event(&key.to_string(), *offset as i64, *row));
                }
                rebuilt.rows()
            };
            let mut shuffled: Vec<_> = events.drain(..).enumerate().collect();
            let in_order = numbered(&shuffled);
            let length = shuffled.len();
            shuffled.rotate_left(seed as usize % length);
            prop_assert_eq!(in_order, numbered(&shuffled));
        }
    }
}
