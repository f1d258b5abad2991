//! The window against a model of the database: whatever is read and streamed in whatever order, the topic ends up as the
//! table, and a row's read never follows a change it does not hold.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use model::{
    envelope::EnvelopeCodec,
    table::{Column, TableId, TableSchema},
};
use proptest::prelude::*;

use super::*;
use crate::records::RecordHeaders;

fn table() -> Arc<CapturedTable> {
    let column = |name: &str, type_oid, type_name: &str| Column {
        name: name.into(),
        type_oid,
        type_name: type_name.into(),
        typmod: -1,
        ..Column::default()
    };
    let schema = TableSchema {
        id: TableId(1),
        schema: "public".into(),
        name: "t".into(),
        columns: vec![column("id", 23, "int4")],
        key: vec![0],
    };
    let codec = EnvelopeCodec::new("p", "d", &schema).unwrap();
    Arc::new(CapturedTable {
        schema,
        name: "public.t".into(),
        codec,
        written: None,
        key_schema_id: 0,
        value_schema_id: 0,
    })
}

/// The encoded "record" of a row is its key and its version, one byte each.
fn chunk(table: &Arc<CapturedTable>, rows: &[(u8, u8)], snapshot: &str, closes_at: u64) -> Chunk {
    let mut encoded = Encoded::default();
    for (key, version) in rows {
        let start = encoded.bytes.len();
        encoded.bytes.extend([*key, *version]);
        let (key, value) = (Some(start..start + 1), Some(start..start + 2));
        encoded.pieces.push(Piece { key, value, headers: RecordHeaders::Context });
    }
    Chunk {
        relation: 1,
        table: Arc::clone(table),
        snapshot: snapshot.parse().unwrap(),
        closes_at: Lsn(closes_at),
        encoded,
        identities: rows.iter().map(|(key, _)| vec![*key]).collect(),
        after: rows.last().map(|(key, _)| vec![key.to_string()]),
        ends_table: false,
    }
}

fn rows(encoded: &Encoded) -> Vec<(u8, u8)> {
    let value = |piece: &Piece| &encoded.bytes[piece.value.clone().unwrap()];
    encoded.pieces.iter().map(value).map(|bytes| (bytes[0], bytes[1])).collect()
}

#[test]
fn a_chunk_waits_until_the_stream_has_brought_what_it_sees() {
    let mut window = Window::default();
    window.push(chunk(&table(), &[(1, 1), (2, 1)], "10:10:", 500));
    assert!(window.close(Lsn(499)).is_none());
    assert_eq!(rows(&window.close(Lsn(500)).unwrap().encoded), [(1, 1), (2, 1)]);
    assert!(window.is_empty());
}

#[test]
fn a_row_is_written_before_a_change_its_chunk_does_not_see() {
    let mut window = Window::default();
    window.push(chunk(&table(), &[(1, 1), (2, 1)], "10:10:", 500));
    assert!(window.changed(1, vec![1], 9).is_none(), "the chunk has this change");
    assert!(window.changed(2, vec![1], 12).is_none(), "another table");
    let (_, written) = window.changed(1, vec![1], 12).unwrap();
    assert_eq!(rows(&written), [(1, 1)]);
    assert!(window.changed(1, vec![1], 13).is_none(), "it is written only once");
    assert_eq!(rows(&window.close(Lsn(500)).unwrap().encoded), [(2, 1)]);
}

#[test]
fn rows_of_an_emptied_table_are_forgotten_unless_they_came_later() {
    let mut window = Window::default();
    window.push(chunk(&table(), &[(1, 1)], "10:10:", 500));
    window.push(chunk(&table(), &[(2, 1)], "13:13:", 600));
    window.emptied(1, 12);
    assert!(rows(&window.close(Lsn(500)).unwrap().encoded).is_empty());
    assert_eq!(rows(&window.close(Lsn(600)).unwrap().encoded), [(2, 1)]);
}

#[test]
fn reading_ahead_is_bounded_and_stops_at_the_end_of_a_table() {
    let mut window = Window::default();
    let table = table();
    for _ in 0..CHUNKS_MAX {
        assert!(window.has_room());
        window.push(chunk(&table, &[(1, 1)], "10:10:", 500));
    }
    assert!(!window.has_room());
    window.clear();
    let end = Chunk { ends_table: true, ..chunk(&table, &[], "10:10:", 500) };
    window.push(end);
    assert!(!window.has_room());
}

/// One transaction of the history: writes a version of a key, or deletes it.
#[derive(Debug, Clone)]
struct Change {
    key: u8,
    delete: bool,
}

proptest! {
    /// Transactions commit one after the other, number `n` with xid and commit LSN `n`. Chunks are read at random moments,
    /// while the stream is at a random earlier one.
    #[test]
    fn the_topic_ends_up_as_the_table_and_never_goes_back(
        history in prop::collection::vec((0_u8..6, any::<bool>()).prop_map(|(key, delete)| Change { key, delete }), 1..40),
        reads in prop::collection::vec((0_usize..40, 0_usize..40), 2),
    ) {
        let table = table();
        // State after the first `n` transactions: key to version, which is the number of the transaction.
        let mut states = vec![BTreeMap::from_iter((0_u8..6).map(|key| (key, 0_u8)))];
        for (number, change) in history.iter().enumerate() {
            let mut state = states.last().unwrap().clone();
            if change.delete {
                state.remove(&change.key);
            } else {
                state.insert(change.key, number as u8 + 1);
            }
            states.push(state);
        }
        // The first chunk has keys 0 to 2, the second the others; each is read when `committed` transactions are over and
        // `streamed` of them are streamed.
        let mut moments: Vec<(usize, usize, std::ops::Range<u8>)> = Vec::new();
        for (range, (a, b)) in [0_u8..3, 3..6].into_iter().zip(&reads) {
            let committed = (*a).max(*b).min(history.len());
            moments.push(((*a).min(*b).min(committed), committed, range));
        }
        moments.sort_by_key(|(streamed, ..)| *streamed);
        let mut window = Window::default();
        let mut topic: BTreeMap<u8, Option<u8>> = BTreeMap::new();
        let mut read = BTreeSet::new();
        let mut put = |topic: &mut BTreeMap<u8, Option<u8>>, rows: Vec<(u8, u8)>| {
            for (key, version) in rows {
                let before = topic.insert(key, Some(version)).flatten();
                assert!(before.is_none_or(|before| before <= version), "key {key} went from {before:?} to {version}");
                assert!(read.insert(key), "key {key} was read twice");
            }
        };
        for number in 0..=history.len() {
            for (_, committed, range) in moments.iter().filter(|(streamed, ..)| *streamed == number) {
                let seen: Vec<_> = states[*committed].iter().filter(|(key, _)| range.contains(key)).map(|(k, v)| (*k, *v)).collect();
                let next = committed + 3;
                window.push(chunk(&table, &seen, &format!("{next}:{next}:"), *committed as u64));
            }
            while let Some(closed) = window.close(Lsn(number as u64)) {
                put(&mut topic, rows(&closed.encoded));
            }
            let Some(change) = history.get(number) else { break };
            // Transaction ids below three are Postgres' own.
            if let Some((_, row)) = window.changed(1, vec![change.key], number as u32 + 3) {
                put(&mut topic, rows(&row));
            }
            topic.insert(change.key, (!change.delete).then_some(number as u8 + 1));
        }
        prop_assert!(window.is_empty());
        let end: BTreeMap<u8, u8> = topic.into_iter().filter_map(|(key, version)| Some((key, version?))).collect();
        prop_assert_eq!(&end, states.last().unwrap());
    }
}
